# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""What the tests of the module kvshm share: a store of their own, looks at it, children, a thread that is in a call.

A test's stores are closed, judged by View.check(), and destroyed when it ends; of a test that is killed the driver
removes them by their names, which begin with $KVSHM_TEST_PREFIX.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import traceback
import unittest
import warnings
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional

import kvshm

_numbers = itertools.count()


def new_name() -> str:
    """A name that no other store has."""
    return f"{os.environ['KVSHM_TEST_PREFIX']}{os.getpid()}-{next(_numbers)}"


class StoreTest(unittest.TestCase):
    """A test with a store, which is made by options that its class may set, and a client of it, self.store."""

    options: Dict[str, Any] = {"size": 64 * 4096, "block_size": 4096, "planes": 2}

    def setUp(self) -> None:
        warnings.simplefilter("error")
        self.addCleanup(warnings.resetwarnings)
        self.name = new_name()
        self.owner = kvshm.create(self.name, **self.options)
        self.addCleanup(self._destroy)
        self.addCleanup(self._judge)
        self.store = self.attach()

    def _destroy(self) -> None:
        try:
            self.owner.destroy()
        except ValueError:  # the test has ended it
            pass

    def _judge(self) -> None:
        try:
            view = kvshm.View(self.name)
        except kvshm.NotFound:  # the test has destroyed it
            return
        with view:
            found = view.check()
            self.assertEqual((found.unsound, found.leaked, found.findings), (0, 0, []))

    def attach(self, **options: Any) -> kvshm.Store:
        """A further client, which is detached when the test ends."""
        store = kvshm.attach(self.name, **options)
        self.addCleanup(store.close)
        return store

    def usage(self) -> SimpleNamespace:
        """How many blocks are in which state."""
        with kvshm.View(self.name) as view:
            return view.usage()

    def clients(self) -> List[SimpleNamespace]:
        """Who is attached."""
        with kvshm.View(self.name) as view:
            return view.clients()

    def put(self, *keys: bytes) -> None:
        """Publishes keys: each byte of their blocks is the key's first."""
        for key in keys:
            with self.store.get_or_fill(key) as hold:
                for plane in range(self.store.planes):
                    hold.buffer(plane)[:] = key[:1] * self.store.block_size
                hold.publish()

    def in_child(self, act: Callable[[], Any]) -> None:
        """Runs act() in a child of fork(): it fails here if it raises there."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(reading)
                act()
                status = 0
            except BaseException:
                os.write(writing, traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(writing)
        with open(reading, "rb") as pipe:
            text = pipe.read().decode()
        _, status = os.waitpid(pid, 0)
        self.assertEqual(status, 0, text)


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, in Python's development mode (3.8's fails at any fork())."""
    mode = ["-X", "dev"] if sys.version_info >= (3, 9) else ["-W", "default"]
    return subprocess.run(
        [sys.executable, *mode, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def hand_over_only_by_waiting() -> Iterator[None]:
    """No thread is made to hand the interpreter lock on: only who waits, or is in a call that releases it, does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class InCall(threading.Thread):
    """A thread that is in a call when `with` is entered, if the call releases the interpreter lock.

    The one that starts this thread goes on when that one hands the lock on: in its call, or, if that keeps the lock,
    when it has returned.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.result: Any = None
        self.error: Optional[BaseException] = None
        self.done = False

    def run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error
        self.done = True

    def __enter__(self) -> InCall:
        self._handing = hand_over_only_by_waiting()
        self._handing.__enter__()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._handing.__exit__(None, None, None)
        self.join()
