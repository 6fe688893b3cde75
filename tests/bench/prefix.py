# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""prefix: what a scheduler in Python pays for a prefix of 256 keys, against the same from C, and where the time goes.

The C program of that name is run in each round, for a round of its own; what follows is shown against its medians. And
what a lookup costs while another thread computes: the module's calls keep the interpreter lock; against the same calls
as they would be if they released it. To be run in a build directory:

    PYTHONPATH=../../lib/python LD_LIBRARY_PATH=lib/.libs python3 ../../tests/bench/prefix.py [KEYS [LENGTH [ROUNDS]]]
"""

from __future__ import annotations

import ctypes
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

import kvshm
from kvshm import _abi

PREFIX = 256
PASSES = 200
BESIDE = 1_000_000_000  # ns for each of what is measured beside another thread
BLOCK = 512
PROGRAM = os.path.join("tests", "bench", "prefix")

Timed = Iterator[Tuple[str, Callable[[], Any]]]


class Bench:
    """A store of its own that has all keys, and the 256 of them that are asked for."""

    def __init__(self, count: int, length: int) -> None:
        name = f"bench-{os.getpid()}"
        self.length = length
        self.owner = kvshm.create(name, size=count * BLOCK, block_size=BLOCK)
        self.store = kvshm.attach(name)
        every = [os.urandom(length) for _ in range(count)]
        for first in range(0, count, 4096):
            with self.store.get_or_fill_batch(every[first : first + 4096]) as fills:
                fills.publish().check()
        self.list = every[:: count // PREFIX][:PREFIX]
        self.keys = kvshm.Keys(self.list)
        self.joined = b"".join(self.list)
        self.request = self.store.open_request("others")
        self.ids = 0
        self.held: Any = None

    def close(self) -> None:
        """Takes the store away."""
        self.request.end()
        self.store.close()
        self.owner.destroy()

    def raw(self, library: Any) -> Callable[[], None]:
        """Calls match and release_batch of a library with what was prepared before, and nothing else."""
        match, release = library.kvshm_match, library.kvshm_release_batch
        match.argtypes, release.argtypes = _abi.match.argtypes, _abi.release_batch.argtypes
        handles = (_abi.Handle * PREFIX)()
        results = (ctypes.c_int * PREFIX)()
        ready, why = ctypes.c_size_t(), ctypes.c_uint()

        def call() -> None:
            match(self.store.pointer, self.keys.address, PREFIX, handles, ready, why)
            release(self.store.pointer, handles, ready.value, results)

        return call

    # What is timed: whoever takes a hold lets go of it in what follows.

    def match(self, keys: Any) -> None:
        """A match without a request."""
        self.held = self.store.match(keys)

    def get(self, keys: Any) -> None:
        """A batch of gets."""
        self.held = self.store.get_batch(keys)

    def release(self) -> None:
        """The end of either."""
        self.held.release()

    def open(self) -> None:
        """A new request."""
        self.ids += 1
        self.held = self.store.open_request(f"request-{self.ids}")

    def request_match(self, keys: Any) -> None:
        """Its match."""
        assert len(self.held.match(keys)) == PREFIX

    def end(self) -> None:
        """Its end."""
        self.held.end()

    def lookup(self, keys: Any) -> None:
        """From a list to the number of matched keys, held, and released."""
        with self.store.match(keys) as holds:
            assert len(holds) == PREFIX

    def whole(self) -> None:
        """The same by a request of its own, from its open to its end."""
        self.open()
        self.request_match(self.list)
        self.held.end()

    def parts(self) -> Timed:
        """Each name is shown; one in brackets is only what has to be done in between."""
        yield "Keys(list)", lambda: kvshm.Keys(self.list)
        yield "Keys.packed(bytes)", lambda: kvshm.Keys.packed(self.joined, self.length)
        yield "match and release by ctypes alone", self.raw(_abi._keeping)
        yield "store.match(Keys)", lambda: self.match(self.keys)
        yield "holds.release()", self.release
        yield "store.match(list)", lambda: self.match(self.list)
        yield "(release)", self.release
        yield "store.get_batch(list)", lambda: self.get(self.list)
        yield "(release)", self.release
        yield "with store.match(list): len", lambda: self.lookup(self.list)
        yield "with store.match(Keys): len", lambda: self.lookup(self.keys)
        yield "store.open_request()", self.open
        yield "request.match(list)", lambda: self.request_match(self.list)
        yield "request.match(list) again", lambda: self.request_match(self.list)
        yield "request.match(Keys) again", lambda: self.request_match(self.keys)
        yield "request.end()", self.end
        yield "open, match(list): len, end", self.whole


# What of the C program's each is compared with: the sum of these.
SAME: Dict[str, Tuple[str, ...]] = {
    "match and release by ctypes alone": ("match + release",),
    "store.match(Keys)": ("kvshm_match",),
    "holds.release()": ("kvshm_release_batch",),
    "store.match(list)": ("kvshm_match",),
    "store.get_batch(list)": ("kvshm_get_batch",),
    "with store.match(list): len": ("match + release",),
    "with store.match(Keys): len": ("match + release",),
    "store.open_request()": ("kvshm_request_open",),
    "request.match(list)": ("kvshm_request_match",),
    "request.match(list) again": ("kvshm_request_match again",),
    "request.match(Keys) again": ("kvshm_request_match again",),
    "request.end()": ("kvshm_request_end",),
    "open, match(list): len, end": ("open + match + end",),
}


def in_c(count: int, length: int) -> Dict[str, float]:
    """One round of the C program, with a warm cache: microseconds by name; of a name that is there twice the first."""
    out = subprocess.run([PROGRAM, str(count), str(length), "1"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found: Dict[str, float] = {}
    for name, micros in re.findall(r"^  (.*?) +([0-9.]+) us", out.split("\nwarm, 64")[0], re.M):
        found.setdefault(name, float(micros))
    return found


def in_python(bench: Bench) -> Dict[str, float]:
    """One round: microseconds by name, the medians of the passes."""
    names, calls = zip(*bench.parts())
    times: List[List[int]] = [[] for _ in names]
    clock = time.perf_counter_ns
    for _ in range(PASSES):
        for call, spent in zip(calls, times):
            start = clock()
            call()
            spent.append(clock() - start)
    return {name: statistics.median(spent) / 1e3 for name, spent in zip(names, times) if name[0] != "("}


def show(bench: Bench, rounds: List[Tuple[Dict[str, float], Dict[str, float]]]) -> None:
    """The table: medians of the rounds, and of their ratios."""
    print(f"{PREFIX} keys of {bench.length} bytes, medians of {len(rounds)}: Python, C, ratio")
    for name in rounds[0][0]:
        here = [python[name] for python, _ in rounds]
        line = f"  {name:<36}{statistics.median(here):8.2f} us ({min(here):.2f} to {max(here):.2f})"
        if name in SAME:
            there = [sum(c[part] for part in SAME[name]) for _, c in rounds]
            ratio = statistics.median(p / c for p, c in zip(here, there))
            line += f", {statistics.median(there):.2f} us, ratio {ratio:.2f}"
        print(line)


def beside_another(bench: Bench) -> None:
    """A thread of the same interpreter computes meanwhile."""
    ends = threading.Event()

    def compute() -> None:
        while not ends.is_set():
            sum(range(1000))

    other = threading.Thread(target=compute)
    other.start()
    print(f"beside a thread that computes (switch interval {sys.getswitchinterval() * 1e3:.0f} ms): median, mean, most")
    try:
        for name, call in (
            ("match and release, the lock kept", bench.raw(_abi._keeping)),
            ("match and release, the lock released", bench.raw(_abi._releasing)),
            ("with store.match(list): len", lambda: bench.lookup(bench.list)),
            ("open, match(list): len, end", bench.whole),
        ):
            spent: List[float] = []
            begun = time.perf_counter_ns()
            while time.perf_counter_ns() - begun < BESIDE:
                start = time.perf_counter_ns()
                call()
                spent.append((time.perf_counter_ns() - start) / 1e3)
            middle, mean = statistics.median(spent), statistics.mean(spent)
            print(f"  {name:<36}{middle:8.2f} us, {mean:8.2f} us, {max(spent):10.2f} us")
    finally:
        ends.set()
        other.join()


def main() -> None:
    """See above."""
    count, length, rounds = (int(given) for given in (sys.argv[1:] + ["65536", "32", "9"][len(sys.argv) - 1 :]))
    bench = Bench(count, length)
    try:
        in_python(bench)
        show(bench, [(in_python(bench), in_c(count, length)) for _ in range(rounds)])
        beside_another(bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
