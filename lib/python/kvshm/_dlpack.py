# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""DLPack: memory handed to torch, numpy, cupy or jax as a capsule, without a copy.

Source: the DLPack specification (dmlc.github.io/dlpack, versions 0.8 and 1.0) and the Python array API's protocol. A
capsule that nobody consumes frees its tensor; one that was consumed leaves that to the consumer, who calls the deleter,
in any thread and at any time, perhaps at the interpreter's end: so the deleter is never freed, and needs no globals.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional, Tuple

CPU = 1  # kDLCPU
CUDA = 2  # kDLCUDA
_UINT = 1  # kDLUInt
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
_PLAIN = b"dltensor"
_VERSIONED = b"dltensor_versioned"


class _Tensor(ctypes.Structure):
    """DLTensor"""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLManagedTensor"""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned"""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_live: Dict[int, Any] = {}  # what consumers have, by its address: kept until the deleter is called


def _delete(managed: int, live: Dict[int, Any] = _live) -> None:
    live.pop(managed, None)


def _capsule_ends(
    capsule: int,
    live: Dict[int, Any] = _live,
    names: Tuple[bytes, bytes] = (_PLAIN, _VERSIONED),
    is_valid: Any = ctypes.pythonapi.PyCapsule_IsValid,
    get_pointer: Any = ctypes.pythonapi.PyCapsule_GetPointer,
) -> None:
    for name in names:  # a consumer has renamed the one that it took
        if is_valid(capsule, name):
            live.pop(get_pointer(capsule, name), None)


_deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_delete)
_destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_capsule_ends)

_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
ctypes.pythonapi.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
for _lasting in (_deleter, _destructor, _PLAIN, _VERSIONED):  # a capsule does not copy its name
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_lasting))  # never freed, see above


def capsule(
    owner: Any, address: int, shape: Tuple[int, ...], device: Tuple[int, int], writable: bool, versioned: bool
) -> Any:
    """A capsule of the bytes at address, which keeps owner until its consumer is done with it.

    Only a versioned one can say that its bytes are not to be written.
    """
    managed: Any = _Versioned() if versioned else _Managed()
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    tensor = managed.tensor
    tensor.data = address
    tensor.device_type, tensor.device_id = device
    tensor.ndim = len(shape)
    tensor.code, tensor.bits, tensor.lanes = _UINT, 8, 1
    tensor.shape = dimensions
    managed.deleter = ctypes.cast(_deleter, ctypes.c_void_p).value
    if versioned:
        managed.major = 1
        managed.flags = 0 if writable else _READ_ONLY
    at = ctypes.addressof(managed)
    _live[at] = (managed, dimensions, owner)
    try:
        return _new(at, _VERSIONED if versioned else _PLAIN, ctypes.cast(_destructor, ctypes.c_void_p))
    except BaseException:
        del _live[at]
        raise


def supported(max_version: Optional[Tuple[int, int]]) -> bool:
    """Does a consumer of that version take versioned capsules?"""
    return max_version is not None and max_version[0] >= 1
