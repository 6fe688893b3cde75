/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_waits: a transfer is opened when there is room for all of it, in order, and not before (R11, R13); and what
 * another fills is waited for, and granted if that comes to nothing (R07). Whatever it waits for, its end gives
 * everything back (R12).
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 8U

static const uint64_t one = 1, two = 2, three = 3;

/* Blocks that nobody can have meanwhile: a request of the engine's has room for them. */
static struct kvshm_request take_room(kvshm_store *engine, uint32_t blocks)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_open(engine, NULL, 0, 0, blocks, &request), 0);
	ck_rc(kvshm_request_reserve(engine, &request, blocks, 0), 0);
	return request;
}

START_TEST(R07_what_another_fills_is_there_once_that_one_is_done)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_handle fill = unit_begin(engine, 100);
	struct far *far = far_connect();

	far_open(far, 1, &one, 1);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_PENDING);
	far_silent(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	unit_write(engine, &fill, 100);
	ck_rc(kvshm_publish(engine, &fill, NULL), 0);
	(void)far_grant(far, 1, 0, KVR_HERE);
	far_ended(far, KVR_DONE, 1, 0);
	ck_rc(kvshm_release(engine, &fill), 0);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(R07_a_fill_of_anothers_that_fails_is_granted_to_who_waits)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_handle fill = unit_begin(engine, 100);
	struct far *far = far_connect();

	far_open(far, 1, &one, 1);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_PENDING);
	ck_rc(kvshm_give_up(engine, &fill), 0);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	far_finish(far, 1, 1, 100);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

static void fill_and_die(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	(void)unit_begin(store, 100);
	unit_wait_for_death();
}

START_TEST(R07_D3_a_filler_that_dies_is_seen_and_its_key_granted)
{
	kvshm_store *store = far_store(BLOCKS);
	struct child child;
	struct far *far;

	unit_child(&child, fill_and_die, NULL);
	unit_await(&child);
	far = far_connect();
	far_open(far, 1, &one, 1);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_PENDING);
	unit_kill(&child);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	far_finish(far, 1, 1, 100);
	far_claim(store, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(R07_two_senders_of_one_key_get_one_fill)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect(), *other = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_open(other, 1, &two, 1);
	far_opened(other, 1, 0);
	far_offer(other, 1, 0, 100, 1);
	(void)far_grant(other, 1, 0, KVR_PENDING);
	/* The one that writes it goes: the other may. */
	far_cut(far);
	(void)far_grant(other, 1, 0, KVR_WRITE_IT);
	far_finish(other, 1, 1, 100);
	far_claim(store, 2, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(R13_larger_than_the_store_fails_at_once_and_says_so)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	far_open(far, 1, &one, BLOCKS + 1);
	far_opened(far, 1, -E2BIG);
	far_open(far, 2, &two, UINT32_MAX);
	far_opened(far, 2, -E2BIG);
	ck_assert_int_ne(far_state(store, 1), KVSHM_REQUEST_OPEN);
	far_end(store);
}
END_TEST

START_TEST(R11_R13_room_is_waited_for_and_offers_meanwhile_are_kept)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS - 2);
	struct far *far = far_connect();

	far_open(far, 1, &one, 4);
	far_offer(far, 1, 0, 100, 4);
	far_silent(far);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_opened(far, 1, 0);
	far_grants(far, 1, 4);
	far_finish(far, 1, 4, 100);
	far_claim(engine, 1, 100, 4);
	far_end(store);
}
END_TEST

START_TEST(R11_requests_that_together_need_more_than_the_store_come_through_in_order)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect(), *other = far_connect();

	far_begin(far, 1, &one, BLOCKS - 2, 100);
	far_open(other, 1, &two, BLOCKS - 2);
	far_offer(other, 1, 0, 200, BLOCKS - 2);
	far_silent(other);
	far_open(far, 2, &three, BLOCKS);
	far_finish(far, 1, BLOCKS - 2, 100);
	far_claim(store, 1, 100, BLOCKS - 2);
	far_opened(other, 1, 0);
	far_grants(other, 1, BLOCKS - 2);
	far_silent(far);
	far_finish(other, 1, BLOCKS - 2, 200);
	far_claim(store, 2, 200, BLOCKS - 2);
	far_opened(far, 2, 0);
	far_offer(far, 2, 0, 300, BLOCKS);
	far_grants(far, 2, BLOCKS);
	far_finish(far, 2, BLOCKS, 300);
	far_claim(store, 3, 300, BLOCKS);
	far_end(store);
}
END_TEST

START_TEST(R12_room_that_does_not_come_in_time_is_told_and_nothing_is_held)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS);
	struct kvr_open open = far_open_of(1, &one, 2);
	struct far *far = far_connect();
	struct kvr_out out;

	open.room = 1000;
	kvr_write_open(&out, &open);
	far_say(far, &out);
	far_silent(far);
	far_later(1500);
	far_opened(far, 1, -ETIMEDOUT);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R12_an_abort_while_it_waits_for_room_leaves_the_line)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS);
	struct far *far = far_connect();

	far_open(far, 1, &one, 2);
	far_offer(far, 1, 0, 100, 1);
	far_idle(far);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R12_who_is_lost_while_it_waits_for_room_leaves_the_line)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS);
	struct far *far = far_connect(), *other = far_connect();

	far_open(far, 1, &one, BLOCKS);
	far_idle(far);
	far_open(other, 1, &two, 1);
	far_idle(other);
	far_cut(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_opened(other, 1, 0);
	far_abort(other, 1);
	far_ended(other, KVR_ABORTED, 1, 0);
	far_end(store);
}
END_TEST

START_TEST(R12_an_engine_that_asks_for_the_end_while_room_is_waited_for_is_heard)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS), asked;
	struct far *far = far_connect();

	far_open(far, 1, &one, 2);
	far_idle(far);
	ck_rc(kvshm_request_find(engine, &one, sizeof(one), &asked), 0);
	ck_rc(kvshm_request_end(engine, &asked), 0);
	far_opened(far, 1, -ECANCELED);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_end(store);
}
END_TEST

START_TEST(what_is_there_when_the_room_comes_gives_its_room_back)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();

	for (uint64_t key = 100; key < 104; key++)
		unit_put(engine, key);
	far_open(far, 1, &one, 4);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 4);
	far_grants(far, 1, 4);
	far_ended(far, KVR_DONE, 1, 0);
	far_open(other, 1, &two, 4);
	far_opened(other, 1, 0);
	far_abort(other, 1);
	far_ended(other, KVR_ABORTED, 1, 0);
	far_claim(engine, 1, 100, 4);
	far_end(store);
}
END_TEST

/* ---- Who does nothing with what it was given --------------------------------------------------------------------- */

static kvshm_store *store_that_waits(uint64_t claim_timeout, uint64_t fill_timeout)
{
	struct kvshm_net_options options;
	kvshm_store *store = unit_store(BLOCKS);

	kvshm_net_defaults(&options);
	options.claim_timeout = claim_timeout;
	options.fill_timeout = fill_timeout;
	far_listen(store, &options);
	return store;
}

static kvshm_store *store_that_waits_5_s(void)
{
	return store_that_waits(0, UINT64_C(5000000000));
}

START_TEST(R12_who_does_not_write_what_it_was_granted_loses_it)
{
	kvshm_store *store = store_that_waits_5_s(), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 3, 100);
	far_later(4000);
	far_silent(far);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_idle(far);
	far_later(4000);
	far_silent(far);
	far_write_at(far, far->grants[1].planes[0].address, 512, far->grants[1].planes[0].rkey); /* bytes come */
	far_idle(far);
	far_later(4000);
	far_silent(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	far_later(5000);
	far_ended(far, KVR_ABORT, 1, -ETIMEDOUT);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_begin(far, 2, &two, BLOCKS - 1, 200);
	far_finish(far, 2, BLOCKS - 1, 200);
	far_claim(engine, 2, 200, BLOCKS - 1);
	far_end(store);
}
END_TEST

START_TEST(R12_who_offers_nothing_loses_its_room)
{
	kvshm_store *store = store_that_waits_5_s(), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, BLOCKS);
	far_opened(far, 1, 0);
	far_later(4000);
	far_silent(far);
	far_later(2000);
	far_ended(far, KVR_ABORT, 1, -ETIMEDOUT);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
	far_end(store);
}
END_TEST

START_TEST(who_has_waited_for_room_has_its_time_from_then)
{
	kvshm_store *store = store_that_waits_5_s(), *engine = unit_attach();
	struct kvshm_request request = take_room(engine, BLOCKS);
	struct far *far = far_connect();

	far_open(far, 1, &one, 1);
	far_idle(far);
	for (unsigned i = 0; i < 2; i++) {
		far_later(4000);
		far_silent(far);
	}
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	far_grants(far, 1, 1);
	far_finish(far, 1, 1, 100);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

/* What it waits for is its own fill. */
START_TEST(R12_who_offers_a_key_twice_has_no_more_time)
{
	kvshm_store *store = store_that_waits_5_s(), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, 2);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	far_offer(far, 1, 1, 100, 1);
	(void)far_grant(far, 1, 1, KVR_PENDING);
	far_later(4000);
	unit_put(engine, 200); /* the store tells of it, and the receiver looks at what is pending */
	far_silent(far);
	far_later(2000);
	far_ended(far, KVR_ABORT, 1, -ETIMEDOUT);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(timeouts_beyond_all_clocks_are_for_ever)
{
	kvshm_store *store = store_that_waits(UINT64_MAX, UINT64_MAX), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_later(4000);
	far_silent(far);
	far_finish(far, 1, 1, 100);
	far_later(4000);
	far_silent(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(who_waits_for_what_another_fills_loses_nothing)
{
	kvshm_store *store = store_that_waits_5_s(), *engine = unit_attach();
	struct kvshm_handle fill = unit_begin(engine, 100);
	struct far *far = far_connect();

	far_open(far, 1, &one, 1);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_PENDING);
	for (unsigned i = 0; i < 3; i++) {
		far_later(4000);
		far_silent(far);
	}
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	ck_rc(kvshm_give_up(engine, &fill), 0);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT); /* its own from here: */
	far_later(4000);
	far_silent(far);
	far_later(2000);
	far_ended(far, KVR_ABORT, 1, -ETIMEDOUT);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R07_what_another_fills_is_there_once_that_one_is_done,
		R07_a_fill_of_anothers_that_fails_is_granted_to_who_waits,
		R07_D3_a_filler_that_dies_is_seen_and_its_key_granted,
		R07_two_senders_of_one_key_get_one_fill,
		R13_larger_than_the_store_fails_at_once_and_says_so,
		R11_R13_room_is_waited_for_and_offers_meanwhile_are_kept,
		R11_requests_that_together_need_more_than_the_store_come_through_in_order,
		R12_room_that_does_not_come_in_time_is_told_and_nothing_is_held,
		R12_an_abort_while_it_waits_for_room_leaves_the_line,
		R12_who_is_lost_while_it_waits_for_room_leaves_the_line,
		R12_an_engine_that_asks_for_the_end_while_room_is_waited_for_is_heard,
		what_is_there_when_the_room_comes_gives_its_room_back,
		R12_who_does_not_write_what_it_was_granted_loses_it,
		R12_who_offers_nothing_loses_its_room,
		who_has_waited_for_room_has_its_time_from_then,
		R12_who_offers_a_key_twice_has_no_more_time,
		timeouts_beyond_all_clocks_are_for_ever,
		who_waits_for_what_another_fills_loses_nothing,
	};

	return unit_run("receiver_waits", tests, sizeof(tests) / sizeof(tests[0]));
}
