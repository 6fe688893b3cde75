# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_processes: what travels to another process works there; and a child of fork() changes nothing of its parent's.
"""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import subprocess
import sys
import warnings
from typing import Any, Callable, List

import kvshm
import runner
import scene
from kvshm import Kind, Outcome

# A worker: it holds and writes by what its standard input says, a line each, and answers each.
WORKER = """
import sys, kvshm
store, held = kvshm.attach(sys.argv[1], client="worker"), []
for line in sys.stdin:
    words = line.split()
    what = bytes.fromhex(words[1]) if len(words) > 1 else b""
    if words[0] == "hold":
        held = list(store.hold_batch(what))
        print(*(hold.buffer(1)[0] for hold in held), flush=True)
    elif words[0] == "write":
        with store.join_batch(what, 1) as parts:
            for part in parts:
                part.buffer(1)[:] = bytes([part.block % 251]) * 4096
            print(parts.publish().ok, flush=True)
    elif words[0] == "claim":
        request = store.request(what)
        request.wait(60)
        with request.claim([b"a", b"b"]) as refs:
            print(*refs.kinds, request.info().state.name, request.end(), flush=True)
    elif words[0] == "release":
        for hold in held:
            hold.release()
        print("released", flush=True)
"""


class Processes(scene.StoreTest):
    def setUp(self) -> None:
        super().setUp()
        self.worker = subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", WORKER, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end_worker)

    def end_worker(self) -> None:
        """Ends the worker, if it lives."""
        self.worker.communicate()

    def ask(self, *words: str) -> str:
        """What the worker answers."""
        assert self.worker.stdin is not None and self.worker.stdout is not None
        print(*words, file=self.worker.stdin, flush=True)
        return self.worker.stdout.readline().strip()

    def test_tickets_are_holds_in_another_process(self) -> None:
        self.put(b"a", b"b")
        with self.store.match([b"a", b"b"]) as refs:
            answer = self.ask("hold", pickle.loads(pickle.dumps(refs.tickets())).hex())
        self.assertEqual(answer, f"{ord('a')} {ord('b')}")
        self.store.remove(b"a")
        self.assertEqual((self.usage().refs, self.usage().doomed), (2, 1))
        self.assertEqual(self.ask("release"), "released")
        self.assertEqual((self.usage().refs, self.usage().doomed), (0, 0))

    def test_another_process_writes_its_plane(self) -> None:
        with self.store.get_or_fill_batch([b"a", b"b"], shared=True) as fills:
            mine = self.store.join_batch(fills.tickets(), 0)
            self.assertTrue(fills.publish().ok)
            self.assertEqual(self.ask("write", fills.tickets().hex()), "True")
            self.assertFalse(fills.wait(0).ok)
            mine.publish()
            self.assertTrue(fills.wait(60).ok)
            self.assertEqual([hold.buffer(1)[99] for hold in fills], [block % 251 for block in fills.blocks])
            mine.close()

    def test_a_request_is_claimed_and_ended_in_another_process(self) -> None:
        request = self.store.open_request("r")
        for key in (b"a", b"b"):
            request.get_or_fill(key).publish()
        request.complete(60)
        self.assertEqual(self.ask("claim", bytes(request).hex()), "1 1 COMPLETE True")
        self.assertEqual(self.store.tend_requests(), 1)
        self.assertEqual((request.info().state, self.usage().pins), (kvshm.RequestState.CLOSED, 0))

    def test_what_a_killed_process_held_comes_back(self) -> None:
        self.put(b"a", b"b")
        with self.store.match([b"a", b"b"]) as refs:
            self.ask("hold", refs.tickets().hex())
        self.assertEqual(self.usage().refs, 2)
        self.worker.send_signal(signal.SIGKILL)
        self.worker.wait()
        self.assertEqual((self.store.recover(), self.usage().refs), (1, 0))

    def test_handles_do_not_travel(self) -> None:
        self.put(b"a")
        with self.store.get(b"a") as hold, self.store.get_batch([b"a"]) as holds:
            request = self.store.open_request("r")
            acts: List[Callable[[Any], Any]] = [pickle.dumps, copy.copy, copy.deepcopy]
            for what in (hold, holds, request, self.store, self.owner, self.store.plane(0)):
                for act in acts:
                    with self.assertRaises(TypeError):
                        act(what)
            request.end()
            keys, meta = kvshm.Keys([b"a", None]), hold.meta()
            self.assertEqual(pickle.loads(pickle.dumps((keys, meta))), (keys, meta))


class Forks(scene.StoreTest):
    def test_each_call_of_a_child_is_refused_and_changes_nothing(self) -> None:
        self.put(b"a", b"b")
        hold, holds = self.store.get(b"a"), self.store.get_or_fill_batch([b"b", b"c"])
        request = self.store.open_request("r")
        lent = request.match([b"a"])
        before = self.usage()

        def act() -> None:
            store = self.store
            calls: List[Callable[[], Any]] = [
                lambda: store.get(b"a"),
                lambda: store.get_or_fill(b"d"),
                lambda: store.match([b"a"]),
                lambda: store.remove(b"a"),
                lambda: store.plane(0),
                lambda: store.open_request("s"),
                lambda: store.hold(bytes(16)),
                lambda: store.get_batch([b"a"]),
                lambda: store.alloc_batch(2),
                store.clear,
                store.recover,
                store.fileno,
                hold.release,
                hold.pin,
                hold.address,
                hold.buffer,
                lambda: hold.wait(0),
                holds.release,
                holds.publish,
                holds.give_up,
                lambda: holds.wait(0),
                request.end,
                request.info,
                lambda: request.match([b"a"]),
                lambda: request.release(lent),
                self.owner.recover,
                self.owner.destroy,
            ]
            for number, call in enumerate(calls):
                try:
                    call()
                except kvshm.Forked:
                    continue
                raise AssertionError(f"call {number} went through")

        self.in_child(act)
        self.assertEqual(self.usage(), before)
        hold.release()
        holds.close()
        self.assertTrue(request.end())

    def test_what_a_child_closes_or_drops_stays_its_parents(self) -> None:
        self.put(b"a")
        held: List[Any] = [self.store.get(b"a"), self.store.alloc(), self.store.get_batch([b"a"]), self.attach(),
                           kvshm.create(scene.new_name(), size=4096, block_size=4096), kvshm.View(self.name)]
        seen = self.store.plane(0).buffer()
        before, clients = self.usage(), len(self.clients())

        def act() -> None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                held[0].close()
                held[3].close()
                held.clear()
                gc.collect()
                self.store.close()  # also while memory is seen: there is none here
                texts = [str(warning.message) for warning in caught]
            assert not texts, texts

        self.in_child(act)
        self.assertEqual((self.usage(), len(self.clients())), (before, clients))
        self.assertEqual([held[0].kind, held[1].kind, held[2].kinds], [Kind.REF, Kind.OWNED, b"\1"])
        held[0].meta()
        held[4].destroy()
        for hold in held[:3]:
            hold.close()
        del seen

    def test_a_child_attaches_for_itself(self) -> None:
        self.put(b"a")

        def act() -> None:
            with kvshm.attach(self.name) as store, store.get(b"a") as ref:
                assert ref.outcome == Outcome.READY and ref.buffer()[0] == ord("a")
                assert store.slot != self.store.slot
                with store.get_or_fill(b"b") as fill:
                    fill.publish()

        self.in_child(act)
        self.store.get(b"b").release()

    def test_a_child_of_a_thread_in_a_call_can_close_its_store(self) -> None:
        other = self.attach()
        with other.get_or_fill(b"k") as fill, self.store.get_or_fill(b"k") as pending:
            with scene.InCall(lambda: pending.wait(60)) as thread:
                warnings.simplefilter("ignore")  # newer Pythons warn of fork() with threads
                self.in_child(self.store.close)
                fill.publish()
            self.assertIsNone(thread.error)

    def test_a_child_that_ends_the_interpreter_says_nothing(self) -> None:
        done = scene.run_python(
            "import os, sys, kvshm\n"
            "store = kvshm.attach(sys.argv[1])\n"
            "fill, view = store.get_or_fill(b'k'), kvshm.View(sys.argv[1])\n"
            "pid = os.fork()\n"
            "if pid:\n"
            "    _, status = os.waitpid(pid, 0)\n"
            "    fill.publish()\n"
            "    fill.release()\n"
            "    store.close()\n"
            "    sys.exit(status != 0)\n",
            self.name,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.store.get(b"k").release()


if __name__ == "__main__":
    runner.main()
