# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Request: the name of what an engine's request holds, in the store: it ends together, also by its owner's death."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import sys
import time
import warnings
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from . import _abi
from ._abi import Next, Outcome, RequestState, fits, nanoseconds
from ._errors import Error, InProgress, Local, make_error
from ._holds import HandleArray, Hold, Holds, Results, wait_in_slices
from ._keys import AnyKeys, BytesLike, address_of, as_bytes, as_keys
from ._streams import AnyStream, as_stream

if TYPE_CHECKING:
    from ._store import Store


class RequestInfo(NamedTuple):
    """What can be told of a request: times are seconds."""

    state: RequestState
    completed: bool
    attempt: int
    owner: int
    owner_alive: bool
    expected: int
    held: int
    fills: int
    room: int
    wanted: int
    ahead: int
    claims: int
    age: float
    held_age: float
    id: bytes  # empty: it has no name


class Settled(NamedTuple):
    """What Request.settle() saw."""

    pending: int
    failed: bool


class Request(Local):
    """A request of a store, opened here (Store.open_request()) or elsewhere (find_request(), request()).

    As a context manager it is ended at the end of the block. bytes(request) names it in every process of the node, but
    keeps nothing: when the object that open_request() gave is gone, the request is ended, with a ResourceWarning.
    """

    __slots__ = ("store", "_name", "address", "_opened")

    def __init__(self, store: Store, name: Optional[bytes] = None, opened: bool = False) -> None:
        self.store = store
        self._name = bytearray(ctypes.sizeof(_abi.RequestName))
        if name is not None:
            if len(name) != len(self._name):
                raise ValueError(f"{len(name)} bytes: a request's name has {len(self._name)}")
            self._name[:] = name
        self.address = address_of(self._name)
        self._opened = opened  # or is about to be, by this object: it is the one that keeps it

    def __bytes__(self) -> bytes:
        return bytes(self._name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return self._name == other._name

    def __hash__(self) -> int:
        return hash(bytes(self._name))

    def __enter__(self) -> Request:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.end()
        except (Error, ValueError):
            if kind is None:
                raise
            # The exception that is on its way tells more than that there is nothing left to end.

    def __del__(self) -> None:
        if not getattr(self, "_opened", False) or self.store.left_to_death:
            return
        if self._end_if_open() and not sys.is_finalizing():
            warnings.warn(f"{self!r} was not ended", ResourceWarning, stacklevel=2)

    def _end_if_open(self) -> bool:
        """Ends it if that is still to be done, and can be: not in a child of fork(), say. True: it was."""
        with contextlib.suppress(Error, ValueError):
            return any(self._name) and self.end()
        return False

    def _check(self, result: int) -> None:
        if result:
            self.store.fail(result)

    def _count(self, holds: Union[Hold, Holds]) -> int:
        """How many holds these are, if a call may be given them."""
        if not isinstance(holds, (Hold, Holds)):
            raise TypeError(f"a Hold or Holds are wanted, not {type(holds).__name__}")
        if holds.store is not self.store:
            raise ValueError("holds of another store")
        return 1 if isinstance(holds, Hold) else len(holds)

    # -- Its owner's --

    def match(self, keys: AnyKeys) -> Holds:
        """The longest prefix of keys that is ready, held by the request until it ends: len() of it. See next.

        Asked again it gives the same holds, not more.
        """
        names = as_keys(keys)
        handles = HandleArray(self.store, len(names))
        ready = ctypes.c_size_t()
        why = ctypes.c_uint()
        result = _abi.request_match(
            self.store.pointer, self.address, names.address, len(names), handles.address, ready, why
        )
        if result:
            self.store.fail(result)
        return Holds(handles, 0, ready.value, None, None, Next(why.value))

    def pin(self, holds: Union[Hold, Holds]) -> Holds:
        """The request holds these blocks, too, until it ends: see results. The holds stay as they are.

        For what Store.match_window() has found, say. A block that the request holds already gives the same hold, and
        what is no hold (NONE) gives none: its result is 0.
        """
        count = self._count(holds)
        lent = HandleArray(self.store, count)
        results = Results(count)
        self._check(
            _abi.request_pin(
                self.store.pointer, self.address, holds.address_of_handles, count, lent.address, results.address
            )
        )
        return Holds(lent, 0, count, results.keep_text())

    def get_or_fill(self, key: BytesLike, shared: bool = False) -> Hold:
        """As Store.get_or_fill(): the hold is the request's; a fill takes its room."""
        what = as_bytes(key)
        hold = Hold(HandleArray(self.store, 1))
        outcome = ctypes.c_uint()
        call = _abi.request_get_or_fill_shared if shared else _abi.request_get_or_fill
        with self.store.calling() as pointer:
            self._check(call(pointer, self.address, what, len(what), outcome, hold.address_of_handles))
        hold.outcome = Outcome(outcome.value)
        return hold

    def get_or_fill_batch(self, keys: AnyKeys, shared: bool = False) -> Holds:
        """get_or_fill() of each key: see results and outcomes."""
        names = as_keys(keys)
        count = len(names)
        call = _abi.request_get_or_fill_shared_batch if shared else _abi.request_get_or_fill_batch
        handles = HandleArray(self.store, count)
        results = Results(count)
        outcomes = array("I", bytes(4 * count))
        with self.store.calling() as pointer:
            result = call(
                pointer, self.address, names.address, count, outcomes.buffer_info()[0], handles.address, results.address
            )
        self._check(result)
        return Holds(handles, 0, count, results.keep_text(), outcomes)

    def reserve(self, blocks: int, timeout: float) -> None:
        """Reserves room, whole, in order of arrival, and waits for it: TimedOut, with nothing held. TooLarge; Busy."""
        nanoseconds(timeout)  # what raises for its arguments has changed nothing
        wanted = fits(blocks, "blocks")
        try:
            result = self._queue(wanted, timeout)
            if result == -errno.EINPROGRESS:
                self.wait_room(timeout)
                result = 0
        except InProgress as error:  # with a timeout of 0
            self.unreserve()
            raise make_error(-errno.ETIMEDOUT, "there is no room now: nothing is held for the request") from error
        except BaseException:
            with contextlib.suppress(Error, ValueError):  # it may have ended
                self.unreserve()
            raise
        self._check(result)

    def queue(self, blocks: int, timeout: float) -> bool:
        """Takes a place in the line, for so many seconds. True: the room is there; else wait_room() looks."""
        result = self._queue(fits(blocks, "blocks"), timeout)
        if result != -errno.EINPROGRESS:
            self._check(result)
        return result == 0

    def _queue(self, blocks: int, timeout: float) -> int:
        deadline = time.monotonic_ns() + nanoseconds(timeout)
        with self.store.calling() as pointer:
            return int(_abi.request_queue(pointer, self.address, blocks, deadline))

    def wait_room(self, timeout: float) -> None:
        """Waits for the room that was queued for. InProgress: not yet; TimedOut: the place's own time is over."""
        with self.store.calling() as pointer:
            result = wait_in_slices(
                timeout,
                lambda until: int(_abi.request_wait_room(pointer, self.address, until)),
                -errno.EINPROGRESS,
            )
        self._check(result)

    def unreserve(self) -> None:
        """Gives back what is left of the room, or the place in the line."""
        with self.store.calling() as pointer:
            self._check(_abi.request_unreserve(pointer, self.address))

    def release(self, holds: Union[Hold, Holds]) -> None:
        """Lets go of these of its holds."""
        count = self._count(holds)
        self._check(_abi.request_release(self.store.pointer, self.address, holds.address_of_handles, count))

    def keep(self, holds: Union[Hold, Holds, None]) -> None:
        """Lets go of all its holds but these. Its fills that are not whole yet stay."""
        if holds is None:
            self._check(_abi.request_keep(self.store.pointer, self.address, None, 0))
            return
        count = self._count(holds)
        self._check(_abi.request_keep(self.store.pointer, self.address, holds.address_of_handles, count))

    def complete(self, timeout: float) -> None:
        """Waits until all that it holds is ready, and says that it is complete. NotReady: ask for the keys again."""
        with self.store.calling() as pointer:
            self._check(
                wait_in_slices(timeout, lambda until: int(_abi.request_complete(pointer, self.address, until)))
            )

    def settle(self) -> Settled:
        """How many blocks that it fills, or waits for, are not ready yet; and whether some have failed since the last
        look: these holds have ended. (What another call has told is not told again.) It never waits, and may be called
        again and again, also when it is complete.
        """
        pending = ctypes.c_uint32()
        result = _abi.request_settle(self.store.pointer, self.address, pending)
        if result not in (0, -errno.EAGAIN):
            self.store.fail(result)
        return Settled(pending.value, bool(result))

    # -- Anyone's --

    def wait(self, timeout: float) -> None:
        """Waits until it is complete. TimedOut; Canceled: it has ended."""
        with self.store.calling() as pointer:
            self._check(wait_in_slices(timeout, lambda until: int(_abi.request_wait(pointer, self.address, until))))

    def claim(self, keys: AnyKeys) -> Holds:
        """Refs of its keys, the caller's own: results has what came of each. Canceled: it has ended."""
        names = as_keys(keys)
        handles = HandleArray(self.store, len(names))
        results = Results(len(names))
        self._check(
            _abi.request_claim(
                self.store.pointer, self.address, names.address, len(names), handles.address, results.address
            )
        )
        return Holds(handles, 0, len(names), results.keep_text())

    def end(self) -> bool:
        """Ends it: the owner lets go of everything; anyone else asks for that. False: it had ended before."""
        with self.store.calling() as pointer:
            result = _abi.request_end(pointer, self.address)
        if result not in (0, -errno.EALREADY):
            self.store.fail(result)
        self._opened = False
        return bool(result == 0)

    def end_on(self, stream: AnyStream) -> None:
        """end() when a stream gets there; one that has ended by then, or before, is none the worse."""
        handle = as_stream(stream)
        self.store.uses_streams = True
        with self.store.calling() as pointer:
            result = _abi.request_end_on(pointer, handle, self.address)
        if result not in (0, -errno.EALREADY):
            self.store.fail(result)
        self._opened = False

    def info(self) -> RequestInfo:
        """How it is at this moment."""
        info: Any = _abi.RequestInfo()
        self._check(_abi.request_get_info(self.store.pointer, self.address, info))
        return make_info(info)

    def __repr__(self) -> str:
        return f"<kvshm.Request {bytes(self).hex()}>"


def make_info(info: Any) -> RequestInfo:
    """What a struct kvshm_request_info says."""
    return RequestInfo(
        state=RequestState(info.state),
        completed=bool(info.completed),
        attempt=info.attempt,
        owner=info.owner,
        owner_alive=bool(info.owner_alive),
        expected=info.expected,
        held=info.held,
        fills=info.fills,
        room=info.room,
        wanted=info.wanted,
        ahead=info.ahead,
        claims=info.claims,
        age=info.age / 1e9,
        held_age=info.held_age / 1e9,
        id=bytes(info.id[: info.id_length]),
    )


def as_id(id: Union[str, BytesLike]) -> bytes:
    """A request's id: text is UTF-8."""
    return id.encode() if isinstance(id, str) else as_bytes(id, "a request's id")
