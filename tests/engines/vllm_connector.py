# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""A KV connector over kvshm, in the shape that vLLM V1 gives connectors: the scheduler's side.

One process schedules, and one for each plane computes (vllm_connector_worker.py). Only the scheduler's side looks
anything up. What it finds it holds, under a kvshm request for each of the engine's; what workers are to load, and which
fills they take part in, they are told by tickets in the step's metadata. What a step loads is pinned until its answers
have come back from all workers: they have holds of their own then. So a hit here is a hit at every worker (R26).

A request holds a block once, however often it was asked for, and one release ends that: so a step has pins of its own.

A fill is begun here, for blocks that the step makes full, and each worker writes its plane: whole in all of them, or
not there (R27). It is let go when it is whole, or has failed; so is an ended request, when its last fill is over.

Guarantees: no call waits. No room, no place for a request, or a fill that was given up makes the engine compute what it
could have loaded, or leaves something unsaved, and no more. That the store was destroyed (Stale), or a request ended by
another than this connector (Canceled), is raised.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import kvshm

PATIENCE = 0.5  # seconds that a request is put off for another's fill


@dataclass
class Transfer:
    """Blocks of one request to be loaded or saved in a step."""

    request_id: str
    blocks: List[int]  # the engine's own, in its GPU's memory
    tickets: bytes
    attempt: int = 0  # of the request's computing: what was computed with a failed load is not saved
    later: bool = False  # an async load


@dataclass
class Metadata:
    """What the scheduler's side tells the workers in each step; the same to all of them."""

    step: int = 0
    loads: List[Transfer] = field(default_factory=list)
    saves: List[Transfer] = field(default_factory=list)
    preempted: Set[str] = field(default_factory=set)
    delayed: Set[str] = field(default_factory=set)  # have ended, and wait for their saves


@dataclass
class WorkerAnswer:
    """What a worker's side tells the scheduler's of a step."""

    step: int
    held: int = 0  # tickets that were held
    unheld: List[str] = field(default_factory=list)  # those that could not be, and why: never, as long as we live


class _Tracked:
    """What the connector knows of a request."""

    def __init__(self, request: kvshm.Request) -> None:
        self.request = request
        self.keys = kvshm.Keys()
        self.matched: Optional[kvshm.Holds] = None  # what was answered last, and not allocated yet
        self.first = 0  # the number of the first matched block in the request
        self.patience: Optional[float] = None  # until when it may be put off
        self.attempt = 0


class SchedulerConnector:
    """The side of the scheduler. label: the model, as the store was made for."""

    def __init__(self, store: kvshm.Store, label: str, block_tokens: int) -> None:
        self.store = store
        self.label = label
        self.block_tokens = block_tokens
        self.counts: Dict[str, int] = {}
        self._tracked: Dict[str, _Tracked] = {}
        self._ending: List[_Tracked] = []
        self._next = Metadata()
        self._steps: Dict[int, List[kvshm.Holds]] = {}  # steps under way, with pins of what they load

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    # -- In schedule() --

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> Tuple[Optional[int], bool]:
        """How many tokens beyond those can be loaded, and whether that goes on between steps. None: ask again."""
        tracked = self._track(request)
        first = num_computed_tokens // self.block_tokens
        # A preempted request may have fewer hashes than before: tokens of steps that were under way are none any more.
        keys = len(request.block_hashes)
        if tracked is None or first >= keys:
            return 0, False
        matched = tracked.request.match(tracked.keys[first:keys])
        tracked.request.keep(matched)  # it may have been asked before, from another block on
        tracked.matched, tracked.first = matched, first
        if matched.next == kvshm.Next.FILLING and self._may_wait(tracked):
            self._drop_match(tracked)  # many may be put off: they must not hold the store meanwhile
            self._count("put off")
            return None, False
        tokens = len(matched) * self.block_tokens
        if num_computed_tokens + tokens == request.num_tokens:
            tokens -= 1  # the last token is to be computed in any case
        if tokens <= 0:
            self._drop_match(tracked)
            return 0, False
        return tokens, self._loads_between_steps(request, len(matched))

    def _loads_between_steps(self, request: Any, blocks: int) -> bool:
        """Short loads are faster done within the step."""
        return blocks > 4

    def _may_wait(self, tracked: _Tracked) -> bool:
        now = time.monotonic()
        if tracked.patience is None:
            tracked.patience = now + PATIENCE
        return now < tracked.patience

    def _track(self, request: Any) -> Optional[_Tracked]:
        """What is known of a request."""
        tracked = self._tracked.get(request.request_id)
        if tracked is None:
            try:
                # Without a name: nobody else asks for it, and a client may send its id again.
                tracked = self._tracked[request.request_id] = _Tracked(self.store.open_request(None))
            except kvshm.Full:
                self._count("not opened")
                return None
        self._extend_keys(tracked, request)
        return tracked

    def _extend_keys(self, tracked: _Tracked, request: Any) -> None:
        known = len(tracked.keys)
        if len(request.block_hashes) > known:
            tracked.keys += kvshm.derive_keys(self.label, 0, request.block_hashes[known:])

    def _drop_match(self, tracked: _Tracked) -> None:
        """Lets go of what was matched; fills that are under way stay."""
        tracked.matched = None
        tracked.request.keep(None)

    def update_state_after_alloc(self, request: Any, blocks: Sequence[int], num_external_tokens: int) -> None:
        """The request's blocks are there: so many tokens are loaded, perhaps fewer than were matched, or none."""
        tracked = self._tracked.get(request.request_id)
        if tracked is None or tracked.matched is None:
            return
        matched, tracked.matched = tracked.matched, None
        count = -(-num_external_tokens // self.block_tokens)
        if count < len(matched):
            self._count("shrunk")
        if count:
            # Pins of the step's own: the request may end before the workers have what they load.
            pins = matched[:count].pin()
            where = list(blocks[tracked.first : tracked.first + count])
            later = self._loads_between_steps(request, len(matched))
            self._next.loads.append(Transfer(request.request_id, where, pins.tickets(), tracked.attempt, later))
            self._steps.setdefault(self._next.step, []).append(pins)
        self._drop_match(tracked)
        tracked.patience = None

    def build_connector_meta(self, scheduler_output: Any) -> Metadata:
        """The metadata of the step: its loads, and fills for the blocks that it makes full."""
        metadata, self._next = self._next, Metadata(self._next.step + 1)
        self._steps.setdefault(metadata.step, [])
        metadata.preempted = set(scheduler_output.preempted_req_ids)
        for request_id in metadata.preempted:
            if request_id in self._tracked:
                self._tracked[request_id].attempt += 1
        for request in scheduler_output.scheduled:
            save = self._begin_fills(request)
            if save is not None:
                metadata.saves.append(save)
        return metadata

    def _begin_fills(self, request: Any) -> Optional[Transfer]:
        """Begins the fills of the blocks that are full after this step, and that nobody has or fills."""
        first = request.num_computed_tokens // self.block_tokens
        end = (request.num_computed_tokens + request.num_scheduled_tokens) // self.block_tokens
        tracked = self._tracked.get(request.request_id)
        if tracked is None or first >= end:
            return None
        self._extend_keys(tracked, request)
        holds = tracked.request.get_or_fill_batch(tracked.keys[first:end], shared=True)
        fills = holds.where(kvshm.Outcome.FILL)
        self._count("known already", end - first - len(fills))
        mine = holds.take(fills)
        hashes = request.block_hashes
        # What the blocks are is said now; they are ready when all workers have written.
        mine.publish([kvshm.Meta(self.store.block_size, first + i, hashes[first + i]) for i in fills])
        tracked.request.keep(mine)  # another has the rest, or is at it; or there was no room
        begun = [i for i, kind in enumerate(mine.kinds) if kind == kvshm.Kind.LENT]  # or the store was cleared
        if not begun:
            return None
        self._count("fills", len(begun))
        where = [request.block_ids[first + fills[i]] for i in begun]
        return Transfer(request.request_id, where, mine.take(begun).tickets(), tracked.attempt)

    # -- In update_from_output() --

    def update_connector_output(self, output: Any) -> None:
        """A step's answers have come back from all workers: what it was given tickets of, they hold themselves."""
        answers: List[WorkerAnswer] = output.kv_connector_worker_meta
        for pins in self._steps.pop(answers[0].step):
            pins.release()
        for request_id in output.failed_req_ids:
            if request_id in self._tracked:
                self._tracked[request_id].attempt += 1
        for tracked in self._tracked.values():
            tracked.request.keep(tracked.matched)  # lets go of fills that are whole
        self._ending = [tracked for tracked in self._ending if not self._end(tracked)]

    def _end(self, tracked: _Tracked) -> bool:
        """Ends an ended request in the store, once its fills are over."""
        if tracked.request.settle().pending:
            return False
        tracked.request.end()
        return True

    def request_finished(self, request: Any, block_ids: Sequence[int]) -> Tuple[bool, Optional[Dict[str, Any]]]:
        """The request has ended, in whatever state. True: its GPU blocks are still read by saves."""
        tracked = self._tracked.pop(request.request_id, None)
        if tracked is None:
            return False, None
        self._drop_match(tracked)
        if self._end(tracked):
            return False, None
        self._ending.append(tracked)
        self._next.delayed.add(request.request_id)
        self._count("delayed")
        return True, None

    def has_pending_push_work(self) -> bool:
        """Are there fills that ended requests wait for?"""
        return bool(self._ending)

    def reset_cache(self) -> bool:
        """Other weights: nothing that was computed with the old ones is found from now on, by any process."""
        for tracked in self._tracked.values():
            self._drop_match(tracked)
        self.store.clear()
        return True

    def shutdown(self) -> None:
        """The engine ends: so do its requests, with all that they hold."""
        for tracked in [*self._tracked.values(), *self._ending]:
            tracked.request.end()
        for pins in [pins for step in self._steps.values() for pins in step]:
            pins.release()
        self.store.close()
