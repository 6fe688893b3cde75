# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Links: what a peer, a transfer and a listener have in common: an address that calls are made with, until it is closed
or what it belongs to goes.

A link is known to what it belongs to (a store's peers, a peer's transfers), and goes before that does, in whatever
order the objects of Python go.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Any, Callable, NoReturn, Optional, Set

from . import _abi
from ._calling import Calling
from ._errors import Busy, make_error


class Link:
    """An address of the library's that has to be given back, once, by a call."""

    __slots__ = ("pointer", "_end", "_name", "_inside", "links", "_of")

    def __init__(self, end: Callable[[int], int], name: str, of: Optional[Set["Link"]]) -> None:
        self.pointer = ctypes.c_void_p()
        self._end = end
        self._name = name  # for messages, such as "peer"
        self._inside: Set[int] = set()
        self.links: Set[Link] = set()  # of what belongs to it
        self._of = of

    def opened(self) -> None:
        """Its address is there: what it belongs to knows of it from now on."""
        if self._of is not None:
            self._of.add(self)

    def calling(self) -> Calling:
        """For calls, which release the interpreter lock: gives the address to call with."""
        return Calling(self._inside, self.pointer, f"the {self._name} is closed")

    def fail(self, result: int) -> NoReturn:
        """Raises the error of a call that has just failed in this thread."""
        raise make_error(result, _abi.last_error())

    def check(self, result: int) -> None:
        """The same, if it has failed."""
        if result:
            self.fail(result)

    @property
    def closed(self) -> bool:
        """Was it closed?"""
        return self.pointer.value is None

    def close(self) -> None:
        """Ends it, and all that belongs to it. Busy: another thread is in a call with it."""
        pointer = self.pointer.value
        if pointer is None:
            return
        self.pointer.value = None  # from here on nobody begins a call
        if self._inside or any(link._inside for link in self.links):
            self.pointer.value = pointer
            raise Busy(errno.EBUSY, f"another thread is in a call with the {self._name}")
        self._forget()
        self._end(pointer)  # what it can fail with (fork) leaves nothing to do

    def _forget(self) -> None:
        for link in self.links:
            link.pointer.value = None  # it goes with this one
        self.links.clear()
        if self._of is not None:
            self._of.discard(self)

    def drop(self) -> None:
        """Ends it when nobody can be in a call: its object, or what it belongs to, goes."""
        pointer, self.pointer.value = self.pointer.value, None
        if pointer is not None:
            self._forget()
            self._end(pointer)


def drop_all(links: Set[Link]) -> None:
    """Ends all that belong to something which goes."""
    while links:
        links.pop().drop()


def descriptor(link: Link, call: Any) -> int:
    """A descriptor for select, selectors or asyncio."""
    fd = ctypes.c_int()
    with link.calling() as pointer:
        link.check(call(pointer, fd))
    return int(fd.value)
