# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""What kvshm.h declares, for ctypes: constants, enums, structures and calls. tests/engines/abi compares it with that.

A call that may wait, recover a dead client, look for room or enter the kernel for long releases the interpreter lock.
One that only looks at shared memory keeps it: to give it away and take it again may cost another thread's whole turn
(5 ms), and these calls take less than the way into them.
"""

from __future__ import annotations

import ctypes
import enum
import importlib
import operator
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Optional, Tuple, Union

AnyPath = Union[str, "os.PathLike[str]"]

NAME_MAX = 64
LABEL_MAX = 255
CLIENT_NAME_MAX = 31
KEY_MAX = 256
OPAQUE_SIZE = 32
CLIENTS_MAX = 1024
PLANES_MAX = 32
REQUESTS_MAX = 4095
REQUEST_ID_MAX = 128
BLOCK_UNIT = 512
BLOCKS_MAX = 1 << 30
TICKET_SIZE = 16
DERIVED_KEY_SIZE = 32
HISTOGRAM_BUCKETS = 37
NO_SLOT = 0xFFFFFFFF
GPU_SIZE = 48
WHOLE_TRANSFER = 0xFFFFFFFF


class LogLevel(enum.IntEnum):
    """How much a line for the log matters: the numbers of syslog(3)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Retain(enum.IntEnum):
    """What the last release of a key does."""

    KEEP = 0
    DROP = 1


class Export(enum.IntEnum):
    """How processes come by GPU memory: by descriptors that the owner hands out, or CUDA's legacy handles."""

    FD = 0
    IPC = 1


class Phase(enum.IntEnum):
    """How far the making of a store is."""

    RESERVING = 0
    POPULATING = 1


class Kind(enum.IntEnum):
    """What a hold is."""

    NONE = 0
    REF = 1
    PIN = 2
    WRITER = 3
    OWNED = 4
    PART = 5
    LENT = 6


class Outcome(enum.IntEnum):
    """What came of asking for a key: it is there, another is filling it, or it is the caller's to fill."""

    READY = 0
    PENDING = 1
    FILL = 2


class Next(enum.IntEnum):
    """Why a match ended where it did."""

    NONE = 0
    MISSING = 1
    FILLING = 2


class Published(enum.IntEnum):
    """What came of publishing a block under a key."""

    PUBLISHED = 0
    DUPLICATE = 1
    DUPLICATE_PENDING = 2


class RequestState(enum.IntEnum):
    """How far a request is."""

    OPENING = 1
    OPEN = 2
    COMPLETE = 3
    ENDING = 4
    ABORTED = 5
    CLOSED = 6


class PlaneMemory(enum.IntEnum):
    """Which memory a plane has."""

    HOST = 0
    CUDA = 1


class Sending(enum.IntEnum):
    """Where a block of a transfer is."""

    NONE = 0
    OFFERED = 1
    PENDING = 2
    GRANTED = 3
    COMMITTED = 4
    SENT = 5
    THERE = 6
    REFUSED = 7


class Geometry(ctypes.Structure):
    """struct kvshm_geometry"""

    _fields_ = [
        ("block_size", c_uint64),
        ("incarnation", c_uint64),
        ("blocks", c_uint32),
        ("planes", c_uint32),
        ("key_max", c_uint32),
        ("clients", c_uint32),
        ("requests", c_uint32),
        ("slot", c_uint32),
        ("retain", c_uint),
    ]


class PlaneInfo(ctypes.Structure):
    """struct kvshm_plane_info"""

    _fields_ = [
        ("address", c_void_p),
        ("size", c_uint64),
        ("page_size", c_uint64),
        ("memory", c_uint),
        ("device", c_int),
        ("gpu", c_char * GPU_SIZE),
    ]


class OwnerInfo(ctypes.Structure):
    """struct kvshm_owner_info"""

    _fields_ = [("alive", c_int), ("pid", c_int32)]


PROGRESS = CFUNCTYPE(c_int, c_uint, c_uint64, c_uint64, c_void_p)
LOG = CFUNCTYPE(None, c_uint, c_char_p, c_void_p)
NAMED_RESULT = CFUNCTYPE(c_int, c_char_p, c_int, c_void_p)
NAMED = CFUNCTYPE(c_int, c_char_p, c_void_p)
FINDING = CFUNCTYPE(None, c_char_p, c_void_p)


class CreateOptions(ctypes.Structure):
    """struct kvshm_create_options"""

    _fields_ = [
        ("dir", c_char_p),
        ("label", c_char_p),
        ("size", c_uint64),
        ("block_size", c_uint64),
        ("planes", c_uint32),
        ("key_max", c_uint32),
        ("clients", c_uint32),
        ("requests", c_uint32),
        ("mode", c_uint32),
        ("retain", c_uint),
        ("fence", c_int),
        ("replace_dead", c_int),
        ("hugepages", c_int),
        ("numa_node", c_int32),
        ("group", c_int64),
        ("populate", c_uint32),
        ("pool", c_char_p),
        ("gpu_export", c_uint),
        ("progress", PROGRESS),
        ("progress_arg", c_void_p),
    ]


class AttachOptions(ctypes.Structure):
    """struct kvshm_attach_options"""

    _fields_ = [("dir", c_char_p), ("label", c_char_p), ("name", c_char_p)]


class Handle(ctypes.Structure):
    """struct kvshm_handle"""

    _fields_ = [
        ("life", c_uint64),
        ("block", c_uint32),
        ("kind", c_uint8),
        ("plane", c_uint8),
        ("request", c_uint16),
        ("since", c_uint64),
    ]


class Meta(ctypes.Structure):
    """struct kvshm_meta"""

    _fields_ = [("length", c_uint64), ("depth", c_uint32), ("opaque", c_uint8 * OPAQUE_SIZE)]


class Key(ctypes.Structure):
    """struct kvshm_key"""

    _fields_ = [("bytes", c_void_p), ("length", c_size_t)]


class Piece(ctypes.Structure):
    """struct kvshm_piece"""

    _fields_ = [("held", c_void_p), ("offset", c_uint64), ("memory", c_void_p), ("length", c_uint64)]


class Ticket(ctypes.Structure):
    """struct kvshm_ticket"""

    _fields_ = [("bytes", c_uint8 * TICKET_SIZE)]


class RequestName(ctypes.Structure):
    """struct kvshm_request"""

    _fields_ = [("number", c_uint64), ("slot", c_uint32), ("store", c_uint32)]


class RequestInfo(ctypes.Structure):
    """struct kvshm_request_info"""

    _fields_ = [
        ("request", RequestName),
        ("state", c_uint),
        ("completed", c_int),
        ("attempt", c_uint32),
        ("owner", c_uint32),
        ("owner_alive", c_int),
        ("expected", c_uint32),
        ("held", c_uint32),
        ("fills", c_uint32),
        ("room", c_uint32),
        ("wanted", c_uint32),
        ("ahead", c_uint32),
        ("claims", c_uint32),
        ("age", c_uint64),
        ("held_age", c_uint64),
        ("id_length", c_size_t),
        ("id", c_uint8 * REQUEST_ID_MAX),
    ]


class NetOptions(ctypes.Structure):
    """struct kvshm_net_options"""

    _fields_ = [
        ("secret", c_void_p),
        ("secret_length", c_size_t),
        ("device", c_char_p),
        ("device_port", c_uint32),
        ("gid_index", c_int32),
        ("traffic_class", c_int32),
        ("timeout", c_uint64),
        ("claim_timeout", c_uint64),
        ("fill_timeout", c_uint64),
        ("open", c_int),
    ]


class Event(ctypes.Structure):
    """struct kvshm_event"""

    _fields_ = [
        ("transfer", c_void_p),
        ("user", c_void_p),
        ("position", c_uint32),
        ("sending", c_uint),
        ("result", c_int),
    ]


class TransferOptions(ctypes.Structure):
    """struct kvshm_transfer_options"""

    _fields_ = [("attempt", c_uint32), ("planes", c_uint32), ("room_timeout", c_uint64), ("user", c_void_p)]


class Offer(ctypes.Structure):
    """struct kvshm_offer"""

    _fields_ = [("key", Key), ("meta", Meta)]


class TransferInfo(ctypes.Structure):
    """struct kvshm_transfer_info"""

    _fields_ = [
        ("blocks", c_uint32),
        ("offered", c_uint32),
        ("pending", c_uint32),
        ("granted", c_uint32),
        ("committed", c_uint32),
        ("sent", c_uint32),
        ("there", c_uint32),
        ("refused", c_uint32),
        ("bytes", c_uint64),
        ("ended", c_int),
        ("result", c_int),
        ("has_request", c_int),
        ("request", RequestName),
    ]


class PeerInfo(ctypes.Structure):
    """struct kvshm_peer_info"""

    _fields_ = [
        ("geometry", Geometry),
        ("label", c_char * (LABEL_MAX + 1)),
        ("store", c_char * (NAME_MAX + 1)),
        ("node", c_char * 64),
        ("pid", c_int32),
        ("device", c_char * 64),
        ("local", c_char * 64),
        ("remote", c_char * 64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("round_trip", c_uint64),
        ("transfers", c_uint32),
        ("connected", c_int),
    ]


class StoreInfo(ctypes.Structure):
    """struct kvshm_store_info"""

    _fields_ = [
        ("geometry", Geometry),
        ("name", c_char * (NAME_MAX + 1)),
        ("label", c_char * (LABEL_MAX + 1)),
        ("maker", c_char * 24),
        ("segment_size", c_uint64),
        ("epoch", c_uint64),
        ("created", c_int64),
        ("layout", c_uint32),
        ("readers", c_uint32),
        ("readers_used", c_uint32),
        ("readers_stalling", c_uint32),
        ("slowest_reader", c_uint32),
        ("slowest_client", c_uint32),
        ("slowest_epoch", c_uint64),
        ("clears", c_uint64),
        ("clients_alive", c_uint32),
        ("clients_dead", c_uint32),
        ("owner_pid", c_int32),
        ("owner_alive", c_int),
        ("destroyed", c_int),
        ("unlinked", c_int),
        ("fence", c_int),
        ("mode", c_uint32),
        ("group", c_uint32),
        ("numa_node", c_int32),
        ("huge_page", c_uint64),
        ("memory", c_uint),
        ("gpu_export", c_uint),
    ]


class PlaneView(ctypes.Structure):
    """struct kvshm_plane_view"""

    _fields_ = [
        ("plane", c_uint),
        ("memory", c_uint),
        ("size", c_uint64),
        ("mapped", c_uint32),
        ("gpu", c_char * GPU_SIZE),
    ]


class Usage(ctypes.Structure):
    """struct kvshm_usage"""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "free", "owned", "room", "filling", "ready", "removing", "doomed", "grace", "unknown", "held", "pinned",
            "cleared", "evictable", "refs", "pins",
        )
    ]  # fmt: skip


class ClientInfo(ctypes.Structure):
    """struct kvshm_client_info"""

    _fields_ = [
        ("slot", c_uint32),
        ("pid", c_int32),
        ("name", c_char * (CLIENT_NAME_MAX + 1)),
        ("attached", c_int64),
        ("alive", c_int),
        ("recovering", c_int),
        ("dma", c_int),
        ("waiting", c_int),
        ("refs", c_uint64),
        ("pins", c_uint64),
        ("blocks", c_uint64),
        ("fills", c_uint64),
        ("parts", c_uint64),
        ("owned", c_uint64),
        ("planes", c_uint32),
    ]


class Counter(ctypes.Structure):
    """struct kvshm_counter"""

    _fields_ = [("name", c_char_p), ("help", c_char_p), ("value", c_uint64)]


class BlockInfo(ctypes.Structure):
    """struct kvshm_block_info"""

    _fields_ = [
        ("block", c_uint32),
        ("depth", c_uint32),
        ("state", c_char_p),
        ("life", c_uint64),
        ("length", c_uint64),
        ("age", c_uint64),
        ("refs", c_uint64),
        ("pins", c_uint64),
        ("owner", c_uint32),
        ("claimed", c_uint32),
        ("written", c_uint32),
        ("cleared", c_int),
        ("key_length", c_size_t),
        ("key", c_uint8 * KEY_MAX),
        ("opaque", c_uint8 * OPAQUE_SIZE),
    ]


class PinInfo(ctypes.Structure):
    """struct kvshm_pin_info"""

    _fields_ = [
        ("client", c_uint32),
        ("pid", c_int32),
        ("name", c_char * (CLIENT_NAME_MAX + 1)),
        ("pins", c_uint32),
        ("age", c_uint64),
        ("block", c_uint32),
        ("attempt", c_uint32),
        ("id_length", c_size_t),
        ("id", c_uint8 * REQUEST_ID_MAX),
    ]


class PeerView(ctypes.Structure):
    """struct kvshm_peer_view"""

    _fields_ = [
        ("peer", c_uint32),
        ("client", c_uint32),
        ("pid", c_int32),
        ("alive", c_int),
        ("outgoing", c_int),
        ("name", c_char * (CLIENT_NAME_MAX + 1)),
        ("transport", c_char * 8),
        ("device", c_char * 64),
        ("local", c_char * 64),
        ("remote", c_char * 64),
        ("node", c_char * 64),
        ("store", c_char * (NAME_MAX + 1)),
        ("since", c_int64),
        ("round_trip", c_uint64),
        ("round_trip_mean", c_uint64),
        ("requests", c_uint64),
        ("blocks", c_uint64),
        ("bytes", c_uint64),
        ("commits", c_uint64),
        ("deduplicated", c_uint64),
        ("pending", c_uint64),
        ("refused", c_uint64),
        ("aborts", c_uint64),
        ("sent_requests", c_uint64),
        ("sent_blocks", c_uint64),
        ("sent_bytes", c_uint64),
        ("sent_deduplicated", c_uint64),
        ("sent_refused", c_uint64),
        ("sent_wants", c_uint64),
        ("link_sent", c_uint64),
        ("link_received", c_uint64),
        ("windows_bound", c_uint64),
        ("windows_invalidated", c_uint64),
        ("windows_retired", c_uint64),
        ("retries", c_uint64),
        ("round_trips", c_uint64),
        ("round_trips_ns", c_uint64),
    ]


class Histogram(ctypes.Structure):
    """struct kvshm_histogram"""

    _fields_ = [
        ("name", c_char_p),
        ("help", c_char_p),
        ("count", c_uint64),
        ("sum", c_uint64),
        ("bucket", c_uint64 * HISTOGRAM_BUCKETS),
    ]


class HeadInfo(ctypes.Structure):
    """struct kvshm_head_info"""

    _fields_ = [
        ("name", c_char * (NAME_MAX + 1)),
        ("maker", c_char * 24),
        ("layout", c_uint32),
        ("layout_known", c_uint32),
        ("segment_size", c_uint64),
        ("file_size", c_uint64),
        ("clients_alive", c_uint32),
        ("owner_alive", c_int),
    ]


class CheckResult(ctypes.Structure):
    """struct kvshm_check_result"""

    _fields_ = [("unsound", c_uint64), ("pending", c_uint64), ("leaked", c_uint64), ("quiescent", c_int)]


WALK = CFUNCTYPE(c_int, c_void_p, c_void_p)  # of the views: told a pointer to one of the structures


def _find() -> Tuple[str, Optional[str]]:
    """The library that was installed with this module, if it is there; else the one that the loader finds.

    And the version that it must have; None in a source tree, where nobody says so.
    """
    try:
        installed: Any = importlib.import_module("._config", __package__)
    except ImportError:
        return "libkvshm.so.1", None
    return installed.LIBRARY if os.path.exists(installed.LIBRARY) else "libkvshm.so.1", installed.VERSION


_path, _version = _find()
try:
    _keeping = ctypes.PyDLL(_path)
    _releasing = ctypes.CDLL(_path)
except OSError as error:
    raise ImportError(
        f"kvshm: cannot load libkvshm: {error}. Install it, or add its directory to LD_LIBRARY_PATH"
    ) from error

# What the types of parameters are called below. Arrays and results are passed as addresses: their owners keep them.
_S = c_void_p  # a store, an owner or a view
_P = c_void_p  # the address of what is read or written
_N = c_size_t
_T = c_uint64  # a time, in ns
_I = c_uint32
_U = c_uint


def _declare(library: Any, name: str, *parameters: Any, result: Any = c_int) -> Any:
    try:
        call = getattr(library, "kvshm_" + name)
    except AttributeError:
        raise ImportError(f"kvshm: {_path} lacks kvshm_{name}(): it is older than this module") from None
    call.argtypes = parameters
    call.restype = result
    return call


def _keeps(name: str, *parameters: Any, result: Any = c_int) -> Any:
    """A call that keeps the interpreter lock."""
    return _declare(_keeping, name, *parameters, result=result)


def _releases(name: str, *parameters: Any, result: Any = c_int) -> Any:
    """A call that releases it."""
    return _declare(_releasing, name, *parameters, result=result)


error_text = _keeps("error", result=c_char_p)
version_text = _keeps("version", result=c_char_p)
if _version is not None and version_text().decode() != _version:  # its structures may be others
    raise ImportError(f"kvshm: this module is of version {_version}, but {_path} is of {version_text().decode()}")
set_log = _releases("set_log", LOG, c_void_p, result=None)

create_defaults = _keeps("create_defaults", POINTER(CreateOptions), result=None)
create = _releases("create", c_char_p, POINTER(CreateOptions), POINTER(c_void_p))
adopt = _releases("adopt", c_char_p, c_char_p, POINTER(c_void_p))
owner_recover = _releases("owner_recover", _S, POINTER(c_uint))
owner_fd = _keeps("owner_fd", _S, POINTER(c_int))
owner_look_at_pins = _releases("owner_look_at_pins", _S, _T, POINTER(c_uint))
destroy = _releases("destroy", _S)
disown = _releases("disown", _S)
unlink = _releases("unlink", c_char_p, c_char_p)
unlink_dead = _releases("unlink_dead", c_char_p, NAMED_RESULT, c_void_p)
list_stores = _releases("list", c_char_p, NAMED, c_void_p)

attach = _releases("attach", c_char_p, POINTER(AttachOptions), POINTER(c_void_p))
detach = _releases("detach", _S)
get_geometry = _keeps("get_geometry", _S, POINTER(Geometry))
get_owner_info = _releases("get_owner_info", _S, POINTER(OwnerInfo))
get_plane_info = _releases("get_plane_info", _S, _U, POINTER(PlaneInfo))
recover = _releases("recover", _S, POINTER(c_uint))
clear = _releases("clear", _S)
poll_fd = _keeps("poll_fd", _S, POINTER(c_int))
poll_clear = _releases("poll_clear", _S)

get = _keeps("get", _S, c_char_p, _N, _P)
get_or_fill = _releases("get_or_fill", _S, c_char_p, _N, POINTER(c_uint), _P)
get_or_fill_shared = _releases("get_or_fill_shared", _S, c_char_p, _N, POINTER(c_uint), _P)
publish = _keeps("publish", _S, _P, POINTER(Meta))
give_up = _keeps("give_up", _S, _P)
wait = _releases("wait", _S, _P, _T)
release = _keeps("release", _S, _P)
pin = _keeps("pin", _S, _P, _P)
unpin = _keeps("unpin", _S, _P)
let_go = _keeps("let_go", _S, _P, _N)
remove = _keeps("remove", _S, c_char_p, _N)
touch = _keeps("touch", _S, c_char_p, _N)
match = _keeps("match", _S, _P, _N, _P, POINTER(c_size_t), POINTER(c_uint))
match_window = _keeps("match_window", _S, _P, _N, _N, _P, POINTER(c_size_t), POINTER(c_uint))
get_meta = _keeps("get_meta", _S, _P, POINTER(Meta))
address = _keeps("address", _S, _P, _U, POINTER(c_void_p))  # that the plane is mapped its callers see to
read = _releases("read", _S, _P, _U, _T, _P, _T)
write = _releases("write", _S, _P, _U, _T, _P, _T)
alloc = _releases("alloc", _S, _P)
publish_as = _releases("publish_as", _S, _P, c_char_p, _N, POINTER(Meta), POINTER(c_uint))
get_ticket = _keeps("get_ticket", _S, _P, _P)
hold = _keeps("hold", _S, _P, POINTER(c_uint), _P)
join = _keeps("join", _S, _P, _U, _P)

get_batch = _keeps("get_batch", _S, _P, _N, _P, _P)
get_or_fill_batch = _releases("get_or_fill_batch", _S, _P, _N, _P, _P, _P)
get_or_fill_shared_batch = _releases("get_or_fill_shared_batch", _S, _P, _N, _P, _P, _P)
remove_batch = _keeps("remove_batch", _S, _P, _N, _P)
touch_batch = _keeps("touch_batch", _S, _P, _N, _P)
publish_batch = _keeps("publish_batch", _S, _P, _P, _N, _P)
publish_as_batch = _releases("publish_as_batch", _S, _P, _P, _P, _N, _P, _P)
give_up_batch = _keeps("give_up_batch", _S, _P, _N, _P)
wait_batch = _releases("wait_batch", _S, _P, _N, _T, _P)
release_batch = _keeps("release_batch", _S, _P, _N, _P)
pin_batch = _keeps("pin_batch", _S, _P, _N, _P, _P)
unpin_batch = _keeps("unpin_batch", _S, _P, _N, _P)
get_meta_batch = _keeps("get_meta_batch", _S, _P, _N, _P, _P)
address_batch = _keeps("address_batch", _S, _P, _U, _N, _P, _P)
alloc_batch = _releases("alloc_batch", _S, _N, _P, _P)
get_ticket_batch = _keeps("get_ticket_batch", _S, _P, _N, _P, _P)
hold_batch = _keeps("hold_batch", _S, _P, _N, _P, _P, _P)
join_batch = _keeps("join_batch", _S, _P, _U, _N, _P, _P)

request_open = _releases("request_open", _S, c_char_p, _N, _I, _I, _P)
request_find = _releases("request_find", _S, c_char_p, _N, _P)
request_queue = _releases("request_queue", _S, _P, _I, _T)
request_wait_room = _releases("request_wait_room", _S, _P, _T)
request_unreserve = _releases("request_unreserve", _S, _P)
request_match = _keeps("request_match", _S, _P, _P, _N, _P, POINTER(c_size_t), POINTER(c_uint))
request_pin = _keeps("request_pin", _S, _P, _P, _N, _P, _P)
request_get_or_fill = _releases("request_get_or_fill", _S, _P, c_char_p, _N, POINTER(c_uint), _P)
request_get_or_fill_shared = _releases("request_get_or_fill_shared", _S, _P, c_char_p, _N, POINTER(c_uint), _P)
request_get_or_fill_batch = _releases("request_get_or_fill_batch", _S, _P, _P, _N, _P, _P, _P)
request_get_or_fill_shared_batch = _releases("request_get_or_fill_shared_batch", _S, _P, _P, _N, _P, _P, _P)
request_release = _keeps("request_release", _S, _P, _P, _N)
request_keep = _keeps("request_keep", _S, _P, _P, _N)
request_complete = _releases("request_complete", _S, _P, _T)
request_settle = _keeps("request_settle", _S, _P, POINTER(_I))
request_wait = _releases("request_wait", _S, _P, _T)
request_claim = _keeps("request_claim", _S, _P, _P, _N, _P, _P)
request_end = _releases("request_end", _S, _P)
request_tend = _releases("request_tend", _S, _T, POINTER(c_uint))
request_get_info = _keeps("request_get_info", _S, _P, POINTER(RequestInfo))

# These may load the driver, and wait for it.
register_plane = _releases("register_plane", _S, _U)
publish_on = _releases("publish_on", _S, _P, _P, _P, _N, _P)
give_up_on = _releases("give_up_on", _S, _P, _P, _N, _P)
release_on = _releases("release_on", _S, _P, _P, _N, _P)
request_end_on = _releases("request_end_on", _S, _P, _P)
copy_in = _releases("copy_in", _S, _P, _U, _P, _N)
copy_out = _releases("copy_out", _S, _P, _U, _P, _N)

# All of these take a lock that a thread has which works for the connection.
net_defaults = _keeps("net_defaults", POINTER(NetOptions), result=None)
listen = _releases("listen", _S, c_char_p, POINTER(NetOptions), POINTER(c_void_p))
listener_close = _releases("listener_close", _S)
listener_url = _releases("listener_url", _S, _P, _N)
listener_fd = _releases("listener_fd", _S, POINTER(c_int))
listener_work = _releases("listener_work", _S, _T)
connect = _releases("connect", _S, c_char_p, POINTER(NetOptions), _T, POINTER(c_void_p))
disconnect = _releases("disconnect", _S)
peer_fd = _releases("peer_fd", _S, POINTER(c_int))
peer_register = _releases("peer_register", _S, _P, _N)
peer_unregister = _releases("peer_unregister", _S, _P)
peer_work = _releases("peer_work", _S, _T, _P, _N, POINTER(c_size_t))
peer_get_info = _releases("peer_get_info", _S, POINTER(PeerInfo))
transfer_defaults = _keeps("transfer_defaults", POINTER(TransferOptions), result=None)
transfer_open = _releases("transfer_open", _S, c_char_p, _N, _I, POINTER(TransferOptions), POINTER(c_void_p))
transfer_offer = _releases("transfer_offer", _S, _I, _P, _N)
transfer_write = _releases("transfer_write", _S, _I, _U, _T, _P, _T)
transfer_commit = _releases("transfer_commit", _S, _P, _N)
transfer_give_up = _releases("transfer_give_up", _S, _P, _N)
transfer_abort = _releases("transfer_abort", _S)
transfer_wait = _releases("transfer_wait", _S, _T)
transfer_look = _releases("transfer_look", _S, POINTER(TransferInfo))
transfer_close = _releases("transfer_close", _S)
send = _releases("send", _S, c_char_p, _N, POINTER(TransferOptions), _P, _N, POINTER(c_void_p))
want = _releases("want", _S, c_char_p, _N, POINTER(TransferOptions), _P, _N, POINTER(c_void_p))

derive_key = _keeps("derive_key", c_char_p, _I, c_char_p, _N, _P)
derive_key_batch = _keeps("derive_key_batch", c_char_p, _I, _P, _N, _P, _P)

view_open = _releases("view_open", c_char_p, c_char_p, POINTER(c_void_p))
view_close = _releases("view_close", _S, result=None)
view_store = _releases("view_store", _S, POINTER(StoreInfo))
view_usage = _releases("view_usage", _S, POINTER(Usage))
view_planes = _releases("view_planes", _S, WALK, c_void_p)
view_clients = _releases("view_clients", _S, WALK, c_void_p)
view_counters = _releases("view_counters", _S, WALK, c_void_p)
view_histograms = _releases("view_histograms", _S, WALK, c_void_p)
view_blocks = _releases("view_blocks", _S, WALK, c_void_p)
view_requests = _releases("view_requests", _S, WALK, c_void_p)
view_peers = _releases("view_peers", _S, WALK, c_void_p)
view_pins = _releases("view_pins", _S, WALK, c_void_p)
view_check = _releases("view_check", _S, FINDING, c_void_p, POINTER(CheckResult))
view_head = _releases("view_head", c_char_p, c_char_p, POINTER(HeadInfo))


def last_error() -> str:
    """The text of this thread's last failed call."""
    text: Optional[bytes] = error_text()
    return (text or b"").decode("utf-8", "replace")


def fits(number: int, what: str, bits: int = 32) -> int:
    """A number that a call takes: ctypes would cut it."""
    whole = operator.index(number)
    if not 0 <= whole < 1 << bits:
        raise ValueError(f"{what}: {number} is out of range")
    return whole


def text(what: str, name: str) -> bytes:
    """Text that a call takes: C would see it up to its first NUL."""
    if not isinstance(what, str):
        raise TypeError(f"{name}: text is wanted, not {type(what).__name__}")
    if "\0" in what:
        raise ValueError(f"{name}: text with a NUL")
    return what.encode()


def directory(path: Optional[AnyPath]) -> Optional[bytes]:
    """Where stores live, as a call takes it."""
    return None if path is None else text(os.fspath(path), "dir")


def nanoseconds(seconds: float) -> int:
    """A time that a call takes: not below 0, and not beyond what is for ever (100 years)."""
    if not hasattr(seconds, "__float__"):
        raise TypeError(f"a time is a number of seconds, not {type(seconds).__name__}")
    if seconds != seconds:
        raise ValueError("a time of NaN seconds")
    return int(min(max(seconds, 0.0), 3.2e9) * 1e9)
