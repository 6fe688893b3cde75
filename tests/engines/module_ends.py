# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_ends: stores are made as they were wanted, owned, adopted and ended; and so are objects that are dropped."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
import threading
import unittest
import weakref
from typing import Any, Callable, List, Tuple
from unittest import mock

import kvshm
import runner
import scene
from kvshm import LogLevel, Phase, Retain, _abi, _view


def killed(act: str, name: str) -> None:
    """A process does that, and is killed while it has all of it."""
    program = f"import os, sys, kvshm\nname = sys.argv[1]\n{act}\nsys.stdout.flush()\nos.kill(os.getpid(), 9)\n"
    done = scene.run_python(program, name)
    if done.returncode != -9:
        raise AssertionError(done.stderr)


class Owners(scene.StoreTest):
    def test_a_store_is_made_as_it_was_wanted(self) -> None:
        name = scene.new_name()
        options: Any = {"planes": 3, "key_max": 100, "clients": 5, "requests": 7, "mode": 0o640, "label": "x"}
        with kvshm.create(name, size=10 * 1024 + 5, block_size=1024, retain="drop", **options) as owner:
            self.assertEqual(owner.name, name)
            with kvshm.attach(name, label="x", client="me") as store:
                self.assertEqual(
                    (store.name, store.blocks, store.block_size, store.planes, store.key_max, store.clients_max,
                     store.requests_max, store.retain),
                    (name, 10, 1024, 3, 100, 5, 7, Retain.DROP),
                )
                with store.get_or_fill(b"k") as fill:
                    fill.publish()
                with self.assertRaises(kvshm.NotFound):  # the last release has dropped it
                    store.get(b"k")
                with kvshm.View(name) as view:
                    self.assertEqual((view.store().mode, view.store().label), (0o640, "x"))
                    self.assertEqual((view.clients()[0].name, view.clients()[0].slot), ("me", store.slot))
        with self.assertRaises(kvshm.NotFound):
            kvshm.attach(name)

    def test_defaults_are_the_librarys(self) -> None:
        self.assertEqual((self.store.key_max, self.store.clients_max, self.store.requests_max), (64, 64, 1024))
        self.assertEqual((self.store.retain, self.store.slot), (Retain.KEEP, 0))
        other = self.attach()
        self.assertEqual((other.incarnation, other.slot), (self.store.incarnation, 1))

    def test_the_end_of_a_with_destroys_and_only_once(self) -> None:
        with kvshm.create(scene.new_name(), size=4096, block_size=4096) as owner:
            owner.destroy()
        calls: List[Callable[[], Any]] = [owner.destroy, owner.disown, owner.recover, lambda: owner.look_at_pins(1)]
        for call in calls:
            with self.assertRaises(ValueError):
                call()

    def test_progress_is_told_of_all_bytes(self) -> None:
        told: List[Any] = []
        name, size = scene.new_name(), 1 << 22
        with kvshm.create(name, size=size, block_size=4096, populate=1, progress=lambda *now: told.append(now)):
            pass
        self.assertEqual({phase for phase, _, _ in told}, {Phase.RESERVING, Phase.POPULATING})
        for phase in Phase:
            steps = [(done, total) for of, done, total in told if of == phase]
            self.assertEqual(steps, sorted(steps))
            self.assertGreaterEqual(steps[-1][1], size)
            self.assertEqual(steps[-1][0], steps[-1][1])

    def test_progress_calls_it_off(self) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        cases: List[Tuple[Any, Any]] = [(lambda *_: True, kvshm.Canceled), (interrupted, KeyboardInterrupt)]
        for progress, error in cases:
            name = scene.new_name()
            with self.assertRaises(error):
                kvshm.create(name, size=1 << 22, block_size=4096, populate=1, progress=progress)
            self.assertNotIn(name, kvshm.list_stores())

    def test_an_interrupt_behind_a_call_leaves_nothing_of_what_it_made(self) -> None:
        """Ctrl-C is seen when the library's call has returned, before Python has its result."""

        def interrupted(name: str) -> Any:
            call = getattr(_abi, name)

            def act(*arguments: Any) -> None:
                self.assertEqual(call(*arguments), 0)
                raise KeyboardInterrupt

            return mock.patch.object(_abi, name, act)

        open_now = len(os.listdir("/proc/self/fd"))
        name = scene.new_name()
        with interrupted("attach"), self.assertRaises(KeyboardInterrupt):
            kvshm.attach(self.name)
        with interrupted("create"), self.assertRaises(KeyboardInterrupt):
            kvshm.create(name, size=4096, block_size=4096)
        with interrupted("view_open"), self.assertRaises(KeyboardInterrupt):
            kvshm.View(self.name)
        self.assertEqual(len(self.clients()), 1)
        self.assertNotIn(name, kvshm.list_stores())
        self.owner.disown()
        with self.assertWarns(ResourceWarning), interrupted("adopt"), self.assertRaises(KeyboardInterrupt):
            kvshm.adopt(self.name)
        self.owner = kvshm.adopt(self.name)
        self.assertEqual(len(os.listdir("/proc/self/fd")), open_now)

    def test_a_store_goes_on_with_another_owner(self) -> None:
        self.put(b"k")
        self.owner.disown()
        with self.assertRaises(kvshm.OwnerDead):
            kvshm.create(self.name, **self.options)
        owner = kvshm.adopt(self.name)
        with self.assertRaises(kvshm.Exists):
            kvshm.adopt(self.name)
        self.store.get(b"k").release()
        owner.destroy()
        with self.assertRaises(kvshm.Stale):
            self.store.get(b"k")

    def test_a_dead_owners_store_is_adopted_or_replaced(self) -> None:
        name = scene.new_name()
        killed("owner = kvshm.create(name, size=4096, block_size=4096)", name)
        with kvshm.adopt(name) as owner:
            self.assertEqual(owner.name, name)
            owner.disown()
        with kvshm.create(name, size=8192, block_size=4096, replace_dead=True), kvshm.attach(name) as store:
            self.assertEqual(store.blocks, 2)

    def test_an_owner_recovers_the_dead_and_tells_of_old_pins(self) -> None:
        killed("store = kvshm.attach(name)\nfill, block = store.get_or_fill(b'k'), store.alloc()", self.name)
        self.assertEqual((self.usage().filling, self.usage().owned), (1, 1))
        self.assertEqual((self.owner.recover(), self.owner.recover()), (1, 0))
        self.assertEqual((self.usage().filling, self.usage().owned), (0, 0))
        self.put(b"a")
        said: List[str] = []
        kvshm.set_log(lambda level, text: said.append(text))
        self.addCleanup(kvshm.set_log, None)
        with self.store.get(b"a") as ref, ref.pin():
            self.assertEqual(self.owner.look_at_pins(1000), 0)
            self.assertEqual(self.owner.look_at_pins(1e-9), 1)
        self.assertIn("pin", said[-1])

    def test_an_owner_that_a_thread_is_in_a_call_with_is_busy(self) -> None:
        self.put(b"a")
        told, done = threading.Event(), threading.Event()

        def tell(*_: object) -> None:
            told.set()
            done.wait(60)

        kvshm.set_log(tell)
        self.addCleanup(kvshm.set_log, None)
        with self.store.get(b"a") as ref, ref.pin():
            with scene.InCall(lambda: self.owner.look_at_pins(1e-9)) as thread:
                self.assertTrue(told.wait(60))
                for end in (self.owner.destroy, self.owner.disown):
                    with self.assertRaises(kvshm.Busy):
                        end()
                with self.assertRaisesRegex(RuntimeError, "mine"), self.owner:
                    raise RuntimeError("mine")
                done.set()
        self.assertEqual((thread.error, thread.result), (None, 1))
        self.assertEqual(self.owner.recover(), 0)

    def test_a_store_that_two_threads_destroy_is_destroyed_once(self) -> None:
        for _ in range(20):
            owner = kvshm.create(scene.new_name(), size=4096, block_size=4096)
            go = threading.Barrier(3)
            came: List[str] = []

            def work(call: Callable[[], Any], go: Any = go) -> None:
                go.wait()
                try:
                    while True:
                        call()
                except ValueError:
                    pass

            def destroy(owner: kvshm.Owner = owner, came: List[str] = came) -> None:
                try:
                    owner.destroy()
                except kvshm.Busy:
                    pass
                else:
                    came.append("destroyed")

            def recover(owner: kvshm.Owner = owner) -> None:
                for _ in range(20):  # then it lets those go on that it makes wait
                    owner.recover()
                raise ValueError

            threads = [threading.Thread(target=work, args=(call,)) for call in (destroy, destroy, recover)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(came.count("destroyed"), 1)

    def test_stores_that_nobody_has_are_unlinked(self) -> None:
        with tempfile.TemporaryDirectory(prefix="kvshm." + self.name, dir="/dev/shm") as place:
            names = ["a", "b", "c"]
            owners = [kvshm.create(name, dir=place, size=4096, block_size=4096) for name in names]
            self.assertEqual(sorted(kvshm.list_stores(dir=place)), names)
            with self.assertRaises(kvshm.Busy):
                kvshm.unlink("a", dir=place)
            for owner in owners[:2]:
                owner.disown()
            kvshm.unlink("a", dir=place)
            with self.assertRaises(kvshm.NotFound):
                kvshm.unlink("a", dir=place)
            self.assertEqual(kvshm.unlink_dead(dir=place), [("b", None)])
            self.assertEqual(kvshm.list_stores(dir=place), ["c"])
            with kvshm.attach("c", dir=place), kvshm.View("c", dir=place) as view:
                self.assertEqual(view.store().name, "c")
            owners[2].destroy()
            self.assertEqual((kvshm.unlink_dead(dir=place), kvshm.list_stores(dir=place)), ([], []))
        with self.assertRaises(kvshm.NotFound):
            kvshm.list_stores(dir=place)


class Dropped(scene.StoreTest):
    def test_a_store_that_nobody_has_is_detached(self) -> None:
        store = kvshm.attach(self.name)
        self.assertEqual(len(self.clients()), 2)
        cycle: List[Any] = [store]
        cycle.append(cycle)
        del store, cycle
        gc.collect()
        self.assertEqual(len(self.clients()), 1)

    def test_a_store_lives_as_long_as_what_came_of_it(self) -> None:
        self.put(b"k")
        view = kvshm.attach(self.name).plane(0).buffer()
        hold = kvshm.attach(self.name).get(b"k")
        request = kvshm.attach(self.name).open_request("r")
        gc.collect()
        self.assertEqual(len(self.clients()), 4)
        self.assertEqual((hold.buffer()[0], view.nbytes, request.info().held), (ord("k"), 64 * 4096, 0))
        hold.release()
        request.end()
        del view, hold, request
        gc.collect()
        self.assertEqual(len(self.clients()), 1)

    def test_an_owner_that_nobody_has_gives_its_store_up(self) -> None:
        name = scene.new_name()
        owner = kvshm.create(name, size=4096, block_size=4096)
        del owner
        gc.collect()
        kvshm.adopt(name).destroy()

    def test_the_interpreters_end_detaches(self) -> None:
        """Whatever is left, in globals or in cycles: nothing is said, but of holds that were not released."""
        for last in ("", "sys.left = [store, request, view, owner]\n", "left = [store]; left.append(left)\n"):
            name = scene.new_name()
            done = scene.run_python(
                "import sys, kvshm\n"
                "store = kvshm.attach(sys.argv[1])\n"
                "kvshm.log_to_logging()\n"
                "request = store.open_request(sys.argv[2])\n"
                "lent = request.get_or_fill_batch([b'a', b'b'])\n"
                "lent.publish()\n"
                "view = kvshm.View(sys.argv[1])\n"
                "owner = kvshm.create(sys.argv[2], size=4096, block_size=4096)\n"
                "def tell(*_): pass\n"
                "kvshm.set_log(tell)\n" + last,
                self.name,
                name,
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), last)
            kvshm.unlink(name)
            self.owner.recover()
            self.assertEqual((len(self.clients()), self.usage().pins), (1, 0))

    def test_holds_that_are_left_are_warned_of_at_the_interpreters_end(self) -> None:
        done = scene.run_python(
            "import sys, kvshm\nstore = kvshm.attach(sys.argv[1])\nfill = store.get_or_fill(b'k')\n", self.name
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("ResourceWarning: 1 holds were not released", done.stderr)
        self.owner.recover()
        self.assertEqual(self.usage().filling, 0)


class Logs(scene.StoreTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(kvshm.set_log, None)

    def test_the_log_is_told_of_recoveries(self) -> None:
        said: List[Tuple[LogLevel, str]] = []
        kvshm.set_log(lambda level, text: said.append((level, text)))
        killed("store = kvshm.attach(name)", self.name)
        self.owner.recover()
        self.assertTrue(any("is dead" in text for _, text in said), said)
        self.assertTrue(all(isinstance(level, LogLevel) for level, _ in said))
        said.clear()
        kvshm.set_log(None)
        killed("store = kvshm.attach(name)", self.name)
        self.owner.recover()
        self.assertEqual(said, [])

    def test_nobody_is_told_after_the_interpreters_end(self) -> None:
        done = scene.run_python(
            "import atexit, subprocess, sys, kvshm\n"
            "def recover():\n"
            "    dies = 'import os, sys, kvshm; store = kvshm.attach(sys.argv[1]); os.kill(os.getpid(), 9)'\n"
            "    subprocess.run([sys.executable, '-c', dies, sys.argv[1]])\n"
            "    print(store.recover())\n"
            "atexit.register(recover)\n"  # is called last
            "store = kvshm.attach(sys.argv[1])\n"
            "kvshm.set_log(lambda *_: print('told'))\n"
            "recover()\n",
            self.name,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "told\n1\n1\n", ""))

    def test_what_was_told_once_is_kept(self) -> None:
        """Another thread may be on its way into it, and wait for the interpreter lock there."""

        def tell(*_: object) -> None:
            pass

        told = weakref.ref(tell)
        kvshm.set_log(tell)
        kvshm.set_log(None)
        del tell
        gc.collect()
        self.assertIsNotNone(told())

    def test_a_logger_has_it(self) -> None:
        kvshm.log_to_logging()
        killed("store = kvshm.attach(name)", self.name)
        with self.assertLogs("kvshm", logging.INFO) as caught:
            self.owner.recover()
        self.assertTrue(any("is dead" in text for text in caught.output))
        mine = logging.getLogger("mine")
        kvshm.log_to_logging(mine)
        killed("store = kvshm.attach(name)", self.name)
        with self.assertLogs(mine, logging.INFO):
            self.owner.recover()


class Imports(unittest.TestCase):
    def test_a_library_of_another_version_is_refused(self) -> None:
        for version, said in ((kvshm.__version__, ""), ("9.8.7", "version 9.8.7, but libkvshm.so.1 is of")):
            done = scene.run_python(
                "import sys, types\n"
                "config = types.ModuleType('kvshm._config')\n"
                "config.LIBRARY, config.VERSION = '/nowhere', sys.argv[1]\n"
                "sys.modules['kvshm._config'] = config\n"
                "import kvshm\n",
                version,
            )
            self.assertEqual((done.returncode == 0, said in done.stderr), (not said, True), done.stderr)
            self.assertIn(f"of {kvshm.__version__}" if said else "", done.stderr)

    def test_only_public_names_are_shown(self) -> None:
        self.assertEqual([name for name in dir(kvshm) if name[0] != "_"], kvshm.__all__)


class Views(scene.StoreTest):
    def test_a_view_tells_of_all(self) -> None:
        self.put(b"a", b"b")
        with self.store.open_request("r", 3, blocks=2) as request, self.store.get(b"a") as ref, ref.pin():
            request.match([b"a", b"b"])
            with kvshm.View(self.name) as view:
                head = view.store()
                self.assertEqual((head.name, head.owner_pid, head.owner_alive), (self.name, os.getpid(), 1))
                self.assertEqual((head.geometry.blocks, head.geometry.planes, head.clients_alive), (64, 2, 1))
                usage = view.usage()
                self.assertEqual((usage.ready, usage.free, usage.refs, usage.pins), (2, 62, 1, 3))
                client, = view.clients()
                self.assertEqual((client.pid, client.slot, client.pins, client.alive), (os.getpid(), 0, 3, 1))
                blocks = view.blocks()
                self.assertEqual(sorted(block.key for block in blocks), [b"a", b"b"])
                self.assertEqual({(block.state, block.length, block.written) for block in blocks}, {("ready", 4096, 3)})
                self.assertEqual({len(block.opaque) for block in blocks}, {32})
                info, = view.requests()
                self.assertEqual((info.id, info.attempt, info.expected, info.held), (b"r", 3, 2, 2))
                self.assertEqual((info.state, info.owner, info.owner_alive), (kvshm.RequestState.OPEN, 0, True))
                self.assertGreater(info.age, 0)
                self.assertEqual(sorted((pins.pins, pins.id) for pins in view.pins()), [(1, b""), (2, b"r")])
                counters = view.counters()
                self.assertEqual((counters["fills"], counters["evictions"]), (2, 0))
                fills = view.histograms()["fill"]
                self.assertEqual((fills.count, sum(fills.bucket), len(fills.bucket)), (2, 2, 37))
                self.assertEqual(view.check()[:3], (0, 0, 0))
                self.assertFalse(view.check().quiescent)

    def test_a_check_without_clients_is_of_everything(self) -> None:
        self.store.close()
        with kvshm.View(self.name) as view:
            self.assertEqual(view.check(), kvshm.Check(0, 0, 0, True, []))

    def test_a_view_outlives_its_store(self) -> None:
        view = kvshm.View(self.name)
        self.owner.destroy()
        self.assertEqual(view.store().destroyed, 1)
        view.close()

    def test_an_interrupt_ends_a_view_of_many_and_is_raised(self) -> None:
        self.put(b"a", b"b")
        made = mock.Mock(side_effect=KeyboardInterrupt)
        with kvshm.View(self.name) as view:
            with mock.patch.object(_view, "_plain", made), self.assertRaises(KeyboardInterrupt):
                view.blocks()
        made.assert_called_once()

    def test_a_closed_view_raises_ValueError(self) -> None:
        view = kvshm.View(self.name)
        view.close()
        view.close()
        for call in (view.store, view.usage, view.clients, view.blocks, view.pins, view.requests, view.counters,
                     view.histograms, view.check):
            with self.assertRaises(ValueError):
                call()

    def test_there_is_no_view_of_no_store(self) -> None:
        with self.assertRaises(kvshm.NotFound):
            kvshm.View(scene.new_name())


if __name__ == "__main__":
    runner.main()
