# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""kvshm: a store for KV-cache blocks in shared memory, that every engine process of a node attaches.

    import kvshm

    with kvshm.attach("cache", label="my-model/bf16") as store:
        hold = store.get_or_fill(key)               # a ref, or the fill of a missing key
        with hold:
            if hold.outcome == kvshm.Outcome.FILL:
                hold.buffer()[:] = compute(key)
                hold.publish()
            use(hold.buffer())

A thin layer over libkvshm by ctypes: each method is a call of the library with that name, and kvshm-python(7), and the
calls' own pages, say what it guarantees. What can be held is an object that is let go at the end of a with statement; a
failed call raises Error. Times are seconds; a wait has an end always. Threads: as the library's, any call in any
thread; calls that may wait release the interpreter lock. The package logs by the logger "kvshm", if log_to_logging() is
called.
"""

from __future__ import annotations

import atexit as _atexit
import logging as _logging
from typing import Any as _Any
from typing import Callable as _Callable
from typing import List as _List
from typing import Optional as _Optional

from . import _abi
from ._abi import (
    DERIVED_KEY_SIZE,
    KEY_MAX,
    OPAQUE_SIZE,
    PLANES_MAX,
    REQUEST_ID_MAX,
    TICKET_SIZE,
    Export,
    Kind,
    LogLevel,
    Next,
    Outcome,
    Phase,
    PlaneMemory,
    Published,
    RequestState,
    Retain,
    Sending,
)
from ._errors import (
    Busy,
    Canceled,
    Damaged,
    Ended,
    Error,
    Exists,
    Forked,
    Full,
    InProgress,
    Invalid,
    Mismatch,
    NoRoom,
    NotFound,
    NotHeld,
    NotPermitted,
    NotReady,
    OwnerDead,
    Stale,
    TimedOut,
    TooLarge,
)
from ._holds import Hold, Holds, Meta, Results
from ._keys import Keys, derive_key, derive_keys
from ._memory import Memory
from ._owner import Owner, adopt, create, list_stores, unlink, unlink_dead
from ._peer import Event, Listener, Peer, PeerInfo, Transfer, TransferInfo, connect
from ._request import Request, RequestInfo, Settled
from ._store import OwnerInfo, Store, attach
from ._view import Check, View

__all__ = [
    "Busy", "Canceled", "Check", "DERIVED_KEY_SIZE", "Damaged", "Ended", "Error", "Event", "Exists", "Export", "Forked",
    "Full", "Hold", "Holds", "InProgress", "Invalid", "KEY_MAX", "Keys", "Kind", "Listener", "LogLevel", "Memory",
    "Meta", "Mismatch", "Next", "NoRoom", "NotFound", "NotHeld", "NotPermitted", "NotReady", "OPAQUE_SIZE",
    "Outcome", "Owner", "OwnerDead", "OwnerInfo", "PLANES_MAX", "Peer", "PeerInfo", "Phase", "PlaneMemory", "Published",
    "REQUEST_ID_MAX", "Request", "RequestInfo", "RequestState", "Results", "Retain", "Sending", "Settled", "Stale",
    "Store", "TICKET_SIZE", "TimedOut", "TooLarge", "Transfer", "TransferInfo", "View", "adopt", "attach",
    "connect", "create", "derive_key", "derive_keys", "list_stores", "log_to_logging", "set_log", "unlink",
    "unlink_dead",
]  # fmt: skip

__version__ = _abi.version_text().decode()

_logs: _List[_Any] = []  # what the library was given: another thread may be on its way into any of them


def set_log(tell: _Optional[_Callable[[LogLevel, str], _Any]]) -> None:
    """Has tell(level, text) called with what a program's log should have; None: nobody. It must not call kvshm."""
    if tell is not None and not callable(tell):
        raise TypeError(f"a function to tell is wanted, not {type(tell).__name__}")

    def told(level: int, text: bytes, _: _Any) -> None:
        if tell is not None:
            tell(LogLevel(level), text.decode("utf-8", "replace"))

    log: _Any = _abi.LOG(told) if tell is not None else _abi.LOG(0)
    if log:
        if not _logs:
            _atexit.register(set_log, None)  # what ends later, with the interpreter, has nobody to tell
        _logs.append(log)
    _abi.set_log(log, None)


def log_to_logging(logger: _logging.Logger = _logging.getLogger("kvshm")) -> None:
    """Has that logged by a logger."""
    levels = {
        LogLevel.ERROR: _logging.ERROR,
        LogLevel.WARNING: _logging.WARNING,
        LogLevel.NOTICE: _logging.INFO,
        LogLevel.INFO: _logging.INFO,
    }
    set_log(lambda level, text: logger.log(levels[level], "%s", text))


del annotations  # of __future__: no name of this package
