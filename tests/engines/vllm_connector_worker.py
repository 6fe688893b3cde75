# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""A KV connector over kvshm, in the shape that vLLM V1 gives connectors: the worker's side, one for each plane.

Nothing is looked up here. Loads are held by their tickets, in the step that brings them, before its answer goes back;
saves take part in fills as the writer of this worker's plane. Copies are made by two threads, layer by layer: a load's
layer is there before the layer computes, a save's is read after.

Guarantees: a load that could not be done is told by the blocks that it was for (get_block_ids_with_load_errors()), and
nothing that was computed from them is published. No wait is without an end. What nobody has foreseen in the loading
thread is raised where its layer is waited for.
"""

from __future__ import annotations

import errno
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

import kvshm
from vllm_connector import Metadata, Transfer, WorkerAnswer

DEADLINE = 20.0  # seconds that a copy may take: more is a fault


class _Load:
    """A load that is under way: a ref of each block, and an event for each layer."""

    def __init__(self, transfer: Transfer, holds: kvshm.Holds, layers: int) -> None:
        self.transfer = transfer
        self.holds = holds
        self.layers = [threading.Event() for _ in range(layers)]  # set, too, when there is an error
        self.error: Optional[BaseException] = None


class _Save:
    """A save that is under way: a part of each block's fill."""

    def __init__(self, transfer: Transfer, parts: kvshm.Holds) -> None:
        self.transfer = transfer
        self.parts = parts
        self.items = [i for i, kind in enumerate(parts.kinds) if kind == kvshm.Kind.PART]  # the others are over already
        self.gpu = [transfer.blocks[i] for i in self.items]
        self.store = [parts.blocks[i] for i in self.items]


class WorkerConnector:
    """The side of a worker. plane: its rank, and the plane that it writes and reads."""

    def __init__(self, store: kvshm.Store, plane: int) -> None:
        self.store = store
        self.plane = plane
        self.caches: List[Any] = []
        self.memory: Any = None
        self.metadata: Optional[Metadata] = None
        self._loader = ThreadPoolExecutor(1, "load")
        self._saver = ThreadPoolExecutor(1, "save")
        self._loads: List[_Load] = []  # of this step, within it
        self._saves: List[_Save] = []  # of this step
        self._receiving: Dict[str, "Future[None]"] = {}
        self._sending: Dict[str, List["Future[None]"]] = {}
        self._delayed: Set[str] = set()
        self._errors: Set[int] = set()
        self._spoiled: Set[Tuple[str, int]] = set()  # requests with a failed load, and the attempt that it was in
        self._over: Set[str] = set()  # requests that have ended
        self._answer = WorkerAnswer(0)
        self._lock = threading.Lock()

    def register_kv_caches(self, caches: Sequence[Any]) -> None:
        """The engine's memory: an array (blocks, words) for each layer."""
        self.caches = list(caches)
        whole = np.asarray(self.store.plane(self.plane).buffer()).view(caches[0].dtype)
        self.memory = whole.reshape(self.store.blocks, len(self.caches), -1)

    # -- Before the forward --

    def handle_preemptions(self, metadata: Metadata) -> None:
        """The blocks of these requests are about to be overwritten: their saves come first."""
        for request_id in metadata.preempted:
            for future in self._sending.pop(request_id, []):
                future.result(DEADLINE)

    def bind_connector_metadata(self, metadata: Metadata) -> None:
        """Takes what the scheduler's side has sent for this step."""
        self.metadata = metadata
        self._delayed |= metadata.delayed
        self._answer = WorkerAnswer(metadata.step)

    def start_load_kv(self, context: Any = None) -> None:
        """Takes a hold of whatever the step loads, and a part of each of its fills; starts the loads."""
        assert self.metadata is not None
        for transfer in self.metadata.loads:
            self._start_load(transfer)
        self._saves = [self._join(transfer) for transfer in self.metadata.saves]

    def _join(self, transfer: Transfer) -> _Save:
        """Takes part in fills; those that have failed before (the store was cleared, say) are left out."""
        parts = self.store.join_batch(transfer.tickets, self.plane)
        assert parts.results is not None
        for error in set(parts.results.failed().values()) - {-errno.ECANCELED, -errno.ENOENT}:
            raise OSError(-error, f"a part of a fill of {transfer.request_id} can't be had")
        return _Save(transfer, parts)

    def _start_load(self, transfer: Transfer) -> None:
        holds = self.store.hold_batch(transfer.tickets)
        assert holds.results is not None
        failed = holds.results.failed()
        self._answer.held += len(holds) - len(failed)
        self._answer.unheld += [f"{transfer.request_id} block {i}: {error}" for i, error in failed.items()]
        load = _Load(transfer, holds, len(self.caches))
        future = self._loader.submit(self._load, load)
        if transfer.later:
            self._receiving[transfer.request_id] = future
        else:
            self._loads.append(load)

    def _load(self, load: _Load) -> None:
        """In the loading thread: copies layer by layer."""
        try:
            self._load_layers(load)
        except BaseException as error:
            load.error = error
            raise
        finally:
            for event in load.layers:
                event.set()

    def _load_layers(self, load: _Load) -> None:
        with load.holds:
            held = [i for i, kind in enumerate(load.holds.kinds) if kind == kvshm.Kind.REF]
            bad = set(range(len(load.holds))) - set(held)
            store = load.holds.blocks
            for layer, event in enumerate(load.layers):
                good = [i for i in held if i not in bad]
                bad |= self._copy_in(layer, [load.transfer.blocks[i] for i in good], [store[i] for i in good], good)
                self._note_errors(load.transfer, bad)
                event.set()

    def _copy_in(self, layer: int, gpu: List[int], store: List[int], items: List[int]) -> Set[int]:
        """Copies a layer of blocks; those of items that it failed for."""
        self.caches[layer][gpu] = self.memory[store, layer]
        return set()

    def _note_errors(self, transfer: Transfer, bad: Set[int]) -> None:
        if bad:
            with self._lock:
                self._errors |= {transfer.blocks[i] for i in bad}
                self._spoiled.add((transfer.request_id, transfer.attempt))

    # -- In the forward --

    def wait_for_layer_load(self, layer: int) -> None:
        """Waits until the step's own loads of that layer are there."""
        for load in self._loads:
            if not load.layers[layer].wait(DEADLINE):
                raise TimeoutError(f"layer {layer} of {load.transfer.request_id} is not loaded after {DEADLINE} s")
            if load.error is not None:
                raise load.error

    def save_kv_layer(self, layer: int, cache: Any, attention: Any = None) -> None:
        """The layer is computed: starts to save it. With the last one the blocks are whole in this plane."""
        saves = self._saves
        if saves:
            future = self._saver.submit(self._copy_out, layer, cache, saves)
            for save in saves:
                self._sending.setdefault(save.transfer.request_id, []).append(future)

    def _copy_out(self, layer: int, cache: Any, saves: List[_Save]) -> None:
        """In the saving thread: copies a layer, and publishes the parts after the last one."""
        for save in saves:
            self.memory[save.store, layer] = cache[save.gpu]
            if layer == len(self.caches) - 1:
                self._publish(save)

    def _publish(self, save: _Save) -> None:
        with self._lock:
            spoiled = (save.transfer.request_id, save.transfer.attempt) in self._spoiled
        with save.parts:
            if spoiled:
                save.parts.give_up()
            else:
                save.parts.publish()

    def wait_for_save(self) -> None:
        """Saves go on after the step: see handle_preemptions(), and ends that are delayed."""
        self._loads = []
        self._saves = []

    # -- After it --

    def get_finished(self, finished_req_ids: Set[str]) -> Tuple[Set[str], Set[str]]:
        """The ended requests whose saves are over in this worker, and the requests whose async loads are."""
        received = {request_id for request_id, future in self._receiving.items() if future.done()}
        for request_id in received:
            self._receiving.pop(request_id).result(0)
        for request_id, futures in list(self._sending.items()):
            while futures and futures[0].done():
                futures.pop(0).result(0)
            if not futures:
                del self._sending[request_id]
        sent = {request_id for request_id in self._delayed if request_id not in self._sending}
        self._delayed -= sent
        self._forget(finished_req_ids)
        return sent, received

    def _forget(self, finished_req_ids: Set[str]) -> None:
        """Forgets what was spoiled of ended requests, once no save of theirs is under way."""
        self._over |= finished_req_ids
        over = {request_id for request_id in self._over if request_id not in self._sending}
        self._over -= over
        with self._lock:
            self._spoiled = {item for item in self._spoiled if item[0] not in over}

    def get_block_ids_with_load_errors(self) -> Set[int]:
        """The engine's blocks that could not be loaded, since the last time."""
        with self._lock:
            errors, self._errors = self._errors, set()
        return errors

    def build_connector_worker_meta(self) -> WorkerAnswer:
        """For the scheduler's side: the step is over here, and holds have been taken of all that it had tickets of."""
        return self._answer

    def clear_connector_metadata(self) -> None:
        """The step is over."""
        self.metadata = None

    def shutdown(self) -> None:
        """The worker ends: copies that are under way come to their end before."""
        self._loader.shutdown()
        self._saver.shutdown()
        self.memory = None
        self.store.close()
