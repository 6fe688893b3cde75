/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_ends: a transfer ends at any moment, by its sender's abort or loss, by an engine here, by the store's end;
 * all that it had is given back then (R10, R12), and not before nothing can land there any more (R23): one that goes on
 * writing loses its connection, and nobody's bytes change.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#include "tcp.h"

#define BLOCKS 8U

static const uint64_t one = 1, two = 2;

/* How far a transfer of three blocks has come: keys 100 (there), 101 (being filled by the engine), 102. */
enum { OPENED, OFFERED, WRITTEN, COMMITTED, STEPS };

static struct kvshm_handle engines_fill;

static void go_to(struct far *far, kvshm_store *engine, int step)
{
	unit_put(engine, 100);
	engines_fill = unit_begin(engine, 101);
	far_open(far, 1, &one, 3);
	far_opened(far, 1, 0);
	if (step < OFFERED)
		return;
	far_offer(far, 1, 0, 100, 3);
	far_grants(far, 1, 3);
	ck_assert_int_eq(far->grants[0].kind, KVR_HERE);
	ck_assert_int_eq(far->grants[1].kind, KVR_PENDING);
	ck_assert_int_eq(far->grants[2].kind, KVR_WRITE_IT);
	if (step >= WRITTEN)
		far_write(far, &far->grants[2], 102);
	if (step >= COMMITTED) {
		far_commit(far, 1, 2, 1, KVR_WHOLE);
		far_until(far_has(engine, 102));
	}
}

/* Nothing of the transfer is left; what was committed is there. */
static void all_given_back(kvshm_store *store, kvshm_store *engine, int step)
{
	struct kvshm_handle fill;

	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	ck_assert_int_eq(far_has(engine, 102), step >= COMMITTED);
	if (step < COMMITTED) {
		fill = unit_begin(engine, 102);
		ck_rc(kvshm_give_up(engine, &fill), 0);
	}
	ck_rc(kvshm_give_up(engine, &engines_fill), 0);
	far_nothing_held(store);
}

START_TEST(R10_an_abort_gives_everything_back_whenever_it_comes)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	go_to(far, engine, _i);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	all_given_back(store, engine, _i);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R10_an_abort_right_behind_the_open_and_the_offer)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	unit_put(engine, 100);
	far_open(far, 1, &one, 2);
	far_offer(far, 1, 0, 100, 2);
	far_abort(far, 1);
	far_opened(far, 1, 0);
	far_grants(far, 1, 2);
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

START_TEST(R12_a_sender_that_is_lost_gives_everything_back_whenever_that_is)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	go_to(far, engine, _i);
	far_cut(far);
	all_given_back(store, engine, _i);
	far_end(store);
}
END_TEST

static void ask_for_end(kvshm_store *engine, uint64_t id)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_find(engine, &id, sizeof(id), &request), 0);
	ck_rc(kvshm_request_end(engine, &request), 0);
}

START_TEST(an_engine_that_asks_for_the_end_is_heard_whenever_that_is)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	go_to(far, engine, _i);
	ask_for_end(engine, 1);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	if (_i == OFFERED || _i == WRITTEN) { /* it may be writing still: its block stays its own */
		struct kvshm_handle pending = unit_pending(engine, 102);

		far_idle(far);
		ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
		far_write(far, &far->grants[2], 102);
		far_aborted(far, 1);
		far_idle(far);
		ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	} else {
		far_aborted(far, 1);
		far_idle(far);
	}
	all_given_back(store, engine, _i);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R23_a_sender_that_does_not_answer_an_abort_is_fenced_in_time)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_handle fill;
	struct kvr_grant grant;
	struct far *far = far_connect();

	go_to(far, engine, OFFERED);
	grant = far->grants[2];
	ask_for_end(engine, 1);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_later(1900);
	far_idle(far);
	ck_assert_int_ne(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_later(200);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_silent(far); /* its connection is as good as ever */
	/* The block is another's now. The late write ends the connection, and lands nowhere. */
	fill = unit_begin(engine, 102);
	unit_write(engine, &fill, 102);
	far_write_at(far, grant.planes[0].address, 4096, grant.planes[0].rkey);
	far_lost(far, 0);
	unit_verify(engine, &fill, 102);
	ck_rc(kvshm_give_up(engine, &fill), 0);
	ck_rc(kvshm_give_up(engine, &engines_fill), 0);
	far_end(store);
}
END_TEST

/* What a sender still writes by a grant that has ended changes nothing, and ends its connection. */
static void write_late(kvshm_store *engine, struct far *far, const struct kvr_grant *grant)
{
	memset(far->bytes, 0xee, 4096);
	far_write_at(far, grant->planes[0].address, 4096, grant->planes[0].rkey);
	far_lost(far, 0);
	ck_assert(far_has(engine, 100)); /* which looks at its bytes */
}

START_TEST(R23_a_write_behind_the_commit_ends_the_connection_and_lands_nowhere)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_finish(far, 1, 1, 100);
	write_late(engine, far, &far->grants[0]);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(R23_a_write_behind_the_abort_ends_the_connection_and_lands_nowhere)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, BLOCKS, 200);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	for (uint64_t key = 100; key < 100 + BLOCKS; key++)
		unit_put(engine, key);
	write_late(engine, far, &far->grants[0]);
	far_end(store);
}
END_TEST

START_TEST(R23_a_write_outside_of_what_was_granted_ends_the_connection_and_lands_nowhere)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();
	const struct kvr_grant *grant;

	unit_put(engine, 100);
	far_begin(far, 1, &one, 1, 200);
	far_begin(other, 1, &two, 1, 300);
	/* The other's window is none of this one's; the longest part of its own ends where that ends. */
	grant = &far->grants[0];
	far_write_at(far, grant->planes[0].address + 1, 4096, grant->planes[0].rkey);
	far_lost(far, 0);
	far_write_at(other, other->grants[0].planes[0].address, 4096, other->grants[0].planes[0].rkey + 1);
	far_lost(other, 0);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED && far_state(engine, 2) == KVSHM_REQUEST_CLOSED);
	ck_assert(far_has(engine, 100));
	far_end(store);
}
END_TEST

START_TEST(R22_a_sender_that_comes_back_begins_anew)
{
	kvshm_store *store = far_store(BLOCKS);
	struct kvr_open open;
	struct kvr_out out;
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	far_cut(far);
	far = far_connect();
	far_open(far, 1, &one, 2); /* the same attempt has been closed */
	far_opened(far, 1, -EALREADY);
	open = far_open_of(2, &one, 2);
	open.attempt = 1;
	kvr_write_open(&out, &open);
	far_say(far, &out);
	far_opened(far, 2, 0);
	far_offer(far, 2, 0, 100, 2);
	far_grants(far, 2, 2);
	far_finish(far, 2, 2, 100);
	far_claim(store, 1, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(R22_a_listener_that_comes_back_begins_anew)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_net_options options;
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	ck_rc(kvshm_listener_close(far_listener), 0);
	far_nothing_held(store);
	kvshm_net_defaults(&options);
	options.claim_timeout = 0;
	far_listen(store, &options);
	far_lost(far, -ESHUTDOWN);
	far = far_connect();
	far_begin(far, 1, &two, 2, 100);
	far_finish(far, 1, 2, 100);
	far_claim(engine, 2, 100, 2);
	far_end(store);
}
END_TEST

START_TEST(a_key_that_is_removed_while_it_is_filled_ends_the_request)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	ck_rc(unit_remove(engine, 100), 0);
	far_write(far, &far->grants[0], 100);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert(!far_has(engine, 100));
	far_end(store);
}
END_TEST

START_TEST(R28_a_store_that_is_cleared_keeps_nothing_of_what_was_being_filled)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	ck_rc(kvshm_clear(engine), 0);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_commit(far, 1, 1, 1, KVR_WHOLE);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_assert(!unit_has(engine, 100));
	ck_assert(!unit_has(engine, 101));
	far_end(store);
}
END_TEST

START_TEST(a_store_that_is_destroyed_ends_all_transfers)
{
	struct far *far;

	(void)far_store(BLOCKS);
	far = far_connect();
	far_begin(far, 1, &one, 2, 100);
	far_open(far, 2, &two, BLOCKS);
	far_idle(far);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	for (int i = 0; i < 2; i++) {
		if (far_next(far) == KVR_ABORT)
			far_ended(far, KVR_ABORT, 1, -ESTALE);
		else
			far_opened(far, 2, -ESTALE);
	}
	far_commit(far, 1, 0, 1, KVR_WHOLE); /* it crosses */
	far_aborted(far, 1);
	far_idle(far);
	far_open(far, 3, &one, 1);
	far_opened(far, 3, -ESTALE);
	ck_rc(kvshm_listener_close(far_listener), 0);
}
END_TEST

START_TEST(aborts_that_cross_are_each_others_answer)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	ask_for_end(engine, 1);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_abort(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R22_what_an_engine_has_ended_is_not_joined)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_finish(far, 1, 1, 100);
	far_idle(far);
	far_open(far, 2, &one, 1);
	ask_for_end(engine, 1); /* nobody has worked since the OPEN was said */
	far_opened(far, 2, -EALREADY);
	far_end(store);
}
END_TEST

START_TEST(an_abort_of_what_is_done_changes_nothing)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_finish(far, 1, 1, 100);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

/* Its PINGs, and what it answers to others, wait behind its writes. */
START_TEST(who_only_writes_is_not_silent)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();
	struct kvr_grant_plane plane;

	far_begin(far, 1, &one, 1, 100);
	plane = far->grants[0].planes[0];
	far->mute = true;
	for (uint64_t i = 1; i <= 4; i++) {
		uint64_t before = far->link->out.acked;

		far_later(6000); /* of the 10 s that it may be silent */
		far_write_at(far, plane.address, 1, plane.rkey);
		far_until(far->link->out.acked > before);
	}
	ck_assert(!far->down);
	far->mute = false;
	far_finish(far, 1, 1, 100);
	far_claim(store, 1, 100, 1);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R10_an_abort_right_behind_the_open_and_the_offer,
		R23_a_sender_that_does_not_answer_an_abort_is_fenced_in_time,
		R23_a_write_behind_the_commit_ends_the_connection_and_lands_nowhere,
		R23_a_write_behind_the_abort_ends_the_connection_and_lands_nowhere,
		R23_a_write_outside_of_what_was_granted_ends_the_connection_and_lands_nowhere,
		R22_a_sender_that_comes_back_begins_anew,
		R22_a_listener_that_comes_back_begins_anew,
		a_key_that_is_removed_while_it_is_filled_ends_the_request,
		R28_a_store_that_is_cleared_keeps_nothing_of_what_was_being_filled,
		a_store_that_is_destroyed_ends_all_transfers,
		aborts_that_cross_are_each_others_answer,
		R22_what_an_engine_has_ended_is_not_joined,
		an_abort_of_what_is_done_changes_nothing,
		who_only_writes_is_not_silent,
	};

	const struct unit_loop loops[] = {
		{R10_an_abort_gives_everything_back_whenever_it_comes, STEPS},
		{R12_a_sender_that_is_lost_gives_everything_back_whenever_that_is, STEPS},
		{an_engine_that_asks_for_the_end_is_heard_whenever_that_is, STEPS},
		{NULL, 0},
	};

	return unit_run_loops("receiver_ends", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
