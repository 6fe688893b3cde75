/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * clear: after a change of weights no old block is ever a hit: one step, for all processes at once (R28); what is held
 * stays readable, and what is not is room.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "clear.h"
#include "hold.h"
#include "index.h"

#define BLOCKS 8U

/* The one step of clearing, by a process that does no more than that. */
static void one_step(const kvshm_store *store)
{
	atomic_fetch_add(&store->map.head->floor, KVS_CLEARS_ONE);
}

/* No call of a client finds the key, and one that asks for it fills it anew. */
static void is_missing(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle;
	uint8_t bytes[UNIT_KEY];
	struct kvshm_key key = {bytes, sizeof(bytes)};
	enum kvshm_next next;
	size_t ready;

	unit_key(number, bytes);
	ck_rc(unit_get(store, number, &handle), -ENOENT);
	ck_rc(kvshm_touch(store, bytes, sizeof(bytes)), -ENOENT);
	ck_rc(unit_remove(store, number), -ENOENT);
	ck_rc(kvshm_match(store, &key, 1, &handle, &ready, &next), 0);
	ck_assert(ready == 0 && next == KVSHM_NEXT_MISSING);
	ck_rc(kvshm_match_window(store, &key, 1, 1, &handle, &ready, &next), 0);
	ck_assert(ready == 0 && next == KVSHM_NEXT_MISSING);
	handle = unit_begin(store, number);
	ck_rc(kvshm_give_up(store, &handle), 0);
}

static void look_from_another_process(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	for (uint64_t i = 0; i < 4; i++)
		ck_assert(unit_has(store, i));
	unit_tell_parent();
	unit_await_parent();
	for (uint64_t i = 0; i < 4; i++)
		is_missing(store, i);
	ck_rc(kvshm_detach(store), 0);
}

/* In both kinds of stores: keys are held by this client, so that a drop store has them at all. */
static void all_processes_at_once(enum kvshm_retain retain)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle refs[4];
	struct child child;
	kvshm_store *store, *other;

	options.retain = retain;
	store = unit_make(&options);
	other = unit_attach();
	for (uint64_t i = 0; i < 4; i++)
		refs[i] = unit_fill(store, i, 0);
	unit_child(&child, look_from_another_process, NULL);
	unit_await(&child);
	ck_rc(kvshm_clear(other), 0);
	unit_tell(&child);
	unit_join(&child);
	for (uint64_t i = 0; i < 4; i++) {
		is_missing(store, i);
		is_missing(other, i);
		unit_verify(store, &refs[i], i); /* C2: the bytes live */
		ck_rc(kvshm_release(store, &refs[i]), 0);
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_clears), 1);
	ck_assert_uint_eq(unit_count(store, KVS_READY) + unit_count(store, KVS_DOOMED), 0);
	unit_put(store, 1);
	ck_assert_int_eq(unit_has(other, 1), retain == KVSHM_KEEP);
}

START_TEST(R28_after_clear_no_process_finds_an_old_key)
{
	all_processes_at_once(KVSHM_KEEP);
}
END_TEST

START_TEST(R28_in_a_drop_store_too)
{
	all_processes_at_once(KVSHM_DROP);
}
END_TEST

START_TEST(R28_what_nobody_holds_is_room_at_once)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	ck_rc(kvshm_clear(store), 0);
	ck_assert_uint_eq(unit_count(store, KVS_LIMBO), BLOCKS);
	for (uint64_t i = 0; i < BLOCKS; i++)
		(void)unit_fill(store, 100 + i, 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 0);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_age), 0);
}
END_TEST

START_TEST(R28_clear_of_an_empty_store_and_again)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (int i = 0; i < 3; i++)
		ck_rc(kvshm_clear(store), 0);
	unit_put(store, 1);
	ck_assert(unit_has(store, 1));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_clears), 3);
	ck_assert_uint_eq(kvs_floor(&store->map), 3 * KVS_CLEARS_ONE);
}
END_TEST

/* ---- Fills under way ---- */

START_TEST(R28_a_fill_that_was_under_way_is_canceled_and_never_a_hit)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill;

	ck_rc(kvshm_clear(other), 0);
	unit_write(store, &fill, 1); /* it is still the filler's */
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	ck_assert_uint_eq(fill.kind, KVSHM_NONE);
	ck_rc(kvshm_publish(store, &copy, NULL), -EBADF);
	is_missing(other, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 0);
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED), 0);
}
END_TEST

START_TEST(R28_an_old_fill_ends_beside_the_new_one_of_its_key)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle old = unit_begin(store, 1), new, ref;

	ck_rc(kvshm_clear(other), 0);
	new = unit_begin(other, 1); /* filled anew while the old filler goes on */
	ck_assert_uint_ne(new.block, old.block);
	unit_write(store, &old, 99);
	ck_rc(kvshm_publish(store, &old, NULL), -ECANCELED);
	unit_write(other, &new, 1);
	ck_rc(kvshm_publish(other, &new, NULL), 0);
	ck_rc(unit_get(store, 1, &ref), 0);
	ck_assert_uint_eq(ref.block, new.block);
	unit_verify(store, &ref, 1);
}
END_TEST

START_TEST(R28_a_key_is_filled_anew_while_its_old_block_is_held)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle old = unit_fill(store, 1, 0), pin, new, ref;
	struct kvshm_meta meta;

	ck_rc(kvshm_pin(store, &old, &pin), 0);
	ck_rc(kvshm_clear(other), 0);
	new = unit_begin(other, 1);
	unit_write(other, &new, 1001);
	ck_rc(kvshm_publish(other, &new, &(struct kvshm_meta){.length = 5}), 0);
	unit_verify(store, &old, 1);
	ck_rc(kvshm_get_meta(store, &old, &meta), 0);
	ck_assert_uint_eq(meta.length, 4096);
	ck_rc(unit_get(store, 1, &ref), 0);
	unit_verify(store, &ref, 1001);
	ck_rc(kvshm_release(store, &old), 0);
	unit_verify(store, &pin, 1);
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED), 0);
	unit_verify(store, &ref, 1001);
}
END_TEST

static void wait_for_the_old(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle ref = unit_pending(store, 1);

	(void)arg;
	unit_tell_parent();
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), -ECANCELED);
	ck_assert_uint_eq(ref.kind, KVSHM_NONE);
	ck_rc(kvshm_detach(store), 0);
}

static void waiters_are_told(bool whole_call)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1);
	struct child waiters[3];

	for (unsigned i = 0; i < 3; i++) {
		unit_child(&waiters[i], wait_for_the_old, NULL);
		unit_await(&waiters[i]);
	}
	if (whole_call)
		ck_rc(kvshm_clear(other), 0);
	else
		one_step(other);
	for (unsigned i = 0; i < 3; i++)
		unit_join(&waiters[i]); /* the filler is alive, and says nothing */
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	is_missing(other, 1);
}

START_TEST(R28_who_waits_for_an_old_fill_is_told_to_ask_again)
{
	waiters_are_told(true);
}
END_TEST

START_TEST(R28_who_waits_is_told_though_the_clearing_process_died_after_its_step)
{
	waiters_are_told(false);
}
END_TEST

START_TEST(R28_a_wait_for_an_old_block_that_was_ready_already_is_canceled_too)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(other, 1);

	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	one_step(store); /* before the waiter has looked */
	ck_rc(kvshm_wait(other, &ref, UINT64_MAX), -ECANCELED);
	ck_assert_uint_eq(ref.kind, KVSHM_NONE);
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
}
END_TEST

START_TEST(R28_the_parts_of_an_old_fill_are_canceled)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle fill, parts[2], ref;
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;
	kvshm_store *store, *other;

	options.planes = 2;
	store = unit_make(&options);
	other = unit_attach();
	fill = unit_begin_shared(store, 1);
	ticket = unit_ticket(store, &fill);
	parts[0] = unit_part(other, &ticket, 0);
	unit_end_part(other, &parts[0], 1);
	one_step(store);
	ck_rc(kvshm_hold(other, &ticket, &outcome, &ref), 0); /* the block is someone's: its bytes are the question */
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	parts[1] = unit_part(other, &ticket, 1);
	ck_rc(kvshm_wait(other, &ref, UINT64_MAX), -ECANCELED);
	unit_write_plane(other, &parts[1], 1, 1);
	ck_rc(kvshm_publish(other, &parts[1], NULL), -ECANCELED);
	ck_rc(kvshm_wait(other, &parts[0], UINT64_MAX), -ECANCELED);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	is_missing(store, 1);
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED) + unit_count(store, KVS_FILLING), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 2); /* that one, and the one of is_missing() */
}
END_TEST

START_TEST(R28_clear_cancels_a_shared_fill_for_all_its_writers)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle fill, parts[2], ref;
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;
	kvshm_store *store, *other;

	options.planes = 2;
	store = unit_make(&options);
	other = unit_attach();
	fill = unit_begin_shared(store, 1);
	ticket = unit_ticket(store, &fill);
	for (unsigned i = 0; i < 2; i++)
		parts[i] = unit_part(other, &ticket, i);
	unit_end_part(other, &parts[0], 1);
	ck_rc(kvshm_clear(store), 0);
	ck_rc(kvshm_hold(other, &ticket, &outcome, &ref), -ECANCELED);
	ck_rc(kvshm_publish(other, &parts[1], NULL), -ECANCELED);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 1);
	ck_rc(kvshm_release(other, &parts[0]), 0);
	is_missing(store, 1);
}
END_TEST

/* ---- The clearing process dies after its one step ---- */

static kvshm_store *cleared_by_a_dead_process(uint32_t old)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (uint64_t i = 0; i < old; i++)
		unit_put(store, i);
	one_step(store);
	return store;
}

START_TEST(R28_after_the_one_step_nothing_old_is_a_hit)
{
	kvshm_store *store = cleared_by_a_dead_process(4);

	for (uint64_t i = 0; i < 4; i++)
		is_missing(store, i);
	for (uint64_t i = 0; i < 4; i++)
		unit_put(store, i); /* while the old block of the key is in the same chain */
	for (uint64_t i = 0; i < 4; i++)
		ck_assert(unit_has(store, i));
	unit_sound(); /* the old ones are no second ones of their key */
}
END_TEST

START_TEST(R28_after_the_one_step_publish_of_an_old_fill_is_canceled)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle old = unit_begin(store, 1), new;

	one_step(store);
	new = unit_begin(other, 1); /* though the old fill is in the chain */
	unit_write(store, &old, 99);
	ck_rc(kvshm_publish(store, &old, NULL), -ECANCELED);
	unit_write(other, &new, 1);
	ck_rc(kvshm_publish(other, &new, NULL), 0);
	unit_verify(other, &new, 1);
	ck_assert(unit_has(store, 1));
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED) + unit_count(store, KVS_FILLING), 0);
}
END_TEST

START_TEST(R28_what_was_cleared_makes_room_before_anything_else)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle old[4];

	for (uint64_t i = 0; i < 4; i++)
		old[i] = unit_fill(store, i, 0);
	one_step(store);
	for (uint64_t i = 0; i < 4; i++)
		unit_put(store, 100 + i); /* the room that was left */
	for (unsigned i = 0; i < 4; i++)
		ck_rc(kvshm_release(store, &old[i]), 0); /* later than the new ones: they are the youngest */
	for (uint64_t i = 0; i < 4; i++) {
		unit_put(store, 200 + i);
		for (uint64_t new = 0; new < 4; new++)
			ck_assert_msg(unit_has(store, 100 + new), "key %llu went before a cleared one",
				      (unsigned long long)(100 + new));
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 4);
	ck_assert_uint_eq(unit_times(store, KVS_TIME_age), 0); /* no block's age when it was evicted */
}
END_TEST

START_TEST(R21_a_cleared_block_that_is_held_makes_no_room)
{
	kvshm_store *store = unit_store(2);
	struct kvshm_handle old = unit_fill(store, 1, 0), owned;
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;

	one_step(store);
	owned = unit_own(store, 2);
	ck_rc(unit_ask(store, 3, &outcome, &handle), -ENOSPC);
	unit_verify(store, &old, 1);
	ck_rc(kvshm_release(store, &old), 0);
	unit_put(store, 3);
	ck_rc(kvshm_give_up(store, &owned), 0);
}
END_TEST

static void attach_and_die(void *arg)
{
	(void)arg;
	(void)unit_attach();
	unit_wait_for_death();
}

START_TEST(R28_recovery_gives_back_what_was_cleared)
{
	kvshm_store *store = cleared_by_a_dead_process(6);
	struct kvshm_handle held;
	struct child child;

	held = unit_fill(store, 100, 0);
	unit_put(store, 101);
	unit_child(&child, attach_and_die, NULL);
	unit_await(&child);
	unit_kill(&child);
	ck_assert_uint_eq(unit_count(store, KVS_READY), 8);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_uint_eq(unit_count(store, KVS_READY), 2);
	ck_assert_uint_eq(unit_count(store, KVS_LIMBO), 6);
	unit_verify(store, &held, 100);
	ck_assert(unit_has(store, 101));
}
END_TEST

START_TEST(R28_the_next_clear_gives_back_what_the_last_one_left)
{
	kvshm_store *store = cleared_by_a_dead_process(6);

	unit_put(store, 100);
	ck_rc(kvshm_clear(store), 0);
	ck_assert_uint_eq(unit_count(store, KVS_READY), 0);
	ck_assert_uint_eq(unit_count(store, KVS_LIMBO), 7);
}
END_TEST

START_TEST(C2_a_cleared_block_that_is_held_is_out_of_its_chain)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle ref = unit_fill(store, 1, 0);

	ck_rc(kvshm_clear(store), 0);
	ck_assert_int_eq(unit_state(store, ref.block), KVS_DOOMED);
	ck_assert(atomic_load(&kvs_block(&store->map, ref.block)->next) & KVS_LINK_MARK);
	ck_assert_uint_eq(unit_refs(store, &ref), 1); /* the clearing client's own hold has ended */
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_int_eq(unit_state(store, ref.block), KVS_LIMBO);
}
END_TEST

START_TEST(D4_clear_takes_over_the_removal_that_another_left_unfinished)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle ref = unit_fill(store, 1, 0), copy = ref;
	_Atomic uint64_t *word = &kvs_block(&store->map, ref.block)->word;

	ck_rc(kvshm_release(store, &ref), 0);
	atomic_store(word, kvs_word_next(atomic_load(word), KVS_REM_READY, 5));
	ck_rc(kvshm_clear(store), 0);
	ck_assert_int_eq(unit_state(store, copy.block), KVS_LIMBO);
}
END_TEST

/* ---- The count ---- */

START_TEST(R28_the_clear_count_never_turns)
{
	kvshm_store *store = unit_store(BLOCKS);
	_Atomic uint64_t *floor = &store->map.head->floor;

	atomic_store(floor, (UINT64_C(16777215) - 1) << KVS_CLEARS_SHIFT);
	unit_put(store, 1);
	ck_assert(unit_has(store, 1));
	ck_rc(kvshm_clear(store), 0); /* the last one */
	ck_assert(!unit_has(store, 1));
	unit_put(store, 2);
	ck_rc(kvshm_clear(store), -EOVERFLOW);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "kvshmd"));
	ck_assert(unit_has(store, 2)); /* nothing was done */
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_clears), 1);
	ck_assert_uint_eq(atomic_load(floor) >> KVS_CLEARS_SHIFT, 16777215);
}
END_TEST

START_TEST(R28_lives_go_on_counting_behind_the_clear_count)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle first = unit_fill(store, 1, 0), second = first;

	ck_rc(kvshm_release(store, &first), 0);
	ck_rc(kvshm_clear(store), 0);
	first = unit_fill(store, 1, 0);
	ck_assert_uint_eq(first.life, (second.life + 1) | KVS_CLEARS_ONE);
	ck_rc(kvshm_release(store, &second), -EBADF); /* B2 */
}
END_TEST

/* What it finds of the key in between is the parent's doing: whole, missing, or being filled. */
static void clear_often(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)pthread_barrier_wait(arg);
	for (int i = 0; i < 200; i++) {
		struct kvshm_handle ref;
		int rc;

		ck_rc(kvshm_clear(store), 0);
		rc = unit_get(store, 1, &ref);
		ck_assert_msg(rc == 0 || rc == -ENOENT || rc == -EAGAIN, "%d: %s", rc, kvshm_error());
		if (rc == 0)
			ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(R28_two_that_clear_at_once_both_do)
{
	kvshm_store *store = unit_store(BLOCKS);
	pthread_barrier_t *barrier = unit_shared_barrier(3);
	struct child children[2];

	for (unsigned i = 0; i < 2; i++)
		unit_child(&children[i], clear_often, barrier);
	(void)pthread_barrier_wait(barrier);
	for (uint64_t i = 0; i < 500; i++) {
		struct kvshm_handle handle;
		enum kvshm_outcome outcome;
		int rc = unit_ask(store, i % 16, &outcome, &handle);

		if (rc) { /* what is cleared at every moment may all wait for a grace period */
			ck_rc(rc, -ENOSPC);
			continue;
		}
		if (outcome == KVSHM_FILL)
			rc = kvshm_publish(store, &handle, NULL);
		ck_assert_msg(rc == 0 || rc == -ECANCELED, "%d: %s", rc, kvshm_error());
		if (rc == 0)
			ck_rc(kvshm_release(store, &handle), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		unit_join(&children[i]);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_clears), 400);
	ck_assert_uint_eq(kvs_floor(&store->map), 400 * KVS_CLEARS_ONE);
	unit_sound();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R28_after_clear_no_process_finds_an_old_key,
		R28_in_a_drop_store_too,
		R28_what_nobody_holds_is_room_at_once,
		R28_clear_of_an_empty_store_and_again,
		R28_a_fill_that_was_under_way_is_canceled_and_never_a_hit,
		R28_an_old_fill_ends_beside_the_new_one_of_its_key,
		R28_a_key_is_filled_anew_while_its_old_block_is_held,
		R28_who_waits_for_an_old_fill_is_told_to_ask_again,
		R28_who_waits_is_told_though_the_clearing_process_died_after_its_step,
		R28_a_wait_for_an_old_block_that_was_ready_already_is_canceled_too,
		R28_the_parts_of_an_old_fill_are_canceled,
		R28_clear_cancels_a_shared_fill_for_all_its_writers,
		R28_after_the_one_step_nothing_old_is_a_hit,
		R28_after_the_one_step_publish_of_an_old_fill_is_canceled,
		R28_what_was_cleared_makes_room_before_anything_else,
		R21_a_cleared_block_that_is_held_makes_no_room,
		R28_recovery_gives_back_what_was_cleared,
		R28_the_next_clear_gives_back_what_the_last_one_left,
		C2_a_cleared_block_that_is_held_is_out_of_its_chain,
		D4_clear_takes_over_the_removal_that_another_left_unfinished,
		R28_the_clear_count_never_turns,
		R28_lives_go_on_counting_behind_the_clear_count,
		R28_two_that_clear_at_once_both_do,
	};

	return unit_run("clear", tests, sizeof(tests) / sizeof(tests[0]));
}
