# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Holds: refs, pins, fills, parts and blocks without a key, one (Hold) or many (Holds).

Both look at an array of handles, which they share with the slices and items taken from them: a hold that is released
through one of them is released. When the last that looks at an array is gone, what it still holds is let go, with a
ResourceWarning: refs and pins are released, fills given up. What a request has lent stays the request's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
import warnings
from array import array
from itertools import groupby
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    overload,
)

from . import _abi
from ._abi import Kind, Next, Outcome, Published, fits, nanoseconds
from ._errors import Busy, Error, Local, make_error
from ._keys import AnyKeys, BytesLike, address_of, as_bytes, as_keys
from ._memory import Memory
from ._streams import AnyStream, as_stream

if TYPE_CHECKING:
    from ._store import Store

_HANDLE = struct.Struct("=QIBBHQ")
_SIZE = _HANDLE.size
_NO_HOLD = bytes(_SIZE)
_KIND = 12  # where the kind is in a handle
_NONE, _REF, _PIN, _WRITER, _OWNED, _PART, _LENT = range(7)
_RELEASES = {_REF: _abi.release_batch, _PIN: _abi.unpin_batch}
_META = struct.Struct(f"=QI{_abi.OPAQUE_SIZE}s4x")
_SLICE = 100_000_000  # ns: a wait comes back that often, so that Python's signal handlers run


class Meta(NamedTuple):
    """What an engine says of a block when it publishes it."""

    length: int
    depth: int = 0
    opaque: bytes = b""


def wait_in_slices(timeout: float, attempt: Callable[[int], int], not_yet: int = -errno.ETIMEDOUT) -> int:
    """Calls attempt with deadlines until it says something else than not_yet, or the time is over."""
    wait = nanoseconds(timeout)
    end = time.monotonic_ns() + wait if wait else 0
    while True:
        until = min(end, time.monotonic_ns() + _SLICE) if end else 0
        result = attempt(until)
        if result != not_yet or until == end:
            return result


class Results(Sequence[int]):
    """What came of each item of a batch: 0, or a negative errno."""

    __slots__ = ("_values", "_texts", "address")

    def __init__(self, count: int) -> None:
        self._values = array("i", bytes(4 * count))
        self._texts: Dict[int, str] = {}  # the library's, of the last that failed: it has no other's
        self.address = self._values.buffer_info()[0]

    @classmethod
    def of(cls, values: array[int], texts: Dict[int, str]) -> Results:
        """Results that have come already."""
        results = cls(0)
        results._values = values
        results._texts = texts
        results.address = values.buffer_info()[0]
        return results

    def part(self, numbers: Sequence[int]) -> Results:
        """What came of these items."""
        if isinstance(numbers, range):
            values = self._values[numbers.start : numbers.stop]
        else:
            values = array("i", map(self._values.__getitem__, numbers))
        return Results.of(values, {numbers.index(i): text for i, text in self._texts.items() if i in numbers})

    def keep_text(self) -> Results:
        """Keeps the library's text, of the batch that has just been called in this thread."""
        if not self.ok:
            last = next(i for i in reversed(range(len(self))) if self._values[i])
            self._texts = {last: _abi.last_error()}
        return self

    def merge(self, again: Results) -> None:
        """What came of those that were asked again because it was too early."""
        self._texts = {}
        for i, result in enumerate(again):
            if self._values[i] in (0, -errno.ETIMEDOUT):
                self._values[i] = result
            if self._values[i] == result and i in again._texts:
                self._texts = {i: again._texts[i]}

    def __reduce__(self) -> Tuple[Any, ...]:
        return Results.of, (self._values, self._texts)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    @property
    def ok(self) -> bool:
        """Did all succeed?"""
        return not self._values.tobytes().strip(b"\0")  # any() would make a number of each

    def first_error(self) -> int:
        """The first that is no success; 0 if there is none."""
        return 0 if self.ok else next(filter(None, self._values))

    def failed(self) -> Dict[int, int]:
        """Those that did not succeed: their numbers, and their negative errnos."""
        return {} if self.ok else {i: result for i, result in enumerate(self._values) if result}

    def check(self) -> None:
        """Raises the error of the first that did not succeed."""
        for i in self.failed():
            raise self.error(i)

    def error(self, index: int) -> Error:
        """The error of an item that did not succeed."""
        result = self._values[index]
        text = self._texts.get(index) or f"{errno.errorcode.get(-result, result)}, {os.strerror(-result)}"
        return make_error(result, f"item {index} of the batch: {text}")

    def __repr__(self) -> str:
        return f"<kvshm.Results of {len(self)}, failed: {self.failed()}>"


def _runs(kinds: bytearray) -> Iterable[Tuple[int, int]]:
    """Each kind, and how many of it are in a row: mostly all."""
    if kinds and kinds.count(kinds[0]) == len(kinds):
        return ((kinds[0], len(kinds)),)
    return ((kind, len(list(run))) for kind, run in groupby(kinds))


class HandleArray(Local):
    """Memory for handles, and their end."""

    __slots__ = ("store", "data", "address")

    def __init__(self, store: Store, count: int) -> None:
        self.store = store
        self.data = bytearray(_SIZE * count)
        self.address = address_of(self.data)

    def kinds(self, first: int, count: int) -> bytearray:
        """The kinds of count handles, a byte each."""
        return self.data[_SIZE * first + _KIND : _SIZE * (first + count) : _SIZE]

    def let_go(self, first: int, count: int) -> int:
        """Ends holds, each in the way of its kind; the first error. What is lent stays, and what is not held (-EBADF).

        It works also where the store is destroyed, or was attached before fork(): there is nothing to let go of then.
        """
        result: int = _abi.let_go(self.store.pointer, self.address + _SIZE * first, count)
        return result

    def release(self, first: int, count: int) -> int:
        """Ends refs and pins, in runs of one kind; the first error. Other kinds stay."""
        error = 0
        for kind, length in _runs(self.kinds(first, count)):
            if kind in _RELEASES:
                results = Results(length)
                result = _RELEASES[kind](self.store.pointer, self.address + _SIZE * first, length, results.address)
                error = error or result or results.first_error()
            first += length
        return error

    def __del__(self) -> None:
        if not hasattr(self, "address"):  # there was no memory for it
            return
        left = self._left()
        if not left or self.store.closed or self.store.left_to_death:
            return
        result = self.let_go(0, len(self.data) // _SIZE)
        if result == -errno.EBADF:  # some had ended already, with their request, say
            left -= self._left()
        if left and result not in (-errno.ECHILD, -errno.ESTALE):
            warnings.warn(f"{left} holds were not released", ResourceWarning, stacklevel=2)

    def _left(self) -> int:
        """How many are holds that are not lent."""
        return len(self.kinds(0, len(self.data) // _SIZE).translate(None, b"\0\6"))


def _packed_metas(metas: Optional[Sequence[Meta]], count: int) -> Optional[bytearray]:
    if metas is None:
        return None
    if len(metas) != count:
        raise ValueError(f"{len(metas)} metas for {count} holds")
    data = bytearray(_META.size * count)
    for i, meta in enumerate(metas):
        _META.pack_into(data, _META.size * i, *_checked(meta))
    return data


def _checked(meta: Meta) -> Meta:
    if not isinstance(meta, Meta):
        raise TypeError(f"a Meta is wanted, not {type(meta).__name__}")
    opaque = as_bytes(meta.opaque, "opaque")
    if len(opaque) > _abi.OPAQUE_SIZE:
        raise ValueError(f"{len(opaque)} opaque bytes: a block has {_abi.OPAQUE_SIZE}")
    return Meta(fits(meta.length, "length", 64), fits(meta.depth, "depth"), opaque)


class _Held(Local):
    """What Hold and Holds share: which handles of which array they are."""

    __slots__ = ("_array", "_first", "_count")

    def __init__(self, handles: HandleArray, first: int, count: int) -> None:
        self._array = handles
        self._first = first
        self._count = count

    @property
    def store(self) -> Store:
        """The store that the blocks are in."""
        return self._array.store

    @property
    def address_of_handles(self) -> int:
        """Where the handles are: for calls."""
        return self._array.address + _SIZE * self._first

    def close(self) -> None:
        """Lets go of what is held: refs and pins are released, fills, parts and blocks without a key given up."""
        self._array.let_go(self._first, self._count)

    def _new(self, count: int) -> HandleArray:
        return HandleArray(self._array.store, count)


class Hold(_Held):
    """A hold on one block. As a context manager it lets go in the end: a fill that was not published is given up."""

    __slots__ = ("outcome",)

    def __init__(self, handles: HandleArray, index: int = 0, outcome: Optional[Outcome] = None) -> None:
        super().__init__(handles, index, 1)
        self.outcome = outcome  # of a call that has one: READY, PENDING or FILL

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _field(self, number: int) -> int:
        value: int = _HANDLE.unpack_from(self._array.data, _SIZE * self._first)[number]
        return value

    @property
    def kind(self) -> Kind:
        """What the hold is; NONE after its release."""
        return Kind(self._field(2))

    @property
    def block(self) -> int:
        """The block's number."""
        return self._field(1)

    @property
    def life(self) -> int:
        """The block's life that is held."""
        return self._field(0)

    def _check(self, result: int) -> None:
        if result:
            self._array.store.fail(result)

    def release(self) -> None:
        """Ends a ref or a pin."""
        call = _abi.unpin if self._field(2) == _PIN else _abi.release
        self._check(call(self._array.store.pointer, self.address_of_handles))

    def publish(self, length: Optional[int] = None, depth: int = 0, opaque: BytesLike = b"") -> None:
        """Publishes a fill, whose bytes are written; it is a ref then. length None: a whole block.

        Of a part of a shared fill too, without arguments: what the block is says the fill.
        """
        meta = None
        if not (length is None and depth == 0 and not opaque):
            meta = self._meta(length, depth, opaque)
        self._check(_abi.publish(self._array.store.pointer, self.address_of_handles, meta))

    def _meta(self, length: Optional[int], depth: int, opaque: BytesLike) -> _abi.Meta:
        full = self._array.store.block_size if length is None else length
        checked = _checked(Meta(full, depth, as_bytes(opaque, "opaque")))
        return _abi.Meta.from_buffer_copy(_META.pack(*checked))

    def publish_as(
        self, key: BytesLike, length: Optional[int] = None, depth: int = 0, opaque: BytesLike = b""
    ) -> Published:
        """Publishes a block without a key under one. It is a ref of the key's block then, perhaps of another."""
        what = as_bytes(key)
        published = ctypes.c_uint()
        self._check(
            _abi.publish_as(
                self._array.store.pointer,
                self.address_of_handles,
                what,
                len(what),
                self._meta(length, depth, opaque),
                published,
            )
        )
        return Published(published.value)

    def give_up(self) -> None:
        """Gives up a fill, a part of one, or a block without a key."""
        self._check(_abi.give_up(self._array.store.pointer, self.address_of_handles))

    def publish_on(
        self, stream: AnyStream, length: Optional[int] = None, depth: int = 0, opaque: BytesLike = b""
    ) -> None:
        """publish() when a stream gets there. It is a ref at once, which is pending until then."""
        meta = None
        if not (length is None and depth == 0 and not opaque):
            meta = ctypes.byref(self._meta(length, depth, opaque))
        self._on(_abi.publish_on, stream, meta)

    def give_up_on(self, stream: AnyStream) -> None:
        """give_up() when a stream gets there. It is no hold any more at once."""
        self._on(_abi.give_up_on, stream)

    def release_on(self, stream: AnyStream) -> None:
        """Ends a ref when a stream gets there. It is no hold any more at once."""
        self._on(_abi.release_on, stream)

    def _on(self, call: Any, stream: AnyStream, *more: Any) -> None:
        handle, results = as_stream(stream), Results(1)
        self._array.store.uses_streams = True
        with self._array.store.calling() as store:
            self._check(call(store, handle, self.address_of_handles, *more, 1, results.address) or results[0])

    def read(self, plane: int = 0, offset: int = 0, length: Optional[int] = None) -> bytes:
        """A copy of its bytes in a plane, whichever memory they are in; length None: up to the block's end."""
        size = self._array.store.block_size - offset if length is None else length
        data = bytearray(fits(size, "length", 63))
        self.read_into(data, plane, offset)
        return bytes(data)

    def read_into(self, buffer: Any, plane: int = 0, offset: int = 0) -> None:
        """Copies its bytes in a plane into a buffer, as many as that has."""
        view = memoryview(buffer).cast("B")
        if not len(view):
            return
        into = (ctypes.c_char * len(view)).from_buffer(view)
        self._copy(_abi.read, plane, offset, ctypes.addressof(into), len(view))

    def write(self, data: BytesLike, plane: int = 0, offset: int = 0) -> None:
        """Copies bytes into it, in a plane, whichever memory that has; for who may write there."""
        copied = as_bytes(data, "data")
        self._copy(_abi.write, plane, offset, copied, len(copied))

    def _copy(self, call: Any, plane: int, offset: int, memory: Any, length: int) -> None:
        where = fits(plane, "plane"), fits(offset, "offset", 64)
        with self._array.store.calling() as store:
            self._check(call(store, self.address_of_handles, *where, memory, length))

    def wait(self, timeout: float) -> None:
        """Waits until the block is ready, at most so many seconds: TimedOut. Canceled: it won't be; ask again."""
        with self._array.store.calling() as store:
            self._check(wait_in_slices(timeout, lambda until: int(_abi.wait(store, self.address_of_handles, until))))

    def pin(self) -> Hold:
        """A pin of the same block."""
        pin = Hold(self._new(1))
        self._check(_abi.pin(self._array.store.pointer, self.address_of_handles, pin.address_of_handles))
        return pin

    def ticket(self) -> bytes:
        """The block's ticket: 16 bytes, by which another process takes a hold (Store.hold())."""
        ticket = bytearray(_abi.TICKET_SIZE)
        self._check(_abi.get_ticket(self._array.store.pointer, self.address_of_handles, address_of(ticket)))
        return bytes(ticket)

    def meta(self) -> Meta:
        """What was published with the block."""
        meta = _abi.Meta()
        self._check(_abi.get_meta(self._array.store.pointer, self.address_of_handles, meta))
        return Meta(meta.length, meta.depth, bytes(meta.opaque))

    def address(self, plane: int = 0) -> int:
        """Where its bytes are in a plane, in this process; valid while it is held."""
        at = ctypes.c_void_p()
        self._array.store.mapped(plane)
        self._check(_abi.address(self._array.store.pointer, self.address_of_handles, fits(plane, "plane"), at))
        return int(at.value or 0)

    def memory(self, plane: int = 0) -> Memory:
        """Its bytes in a plane, to be read; to be written by a fill, that plane's part, or a block without a key."""
        store = self._array.store
        kind = self._field(2)
        writable = kind in (_WRITER, _OWNED) or (kind == _PART and self._field(3) == plane)
        memory, device = store.mapped(plane)
        return Memory(store, self.address(plane), (store.block_size,), memory, device, writable)

    def buffer(self, plane: int = 0) -> memoryview:
        """The same as a memoryview; of host memory."""
        return self.memory(plane).buffer()

    def __repr__(self) -> str:
        return f"<kvshm.Hold {self.kind.name} of block {self.block}>"


class Holds(_Held):
    """Holds on many blocks, made by a batch or a match. As a context manager it lets go of all in the end.

    results tells what came of each key or ticket, where the call has that; outcomes and published likewise. Items that
    failed, and keys that were not asked for, are no holds: their kind is NONE.
    """

    __slots__ = ("results", "_outcomes", "_published", "next")

    def __init__(
        self,
        handles: HandleArray,
        first: int,
        count: int,
        results: Optional[Results] = None,
        outcomes: Optional[array[int]] = None,
        next: Optional[Next] = None,
    ) -> None:
        super().__init__(handles, first, count)
        self.results = results
        self._outcomes = outcomes
        self._published: Optional[array[int]] = None
        self.next = next  # of a match: why it ended where it did

    def __enter__(self) -> Holds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Hold: ...

    @overload
    def __getitem__(self, index: slice) -> Holds: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Hold, Holds]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                raise ValueError("a slice of holds has no step")
            return self._slice(start, max(stop - start, 0))
        index = self._number(index)
        outcome = None
        if self._outcomes is not None and (self.results is None or not self.results[index]):
            outcome = Outcome(self._outcomes[index])
        return Hold(self._array, self._first + index, outcome)

    def _slice(self, start: int, count: int) -> Holds:
        """So many of them, with what came of each."""
        part = Holds(self._array, self._first + start, count)
        of = slice(start, start + count)
        part.results = None if self.results is None else self.results.part(range(start, start + count))
        part._outcomes = None if self._outcomes is None else self._outcomes[of]
        part._published = None if self._published is None else self._published[of]
        return part

    def __iter__(self) -> Iterator[Hold]:
        return (self[i] for i in range(self._count))

    @property
    def kinds(self) -> bytes:
        """The kinds of all, a byte each: kinds[i] == Kind.REF."""
        return bytes(self._array.kinds(self._first, self._count))

    @property
    def outcomes(self) -> Optional[List[int]]:
        """What came of each key: Outcome's numbers; of those only that succeeded."""
        return None if self._outcomes is None else self._outcomes.tolist()

    @property
    def published(self) -> Optional[List[int]]:
        """What came of each in publish_as(): Published's numbers; of those only that succeeded."""
        return None if self._published is None else self._published.tolist()

    @property
    def blocks(self) -> List[int]:
        """The blocks' numbers."""
        words = memoryview(self._array.data).cast("I")
        size = _SIZE // 4
        return words[self._first * size + 2 : (self._first + self._count) * size : size].tolist()

    def where(self, outcome: Outcome) -> List[int]:
        """The numbers of those whose keys had that outcome, and that are held here still."""
        if self._outcomes is None:
            raise ValueError("these holds are of a call without outcomes")
        return [i for i, (what, kind) in enumerate(zip(self._outcomes, self.kinds)) if what == outcome and kind]

    def take(self, which: Union[Outcome, Iterable[int]]) -> Holds:
        """Moves some into an array of their own: those of an outcome, or of these numbers; they are no holds here then.

        So the fills of a batch are handled together: fills = holds.take(Outcome.FILL).
        """
        numbers = self.where(which) if isinstance(which, Outcome) else [self._number(i) for i in which]
        if len(set(numbers)) != len(numbers):
            raise ValueError("a hold can't be taken twice")
        taken = Holds(self._new(len(numbers)), 0, len(numbers))
        for to, number in enumerate(numbers):
            at = _SIZE * (self._first + number)
            handle = self._array.data[at : at + _SIZE]
            self._array.data[at : at + _SIZE] = _NO_HOLD  # before: interrupted here it ends with the store, not twice
            taken._array.data[_SIZE * to : _SIZE * (to + 1)] = handle
        if self.results is not None:
            taken.results = self.results.part(numbers)
        if self._outcomes is not None:
            taken._outcomes = array("I", [self._outcomes[i] for i in numbers])
        return taken

    def _number(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise IndexError("there is no such hold")
        return index % self._count

    def _batch(self, call: Any, *more: Any) -> Results:
        results = Results(self._count)
        store = self._array.store
        result = call(store.pointer, self.address_of_handles, *more, self._count, results.address)
        if result:
            store.fail(result)
        return results.keep_text()

    def release(self) -> None:
        """Ends refs and pins; what is no hold is passed over. Busy: some are fills, or a request's."""
        error = self._array.release(self._first, self._count)
        if error:
            self._array.store.fail(error)
        if self.kinds.strip(b"\0"):
            raise Busy(errno.EBUSY, "some are fills, to be published or given up, or a request's: those are held still")

    def publish(self, metas: Optional[Sequence[Meta]] = None) -> Results:
        """Publishes fills, or parts; metas None: whole blocks."""
        packed = _packed_metas(metas, self._count)
        return self._batch(_abi.publish_batch, address_of(packed) if packed else None)

    def publish_as(self, keys: AnyKeys, metas: Optional[Sequence[Meta]] = None) -> Results:
        """Publishes blocks without a key under keys: see published. Each is a ref of its key's block then."""
        names = as_keys(keys)
        if len(names) != self._count:
            raise ValueError(f"{len(names)} keys for {self._count} holds")
        packed = _packed_metas(metas, self._count)
        published = array("I", bytes(4 * self._count))
        results = Results(self._count)
        store = self._array.store
        with store.calling() as pointer:
            result = _abi.publish_as_batch(
                pointer,
                self.address_of_handles,
                names.address,
                address_of(packed) if packed else None,
                self._count,
                published.buffer_info()[0],
                results.address,
            )
        if result:
            store.fail(result)
        self._published = published
        return results.keep_text()

    def give_up(self) -> Results:
        """Gives up fills, parts and blocks without a key."""
        return self._batch(_abi.give_up_batch)

    def publish_on(self, stream: AnyStream, metas: Optional[Sequence[Meta]] = None) -> Results:
        """publish() when a stream gets there: they are refs at once, which are pending until then."""
        packed = _packed_metas(metas, self._count)
        return self._on(_abi.publish_on, stream, address_of(packed) if packed else None)

    def give_up_on(self, stream: AnyStream) -> Results:
        """give_up() when a stream gets there; they are no holds any more at once."""
        return self._on(_abi.give_up_on, stream)

    def release_on(self, stream: AnyStream) -> Results:
        """Ends refs when a stream gets there; they are no holds any more at once."""
        return self._on(_abi.release_on, stream)

    def _on(self, call: Any, stream: AnyStream, *more: Any) -> Results:
        handle, results = as_stream(stream), Results(self._count)
        self._array.store.uses_streams = True
        with self._array.store.calling() as store:
            result = call(store, handle, self.address_of_handles, *more, self._count, results.address)
        if result:
            self._array.store.fail(result)
        return results.keep_text()

    def wait(self, timeout: float) -> Results:
        """Waits until all are ready, or won't be, or the time is over: see their results."""
        results = Results(self._count)
        store = self._array.store

        def attempt(until: int) -> int:
            again = Results(self._count)
            result: int = _abi.wait_batch(pointer, self.address_of_handles, self._count, until, again.address)
            if result:
                return result
            results.merge(again.keep_text())
            return -errno.ETIMEDOUT if -errno.ETIMEDOUT in results else 0

        with store.calling() as pointer:
            result = wait_in_slices(timeout, attempt)
        if result not in (0, -errno.ETIMEDOUT):
            store.fail(result)
        return results

    def pin(self) -> Holds:
        """Pins of the same blocks."""
        pins = self._new(self._count)
        results = self._batch2(_abi.pin_batch, pins.address)
        return Holds(pins, 0, self._count, results)

    def _batch2(self, call: Any, out: int) -> Results:
        results = Results(self._count)
        store = self._array.store
        result = call(store.pointer, self.address_of_handles, self._count, out, results.address)
        if result:
            store.fail(result)
        return results.keep_text()

    def _check_held(self, results: Results) -> None:
        """Raises the first error of those that are holds."""
        kinds = self.kinds
        for i in results.failed():
            if kinds[i] != _NONE:
                raise results.error(i)

    def tickets(self) -> bytes:
        """Their tickets, 16 bytes each, one after the other; zeros, which no block has, for what is no hold."""
        tickets = bytearray(_abi.TICKET_SIZE * self._count)
        self._check_held(self._batch2(_abi.get_ticket_batch, address_of(tickets)))
        return bytes(tickets)

    def metas(self) -> List[Meta]:
        """What was published with each; zeros for what is no hold."""
        data = bytearray(_META.size * self._count)
        self._check_held(self._batch2(_abi.get_meta_batch, address_of(data)))
        return [Meta(*fields) for fields in _META.iter_unpack(data)]

    def addresses(self, plane: int = 0) -> array[int]:
        """Where their bytes are in a plane, in this process; valid while they are held. 0 for what is no hold."""
        at = array("Q", bytes(8 * self._count))
        results = Results(self._count)
        store = self._array.store
        store.mapped(plane)
        result = _abi.address_batch(
            store.pointer,
            self.address_of_handles,
            fits(plane, "plane"),
            self._count,
            at.buffer_info()[0],
            results.address,
        )
        if result:
            store.fail(result)
        self._check_held(results.keep_text())
        return at

    def __repr__(self) -> str:
        return f"<kvshm.Holds of {self._count}>"
