/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_messages: a message that does not fit what was opened, offered or granted ends the connection, and all that
 * it had is given back (R09, F2); one that is only late changes nothing. What one connection can have is bounded.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 8U

static const uint64_t one = 1, two = 2;

/* ---- What does not fit, each said by a sender that has a transfer (5) of two blocks, granted --------------------- */

static void say_open(struct far *far, struct kvr_open open)
{
	struct kvr_out out;

	kvr_write_open(&out, &open);
	far_say(far, &out);
}

static void open_again(struct far *far)
{
	far_open(far, 5, &two, 1);
}

static void open_a_number_below(struct far *far)
{
	far_open(far, 4, &two, 1);
}

static void open_number_zero(struct far *far)
{
	far_open(far, 0, &two, 1);
}

static void open_no_plane(struct far *far)
{
	struct kvr_open open = far_open_of(6, &two, 1);

	open.planes = 0;
	say_open(far, open);
}

static void open_a_plane_that_is_not_there(struct far *far)
{
	struct kvr_open open = far_open_of(6, &two, 1);

	open.planes = 3;
	say_open(far, open);
}

static void offer_to_nothing(struct far *far)
{
	far_offer(far, 6, 0, 200, 1);
}

static void offer_beyond(struct far *far)
{
	far_offer(far, 5, 2, 200, 1);
}

static void offer_far_beyond(struct far *far)
{
	far_offer(far, 5, UINT32_MAX, 200, 1);
}

static void offer_twice(struct far *far)
{
	far_offer(far, 5, 1, 101, 1);
}

static void commit_to_nothing(struct far *far)
{
	far_commit(far, 6, 0, 1, KVR_WHOLE);
}

static void commit_beyond(struct far *far)
{
	far_commit(far, 5, 2, 1, KVR_WHOLE);
}

static void commit_far_beyond(struct far *far)
{
	far_commit(far, 5, UINT32_MAX, 1, KVR_GIVEN_UP);
}

static void commit_twice(struct far *far)
{
	far_commit(far, 5, 0, 1, KVR_WHOLE);
	far_commit(far, 5, 0, 1, KVR_WHOLE);
}

static void give_up_what_is_committed(struct far *far)
{
	far_commit(far, 5, 0, 1, KVR_WHOLE);
	far_commit(far, 5, 0, 1, KVR_GIVEN_UP);
}

static void commit_no_plane(struct far *far)
{
	far_commit(far, 5, 0, 0, KVR_WHOLE);
}

static void commit_another_plane(struct far *far)
{
	far_commit(far, 5, 0, 3, KVR_WHOLE);
}

static void abort_nothing(struct far *far)
{
	far_abort(far, 6);
}

static void answer_no_abort(struct far *far)
{
	far_aborted(far, 5);
}

static void no_message(struct far *far)
{
	struct kvr_out out;

	kvr_write_ping(&out, KVR_HELLO, 1); /* too short for one */
	far_say(far, &out);
}

static const struct {
	void (*say)(struct far *far);
	const char *what;
} unfit[] = {
	{open_again, "open again"},
	{open_a_number_below, "open a number below"},
	{open_number_zero, "open number zero"},
	{open_no_plane, "open no plane"},
	{open_a_plane_that_is_not_there, "open a plane that is not there"},
	{offer_to_nothing, "offer to nothing"},
	{offer_beyond, "offer beyond"},
	{offer_far_beyond, "offer far beyond"},
	{offer_twice, "offer twice"},
	{commit_to_nothing, "commit to nothing"},
	{commit_beyond, "commit beyond"},
	{commit_far_beyond, "commit far beyond"},
	{commit_twice, "commit twice"},
	{give_up_what_is_committed, "give up what is committed"},
	{commit_no_plane, "commit no plane"},
	{commit_another_plane, "commit another plane"},
	{abort_nothing, "abort nothing"},
	{answer_no_abort, "answer no abort"},
	{no_message, "no message at all"},
};
#define UNFIT ((int)(sizeof(unfit) / sizeof(unfit[0])))

START_TEST(R09_F2_what_does_not_fit_ends_the_connection_and_gives_all_back)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect(), *other = far_connect();

	far_begin(far, 5, &one, 2, 100);
	unfit[_i].say(far);
	ck_assert_msg(far_next(far) == KVR_BYE, "%s: no BYE", unfit[_i].what);
	far_lost(far, -EPROTO);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_nothing_held(store);
	/* Others don't notice. */
	far_begin(other, 1, &two, BLOCKS, 200);
	far_finish(other, 1, BLOCKS, 200);
	far_claim(engine, 2, 200, BLOCKS);
	far_end(store);
}
END_TEST

/* ---- What is late ------------------------------------------------------------------------------------------------ */

START_TEST(what_comes_for_a_transfer_that_is_gone_changes_nothing)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	far_offer(far, 1, 0, 100, 1);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_aborted(far, 1);
	far_silent(far);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_assert(!unit_has(engine, 100));
	far_open(far, 2, &two, BLOCKS + 1);
	far_offer(far, 2, 0, 200, 1);
	far_opened(far, 2, -E2BIG);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(what_crosses_an_abort_of_the_receivers_changes_nothing)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request;
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	ck_rc(kvshm_request_find(engine, &one, sizeof(one), &request), 0);
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_commit(far, 1, 1, 1, KVR_GIVEN_UP);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	far_silent(far);
	ck_assert(!unit_has(engine, 100));
	far_end(store);
}
END_TEST

START_TEST(numbers_of_transfers_go_round)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	far_open(far, 0x7fffffff, &one, 0);
	far_opened(far, 0x7fffffff, 0);
	far_ended(far, KVR_DONE, 0x7fffffff, 0);
	far_open(far, 0xfffffffe, NULL, 0);
	far_opened(far, 0xfffffffe, 0);
	far_ended(far, KVR_DONE, 0xfffffffe, 0);
	far_begin(far, 1, &two, 1, 100);
	far_finish(far, 1, 1, 100);
	far_claim(store, 1, 0, 0);
	far_claim(store, 2, 100, 1);
	far_end(store);
}
END_TEST

/* ---- What is refused --------------------------------------------------------------------------------------------- */

START_TEST(an_id_that_is_open_already_is_refused_with_whose_it_is)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_request request;
	struct far *far = far_connect();

	ck_rc(kvshm_request_open(engine, &one, sizeof(one), 0, 1, &request), 0);
	far_open(far, 1, &one, 1);
	far_opened(far, 1, -EEXIST);
	ck_assert_ptr_nonnull(memmem(far->message.opened.text.bytes, far->message.opened.text.length, "client", 6));
	ck_rc(kvshm_request_end(engine, &request), 0);
	far_end(store);
}
END_TEST

START_TEST(requests_beyond_the_stores_are_refused)
{
	kvshm_store *store = far_store(BLOCKS);
	uint32_t requests = store->map.g.requests;
	struct far *far = far_connect();

	for (uint32_t i = 1; i <= requests; i++) {
		uint64_t id = 100 + i;

		far_open(far, i, &id, 0);
		far_opened(far, i, 0);
		far_ended(far, KVR_DONE, i, 0);
	}
	far_open(far, requests + 1, &one, 0);
	far_opened(far, requests + 1, -ENFILE);
	for (uint32_t i = 1; i <= requests; i++)
		far_claim(store, 100 + i, 0, 0);
	far_end(store);
}
END_TEST

START_TEST(F2_one_connection_can_have_only_so_many_transfers)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_net_options net;
	kvshm_store *store;
	struct far *far;
	uint64_t id;

	options.requests = KVR_INCOMINGS_MAX + 8;
	store = unit_make(&options);
	kvshm_net_defaults(&net);
	far_listen(store, &net);
	far = far_connect();
	for (uint32_t i = 1; i <= KVR_INCOMINGS_MAX; i++) {
		id = i;
		far_open(far, i, &id, 1);
		if (i <= BLOCKS)
			far_opened(far, i, 0);
	}
	far_open(far, KVR_INCOMINGS_MAX + 1, NULL, 0);
	far_opened(far, KVR_INCOMINGS_MAX + 1, -ENOBUFS);
	far_cut(far);
	far_end(store);
}
END_TEST

START_TEST(F2_one_connection_can_have_only_so_many_positions)
{
	enum { MANY = 4096, MOST = KVR_POSITIONS_MAX(MANY) / MANY };
	struct kvshm_create_options options = unit_options(MANY);
	struct kvshm_net_options net;
	kvshm_store *store;
	struct far *far;

	options.requests = MOST + 8;
	store = unit_make(&options);
	kvshm_net_defaults(&net);
	far_listen(store, &net);
	far = far_connect();
	for (uint32_t i = 1; i <= MOST; i++) {
		uint64_t id = i;

		far_open(far, i, &id, MANY); /* all but the first wait for room */
	}
	far_opened(far, 1, 0);
	far_open(far, MOST + 1, NULL, 1);
	far_opened(far, MOST + 1, -ENOBUFS);
	far_open(far, MOST + 2, NULL, 0);
	far_opened(far, MOST + 2, 0);
	far_ended(far, KVR_DONE, MOST + 2, 0);
	far_abort(far, MOST);
	while (far_next(far) != KVR_ABORTED) /* OPENED, perhaps, since it was refused */
		(void)far_take(far, KVR_OPENED);
	far_ended(far, KVR_ABORTED, MOST, 0);
	far_open(far, MOST + 3, NULL, MANY + 1); /* which the store says */
	far_opened(far, MOST + 3, -E2BIG);
	far_open(far, MOST + 4, NULL, MANY);
	far_silent(far); /* it waits for room, too */
	far_cut(far);
	far_end(store);
}
END_TEST

/* Each OPEN is refused, and its answer waits: 200 bytes, in the end, for each of them. */
START_TEST(F2_who_asks_and_takes_no_answer_is_sent_away)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = far_connect();

	far->deaf = true;
	for (uint32_t i = 1; i < 500000 && !far->down; i++) {
		const struct kvr_open open = far_open_of(i, &one, BLOCKS + 1);
		uint8_t bytes[KVR_MESSAGE_MAX];
		struct kvr_out out;

		kvr_write_open(&out, &open);
		memcpy(bytes, out.bytes, out.size);
		while (kvr_tcp.send(far->link, bytes, out.size, 0) == -EAGAIN) { /* without a sleep: there are many */
			(void)kvr_loop_run(&far->loop, 0);
			(void)kvshm_listener_work(far_listener, 0);
		}
	}
	far_until(far->down);
	ck_assert_int_eq(far->reason, -ECONNRESET);
	far_until(!far_node()->peers);
	far_end(store);
}
END_TEST

/* One key at so many positions: it is there, so that all of them have one block. */
static void send_one(struct far *far, uint32_t transfer, uint64_t id, uint32_t count, uint64_t key)
{
	struct kvr_out out;

	far_open(far, transfer, &id, count);
	far_opened(far, transfer, 0);
	kvr_begin_offers(&out, transfer);
	for (uint32_t i = 0; i < count; i++) {
		const struct kvr_offer offer = far_offer_of(i, key);

		if (kvr_add_offer(&out, &offer))
			continue;
		far_say(far, &out);
		kvr_begin_offers(&out, transfer);
		ck_assert(kvr_add_offer(&out, &offer));
	}
	far_say(far, &out);
	while (far_next(far) == KVR_GRANT)
		(void)far_take(far, KVR_GRANT);
	far_ended(far, KVR_DONE, transfer, 0);
}

START_TEST(F2_of_what_is_complete_only_so_much_is_kept)
{
	enum { MANY = 4096, MOST = KVR_POSITIONS_MAX(MANY + 1) / MANY };
	struct kvshm_create_options options = unit_options(MANY + 1);
	struct kvshm_net_options net;
	kvshm_store *store;
	struct far *far;

	options.requests = MOST + 2;
	store = unit_make(&options);
	kvshm_net_defaults(&net);
	far_listen(store, &net);
	far = far_connect();
	unit_put(store, 100);
	for (uint32_t i = 1; i <= MOST + 1; i++)
		send_one(far, i, i, MANY, 100);
	far_idle(far);
	ck_assert_uint_eq(far_node()->receiver->kept, UINT64_C(1) * MOST * MANY);
	send_one(far, MOST + 2, 2, MANY, 100); /* once more */
	far_open(far, MOST + 3, &one, MANY);
	far_opened(far, MOST + 3, -EALREADY);
	for (uint32_t i = 1; i <= MOST + 1; i++)
		far_claim(store, i, 100, 1);
	far_until(!far_node()->receiver->inbounds);
	ck_assert_uint_eq(far_node()->receiver->kept, 0);
	far_end(store);
}
END_TEST

/* Wants one key so many times. */
static void want_one(struct far *far, uint32_t want, uint32_t count)
{
	uint8_t key[UNIT_KEY];
	const struct kvr_text text = {.bytes = key, .length = UNIT_KEY};
	struct kvr_want part = {.want = want, .total = count};
	struct kvr_out out;

	unit_key(1 + want % 32, key);
	kvr_begin_want(&out, &part);
	for (uint32_t i = 0; i < count; i++) {
		if (kvr_add_key(&out, text))
			continue;
		far_say(far, &out);
		part.first = i;
		kvr_begin_want(&out, &part);
		ck_assert(kvr_add_key(&out, text));
	}
	far_say(far, &out);
}

static const struct kvr_wanted *wanted(struct far *far)
{
	while (far_next(far) == KVR_OPEN)
		(void)far_take(far, KVR_OPEN);
	return &far_take(far, KVR_WANTED)->wanted;
}

/* Who wants something says how large its own store is: as it likes. */
static struct far *connect_as_large(void)
{
	struct far *far = far_connect();

	far_node()->peers->has_store = true;
	far_node()->peers->geometry = far_node()->receiver->geometry;
	far_node()->peers->geometry.blocks = KVSHM_BLOCKS_MAX;
	return far;
}

START_TEST(F2_a_want_holds_no_more_than_the_store_has_blocks)
{
	kvshm_store *store = far_store(BLOCKS);
	struct far *far = connect_as_large();

	unit_put(store, 2);
	want_one(far, 1, 1000);
	ck_assert_uint_eq(wanted(far)->have, BLOCKS);
	far_end(store);
}
END_TEST

START_TEST(F2_wants_of_one_connection_have_only_so_much_under_way)
{
	enum { MANY = 4096 };
	kvshm_store *store = far_store(MANY);
	struct far *far = connect_as_large();
	uint32_t want;

	for (uint64_t i = 1; i <= 32; i++)
		unit_put(store, i);
	for (want = 1; want <= KVR_POSITIONS_MAX(MANY) / MANY; want++) {
		want_one(far, want, MANY);
		ck_assert_uint_eq(wanted(far)->have, MANY);
	}
	want_one(far, want, MANY);
	ck_assert_int_eq(wanted(far)->result, -EBUSY);
	want_one(far, want + 1, 1);
	ck_assert_int_eq(wanted(far)->result, -EBUSY); /* as many as may be, to the last one */
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_comes_for_a_transfer_that_is_gone_changes_nothing,
		what_crosses_an_abort_of_the_receivers_changes_nothing,
		numbers_of_transfers_go_round,
		an_id_that_is_open_already_is_refused_with_whose_it_is,
		requests_beyond_the_stores_are_refused,
		F2_one_connection_can_have_only_so_many_transfers,
		F2_one_connection_can_have_only_so_many_positions,
		F2_who_asks_and_takes_no_answer_is_sent_away,
		F2_of_what_is_complete_only_so_much_is_kept,
		F2_a_want_holds_no_more_than_the_store_has_blocks,
		F2_wants_of_one_connection_have_only_so_much_under_way,
	};
	const struct unit_loop loops[] = {
		{R09_F2_what_does_not_fit_ends_the_connection_and_gives_all_back, UNFIT},
		{NULL, 0},
	};

	return unit_run_loops("receiver_messages", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
