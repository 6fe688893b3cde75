# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""DLPack: memory handed to torch, numpy, cupy or jax as a capsule, without a copy.

Source: the DLPack specification (dmlc.github.io/dlpack, versions 0.8 and 1.0) and the Python array API's protocol. Who
takes a capsule renames it, and calls its tensor's deleter when it is done: in any thread, without the interpreter's
lock, at the interpreter's end, or while an exception is on its way, as when a capsule is dropped that nobody took. None
of these can bear a function of Python's (the exception is lost, or the interpreter crashes). So the deleter is one of
libc that zeroes the tensor's memory, which is never freed before, and a capsule has no destructor: what is over is
found by a look (sweep()): when a store is closed, and now and then when a capsule is made.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from typing import Any, Dict, Optional, Tuple

CPU = 1  # kDLCPU
CUDA = 2  # kDLCUDA
_UINT = 1  # kDLUInt
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
_PLAIN = b"dltensor"
_VERSIONED = b"dltensor_versioned"
_deleter = ctypes.cast(ctypes.CDLL(None).sigemptyset, ctypes.c_void_p).value
_SIGSET = ctypes.c_uint8 * 128  # what it may zero, from where it is told; the first word always


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

    _fields_ = [
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("room", _SIGSET),
    ]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned"""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
        ("room", _SIGSET),
    ]


_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]


class _Lent:
    """A tensor that a consumer has, or may take: and all that must be there as long."""

    __slots__ = ("managed", "dimensions", "owner", "capsule", "name")

    def __init__(self, managed: Any, dimensions: Any, owner: Any, name: bytes) -> None:
        self.managed = managed
        self.dimensions = dimensions
        self.owner = owner
        self.name = name
        self.capsule: Any = None

    def others(self) -> int:
        """How many have the capsule, with what it takes to count them."""
        return sys.getrefcount(self.capsule)

    def is_over(self) -> bool:
        """Was the deleter called; or can nobody take the capsule any more, and nobody has?"""
        if self.capsule is not None and self.others() == _nobody:
            if _is_valid(self.capsule, self.name):
                return True
            self.capsule = None
        return ctypes.c_uint64.from_buffer(self.managed).value == 0


def _count_nobody() -> int:
    lent = _Lent(None, None, None, b"")
    lent.capsule = object()
    return lent.others()


_nobody = _count_nobody()
_numbers = itertools.count()
_live: Dict[int, _Lent] = {}
_many = 64  # more than that are looked through before there is another one
for _lasting in (_live, _PLAIN, _VERSIONED):  # never freed: consumers outlive the interpreter
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_lasting))


def sweep() -> None:
    """Lets go of what no consumer has any more."""
    for number, lent in list(_live.items()):
        if lent.is_over():
            _live.pop(number, None)


def capsule(
    owner: Any, address: int, shape: Tuple[int, ...], device: Tuple[int, int], writable: bool, versioned: bool
) -> Any:
    """A capsule of the bytes at address, which keeps owner until its consumer is done with it.

    Only a versioned one can say that its bytes are not to be written.
    """
    global _many
    if len(_live) > _many:
        sweep()
        _many = max(64, 2 * len(_live))
    managed: Any = _Versioned() if versioned else _Managed()
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    tensor = managed.tensor
    tensor.data = address
    tensor.device_type, tensor.device_id = device
    tensor.ndim = len(shape)
    tensor.code, tensor.bits, tensor.lanes = _UINT, 8, 1
    tensor.shape = dimensions
    managed.deleter = _deleter
    if versioned:
        managed.major = 1
        managed.flags = 0 if writable else _READ_ONLY
    lent = _Lent(managed, dimensions, owner, _VERSIONED if versioned else _PLAIN)
    made = lent.capsule = _new(ctypes.addressof(managed), lent.name, None)
    _live[next(_numbers)] = lent  # from here on another thread may look: `made` says that somebody has it
    return made


def supported(max_version: Optional[Tuple[int, int]]) -> bool:
    """Does a consumer of that version take versioned capsules?"""
    return max_version is not None and max_version[0] >= 1
