# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""R26, R27, R28: two engines, as vLLM's are, on one store, through kills and changes of weights.

Hundreds of requests from a trace, aborts in every state, preemptions, loads that fail; a process of an engine is killed
at random moments, and the engine starts again. One run (vllm_fleet.py) with two workers for each engine and one with
four; each is judged by the tests below. It prints its seed; KVSHM_TEST_SEED sets it.
"""

from __future__ import annotations

import os
import random
import sys
import time
import unittest
from typing import Dict, List

import runner
from vllm_fleet import Fleet

LONG = os.environ.get("KVSHM_TEST_LONG") == "1"


class Fates:
    """What must be true of a run; workers says of which."""

    workers: int
    requests: int
    kills: int
    failures: Dict[str, List[str]]
    counts: Dict[str, int]
    total: int

    @classmethod
    def setUpClass(cls) -> None:
        """The run."""
        seed = int(os.environ.get("KVSHM_TEST_SEED") or random.SystemRandom().getrandbits(32))
        name = f"{os.environ.get('KVSHM_TEST_PREFIX', f't-{os.getpid()}-')}vllm{cls.workers}"
        print(f"{cls.workers} workers: KVSHM_TEST_SEED={seed}", flush=True)
        began = time.monotonic()
        fleet = Fleet(name, cls.workers, cls.requests * (10 if LONG else 1), cls.kills * (10 if LONG else 1), 2, seed)
        fleet.run()
        cls.failures, cls.counts, cls.total = fleet.failures, fleet.counts, fleet.total
        print(f"{time.monotonic() - began:.1f} s, {fleet.total} requests: {sorted(fleet.counts.items())}", flush=True)
        for kind, texts in fleet.failures.items():
            print(f"{kind}:", *texts[:5], sep="\n    ", file=sys.stderr)

    def _none(self, kind: str) -> None:
        assert isinstance(self, unittest.TestCase)
        self.assertEqual([], self.failures.get(kind, [])[:1])

    def _seen(self, *what: str) -> None:
        assert isinstance(self, unittest.TestCase)
        for item in what:
            with self.subTest(item):
                self.assertGreater(self.counts.get(item, 0), 0)

    def test_R26_a_hit_at_the_scheduler_is_a_hit_at_every_worker(self) -> None:
        self._none("unheld")
        self._seen("held", "evictions")

    def test_R27_a_block_is_whole_in_all_planes_or_absent(self) -> None:
        self._none("planes")
        self._seen("fills", "looked at")

    def test_R28_bytes_are_those_of_the_block_and_the_weights(self) -> None:
        self._none("bytes")
        self._seen("compared", "weights changed")

    def test_an_engine_goes_with_any_of_its_processes_and_comes_again(self) -> None:
        self._none("ends")
        self._none("hangs")
        self._seen("restarted")

    def test_nothing_leaks(self) -> None:
        self._none("leaks")

    def test_every_request_is_answered(self) -> None:
        assert isinstance(self, unittest.TestCase)
        self._none("hangs")
        if not self.failures:
            self.assertGreaterEqual(self.counts["requests done"] + self.counts.get("requests aborted", 0), self.total)

    def test_all_that_engines_do_was_done(self) -> None:
        self._seen("loads between steps", "loads within a step", "shrunk", "put off", "no blocks", "preempted")
        self._seen("known already", "ended with a save under way", "requests aborted")


class TwoWorkers(Fates, unittest.TestCase):
    """Two engines of two workers."""

    workers, requests, kills = 2, 500, 4


class FourWorkers(Fates, unittest.TestCase):
    """Two engines of four workers."""

    workers, requests, kills = 4, 400, 3


if __name__ == "__main__":
    runner.main()
