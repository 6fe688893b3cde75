# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""The test engine's scheduler: it makes vLLM V1's calls of a connector, in vLLM's order, and nothing else of vLLM.

As with vLLM's async scheduling a step is scheduled before the one before has come back. So whatever ends (a request
that is aborted, preempted, or has failed to load) may be in a step that is under way: what that step brings for it is
not looked at, by the request's generation.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Set, Tuple

from vllm_blocks import BlockPool
from vllm_connector import SchedulerConnector, WorkerAnswer
from vllm_model import BLOCK_TOKENS, Prompt, output_hash

GPU_BLOCKS = 96
RUNNING_MAX = 12
STEP_TOKENS = 128


class Request:
    """A request in the engine."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.request_id = prompt.id
        self.block_hashes = list(prompt.hashes)
        self.made = 0  # outputs that have come back
        self.num_tokens = prompt.tokens  # with outputs of steps under way
        self.num_computed_tokens = 0
        self.whole = 0  # blocks that have all their bytes: the last loaded one may have a token to be computed again
        self.blocks: List[int] = []
        self.generation = 0
        self.state = "waiting"
        self.holds_blocks_for: Set[str] = set()  # after its end: "load", "save"
        self.bad_loads: Set[int] = set()

    def grow(self) -> None:
        """One token more is known: by it, perhaps, one full block more."""
        self.num_tokens += 1
        if self.num_tokens // BLOCK_TOKENS > len(self.block_hashes):
            parent = self.block_hashes[-1] if self.block_hashes else b""
            self.block_hashes.append(output_hash(parent, self.request_id, len(self.block_hashes)))

    def start_over(self) -> None:
        """Nothing is computed: it was preempted, or what it had loaded was no good."""
        self.generation += 1
        self.num_tokens = self.prompt.tokens + self.made
        del self.block_hashes[max(self.num_tokens // BLOCK_TOKENS, len(self.prompt.hashes)) :]
        self.num_computed_tokens = self.whole = 0
        self.blocks = []
        self.bad_loads = set()
        self.state = "preempted"


class Scheduled(NamedTuple):
    """A request's part in a step."""

    request_id: str
    num_computed_tokens: int
    num_scheduled_tokens: int
    whole_blocks: int  # that are there before the step, or are loaded in it
    block_ids: List[int]
    block_hashes: List[bytes]


@dataclass
class SchedulerOutput:
    """What a step is to do: to the workers, and to the connector."""

    epoch: int
    scheduled: List[Scheduled] = field(default_factory=list)
    preempted_req_ids: Set[str] = field(default_factory=set)
    finished_req_ids: Set[str] = field(default_factory=set)
    connector: Any = None


@dataclass
class WorkerOutput:
    """What a worker has to say of a step."""

    finished_sending: Set[str] = field(default_factory=set)
    finished_recving: Set[str] = field(default_factory=set)
    invalid_block_ids: Set[int] = field(default_factory=set)
    kv_connector_worker_meta: Optional[WorkerAnswer] = None
    faults: List[str] = field(default_factory=list)  # wrong bytes
    compared: int = 0  # blocks, in all layers


@dataclass
class ConnectorOutput:
    """The same of all workers, for the connector."""

    finished_sending: Set[str]
    finished_recving: Set[str]
    invalid_block_ids: Set[int]
    kv_connector_worker_meta: List[WorkerAnswer]
    failed_req_ids: Set[str]


class Scheduler:
    """Requests, the blocks that they have, and the connector that is told of both."""

    def __init__(self, connector: SchedulerConnector, workers: int, rng: random.Random, epoch: int) -> None:
        self.connector = connector
        self.workers = workers
        self.rng = rng
        self.epoch = epoch
        self.pool = BlockPool(GPU_BLOCKS)
        self.requests: Dict[str, Request] = {}
        self.waiting: Deque[Request] = deque()
        self.running: List[Request] = []
        self.ended: Dict[str, Request] = {}  # that have blocks still
        self.done: List[Tuple[str, str]] = []  # ids, and how each ended: to be told to the clients
        self.counts: Dict[str, int] = {}
        self.paused = False
        self._finished: Set[str] = set()
        self._pending: Dict[Tuple[str, str], int] = {}  # workers that have not said yet that it is over
        self._received: Set[str] = set()
        self._preempted: Set[str] = set()
        self._steps: Deque[List[Tuple[Request, int, Scheduled, bool]]] = deque()

    def count(self, what: str, number: int = 1) -> None:
        """Counts something that the tests want to have seen."""
        self.counts[what] = self.counts.get(what, 0) + number

    def add(self, prompt: Prompt) -> None:
        """A client has sent a request."""
        request = self.requests[prompt.id] = Request(prompt)
        self.waiting.append(request)

    @property
    def idle(self) -> bool:
        """Nothing is to be done, and nothing under way."""
        return not (self.requests or self.ended or self.connector.has_pending_push_work())

    # -- schedule() --

    def schedule(self) -> SchedulerOutput:
        """Decides on a step."""
        output = SchedulerOutput(self.epoch)
        entries: List[Tuple[Request, int, Scheduled, bool]] = []
        budget = STEP_TOKENS
        if not self.paused:
            budget = self._schedule_running(entries, budget)
            if not self._preempted:
                self._schedule_waiting(entries, budget)
        output.scheduled = [entry[2] for entry in entries]
        output.preempted_req_ids, self._preempted = self._preempted, set()
        output.finished_req_ids, self._finished = self._finished, set()
        output.connector = self.connector.build_connector_meta(output)
        self._steps.append(entries)
        return output

    def _schedule_running(self, entries: List[Any], budget: int) -> int:
        for request in list(self.running):
            if request not in self.running:
                continue  # preempted for one before it
            number = min(request.num_tokens - request.num_computed_tokens, budget)
            if number <= 0:
                continue  # its last outputs are under way
            if not self._room_for_running(request, request.num_computed_tokens + number):
                break
            budget -= self._put(entries, request, number)
        return budget

    def _room_for_running(self, request: Request, tokens: int) -> bool:
        """Gives a running request blocks for so many tokens, those of others if need be. False: its own are gone."""
        need = -(-tokens // BLOCK_TOKENS) - len(request.blocks)
        while need > self.pool.free:
            last = self.running[-1]
            self._preempt(last)
            if last is request:
                return False
        request.blocks += self.pool.take(need)
        return True

    def _preempt(self, request: Request) -> None:
        """Takes all blocks of a request at once. The connector is not called: it is told at the end of schedule()."""
        self.running.remove(request)
        self.pool.give_back(request.blocks)
        request.start_over()
        self.waiting.appendleft(request)
        self._preempted.add(request.request_id)
        self.count("preempted")

    def _put(self, entries: List[Any], request: Request, number: int) -> int:
        """Puts a request's next tokens into the step."""
        end = request.num_computed_tokens + number
        hashes = request.block_hashes[: end // BLOCK_TOKENS]
        whole = max(request.whole, request.num_computed_tokens // BLOCK_TOKENS)
        part = Scheduled(
            request.request_id, request.num_computed_tokens, number, whole, list(request.blocks), hashes
        )
        makes = end == request.num_tokens
        entries.append((request, request.generation, part, makes))
        request.num_computed_tokens = end
        if makes and request.num_tokens < request.prompt.tokens + request.prompt.outputs:
            request.grow()
        return number

    def _schedule_waiting(self, entries: List[Any], budget: int) -> None:
        skipped: List[Request] = []
        while self.waiting and budget > 0 and len(self.running) < RUNNING_MAX:
            request = self.waiting[0]
            answer = self._admit(request, budget)
            if answer is False and self.running:
                break
            self.waiting.popleft()
            if not answer:
                skipped.append(request)
                continue
            self.running.append(request)
            request.state = "running"
            budget -= self._put(entries, request, min(request.num_tokens - request.num_computed_tokens, budget))
        self.waiting.extendleft(reversed(skipped))
        if not self.running and not any(what == "load" for what, _ in self._pending):
            self._make_way()

    def _make_way(self) -> None:
        """Nobody can run, since those that wait have all blocks: the last of them loses its own."""
        for request in reversed(self.waiting):
            if request.blocks:
                self.pool.give_back(request.blocks)
                request.start_over()
                self.count("made way")
                return

    def _admit(self, request: Request, budget: int) -> Optional[bool]:
        """True: it can run now. None: not now, perhaps the next one. False: there are no blocks."""
        if request.state == "loading":
            if request.request_id not in self._received:
                return None
            self._loaded(request)
        local: List[int] = []
        external, later = 0, False
        if request.num_computed_tokens == 0:
            # The last token is computed in any case.
            local = self.pool.cached_prefix(request.block_hashes[: (request.num_tokens - 1) // BLOCK_TOKENS])
            answer, later = self.connector.get_num_new_matched_tokens(request, len(local) * BLOCK_TOKENS)
            self.count("asked")
            if answer is None:
                self.count("told to ask again")
                request.state = "put off"
                return None
            external, later = self._choose(answer, later)
        return self._allocate(request, local, external, later, budget)

    def _choose(self, external: int, later: bool) -> Tuple[int, bool]:
        """Now and then less is loaded than there is, or nothing: blocks are short, or another connector was chosen."""
        if external > 0 and self.rng.random() < 0.1:
            external = self.rng.randrange(external // BLOCK_TOKENS + 1) * BLOCK_TOKENS
            self.count("loads less")
        return external, later and external > 0

    def _allocate(
        self, request: Request, local: List[int], external: int, later: bool, budget: int
    ) -> Optional[bool]:
        computed = request.num_computed_tokens + len(local) * BLOCK_TOKENS + external
        end = computed if later else min(request.num_tokens, computed + budget)
        need = -(-end // BLOCK_TOKENS) - len(request.blocks) - len(local)
        if need > self.pool.free - self.pool.unused(local):
            self.count("no blocks")
            request.state = "no blocks" if request.num_computed_tokens == 0 else request.state
            return False
        self.pool.use(local)
        request.blocks += local + self.pool.take(max(need, 0))
        self.connector.update_state_after_alloc(request, request.blocks, external)
        request.num_computed_tokens = computed
        if external:
            request.whole = -(-computed // BLOCK_TOKENS)
            self.count("loads between steps" if later else "loads within a step")
        if later:
            request.state = "loading"
            self._await("load", request.request_id)
            return None
        return True

    def _await(self, what: str, request_id: str) -> None:
        self._pending[what, request_id] = self.workers

    # -- update_from_output() --

    def update_from_output(self, outputs: List[WorkerOutput]) -> None:
        """The oldest step under way has come back from all workers."""
        entries = self._steps.popleft()
        sent = self._over("save", [output.finished_sending for output in outputs])
        received = self._over("load", [output.finished_recving for output in outputs])
        invalid = set().union(*(output.invalid_block_ids for output in outputs))
        failed = self._fail_loads(entries, invalid)
        for request, generation, part, makes in entries:
            if request.generation == generation and request.state == "running":
                self._advance(request, part, makes)
        answers = [output.kv_connector_worker_meta for output in outputs if output.kv_connector_worker_meta]
        self.connector.update_connector_output(ConnectorOutput(sent, received, invalid, answers, failed))
        for request_id in received:
            if request_id in self.ended:
                self._let_go(request_id, "load")
            else:
                self._received.add(request_id)
        for request_id in sent:
            self._let_go(request_id, "save")

    def _over(self, what: str, told: List[Set[str]]) -> Set[str]:
        """The ids that all workers have told of by now."""
        over = set()
        for ids in told:
            for request_id in ids:
                self._pending[what, request_id] -= 1  # a KeyError: nobody had asked for that
                if self._pending[what, request_id] == 0:
                    del self._pending[what, request_id]
                    over.add(request_id)
        return over

    def _fail_loads(self, entries: List[Any], invalid: Set[int]) -> Set[str]:
        """Blocks could not be loaded: who runs on them starts over, who waits for them is told when all is over."""
        failed: Set[str] = set()
        if not invalid:
            return failed
        for request, generation, part, _ in entries:
            if request.generation != generation or request.state != "running":
                continue
            if invalid.intersection(part.block_ids):
                self.running.remove(request)
                self.pool.give_back(request.blocks)
                request.start_over()
                self.waiting.appendleft(request)
                failed.add(request.request_id)
                self.count("failed within a step")
        for request in self.waiting:
            bad = invalid.intersection(request.blocks) if request.state == "loading" else set()
            if bad:
                request.bad_loads |= bad
                failed.add(request.request_id)
                self.count("failed between steps")
        return failed

    def _advance(self, request: Request, part: Scheduled, makes: bool) -> None:
        """A step has computed tokens of a request that runs still."""
        full = len(part.block_hashes)
        self.pool.cache(part.block_ids[:full], part.block_hashes)
        if not makes:
            return
        request.made += 1
        if request.made == request.prompt.outputs:
            self.running.remove(request)
            self._finish(request, "done")

    def _loaded(self, request: Request) -> None:
        """An async load is over: what is good of it is computed."""
        self._received.discard(request.request_id)
        request.state = "loaded"
        if request.bad_loads:
            good = min(request.blocks.index(block) for block in request.bad_loads)
            request.bad_loads = set()
            request.num_computed_tokens = good * BLOCK_TOKENS
            request.whole = good
            if good == 0:
                self.pool.give_back(request.blocks)
                request.start_over()

    # -- Ends --

    def abort(self, request: Request) -> None:
        """The client has gone."""
        self.count(f"aborted: {request.state}")
        if request in self.running:
            self.running.remove(request)
        else:
            self.waiting.remove(request)
        self._finish(request, "aborted")

    def _finish(self, request: Request, how: str) -> None:
        loading = request.state == "loading" and request.request_id not in self._received
        request.state = how
        self._received.discard(request.request_id)
        if loading:
            request.holds_blocks_for.add("load")
        delay, _ = self.connector.request_finished(request, request.blocks)
        if delay:
            request.holds_blocks_for.add("save")
            self._await("save", request.request_id)
            self.count("ended with a save under way")
        del self.requests[request.request_id]
        self._finished.add(request.request_id)
        self.done.append((request.request_id, how))
        if request.holds_blocks_for:
            self.ended[request.request_id] = request
        else:
            self.pool.give_back(request.blocks)

    def _let_go(self, request_id: str, what: str) -> None:
        request = self.ended[request_id]
        request.holds_blocks_for.discard(what)
        if not request.holds_blocks_for:
            del self.ended[request_id]
            self.pool.give_back(request.blocks)

    # -- Other weights --

    def quiet(self) -> bool:
        """Nothing is computed or loaded: the weights can be changed. Saves may go on."""
        loading = any(what == "load" for what, _ in self._pending)
        return self.paused and not self._steps and not loading

    def reset(self, epoch: int) -> None:
        """Takes other weights: all that was computed is forgotten, here and in the store."""
        for request in reversed(self.running):
            self.pool.give_back(request.blocks)
            request.start_over()
            self.waiting.appendleft(request)
            self._preempted.add(request.request_id)
        self.running = []
        for request in self.waiting:
            if request.blocks:
                self.pool.give_back(request.blocks)
                request.start_over()
        self._received.clear()
        self.pool.reset()
        self.epoch = epoch
        if self.connector.reset_cache() is False:
            raise RuntimeError("the connector did not reset its cache")
        self.count("reset")
