# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Streams, and pieces of blocks to copy on them, as the calls take them."""

from __future__ import annotations

import operator
import struct
import sys
from typing import TYPE_CHECKING, Any, Iterable, List, Optional, Tuple

from ._abi import fits
from ._keys import address_of

if TYPE_CHECKING:
    from ._holds import Hold
    from ._store import Store

# A CUstream as a number, an object that has it (torch.cuda.Stream), or None: the legacy default stream.
AnyStream = Any

# A hold of the block, the offset in it, where the other side of the copy is, and how many bytes.
Piece = Tuple["Hold", int, int, int]

_PIECE = struct.Struct("=QQQQ")


def as_stream(stream: AnyStream) -> Optional[int]:
    """The stream's address."""
    handle = getattr(stream, "cuda_stream", stream)
    if handle is None:
        return None
    try:
        number = operator.index(handle)
    except TypeError:
        raise TypeError(
            f"a stream is a number, an object with cuda_stream, or None, not {type(stream).__name__}"
        ) from None
    if number == 0:
        _check_device(stream)
    return fits(number, "stream", 64) or None


def _check_device(stream: AnyStream) -> None:
    """All GPUs' default streams are 0, which the library takes for that of the calling thread's context."""
    device, torch = getattr(stream, "device_index", None), sys.modules.get("torch")
    if device is None or torch is None:
        return
    current = torch.cuda.current_device()
    if device != current:
        raise ValueError(
            f"the default stream of GPU {device} while {current} is the current one, whose default stream would be "
            f"taken: make the call in `with torch.cuda.device({device}):`, or use another stream"
        )


class Pieces:
    """An array of `struct kvshm_piece`, and the holds that it names."""

    __slots__ = ("_data", "_holds", "address", "count")

    def __init__(self, store: Store, pieces: Iterable[Piece]) -> None:
        self._data = bytearray()
        self._holds: List[Hold] = []
        for hold, offset, memory, length in pieces:
            if hold.store is not store:
                raise ValueError("a hold of another store")
            self._holds.append(hold)
            numbers = fits(offset, "offset", 64), fits(memory, "memory", 64), fits(length, "length", 64)
            self._data += _PIECE.pack(hold.address_of_handles, *numbers)
        self.count = len(self._holds)
        self.address = address_of(self._data)
