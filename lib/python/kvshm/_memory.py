# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Memory: the bytes of a block, or of a whole plane, for whoever computes with them: no copy is made.

Host memory is a buffer (memoryview, numpy); memory of a GPU has __cuda_array_interface__, and the processor never
touches it; both have DLPack, by which torch, numpy, cupy and jax take them. What is seen this way keeps its store
attached: Store.close() raises BufferError as long as something is seen.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Dict, NoReturn, Optional, Tuple

from . import _dlpack
from ._abi import PlaneMemory
from ._errors import Local

if TYPE_CHECKING:
    from ._store import Store

_NO_BUFFER = (
    "memory of a GPU is no buffer, and the processor can't reach it: torch.as_tensor() takes it, or "
    "__cuda_array_interface__, or DLPack; read() and write() of its hold copy bytes"
)


class Memory(Local):
    """Bytes of a store in this process: of one block in one plane (shape: its bytes), or of a plane (blocks, bytes).

    The library does not know who looks at memory: a block's bytes are what its hold says they are while it is held, no
    longer. `writable` is true where the hold is that of who writes, and of planes.
    """

    __slots__ = ("_store", "address", "shape", "kind", "device", "writable", "export")

    def __init__(
        self, store: Store, address: int, shape: Tuple[int, ...], kind: PlaneMemory, device: int, writable: bool
    ) -> None:
        self._store = store
        self.address = address
        self.shape = shape
        self.kind = kind
        self.device = device
        self.writable = writable

    @property
    def nbytes(self) -> int:
        """How many bytes there are."""
        return self.shape[0] * (self.shape[1] if len(self.shape) > 1 else 1)

    def exported(self) -> Any:
        """An array of ctypes on these bytes, which its store knows of until it is gone. BufferError: a GPU's."""
        if self.kind != PlaneMemory.HOST:
            raise BufferError(_NO_BUFFER)
        array = (ctypes.c_ubyte * self.nbytes).from_address(self.address)
        self._store.note_export(array)
        return array

    def buffer(self) -> memoryview:
        """The bytes; numpy.asarray() makes an array of them. BufferError if they are a GPU's."""
        view = memoryview(self.exported()).cast("B")
        if len(self.shape) > 1:
            view = view.cast("B", shape=self.shape)
        return view if self.writable else view.toreadonly()

    @property
    def __array_interface__(self) -> Dict[str, Any]:
        if self.kind != PlaneMemory.HOST:
            raise AttributeError("memory of a GPU has no __array_interface__")
        return {"shape": self.shape, "typestr": "|u1", "data": self.buffer(), "version": 3}

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        """Of what has no __array_interface__: numpy would make an array of this object, as an object."""
        raise BufferError(_NO_BUFFER)

    @property
    def __cuda_array_interface__(self) -> Dict[str, Any]:
        if self.kind != PlaneMemory.CUDA:
            raise AttributeError("host memory has no __cuda_array_interface__")
        self._store.note_export(self)  # who takes the address keeps this object
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.address, False),  # torch takes nothing that says it is not to be written
            "version": 3,
            "strides": None,
            "stream": None,
        }

    def __dlpack_device__(self) -> Tuple[int, int]:
        if self.kind == PlaneMemory.CUDA:
            return _dlpack.CUDA, self.device
        return _dlpack.CPU, 0

    def __dlpack__(
        self,
        *,
        stream: Optional[int] = None,
        max_version: Optional[Tuple[int, int]] = None,
        dl_device: Optional[Tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        """A capsule. What is published is whole before anyone holds it, so no stream has to wait."""
        device = self.__dlpack_device__()
        if copy or (dl_device is not None and tuple(dl_device) != device):
            raise BufferError("kvshm hands out its memory as it is: no copy, no other device")
        versioned = _dlpack.supported(max_version)
        owner = self.exported() if self.kind == PlaneMemory.HOST else self._seen()
        return _dlpack.capsule(owner, self.address, self.shape, device, self.writable, versioned)

    def _seen(self) -> Memory:
        """Another of the same, which its store knows of until it is gone."""
        seen = Memory(self._store, self.address, self.shape, self.kind, self.device, self.writable)
        self._store.note_export(seen)
        return seen

    def __repr__(self) -> str:
        where = "host" if self.kind == PlaneMemory.HOST else f"cuda:{self.device}"
        return f"<kvshm.Memory of {'x'.join(map(str, self.shape))} bytes at {self.address:#x}, {where}>"
