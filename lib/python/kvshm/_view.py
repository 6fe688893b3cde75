# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""View: a look at a store without attaching it, for metrics and for tests. A store at work is a moving picture."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type

from . import _abi
from ._abi import AnyPath
from ._errors import Local, check, passing_on
from ._request import RequestInfo, make_info


class Check(NamedTuple):
    """What View.check() found: all of it sound if unsound and leaked are 0."""

    unsound: int
    pending: int
    leaked: int
    quiescent: bool
    findings: List[str]


class View(Local):
    """A look at the store of that name; as a context manager it is closed at the end of the block.

    What its calls return has the names of kvshm.h: struct kvshm_store_info, kvshm_usage, kvshm_client_info and so on.
    """

    def __init__(self, name: str, *, dir: Optional[AnyPath] = None) -> None:
        self._pointer = ctypes.c_void_p()  # where the library puts it: an interrupt behind that leaves nothing open
        check(_abi.view_open(_abi.text(name, "name"), _abi.directory(dir), self._pointer))

    def close(self) -> None:
        """Ends the look."""
        pointer, self._pointer.value = self._pointer.value, None
        if pointer is not None:
            _abi.view_close(pointer)

    def _open(self) -> int:
        if self._pointer.value is None:
            raise ValueError("the view is closed")
        return self._pointer.value

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pointer"):
            self.close()

    def store(self) -> SimpleNamespace:
        """How the store was made, and how it is."""
        return self._one(_abi.view_store, _abi.StoreInfo())

    def usage(self) -> SimpleNamespace:
        """How many blocks are in which state."""
        return self._one(_abi.view_usage, _abi.Usage())

    def planes(self) -> List[SimpleNamespace]:
        """The planes: which memory they have, and how many clients have them mapped."""
        return self._all(_abi.view_planes, _abi.PlaneView, _plain)

    def clients(self) -> List[SimpleNamespace]:
        """The attached clients."""
        return self._all(_abi.view_clients, _abi.ClientInfo, _plain)

    def blocks(self) -> List[SimpleNamespace]:
        """The blocks that are not free."""
        return self._all(_abi.view_blocks, _abi.BlockInfo, _plain)

    def pins(self) -> List[SimpleNamespace]:
        """The pins of living clients, the oldest first."""
        return self._all(_abi.view_pins, _abi.PinInfo, _plain)

    def peers(self) -> List[SimpleNamespace]:
        """The connections to other nodes."""
        return self._all(_abi.view_peers, _abi.PeerView, _plain)

    def requests(self) -> List[RequestInfo]:
        """The requests, the oldest first; closed ones too, while they are remembered."""
        return self._all(_abi.view_requests, _abi.RequestInfo, make_info)

    def counters(self) -> Dict[str, int]:
        """What was counted since the store was made: kvshm-counters(7)."""
        return dict(self._all(_abi.view_counters, _abi.Counter, lambda c: (c.name.decode(), c.value)))

    def histograms(self) -> Dict[str, SimpleNamespace]:
        """Times, in ns, since the store was made: kvshm-counters(7)."""
        return dict(self._all(_abi.view_histograms, _abi.Histogram, lambda h: (h.name.decode(), _plain(h))))

    def check(self) -> Check:
        """Proves from the segment that all is sound, as kvshm-check(1) does."""
        findings: List[str] = []
        result = _abi.CheckResult()

        raised: List[BaseException] = []

        def tell(finding: bytes, _: Any) -> None:
            findings.append(finding.decode("utf-8", "replace"))

        check(_abi.view_check(self._open(), _abi.FINDING(passing_on(tell, raised)), None, result), raised)
        return Check(result.unsound, result.pending, result.leaked, bool(result.quiescent), findings)

    def _one(self, call: Any, into: Any) -> SimpleNamespace:
        check(call(self._open(), into))
        return _plain(into)

    def _all(self, call: Any, kind: Type[Any], make: Callable[[Any], Any]) -> List[Any]:
        items: List[Any] = []
        raised: List[BaseException] = []

        def tell(item: int, _: Any) -> None:
            items.append(make(kind.from_address(item)))

        check(call(self._open(), _abi.WALK(passing_on(tell, raised)), None), raised)
        return items


def _plain(item: Any) -> SimpleNamespace:
    """A structure's members as Python has them: texts, and bytes as long as a member NAME_length says."""
    return SimpleNamespace(**dict(_members(item)))


def _members(item: Any) -> Iterator[Tuple[str, Any]]:
    for name, _ in item._fields_:
        value = getattr(item, name)
        if isinstance(value, ctypes.Structure):
            value = _plain(value)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, ctypes.Array):
            value = bytes(value) if value._type_ is ctypes.c_uint8 else list(value)
            value = value[: getattr(item, name + "_length", len(value))]
        yield name, value
