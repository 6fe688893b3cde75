/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_room: room is granted whole or not at all, in order of arrival, until a deadline (R11 to R13, R17). Whoever
 * is dead, stopped, cancelled or late gives back what it had, and holds up nobody beyond its deadline.
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#define BLOCKS 8U

static int reserve(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks)
{
	return kvshm_request_reserve(store, request, blocks, 0);
}

static int queue(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks)
{
	return kvshm_request_queue(store, request, blocks, UINT64_MAX);
}

/* An opened request with room, or a place in the line. */
static struct kvshm_request with_room(kvshm_store *store, uint64_t id, uint32_t blocks)
{
	struct kvshm_request request = scene_open(store, id, 0);

	ck_rc(reserve(store, &request, blocks), 0);
	return request;
}

static struct kvshm_request in_line(kvshm_store *store, uint64_t id, uint32_t blocks)
{
	struct kvshm_request request = scene_open(store, id, 0);

	ck_rc(queue(store, &request, blocks), -EINPROGRESS);
	return request;
}

static unsigned room(const kvshm_store *store)
{
	return unit_count(store, KVS_ROOM);
}

START_TEST(R11_room_is_had_whole_and_fills_draw_on_it)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = with_room(store, 1, 3);
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;

	ck_assert_uint_eq(room(store), 3);
	for (uint64_t i = 0; i < BLOCKS - 3; i++)
		(void)unit_fill(other, 100 + i, 0);
	ck_rc(unit_ask(other, 200, &outcome, &handle), -ENOSPC); /* it is not for others */
	for (uint64_t i = 0; i < 3; i++) {
		(void)scene_fill(store, &request, i);
		ck_assert_uint_eq(room(store), 2 - i);
	}
	ck_rc(scene_ask(store, &request, 3, &outcome, &handle), -ENOSPC);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_waited), 0);
}
END_TEST

START_TEST(R11_room_is_taken_of_what_can_be_evicted)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	(void)with_room(store, 1, BLOCKS);
	ck_assert_uint_eq(room(store), BLOCKS);
}
END_TEST

/* Fills its room, and ends. */
static void use_up(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks)
{
	for (uint64_t i = 0; i < blocks; i++)
		(void)scene_fill(store, request, request->slot * UINT64_C(1000) + i);
	ck_rc(kvshm_request_complete(store, request, 0), 0);
	scene_end(store, request);
}

/* How far the hand of eviction has gone: as far each time that something is evicted. */
static uint64_t evictions_of(kvshm_store *store, uint64_t id, uint32_t blocks)
{
	uint64_t before = atomic_load(&store->map.head->evict_hand);

	(void)with_room(store, id, blocks);
	return atomic_load(&store->map.head->evict_hand) - before;
}

START_TEST(room_for_many_blocks_is_evicted_at_once)
{
	kvshm_store *store = unit_store(BLOCKS);
	uint64_t one;

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	one = evictions_of(store, 1, 1);
	ck_assert_uint_gt(one, 0);
	ck_assert_uint_eq(evictions_of(store, 2, BLOCKS - 1), one);
}
END_TEST

START_TEST(R11_requests_that_together_need_more_than_the_store_do_not_block_each_other)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request first = with_room(store, 1, 5);
	struct sleeper second = {.store = other, .request = scene_open(other, 2, 0), .blocks = 5};

	(void)scene_fill(store, &first, 100);
	scene_sleep(&second, scene_reserve);
	scene_asleep(1);
	(void)scene_fill(store, &first, 101); /* goes on: its room is there */
	use_up(store, &first, 3);
	scene_woken(&second, 0);
	use_up(other, &second.request, 5);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_waited), 1);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R11_room_comes_in_order_of_arrival)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request has = with_room(store, 1, 6), large = in_line(other, 2, 5), small = in_line(store, 3, 1),
			     last = in_line(other, 4, 2);

	ck_rc(kvshm_request_wait_room(other, &last, 0), -EINPROGRESS);
	ck_rc(kvshm_request_wait_room(store, &small, 0), -EINPROGRESS); /* there is room for it, but it came later */
	ck_rc(kvshm_request_wait_room(other, &large, 0), -EINPROGRESS);
	ck_assert_uint_eq(room(store), BLOCKS); /* the first has gathered what there is */
	scene_end(store, &has);
	ck_rc(kvshm_request_wait_room(other, &last, 0), -EINPROGRESS);
	ck_rc(kvshm_request_wait_room(store, &small, 0), -EINPROGRESS);
	ck_rc(kvshm_request_wait_room(other, &large, 0), 0);
	ck_rc(kvshm_request_wait_room(other, &last, 0), -EINPROGRESS);
	ck_rc(kvshm_request_wait_room(store, &small, 0), 0);
	ck_rc(kvshm_request_wait_room(other, &last, 0), 0);
	ck_rc(kvshm_request_wait_room(other, &last, 0), 0); /* it has it */
	ck_assert_uint_eq(room(store), 8);
}
END_TEST

START_TEST(R11_all_in_the_line_are_woken_in_turn)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8);
	struct kvshm_request has = with_room(store, 1, BLOCKS);
	struct sleeper waiters[4];

	atomic_store(&scene_endless, true);
	for (unsigned i = 0; i < 4; i++) {
		waiters[i] = (struct sleeper){.store = unit_attach(), .blocks = 6};
		waiters[i].request = in_line(waiters[i].store, 2 + i, 6);
	}
	for (unsigned i = 4; i-- > 0;)
		scene_sleep(&waiters[i], scene_wait_room);
	scene_asleep(4);
	scene_end(store, &has);
	for (unsigned i = 0; i < 4; i++) {
		scene_woken(&waiters[i], 0); /* nobody else has it now */
		scene_end(waiters[i].store, &waiters[i].request);
	}
	scene_nothing_left(store);
}
END_TEST

START_TEST(R11_who_is_granted_wakes_the_next)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request has = with_room(store, 1, BLOCKS);
	struct sleeper waiters[2];

	atomic_store(&scene_endless, true);
	for (unsigned i = 0; i < 2; i++) {
		waiters[i] = (struct sleeper){.store = unit_attach(), .blocks = BLOCKS / 2};
		waiters[i].request = scene_open(waiters[i].store, 2 + i, 0);
		scene_sleep(&waiters[i], scene_reserve);
		scene_asleep(i + 1);
	}
	scene_end(store, &has); /* there is room for both, and nothing else happens */
	for (unsigned i = 0; i < 2; i++)
		scene_woken(&waiters[i], 0);
	ck_assert_uint_eq(room(store), BLOCKS);
}
END_TEST

/* Sleeps as the first of the line does, and looks at nothing: what is idle may still wait for a grace period. */
static void *hear_the_bell(void *arg)
{
	struct sleeper *sleeper = arg;
	struct kvs_room_bells bells = kvs_room_listen(&sleeper->store->map, sleeper->request.slot);
	struct kvs_actor actor = unit_actor_of(sleeper->store);

	(void)kvs_room_sleep(&actor, sleeper->request.slot, &bells, 0);
	return NULL;
}

START_TEST(R11_a_block_that_becomes_idle_wakes_the_first_of_the_line)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_handle held = unit_fill(store, 100, 0), fill = unit_begin(store, 101),
			    owned = unit_own(store, 102);
	struct sleeper waiter = {.store = other, .request = in_line(other, 1, BLOCKS)};

	atomic_store(&scene_endless, true);
	for (unsigned i = 0; i < 3; i++) {
		scene_sleep(&waiter, hear_the_bell);
		scene_asleep(1);
		if (i == 0)
			ck_rc(kvshm_release(store, &held), 0);
		else
			ck_rc(kvshm_give_up(store, i == 1 ? &fill : &owned), 0);
		scene_woken(&waiter, 0);
	}
	ck_rc(kvshm_request_wait_room(other, &waiter.request, 0), 0);
}
END_TEST

static uint32_t bell(const kvshm_store *store)
{
	return atomic_load(&store->map.head->room_bell);
}

START_TEST(room_rings_only_for_who_waits_and_once_for_many_blocks)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request first, next;
	uint32_t rung = bell(store);

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	first = with_room(store, 1, BLOCKS); /* all are evicted for it */
	ck_rc(kvshm_request_unreserve(store, &first), 0);
	ck_rc(reserve(store, &first, BLOCKS), 0);
	ck_assert_uint_eq(bell(store), rung);
	next = in_line(store, 2, BLOCKS);
	rung = bell(store);
	ck_rc(kvshm_request_unreserve(store, &first), 0);
	ck_assert_uint_eq(bell(store), rung + 1);
	ck_rc(kvshm_request_wait_room(store, &next, 0), 0);
}
END_TEST

START_TEST(R11_fills_without_room_are_refused_while_somebody_waits)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle held = unit_fill(store, 100, 0), handle;
	struct kvshm_request waits = in_line(store, 1, BLOCKS), none = scene_open(other, 2, 0);
	enum kvshm_outcome outcome;

	ck_rc(unit_ask(other, 1, &outcome, &handle), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "wait in line"));
	ck_rc(kvshm_alloc(other, &handle), -ENOSPC);
	ck_rc(scene_ask(other, &none, 1, &outcome, &handle), -ENOSPC);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room_line), 3);
	ck_rc(unit_ask(other, 100, &outcome, &handle), 0); /* what is there needs none */
	ck_rc(kvshm_release(other, &handle), 0);
	ck_rc(kvshm_release(store, &held), 0);
	ck_rc(kvshm_request_wait_room(store, &waits, 0), 0);
	(void)scene_fill(store, &waits, 1);
	ck_rc(kvshm_request_unreserve(store, &waits), 0);
	unit_put(other, 2); /* nobody waits any more */
}
END_TEST

START_TEST(a_key_that_was_there_gives_its_room_back_at_once)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle lent[2], fill;
	enum kvshm_next next;

	for (uint64_t i = 0; i < 3; i++)
		(void)unit_fill(other, i, 0);
	fill = unit_begin(other, 3);
	ck_rc(reserve(store, &request, 4), 0);
	ck_assert_uint_eq(scene_match(store, &request, 0, 2, lent, &next), 2);
	ck_assert_uint_eq(room(store), 2);
	ck_assert_uint_eq(scene_match(store, &request, 0, 2, lent, &next), 2);
	ck_assert_uint_eq(room(store), 2); /* once */
	(void)scene_ready(store, &request, 2);
	ck_assert_uint_eq(room(store), 1);
	(void)scene_pending(store, &request, 3);
	ck_assert_uint_eq(room(store), 1); /* its filler may die */
	ck_assert_uint_eq(scene_idle(store), BLOCKS - 5);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_assert_uint_eq(room(store), 0);
}
END_TEST

START_TEST(R07_who_waited_for_a_filler_that_died_has_room_to_fill_itself)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = unit_begin(other, 1);
	enum kvshm_outcome outcome;

	ck_rc(reserve(store, &request, 1), 0);
	(void)scene_pending(store, &request, 1);
	ck_rc(kvshm_give_up(other, &fill), 0);
	for (uint64_t i = 0; i < BLOCKS - 2; i++) /* all others; that one is held */
		(void)unit_fill(other, 100 + i, 0);
	ck_rc(unit_ask(other, 200, &outcome, &fill), -ENOSPC);
	ck_rc(kvshm_request_complete(store, &request, 0), -EAGAIN);
	(void)scene_fill(store, &request, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
}
END_TEST

START_TEST(what_is_left_of_the_room_goes_back_when_the_request_is_complete)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = with_room(store, 1, 5);

	(void)scene_fill(store, &request, 1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_assert_uint_eq(scene_idle(store), BLOCKS - 1);
}
END_TEST

/* ---- R12: it comes back ------------------------------------------------------------------------------------ */

START_TEST(a_request_that_is_complete_waits_for_no_room)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);

	for (uint64_t i = 0; i < BLOCKS; i++)
		(void)unit_fill(store, i, 0);
	ck_rc(queue(store, &request, 1), -EINPROGRESS);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_wait_room(store, &request, 0), -EINVAL);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_cancelled), 1);
}
END_TEST

START_TEST(R12_room_comes_back_on_cancel_and_end)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = with_room(store, 1, 5), waits = in_line(other, 2, 5);

	ck_rc(kvshm_request_wait_room(other, &waits, 0), -EINPROGRESS);
	ck_assert_uint_eq(room(store), BLOCKS);
	ck_rc(kvshm_request_unreserve(other, &waits), 0); /* in the line, with a part */
	ck_assert_uint_eq(room(store), 5);
	ck_rc(kvshm_request_unreserve(other, &waits), 0); /* none: nothing */
	ck_rc(queue(other, &waits, 5), -EINPROGRESS);
	scene_end(other, &waits); /* the same, by the end */
	ck_assert_uint_eq(room(store), 5);
	(void)scene_fill(store, &request, 1);
	ck_rc(kvshm_request_unreserve(store, &request), 0); /* granted, and used in part */
	ck_assert_uint_eq(scene_idle(store), BLOCKS - 1);
	ck_rc(reserve(store, &request, 7), 0);
	scene_end(store, &request);
	ck_assert_uint_eq(room(store), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_cancelled), 2);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R12_room_comes_back_on_detach)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach(), *third = unit_attach();

	(void)with_room(other, 1, 5);
	(void)in_line(third, 2, 5);
	unit_detach(third);
	ck_assert_uint_eq(room(store), 5);
	unit_detach(other);
	scene_nothing_left(store);
}
END_TEST

START_TEST(R12_a_deadline_that_passes_leaves_nothing_held)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request has = with_room(store, 1, 5), waits = scene_open(other, 2, 0);
	uint64_t deadline = unit_in_ms(30);

	atomic_store(&scene_endless, true);
	ck_rc(reserve(other, &waits, 4), -ETIMEDOUT); /* 0: looks once, and sleeps not at all */
	ck_rc(kvshm_request_reserve(other, &waits, 4, kvs_now() - 1), -ETIMEDOUT);
	atomic_store(&scene_endless, false);
	ck_assert_uint_eq(room(store), 5);
	ck_rc(kvshm_request_reserve(other, &waits, 4, deadline), -ETIMEDOUT);
	ck_assert_uint_ge(kvs_now(), deadline);
	ck_assert_uint_eq(room(store), 5);
	ck_rc(kvshm_request_queue(other, &waits, 4, unit_in_ms(1)), -EINPROGRESS);
	ck_rc(kvshm_request_wait_room(other, &waits, UINT64_MAX), -ETIMEDOUT);
	ck_rc(kvshm_request_wait_room(other, &waits, 0), -EINVAL); /* it has no place any more */
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_timed_out), 4);
	ck_rc(reserve(other, &waits, 3), 0);
	scene_end(store, &has);
}
END_TEST

START_TEST(who_did_not_look_at_its_deadline_may_go_into_the_line_again)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request has = with_room(store, 1, BLOCKS), wants = scene_open(store, 2, 0);
	uint64_t first, late;

	ck_rc(queue(store, &wants, 1), -EINPROGRESS);
	ck_rc(queue(store, &wants, 1), -EBUSY);
	ck_rc(kvshm_request_unreserve(store, &wants), 0);
	ck_rc(kvshm_request_queue(store, &wants, 1, 0), -EINPROGRESS);
	first = kvs_room_place(&store->map, wants.slot);
	late = unit_in_ms(11);
	while (kvs_now() < late)
		;
	ck_rc(queue(store, &wants, 1), -EINPROGRESS);
	ck_assert_uint_gt(kvs_room_place(&store->map, wants.slot), first);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_rooms_timed_out), 1);
	scene_end(store, &has);
	ck_rc(kvshm_request_wait_room(store, &wants, 0), 0);
}
END_TEST

/* Of several times the best: the machine may add to each. */
START_TEST(R12_a_deadline_that_is_close_is_kept)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	uint64_t best = UINT64_MAX;

	for (uint64_t i = 0; i < BLOCKS; i++)
		(void)unit_fill(store, i, 0);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t begin = kvs_now(), took;

		ck_rc(kvshm_request_reserve(store, &request, 1, begin + KVS_WAIT_SLICE / 10), -ETIMEDOUT);
		took = kvs_now() - begin;
		ck_assert(took >= KVS_WAIT_SLICE / 10);
		best = took < best ? took : best;
	}
	ck_assert_uint_lt(best, KVS_WAIT_SLICE / 2);
}
END_TEST

START_TEST(R17_waiting_for_room_looks_until_the_time_and_keeps_its_place)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request has = with_room(store, 1, BLOCKS), waits = in_line(other, 2, 1);
	uint64_t until = unit_in_ms(25);

	ck_rc(kvshm_request_wait_room(other, &waits, until), -EINPROGRESS);
	ck_assert_uint_ge(kvs_now(), until);
	ck_rc(kvshm_request_wait_room(other, &waits, 1), -EINPROGRESS);
	scene_end(store, &has);
	ck_rc(kvshm_request_wait_room(other, &waits, 1), 0);
}
END_TEST

static void queue_and_wait_for_death(void *id)
{
	kvshm_store *store = unit_attach();

	(void)in_line(store, *(const uint64_t *)id, BLOCKS);
	unit_wait_for_death();
}

static void reserve_and_wait_for_death(void *id)
{
	kvshm_store *store = unit_attach();

	(void)with_room(store, *(const uint64_t *)id, BLOCKS);
	unit_wait_for_death();
}

START_TEST(R12_a_dead_one_that_has_room_gives_it_to_who_waits)
{
	uint64_t id = 10;
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct child child;

	unit_child(&child, reserve_and_wait_for_death, &id);
	unit_await(&child);
	ck_rc(kvshm_request_reserve(store, &request, 1, unit_in_ms(20)), -ETIMEDOUT);
	unit_kill(&child);
	ck_rc(kvshm_request_reserve(store, &request, BLOCKS, unit_in_ms(30000)), 0);
	ck_assert_uint_eq(room(store), BLOCKS);
}
END_TEST

START_TEST(R12_the_dead_anywhere_in_the_line_hold_up_nobody)
{
	uint64_t ids[2] = {10, 11};
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request first = with_room(store, 1, 6), second, third;
	struct child dead[2];

	unit_child(&dead[0], queue_and_wait_for_death, &ids[0]); /* has gathered two */
	unit_await(&dead[0]);
	second = in_line(other, 2, 3);
	unit_kill(&dead[0]);
	ck_rc(kvshm_request_wait_room(other, &second, unit_in_ms(20)), -EINPROGRESS);
	unit_child(&dead[1], queue_and_wait_for_death, &ids[1]); /* behind it */
	unit_await(&dead[1]);
	third = in_line(other, 3, 5);
	unit_kill(&dead[1]);
	scene_end(store, &first);
	ck_rc(kvshm_request_wait_room(other, &second, unit_in_ms(30000)), 0);
	ck_rc(kvshm_request_wait_room(other, &third, unit_in_ms(30000)), 0);
	ck_assert_uint_eq(room(store), BLOCKS);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(R12_a_dead_one_in_the_line_refuses_no_fill)
{
	uint64_t id = 10;
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle held = unit_fill(store, 1, 0);
	struct child child;

	unit_child(&child, queue_and_wait_for_death, &id);
	unit_await(&child);
	unit_kill(&child);
	unit_put(store, 2); /* finds it dead */
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recoveries), 1);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

/* A program's log that waits for another thread, which is in a call with the same request: all threads of Python wait
 * for each other so. */
static void *match_one(void *arg)
{
	const struct sleeper *other = arg;
	struct kvshm_handle lent;
	enum kvshm_next next;

	ck_assert_uint_eq(scene_match(other->store, &other->request, 1, 1, &lent, &next), 0);
	return NULL;
}

static void wait_for_another(enum kvshm_log_level level, const char *text, void *arg)
{
	struct sleeper *other = arg;

	ck_assert_int_eq(level, KVSHM_LOG_NOTICE);
	ck_assert_ptr_nonnull(strstr(text, "is dead"));
	other->rc++;
	ck_assert_int_eq(pthread_create(&other->thread, NULL, match_one, other), 0);
	ck_assert_int_eq(pthread_join(other->thread, NULL), 0);
}

START_TEST(who_tells_the_log_of_a_death_has_no_lock_that_others_wait_for)
{
	uint64_t id = 10;
	kvshm_store *store = unit_store(BLOCKS);
	struct sleeper other = {.store = store, .request = scene_open(store, 1, 0)};
	struct child child;

	unit_child(&child, reserve_and_wait_for_death, &id);
	unit_await(&child);
	unit_kill(&child);
	kvshm_set_log(wait_for_another, &other);
	(void)scene_begin(store, &other.request, 2); /* finds it dead */
	kvshm_set_log(NULL, NULL);
	ck_assert_int_eq(other.rc, 1);
}
END_TEST

/* ---- The stopped ------------------------------------------------------------------------------------------- */

/* A child that is in the line until a deadline, and looks once more when it is told to. */
struct late {
	uint64_t deadline;
	uint32_t blocks;
};

static void queue_until(void *arg)
{
	const struct late *late = arg;
	kvshm_store *store = unit_attach();
	struct kvshm_request request = scene_open(store, 10, 0);

	ck_rc(kvshm_request_queue(store, &request, late->blocks, late->deadline), -EINPROGRESS);
	unit_tell_parent();
	unit_await_parent();
	ck_rc(kvshm_request_wait_room(store, &request, UINT64_MAX), -ETIMEDOUT);
	ck_rc(kvshm_request_wait_room(store, &request, 0), -EINVAL);
	ck_rc(kvshm_detach(store), 0);
}

static void goes_on_late(const struct child *child)
{
	ck_assert_int_eq(kill(child->pid, SIGCONT), 0);
	unit_tell(child);
	unit_join(child);
}

START_TEST(R12_a_stopped_one_that_is_first_holds_up_nobody_beyond_its_deadline)
{
	struct late late = {.deadline = unit_in_ms(300), .blocks = BLOCKS};
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle held = unit_fill(store, 100, 0);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct child child;

	unit_child(&child, queue_until, &late);
	unit_await(&child);
	unit_stop(&child);
	ck_assert_uint_eq(room(store), BLOCKS - 1); /* that it has gathered */
	ck_rc(kvshm_request_reserve(store, &request, 3, unit_in_ms(60000)), 0);
	ck_assert_uint_ge(kvs_now(), late.deadline);
	ck_assert_uint_eq(room(store), 3);
	goes_on_late(&child);
	ck_assert_uint_eq(room(store), 3);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

START_TEST(R12_a_stopped_one_in_the_middle_holds_up_nobody_beyond_its_deadline)
{
	struct late late = {.deadline = unit_in_ms(300), .blocks = BLOCKS};
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request has = with_room(store, 1, 6), first = in_line(store, 2, 3), last;
	struct child child;

	unit_child(&child, queue_until, &late);
	unit_await(&child);
	last = in_line(other, 3, 3);
	unit_stop(&child);
	scene_end(store, &has);
	ck_rc(kvshm_request_wait_room(store, &first, unit_in_ms(60000)), 0);
	ck_rc(kvshm_request_wait_room(other, &last, unit_in_ms(60000)), 0);
	ck_assert_uint_ge(kvs_now(), late.deadline);
	goes_on_late(&child);
	ck_assert_uint_eq(room(store), 6);
}
END_TEST

START_TEST(R12_who_sees_a_deadline_pass_frees_what_the_stopped_one_had)
{
	struct late late = {.deadline = unit_in_ms(300), .blocks = BLOCKS};
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle held = unit_fill(store, 100, 0);
	const struct kvs_actor actor = unit_actor_of(store);
	struct child child;

	unit_child(&child, queue_until, &late);
	unit_await(&child);
	unit_stop(&child);
	ck_assert_uint_eq(room(store), BLOCKS - 1);
	while (kvs_room_first(&actor) != KVS_NONE)
		(void)sched_yield();
	ck_assert_uint_ge(kvs_now(), late.deadline);
	ck_assert_uint_eq(room(store), 0);
	goes_on_late(&child);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

START_TEST(R12_a_stopped_one_refuses_no_fill_beyond_its_deadline)
{
	struct late late = {.deadline = unit_in_ms(300), .blocks = BLOCKS};
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle held = unit_fill(store, 100, 0), handle;
	enum kvshm_outcome outcome;
	struct child child;
	int rc;

	unit_child(&child, queue_until, &late);
	unit_await(&child);
	unit_stop(&child);
	do
		rc = unit_ask(store, 1, &outcome, &handle);
	while (rc == -ENOSPC && kvs_now() < late.deadline + UINT64_C(30000000000));
	ck_rc(rc, 0);
	ck_assert_uint_ge(kvs_now(), late.deadline);
	ck_rc(kvshm_give_up(store, &handle), 0);
	goes_on_late(&child);
	ck_rc(kvshm_release(store, &held), 0);
}
END_TEST

/* ---- R13: sizes -------------------------------------------------------------------------------------------- */

START_TEST(R13_more_than_the_store_fails_at_once_and_says_so)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);

	ck_rc(kvshm_request_reserve(store, &request, BLOCKS + 1, UINT64_MAX), -E2BIG);
	ck_assert(strstr(kvshm_error(), "9 blocks") && strstr(kvshm_error(), "has 8"));
	ck_rc(kvshm_request_queue(store, &request, UINT32_MAX, UINT64_MAX), -E2BIG);
	ck_assert_uint_eq(kvs_room_place(&store->map, request.slot), 0);
	ck_assert_uint_eq(room(store), 0);
	ck_rc(reserve(store, &request, BLOCKS), 0);
}
END_TEST

START_TEST(R13_as_much_as_the_store_waits_and_has_its_turn_among_small_ones)
{
	kvshm_store *store = scene_store(BLOCKS, KVSHM_DROP, 8), *other = unit_attach();
	struct kvshm_request small[2] = {with_room(other, 1, 2), with_room(other, 2, 2)},
			     large = in_line(store, 3, BLOCKS);

	/* As small ones go, others come, all the time: behind it. */
	for (unsigned i = 0; i < 2; i++) {
		ck_rc(kvshm_request_wait_room(store, &large, 0), -EINPROGRESS);
		scene_end(other, &small[i]);
		small[i] = in_line(other, 10 + i, 2);
	}
	ck_rc(kvshm_request_wait_room(store, &large, 0), 0);
	ck_assert_uint_eq(room(store), BLOCKS);
	for (unsigned i = 0; i < 2; i++)
		ck_rc(kvshm_request_wait_room(other, &small[i], 0), -EINPROGRESS);
	scene_end(store, &large);
	for (unsigned i = 0; i < 2; i++)
		ck_rc(kvshm_request_wait_room(other, &small[i], 0), 0);
}
END_TEST

START_TEST(no_room_is_had_at_once_and_room_twice_is_refused)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);

	ck_rc(reserve(store, &request, 0), 0);
	ck_assert_uint_eq(kvs_room_place(&store->map, request.slot), 0);
	ck_rc(kvshm_request_wait_room(store, &request, 0), -EINVAL);
	ck_rc(reserve(store, &request, 2), 0);
	ck_rc(reserve(store, &request, 2), -EBUSY);
	ck_rc(queue(store, &request, 1), -EBUSY);
	ck_assert_uint_eq(room(store), 2);
	(void)scene_fill(store, &request, 1);
	(void)scene_fill(store, &request, 2);
	ck_rc(reserve(store, &request, 3), 0); /* that one was used up */
	ck_assert_uint_eq(room(store), 3);
}
END_TEST

/* ---- Cancelled from elsewhere ------------------------------------------------------------------------------ */

static void cancelled(void (*cancel)(struct sleeper *waiter, kvshm_store *other))
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach(), *third = unit_attach();
	struct kvshm_request has = with_room(other, 1, 5);
	struct sleeper waiter = {.store = store, .request = scene_open(store, 2, 0), .blocks = 5},
		       next = {.store = third, .request = scene_open(third, 3, 0), .blocks = 2};

	atomic_store(&scene_endless, true);
	scene_sleep(&waiter, scene_reserve);
	scene_asleep(1);
	scene_sleep(&next, scene_reserve);
	scene_asleep(2);
	cancel(&waiter, other);
	scene_woken(&waiter, -ECANCELED);
	scene_woken(&next, 0); /* who stood behind it */
	ck_assert_uint_eq(room(store), 7);
	ck_assert_uint_eq(kvs_room_place(&store->map, waiter.request.slot), 0);
	scene_end(other, &has);
}

static void by_unreserve(struct sleeper *waiter, kvshm_store *other)
{
	(void)other;
	ck_rc(kvshm_request_unreserve(waiter->store, &waiter->request), 0);
}

static void by_end(struct sleeper *waiter, kvshm_store *other)
{
	(void)other;
	scene_end(waiter->store, &waiter->request);
}

static void by_completion(struct sleeper *waiter, kvshm_store *other)
{
	(void)other;
	ck_rc(kvshm_request_complete(waiter->store, &waiter->request, 0), 0);
}

static void by_another_client(struct sleeper *waiter, kvshm_store *other)
{
	ck_rc(kvshm_request_end(other, &waiter->request), 0);
}

static void end_id_2(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request = scene_find(store, 2);

	(void)arg;
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_rc(kvshm_detach(store), 0);
}

static void by_another_process(struct sleeper *waiter, kvshm_store *other)
{
	struct child child;

	(void)waiter;
	(void)other;
	unit_child(&child, end_id_2, NULL);
	unit_join(&child);
}

START_TEST(R12_who_waits_is_cancelled_by_another_thread)
{
	cancelled(by_unreserve);
}
END_TEST

START_TEST(R12_one_in_the_middle_of_the_line_is_cancelled_by_another_thread)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request has = with_room(other, 1, 1), first = in_line(other, 2, BLOCKS);
	struct sleeper waiter = {.store = store, .request = scene_open(store, 3, 0), .blocks = 1};

	atomic_store(&scene_endless, true);
	scene_sleep(&waiter, scene_reserve);
	scene_asleep(1);
	ck_rc(kvshm_request_unreserve(store, &waiter.request), 0);
	scene_woken(&waiter, -ECANCELED);
	scene_end(other, &has);
	ck_rc(kvshm_request_wait_room(other, &first, 0), 0);
}
END_TEST

START_TEST(R12_who_waits_is_ended_by_another_thread)
{
	cancelled(by_end);
}
END_TEST

START_TEST(R12_who_waits_is_cancelled_when_the_request_is_complete)
{
	cancelled(by_completion);
}
END_TEST

START_TEST(R12_who_waits_is_ended_by_another_client)
{
	cancelled(by_another_client);
}
END_TEST

START_TEST(R12_who_waits_is_ended_by_another_process)
{
	cancelled(by_another_process);
}
END_TEST

START_TEST(a_wait_for_room_ends_with_the_store)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle held = unit_fill(store, 1, 0);
	struct sleeper waiter = {.store = store, .request = scene_open(store, 1, 0), .blocks = BLOCKS};

	scene_sleep(&waiter, scene_reserve); /* in slices: the end of a store wakes nobody */
	scene_asleep(1);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	scene_woken(&waiter, -ESTALE);
	ck_rc(kvshm_release(store, &held), -ESTALE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R11_room_is_had_whole_and_fills_draw_on_it,
		R11_room_is_taken_of_what_can_be_evicted,
		room_for_many_blocks_is_evicted_at_once,
		R11_requests_that_together_need_more_than_the_store_do_not_block_each_other,
		R11_room_comes_in_order_of_arrival,
		R11_all_in_the_line_are_woken_in_turn,
		R11_who_is_granted_wakes_the_next,
		R11_a_block_that_becomes_idle_wakes_the_first_of_the_line,
		room_rings_only_for_who_waits_and_once_for_many_blocks,
		R11_fills_without_room_are_refused_while_somebody_waits,
		a_key_that_was_there_gives_its_room_back_at_once,
		R07_who_waited_for_a_filler_that_died_has_room_to_fill_itself,
		what_is_left_of_the_room_goes_back_when_the_request_is_complete,
		a_request_that_is_complete_waits_for_no_room,
		R12_room_comes_back_on_cancel_and_end,
		R12_room_comes_back_on_detach,
		R12_a_deadline_that_passes_leaves_nothing_held,
		R12_a_deadline_that_is_close_is_kept,
		who_did_not_look_at_its_deadline_may_go_into_the_line_again,
		R17_waiting_for_room_looks_until_the_time_and_keeps_its_place,
		R12_a_dead_one_that_has_room_gives_it_to_who_waits,
		R12_the_dead_anywhere_in_the_line_hold_up_nobody,
		R12_a_dead_one_in_the_line_refuses_no_fill,
		who_tells_the_log_of_a_death_has_no_lock_that_others_wait_for,
		R12_a_stopped_one_that_is_first_holds_up_nobody_beyond_its_deadline,
		R12_a_stopped_one_in_the_middle_holds_up_nobody_beyond_its_deadline,
		R12_who_sees_a_deadline_pass_frees_what_the_stopped_one_had,
		R12_a_stopped_one_refuses_no_fill_beyond_its_deadline,
		R13_more_than_the_store_fails_at_once_and_says_so,
		R13_as_much_as_the_store_waits_and_has_its_turn_among_small_ones,
		no_room_is_had_at_once_and_room_twice_is_refused,
		R12_who_waits_is_cancelled_by_another_thread,
		R12_one_in_the_middle_of_the_line_is_cancelled_by_another_thread,
		R12_who_waits_is_ended_by_another_thread,
		R12_who_waits_is_cancelled_when_the_request_is_complete,
		R12_who_waits_is_ended_by_another_client,
		R12_who_waits_is_ended_by_another_process,
		a_wait_for_room_ends_with_the_store,
	};

	return unit_run("request_room", tests, sizeof(tests) / sizeof(tests[0]));
}
