# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""One rank of an engine in the shape of SGLang's: a process with a scheduler loop and two daemon threads.

The prefetch thread asks its storage how many pages of a request there are, agrees with the other ranks on the minimum,
and reads them into the host pool; the backup thread writes what was computed. Each page's bytes tell its hash, its pool
and its rank, and are looked at when they were read.

Arguments: store, rank, ranks, 1 if ranks share pages, seconds to keep. Standard input: the requests, in JSON, a line;
then the answers of the other ranks. Standard output: `min N` asks for one; `did N ...` tells what came of request N;
`stats ...` is the last.
"""

from __future__ import annotations

import hashlib
import json
import queue
import sys
import threading
from typing import Any, Dict, List, Sequence

from sglang_storage import KV, Config, HitPolicy, HostPool, KvshmStorage, PoolTransfer

MODEL = "model"
STATE = "mamba"  # a pool of states: one of them, at the end of the prefix, is all that a request needs
BYTES = {KV: 2048, STATE: 512}
PAGES = 512
EVERY = 4  # pages have a state
GROUP = 16  # pages a call
PAGE_SIZE = 2  # slots a page


def content(pool: str, key: str, rank: int) -> bytes:
    """A page's bytes."""
    seed = hashlib.sha256(f"{pool} {key} {rank}".encode()).digest()
    return seed * (BYTES[pool] // len(seed))


class Rank:
    """See above."""

    def __init__(self, arguments: Sequence[str]) -> None:
        store, rank, ranks, shared, keep_for = arguments
        self.rank = int(rank)
        config = Config(self.rank, int(ranks), MODEL, shared_pages=shared == "1", keep_for=float(keep_for))
        self.storage = KvshmStorage(config, store)
        self.pools = {pool: HostPool(PAGES, size, PAGE_SIZE) for pool, size in BYTES.items()}
        self.storage.register_mem_pool_host(self.pools[KV])
        self.storage.register_mem_host_pool_v2(self.pools[STATE], STATE)
        self.free = list(range(PAGES))
        self.returned: queue.SimpleQueue[List[int]] = queue.SimpleQueue()
        self.prefetches: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.fetched: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.backups: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.counts: Dict[str, int] = {"hits": 0, "beyond": 0, "refused": 0, "bad": 0, "pages": 0}

    def say(self, *words: object) -> None:
        """Tells the engine something."""
        print(*words, flush=True)

    def minimum(self, number: int) -> int:
        """All ranks agree on the smallest; the prefetch thread alone asks."""
        self.say("min", number)
        return int(sys.stdin.readline())

    def allocate(self, count: int) -> List[int]:
        """Pages of the host pool; waits until backups have given some back."""
        while len(self.free) < count:
            self.free += self.returned.get()
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    @staticmethod
    def slots(pages: Sequence[int]) -> List[int]:
        """The slots of pages."""
        return [page * PAGE_SIZE + slot for page in pages for slot in range(PAGE_SIZE)]

    def transfer(self, pool: str, keys: Sequence[str], pages: Sequence[int]) -> PoolTransfer:
        """Pages of a pool, and where they are."""
        return PoolTransfer(pool, keys, self.slots(pages))

    # -- The prefetch thread --

    def prefetch(self) -> None:
        """Reads what there is of each request."""
        while True:
            keys, pages = self.prefetches.get()
            trailing = PoolTransfer(STATE, keys[-1:], hit_policy=HitPolicy.TRAILING_PAGES)
            mine = self.storage.batch_exists_v2(keys, [trailing]).kv_hit_pages
            hits = self.minimum(mine)
            self.counts["hits"] += hits
            self.counts["beyond"] += mine - hits
            done = 0
            while done < hits:
                end = min(done + GROUP, hits)
                if not all(self.storage.batch_get_v1(keys[done:end], self.slots(pages[done:end]))):
                    break
                done = end
            state = self.transfer(STATE, keys[hits - 1 : hits], pages[hits - 1 : hits])
            if hits and not all(self.storage.batch_get_v2([state])[STATE]):
                done = 0
            self.counts["refused"] += hits - done
            agreed = self.minimum(done)
            for i in range(agreed):
                self.judge(KV, keys[i], pages[i])
            if agreed and agreed == hits:
                self.judge(STATE, keys[hits - 1], pages[hits - 1])
            self.fetched.put(agreed)

    def judge(self, pool: str, key: str, page: int) -> None:
        """Has that page of the host pool the bytes that it should have?"""
        size = BYTES[pool]
        if self.pools[pool].memory[page * size : (page + 1) * size] != content(pool, key, self.rank):
            self.counts["bad"] += 1

    # -- The backup thread --

    def backup(self) -> None:
        """Writes pages; those of a node end at the first that is refused."""
        while True:
            keys, pages, new = self.backups.get()
            for at in range(new, len(keys), GROUP):
                part = slice(at, min(at + GROUP, len(keys)))
                if not all(self.storage.batch_set_v1(keys[part], self.slots(pages[part]))):
                    break
            states = [i for i in range(new, len(keys)) if i % EVERY == EVERY - 1 or i == len(keys) - 1]
            self.storage.batch_set_v2(
                [self.transfer(STATE, [keys[i] for i in states], [pages[i] for i in states])]
            )
            self.returned.put(pages)

    # -- The scheduler loop --

    def run(self) -> None:
        """Does all requests: what was not read is computed, and written."""
        for work in (self.prefetch, self.backup):
            threading.Thread(target=work, daemon=True).start()
        for number, keys in json.loads(sys.stdin.readline()):
            pages = self.allocate(len(keys))
            self.prefetches.put((keys, pages))
            fetched = self.fetched.get()
            for key, page in list(zip(keys, pages))[fetched:]:
                for pool, size in BYTES.items():
                    self.pools[pool].memory[page * size : (page + 1) * size] = content(pool, key, self.rank)
            self.counts["pages"] += len(keys)
            self.backups.put((keys, pages, fetched))
            self.say("did", number)
        while len(self.free) < PAGES:
            self.free += self.returned.get()
        self.say("stats", json.dumps({**self.counts, **self.storage.get_stats()}))
        sys.stdin.readline()
        self.storage.close()


if __name__ == "__main__":
    Rank(sys.argv[1:]).run()
