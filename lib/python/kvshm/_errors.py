# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Errors: a failed call raises Error, or the subclass that stands for its errno, with the library's own text.

All are OSErrors, so that `errno` and `strerror` are where one looks for them. Those that Python has a name for are also
of that class: who catches TimeoutError, PermissionError or BlockingIOError catches these.
"""

from __future__ import annotations

import errno
from typing import Any, Callable, Dict, List, NoReturn, Sequence, Type

from . import _abi


class Error(OSError):
    """A call of libkvshm failed: errno says how, strerror what is wrong and what to do."""


class Invalid(Error, ValueError):
    """EINVAL: an argument is out of its range, which strerror names."""


class NotFound(Error, LookupError):
    """ENOENT: there is no such key, store or request."""


class NotReady(Error, BlockingIOError):
    """EAGAIN: the key is being filled; or what was waited for was given up: ask for the keys again."""


class InProgress(Error, BlockingIOError):
    """EINPROGRESS: the room has not come yet; or a request holds fewer blocks than it was opened with."""


class NoRoom(Error):
    """ENOSPC: nothing is free or evictable now, or a request has no room left."""


class TooLarge(Error):
    """E2BIG: the store has fewer blocks than that."""


class TimedOut(Error, TimeoutError):
    """ETIMEDOUT: it had not happened when the time was over. What was held is held."""


class Canceled(Error):
    """ECANCELED: the fill was given up, the key removed, the store cleared, or the request has ended."""


class Stale(Error):
    """ESTALE: the store was destroyed or replaced."""


class NotHeld(Error):
    """EBADF: this client does not hold that, or no request of that store is meant."""


class Busy(Error):
    """EBUSY: something is still under way; or another has it."""


class Exists(Error, FileExistsError):
    """EEXIST: a store or a request of that name is there."""


class Ended(Error):
    """EALREADY: it has ended, or is done, before."""


class NotPermitted(Error, PermissionError):
    """EACCES, EPERM: this user, or this client, may not do that."""


class Mismatch(Error):
    """EMEDIUMTYPE, EPROTO: the store has another label; or it is no store of this version, or of this boot."""


class OwnerDead(Error):
    """EOWNERDEAD: a store of the name exists without a living owner: adopt it, or replace it."""


class Full(Error):
    """EUSERS, ENFILE, EMFILE: no client slot, reader slot, request or descriptor is left, or too many refs are held."""


class Damaged(Error):
    """EUCLEAN: nonsense in the segment; nothing was touched outside of it. See kvshm-check(1)."""


class Forked(Error, ChildProcessError):
    """ECHILD: the store is from before fork(): the child attaches it for itself."""


class Local:
    """What means something in its own process only, and is one there: copies of it would be let go of twice."""

    __slots__ = ()

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} can be neither copied nor pickled: send tickets, keys or bytes(request)"
        )


_classes: Dict[int, Type[Error]] = {
    errno.EINVAL: Invalid,
    errno.ENOENT: NotFound,
    errno.EAGAIN: NotReady,
    errno.EINPROGRESS: InProgress,
    errno.ENOSPC: NoRoom,
    errno.E2BIG: TooLarge,
    errno.ETIMEDOUT: TimedOut,
    errno.ECANCELED: Canceled,
    errno.ESTALE: Stale,
    errno.EBADF: NotHeld,
    errno.EBUSY: Busy,
    errno.EEXIST: Exists,
    errno.EALREADY: Ended,
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.EMEDIUMTYPE: Mismatch,
    errno.EPROTO: Mismatch,
    errno.EOWNERDEAD: OwnerDead,
    errno.EUSERS: Full,
    errno.ENFILE: Full,
    errno.EMFILE: Full,
    errno.EUCLEAN: Damaged,
    errno.ECHILD: Forked,
}


def make_error(result: int, text: str) -> Error:
    """The exception for a call's result, a negative errno."""
    return _classes.get(-result, Error)(-result, text)


def check(result: int, raised: Sequence[BaseException] = ()) -> None:
    """Raises what a callback of the call has raised (passing_on()), or the error of a call that has just failed."""
    if raised:
        raise raised[0]
    if result:
        raise make_error(result, _abi.last_error())


def passing_on(tell: Callable[..., Any], raised: List[BaseException]) -> Callable[..., int]:
    """A callback that ends its call by a true result, or by an exception, an interrupt too: there it would be lost."""

    def told(*what: Any) -> int:
        try:
            return 1 if tell(*what) else 0
        except BaseException as error:
            raised.append(error)
            return 1

    return told
