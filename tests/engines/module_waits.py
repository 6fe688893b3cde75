# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_waits: a wait lets other threads go on, ends at its deadline, when it is interrupted, and when it is over.

Nothing here sleeps: scene.InCall says how it is known that a thread is in its call.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

import kvshm
import runner
import scene
from kvshm import Kind

LONG = 60.0  # seconds: nobody waits that long, unless something is wrong


class Waits(scene.StoreTest):
    """What each wait is for is under way by another client, in this process."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.attach()
        self.fills = self.other.get_or_fill_batch([b"a", b"b"])
        self.addCleanup(self.fills.close)
        self.pending = self.store.get_or_fill_batch([b"a", b"b"])
        self.addCleanup(self.pending.close)

    def in_line(self) -> Tuple[kvshm.Request, kvshm.Request]:
        """A request that has all room there is, and one that waits for some."""
        has, waits = self.other.open_request("has"), self.store.open_request("waits")
        self.addCleanup(has.end)
        self.addCleanup(waits.end)
        has.reserve(self.store.blocks - 2, LONG)
        self.assertFalse(waits.queue(8, LONG))
        return has, waits

    def cases(self) -> Dict[str, Tuple[Callable[[float], Any], Callable[[], Any]]]:
        """Each wait: the call, with its time; and what makes it end."""
        has, waits = self.in_line()
        reserves = self.store.open_request("reserves")
        completes = self.store.open_request("completes")
        watched = self.other.open_request("watched")
        for request in (reserves, completes, watched):
            self.addCleanup(request.end)
        completes.get_or_fill(b"a")
        return {
            "Hold.wait": (self.pending[0].wait, self.fills[0].publish),
            "Holds.wait": (self.pending.wait, self.fills.publish),
            "complete": (completes.complete, self.fills.publish),
            "wait": (self.store.request(bytes(watched)).wait, lambda: watched.complete(0)),
            "wait_room": (waits.wait_room, has.unreserve),
            "reserve": (lambda timeout: reserves.reserve(1, timeout), lambda: [has.end(), waits.end()]),
        }

    def test_another_thread_goes_on_while_one_waits_and_ends_it(self) -> None:
        for name in self.cases():
            with self.subTest(name):
                self.doCleanups()
                self.setUp()
                wait, end = self.cases()[name]
                with scene.InCall(lambda: wait(LONG)) as thread:
                    self.assertFalse(thread.done, "the wait was over before this thread went on")
                    end()
                self.assertIsNone(thread.error)

    def test_a_wait_ends_at_its_deadline(self) -> None:
        for name, (wait, _) in self.cases().items():
            for timeout in (0, 0.05, 0.15):  # the last one is of two slices
                with self.subTest(name, timeout=timeout):
                    begin = time.monotonic()
                    if name == "Holds.wait":
                        results = wait(timeout)
                        self.assertEqual(set(results.failed()), {0, 1})
                    elif name == "wait_room":
                        with self.assertRaises(kvshm.InProgress):
                            wait(timeout)
                    else:
                        with self.assertRaises(kvshm.TimedOut):
                            wait(timeout)
                    self.assertGreaterEqual(time.monotonic() - begin, timeout)
        self.assertEqual(self.pending.kinds, bytes([Kind.REF] * 2))

    def test_a_wait_of_no_time_or_less_looks_once(self) -> None:
        for timeout in (0, -1.0, float("-inf")):
            with self.assertRaises(kvshm.TimedOut):
                self.pending[0].wait(timeout)
        self.fills.publish()
        for timeout in (0, -1.0, LONG, float("inf")):
            self.pending[0].wait(timeout)
            self.assertTrue(self.pending.wait(timeout).ok)

    def test_the_place_in_the_line_has_a_time_of_its_own(self) -> None:
        has, _ = self.in_line()
        late = self.store.open_request("late")
        self.addCleanup(late.end)
        self.assertFalse(late.queue(8, 0.05))
        with self.assertRaises(kvshm.TimedOut):
            late.wait_room(LONG)
        self.assertEqual(has.info().room, self.store.blocks - 2)

    def test_a_batch_tells_what_came_of_each(self) -> None:
        keys = [b"x", b"y", b"z"]
        fills, waits = self.other.get_or_fill_batch(keys), self.store.get_or_fill_batch(keys)
        fills[0].publish()
        fills[2].give_up()
        results = waits.wait(0.15)
        self.assertEqual(results.failed(), {1: -errno.ETIMEDOUT, 2: -errno.ECANCELED})
        self.assertEqual(waits.kinds, bytes([Kind.REF, Kind.REF, Kind.NONE]))
        waits.close()
        fills.close()

    def test_an_interrupt_ends_a_wait_and_what_is_held_is_held(self) -> None:
        for name, (wait, _) in self.cases().items():
            if name == "reserve":
                continue
            with self.subTest(name):
                self.interrupted(wait)
        self.assertEqual(self.pending.kinds, bytes([Kind.REF] * 2))
        self.fills.publish()
        self.assertTrue(self.pending.wait(LONG).ok)
        self.assertFalse(self.store._inside)

    def test_an_interrupt_of_reserve_leaves_no_place_in_the_line(self) -> None:
        wait, _ = self.cases()["reserve"]
        self.interrupted(wait)
        self.assertEqual(self.store.find_request("reserves").info().wanted, 0)

    def test_an_interrupt_of_reserve_is_raised_also_where_the_request_has_ended(self) -> None:
        request = self.in_line()[0].store.open_request("ends")

        def interrupt(*_: object) -> None:
            self.store.request(bytes(request)).end()
            raise KeyboardInterrupt

        with mock.patch.object(kvshm.Request, "wait_room", interrupt), self.assertRaises(KeyboardInterrupt):
            request.reserve(8, LONG)

    def interrupted(self, wait: Callable[[float], Any]) -> None:
        """The main thread is in a wait when another one interrupts it."""
        ready = threading.Lock()
        ready.acquire()

        def interrupt() -> None:
            with ready:  # is free when the main thread has gone on; and then runs only if that one waits, see InCall
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with scene.hand_over_only_by_waiting():
            begin = time.monotonic()
            with self.assertRaises(KeyboardInterrupt):
                ready.release()
                wait(LONG)
        thread.join()
        self.assertLess(time.monotonic() - begin, LONG / 2)

    def test_a_store_can_not_be_closed_under_a_wait(self) -> None:
        with scene.InCall(lambda: self.pending[0].wait(LONG)) as thread:
            with self.assertRaises(kvshm.Busy):
                self.store.close()
            self.assertFalse(self.store.closed or thread.done)
            self.store.get_batch([b"none"])
            self.fills.publish()
        self.assertIsNone(thread.error)
        self.pending.close()
        self.store.close()

    def test_the_end_of_a_store_ends_a_wait(self) -> None:
        with scene.InCall(lambda: self.pending[0].wait(LONG)) as thread:
            self.owner.destroy()
        self.assertIsInstance(thread.error, kvshm.Stale)


class EventLoops(scene.StoreTest):
    def test_asyncio_waits_for_fills_and_room_by_the_descriptor(self) -> None:
        other = self.attach()
        fill = other.get_or_fill(b"k")
        has, waits = other.open_request("has"), self.store.open_request("waits")
        has.reserve(self.store.blocks - 1, LONG)

        async def until(done: Callable[[], bool]) -> int:
            loop, news, looks = asyncio.get_running_loop(), asyncio.Event(), 1
            loop.add_reader(self.store.fileno(), news.set)
            try:
                while True:
                    self.store.poll_clear()
                    if done():
                        return looks
                    looks += 1
                    news.clear()
                    await asyncio.wait_for(news.wait(), LONG)
            finally:
                loop.remove_reader(self.store.fileno())

        def is_ready() -> bool:
            try:
                pending.wait(0)
            except kvshm.TimedOut:
                return False
            return True

        def has_room() -> bool:
            try:
                waits.wait_room(0)
            except kvshm.InProgress:
                return False
            return True

        async def both() -> Tuple[int, int]:
            asyncio.get_running_loop().call_soon(fill.publish)
            first = await until(is_ready)
            asyncio.get_running_loop().call_soon(has.unreserve)
            return first, await until(has_room)

        with self.store.get_or_fill(b"k") as pending:
            self.assertFalse(waits.queue(4, LONG))
            looks = asyncio.run(both())
        self.assertGreaterEqual(min(looks), 2)
        self.assertEqual(waits.info().room, 4)
        for request in (has, waits):
            request.end()
        fill.close()

    def test_the_descriptor_is_the_same_until_the_store_is_closed(self) -> None:
        fd = self.store.fileno()
        self.assertEqual(self.store.fileno(), fd)
        os.fstat(fd)
        self.store.close()
        with self.assertRaises(OSError):
            os.fstat(fd)


class Threads(scene.StoreTest):
    options = {**scene.StoreTest.options, "size": 32 * 4096}

    def test_threads_hammer_one_store(self) -> None:
        """Each block's bytes say its key, whoever filled it; 40 keys have 32 blocks."""
        seed = int.from_bytes(os.urandom(4), "little")
        print(f"seed {seed}")
        errors: List[BaseException] = []

        def work(number: int) -> None:
            chance = random.Random(seed + number)
            try:
                for _ in range(200):
                    self.some_keys([bytes([chance.randrange(40)]) * 8 for _ in range(chance.randrange(1, 5))], chance)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        usage = self.usage()
        self.assertEqual((usage.refs, usage.pins, usage.filling, usage.owned), (0, 0, 0, 0))

    def some_keys(self, keys: List[bytes], chance: random.Random) -> None:
        """Fills, reads and removes keys."""
        act = chance.randrange(10)
        if act == 0:
            self.store.remove_batch(keys)
            return
        with (self.store.match(keys) if act < 4 else self.store.get_or_fill_batch(keys)) as holds:
            for key, hold in zip(keys, holds):
                if hold.kind == Kind.WRITER:
                    for plane in (0, 1):
                        hold.buffer(plane)[:] = key * 512
                    if act == 9:
                        hold.give_up()
                        continue
                    try:
                        hold.publish()
                    except kvshm.Canceled:  # it was removed meanwhile
                        continue
            for key, hold in zip(keys, holds):
                if hold.kind == Kind.REF:
                    try:
                        hold.wait(LONG)
                    except kvshm.Canceled:
                        continue
                    self.assertEqual(bytes(hold.buffer(act % 2)), key * 512)

    def test_a_log_that_lets_another_thread_go_on_holds_up_no_call(self) -> None:
        """A call with a request tells of a death; meanwhile another thread calls, which keeps the interpreter lock."""
        request = self.store.open_request("r")
        told, done = threading.Event(), threading.Event()
        self.addCleanup(kvshm.set_log, None)
        dies = "import os, sys, kvshm; s = kvshm.attach(sys.argv[1]); h = s.alloc_batch(s.blocks); os.abort()"
        subprocess.run([sys.executable, "-c", dies, self.name], check=False)

        def tell(*_: object) -> None:
            told.set()
            done.wait(LONG)

        kvshm.set_log(tell)
        with scene.InCall(lambda: request.get_or_fill(b"k").give_up()) as thread:
            self.assertTrue(told.wait(LONG))
            self.assertEqual(len(request.match([b"k"])), 0)
            done.set()
        self.assertIsNone(thread.error)
        request.end()

    def test_a_store_that_is_closed_in_one_thread_raises_in_others(self) -> None:
        """They get ValueError, or the closing one Busy, but nobody goes into a store that is gone."""
        self.put(b"a")
        for _ in range(20):
            store = self.attach()
            go = threading.Barrier(4)
            errors: List[BaseException] = []

            def work(store: kvshm.Store = store, errors: List[BaseException] = errors) -> None:
                go.wait()
                try:
                    while True:
                        with store.get(b"a") as ref:
                            ref.meta()
                        store.touch_batch([b"a"])
                        store.recover()
                except ValueError:
                    pass
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            go.wait()
            while not store.closed:
                try:
                    store.close()
                except kvshm.Busy:
                    pass
            for thread in threads:
                thread.join()
            self.assertEqual(errors, [])
        self.assertEqual(self.usage().refs, 0)


if __name__ == "__main__":
    runner.main()
