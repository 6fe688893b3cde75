# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Two test engines on one store, their clients, and what befalls them: kill -9, and changes of weights.

The fleet owns the store. It sends requests, kills a process of an engine at a random moment, sees that the whole engine
goes within its time, looks at the blocks that are left, and starts the engine anew, with the requests that it had. The
other engine goes on meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from typing import Any, Dict, List, Optional

import numpy as np

import kvshm
from vllm_model import BLOCK_BYTES, LAYERS, WORDS, Prompt, prompts, seeds_of, words_of

STORE_BLOCKS = 384
LABEL = "test-model/u64"
DEADLINE = 60.0  # seconds without news: an engine hangs
END = 20.0  # seconds that an engine may take to go
ENGINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vllm_engine.py")


class Engine:
    """An engine: its processes, and the requests that it has."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self.fleet = fleet
        self.name = name
        self.requests: Dict[str, Prompt] = {}  # to be answered
        self.processes: List["subprocess.Popen[bytes]"] = []
        self.conn: Optional[Any] = None
        self.state = "down"
        self.idle = True
        self.kill_after: Optional[int] = None  # requests that are answered until a process is killed
        self.news_at = 0.0

    def start(self) -> None:
        """Starts its processes; they are connected in pairs, and nobody else has the ends."""
        workers = self.fleet.workers
        pairs = [socket.socketpair() for _ in range(workers + 1)]
        common = {"store": self.fleet.store_name, "label": LABEL, "engine": self.name, "epoch": self.fleet.epoch}
        ends = [ours.fileno() for ours, _ in pairs]
        self._spawn({**common, "workers": ends[:-1], "fleet": ends[-1]}, ends)
        for rank in range(workers):
            theirs = pairs[rank][1].fileno()
            self._spawn({**common, "rank": rank, "scheduler": theirs}, [theirs])
        self.conn = Connection(pairs[-1][1].detach())
        for pair in pairs:
            for end in pair:
                end.close()
        self.state, self.idle, self.news_at = "starting", True, time.monotonic()

    def _spawn(self, options: Dict[str, Any], fds: List[int]) -> None:
        options["seed"] = self.fleet.rng.getrandbits(32)
        command = [sys.executable, ENGINE, json.dumps(options)]
        self.processes.append(subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL))

    def send(self, *what: Any) -> None:
        """Tells its scheduler something; one that has died does not hear it."""
        try:
            if self.conn is not None:
                self.conn.send(what)
        except ConnectionError:
            pass

    def gone(self, deadline: float = END) -> List[int]:
        """Waits for the ends of all its processes: their exit statuses."""
        end = time.monotonic() + deadline
        statuses = []
        for process in self.processes:
            try:
                statuses.append(process.wait(max(end - time.monotonic(), 0)))
            except subprocess.TimeoutExpired:
                self.fleet.report("hangs", f"{self.name}: process {process.pid} has not ended after {deadline} s")
                process.kill()
                statuses.append(process.wait())
        self.processes = []
        if self.conn is not None:
            self.conn.close()
        self.conn, self.state = None, "down"
        return statuses


class Fleet:
    """What happens to the engines, from a seed."""

    def __init__(self, store_name: str, workers: int, requests: int, kills: int, resets: int, seed: int) -> None:
        self.store_name = store_name
        self.workers = workers
        self.rng = random.Random(seed)
        self.epoch = 1
        self.counts: Dict[str, int] = {}
        self.failures: Dict[str, List[str]] = {}  # kinds, and what was seen of each
        self.engines = [Engine(self, "a"), Engine(self, "b")]
        for prompt in prompts(requests, self.rng):
            self.rng.choice(self.engines).requests[prompt.id] = prompt
            if self.rng.random() < 0.1:  # two clients ask the same at the same time
                for engine in self.engines:
                    engine.requests[prompt.id] = prompt
        self.total = sum(len(engine.requests) for engine in self.engines)
        # What befalls them, by how many requests are answered.
        squeezes = self.total // 8
        what = ["kill"] * kills + ["reset"] * resets + ["squeeze"] * squeezes
        moments = sorted(self.rng.sample(range(self.total // 20, self.total * 9 // 10), len(what)))
        self.rng.shuffle(what)
        self.plan = list(zip(moments, what))
        self.answered = 0

    def count(self, what: str, number: int = 1) -> None:
        """Counts something."""
        self.counts[what] = self.counts.get(what, 0) + number

    def report(self, kind: str, text: str) -> None:
        """Something that must not be."""
        self.failures.setdefault(kind, []).append(text)

    def run(self) -> None:
        """All of it; afterwards the engines are gone, and failures says what was wrong."""
        with kvshm.create(
            self.store_name,
            size=STORE_BLOCKS * BLOCK_BYTES,
            block_size=BLOCK_BYTES,
            planes=self.workers,
            label=LABEL,
            replace_dead=True,
        ) as owner:
            self.owner = owner
            try:
                for engine in self.engines:
                    engine.start()
                while not self.failures and not self._all_done():
                    self._round()
                if not self.failures:
                    self._look_while_idle()
                for engine in self.engines:
                    engine.send("stop")
                for engine in self.engines:
                    statuses = engine.gone()
                    if any(statuses) and not self.failures:
                        self.report("ends", f"{engine.name} has ended with {statuses}")
            finally:
                for engine in self.engines:
                    for process in engine.processes:
                        process.kill()
                    engine.gone()
            self._look_at_blocks()
            self._look_for_leaks()

    def _all_done(self) -> bool:
        return all(engine.state == "up" and not engine.requests and engine.idle for engine in self.engines)

    def _round(self, timeout: float = 1.0) -> None:
        conns = {engine.conn: engine for engine in self.engines}
        for conn in wait(list(conns), timeout):
            engine = conns[conn]
            try:
                self._news(engine, conn.recv())  # type: ignore[union-attr]
                engine.news_at = time.monotonic()
            except (EOFError, ConnectionError):
                self._restart(engine)
        for engine in self.engines:
            if time.monotonic() - engine.news_at > DEADLINE:
                self.report("hangs", f"{engine.name}: no news for {DEADLINE} s")
        while self.plan and self.answered >= self.plan[0][0] and all(e.state == "up" for e in self.engines):
            what = self.plan.pop(0)[1]
            if what == "kill":
                self._kill(self.rng.choice(self.engines))
            elif what == "reset":
                self._change_weights()
            else:
                self._squeeze()

    def _news(self, engine: Engine, news: Dict[str, Any]) -> None:
        """What an engine's scheduler has told."""
        if "fault" in news:
            self.report("bytes", f"{engine.name}: {news['fault']}")
        elif "unheld" in news:
            self.report("unheld", f"{engine.name}: {news['unheld']}")
        elif "ready" in news:
            engine.state = "up"
            engine.send("add", list(engine.requests.values()))
            engine.idle = not engine.requests
        elif "done" in news:
            engine.idle = news["idle"] and not engine.requests
            for what, number in news["counts"].items():
                self.count(what, number)
            for request_id, how in news["done"]:
                del engine.requests[request_id]
                self.count(f"requests {how}")
                self.answered += 1
            engine.idle = news["idle"]
        else:
            engine.state = next(iter(news))

    # -- What befalls them --

    def _kill(self, engine: Engine) -> None:
        """Kills one process of an engine; the others follow."""
        victim = self.rng.randrange(len(engine.processes))
        os.kill(engine.processes[victim].pid, signal.SIGKILL)
        self.count("scheduler killed" if victim == 0 else "worker killed")
        engine.state = "dying"

    def _restart(self, engine: Engine) -> None:
        """An engine's scheduler has gone: so has the engine, within its time; a new one takes its place."""
        expected = engine.state == "dying"
        statuses = engine.gone()
        if not expected:
            self.report("ends", f"{engine.name} has ended by itself, with {statuses}")
            return
        self.owner.recover()
        with kvshm.View(self.store_name) as view:
            dead = [client.name for client in view.clients() if client.name[:2] == engine.name + "-"]
        if dead:
            self.report("leaks", f"of {engine.name}, which has gone, {dead} are there still")
        self._look_at_blocks()
        self.count("restarted")
        engine.start()

    def _squeeze(self) -> None:
        """Another client wants all that there is: whatever nobody holds at this moment goes."""
        with kvshm.attach(self.store_name, client="squeeze") as store, store.alloc_batch(store.blocks) as taken:
            self.count("squeezed out", len(taken) - taken.kinds.count(0))

    def _change_weights(self) -> None:
        """Both engines compute nothing; both take other weights, and clear the store; then both go on."""
        for state, *message in (("quiet", "pause"), ("reset", "reset", self.epoch + 1)):
            for engine in self.engines:
                engine.send(*message)
            end = time.monotonic() + DEADLINE
            for engine in self.engines:
                while engine.state != state and not self.failures:
                    assert engine.conn is not None
                    if not engine.conn.poll(max(end - time.monotonic(), 0)):
                        self.report("hangs", f"{engine.name} does not come to {state} in {DEADLINE} s")
                        return
                    try:
                        self._news(engine, engine.conn.recv())
                    except (EOFError, ConnectionError):
                        self._restart(engine)
                        return
        self.epoch += 1
        self._look_at_blocks()
        for engine in self.engines:
            engine.send("go on")
            engine.state = "up"
        self.count("weights changed")

    # -- What must be --

    def _look_at_blocks(self) -> None:
        """Whatever is ready is whole in all planes, and of these weights: opaque says which block it is."""
        with kvshm.View(self.store_name) as view:
            keys = [block.key for block in view.blocks() if block.state == "ready" and not block.cleared]
        with kvshm.attach(self.store_name, client="look") as store, store.get_batch(keys) as holds:
            assert holds.results is not None
            found = [i for i, result in enumerate(holds.results) if result == 0]
            seeds = seeds_of([holds[i].meta().opaque for i in found])
            blocks = [holds.blocks[i] for i in found]
            self.count("looked at", len(found))
            for plane in range(self.workers if found else 0):
                memory = np.asarray(store.plane(plane).buffer()).view(np.uint64)
                memory = memory.reshape(store.blocks, LAYERS, WORDS)
                for layer in range(LAYERS):
                    right = (memory[blocks, layer] == words_of(seeds, layer, plane, self.epoch)).all(axis=1)
                    if not right.all():
                        bad = [blocks[i] for i in np.flatnonzero(~right)]
                        self.report("planes", f"plane {plane}, layer {layer}: not what they should be: {bad}")
                del memory

    def _left(self, view: kvshm.View) -> List[str]:
        """What there is that nobody should have any more."""
        usage = view.usage()
        left = [f"pins: {pins}" for pins in view.pins()]
        left += [f"request: {request}" for request in view.requests() if request.state < kvshm.RequestState.ABORTED]
        for state in ("owned", "room", "filling", "removing", "doomed", "held", "refs"):
            if getattr(usage, state):
                left.append(f"{state}: {getattr(usage, state)}")
        return left

    def _look_while_idle(self) -> None:
        """All requests are answered, and the engines live: within a moment they hold nothing."""
        end = time.monotonic() + 5
        with kvshm.View(self.store_name) as view:
            left = self._left(view)
            while left and time.monotonic() < end:
                self._round(0.01)
                left = self._left(view)
        for text in left:
            self.report("leaks", f"of idle engines: {text}")

    def _look_for_leaks(self) -> None:
        """Nobody is attached: nothing is held, open or under way, as kvshm-check(1) finds, too."""
        self.owner.recover()
        with kvshm.View(self.store_name) as view:
            check = view.check()
            left = self._left(view) + check.findings + [f"client: {client}" for client in view.clients()]
            if check.unsound or check.pending or check.leaked or not check.quiescent:
                left.append(str(check))
            self.count("evictions", view.counters()["evictions"])
        for text in left:
            self.report("leaks", text)
        tool = os.path.join(os.environ.get("KVSHM_BIN", "tools"), "kvshm-check")
        if os.path.exists(tool):
            self.count("checked by kvshm-check")
            done = subprocess.run([tool, "--store", self.store_name], capture_output=True, text=True, timeout=DEADLINE)
            if done.returncode:
                self.report("leaks", f"kvshm-check: {done.stdout}{done.stderr}")
