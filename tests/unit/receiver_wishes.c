/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_wishes: what is wanted of a peer comes under the request that it was wanted for, and each wish is told once
 * how it ended, whatever the peer does. The linker puts this file's functions in front of those that are told.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 8U

static const uint64_t one = 1, two = 2;
static struct kvshm_request told;
static unsigned opened, ended;
static int result;

void __wrap_kvr_sender_wish_opened(struct kvr_peer *peer, void *user, const struct kvshm_request *request);
void __wrap_kvr_sender_wish_ended(struct kvr_peer *peer, void *user, int reason);

void __wrap_kvr_sender_wish_opened(struct kvr_peer *peer, void *user, const struct kvshm_request *request)
{
	ck_assert_ptr_nonnull(peer);
	ck_assert_ptr_eq(user, &told);
	ck_assert_uint_eq(ended, 0);
	opened++;
	told = *request;
}

void __wrap_kvr_sender_wish_ended(struct kvr_peer *peer, void *user, int reason)
{
	ck_assert_ptr_nonnull(peer);
	ck_assert_ptr_eq(user, &told);
	ended++;
	result = reason;
}

static int try_wish(uint32_t want, const uint64_t *id)
{
	uint8_t bytes[2][UNIT_KEY]; /* keys 100 and 101 */
	const struct kvshm_key keys[] = {{bytes[1], UNIT_KEY}, {bytes[0], UNIT_KEY}};
	const struct kvr_wish wish = {.want = want, .id = id, .id_length = id ? sizeof(*id) : 0, .user = &told,
				      .keys = keys, .count = 2};

	unit_key(100, bytes[0]);
	unit_key(101, bytes[1]);
	return kvr_receiver_wish(far_node()->peers, &wish);
}

static void answer(struct far *far, uint32_t transfer, uint32_t want, uint32_t blocks)
{
	struct kvr_open open = far_open_of(transfer, &two, blocks);
	struct kvr_out out;

	open.want = want;
	kvr_write_open(&out, &open);
	far_say(far, &out);
}

START_TEST(what_comes_is_under_the_id_that_it_was_wanted_for)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	answer(far, 1, 7, 2);
	far_opened(far, 1, 0);
	ck_assert_uint_eq(opened, 1);
	ck_assert_int_eq(far_state(engine, 2), -1);
	far_offer(far, 1, 0, 100, 2);
	far_grants(far, 1, 2);
	ck_assert_uint_eq(ended, 0);
	far_finish(far, 1, 2, 100);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(result, 0);
	far_claim(engine, 1, 100, 2);
	far_end(store);
	ck_assert_uint_eq(ended, 1);
}
END_TEST

START_TEST(without_a_name_it_waits_to_be_claimed_too)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	ck_rc(try_wish(7, NULL), 0);
	answer(far, 1, 7, 1);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	far_grants(far, 1, 1);
	far_finish(far, 1, 1, 100);
	far_idle(far);
	ck_rc(kvshm_request_wait(store, &told, 0), 0);
	ck_rc(kvshm_request_end(store, &told), 0);
	far_end(store);
}
END_TEST

START_TEST(R16_of_nothing_that_the_other_side_has_the_request_is_complete)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();

	(void)far_connect();
	ck_rc(try_wish(7, &one), 0);
	kvr_receiver_wish_empty(far_node()->peers, 7);
	ck_assert_uint_eq(opened, 1);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(result, 0);
	kvr_receiver_wish_empty(far_node()->peers, 7); /* late */
	far_claim(engine, 1, 0, 0);
	far_end(store);
}
END_TEST

START_TEST(what_is_not_wanted_any_more_is_refused)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	kvr_receiver_wish_abort(far_node()->peers, 7);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(result, -ECANCELED);
	answer(far, 1, 7, 1);
	far_opened(far, 1, -ECANCELED);
	answer(far, 2, 8, 1);
	far_opened(far, 2, -ECANCELED);
	ck_assert_uint_eq(opened, 0);
	ck_assert_uint_eq(ended, 1);
	far_end(store);
}
END_TEST

START_TEST(R10_a_wish_is_aborted_while_it_comes)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	answer(far, 1, 7, 1);
	far_opened(far, 1, 0);
	answer(far, 2, 7, 1); /* there is one already */
	far_opened(far, 2, -ECANCELED);
	far_offer(far, 1, 0, 100, 1);
	(void)far_grant(far, 1, 0, KVR_WRITE_IT);
	kvr_receiver_wish_abort(far_node()->peers, 7);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	ck_assert_uint_eq(ended, 0);
	far_aborted(far, 1);
	far_until(ended == 1);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(F2_what_was_not_wanted_is_refused_and_the_rest_comes)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	answer(far, 1, 7, 2);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 101, 2); /* 101 is, and 102 is not */
	far_grants(far, 1, 2);
	ck_assert_int_eq(far->grants[0].kind, KVR_WRITE_IT);
	ck_assert_int_eq(far->grants[1].kind, KVR_REFUSED);
	ck_assert_int_eq(far->grants[1].result, -EPERM);
	far_write(far, &far->grants[0], 101);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED); /* as of any that did not come whole */
	far_until(ended == 1);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert(far_has(engine, 101));
	ck_assert(!unit_has(engine, 102));
	far_end(store);
}
END_TEST

START_TEST(F2_more_than_was_wanted_is_refused)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	answer(far, 1, 7, 3);
	far_opened(far, 1, -EINVAL);
	ck_assert_uint_eq(opened, 0);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(result, -EINVAL);
	far_end(store);
}
END_TEST

START_TEST(R12_wishes_end_with_the_connection)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	ck_rc(try_wish(7, &one), 0);
	ck_rc(try_wish(7, &two), -EEXIST);
	ck_rc(try_wish(0, &two), -EEXIST);
	ck_rc(try_wish(8, &two), 0);
	answer(far, 1, 7, 1);
	far_opened(far, 1, 0);
	far_cut(far);
	ck_assert_uint_eq(opened, 1);
	ck_assert_uint_eq(ended, 2);
	ck_assert_int_eq(result, -ECONNRESET);
	far_end(store);
}
END_TEST

START_TEST(an_id_that_is_open_already_ends_the_wish)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request;
	struct far *far = far_connect();

	ck_rc(kvshm_request_open(engine, &one, sizeof(one), 0, 1, &request), 0);
	ck_rc(try_wish(7, &one), 0);
	answer(far, 1, 7, 1);
	far_opened(far, 1, -EEXIST);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(result, -EEXIST);
	ck_rc(try_wish(8, &one), 0);
	kvr_receiver_wish_empty(far_node()->peers, 8);
	ck_assert_uint_eq(ended, 2);
	ck_assert_int_eq(result, -EEXIST);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_comes_is_under_the_id_that_it_was_wanted_for,
		without_a_name_it_waits_to_be_claimed_too,
		R16_of_nothing_that_the_other_side_has_the_request_is_complete,
		what_is_not_wanted_any_more_is_refused,
		R10_a_wish_is_aborted_while_it_comes,
		F2_what_was_not_wanted_is_refused_and_the_rest_comes,
		F2_more_than_was_wanted_is_refused,
		R12_wishes_end_with_the_connection,
		an_id_that_is_open_already_ends_the_wish,
	};

	return unit_run("receiver_wishes", tests, sizeof(tests) / sizeof(tests[0]));
}
