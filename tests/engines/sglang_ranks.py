# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""sglang_ranks: engines in the shape of SGLang's, whose ranks are processes, use one store as their third level.

What the backend does is shown in this process first; then two engines of two ranks each read and write the pages of a
conversation trace (made up, where there is none), and are killed.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from typing import Any, Dict, List, Tuple

import runner
import scene
import traced
from sglang_rank import BYTES, MODEL, STATE
from sglang_storage import KV, Config, HitPolicy, HostPool, KvshmStorage, PoolTransfer


def chain(numbers: List[int]) -> List[str]:
    """The hashes of pages, each with those before it."""
    hashes, prior = [], b""
    for number in numbers:
        prior = hashlib.sha256(prior + number.to_bytes(4, "little")).digest()
        hashes.append(prior.hex())
    return hashes


def requests(count: int, chance: random.Random) -> List[List[str]]:
    """The prompts of few conversations of several turns, as pages: of a trace, or, where there is none, made up."""
    begun = [line["hash_ids"][:40] for line in traced.lines(2000)]
    if begun:
        turns = collections.Counter(ids[1] for ids in begun if len(ids) > 1)  # the first page is the same in all
        long = [(ids[1], turns[ids[1]]) for ids in begun if len(ids) > 1 and turns[ids[1]] > 3]
        few = dict(long[: count // 4])
        return [chain(ids) for ids in begun if len(ids) > 1 and ids[1] in few][:count]
    prompts: List[List[int]] = [[0]]
    for _ in range(count):
        begin = chance.choice(prompts[-20:])[:30]
        prompts.append(begin + [chance.getrandbits(31) for _ in range(chance.randrange(1, 10))])
    return [chain(prompt) for prompt in prompts[1:]]


class Backend(scene.StoreTest):
    """The backend of two ranks of one engine, both in this process."""

    options = {"size": 64 * 2048, "block_size": 2048, "planes": 2, "label": MODEL}

    def rank(self, rank: int = 0, **config: Any) -> KvshmStorage:
        """The backend of a rank, with the host pools of 64 pages."""
        storage = KvshmStorage(Config(rank, 2, MODEL, **config), self.name)
        self.addCleanup(storage.close)
        self.pools = {pool: HostPool(64, size, 2) for pool, size in BYTES.items()}
        storage.register_mem_pool_host(self.pools[KV])
        storage.register_mem_host_pool_v2(self.pools[STATE], STATE)
        return storage

    def page(self, number: int) -> List[int]:
        """The slots of a page of a host pool."""
        return [2 * number, 2 * number + 1]

    def hits(self, storage: KvshmStorage, keys: List[str]) -> int:
        """How many pages there are, of which nothing is kept."""
        return [*map(storage.exists, keys), False].index(False)

    def test_pages_are_there_when_all_ranks_have_written_theirs(self) -> None:
        ranks, keys = [self.rank(0), self.rank(1)], chain([1, 2, 3])
        pools = [rank._pools[KV] for rank in ranks]
        slots = self.page(5) + self.page(6) + self.page(7)
        for number, pool in enumerate(pools):
            pool.memory[:] = bytes([number + 1]) * len(pool.memory)
        self.assertEqual(ranks[1].batch_set_v1(keys, slots), [True] * 3)
        self.assertEqual([rank.batch_exists(keys) for rank in ranks], [0, 0])
        self.assertEqual(ranks[0].batch_set_v1(keys, slots), [True] * 3)
        self.assertEqual(ranks[0].batch_set_v1(keys, slots), [True] * 3)  # once more does no harm
        self.assertEqual([rank.batch_exists([*keys, chain([9])[0]]) for rank in ranks], [3, 3])
        for number, (rank, pool) in enumerate(zip(ranks, pools)):
            pool.memory[:] = bytes(len(pool.memory))
            self.assertEqual(rank.batch_get_v1(keys[1:], slots[2:]), [True, True])
            self.assertEqual(bytes(pool.memory[6 * 2048 : 8 * 2048]), bytes([number + 1]) * 4096)
            self.assertFalse(any(pool.memory[: 6 * 2048]))
        self.assertEqual(self.usage().filling, 0)

    def test_one_page_at_a_time(self) -> None:
        storage, (key, other) = self.rank(shared_pages=False), chain([1, 2])
        target = bytearray(2048)
        self.assertEqual((storage.exists(key), storage.get(key, target)), (False, False))
        self.assertTrue(storage.set(key, b"x" * 2048))
        self.assertEqual((storage.exists(key), storage.get(key, target)), (True, True))
        self.assertEqual((target, storage.exists(other)), (b"x" * 2048, False))
        storage.clear()
        self.assertFalse(storage.exists(key))

    def test_what_exists_has_told_of_is_there_for_get(self) -> None:
        storage, keys = self.rank(shared_pages=False), chain([1, 2, 3])
        self.assertTrue(all(storage.set(key, b"x" * 2048) for key in keys))
        self.assertEqual(storage.batch_exists(keys), 3)
        self.fill_the_store(storage)
        self.assertEqual(storage.batch_get_v1(keys, self.page(0) + self.page(1) + self.page(2)), [True] * 3)
        self.assertEqual(self.usage().refs, 0)
        self.assertEqual(storage.batch_exists_v2(keys, [PoolTransfer(KV, keys)])[0], 3)
        self.fill_the_store(storage)
        self.assertEqual(self.hits(storage, keys), 3)
        for _ in range(2):
            storage.batch_get_v1(keys, self.page(0) + self.page(1) + self.page(2))
        self.fill_the_store(storage)
        self.assertEqual(self.hits(storage, keys), 0)

    def fill_the_store(self, storage: KvshmStorage) -> None:
        """Others come, and take what nobody holds."""
        with self.store.alloc_batch(self.store.blocks):
            pass

    def test_what_is_never_read_is_kept_no_longer_than_told_nor_more_than_a_quarter(self) -> None:
        storage, keys = self.rank(shared_pages=False, keep_for=0), chain(list(range(24)))
        self.assertTrue(all(storage.set(key, b"x" * 2048) for key in keys))
        self.assertEqual((storage.batch_exists(keys[:3]), self.usage().refs), (3, 3))
        storage.exists(keys[0])
        self.assertEqual(self.usage().refs, 0)
        patient = self.rank(shared_pages=False, keep_for=60)
        self.assertEqual([patient.batch_exists(keys[i : i + 8]) for i in (0, 8, 16)], [8, 8, 8])
        self.assertEqual(self.usage().refs, 16)
        patient.batch_get_v1(keys[8:10], self.page(0) + self.page(1))
        self.assertEqual(self.usage().refs, 14)

    def test_a_prefix_is_good_in_every_pool_at_one_length(self) -> None:
        """Also where the minimum of what each pool has is a length without a state."""
        storage, keys = self.rank(shared_pages=False), chain(list(range(6)))
        storage.batch_set_v1(keys[:4], [slot for i in range(4) for slot in self.page(i)])
        storage.batch_set_v2([PoolTransfer(STATE, [keys[2], keys[5]], self.page(0) + self.page(1))])
        trailing = PoolTransfer(STATE, keys[-1:], hit_policy=HitPolicy.TRAILING_PAGES)
        self.assertEqual(storage.batch_exists_v2(keys, [trailing]), (3, {STATE: 3}))
        every = PoolTransfer(STATE, keys[-1:])
        self.assertEqual(storage.batch_exists_v2(keys, [every]), (0, {STATE: 0}))
        last_two = PoolTransfer(STATE, keys[-2:], hit_policy=HitPolicy.TRAILING_PAGES)
        self.assertEqual(storage.batch_exists_v2(keys, [last_two])[0], 0)
        storage.batch_set_v2([PoolTransfer(STATE, [keys[1]], self.page(2))])
        self.assertEqual(storage.batch_exists_v2(keys, [last_two])[0], 3)
        storage.register_mem_host_pool_v2(HostPool(64, 512, 2), "draft")
        storage.batch_set_v2([PoolTransfer("draft", keys[:3], self.page(0) + self.page(1) + self.page(2))])
        storage.batch_set_v2([PoolTransfer(STATE, [keys[3]], self.page(3))])
        self.store.remove_batch(storage._names(STATE, [keys[2]]))
        draft = PoolTransfer("draft", keys)
        self.assertEqual(storage.batch_exists_v2(keys, [trailing, draft])[0], 2)  # 4, 4 and 3 of them

    def test_ranks_with_own_keys_agree_on_the_minimum_and_read_the_rest_for_nothing(self) -> None:
        keys = chain(list(range(8)))
        for shared, counts in ((False, [8, 5]), (True, [5, 5])):
            ranks = [self.rank(0, shared_pages=shared), self.rank(1, shared_pages=shared)]
            for rank in ranks:
                self.assertTrue(all([rank.set(key, b"x" * 2048) for key in keys]))
            self.store.remove_batch(ranks[1]._names(KV, keys[5:6]))  # as an eviction would
            self.assertEqual([self.hits(rank, keys) for rank in ranks], counts)
            ranks[0].clear()

    def test_pages_that_another_rank_never_writes_are_given_up(self) -> None:
        storage, key = self.rank(finish_within=60), chain([1])[0]
        self.assertTrue(storage.set(key, b"x" * 2048))
        storage.exists(key)
        self.assertEqual(self.usage().filling, 1)
        hasty = self.rank(finish_within=0)
        self.assertTrue(hasty.set(chain([2])[0], b"x" * 2048))
        hasty.exists(key)
        self.assertEqual((self.usage().filling, self.usage().refs), (1, 1))

    def test_the_first_rank_alone_writes_what_is_the_same_in_all(self) -> None:
        ranks, key = [self.rank(0, is_mla_model=True), self.rank(1, is_mla_model=True)], chain([1])[0]
        self.assertTrue(ranks[1].set(key, b"1" * 2048))
        self.assertFalse(ranks[1].exists(key))
        self.assertTrue(ranks[0].set(key, b"0" * 2048))
        target = bytearray(2048)
        self.assertTrue(ranks[1].get(key, target))
        self.assertEqual(target, b"0" * 2048)

    def test_nothing_is_raised_whatever_goes_wrong(self) -> None:
        storage, keys = self.rank(), chain([1, 2])
        storage.set(keys[0], b"x" * 2048)
        with self.store.alloc_batch(self.store.blocks):
            self.assertEqual(storage.batch_set_v1(keys[1:], self.page(0)), [False])  # there is no room
        wrong: Any = storage
        for key in (5, None, "no hash", "abc", ""):
            self.assertEqual((wrong.batch_exists([key]), wrong.exists(key), wrong.set(key, b"")), (0, False, False))
            self.assertEqual(wrong.batch_get_v1([key, key], [0, 1]), [False, False])
        self.assertEqual(wrong.batch_exists(None), 0)
        self.owner.destroy()
        self.assertEqual(storage.batch_exists(keys), 0)
        self.assertEqual(storage.batch_get_v1(keys, [0, 1, 2, 3]), [False, False])
        self.assertEqual(storage.batch_set_v2([PoolTransfer(KV, keys, [0, 1, 2, 3])]), {KV: [False, False]})
        self.assertEqual(storage.batch_exists_v2(keys, []), (0, {}))
        self.assertIsNone(storage.clear())
        self.assertGreaterEqual(storage.get_stats()["Stale"], 4)

    def test_the_end_raises_nothing_where_a_thread_is_still_at_it(self) -> None:
        storage = self.rank()
        with storage._block(0, 1):  # another thread reads it
            storage.close()
        self.assertEqual(storage.get_stats()["BufferError"], 1)
        with storage._store.calling():
            storage.close()
        self.assertEqual(storage.get_stats()["Busy"], 1)
        storage.close()
        storage.close()
        self.assertTrue(storage._store.closed)
        self.assertEqual(storage.batch_exists(chain([1])), 0)


class Engine(threading.Thread):
    """An engine: its ranks, and what they agree on. A rank's death is all ranks', which then start anew."""

    def __init__(self, store: str, shared: bool, work: List[List[str]], kills: List[Tuple[int, int]]) -> None:
        super().__init__()
        self._arguments = [store, "{}", "2", str(int(shared)), "30"]
        self._work = list(enumerate(work))
        self._kills = kills  # of which rank, at which of its words
        self.stats: List[Dict[str, int]] = []
        self.deaths = 0
        self.errors: List[str] = []
        self._ranks: List[subprocess.Popen[str]] = []

    def run(self) -> None:
        try:
            while not self.stats:
                self._start()
                if not self._go_on():
                    self.deaths += 1
                self._end()
        except Exception as error:
            self.errors.append(repr(error))
            self._end()

    def _start(self) -> None:
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sglang_rank.py")
        for rank in range(2):
            arguments = [argument.format(rank) for argument in self._arguments]
            self._ranks.append(
                subprocess.Popen(
                    [sys.executable, program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
        for process in self._ranks:
            self._tell(process, json.dumps(self._work))

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: object) -> None:
        assert process.stdin is not None
        try:
            print(line, file=process.stdin, flush=True)
        except BrokenPipeError:  # its end is seen by what it says no more
            pass

    def _go_on(self) -> bool:
        """Passes on what ranks agree on. False: one has died."""
        words = 0
        while True:
            said = []
            for process in self._ranks:
                assert process.stdout is not None
                said.append(process.stdout.readline().split(maxsplit=1))
            if not all(said):
                return False
            kinds = {line[0] for line in said}
            if len(kinds) != 1:
                raise ValueError(f"ranks of one engine at different steps: {said}")
            words += 1
            if self._kills and words == self._kills[0][1]:
                self._ranks[self._kills.pop(0)[0]].kill()
            kind = kinds.pop()
            if kind == "stats":
                self.stats = [json.loads(line[1]) for line in said]
                for process in self._ranks:
                    self._tell(process, "")
                return True
            if kind == "did":
                self._work.pop(0)
            else:
                for process in self._ranks:
                    self._tell(process, min(int(line[1]) for line in said))

    def _end(self) -> None:
        """Ranks of one engine go together."""
        for process in self._ranks:
            if not self.stats:
                process.kill()
            process.communicate()
        if self.stats and any(process.returncode for process in self._ranks):
            self.errors.append(f"ended with {[process.returncode for process in self._ranks]}")
        self._ranks.clear()


class Engines(scene.StoreTest):
    options = {"size": 512 * 2048, "block_size": 2048, "planes": 2, "label": MODEL}

    def setUp(self) -> None:
        super().setUp()
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.chance = random.Random(self.seed)
        print(f"seed {self.seed}, {'the trace' if traced.lines(1) else 'made-up prompts'}")

    def serve(self, shared: bool, count: int, kills: int = 0) -> List[Engine]:
        """Two engines have the same prompts, the one in the other's footsteps; ends with a store that nobody holds."""
        work = requests(count, self.chance)
        engines = []
        for begin in (0, 3):
            dies = [(self.chance.randrange(2), self.chance.randrange(5, count)) for _ in range(kills)]
            engines.append(Engine(self.name, shared, work[begin:], dies))
        for engine in engines:
            engine.start()
        for engine in engines:
            engine.join()
            self.assertEqual((engine.errors, engine.deaths, len(engine.stats)), ([], kills, 2))
            print(*engine.stats, sep="\n")
            for stats in engine.stats:
                self.assertEqual(stats["bad"], 0)
                self.assertEqual(set(stats) - {"hits", "beyond", "refused", "bad", "pages", "pages read",
                                               "pages not written"}, set())  # else an exception's name
        self.owner.recover()
        self.store.recover()
        usage = self.usage()
        self.assertEqual((usage.refs, usage.pins, usage.filling, usage.owned, usage.room), (0, 0, 0, 0, 0))
        return engines

    def test_pages_of_all_ranks_are_found_by_all_ranks(self) -> None:
        engines = self.serve(True, 60)
        self.assertGreater(sum(engine.stats[0]["hits"] for engine in engines), 60)
        for engine in engines:
            for stats in engine.stats:
                self.assertEqual(stats["refused"], 0)

    def test_ranks_with_own_keys_agree_on_the_minimum(self) -> None:
        engines = self.serve(False, 40)
        self.assertGreater(sum(engine.stats[0]["hits"] for engine in engines), 40)
        for engine in engines:
            self.assertEqual(engine.stats[0]["hits"], engine.stats[1]["hits"])

    def test_killed_ranks_leave_nothing_and_no_page_in_part(self) -> None:
        self.serve(True, 60, kills=2)


if __name__ == "__main__":
    runner.main()
