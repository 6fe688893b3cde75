# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Owner: a store that this process has made, or adopted; and the end of stores that nobody has."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import sys
import warnings
from enum import IntEnum
from typing import Any, Callable, List, Optional, Set, Tuple, Type, Union

from . import _abi
from ._abi import AnyPath, Export, Phase, Retain, nanoseconds
from ._errors import Busy, Error, Local, check, make_error, passing_on
from ._calling import Calling

_NUMBERS = (
    "size", "block_size", "planes", "key_max", "clients", "requests", "mode", "fence", "hugepages", "numa_node",
    "group", "populate",
)  # fmt: skip

_ENDED = "the store was destroyed, or given up"

Progress = Callable[[Phase, int, int], Any]


class Owner(Local):
    """A store's owner. As a context manager it destroys the store at the end of the block.

    Any thread may call it; one that ends it while another is in a call with it raises Busy.
    """

    def __init__(self, name: str) -> None:
        # Where the library puts it: so it is not lost where an interrupt comes before anything else. None: ended.
        self.pointer = ctypes.c_void_p()
        self._to_end = [True]  # who takes it from here ends it
        self._inside: Set[int] = set()
        self.name = name

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if self.pointer.value is not None:
                self.destroy()
        except (Error, ValueError):
            if kind is None:
                raise
            # The exception that is on its way tells more.

    def __del__(self) -> None:
        if not getattr(self, "pointer", None):
            return
        # As its death would: the store stays. In a child of fork() it is the parent's.
        if _abi.disown(self.pointer) == 0 and not sys.is_finalizing():
            warnings.warn(f"store {self.name!r} has lost its owner", ResourceWarning, stacklevel=2)

    def _end(self, call: Any) -> None:
        pointer = self.pointer.value
        try:
            self._to_end.pop()
        except IndexError:
            raise ValueError(_ENDED) from None
        try:
            self._refuse_if_in_use()
            self.pointer.value = None  # from here on nobody begins a call
            self._refuse_if_in_use()
        except BaseException:
            self.pointer.value = pointer
            self._to_end.append(True)
            raise
        check(call(pointer))

    def _refuse_if_in_use(self) -> None:
        if self._inside:
            raise Busy(errno.EBUSY, "another thread is in a call with the owner")

    def _calling(self) -> Calling:
        return Calling(self._inside, self.pointer, _ENDED)

    def destroy(self) -> None:
        """Destroys the store: every call of its clients raises Stale from now on."""
        self._end(_abi.destroy)

    def disown(self) -> None:
        """Gives up the ownership and leaves the store as it is."""
        self._end(_abi.disown)

    def recover(self) -> int:
        """Recovers dead clients; how many were."""
        count = ctypes.c_uint()
        with self._calling() as pointer:
            check(_abi.owner_recover(pointer, count))
        return int(count.value)

    def fd(self) -> Optional[int]:
        """A descriptor, readable when a client waits for recover(), to be given GPU memory. None: none ever does."""
        fd = ctypes.c_int()
        check(_abi.owner_fd(self._open(), fd))
        return None if fd.value < 0 else int(fd.value)

    def _open(self) -> int:
        if self.pointer.value is None:
            raise ValueError(_ENDED)
        return self.pointer.value

    def look_at_pins(self, timeout: float) -> int:
        """Tells the log of the pins that are older than timeout seconds, once each; of how many."""
        count = ctypes.c_uint()
        with self._calling() as pointer:
            check(_abi.owner_look_at_pins(pointer, nanoseconds(timeout), count))
        return int(count.value)


def create(
    name: str,
    *,
    size: int,
    block_size: int,
    dir: Optional[AnyPath] = None,
    label: str = "",
    planes: int = 1,
    retain: Union[Retain, str] = Retain.KEEP,
    replace_dead: bool = False,
    pool: Optional[str] = None,
    gpu_export: Union[Export, str] = Export.FD,
    progress: Optional[Progress] = None,
    **options: Any,
) -> Owner:
    """Makes a store: of size bytes in each plane, rounded down to whole blocks. Its owner must live as long as it.

    retain: "keep" (a cache) or "drop" (a transfer buffer). pool: GPUs with a plane on each, such as "cuda:0,cuda:1", or
    their UUIDs; None: host memory. gpu_export: "fd" or "ipc", how processes come by GPU memory. Other options are those
    of kvshm_create(3): key_max, clients, requests, mode, fence, hugepages, numa_node, group, populate.
    progress(phase, done, total) is told how far it is, and calls it off by a true result (Canceled), or an exception.
    """
    given = _abi.CreateOptions()
    _abi.create_defaults(given)
    given.dir = _abi.directory(dir)
    given.label = _abi.text(label, "label")
    given.retain = _word("retain", retain, Retain) if isinstance(retain, str) else retain
    given.pool = None if pool is None else _abi.text(pool, "pool")
    given.gpu_export = _word("gpu_export", gpu_export, Export) if isinstance(gpu_export, str) else gpu_export
    given.replace_dead = replace_dead
    for option, value in {"size": size, "block_size": block_size, "planes": planes, **options}.items():
        if option not in _NUMBERS:
            raise TypeError(f"create() has no option {option!r}")
        setattr(given, option, value)
        if getattr(given, option) != value:
            raise ValueError(f"{option}={value} is out of range")
    raised: List[BaseException] = []
    if progress is not None:
        given.progress = _abi.PROGRESS(passing_on(_told(progress), raised))
    with contextlib.ExitStack() as undo:  # what is interrupted leaves no store
        owner = undo.enter_context(Owner(name))
        check(_abi.create(_abi.text(name, "name"), given, owner.pointer), raised)
        undo.pop_all()
    return owner


def _word(option: str, word: str, kind: Type[IntEnum]) -> IntEnum:
    """A member of an enum by its name in small letters."""
    words = [member.name.lower() for member in kind]
    if word not in words:
        raise ValueError(f"{option}={word!r}: it is {' or '.join(map(repr, words))}")
    return kind[word.upper()]


def _told(progress: Progress) -> Callable[..., Any]:
    return lambda phase, done, total, _: progress(Phase(phase), done, total)


def adopt(name: str, *, dir: Optional[AnyPath] = None) -> Owner:
    """Becomes the owner of a store whose owner is gone, with all its blocks."""
    owner = Owner(name)
    check(_abi.adopt(_abi.text(name, "name"), _abi.directory(dir), owner.pointer))
    return owner


def unlink(name: str, *, dir: Optional[AnyPath] = None) -> None:
    """Removes a store that nobody has. Busy: somebody has it."""
    check(_abi.unlink(_abi.text(name, "name"), _abi.directory(dir)))


def unlink_dead(*, dir: Optional[AnyPath] = None) -> List[Tuple[str, Optional[Error]]]:
    """Removes all stores that nobody has: their names, and why one could not be removed."""
    removed: List[Tuple[str, Optional[Error]]] = []
    raised: List[BaseException] = []

    def tell(name: bytes, result: int, _: Any) -> None:
        removed.append((name.decode(), make_error(result, _abi.last_error()) if result else None))

    check(_abi.unlink_dead(_abi.directory(dir), _abi.NAMED_RESULT(passing_on(tell, raised)), None), raised)
    return removed


def list_stores(*, dir: Optional[AnyPath] = None) -> List[str]:
    """The names of all stores."""
    names: List[str] = []
    raised: List[BaseException] = []

    def tell(name: bytes, _: Any) -> None:
        names.append(name.decode())

    check(_abi.list_stores(_abi.directory(dir), _abi.NAMED(passing_on(tell, raised)), None), raised)
    return names
