/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_fills: what another node sends is found, whole, once it has committed it; what is there already is held for
 * it, and not sent; and the request that has all of it waits for its engine.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 16U

static const uint64_t one = 1, two = 2;

START_TEST(blocks_that_are_committed_are_there_and_held_until_the_engine_ends_the_request)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 4, 100);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	ck_assert(!far_has(engine, 100));
	far_finish(far, 1, 4, 100);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	far_claim(engine, 1, 100, 4);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(a_block_is_found_as_soon_as_it_is_committed)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, 2);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	far_write(far, far_grant(far, 1, 0, KVR_WRITE_IT), 100);
	ck_assert(!far_has(engine, 100));
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_until(far_has(engine, 100));
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	far_offer(far, 1, 1, 101, 1);
	far_write(far, far_grant(far, 1, 1, KVR_WRITE_IT), 101);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_ended(far, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(blocks_have_the_length_depth_and_bytes_that_were_offered)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();
	struct kvr_offer offer = far_offer_of(0, 7);
	struct kvshm_handle ref;
	struct kvshm_meta meta;

	far_open(far, 1, &one, 1);
	far_opened(far, 1, 0);
	offer.length = 1234;
	offer.depth = 77;
	far_offer_one(far, 1, &offer);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_ended(far, KVR_DONE, 1, 0);
	ck_rc(unit_get(engine, 7, &ref), 0);
	ck_rc(kvshm_get_meta(engine, &ref, &meta), 0);
	ck_assert_uint_eq(meta.length, 1234);
	ck_assert_uint_eq(meta.depth, 77);
	ck_assert_uint_eq(meta.opaque[0], 7);
	ck_assert_uint_eq(meta.opaque[31], 7);
	ck_rc(kvshm_release(engine, &ref), 0);
	far_claim(engine, 1, 0, 0);
	far_end(store);
}
END_TEST

START_TEST(R02_R08_what_is_there_is_held_for_the_request_and_not_asked_for)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();
	struct kvshm_handle handle;

	unit_put(engine, 100);
	far_open(far, 1, &one, 2);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 2);
	far_grants(far, 1, 2);
	ck_assert_int_eq(far->grants[0].kind, KVR_HERE);
	ck_assert_int_eq(far->grants[1].kind, KVR_WRITE_IT);
	ck_rc(unit_get(engine, 100, &handle), 0);
	ck_assert_uint_eq(unit_pins(engine, &handle), 1);
	ck_rc(kvshm_release(engine, &handle), 0);
	/* Another request that was told of it comes and goes: the promise stays. */
	far_open(far, 2, &two, 1);
	far_opened(far, 2, 0);
	far_offer(far, 2, 0, 100, 1);
	(void)far_grant(far, 2, 0, KVR_HERE);
	far_ended(far, KVR_DONE, 2, 0);
	far_claim(engine, 2, 100, 1);
	far_until(far_state(engine, 2) == KVSHM_REQUEST_CLOSED);
	for (uint64_t key = 1000; key < 1000 + BLOCKS - 2; key++)
		unit_put(engine, key);
	ck_assert(far_has(engine, 100));
	far_write(far, &far->grants[1], 101);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_ended(far, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(R16_a_request_of_no_blocks_completes)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, 0);
	far_opened(far, 1, 0);
	far_ended(far, KVR_DONE, 1, 0);
	ck_assert_uint_eq(far->message.end.held, 0);
	far_claim(engine, 1, 0, 0);
	far_end(store);
}
END_TEST

START_TEST(R24_one_bad_key_does_not_fail_the_others)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	uint8_t long_key[KVSHM_KEY_MAX] = {1};
	struct far *far = far_connect();
	struct kvr_offer offer = far_offer_of(0, 5);

	far_open(far, 1, &one, 3);
	far_opened(far, 1, 0);
	offer.key = (struct kvr_text){.bytes = long_key, .length = sizeof(long_key)};
	far_offer_one(far, 1, &offer);
	ck_assert_int_eq(far_grant(far, 1, 0, KVR_REFUSED)->result, -EINVAL);
	offer = far_offer_of(1, 6);
	offer.length = store->map.g.block_size + 1;
	far_offer_one(far, 1, &offer);
	ck_assert_int_eq(far_grant(far, 1, 1, KVR_REFUSED)->result, -EINVAL);
	far_offer(far, 1, 2, 100, 1);
	far_write(far, far_grant(far, 1, 2, KVR_WRITE_IT), 100);
	far_commit(far, 1, 2, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert(far_has(engine, 100));
	far_end(store);
}
END_TEST

START_TEST(a_block_that_is_given_up_can_be_filled_by_another_and_the_others_go_on)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();
	struct kvshm_handle pending, fill;

	far_begin(far, 1, &one, 2, 100);
	pending = unit_pending(engine, 100);
	far_commit(far, 1, 0, 1, KVR_GIVEN_UP);
	far_write(far, &far->grants[1], 101);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	ck_assert(far_has(engine, 101));
	fill = unit_begin(engine, 100);
	ck_rc(kvshm_give_up(engine, &fill), 0);
	far_end(store);
}
END_TEST

START_TEST(a_put_without_a_name_stays_as_a_cache_has_it)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, NULL, 2, 100);
	far_finish(far, 1, 2, 100);
	far_nothing_held(store);
	ck_assert(far_has(engine, 101));
	far_end(store);
}
END_TEST

START_TEST(adjacent_blocks_share_a_window_and_others_do_not)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	far_begin(far, 1, &one, BLOCKS, 100);
	for (uint32_t i = 1; i < BLOCKS; i++) {
		const struct kvr_grant *last = &far->grants[i - 1], *grant = &far->grants[i];
		bool adjacent = grant->block == last->block + 1;

		ck_assert_int_eq(grant->planes[0].rkey == last->planes[0].rkey, adjacent);
		if (adjacent)
			ck_assert_uint_eq(grant->planes[0].address,
					  last->planes[0].address + store->map.g.block_size);
	}
	far_finish(far, 1, BLOCKS, 100);
	far_claim(store, 1, 100, BLOCKS);
	far_end(store);
}
END_TEST

START_TEST(many_blocks_are_granted_in_several_messages_and_windows)
{
	kvshm_store *store = far_store(400);
	struct far *far = far_connect();
	uint32_t first = 0;

	far_begin(far, 1, &one, 400, 100);
	while (far->grants[first].planes[0].rkey == far->grants[0].planes[0].rkey)
		first++;
	ck_assert_uint_le(first, 256);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	far_end(store);
}
END_TEST

START_TEST(a_complete_request_that_nobody_claims_in_time_is_ended)
{
	kvshm_store *store = unit_store(BLOCKS), *engine = unit_attach();
	struct kvshm_net_options options;
	struct kvshm_request request;
	struct far *far;

	kvshm_net_defaults(&options);
	options.claim_timeout = UINT64_C(5000000000);
	far_listen(store, &options);
	far = far_connect();
	far_begin(far, 1, &one, 1, 100);
	far_finish(far, 1, 1, 100);
	far_later(4000);
	far_idle(far);
	ck_rc(kvshm_request_find(engine, &one, sizeof(one), &request), 0);
	ck_rc(kvshm_request_claim(engine, &request, NULL, 0, NULL, NULL), 0); /* which puts it off */
	far_later(4000);
	far_idle(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	far_later(5000);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(what_is_complete_outlasts_its_sender_and_the_listener)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	far_finish(far, 1, 2, 100);
	far_cut(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	ck_rc(kvshm_listener_close(far_listener), 0);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	far_claim(engine, 1, 100, 2);
	ck_rc(kvshm_request_tend(store, 0, NULL), 0);
	far_nothing_held(store);
}
END_TEST

/* The second follows the first: it is held once, and the request completes with one block less. */
START_TEST(R24_a_key_for_two_positions_is_filled_once)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, 2);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	far_write(far, far_grant(far, 1, 0, KVR_WRITE_IT), 100);
	far_offer(far, 1, 1, 100, 1);
	(void)far_grant(far, 1, 1, KVR_PENDING);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	(void)far_grant(far, 1, 1, KVR_HERE);
	far_ended(far, KVR_DONE, 1, 0);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_COMPLETE);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

/* Its sender gives up the first one: then the second is its own to fill. */
START_TEST(R24_a_key_whose_first_position_is_given_up_is_filled_for_the_second)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, 3);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	far_offer(far, 1, 1, 100, 1);
	(void)far_grant(far, 1, 1, KVR_PENDING);
	far_commit(far, 1, 0, 1, KVR_GIVEN_UP);
	far_write(far, far_grant(far, 1, 1, KVR_WRITE_IT), 100);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_until(far_has(engine, 100));
	far_offer(far, 1, 2, 101, 1); /* one did not come: so the request is aborted once the last is settled */
	far_write(far, far_grant(far, 1, 2, KVR_WRITE_IT), 101);
	far_commit(far, 1, 2, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert(far_has(engine, 100) && far_has(engine, 101));
	far_end(store);
}
END_TEST

START_TEST(R24_a_key_for_all_positions_leaves_room_for_others)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_open(far, 1, &one, BLOCKS);
	far_opened(far, 1, 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		far_offer(far, 1, i, 100, 1);
	far_write(far, far_grant(far, 1, 0, KVR_WRITE_IT), 100);
	far_grants(far, 1, BLOCKS - 1);
	for (uint32_t i = 0; i < BLOCKS - 1; i++)
		ck_assert_int_eq(far->grants[i].kind, KVR_PENDING);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_grants(far, 1, BLOCKS - 1);
	for (uint32_t i = 0; i < BLOCKS - 1; i++)
		ck_assert_int_eq(far->grants[i].kind, KVR_HERE);
	far_ended(far, KVR_DONE, 1, 0);
	far_begin(far, 2, &two, BLOCKS - 1, 200);
	far_finish(far, 2, BLOCKS - 1, 200);
	far_claim(engine, 1, 100, 1);
	far_claim(engine, 2, 200, BLOCKS - 1);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		blocks_that_are_committed_are_there_and_held_until_the_engine_ends_the_request,
		a_block_is_found_as_soon_as_it_is_committed,
		blocks_have_the_length_depth_and_bytes_that_were_offered,
		R02_R08_what_is_there_is_held_for_the_request_and_not_asked_for,
		R16_a_request_of_no_blocks_completes,
		R24_one_bad_key_does_not_fail_the_others,
		a_block_that_is_given_up_can_be_filled_by_another_and_the_others_go_on,
		a_put_without_a_name_stays_as_a_cache_has_it,
		adjacent_blocks_share_a_window_and_others_do_not,
		many_blocks_are_granted_in_several_messages_and_windows,
		a_complete_request_that_nobody_claims_in_time_is_ended,
		what_is_complete_outlasts_its_sender_and_the_listener,
		R24_a_key_for_two_positions_is_filled_once,
		R24_a_key_whose_first_position_is_given_up_is_filled_for_the_second,
		R24_a_key_for_all_positions_leaves_room_for_others,
	};

	return unit_run("receiver_fills", tests, sizeof(tests) / sizeof(tests[0]));
}
