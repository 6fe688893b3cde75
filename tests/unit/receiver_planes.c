/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_planes: several senders fill the planes of one request: a block is there when all its planes are, or not at
 * all (R27). Who does not fit is refused alone; who aborts, or is lost, ends it for all.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 8U

static const uint64_t one = 1;

static kvshm_store *two_planes(void)
{
	struct kvshm_net_options options;
	kvshm_store *store = unit_planes(2);

	kvshm_net_defaults(&options);
	options.claim_timeout = 0;
	far_listen(store, &options);
	return store;
}

static void say_open(struct far *far, uint32_t blocks, uint32_t planes)
{
	struct kvr_open open = far_open_of(1, &one, blocks);
	struct kvr_out out;

	open.planes = planes;
	kvr_write_open(&out, &open);
	far_say(far, &out);
}

static void begin(struct far *far, uint32_t blocks, uint32_t planes)
{
	say_open(far, blocks, planes);
	far_opened(far, 1, 0);
	far_offer(far, 1, 0, 100, blocks);
	far_grants(far, 1, blocks);
}

static void write_all(struct far *far, uint32_t blocks, uint32_t planes)
{
	for (uint32_t i = 0; i < blocks; i++) {
		ck_assert_int_eq(far->grants[i].kind, KVR_WRITE_IT);
		ck_assert_uint_eq(far->grants[i].count, 1);
		ck_assert_uint_eq(UINT32_C(1) << far->grants[i].planes[0].plane, planes);
		far_write(far, &far->grants[i], 100 + i);
		far_commit(far, 1, i, planes, KVR_WHOLE);
	}
	far_idle(far);
}

START_TEST(R27_a_block_of_two_senders_is_there_when_both_have_committed)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();

	begin(far, 3, 1);
	write_all(far, 3, 1);
	ck_assert(!far_has(engine, 100));
	begin(other, 3, 2);
	ck_assert(!far_has(engine, 100));
	write_all(other, 3, 2);
	far_ended(far, KVR_DONE, 1, 0);
	far_ended(other, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 3);
	far_end(store);
}
END_TEST

START_TEST(one_sender_of_two_planes_commits_them_one_by_one)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect();

	begin(far, 1, 3);
	ck_assert_uint_eq(far->grants[0].count, 2);
	far_write(far, &far->grants[0], 100);
	far_commit(far, 1, 0, 2, KVR_WHOLE);
	far_idle(far);
	ck_assert(!far_has(engine, 100));
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_ended(far, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(a_sender_that_joins_what_is_complete_is_told_so)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();

	unit_put(engine, 100);
	unit_put(engine, 101);
	begin(far, 2, 1);
	far_ended(far, KVR_DONE, 1, 0);
	begin(other, 2, 2);
	ck_assert_int_eq(other->grants[1].kind, KVR_HERE);
	far_ended(other, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(who_does_not_fit_is_refused_and_the_rest_goes_on)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect(), *third = far_connect();

	begin(far, 2, 1);
	say_open(other, 2, 1); /* planes that another has */
	far_opened(other, 1, -EEXIST);
	say_open(third, 3, 2); /* another number of blocks */
	far_opened(third, 1, -EINVAL);
	far_cut(other);
	other = far_connect();
	say_open(other, 2, 2);
	far_opened(other, 1, 0);
	far_offer(other, 1, 0, 100, 1);
	(void)far_grant(other, 1, 0, KVR_WRITE_IT);
	far_offer(other, 1, 1, 999, 1); /* another key: it is aborted alone */
	far_ended(other, KVR_ABORT, 1, -EINVAL);
	far_aborted(other, 1);
	far_silent(other);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_OPEN);
	/* Its planes are free for one who does better. */
	far_cut(third);
	third = far_connect();
	begin(third, 2, 2);
	write_all(third, 2, 2);
	write_all(far, 2, 1);
	far_ended(far, KVR_DONE, 1, 0);
	far_ended(third, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(R10_an_abort_of_one_ends_it_for_all)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();
	struct kvshm_handle pending;

	begin(far, 2, 1);
	begin(other, 2, 2);
	pending = unit_pending(engine, 100);
	far_abort(far, 1);
	far_ended(other, KVR_ABORT, 1, -ECANCELED);
	far_silent(far); /* the other may still be writing */
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	far_aborted(other, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(R12_the_loss_of_one_ends_it_for_all)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();

	begin(far, 2, 1);
	write_all(far, 2, 1);
	begin(other, 2, 2);
	far_cut(far);
	far_ended(other, KVR_ABORT, 1, -ECONNRESET);
	far_commit(other, 1, 0, 2, KVR_WHOLE); /* it crosses */
	far_aborted(other, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert(!unit_has(engine, 100));
	far_end(store);
}
END_TEST

/* Why one was lost is no reason of the others': -ETIMEDOUT would tell them that they did not go on. */
START_TEST(R27_the_others_are_told_that_one_was_lost_and_not_why)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();
	struct kvr_out out;

	begin(far, 1, 1);
	begin(other, 1, 2);
	kvr_write_bye(&out, -ETIMEDOUT, "nothing was heard of you");
	far_say(far, &out);
	far_ended(other, KVR_ABORT, 1, -ECONNRESET);
	far_aborted(other, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_lost(far, 0);
	far_end(store);
}
END_TEST

START_TEST(a_block_that_one_gives_up_is_given_up_when_the_other_is_done_with_it)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();
	struct kvshm_handle pending;

	begin(far, 1, 1);
	begin(other, 1, 2);
	pending = unit_pending(engine, 100);
	far_commit(far, 1, 0, 1, KVR_GIVEN_UP);
	far_idle(far);
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	write_all(other, 1, 2);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_ended(other, KVR_ABORT, 1, -ECANCELED);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(R12_senders_that_wait_for_room_together_end_together)
{
	kvshm_store *store = two_planes(), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();
	struct kvshm_request request;

	ck_rc(kvshm_request_open(engine, NULL, 0, 0, BLOCKS, &request), 0);
	ck_rc(kvshm_request_reserve(engine, &request, BLOCKS, 0), 0);
	say_open(far, 2, 1);
	far_idle(far);
	say_open(other, 2, 2);
	far_silent(other);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	far_opened(other, 1, -ECANCELED);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R27_a_block_of_two_senders_is_there_when_both_have_committed,
		one_sender_of_two_planes_commits_them_one_by_one,
		a_sender_that_joins_what_is_complete_is_told_so,
		who_does_not_fit_is_refused_and_the_rest_goes_on,
		R10_an_abort_of_one_ends_it_for_all,
		R12_the_loss_of_one_ends_it_for_all,
		R27_the_others_are_told_that_one_was_lost_and_not_why,
		a_block_that_one_gives_up_is_given_up_when_the_other_is_done_with_it,
		R12_senders_that_wait_for_room_together_end_together,
	};

	return unit_run("receiver_planes", tests, sizeof(tests) / sizeof(tests[0]));
}
