# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_holds: what a Hold and Holds say is held is held, until they let go; what is dropped is let go of, too."""

from __future__ import annotations

import ctypes
import errno
import gc
import pickle
import sys
import warnings
from typing import List, Optional, Tuple
from unittest import mock

import kvshm
import runner
import scene
from kvshm import Kind, Meta, Next, Outcome, Published, _holds


class One(scene.StoreTest):
    def test_a_missing_key_is_filled_published_and_found(self) -> None:
        fill = self.store.get_or_fill(b"k")
        self.assertEqual((fill.outcome, fill.kind, fill.store), (Outcome.FILL, Kind.WRITER, self.store))
        with self.assertRaises(kvshm.NotReady):
            self.store.get(b"k")
        fill.buffer(1)[:3] = b"abc"
        fill.publish(3, 7, b"mine")
        self.assertEqual(fill.kind, Kind.REF)
        ref = self.store.get(b"k")
        self.assertEqual((ref.outcome, ref.kind, ref.block, ref.life), (Outcome.READY, Kind.REF, fill.block, fill.life))
        self.assertEqual(ref.meta(), Meta(3, 7, b"mine" + bytes(28)))
        self.assertEqual(bytes(ref.buffer(1)[:3]), b"abc")
        self.assertEqual(self.usage().refs, 2)
        fill.release()
        ref.release()
        self.assertEqual((fill.kind, ref.kind, self.usage().refs), (Kind.NONE, Kind.NONE, 0))

    def test_a_publish_without_words_is_of_the_whole_block(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            fill.publish()
            self.assertEqual(fill.meta(), Meta(4096, 0, bytes(32)))
        with self.store.get_or_fill(b"l") as fill:
            fill.publish(depth=4)
            self.assertEqual(fill.meta(), Meta(4096, 4, bytes(32)))

    def test_a_fill_that_leaves_its_with_unpublished_is_given_up(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            with self.store.get_or_fill(b"k"):
                raise ZeroDivisionError
        self.assertEqual(self.usage().filling, 0)
        with self.assertRaises(kvshm.NotFound):
            self.store.get(b"k")

    def test_who_asks_for_a_key_under_way_has_it_pending(self) -> None:
        other = self.attach()
        with self.store.get_or_fill(b"k") as fill, other.get_or_fill(b"k") as pending:
            self.assertEqual((pending.outcome, pending.kind), (Outcome.PENDING, Kind.REF))
            with self.assertRaises(kvshm.TimedOut):
                pending.wait(0)
            fill.publish()
            pending.wait(0)
            fill.release()
            self.assertEqual(pending.meta().length, 4096)

    def test_a_fill_that_was_given_up_ends_who_waits(self) -> None:
        other = self.attach()
        fill, pending = self.store.get_or_fill(b"k"), other.get_or_fill(b"k")
        fill.give_up()
        self.assertEqual(fill.kind, Kind.NONE)
        with self.assertRaises(kvshm.Canceled):
            pending.wait(0)
        self.assertEqual(pending.kind, Kind.NONE)

    def test_a_pin_keeps_what_a_ref_has_left(self) -> None:
        self.put(b"k")
        ref = self.store.get(b"k")
        pin = ref.pin()
        self.assertEqual((pin.kind, pin.block, pin.outcome), (Kind.PIN, ref.block, None))
        ref.release()
        self.assertEqual((self.usage().refs, self.usage().pins), (0, 1))
        pin.release()
        self.assertEqual((pin.kind, self.usage().pins), (Kind.NONE, 0))

    def test_blocks_without_a_key_are_published_under_one_or_go_back(self) -> None:
        owned = self.store.alloc()
        self.assertEqual(owned.kind, Kind.OWNED)
        owned.buffer()[:1] = b"o"
        self.assertEqual(owned.publish_as(b"k", 5, 6, b"x"), Published.PUBLISHED)
        self.assertEqual((owned.kind, owned.meta()), (Kind.REF, Meta(5, 6, b"x" + bytes(31))))
        second = self.store.alloc()
        mine = second.block
        self.assertEqual(second.publish_as(b"k"), Published.DUPLICATE)
        self.assertEqual((second.block, second.kind), (owned.block, Kind.REF))
        self.assertNotEqual(second.block, mine)
        third, fill = self.store.alloc(), self.store.get_or_fill(b"l")
        self.assertEqual(third.publish_as(b"l"), Published.DUPLICATE_PENDING)
        self.assertEqual(third.block, fill.block)
        fourth = self.store.alloc()
        fourth.give_up()
        for hold in (owned, second, third, fill, fourth):
            hold.close()
        self.assertEqual((self.usage().refs, self.usage().owned), (0, 0))

    def test_each_plane_of_a_shared_fill_has_its_writer(self) -> None:
        other = self.attach()
        fill = self.store.get_or_fill(b"k", shared=True)
        ticket = fill.ticket()
        parts = [self.store.join(ticket, 0), other.join(ticket, 1)]
        self.assertEqual([part.kind for part in parts], [Kind.PART, Kind.PART])
        with self.assertRaises(kvshm.Busy):
            other.join(ticket, 0)
        for plane, part in enumerate(parts):
            part.buffer(plane)[:] = bytes([plane + 1]) * 4096
            with self.assertRaises(TypeError):
                part.buffer(1 - plane)[:1] = b"x"
        fill.publish(opaque=b"all")
        with self.assertRaises(kvshm.TimedOut):
            fill.wait(0)
        parts[0].publish()
        with self.assertRaises(kvshm.Error) as refused:
            parts[1].publish(length=5)
        self.assertEqual(refused.exception.errno, errno.EINVAL)
        parts[1].publish()
        fill.wait(0)
        with self.assertRaises(kvshm.Ended):
            other.join(ticket, 0)
        with other.get(b"k") as ref:
            self.assertEqual([ref.buffer(0)[9], ref.buffer(1)[9], ref.meta().opaque[:3]], [1, 2, b"all"])
        for hold in (fill, *parts):
            hold.release()

    def test_a_part_that_is_given_up_ends_the_fill(self) -> None:
        fill = self.store.get_or_fill(b"k", shared=True)
        self.store.join(fill.ticket(), 1).give_up()
        with self.assertRaises(kvshm.Canceled):
            fill.publish()

    def test_a_ticket_is_a_hit_while_its_giver_holds_the_block(self) -> None:
        other = self.attach()
        self.put(b"k")
        ref = self.store.get(b"k")
        ticket = ref.ticket()
        self.assertEqual(len(ticket), kvshm.TICKET_SIZE)
        self.store.remove(b"k")
        taken = other.hold(ticket)
        self.assertEqual((taken.outcome, taken.block), (Outcome.READY, ref.block))
        ref.release()
        self.assertEqual(taken.buffer()[0], b"k"[0])
        taken.release()
        with self.assertRaises(kvshm.NotFound):
            other.hold(ticket)

    def test_keys_are_removed_touched_and_cleared(self) -> None:
        self.put(b"a", b"b")
        self.store.touch(b"a")
        self.store.remove(b"a")
        for call in (self.store.get, self.store.touch, self.store.remove):
            with self.assertRaises(kvshm.NotFound):
                call(b"a")
        with self.store.get(b"b") as ref:
            self.store.clear()
            with self.assertRaises(kvshm.NotFound):
                self.store.get(b"b")
            self.assertEqual(ref.buffer()[0], b"b"[0])


    def test_what_there_is_no_memory_for_is_just_an_error(self) -> None:
        with mock.patch.object(sys, "unraisablehook") as said:
            with self.assertRaises(MemoryError):
                _holds.HandleArray(self.store, 1 << 58)
            with self.assertRaises(TypeError):
                kvshm.View(5)  # type: ignore[arg-type]
            gc.collect()
        said.assert_not_called()


class Many(scene.StoreTest):
    keys = [bytes([i]) * 32 for i in range(8)]

    def test_a_batch_goes_on_behind_what_failed(self) -> None:
        self.put(*self.keys[:2], *self.keys[5:])
        with self.store.get_or_fill(self.keys[3]) as fill:
            found = self.store.get_batch(self.keys)
            assert found.results is not None
            self.assertEqual(found.results.failed(), {2: -errno.ENOENT, 3: -errno.EAGAIN, 4: -errno.ENOENT})
            self.assertFalse(found.results.ok)
            self.assertEqual(found.results.first_error(), -errno.ENOENT)
            with self.assertRaises(kvshm.NotFound) as missing:
                found.results.check()
            self.assertEqual(missing.exception.strerror, "item 2 of the batch: ENOENT, No such file or directory")
            self.assertEqual(found.kinds, b"\1\1\0\0\0\1\1\1")
            self.assertEqual(len(found.results), 8)
            fill.publish()
        self.assertEqual([hold.buffer()[0] for hold in found if hold.kind], [0, 1, 5, 6, 7])
        tickets = found.tickets()
        self.assertEqual([i for i in range(8) if tickets[16 * i : 16 * i + 16] == bytes(16)], [2, 3, 4])
        self.assertEqual([i for i in range(8) if not found.addresses()[i]], [2, 3, 4])
        self.assertEqual([meta.length for meta in found.metas()], [4096 * bool(kind) for kind in found.kinds])
        with self.store.hold_batch(tickets) as again:
            self.assertEqual(again.kinds, found.kinds)
        found.release()
        self.assertEqual((found.kinds, self.usage().refs), (bytes(8), 0))

    def test_what_failed_alone_has_the_librarys_text(self) -> None:
        self.put(*self.keys[:3])
        text = "there is no such key"
        with self.store.get_batch(self.keys[:4]) as found, self.assertRaises(kvshm.NotFound):
            self.store.remove(b"another error")
        assert found.results is not None
        for results in (found.results, found[2:].results, pickle.loads(pickle.dumps(found.results))):
            assert results is not None
            with self.assertRaisesRegex(kvshm.NotFound, f"item {len(results) - 1} of the batch: {text}"):
                results.check()
        found[:3].results.check()  # type: ignore[union-attr]
        with self.store.get_or_fill(self.keys[5]) as fill, self.attach().get_or_fill_batch(self.keys[4:6]) as waits:
            waits[0].publish()
            with self.assertRaisesRegex(kvshm.TimedOut, "item 1 of the batch: the key is still being filled"):
                waits.wait(0.3).check()
            with self.assertRaisesRegex(kvshm.NotReady, "item 1 of the batch: the block is still being filled"):
                waits.metas()
            fill.publish()
        with self.store.open_request("r") as request, request.get_or_fill_batch([b"x", b"y" * 100]) as fills:
            for results in (fills.results, self.store.touch_batch([b"z"])):
                assert results is not None
                with self.assertRaisesRegex(kvshm.Error, "a key of 100 bytes|there is no such key"):
                    results.check()

    def test_what_fills_has_its_outcome_and_what_failed_has_none(self) -> None:
        self.put(self.keys[0])
        other = self.attach()
        with other.get_or_fill(self.keys[1]), self.store.alloc_batch(62) as blocks:  # of 64: there is no room
            assert blocks.results is not None
            self.assertTrue(blocks.results.ok)
            with self.store.get_or_fill_batch(self.keys[:4]) as mixed:
                assert mixed.results is not None and mixed.outcomes is not None
                self.assertEqual(mixed.outcomes[:2], [Outcome.READY, Outcome.PENDING])
                self.assertEqual(mixed.results.failed(), {2: -errno.ENOSPC, 3: -errno.ENOSPC})
                self.assertEqual([hold.outcome for hold in mixed], [Outcome.READY, Outcome.PENDING, None, None])
                part = mixed[1:3]
                assert part.results is not None and part.outcomes is not None
                self.assertEqual([hold.outcome for hold in part], [Outcome.PENDING, None])
                self.assertEqual((part.results[0], part.results[1]), (0, -errno.ENOSPC))
        self.assertEqual((self.usage().refs, self.usage().owned), (0, 0))

    def test_the_fills_of_a_batch_are_taken_out_and_handled_together(self) -> None:
        self.put(self.keys[1], self.keys[3])
        with self.store.get_or_fill_batch(self.keys[:5]) as mixed:
            self.assertEqual(mixed.where(Outcome.FILL), [0, 2, 4])
            blocks = mixed.blocks
            with mixed.take(Outcome.FILL) as fills:
                self.assertEqual((fills.blocks, fills.outcomes), (blocks[::2], [Outcome.FILL] * 3))
                self.assertEqual((mixed.kinds, fills.kinds), (b"\0\1\0\1\0", b"\3\3\3"))
                assert fills.results is not None
                self.assertEqual((len(fills.results), fills.results.ok), (3, True))
                self.assertEqual((mixed.where(Outcome.FILL), len(mixed.take(Outcome.FILL))), ([], 0))
                self.assertTrue(fills.publish().ok)
            with mixed.take([-2]) as one:
                self.assertEqual((one.blocks, mixed.kinds), (blocks[3:4], b"\0\1\0\0\0"))
            for wrong, error in (([5], IndexError), ([1, -4], ValueError)):
                with self.assertRaises(error):
                    mixed.take(wrong)
        with self.store.match(self.keys) as found:
            self.assertEqual(len(found), 5)
            with self.assertRaises(ValueError):
                found.where(Outcome.FILL)
        self.assertEqual((self.usage().refs, self.usage().filling), (0, 0))

    def test_fills_are_published_with_their_metas(self) -> None:
        fills = self.store.get_or_fill_batch(self.keys)
        metas = [Meta(i, i + 1, bytes([i])) for i in range(8)]
        self.assertTrue(fills.publish(metas).ok)
        self.assertEqual(fills.metas(), [Meta(m.length, m.depth, m.opaque + bytes(31)) for m in metas])
        self.assertEqual(fills.kinds, bytes([Kind.REF]) * 8)
        self.assertEqual(fills.publish().failed(), {i: -errno.EBADF for i in range(8)})
        fills.close()
        with self.store.get_or_fill_batch([b"x", b"y"]) as more:
            self.assertEqual(more.publish([Meta(1), Meta(4097)]).failed(), {1: -errno.EINVAL})
            self.assertEqual([hold.kind for hold in more], [Kind.REF, Kind.WRITER])
            for metas in ([Meta(1)], [Meta(1)] * 3):
                with self.assertRaises(ValueError):
                    more.publish(metas)
            with self.assertRaises(ValueError):
                more.publish([Meta(1), Meta(1, 0, bytes(33))])
            with self.assertRaises(ValueError):
                more.publish([Meta(1), Meta(1, -1)])

    def test_blocks_without_a_key_are_published_as_many_are(self) -> None:
        self.put(b"there")
        with self.store.get_or_fill(b"coming"):
            owned = self.store.alloc_batch(4)
            first = owned.blocks
            results = owned.publish_as([b"new", b"there", b"coming", b"k" * 65], [Meta(i) for i in range(4)])
            self.assertEqual(results.failed(), {3: -errno.EINVAL})
            assert owned.published is not None
            self.assertEqual(owned.published[:3], [Published.PUBLISHED, Published.DUPLICATE, 2])
            self.assertEqual([hold.outcome for hold in owned], [None] * 4)
            self.assertEqual([a == b for a, b in zip(first, owned.blocks)], [True, False, False, True])
            self.assertEqual(owned.kinds, bytes([Kind.REF] * 3 + [Kind.OWNED]))
            with self.assertRaises(ValueError):
                owned.publish_as([b"a"])
            owned.close()
        self.assertEqual((self.usage().refs, self.usage().owned), (0, 0))

    def test_a_match_holds_the_prefix_that_is_ready(self) -> None:
        self.put(*self.keys[:3], *self.keys[4:])
        cases: List[Tuple[List[Optional[bytes]], int, Next]] = [
            ([*self.keys], 3, Next.MISSING),
            ([*self.keys[4:]], 4, Next.NONE),
            ([self.keys[0], None, self.keys[2], self.keys[3]], 3, Next.MISSING),
            ([], 0, Next.NONE),
            ([b"none"], 0, Next.MISSING),
        ]
        for keys, count, why in cases:
            with self.store.match(keys) as found:
                self.assertEqual((len(found), found.next), (count, why))
                self.assertEqual(found.kinds, bytes(key is not None for key in keys[:count]))
        with self.store.get_or_fill(self.keys[3]), self.store.match(self.keys) as found:
            self.assertEqual((len(found), found.next), (3, Next.FILLING))
        self.assertEqual(self.usage().refs, 0)

    def test_a_window_match_holds_the_last_of_the_prefix(self) -> None:
        self.put(*self.keys[2:6])
        with self.store.match_window(self.keys, 2) as found:
            self.assertEqual((len(found), found.next, found.kinds), (6, Next.MISSING, b"\0\0\0\0\1\1"))
            self.assertEqual([hold.buffer()[0] for hold in found[4:]], [4, 5])
        with self.store.match_window(self.keys, 5) as found:
            self.assertEqual(len(found), 0)
        self.assertEqual(self.usage().refs, 0)

    def test_pins_and_addresses_of_many(self) -> None:
        self.put(*self.keys)
        refs = self.store.get_batch(self.keys)
        pins = refs.pin()
        refs.close()
        self.assertEqual((self.usage().refs, self.usage().pins), (0, 8))
        whole = self.store.plane(1).address
        self.assertEqual(list(pins.addresses(1)), [whole + 4096 * block for block in pins.blocks])
        self.assertEqual([hold.address(1) for hold in pins], list(pins.addresses(1)))
        pins.release()
        self.assertEqual(self.usage().pins, 0)

    def test_tickets_of_many_are_holds_elsewhere_and_joins(self) -> None:
        other = self.attach()
        self.put(*self.keys[:3])
        refs = self.store.get_batch(self.keys[:3])
        tickets = refs.tickets()
        refs[1].release()
        self.store.remove(self.keys[1])
        with other.hold_batch(tickets) as taken:
            assert taken.results is not None
            self.assertEqual(taken.results.failed(), {1: -errno.ENOENT})
            self.assertEqual([hold.outcome for hold in taken], [Outcome.READY, None, Outcome.READY])
            self.assertEqual([taken[0].buffer()[0], taken[2].buffer()[0]], [0, 2])
        refs.close()
        fills = self.store.get_or_fill_batch([b"s", b"t"], shared=True)
        for plane in (0, 1):
            with other.join_batch(fills.tickets(), plane) as parts:
                self.assertEqual(parts.kinds, bytes([Kind.PART] * 2))
                self.assertTrue(parts.publish().ok)
        self.assertTrue(fills.publish().ok)
        self.assertTrue(fills.wait(0).ok)
        fills.close()

    def test_batches_of_removes_and_touches(self) -> None:
        self.put(self.keys[0], self.keys[2])
        self.assertEqual(self.store.touch_batch(self.keys[:3]).failed(), {1: -errno.ENOENT})
        self.assertEqual(self.store.remove_batch(self.keys[:3]).failed(), {1: -errno.ENOENT})
        self.assertEqual(self.store.remove_batch([]).failed(), {})
        self.assertEqual(self.usage().ready, 0)

    def test_give_up_of_many(self) -> None:
        fills = self.store.get_or_fill_batch(self.keys)
        fills[2:3].publish()
        self.assertEqual(fills.give_up().failed(), {2: -errno.EBADF})
        self.assertEqual((self.usage().filling, self.usage().ready), (0, 1))
        fills.close()

    def test_slices_and_items_are_the_same_holds(self) -> None:
        self.put(*self.keys)
        whole = self.store.get_batch(self.keys)
        whole[2].release()
        whole[-2:].release()
        part = whole[1:5]
        self.assertEqual((part.kinds, len(part), part.store), (b"\1\0\1\1", 4, self.store))
        part[1:][1:].release()
        self.assertEqual(whole.kinds, b"\1\1\0\0\0\1\0\0")
        self.assertEqual(whole[-3].block, whole.blocks[5])
        self.assertEqual((len(whole[5:2]), len(whole[6:99])), (0, 2))
        for number in (8, -9):
            with self.assertRaises(IndexError):
                whole[number]
        with self.assertRaises(ValueError):
            whole[::2]
        whole.close()

    def test_a_release_of_many_leaves_what_is_to_be_published(self) -> None:
        self.put(self.keys[0])
        mixed = self.store.get_or_fill_batch(self.keys[:2])
        with self.assertRaises(kvshm.Busy):
            mixed.release()
        self.assertEqual(mixed.kinds, bytes([Kind.NONE, Kind.WRITER]))
        mixed.publish()
        mixed.release()
        self.assertEqual(mixed.kinds, bytes(2))

    def test_a_close_lets_go_of_each_in_its_way(self) -> None:
        self.put(*self.keys[:4])
        shared = self.store.get_or_fill(b"s", shared=True)
        array = self.store.get_or_fill_batch([*self.keys[:2], b"f", *self.keys[2:4], b"g"])
        pins, owned, part = array[:2].pin(), self.store.alloc_batch(3), self.store.join(shared.ticket(), 0)
        usage = self.usage()
        self.assertEqual((usage.filling, usage.owned, usage.pins), (3, 3, 2))
        for held in (array, pins, owned, part, shared):
            held.close()
            held.close()
        usage = self.usage()
        self.assertEqual((usage.filling, usage.owned, usage.pins, usage.refs, usage.ready), (0, 0, 0, 0, 4))
        self.assertEqual(array.kinds, bytes(6))


class Dropped(scene.StoreTest):
    """What nobody has any more is let go of, with a warning."""

    def warned(self) -> List[str]:
        """What was warned of since the last time."""
        gc.collect()
        texts = [str(warning.message) for warning in self.caught if warning.category is ResourceWarning]
        self.caught.clear()
        return texts

    def setUp(self) -> None:
        super().setUp()
        catching = warnings.catch_warnings(record=True)
        self.caught = catching.__enter__()
        self.addCleanup(catching.__exit__, None, None, None)
        warnings.simplefilter("always")

    def test_refs_pins_fills_and_blocks_are_let_go_of(self) -> None:
        self.put(b"a", b"b")
        ref = self.store.get(b"a")
        pin = ref.pin()
        many = self.store.get_or_fill_batch([b"b", b"c"])
        owned = self.store.alloc()
        del ref, pin, many, owned
        texts = self.warned()
        self.assertEqual(sorted(texts), ["1 holds were not released"] * 3 + ["2 holds were not released"])
        usage = self.usage()
        self.assertEqual((usage.refs, usage.pins, usage.filling, usage.owned, usage.ready), (0, 0, 0, 0, 2))

    def test_what_was_released_is_not_warned_of(self) -> None:
        self.put(b"a")
        with self.store.get(b"a"):
            pass
        with self.store.get_or_fill_batch([b"a", b"b", b"c"]) as holds:
            holds[1].publish()
        with self.assertRaises(kvshm.NotFound):
            self.store.get(b"none")
        del holds
        self.assertEqual(self.warned(), [])

    def test_what_a_destroyed_store_had_is_not_warned_of(self) -> None:
        """There is nothing to let go of any more: also a close() has come to nothing."""
        self.put(b"a")
        with self.store.get(b"a"), self.store.get_or_fill_batch([b"a", b"b"]):
            self.owner.destroy()
        self.assertEqual(self.warned(), [])

    def test_what_ended_before_is_not_warned_of_and_what_did_not_is(self) -> None:
        self.put(b"a")
        with self.store.open_request("r") as request:
            mixed = request.get_or_fill_batch([b"b", b"c"])
        mixed.close()
        self.assertEqual(mixed.kinds, bytes([Kind.WRITER] * 2))
        del mixed
        self.assertEqual(self.warned(), [])
        mixed = self.store.get_batch([b"a", b"none"])
        ctypes.memmove(mixed[1].address_of_handles, mixed[0].address_of_handles, 24)  # a copy: one hold
        del mixed
        self.assertEqual((self.warned(), self.usage().refs), (["1 holds were not released"], 0))

    def test_an_item_or_a_slice_keeps_all_that_it_came_with(self) -> None:
        self.put(b"a", b"b")
        item = self.store.get_batch([b"a", b"b"])[0]
        self.assertEqual((self.warned(), self.usage().refs), ([], 2))
        part = self.store.get_batch([b"a", b"b"])[1:]
        self.assertEqual((self.warned(), self.usage().refs), ([], 4))
        del item, part
        self.assertEqual((len(self.warned()), self.usage().refs), (2, 0))

    def test_what_a_request_has_lent_is_its_own(self) -> None:
        self.put(b"a")
        with self.store.open_request("r") as request:
            lent = request.match([b"a"])
            self.assertEqual(lent.kinds, bytes([Kind.LENT]))
            lent.close()
            del lent
            self.assertEqual((self.warned(), self.usage().pins), ([], 1))
        self.assertEqual(self.usage().pins, 0)

    def test_a_request_needs_no_name(self) -> None:
        self.put(b"a")
        with self.store.open_request(None) as request, self.store.open_request(None):
            self.assertEqual((len(request.match([b"a"])), request.info().id), (1, b""))
            self.assertEqual(self.store.request(bytes(request)).info().held, 1)
        with self.assertRaises(kvshm.Canceled):
            request.match([b"a"])

    def test_keep_lets_go_of_all_holds_of_a_request_but_some(self) -> None:
        self.put(b"a", b"b", b"c")
        with self.store.open_request(None) as request:
            lent = request.match([b"a", b"b", b"c"])
            request.keep(lent[:2])
            self.assertEqual(request.info().held, 2)
            request.keep(lent[1])
            self.assertEqual((request.info().held, lent[1].block), (1, lent.blocks[1]))
            request.keep(None)
            self.assertEqual(request.info().held, 0)

    def test_settle_says_how_far_the_fills_of_a_request_are(self) -> None:
        with self.store.open_request(None) as request:
            mine = request.get_or_fill(b"a")
            theirs = self.store.get_or_fill(b"b")
            request.get_or_fill(b"b")
            self.assertEqual(request.settle(), (2, False))
            mine.publish()
            theirs.give_up()
            self.assertEqual(request.settle(), (0, True))
            self.assertEqual(request.settle(), (0, False))
        with self.assertRaises(kvshm.Canceled):
            request.settle()

    def test_what_is_dropped_after_its_store_was_closed_is_nothing(self) -> None:
        self.put(b"a")
        hold = self.store.get(b"a")
        self.store.close()
        del hold
        self.assertEqual((self.warned(), self.usage().refs), ([], 0))

    def test_what_is_dropped_in_a_cycle_is_let_go_of(self) -> None:
        self.put(b"a")
        cycle: List[object] = [self.store.get(b"a")]
        cycle.append(cycle)
        del cycle
        self.assertEqual((len(self.warned()), self.usage().refs), (1, 0))


if __name__ == "__main__":
    runner.main()
