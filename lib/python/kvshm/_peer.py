# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Peer, Transfer, Listener: blocks that go to another node's store, and come from there."""

from __future__ import annotations

import ctypes
import errno
import sys
import time
import warnings
import weakref
from array import array
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import _abi
from ._abi import Sending, fits, nanoseconds
from ._errors import Local, make_error
from ._holds import Hold, Holds, Meta, wait_in_slices
from ._keys import AnyKeys, BytesLike, as_bytes, as_keys
from ._link import Link, descriptor
from ._memory import Memory
from ._request import Request, as_id

if TYPE_CHECKING:
    from ._store import Store

_EVENTS = 64  # that one call of the library tells
_NOT_YET = 1  # no result of a call: the transfer is under way


def _place_of(what: Any) -> Tuple[int, int]:
    """Where bytes are, and how many: of a Memory, or of a buffer that lies in one piece, and can be written."""
    if isinstance(what, Memory):
        return what.address, what.nbytes
    view = memoryview(what)
    if not view.contiguous or view.readonly:
        raise ValueError("memory that can be written, in one piece, is wanted: what is read-only can't be registered")
    flat = view.cast("B")
    return (ctypes.addressof(ctypes.c_char.from_buffer(flat)) if flat.nbytes else 0), flat.nbytes


def _transfer_options(attempt: int, planes: int, room_timeout: float) -> Any:
    options = _abi.TransferOptions()
    _abi.transfer_defaults(options)
    options.attempt = fits(attempt, "attempt")
    options.planes = fits(planes, "planes")
    options.room_timeout = nanoseconds(room_timeout)
    return options


def _shown(text: bytes) -> str:
    """What the other side says of itself."""
    return text.decode("utf-8", "replace")


class _Nothing:
    """Stands in for a call where there is nothing to call."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class PeerInfo(NamedTuple):
    """What is known of the other side, and what went over the connection. round_trip is in seconds."""

    store: str
    label: str
    node: str
    pid: int
    blocks: int  # of its store; 0: it has none
    block_size: int
    planes: int
    key_max: int
    device: str  # empty: TCP
    local: str
    remote: str
    bytes_sent: int
    bytes_received: int
    round_trip: float
    transfers: int
    connected: bool


class TransferInfo(NamedTuple):
    """How far a transfer is: how many of its blocks are in each state, and what it has ended with, once it has."""

    blocks: int
    offered: int
    pending: int
    granted: int
    committed: int
    sent: int
    there: int
    refused: int
    bytes: int
    ended: bool
    result: int


class Event(NamedTuple):
    """What Peer.work() tells: the state that a block is in; or, with position None, the end of a transfer."""

    transfer: Transfer
    position: Optional[int]
    sending: Optional[Sending]
    result: int  # 0, or a negative errno: of a block that was refused, or of the transfer


def _net_options(
    *,
    secret: Optional[BytesLike] = None,
    device: Optional[str] = None,
    device_port: int = 0,
    gid_index: int = -1,
    traffic_class: int = -1,
    timeout: float = 10.0,
    claim_timeout: float = 60.0,
    fill_timeout: float = 300.0,
    open: bool = False,
) -> Tuple[Any, Any]:
    """The options as the library takes them, and what they point to."""
    options = _abi.NetOptions()
    _abi.net_defaults(options)
    key = None if secret is None else ctypes.create_string_buffer(as_bytes(secret, "a secret"), len(secret))
    if key is not None:
        options.secret = ctypes.addressof(key)
        options.secret_length = len(key)
    options.device = None if device is None else _abi.text(device, "device")
    options.device_port = fits(device_port, "device_port")
    options.gid_index = fits(gid_index + 1, "gid_index", 31) - 1
    options.traffic_class = fits(traffic_class + 1, "traffic_class", 31) - 1
    options.timeout = nanoseconds(timeout)
    options.claim_timeout = nanoseconds(claim_timeout)
    options.fill_timeout = nanoseconds(fill_timeout)
    options.open = open
    return options, key


class Transfer(Local):
    """Blocks on their way to the other side, under a request there: made by Peer.open(), send() and want().

    To be closed by close(), or by a with statement, which aborts what is still under way; or with its peer.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._link = Link(_abi.transfer_close, "transfer", peer._link.links)

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees it; one that is under way is aborted, and goes on in the library until that is done. Busy."""
        with self.peer._calling_or_gone():
            self._link.close()

    def __del__(self) -> None:
        link: Optional[Link] = getattr(self, "_link", None)
        if link is None or link.closed or self.peer._link.closed:
            return
        info: Any = _abi.TransferInfo()
        under_way = _abi.transfer_look(link.pointer, info) == 0 and not info.ended
        link.drop()
        if under_way and not sys.is_finalizing():
            warnings.warn("a kvshm.Transfer that was under way was not closed", ResourceWarning, stacklevel=2)

    # -- Of one that was opened: send() and want() do these by themselves --

    def offer(
        self, keys: AnyKeys, metas: Union[int, Meta, Sequence[Union[int, Meta]], None] = None, first: int = 0
    ) -> None:
        """Offers blocks, for the positions from first on. metas: what each is to be published with, a Meta or a length;
        one for all, or one for each. The answers are events.
        """
        names = as_keys(keys)
        offers = (_abi.Offer * len(names))()
        whole = self.peer.info().block_size
        one = metas is None or isinstance(metas, (int, Meta))
        for i, offer in enumerate(offers):
            offer.key = _abi.Key.from_address(names.address + ctypes.sizeof(_abi.Key) * i)
            meta: Any = metas if one else metas[i]  # type: ignore[index]
            meta = Meta(whole if meta is None else meta) if not isinstance(meta, Meta) else meta
            offer.meta.length = fits(meta.length, "length", 64)
            offer.meta.depth = fits(meta.depth, "depth")
            if len(meta.opaque) > _abi.OPAQUE_SIZE:
                raise ValueError(f"{len(meta.opaque)} opaque bytes: there is room for {_abi.OPAQUE_SIZE}")
            ctypes.memmove(offer.meta.opaque, bytes(meta.opaque), len(meta.opaque))
        with self._link.calling() as pointer:
            self._link.check(_abi.transfer_offer(pointer, fits(first, "first"), ctypes.addressof(offers), len(names)))

    def write(self, position: int, buffer: Any, plane: int = 0, offset: int = 0) -> None:
        """Writes bytes into a plane of a granted block: of registered memory (Peer.register()), or of the peer's store
        (Hold.memory()). They must stay as they are until the block is SENT, or the transfer has ended.
        """
        address, size = _place_of(buffer)
        with self._link.calling() as pointer:
            self._link.check(
                _abi.transfer_write(
                    pointer, fits(position, "position"), fits(plane, "plane"), fits(offset, "offset", 64), address, size
                )
            )

    def commit(self, positions: Union[int, Iterable[int]]) -> None:
        """These granted blocks are whole, with what was written before."""
        self._list(_abi.transfer_commit, positions)

    def give_up(self, positions: Union[int, Iterable[int]]) -> None:
        """These granted blocks will not come; the transfer ends with Canceled, once the others are through."""
        self._list(_abi.transfer_give_up, positions)

    def _list(self, call: Any, positions: Union[int, Iterable[int]]) -> None:
        numbers = [positions] if isinstance(positions, int) else list(positions)
        what = array("I", [fits(number, "position") for number in numbers])
        with self._link.calling() as pointer:
            self._link.check(call(pointer, what.buffer_info()[0], len(what)))

    # -- Of any --

    def abort(self) -> None:
        """Aborts it: it ends with Canceled once the other side has answered."""
        with self._link.calling() as pointer:
            self._link.check(_abi.transfer_abort(pointer))

    def wait(self, timeout: float) -> None:
        """Works until it has ended: returns where all its blocks are there, held for its request; else raises what it
        has ended with. TimedOut: not yet, or there was no room: info().ended tells.
        """
        with self._link.calling() as pointer:
            result = wait_in_slices(timeout, lambda until: self._wait(pointer, until), _NOT_YET)
            if result == _NOT_YET:
                raise make_error(-errno.ETIMEDOUT, "the transfer is still under way")
            self._link.check(result)

    @staticmethod
    def _wait(pointer: int, until: int) -> int:
        """That no room has come ends it with the error that says that the time is over."""
        result = int(_abi.transfer_wait(pointer, until))
        if result != -errno.ETIMEDOUT:
            return result
        info: Any = _abi.TransferInfo()
        if _abi.transfer_look(pointer, info) == 0 and not info.ended:
            return _NOT_YET
        return int(_abi.transfer_wait(pointer, 0))  # for its text

    def info(self) -> TransferInfo:
        """How far it is."""
        info = self._look()
        return TransferInfo(
            blocks=info.blocks,
            offered=info.offered,
            pending=info.pending,
            granted=info.granted,
            committed=info.committed,
            sent=info.sent,
            there=info.there,
            refused=info.refused,
            bytes=info.bytes,
            ended=bool(info.ended),
            result=info.result,
        )

    @property
    def request(self) -> Optional[Request]:
        """Of one that was wanted: the request that its blocks are held under in this process's own store."""
        info = self._look()
        return Request(self.peer._own_store(), bytes(info.request)) if info.has_request else None

    def _look(self) -> Any:
        info: Any = _abi.TransferInfo()
        with self._link.calling() as pointer:
            self._link.check(_abi.transfer_look(pointer, info))
        return info


class Peer(Local):
    """A connection to another node, made by connect() or Store.connect(); to be closed by close(), or by a with
    statement, before its store is. What is under way goes on within work() and Transfer.wait() only.
    """

    def __init__(self, store: Optional[Store], url: str, deadline: float, options: Dict[str, Any]) -> None:
        self.store = store
        self._link = Link(_abi.disconnect, "peer", None if store is None else store.links)
        self._transfers: weakref.WeakValueDictionary[int, Transfer] = weakref.WeakValueDictionary()
        self._registered: Dict[int, Any] = {}  # memory, by its address
        net, self._secret = _net_options(**options)
        until = time.monotonic_ns() + nanoseconds(deadline)
        where = _abi.text(url, "url")
        if store is None:
            result = _abi.connect(None, where, net, until, self._link.pointer)
        else:
            with store.calling() as pointer:
                result = _abi.connect(pointer, where, net, until, self._link.pointer)
        self._link.check(result)
        self._link.opened()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Aborts what is under way, closes the connection, and all its transfers. Busy: a thread is in a call."""
        self._link.close()
        self._registered.clear()

    def __del__(self) -> None:
        link: Optional[Link] = getattr(self, "_link", None)
        if link is not None:
            link.drop()

    @property
    def closed(self) -> bool:
        """Was it closed? A connection that is lost is not: see info().connected."""
        return self._link.closed

    def _calling_or_gone(self) -> Any:
        """As Link.calling(), where there may be nothing to call any more."""
        return _Nothing() if self._link.closed else self._link.calling()

    def _own_store(self) -> Store:
        if self.store is None:
            raise ValueError("the peer has no store")
        return self.store

    def fileno(self) -> int:
        """A descriptor, readable when work() has something to do."""
        return descriptor(self._link, _abi.peer_fd)

    def work(self, timeout: float = 0.0) -> List[Event]:
        """Does what there is to do; where nothing is, waits until something is, or the time is over. What has happened:
        [] also before the time is over, where that is no event.

        An Error with errno ENOTCONN: the connection is lost, and the ends of all transfers were told.
        """
        events = (_abi.Event * _EVENTS)()
        count = ctypes.c_size_t()
        with self._link.calling() as pointer:
            result = wait_in_slices(
                timeout,
                lambda until: int(_abi.peer_work(pointer, until, ctypes.addressof(events), _EVENTS, count)),
            )
        if result == -errno.ETIMEDOUT:
            return []
        self._link.check(result)
        told = (self._event(event) for event in events[: count.value])
        return [event for event in told if event is not None]

    def _event(self, event: Any) -> Optional[Event]:
        transfer = self._transfers.get(event.transfer)
        if transfer is None:  # it was forgotten
            return None
        if event.position == _abi.WHOLE_TRANSFER:
            return Event(transfer, None, None, event.result)
        return Event(transfer, event.position, Sending(event.sending), event.result)

    def register(self, buffer: Any) -> None:
        """Registers writable memory (an array, a bytearray, a memoryview) to write from: once, not for each transfer.

        The peer keeps it until unregister().
        """
        address, size = _place_of(buffer)
        with self._link.calling() as pointer:
            self._link.check(_abi.peer_register(pointer, address, size))
        self._registered[address] = memoryview(buffer)

    def unregister(self, buffer: Any) -> None:
        """The memory is not used any more. Busy: a write from it is under way."""
        address, _ = _place_of(buffer)
        with self._link.calling() as pointer:
            self._link.check(_abi.peer_unregister(pointer, address))
        self._registered.pop(address, None)

    # -- Transfers --

    def open(
        self,
        id: Union[str, BytesLike, None],
        blocks: int,
        *,
        attempt: int = 0,
        planes: int = 0,
        room_timeout: float = 30.0,
    ) -> Transfer:
        """Opens a transfer of so many blocks, or joins it: planes is a bit for each that is written here, 0 all.

        id None: a put, that nobody can wait for. How it ends: its event, or Transfer.wait().
        """
        return self._begin(
            _abi.transfer_open, id, _transfer_options(attempt, planes, room_timeout), fits(blocks, "blocks")
        )

    def send(
        self,
        holds: Union[Hold, Holds],
        id: Union[str, BytesLike, None] = None,
        *,
        attempt: int = 0,
        room_timeout: float = 30.0,
    ) -> Transfer:
        """Sends blocks that are held, and ready, with the keys that they have. It has holds of its own meanwhile."""
        if not isinstance(holds, (Hold, Holds)):
            raise TypeError(f"a Hold or Holds are wanted, not {type(holds).__name__}")
        if holds.store is not self.store:
            raise ValueError("holds of another store than the peer's")
        count = 1 if isinstance(holds, Hold) else len(holds)
        options = _transfer_options(attempt, 0, room_timeout)
        return self._begin(_abi.send, id, options, holds.address_of_handles, count, options_first=True)

    def want(
        self,
        keys: AnyKeys,
        id: Union[str, BytesLike, None] = None,
        *,
        attempt: int = 0,
        room_timeout: float = 30.0,
    ) -> Transfer:
        """Asks for those of these keys that the other side has: they come into the peer's own store, under a request
        of its client's, which Transfer.request names: to be claimed, and ended.
        """
        names = as_keys(keys)
        options = _transfer_options(attempt, 0, room_timeout)
        return self._begin(_abi.want, id, options, names.address, len(names), options_first=True)

    def _begin(
        self, call: Any, id: Union[str, BytesLike, None], options: Any, *what: Any, options_first: bool = False
    ) -> Transfer:
        name = None if id is None else as_id(id)
        transfer = Transfer(self)
        arguments = (options, *what) if options_first else (*what, options)
        with self._link.calling() as pointer:
            self._link.check(call(pointer, name, len(name or b""), *arguments, transfer._link.pointer))
        transfer._link.opened()
        assert transfer._link.pointer.value is not None
        self._transfers[transfer._link.pointer.value] = transfer
        return transfer

    def info(self) -> PeerInfo:
        """What is known of the other side."""
        info: Any = _abi.PeerInfo()
        with self._link.calling() as pointer:
            self._link.check(_abi.peer_get_info(pointer, info))
        return PeerInfo(
            store=_shown(info.store),
            label=_shown(info.label),
            node=_shown(info.node),
            pid=info.pid,
            blocks=info.geometry.blocks,
            block_size=info.geometry.block_size,
            planes=info.geometry.planes,
            key_max=info.geometry.key_max,
            device=_shown(info.device),
            local=_shown(info.local),
            remote=_shown(info.remote),
            bytes_sent=info.bytes_sent,
            bytes_received=info.bytes_received,
            round_trip=info.round_trip / 1e9,
            transfers=info.transfers,
            connected=bool(info.connected),
        )

    def __repr__(self) -> str:
        return f"<kvshm.Peer {'closed' if self.closed else self.info().remote}>"


class Listener(Local):
    """Where a store takes blocks from other nodes, and gives them: made by Store.listen(); to be closed by close(), or
    by a with statement, before its store is. What there is to do is done within work() only.
    """

    def __init__(self, store: Store, url: str, options: Dict[str, Any]) -> None:
        self.store = store
        self._link = Link(_abi.listener_close, "listener", store.links)
        net, self._secret = _net_options(**options)
        with store.calling() as pointer:
            result = _abi.listen(pointer, _abi.text(url, "url"), net, self._link.pointer)
        self._link.check(result)
        self._link.opened()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all its connections: fills that are under way are given up. Busy: a thread is in a call."""
        self._link.close()

    def __del__(self) -> None:
        link: Optional[Link] = getattr(self, "_link", None)
        if link is not None:
            link.drop()

    @property
    def url(self) -> str:
        """Where it listens, with the port that it has."""
        text = ctypes.create_string_buffer(80)
        with self._link.calling() as pointer:
            self._link.check(_abi.listener_url(pointer, ctypes.addressof(text), len(text)))
        return text.value.decode()

    def fileno(self) -> int:
        """A descriptor, readable when work() has something to do."""
        return descriptor(self._link, _abi.listener_fd)

    def work(self, timeout: float = 0.0) -> bool:
        """Does what there is to do; where nothing is, waits until something is (True), or the time is over (False)."""
        with self._link.calling() as pointer:
            result = wait_in_slices(timeout, lambda until: int(_abi.listener_work(pointer, until)))
        if result != -errno.ETIMEDOUT:
            self._link.check(result)
        return bool(result == 0)


def connect(url: str, *, deadline: float = 10.0, **options: Any) -> Peer:
    """Connects to who listens at url ([rdma|tcp]://ADDR[:PORT]), without a store of one's own, to write into that one.

    deadline: seconds until both sides know each other. options: secret, that both share, 16 to 4,096 bytes; device,
    device_port, gid_index, traffic_class, of RDMA; timeout: seconds that the other side may be silent.
    """
    return Peer(None, url, deadline, options)
