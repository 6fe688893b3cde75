# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Store: an attached store, and the calls on its keys."""

from __future__ import annotations

import ctypes
import errno
import sys
from array import array
from typing import Any, Dict, Iterable, List, NamedTuple, NoReturn, Optional, Set, Tuple, Union
from weakref import WeakSet

from . import _abi, _dlpack, _peer
from ._abi import AnyPath, Next, Outcome, PlaneMemory, Retain, fits, nanoseconds
from ._calling import Calling
from ._errors import Busy, Local, make_error
from ._holds import HandleArray, Hold, Holds, Results
from ._keys import AnyKeys, BytesLike, address_of, as_bytes, as_keys, seen_as_bytes
from ._link import Link, drop_all
from ._memory import Memory
from ._request import Request, as_id
from ._streams import AnyStream, Piece, Pieces, as_stream


class _Export:
    """Lives as long as the memory that it was given with is seen by someone; keeps the store attached."""

    __slots__ = ("store", "__weakref__")

    def __init__(self, store: Store) -> None:
        self.store = store


class OwnerInfo(NamedTuple):
    """Who owns a store."""

    alive: bool
    pid: int


class Store(Local):
    """An attached store: made by attach(), to be closed by close(), or by a with statement.

    Any thread may call it. A child of fork() can't (Forked): it attaches the store for itself.
    """

    def __init__(self, name: str, options: _abi.AttachOptions) -> None:
        # Where the library puts it, so that it is detached also where an interrupt comes before anything else. Its
        # value is None when closed: also to calls that are under way.
        self.pointer = ctypes.c_void_p()
        self._attached: List[int] = []  # who takes it from here detaches
        self._inside: Set[int] = set()
        self._seen: WeakSet[_Export] = WeakSet()
        self.links: Set[Link] = set()  # its peers and listeners
        self.uses_streams = False  # something of its was put on a stream
        self.name = name
        self._planes: Dict[int, Tuple[PlaneMemory, int]] = {}  # that are mapped: memory and device
        result = _abi.attach(_abi.text(name, "name"), options, self.pointer)
        if result:
            raise make_error(result, _abi.last_error())
        assert self.pointer.value is not None
        self._attached.append(self.pointer.value)
        geometry = _abi.Geometry()
        self._check(_abi.get_geometry(self.pointer, geometry))
        self.block_size: int = geometry.block_size
        self.blocks: int = geometry.blocks
        self.planes: int = geometry.planes
        self.key_max: int = geometry.key_max
        self.clients_max: int = geometry.clients
        self.requests_max: int = geometry.requests
        self.slot: int = geometry.slot
        self.incarnation: int = geometry.incarnation
        self.retain = Retain(geometry.retain)

    # -- Its end --

    def close(self) -> None:
        """Lets go of everything that this client holds, and detaches.

        BufferError: its memory is still seen (memoryview, an array, a tensor), Busy: a thread is in a call.
        """
        try:
            pointer = self._attached.pop()
        except IndexError:
            return
        try:
            self._refuse_if_in_use(pointer)
            self.pointer.value = None  # from here on nobody begins a call, or to see memory
            self._refuse_if_in_use(pointer)
        except BaseException:
            self.pointer.value = pointer
            self._attached.append(pointer)
            raise
        _abi.detach(pointer)  # what it can fail with (fork) leaves nothing to do

    def _refuse_if_in_use(self, pointer: int) -> None:
        _dlpack.sweep()
        if not self._inside and not len(self._seen) and not self.links:
            return
        if _abi.get_geometry(pointer, _abi.Geometry()) == -errno.ECHILD:
            return  # a child of fork() has neither the threads nor the memory
        if self._inside:
            raise Busy(errno.EBUSY, "another thread is in a call with the store")
        if self.links:
            raise Busy(errno.EBUSY, "a peer or a listener of the store is open: close it before")
        raise BufferError("memory of the store is still seen by a memoryview, an array or a tensor")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except (BufferError, Busy):
            if kind is None:
                raise
            # An exception holds what its frames had, perhaps memory: it is to be seen, and the store ends after it.

    def __del__(self) -> None:
        pointer = self.pointer.value if hasattr(self, "pointer") else None
        if pointer is not None:
            if self.left_to_death:
                return
            self.pointer.value = None
            drop_all(self.links)
            _abi.detach(pointer)

    @property
    def left_to_death(self) -> bool:
        """Does the interpreter end, and is what it holds left to the process's end, and to recovery?

        Detaching waits for streams, of which one may be stuck: the process would never end. And what is on a stream
        may still be at what would be let go of.
        """
        return self.uses_streams and sys.is_finalizing()

    @property
    def closed(self) -> bool:
        """Was it closed?"""
        return self.pointer.value is None

    def fail(self, result: int) -> NoReturn:
        """Raises the error of a call that has just failed in this thread."""
        if self.closed:
            raise ValueError("the store is closed")
        raise make_error(result, _abi.last_error())

    def _check(self, result: int) -> None:
        if result:
            self.fail(result)

    def calling(self) -> Calling:
        """For calls that release the interpreter lock: gives the store's address to call with."""
        return Calling(self._inside, self.pointer, "the store is closed")

    def note_export(self, memory: Any) -> None:
        """Remembers that its memory is seen through that object, until that is gone."""
        memory.export = _Export(self)
        self._seen.add(memory.export)
        if self.closed:
            raise ValueError("the store is closed")

    # -- Other nodes --

    def connect(self, url: str, *, deadline: float = 10.0, **options: Any) -> _peer.Peer:
        """Connects to who listens at url ([rdma|tcp]://ADDR[:PORT]): see kvshm.connect()."""
        return _peer.Peer(self, url, deadline, options)

    def listen(self, url: str, **options: Any) -> _peer.Listener:
        """Listens for peers that fill blocks of this store, or want some; to be closed before the store.

        options: those of connect(), and claim_timeout: seconds that a transfer which is complete waits to be claimed,
        0 for ever; fill_timeout: seconds that one may do nothing with the room that it was given, 0 for ever; open:
        also without a secret where other machines can connect.
        """
        return _peer.Listener(self, url, options)

    # -- All of it --

    def plane(self, number: int) -> Memory:
        """A plane's whole memory, of the shape (blocks, block_size)."""
        info = _abi.PlaneInfo()
        with self.calling() as pointer:
            self._check(_abi.get_plane_info(pointer, fits(number, "plane"), info))
        kind = PlaneMemory(info.memory)
        self._planes[number] = kind, info.device
        return Memory(self, info.address, (self.blocks, self.block_size), kind, info.device, True)

    def mapped(self, plane: int) -> Tuple[PlaneMemory, int]:
        """Which memory a plane has, and its GPU's number; mapped, so that calls that ask for addresses need not do so.

        They keep the interpreter lock, and mapping GPU memory takes long.
        """
        if plane not in self._planes:
            self.plane(plane)
        return self._planes[plane]

    def register_plane(self, plane: int) -> None:
        """Registers a plane of host memory with the CUDA driver, for kernels and for copies on streams."""
        with self.calling() as pointer:
            self._check(_abi.register_plane(pointer, fits(plane, "plane")))

    def copy_in(self, stream: AnyStream, plane: int, pieces: Iterable[Piece]) -> None:
        """Copies pieces into blocks of a plane, on a stream: each (hold, offset in the block, address, length).

        The memory at the addresses, and the holds, must last until the stream has got there.
        """
        self._copy(_abi.copy_in, stream, plane, pieces)

    def copy_out(self, stream: AnyStream, plane: int, pieces: Iterable[Piece]) -> None:
        """Copies pieces out of blocks, likewise."""
        self._copy(_abi.copy_out, stream, plane, pieces)

    def _copy(self, call: Any, stream: AnyStream, plane: int, pieces: Iterable[Piece]) -> None:
        handle, packed = as_stream(stream), Pieces(self, pieces)
        self.uses_streams = True
        with self.calling() as pointer:
            self._check(call(pointer, handle, fits(plane, "plane"), packed.address, packed.count))

    def owner(self) -> OwnerInfo:
        """Who owns the store, and whether that process lives, at this moment."""
        info = _abi.OwnerInfo()
        with self.calling() as pointer:
            self._check(_abi.get_owner_info(pointer, info))
        return OwnerInfo(bool(info.alive), info.pid)

    def recover(self) -> int:
        """Recovers dead clients; how many were."""
        count = ctypes.c_uint()
        with self.calling() as pointer:
            self._check(_abi.recover(pointer, count))
        return int(count.value)

    def clear(self) -> None:
        """From this step on every key that was there is missing, for all processes: for a change of weights."""
        with self.calling() as pointer:
            self._check(_abi.clear(pointer))

    def fileno(self) -> int:
        """A descriptor for select, selectors or asyncio (add_reader), readable when what was not yet may be now."""
        fd = ctypes.c_int()
        self._check(_abi.poll_fd(self.pointer, fd))
        return int(fd.value)

    def poll_clear(self) -> None:
        """Makes the descriptor unreadable until there is something new: call it before looking again."""
        with self.calling() as pointer:
            self._check(_abi.poll_clear(pointer))

    # -- One key --

    def get(self, key: BytesLike) -> Hold:
        """A ref of a key that is ready. NotFound; NotReady: it is being filled."""
        what = as_bytes(key)
        hold = Hold(HandleArray(self, 1), 0, Outcome.READY)
        self._check(_abi.get(self.pointer, what, len(what), hold.address_of_handles))
        return hold

    def get_or_fill(self, key: BytesLike, shared: bool = False) -> Hold:
        """A ref of a key, or its fill: see outcome. shared: its planes are written by those who join(). NoRoom."""
        what = as_bytes(key)
        hold = Hold(HandleArray(self, 1))
        outcome = ctypes.c_uint()
        call = _abi.get_or_fill_shared if shared else _abi.get_or_fill
        with self.calling() as pointer:
            self._check(call(pointer, what, len(what), outcome, hold.address_of_handles))
        hold.outcome = Outcome(outcome.value)
        return hold

    def remove(self, key: BytesLike) -> None:
        """Hides a key at once; its bytes live until their last hold ends. NotFound."""
        what = as_bytes(key)
        self._check(_abi.remove(self.pointer, what, len(what)))

    def touch(self, key: BytesLike) -> None:
        """Marks a ready key as used now, without holding it. NotFound; NotReady."""
        what = as_bytes(key)
        self._check(_abi.touch(self.pointer, what, len(what)))

    def alloc(self) -> Hold:
        """A block without a key, to be written, and published under one. NoRoom."""
        hold = Hold(HandleArray(self, 1))
        with self.calling() as pointer:
            self._check(_abi.alloc(pointer, hold.address_of_handles))
        return hold

    def hold(self, ticket: bytes) -> Hold:
        """A ref by ticket, without a lookup. NotFound: the block has gone; Canceled: its fill was given up."""
        hold = Hold(HandleArray(self, 1))
        outcome = ctypes.c_uint()
        tickets = _tickets(ticket, 1)
        self._check(_abi.hold(self.pointer, address_of(tickets), outcome, hold.address_of_handles))
        hold.outcome = Outcome(outcome.value)
        return hold

    def join(self, ticket: bytes, plane: int) -> Hold:
        """The part of one plane in a shared fill, to be written and published, or given up."""
        hold = Hold(HandleArray(self, 1))
        tickets = _tickets(ticket, 1)
        self._check(_abi.join(self.pointer, address_of(tickets), fits(plane, "plane"), hold.address_of_handles))
        return hold

    # -- Many keys --

    def match(self, keys: AnyKeys) -> Holds:
        """Refs of the longest prefix of keys that is ready: len() of it. next says what the next key is.

        Keys that are None are passed over as if they were ready.
        """
        return self._match(_abi.match, as_keys(keys))

    def match_window(self, keys: AnyKeys, window: int) -> Holds:
        """The same for sliding windows: the longest prefix whose last `window` keys are ready; only these are held."""
        return self._match(_abi.match_window, as_keys(keys), fits(window, "window"))

    def _match(self, call: Any, names: Any, *window: int) -> Holds:
        handles = HandleArray(self, len(names))
        ready = ctypes.c_size_t()
        why = ctypes.c_uint()
        result = call(self.pointer, names.address, len(names), *window, handles.address, ready, why)
        if result:
            self.fail(result)
        return Holds(handles, 0, ready.value, None, None, Next(why.value))

    def get_batch(self, keys: AnyKeys) -> Holds:
        """get() of each key: results has what came of it."""
        names = as_keys(keys)
        return self._take(_abi.get_batch, len(names), names.address)

    def get_or_fill_batch(self, keys: AnyKeys, shared: bool = False) -> Holds:
        """get_or_fill() of each key: see results and outcomes."""
        names = as_keys(keys)
        call = _abi.get_or_fill_shared_batch if shared else _abi.get_or_fill_batch
        outcomes = array("I", bytes(4 * len(names)))
        return self._take(call, len(names), names.address, outcomes=outcomes)

    def alloc_batch(self, count: int) -> Holds:
        """So many blocks without a key, each with its result."""
        return self._take(_abi.alloc_batch, fits(count, "count"))

    def hold_batch(self, tickets: bytes) -> Holds:
        """hold() of each of the tickets, which are 16 bytes each, one after the other."""
        packed = _tickets(tickets)
        count = len(packed) // _abi.TICKET_SIZE
        outcomes = array("I", bytes(4 * count))
        return self._take(_abi.hold_batch, count, address_of(packed), outcomes=outcomes)

    def join_batch(self, tickets: bytes, plane: int) -> Holds:
        """join() of each of the tickets."""
        packed = _tickets(tickets)
        return self._take(_abi.join_batch, len(packed) // _abi.TICKET_SIZE, address_of(packed), fits(plane, "plane"))

    def _take(self, call: Any, count: int, *what: Any, outcomes: Optional[array[int]] = None) -> Holds:
        handles = HandleArray(self, count)
        results = Results(count)
        where = () if outcomes is None else (outcomes.buffer_info()[0],)
        with self.calling() as pointer:
            if what:
                result = call(pointer, *what, count, *where, handles.address, results.address)
            else:
                result = call(pointer, count, handles.address, results.address)
        if result:
            self.fail(result)
        return Holds(handles, 0, count, results.keep_text(), outcomes)

    def remove_batch(self, keys: AnyKeys) -> Results:
        """remove() of each key."""
        return self._each(_abi.remove_batch, as_keys(keys))

    def touch_batch(self, keys: AnyKeys) -> Results:
        """touch() of each key."""
        return self._each(_abi.touch_batch, as_keys(keys))

    def _each(self, call: Any, names: Any) -> Results:
        results = Results(len(names))
        self._check(call(self.pointer, names.address, len(names), results.address))
        return results.keep_text()

    # -- Requests --

    def open_request(self, id: Union[str, BytesLike, None], attempt: int = 0, blocks: int = 0) -> Request:
        """Opens a request of so many blocks, as it expects. Exists; Ended: that attempt was closed; Full.

        With None it has no name: nobody finds it, and bytes(request) is what others know it by. The Request is to be
        kept until the request has ended: one that is forgotten is ended, and warned of.
        """
        name = None if id is None else as_id(id)
        numbers = fits(attempt, "attempt"), fits(blocks, "blocks")
        request = Request(self, None, True)
        try:
            with self.calling() as pointer:
                self._check(_abi.request_open(pointer, name, len(name or b""), *numbers, request.address))
            return request
        except BaseException:  # an interrupt, when it is open already: nobody else can name it
            request._end_if_open()
            raise

    def find_request(self, id: Union[str, BytesLike]) -> Request:
        """The request of that id, of any process; of several attempts the last. NotFound."""
        name = as_id(id)
        request = Request(self)
        with self.calling() as pointer:
            self._check(_abi.request_find(pointer, name, len(name), request.address))
        return request

    def request(self, name: bytes) -> Request:
        """The request that another process has sent the bytes of: bytes(request)."""
        return Request(self, as_bytes(name, "a request's name"))

    def tend_requests(self, claim_timeout: Optional[float] = None) -> int:
        """Ends those of this client's requests whose end was asked for, and complete ones that nobody has claimed for
        claim_timeout seconds (None: these stay); how many."""
        timeout = 0 if claim_timeout is None else max(nanoseconds(claim_timeout), 1)
        ended = ctypes.c_uint()
        with self.calling() as pointer:
            self._check(_abi.request_tend(pointer, timeout, ended))
        return int(ended.value)

    def __repr__(self) -> str:
        return f"<kvshm.Store {self.name!r}, {'closed' if self.closed else f'client {self.slot}'}>"


def _tickets(tickets: BytesLike, count: Optional[int] = None) -> bytearray:
    packed = bytearray(seen_as_bytes(tickets, "a ticket"))
    if len(packed) % _abi.TICKET_SIZE or (count is not None and len(packed) != count * _abi.TICKET_SIZE):
        raise ValueError(f"{len(packed)} bytes: tickets are {_abi.TICKET_SIZE} bytes each")
    return packed


def attach(
    name: str, *, dir: Optional[AnyPath] = None, label: Optional[str] = None, client: Optional[str] = None
) -> Store:
    """Attaches a store. label: it must have that one (Mismatch); client: this client's name, for people.

    NotFound, NotPermitted, Mismatch (another version too), Stale (it is being destroyed), Full: no client slot.
    """
    _dlpack.sweep()  # of stores before, say: engines attach and close seldom
    options = _abi.AttachOptions(
        _abi.directory(dir),
        None if label is None else _abi.text(label, "label"),
        None if client is None else _abi.text(client, "client"),
    )
    return Store(name, options)
