# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Keys: an array of keys as the calls take it, made once and used as often as one likes."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from array import array
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union, overload

from . import _abi
from ._errors import make_error

BytesLike = Union[bytes, bytearray, memoryview]


def address_of(buffer: bytearray) -> int:
    """Where a bytearray's bytes are. They stay there while nobody changes its length."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


_LEFT = 8  # sizes of which room is kept
_LEFT_KEYS = 4096  # room for more keys than that is not
_left: Dict[Tuple[int, int], Tuple[bytearray, array[int]]] = {}
_nobody: List[int] = []  # what _Room._users() says of one that nobody has


def _rounded(count: int) -> int:
    """For how many keys room is made: few numbers, so that it can be used again."""
    return max(1 << (count - 1).bit_length(), 16) if count <= _LEFT_KEYS else count


class _Room:
    """Memory for some keys of one size, with the array of `struct kvshm_key` that names them.

    To write the addresses down costs more than all else of making Keys: so what nobody uses any more is kept, one for
    each of a few sizes, and used again for the next keys of that size.
    """

    __slots__ = ("data", "pairs", "_size")

    def __init__(self, size: int, count: int) -> None:
        left = _left.pop((size, _rounded(count)), None)
        if left is None:
            rounded = _rounded(count)
            data = bytearray(size * rounded)
            pairs = array("Q", (size,)) * (2 * rounded)
            at = address_of(data)
            pairs[::2] = array("Q", range(at, at + size * rounded, size))
            left = data, pairs
        self.data, self.pairs = left
        self._size = size

    def _users(self) -> int:
        """How many have this room, with what it takes to count them."""
        return sys.getrefcount(self)

    def __del__(
        self,
        left: Dict[Tuple[int, int], Tuple[bytearray, array[int]]] = _left,
        nobody: List[int] = _nobody,
        limits: Tuple[int, int, int] = (_LEFT, _LEFT_KEYS, _abi.KEY_MAX),
        suppress: Any = contextlib.suppress,
    ) -> None:
        # In a cycle this is called while the keys are there still, for others that end with it: it is not used again.
        if not nobody or not hasattr(self, "_size") or self._users() > nobody[0]:
            return
        most, most_keys, most_bytes = limits
        what = self._size, len(self.pairs) // 2
        if what[1] > most_keys or what[0] > most_bytes:
            return
        if len(left) >= most and what not in left:
            with suppress(StopIteration, RuntimeError, KeyError):  # another thread may be here
                del left[next(iter(left))]  # the oldest: sizes that are used are taken out, and come back as the last
        left[what] = self.data, self.pairs


class _Unused(_Room):
    """Counts who has a room when it ends that nobody has."""

    __slots__ = ()

    def __del__(self) -> None:  # type: ignore[override]
        _nobody.append(self._users())


_Unused(1, 0)


class Keys:
    """Keys, packed one after the other, with the array of `struct kvshm_key` that names them.

    Making it costs some 40 ns a key, and handing it to a call nothing: an engine makes it once for a request. It never
    changes; a slice shares its memory. A key is 1 to key_max bytes; None is a key that is not asked for, where a call
    says so (match).
    """

    __slots__ = ("_data", "_array", "_first", "_count", "address")

    def __init__(self, keys: Iterable[Optional[BytesLike]] = ()) -> None:
        """Copies the keys."""
        if isinstance(keys, (bytes, bytearray, memoryview)):
            raise TypeError("keys are wanted, not bytes: put one into a list; Keys.packed() takes many in one")
        items = keys if isinstance(keys, list) else list(keys)
        asked = items
        try:
            data = b"".join(asked)
        except TypeError:
            asked = [key if isinstance(key, bytes) else seen_as_bytes(key, "a key") for key in items if key is not None]
            data = b"".join(asked)
        lengths = list(map(len, asked))
        size = lengths[0] if lengths else 0
        if size and lengths.count(size) == len(items) and size * len(items) == len(data):
            self._set_uniform(data, size, len(items))
            return
        if sum(lengths) != len(data):
            raise TypeError("the items of a key are bytes: it has others")
        if 0 in lengths:
            raise ValueError("a key has one byte at least; None stands for one that is not asked for")
        left = iter(lengths)
        self._set_various(bytearray(data), [0 if key is None else next(left) for key in items])

    @classmethod
    def packed(cls, data: BytesLike, size: int) -> Keys:
        """Keys of `size` bytes each, one after the other in `data`, which is copied."""
        packed = as_bytes(data)
        if _abi.fits(size, "size") == 0 or len(packed) % size:
            raise ValueError(f"{len(packed)} bytes are no whole number of keys of {size} bytes")
        keys = cls.__new__(cls)
        keys._set_uniform(packed, size, len(packed) // size)
        return keys

    def _set_uniform(self, data: bytes, size: int, count: int) -> None:
        if not count:
            self._set_various(bytearray(), [])
            return
        room = _Room(size, count)
        room.data[: len(data)] = data
        self._set(room, room.pairs, count)

    def _set_various(self, data: bytearray, lengths: List[int]) -> None:
        pairs = array("Q", bytes(16 * len(lengths)))
        at = address_of(data)
        for i, length in enumerate(lengths):
            if length:
                pairs[2 * i] = at
                pairs[2 * i + 1] = length
                at += length
        self._set(data, pairs, len(lengths))

    def _set(self, data: Union[_Room, bytearray], pairs: array[int], count: int) -> None:
        self._data = data
        self._array = pairs
        self._first = 0
        self._count = count
        self.address = pairs.buffer_info()[0]  # of the first struct kvshm_key

    def __reduce__(self) -> Tuple[Any, ...]:
        return Keys, (list(self),)  # the addresses are this process's

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Optional[bytes]: ...

    @overload
    def __getitem__(self, index: slice) -> Keys: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Optional[bytes], Keys]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                raise ValueError("a slice of keys has no step")
            part = Keys.__new__(Keys)
            part._data = self._data
            part._array = self._array
            part._first = self._first + start
            part._count = max(stop - start, 0)
            part.address = self.address + 16 * start
            return part
        if not -self._count <= index < self._count:
            raise IndexError("there is no such key")
        pair = 2 * (self._first + index % self._count)
        length = self._array[pair + 1]
        return ctypes.string_at(self._array[pair], length) if length else None

    def __iter__(self) -> Iterator[Optional[bytes]]:
        return (self[i] for i in range(self._count))

    def __add__(self, other: Keys) -> Keys:
        if not isinstance(other, Keys):
            return NotImplemented
        both = Keys.__new__(Keys)
        lengths = self._lengths() + other._lengths()
        data = bytearray(self._packed() + other._packed())
        if lengths and lengths[0] and lengths.count(lengths[0]) == len(lengths):
            both._set_uniform(data, lengths[0], len(lengths))
        else:
            both._set_various(data, lengths.tolist())
        return both

    def _lengths(self) -> array[int]:
        return self._array[2 * self._first + 1 : 2 * (self._first + self._count) : 2]

    def _packed(self) -> bytes:
        """All of them, one after the other, as they lie in memory."""
        starts = self._array[2 * self._first : 2 * (self._first + self._count) : 2]
        size = sum(self._lengths())
        return ctypes.string_at(next(filter(None, starts)), size) if size else b""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Keys):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<kvshm.Keys of {self._count}>"


AnyKeys = Union[Keys, Iterable[Optional[BytesLike]]]


def as_keys(keys: AnyKeys) -> Keys:
    """The keys as a call takes them."""
    return keys if isinstance(keys, Keys) else Keys(keys)


def as_bytes(what: BytesLike, name: str = "a key") -> bytes:
    """Bytes whose address a call is given."""
    return what if isinstance(what, bytes) else seen_as_bytes(what, name).tobytes()


def seen_as_bytes(what: Any, name: str) -> memoryview:
    """What somebody says is bytes, or the TypeError for what is none."""
    try:
        return memoryview(what)
    except TypeError:
        hint = ": encode it" if isinstance(what, str) else ""
        raise TypeError(f"{name} is bytes, not {type(what).__name__}{hint}") from None


def derive_key(label: str, group: int, block_hash: BytesLike) -> bytes:
    """A key of 32 bytes from an engine's label (model, dtype, layout), a group (of layers, say), and its hash."""
    data = as_bytes(block_hash, "a hash")
    key = bytearray(_abi.DERIVED_KEY_SIZE)
    result = _abi.derive_key(_abi.text(label, "label"), _abi.fits(group, "group"), data, len(data), address_of(key))
    if result:
        raise make_error(result, _abi.last_error())
    return bytes(key)


def derive_keys(label: str, group: int, hashes: AnyKeys) -> Keys:
    """derive_key() of each of an engine's hashes."""
    names = as_keys(hashes)
    count = len(names)
    keys = bytearray(_abi.DERIVED_KEY_SIZE * count)
    results = array("i", bytes(4 * count))
    result = _abi.derive_key_batch(
        _abi.text(label, "label"),
        _abi.fits(group, "group"),
        names.address,
        count,
        address_of(keys),
        results.buffer_info()[0],
    )
    if result or any(results):
        raise make_error(result or min(results), _abi.last_error())
    return Keys.packed(keys, _abi.DERIVED_KEY_SIZE)
