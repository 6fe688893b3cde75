# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""A worker of the test engine: a rank, with a "GPU" of its own, that computes what the scheduler says.

It compares every block that a step reads with what must be in it. A wrong one is a fault, unless the connector has said
that it could not be loaded: then what is computed from it is wrong as well, and must not come back from the store.
"""

from __future__ import annotations

import os
import random
import time
from multiprocessing.connection import Connection
from typing import Any, List, Set

import numpy as np

import kvshm
from vllm_connector_worker import WorkerConnector
from vllm_model import BLOCK_TOKENS, LAYERS, WORDS, seeds_of, words_of
from vllm_scheduler import GPU_BLOCKS, Scheduled, SchedulerOutput, WorkerOutput

DEADLINE = 60.0  # seconds without a step: the scheduler is lost


class UnreliableConnector(WorkerConnector):
    """Some of its copies fail, as a GPU's may, and some are slow: so that others come between."""

    def __init__(self, store: kvshm.Store, plane: int, rng: random.Random) -> None:
        super().__init__(store, plane)
        self.rng = rng

    def _copy_in(self, layer: int, gpu: List[int], store: List[int], items: List[int]) -> Set[int]:
        if items and self.rng.random() < 0.004:
            failed = self.rng.randrange(len(items))
            return {items[failed]} | super()._copy_in(
                layer, gpu[:failed] + gpu[failed + 1 :], store[:failed] + store[failed + 1 :], items
            )
        return super()._copy_in(layer, gpu, store, items)


    def _copy_out(self, layer: int, cache: Any, saves: List[Any]) -> None:
        if self.rng.random() < 0.05:
            time.sleep(self.rng.random() * 0.01)
        super()._copy_out(layer, cache, saves)


class Worker:
    """A rank of the engine."""

    def __init__(self, connector: WorkerConnector, rank: int) -> None:
        self.connector = connector
        self.rank = rank
        self.caches = [np.zeros((GPU_BLOCKS, WORDS), np.uint64) for _ in range(LAYERS)]
        self.bad: Set[int] = set()  # blocks that are known to have wrong bytes
        connector.register_kv_caches(self.caches)

    def execute(self, step: SchedulerOutput) -> WorkerOutput:
        """One step, with the calls of the connector in vLLM's order."""
        output = WorkerOutput()
        connector = self.connector
        connector.handle_preemptions(step.connector)
        connector.bind_connector_metadata(step.connector)
        connector.start_load_kv()
        wrong: Set[int] = set()
        if step.scheduled:
            for layer in range(LAYERS):
                connector.wait_for_layer_load(layer)
                wrong |= self._attend(layer, step)
                connector.save_kv_layer(layer, self.caches[layer])
            output.compared = sum(part.whole_blocks for part in step.scheduled)
        connector.wait_for_save()
        output.finished_sending, output.finished_recving = connector.get_finished(step.finished_req_ids)
        output.invalid_block_ids = connector.get_block_ids_with_load_errors()
        output.kv_connector_worker_meta = connector.build_connector_worker_meta()
        connector.clear_connector_metadata()
        self.bad |= output.invalid_block_ids
        for block in wrong - self.bad:
            user = next(part for part in step.scheduled if block in part.block_ids)
            place = user.block_ids.index(block)
            output.faults.append(f"rank {self.rank}: wrong bytes in block {place} of {user.request_id}: {user}")
        return output

    def _attend(self, layer: int, step: SchedulerOutput) -> Set[int]:
        """Reads a layer of all whole blocks, and writes it of those that become full; the blocks that were wrong."""
        cache = self.caches[layer]
        parts = step.scheduled
        read = [block for part in parts for block in part.block_ids[: part.whole_blocks]]
        hashes = [block_hash for part in parts for block_hash in part.block_hashes[: part.whole_blocks]]
        wrong: Set[int] = set()
        if read:
            right = (cache[read] == words_of(seeds_of(hashes), layer, self.rank, step.epoch)).all(axis=1)
            wrong = {block for block, fine in zip(read, right) if not fine}
            if self.bad:
                self.bad -= set(read) - wrong if layer == LAYERS - 1 else set()
        for part in parts:
            self._compute(layer, part, step.epoch, wrong)
        return wrong

    def _compute(self, layer: int, part: Scheduled, epoch: int, wrong: Set[int]) -> None:
        first = part.num_computed_tokens // BLOCK_TOKENS
        blocks = part.block_ids[first : len(part.block_hashes)]
        if not blocks:
            return
        words = words_of(seeds_of(part.block_hashes[first:]), layer, self.rank, epoch)
        if wrong and wrong.intersection(part.block_ids[: part.whole_blocks]):
            words = ~words
            self.bad.update(blocks)
        self.caches[layer][blocks] = words


def main(options: Any) -> None:
    """The process of a worker: it ends when the scheduler says so, or is gone."""
    rng = random.Random(options["seed"])
    rank = options["rank"]
    scheduler: Any = Connection(options["scheduler"])
    store = kvshm.attach(options["store"], label=options["label"], client=f"{options['engine']}-rank{rank}")
    worker = Worker(UnreliableConnector(store, rank, rng), rank)
    scheduler.send("ready")
    try:
        while True:
            if not scheduler.poll(DEADLINE):
                raise TimeoutError(f"no step in {DEADLINE} s")
            step = scheduler.recv()
            if step == "stop":
                break
            scheduler.send(worker.execute(step))
    except (EOFError, ConnectionError):
        if rng.random() < 0.5:
            os._exit(1)  # as most do, with whatever they hold
    worker.connector.shutdown()
