# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""R26, R27, R28: the connector's calls in the orders that matter, one at a time: what a busy engine meets seldom.

The scheduler's side and two workers', each with an attachment of its own, in this process.
"""

from __future__ import annotations

import os
import time
import unittest
from typing import Any, List, Set
from unittest import mock

import kvshm
import runner
import vllm_connector
from vllm_connector import SchedulerConnector
from vllm_connector_worker import WorkerConnector
from vllm_model import BLOCK_BYTES, BLOCK_TOKENS, Prompt
from vllm_scheduler import ConnectorOutput, Request, Scheduled, SchedulerOutput, WorkerOutput
from vllm_worker import Worker

LABEL = "calls"
BLOCKS = 32


def a_request(name: str, blocks: int = 4) -> Request:
    """A request with a prompt of so many full blocks, the same for all, and a token."""
    hashes = [bytes([i + 1]) * 32 for i in range(blocks)]
    return Request(Prompt(name, blocks * BLOCK_TOKENS + 1, 3, hashes))


class Calls(unittest.TestCase):
    """A scheduler's side, two workers, and a client that takes whatever nobody holds."""

    def setUp(self) -> None:
        name = f"{os.environ.get('KVSHM_TEST_PREFIX', f't-{os.getpid()}-')}calls"
        size = BLOCKS * BLOCK_BYTES
        self.owner = kvshm.create(name, size=size, block_size=BLOCK_BYTES, planes=2, label=LABEL, replace_dead=True)
        self.addCleanup(self.owner.destroy)
        self.view = kvshm.View(name)
        self.addCleanup(self.view.close)
        self.other = kvshm.attach(name)
        self.addCleanup(self.other.close)
        self.scheduler = SchedulerConnector(kvshm.attach(name), LABEL, BLOCK_TOKENS)
        self.addCleanup(self.scheduler.shutdown)
        self.workers = [Worker(WorkerConnector(kvshm.attach(name), rank), rank) for rank in range(2)]
        for worker in self.workers:
            self.addCleanup(worker.connector.shutdown)
        self.next_block = 0

    def scheduled(self, request: Request, whole: int = 0) -> Scheduled:
        """The request's part in a step: all that is not computed."""
        need = -(-request.num_tokens // BLOCK_TOKENS) - len(request.blocks)
        request.blocks += range(self.next_block, self.next_block + need)
        self.next_block += need
        number = request.num_tokens - request.num_computed_tokens
        hashes = request.block_hashes[: request.num_tokens // BLOCK_TOKENS]
        return Scheduled(request.request_id, request.num_computed_tokens, number, whole, request.blocks, hashes)

    def step(self, *parts: Scheduled, preempted: Set[str] = frozenset()) -> SchedulerOutput:  # type: ignore
        """A step as the scheduler sends it."""
        output = SchedulerOutput(1, list(parts), set(preempted))
        output.connector = self.scheduler.build_connector_meta(output)
        return output

    def execute(self, step: SchedulerOutput, *ranks: int) -> List[WorkerOutput]:
        """The step in these workers: all, if none is said. No bytes may be wrong, no ticket refused."""
        outputs = [self.workers[rank].execute(step) for rank in ranks or (0, 1)]
        for output in outputs:
            assert output.kv_connector_worker_meta is not None
            self.assertEqual(([], []), (output.faults, output.kv_connector_worker_meta.unheld))
        return outputs

    def answer(self, outputs: List[WorkerOutput], failed: Set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """The answers of all workers come to the scheduler's side."""
        metas = [o.kv_connector_worker_meta for o in outputs if o.kv_connector_worker_meta]
        self.scheduler.update_connector_output(ConnectorOutput(set(), set(), set(), metas, set(failed)))

    def ask(self, request: Request, computed: int = 0) -> Any:
        """How many tokens the connector has for it."""
        return self.scheduler.get_num_new_matched_tokens(request, computed)[0]

    def flush(self, *ranks: int) -> None:
        """Waits until these workers have written what they save."""
        for rank in ranks or (0, 1):
            connector = self.workers[rank].connector
            for futures in connector._sending.values():
                for future in futures:
                    future.result(20)

    def stored(self, blocks: int = 4) -> None:
        """Has the blocks of a request in the store, and the request ended."""
        request = a_request("first", blocks)
        self.assertEqual(0, self.ask(request))
        outputs = self.execute(self.step(self.scheduled(request)))
        self.flush()
        self.answer(outputs)
        self.assertEqual((False, None), self.scheduler.request_finished(request, request.blocks))

    def squeeze(self) -> int:
        """Takes what nobody holds, and gives it back: how many blocks."""
        with self.other.alloc_batch(BLOCKS) as taken:
            return len(taken) - taken.kinds.count(0)

    def left(self) -> Any:
        """Open requests, and blocks that are held."""
        open_ones = [r for r in self.view.requests() if r.state < kvshm.RequestState.ABORTED]
        return len(open_ones), self.view.usage().held

    def load(self, request: Request) -> SchedulerOutput:
        """A step that loads what is matched of a request, and computes the rest."""
        external = self.ask(request)
        self.scheduled(request)
        self.scheduler.update_state_after_alloc(request, request.blocks, external)
        request.num_computed_tokens = external
        return self.step(self.scheduled(request, whole=-(-external // BLOCK_TOKENS)))

    def test_R26_a_ticket_holds_when_the_store_is_squeezed(self) -> None:
        self.stored()
        step = self.load(a_request("second"))
        self.assertEqual(BLOCKS - 4, self.squeeze())
        self.assertEqual(8, sum(o.kv_connector_worker_meta.held for o in self.execute(step)))  # type: ignore

    def test_R26_a_ticket_holds_when_the_request_ends_before_the_step(self) -> None:
        self.stored()
        request = a_request("second")
        step = self.load(request)
        self.assertEqual((False, None), self.scheduler.request_finished(request, request.blocks))
        self.squeeze()
        self.answer(self.execute(step))
        self.assertEqual((0, 0), self.left())

    def test_R26_a_ticket_holds_when_its_block_becomes_full_in_the_same_step(self) -> None:
        self.stored(3)
        request = a_request("second", 3)
        request.num_tokens -= 1  # the prompt is its full blocks: all is a hit, but for the last token
        step = self.load(request)
        self.assertEqual(3 * BLOCK_TOKENS - 1, request.num_computed_tokens)
        self.squeeze()
        self.answer(self.execute(step))

    def test_R26_a_ticket_holds_when_the_request_is_preempted_and_asked_again(self) -> None:
        self.stored()
        request = a_request("second")
        step = self.load(request)
        request.start_over()
        again = self.load(request)
        first = self.execute(step)
        self.answer(first)
        self.squeeze()
        self.answer(self.execute(again))

    def test_R27_a_block_is_not_there_until_all_planes_are(self) -> None:
        request = a_request("first")
        self.assertEqual(0, self.ask(request))
        step = self.step(self.scheduled(request))
        outputs = self.execute(step, 0)
        self.flush(0)
        self.assertIsNone(self.ask(a_request("second")))
        outputs += self.execute(step, 1)
        self.flush(1)
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(a_request("third")))
        self.answer(outputs)

    def test_R27_a_block_that_a_worker_does_not_write_is_never_there(self) -> None:
        request = a_request("first")
        self.assertEqual(0, self.ask(request))
        step = self.step(self.scheduled(request))
        self.execute(step, 0)
        self.flush(0)
        late = self.workers[1].connector
        late.bind_connector_metadata(step.connector)
        late.start_load_kv()
        late.shutdown()
        self.assertEqual(0, self.ask(a_request("second")))

    def test_R20_what_is_computed_from_a_failed_load_is_not_saved(self) -> None:
        self.stored()
        request = a_request("second", 6)
        copy_in = self.workers[1].connector._copy_in

        def fail_first(layer: int, gpu: List[int], store: List[int], items: List[int]) -> Set[int]:
            skip = items[0] == 0
            copy_in(layer, gpu[skip:], store[skip:], items[skip:])
            return {0}

        with mock.patch.object(self.workers[1].connector, "_copy_in", fail_first):
            step = self.load(request)
            outputs = self.execute(step)
        self.assertEqual([set(), {request.blocks[0]}], [output.invalid_block_ids for output in outputs])
        self.flush()
        self.answer(outputs, {"second"})
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(a_request("third", 6)))
        request.start_over()
        self.answer(self.execute(self.load(request)))
        self.flush()
        self.assertEqual(6 * BLOCK_TOKENS, self.ask(a_request("fourth", 6)))

    def test_what_goes_wrong_in_the_loading_thread_is_raised_where_it_is_waited_for(self) -> None:
        self.stored()
        step = self.load(a_request("second", 4))
        wrong = mock.Mock(side_effect=ZeroDivisionError("mine"))
        with mock.patch.object(self.workers[1].connector, "_copy_in", wrong):
            with self.assertRaisesRegex(ZeroDivisionError, "mine"):
                self.execute(step, 1)
        self.execute(step, 0)
        self.assertEqual(4, self.view.usage().pins)  # the step's: no worker has any left

    def test_R28_what_was_matched_before_a_reset_is_not_loaded_after(self) -> None:
        self.stored()
        request = a_request("second")
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
        self.scheduler.reset_cache()
        self.scheduler.update_state_after_alloc(request, [1, 2, 3, 4, 5], 4 * BLOCK_TOKENS)
        self.assertEqual([], self.step().connector.loads)
        self.assertEqual(0, self.ask(request))

    def test_R28_a_save_that_a_reset_overtakes_is_not_there(self) -> None:
        request = a_request("first")
        self.ask(request)
        step = self.step(self.scheduled(request))
        self.scheduler.reset_cache()
        outputs = self.execute(step)
        self.flush()
        self.answer(outputs)
        self.assertEqual(0, self.ask(a_request("second")))

    def test_fewer_blocks_than_matched_are_held(self) -> None:
        self.stored()
        request = a_request("second")
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
        self.scheduler.update_state_after_alloc(request, [1, 2, 3, 4, 5], 2 * BLOCK_TOKENS)
        self.assertEqual(BLOCKS - 2, self.squeeze())
        self.execute(self.step())

    def test_nothing_is_held_after_an_answer_that_was_not_taken(self) -> None:
        self.stored()
        request = a_request("second")
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
        self.scheduler.update_state_after_alloc(request, [1, 2, 3, 4, 5], 0)
        self.assertEqual(BLOCKS, self.squeeze())

    def test_asked_again_further_on_holds_no_more_than_the_rest(self) -> None:
        self.stored()
        request = a_request("second")
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
        self.assertEqual(2 * BLOCK_TOKENS, self.ask(request, 2 * BLOCK_TOKENS))
        self.assertEqual((1, 2), self.left())

    def test_a_request_whose_last_tokens_were_none_is_told_of_what_it_has_yet(self) -> None:
        self.stored()
        request = a_request("second")
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
        del request.block_hashes[3:]  # preempted: two steps under way would have made the rest
        request.num_tokens = 3 * BLOCK_TOKENS + 1
        self.assertEqual(3 * BLOCK_TOKENS, self.ask(request))
        self.assertEqual((1, 3), self.left())

    def test_one_token_less_when_all_is_there(self) -> None:
        self.stored()
        request = a_request("second")
        request.num_tokens -= 1
        self.assertEqual(4 * BLOCK_TOKENS - 1, self.ask(request))

    def test_who_waits_for_a_fill_goes_on_without_in_the_end(self) -> None:
        request = a_request("first")
        self.ask(request)
        step = self.step(self.scheduled(request))
        second = a_request("second")
        self.assertIsNone(self.ask(second))
        with mock.patch.object(time, "monotonic", lambda now=time.monotonic(): now + vllm_connector.PATIENCE + 1):
            self.assertEqual(0, self.ask(second))
        self.assertEqual([], self.step(self.scheduled(second)).connector.saves)
        self.answer(self.execute(step))

    def test_an_end_is_delayed_until_the_save_is_over(self) -> None:
        request = a_request("first")
        self.ask(request)
        step = self.step(self.scheduled(request))
        self.assertEqual((True, None), self.scheduler.request_finished(request, request.blocks))
        outputs = self.execute(step)
        self.flush()
        last = self.execute(self.step())
        self.assertEqual([{"first"}, {"first"}], [output.finished_sending for output in last])
        self.answer(outputs)
        self.assertFalse(self.scheduler.has_pending_push_work())
        self.assertEqual((0, 0), self.left())

    def test_a_request_that_computes_again_what_it_saves_lets_the_save_go_on(self) -> None:
        request = a_request("first")
        self.ask(request)
        step = self.step(self.scheduled(request))
        request.start_over()
        again = self.step(self.scheduled(request), preempted={"first"})
        self.assertEqual([], again.connector.saves)
        self.answer(self.execute(step))
        self.answer(self.execute(again))
        self.flush()
        self.assertEqual(4 * BLOCK_TOKENS, self.ask(a_request("second")))

    def test_an_id_may_come_again(self) -> None:
        self.stored()
        for _ in range(3):
            request = a_request("again")
            self.assertEqual(4 * BLOCK_TOKENS, self.ask(request))
            self.assertEqual((1, 4), self.left())
            self.scheduler.request_finished(request, [])
            self.assertEqual((0, 0), self.left())


if __name__ == "__main__":
    runner.main()
