# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""The processes of a test engine: vllm_engine.py JSON, where JSON says which one this is, and what it is connected to.

The scheduler's has a connection to each worker's, and one to the fleet (vllm_fleet.py), which plays the clients.
Whoever loses one of these ends: so a death in an engine ends the engine.
"""

from __future__ import annotations

import json
import os
import random
import sys
from multiprocessing.connection import Connection
from typing import Any, Dict, List

import kvshm
import vllm_worker
from vllm_connector import SchedulerConnector
from vllm_model import BLOCK_TOKENS
from vllm_scheduler import Scheduler

DEADLINE = 60.0  # seconds for a step: more is a fault
DEPTH = 2  # steps under way
ABORTS = 0.08  # of steps, in which a client goes


class Core:
    """The loop of the scheduler's process."""

    def __init__(self, options: Any) -> None:
        self.rng = random.Random(options["seed"])
        self.workers: List[Any] = [Connection(fd) for fd in options["workers"]]
        self.fleet: Any = Connection(options["fleet"])
        store = kvshm.attach(options["store"], label=options["label"], client=f"{options['engine']}-scheduler")
        connector = SchedulerConnector(store, options["label"], BLOCK_TOKENS)
        self.scheduler = Scheduler(connector, len(self.workers), self.rng, options["epoch"])
        self.under_way = 0
        self.stopping = False
        self.idle = True
        self.told: Dict[str, int] = {}  # counts, as the fleet knows them

    def run(self) -> None:
        """Steps until the fleet says that it is enough."""
        for worker in self.workers:
            self._receive(worker)
        self.fleet.send({"ready": True})
        waits = 0.0
        while not self.stopping:
            while self.fleet.poll(waits):
                self._obey(*self.fleet.recv())
                waits = 0.0
            self._lose_clients()
            waits = self._step()
        while self.under_way:
            self._take_outputs()
        for worker in self.workers:
            worker.send("stop")
        self.scheduler.connector.shutdown()

    def _step(self) -> float:
        """One step further; how long to look for news before the next."""
        scheduler = self.scheduler
        if scheduler.idle and not self.under_way:
            self._tell()
            if any(worker.poll(0) for worker in self.workers):
                raise EOFError("a worker has gone")
            return 0.1
        output = scheduler.schedule()
        for worker in self.workers:
            worker.send(output)
        self.under_way += 1
        while self.under_way >= (DEPTH if output.scheduled else 1):
            self._take_outputs()
        self._tell()
        return 0.0 if output.scheduled else 0.001

    def _receive(self, worker: Any) -> Any:
        if not worker.poll(DEADLINE):
            raise TimeoutError(f"a worker does not answer in {DEADLINE} s")
        return worker.recv()

    def _take_outputs(self) -> None:
        outputs = [self._receive(worker) for worker in self.workers]
        self.under_way -= 1
        for output in outputs:
            for fault in output.faults:
                self.fleet.send({"fault": fault})
            for unheld in output.kv_connector_worker_meta.unheld:
                self.fleet.send({"unheld": unheld})
            self.scheduler.count("held", output.kv_connector_worker_meta.held)
            self.scheduler.count("compared", output.compared)
        self.scheduler.update_from_output(outputs)

    def _lose_clients(self) -> None:
        """Now and then a client goes: of a request in one of the states that there are."""
        requests = list(self.scheduler.requests.values())
        if requests and self.rng.random() < ABORTS:
            state = self.rng.choice(sorted({request.state for request in requests}))
            self.scheduler.abort(self.rng.choice([request for request in requests if request.state == state]))

    def _obey(self, what: str, value: Any = None) -> None:
        """Does what the fleet says."""
        if what == "add":
            for prompt in value:
                self.scheduler.add(prompt)
        elif what == "pause":
            self.scheduler.paused = True
            while self.under_way or not self.scheduler.quiet():
                self._step()
                while self.under_way:
                    self._take_outputs()
            self.fleet.send({"quiet": True})
        elif what == "reset":
            self.scheduler.reset(value)
            self.fleet.send({"reset": value})
        elif what == "go on":
            self.scheduler.paused = False
        else:
            self.stopping = True

    def _tell(self) -> None:
        """Tells the fleet what has ended, and counts."""
        counts = {**self.scheduler.counts, **self.scheduler.connector.counts}
        news = {what: number - self.told.get(what, 0) for what, number in counts.items()}
        done, self.scheduler.done = self.scheduler.done, []
        idle = self.scheduler.idle and not self.under_way
        if done or idle != self.idle:
            self.told, self.idle = counts, idle
            self.fleet.send({"done": done, "counts": news, "idle": idle})


def main() -> None:
    """Is a scheduler, or a worker."""
    options = json.loads(sys.argv[1])
    if "rank" in options:
        vllm_worker.main(options)
        return
    core = Core(options)
    try:
        core.run()
    except (EOFError, ConnectionError):
        if core.rng.random() < 0.5:
            os._exit(1)
        core.scheduler.connector.shutdown()
        sys.exit(1)


if __name__ == "__main__":
    main()
