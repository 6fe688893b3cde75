# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Calling: what is called with can't be ended while a thread is in the call."""

from __future__ import annotations

import ctypes
from typing import Set


class Calling:
    """A thread in a call that releases the interpreter lock: what is called with can't be ended meanwhile."""

    __slots__ = ("_inside", "_pointer", "_ended")

    def __init__(self, inside: Set[int], pointer: ctypes.c_void_p, ended: str) -> None:
        self._inside = inside
        self._pointer = pointer
        self._ended = ended  # what is wrong if it was ended before

    def __enter__(self) -> int:
        self._inside.add(id(self))  # before the look: who detaches looks there when it has said so
        pointer = self._pointer.value
        if pointer is None:
            raise ValueError(self._ended)
        return pointer

    def __exit__(self, *_: object) -> None:
        self._inside.discard(id(self))

    def __del__(self) -> None:
        if hasattr(self, "_inside"):  # a signal's handler may raise before the body of `with` is entered
            self._inside.discard(id(self))
