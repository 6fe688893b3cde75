# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_requests: a request holds what it matched and filled, has room, is complete, claimed, and ended once."""

from __future__ import annotations

import errno
import sys
from typing import Any, Callable, List
from unittest import mock

import kvshm
import runner
import scene
from kvshm import Kind, Next, Outcome, RequestState, _abi, _calling, _request


class Requests(scene.StoreTest):
    keys = [bytes([65 + i]) * 8 for i in range(6)]

    def setUp(self) -> None:
        super().setUp()
        self.other = self.attach()

    def test_ids_are_texts_or_bytes_and_found_by_both(self) -> None:
        request = self.store.open_request("caf\u00e9", attempt=2, blocks=3)
        found = self.other.find_request("caf\u00e9".encode())
        self.assertEqual((found, bytes(found), hash(found)), (request, bytes(request), hash(request)))
        self.assertEqual(self.other.request(bytes(request)), request)
        with self.store.open_request(b"other") as other:
            self.assertNotEqual(other, request)
        self.assertNotEqual(request, bytes(request))
        info = found.info()
        self.assertEqual((info.id, info.attempt, info.expected, info.owner), ("caf\u00e9".encode(), 2, 3, 0))
        self.assertEqual((info.state, info.completed, info.owner_alive), (RequestState.OPEN, False, True))
        with self.store.open_request(b"x" * kvshm.REQUEST_ID_MAX) as longest:
            self.assertEqual(len(bytes(longest)), 16)
        for wrong in (b"", b"x" * (kvshm.REQUEST_ID_MAX + 1)):
            with self.assertRaises(kvshm.Error):
                self.store.open_request(wrong)
        request.end()

    def test_what_a_window_match_found_is_pinned_by_the_request_until_its_end(self) -> None:
        self.put(*self.keys[1:3])
        with self.store.open_request("r") as request:
            with self.store.match_window(self.keys[:3], 2) as found:
                lent = request.pin(found[1:])
                one = request.pin(found[2])
                assert lent.results is not None
                self.assertTrue(lent.results.ok)
                self.assertEqual((lent.blocks, lent.kinds), (found.blocks[1:], bytes([Kind.LENT] * 2)))
                self.assertEqual(one.blocks, found.blocks[2:])
                whole = request.pin(found)  # with the first, which is not in the window
                self.assertEqual(list(whole.results or ()), [0] * 3)
                self.assertEqual(whole.kinds, bytes([Kind.NONE, Kind.LENT, Kind.LENT]))
            self.assertEqual((self.usage().refs, self.usage().pins, request.info().held), (0, 2, 2))
        self.assertEqual(self.usage().pins, 0)

    def test_a_match_is_the_requests_until_its_end(self) -> None:
        self.put(*self.keys[:3])
        with self.store.open_request("r") as request:
            lent = request.match(self.keys)
            self.assertEqual((len(lent), lent.next, lent.kinds), (3, Next.MISSING, bytes([Kind.LENT] * 3)))
            self.assertEqual(request.match(self.keys).blocks, lent.blocks)
            self.assertEqual((self.usage().pins, request.info().held), (3, 3))
            self.assertEqual([hold.buffer()[0] for hold in lent], [65, 66, 67])
            with self.assertRaises(kvshm.Busy):
                lent[0].release()
            with self.assertRaises(kvshm.Busy):
                lent.release()
            with self.other.hold_batch(lent.tickets()) as taken:
                self.assertEqual(taken.blocks, lent.blocks)
            request.release(lent[1])
            request.release(lent[2:])
            self.assertEqual((lent.kinds, self.usage().pins), (bytes([Kind.LENT, 0, 0]), 1))
        self.assertEqual(self.usage().pins, 0)
        self.assertFalse(request.end())
        with self.assertRaises(kvshm.Canceled):
            request.match(self.keys)

    def test_fills_become_the_requests_when_they_are_published(self) -> None:
        self.put(self.keys[0])
        with self.other.get_or_fill(self.keys[1]), self.store.open_request("r") as request:
            held = request.get_or_fill_batch(self.keys[:4])
            self.assertEqual(held.outcomes, [Outcome.READY, Outcome.PENDING, Outcome.FILL, Outcome.FILL])
            self.assertEqual(held.kinds, bytes([Kind.LENT, Kind.LENT, Kind.WRITER, Kind.WRITER]))
            one = request.get_or_fill(self.keys[4])
            self.assertEqual((one.outcome, request.info().fills), (Outcome.FILL, 3))
            one.publish(7)
            self.assertEqual((one.kind, one.meta().length), (Kind.LENT, 7))
            self.assertTrue(held[2:3].publish().ok)
            held.close()  # gives the other one up
            self.assertEqual(held.kinds, bytes([Kind.LENT, Kind.LENT, Kind.LENT, Kind.NONE]))
            self.assertEqual((request.info().fills, request.info().held), (0, 4))
        self.assertEqual((self.usage().pins, self.usage().filling), (0, 0))

    def test_shared_fills_of_a_request_are_written_elsewhere(self) -> None:
        with self.store.open_request("r") as request:
            fills = request.get_or_fill_batch(self.keys[:2], shared=True)
            for plane in (0, 1):
                with self.other.join_batch(fills.tickets(), plane) as parts:
                    self.assertTrue(parts.publish().ok)
            self.assertTrue(fills.publish().ok)
            self.assertEqual(request.get_or_fill(self.keys[0], shared=True).outcome, Outcome.READY)
            request.complete(0)
        with self.store.match(self.keys) as found:
            self.assertEqual(len(found), 2)

    def test_room_is_reserved_whole_drawn_on_and_given_back(self) -> None:
        with self.store.open_request("r") as request, self.other.open_request("s") as second:
            request.reserve(60, 0)
            self.assertEqual((request.info().room, self.usage().room), (60, 60))
            with self.assertRaises(kvshm.Busy):
                request.reserve(1, 0)
            with self.assertRaises(kvshm.TimedOut) as late:
                second.reserve(5, 0)
            self.assertEqual((late.exception.errno, second.info().wanted), (errno.ETIMEDOUT, 0))
            self.assertTrue(second.queue(4, 60))
            second.unreserve()
            self.assertFalse(second.queue(5, 60))
            self.assertEqual((second.info().wanted, second.info().ahead), (5, 0))
            with self.assertRaises(kvshm.InProgress):
                second.wait_room(0)
            with request.get_or_fill(self.keys[0]) as fill:
                self.assertEqual(request.info().room, 59)
                fill.publish()
            request.unreserve()
            request.unreserve()
            second.wait_room(0)
            self.assertEqual((request.info().room, second.info().room), (0, 5))
            with self.assertRaises(kvshm.TooLarge):
                request.reserve(65, 0)
            with self.assertRaises(kvshm.Error):
                request.wait_room(0)
        self.assertEqual(self.usage().room, 0)

    def test_complete_is_when_all_is_ready_and_claims_are_the_claimers(self) -> None:
        request = self.store.open_request("r", blocks=3)
        fills = request.get_or_fill_batch(self.keys[:3])
        with self.assertRaises(kvshm.TimedOut):
            self.other.request(bytes(request)).wait(0)
        with self.assertRaises(kvshm.Busy):
            request.complete(0)
        fills.publish()
        request.complete(0)
        far = self.other.find_request("r")
        far.wait(0)
        refs = far.claim(self.keys[1:4])
        assert refs.results is not None
        self.assertEqual(refs.results.failed(), {2: -errno.ENOENT})
        self.assertEqual((far.info().claims, far.info().state), (1, RequestState.COMPLETE))
        self.assertTrue(far.end())
        self.assertFalse(far.end())
        self.assertEqual(far.info().state, RequestState.ENDING)
        self.assertEqual((self.store.tend_requests(), self.store.tend_requests()), (1, 0))
        self.assertEqual((far.info().state, self.usage().pins, self.usage().refs), (RequestState.CLOSED, 0, 2))
        refs.close()
        with self.assertRaises(kvshm.Canceled):
            far.claim(self.keys)

    def test_what_nobody_claims_is_ended_by_its_owner(self) -> None:
        kept = [self.store.open_request(name) for name in ("a", "b", "open")]
        for request in kept[:2]:
            request.complete(0)
        self.assertEqual((self.store.tend_requests(), self.store.tend_requests(1000)), (0, 0))
        self.assertEqual(self.store.tend_requests(1e-9), 2)
        self.assertEqual([request.end() for request in kept], [False, False, True])

    def test_a_request_that_waited_for_a_fill_that_failed_asks_again(self) -> None:
        with self.other.get_or_fill(self.keys[0]) as fill, self.store.open_request("r") as request:
            request.get_or_fill(self.keys[0])
            with self.assertRaises(kvshm.TimedOut):
                request.complete(0)
            fill.give_up()
            with self.assertRaises(kvshm.NotReady):
                request.complete(0)
            again = request.get_or_fill(self.keys[0])
            self.assertEqual(again.outcome, Outcome.FILL)
            again.publish()
            request.complete(0)

    def test_what_is_the_owners_is_no_one_elses(self) -> None:
        request = self.store.open_request("r")
        far = self.other.request(bytes(request))
        mine = self.other.get_batch([b"none"])
        calls: List[Callable[[], Any]] = [
            lambda: far.match(self.keys),
            lambda: far.get_or_fill(self.keys[0]),
            lambda: far.get_or_fill_batch(self.keys),
            lambda: far.reserve(1, 0),
            lambda: far.queue(1, 0),
            lambda: far.wait_room(0),
            lambda: far.unreserve(),
            lambda: far.complete(0),
            lambda: far.release(mine),
        ]
        for call in calls:
            with self.assertRaises(kvshm.NotPermitted):
                call()
        request.end()

    def test_holds_of_another_store_are_refused(self) -> None:
        self.put(self.keys[0])
        with self.store.open_request("r") as request, self.other.get_batch(self.keys[:1]) as refs:
            lent = request.match(self.keys)
            calls: List[Callable[[Any], Any]] = [request.release, request.keep, request.pin]
            for call in calls:
                for what in (refs, refs[0]):
                    with self.assertRaisesRegex(ValueError, "another store"):
                        call(what)
            self.assertEqual((lent.kinds, refs.kinds), (bytes([Kind.LENT]), bytes([Kind.REF])))

    def test_a_request_that_is_forgotten_is_ended_and_warned_of(self) -> None:
        self.put(self.keys[0])
        request = self.store.open_request("r")
        request.match(self.keys)
        far = self.other.request(bytes(request))
        with self.assertWarnsRegex(ResourceWarning, "was not ended"):
            del request
        self.assertEqual((far.info().state, self.usage().pins), (RequestState.CLOSED, 0))

    def test_only_the_object_that_opened_it_ends_what_is_forgotten(self) -> None:
        request = self.store.open_request("r")
        for name in (self.store.find_request("r"), self.other.find_request("r"), self.store.request(bytes(request))):
            self.assertEqual(name, request)
        del name
        self.in_child(request.__del__)  # as when the child is done with it
        self.assertEqual(request.info().state, RequestState.OPEN)
        self.assertTrue(self.store.request(bytes(request)).end())
        del request  # had ended: nothing is said
        left = self.store.open_request("s")
        self.store.close()
        del left

    def test_an_interrupt_behind_open_request_leaves_none_open(self) -> None:
        opened = mock.Mock(side_effect=self.interrupted_behind(_abi.request_open))
        with mock.patch.object(_abi, "request_open", opened), self.assertRaises(KeyboardInterrupt) as caught:
            self.store.open_request("r")
        with kvshm.View(self.name) as view:
            self.assertEqual([info.state for info in view.requests()], [RequestState.CLOSED])
        del caught

    def test_an_interrupt_behind_the_queue_leaves_no_room_reserved(self) -> None:
        with self.store.open_request("r") as request:
            queued = mock.Mock(side_effect=self.interrupted_behind(_abi.request_queue))
            with mock.patch.object(_abi, "request_queue", queued), self.assertRaises(KeyboardInterrupt):
                request.reserve(3, 0)
            self.assertEqual((request.info().room, self.usage().room), (0, 0))
            request.reserve(4, 0)
            for wrong in ((-1, 0), (3, "1"), (3, 0)):
                with self.assertRaises((ValueError, TypeError, kvshm.Busy)):
                    request.reserve(*wrong)
            self.assertEqual(request.info().room, 4)

    def test_what_could_not_be_made_says_nothing_more(self) -> None:
        with mock.patch.object(sys, "unraisablehook") as said:
            with mock.patch.object(_request, "address_of", side_effect=MemoryError), self.assertRaises(MemoryError):
                self.store.open_request("r")
            _calling.Calling.__new__(_calling.Calling)  # as when an interrupt comes first
        said.assert_not_called()

    def interrupted_behind(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """That call, with an interrupt when it has done its work."""

        def called(*parameters: Any) -> Any:
            self.assertEqual(call(*parameters), 0)
            raise KeyboardInterrupt

        return called

    def test_the_end_of_a_with_hides_no_exception(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "mine"):
            with self.attach() as store, store.open_request("r"):
                store.close()
                raise RuntimeError("mine")
        with self.assertRaises(kvshm.Stale):
            with self.store.open_request("s"):
                self.owner.destroy()

    def test_the_end_of_a_client_ends_its_requests(self) -> None:
        request = self.store.open_request("r")
        far = self.other.request(bytes(request))
        self.store.close()
        self.assertEqual(far.info().state, RequestState.CLOSED)
        with self.assertRaises(kvshm.Canceled):
            far.wait(0)


if __name__ == "__main__":
    runner.main()
