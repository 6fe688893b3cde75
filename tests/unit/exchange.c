/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * exchange: two nodes, over TCP: what one sends the other has, whole, and held for its request; what is there is not
 * sent; what is aborted leaves nothing; either side may go and come again.
 */
#include "config.h"

#include "connector.h"
#include "pair.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define BLOCKS 32U

static void put_here(uint64_t first, size_t count)
{
	for (size_t i = 0; i < count; i++)
		unit_put(pair_here, first + i);
}

START_TEST(blocks_of_a_store_go_to_another_as_they_are)
{
	const struct kvshm_meta meta = {.length = 1000, .depth = 7, .opaque = "the engine's"};
	struct kvshm_handle fill;
	struct kvshm_meta got;
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	put_here(1, 8);
	fill = unit_begin(pair_here, 100);
	unit_write(pair_here, &fill, 100);
	ck_rc(kvshm_publish(pair_here, &fill, &meta), 0);
	ck_rc(kvshm_release(pair_here, &fill), 0);
	transfer = pair_send("r", 1, 8);
	ck_rc(pair_wait(transfer), 0);
	ck_assert_uint_eq(pair_look(transfer).sent, 8);
	ck_assert_uint_eq(pair_look(transfer).bytes, UINT64_C(8) * 2 * 4096);
	ck_assert_int_eq(pair_state("r"), KVSHM_REQUEST_COMPLETE);
	pair_claim("r", 1, 8);
	transfer = pair_send(NULL, 100, 1);
	ck_rc(pair_wait(transfer), 0);
	ck_assert_uint_eq(pair_look(transfer).bytes, 2000); /* R15: what it has, and no more */
	ck_rc(unit_get(pair_there, 100, &fill), 0);
	ck_rc(kvshm_get_meta(pair_there, &fill, &got), 0);
	ck_assert_uint_eq(got.length, 1000);
	ck_assert_uint_eq(got.depth, 7);
	ck_assert_str_eq((const char *)got.opaque, "the engine's");
	ck_rc(kvshm_release(pair_there, &fill), 0);
	pair_end();
}
END_TEST

START_TEST(R08_no_byte_is_written_of_what_is_there)
{
	kvshm_transfer *first, *second;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	put_here(1, 8);
	first = pair_send("first", 1, 4);
	ck_rc(pair_wait(first), 0);
	second = pair_send("second", 1, 8);
	ck_rc(pair_wait(second), 0);
	ck_assert_uint_eq(pair_look(second).there, 4);
	ck_assert_uint_eq(pair_look(second).sent, 4);
	ck_assert_uint_eq(pair_look(second).bytes, UINT64_C(4) * 2 * 4096);
	pair_claim("first", 1, 4);
	pair_claim("second", 1, 8); /* R02: held for it, too */
	ck_rc(kvshm_transfer_close(first), 0);
	pair_end();
}
END_TEST

START_TEST(R27_several_senders_write_the_planes_of_one_request)
{
	kvshm_transfer *low, *high;
	kvshm_peer *other;

	pair_begin(BLOCKS, 4, KVSHM_DROP);
	other = pair_connect();
	low = pair_open(pair_peer, "r", 1, 3, 0x3);
	high = pair_open(other, "r", 1, 3, 0xc);
	pair_until(pair_peer, low, 3, KVSHM_SENDING_GRANTED);
	pair_until(other, high, 3, KVSHM_SENDING_GRANTED);
	for (uint32_t i = 0; i < 3; i++)
		pair_fill(low, i, 1 + i, 0x3);
	pair_until(pair_peer, low, 3, KVSHM_SENDING_SENT);
	ck_assert(!pair_has(pair_there, 1)); /* two of four */
	ck_assert_int_eq(pair_state("r"), KVSHM_REQUEST_OPEN);
	for (uint32_t i = 0; i < 3; i++)
		pair_fill(high, i, 1 + i, 0xc);
	ck_rc(pair_wait(high), 0);
	ck_rc(pair_wait(low), 0);
	pair_claim("r", 1, 3);
	pair_end();
}
END_TEST

/* Of two that offer the same keys one writes them; the other waits for them, and has them. */
START_TEST(R07_two_requests_offer_the_same_keys_at_once)
{
	kvshm_transfer *first, *second;

	pair_begin(BLOCKS, 1, KVSHM_KEEP);
	first = pair_open(pair_peer, "first", 1, 2, 0);
	pair_until(pair_peer, first, 2, KVSHM_SENDING_GRANTED);
	second = pair_open(pair_peer, "second", 1, 2, 0);
	pair_until(pair_peer, second, 2, KVSHM_SENDING_PENDING);
	pair_fill(first, 0, 1, 0);
	pair_fill(first, 1, 2, 0);
	ck_rc(pair_wait(first), 0);
	ck_rc(pair_wait(second), 0);
	ck_assert_uint_eq(pair_look(second).there, 2);
	pair_claim("first", 1, 2);
	pair_claim("second", 1, 2);
	pair_end();
}
END_TEST

/* And where the one that writes them aborts, or its connection goes, the other is granted them. */
START_TEST(R07_who_waits_for_another_takes_over_when_that_one_goes)
{
	kvshm_transfer *first, *second;
	kvshm_peer *other;

	pair_begin(BLOCKS, 1, KVSHM_KEEP);
	first = pair_open(pair_peer, "first", 1, 2, 0);
	pair_until(pair_peer, first, 2, KVSHM_SENDING_GRANTED);
	other = pair_connect();
	second = pair_open(other, "second", 1, 2, 0);
	pair_until(other, second, 2, KVSHM_SENDING_PENDING);
	if (_i == 0) {
		ck_rc(kvshm_transfer_abort(first), 0);
		ck_rc(pair_wait(first), -ECANCELED);
	} else {
		pair_disconnect(pair_peer);
	}
	pair_until(other, second, 2, KVSHM_SENDING_GRANTED);
	pair_fill(second, 0, 1, 0);
	pair_fill(second, 1, 2, 0);
	ck_rc(pair_wait(second), 0);
	pair_claim("second", 1, 2);
	pair_end();
}
END_TEST

enum { OPENED, GRANTED, WRITTEN, COMMITTED, MOMENTS };

static kvshm_transfer *until_moment(int moment)
{
	kvshm_transfer *transfer = pair_open(pair_peer, "r", 1, 3, 0);

	if (moment == OPENED)
		return transfer;
	pair_until(pair_peer, transfer, 2, KVSHM_SENDING_GRANTED);
	if (moment >= WRITTEN)
		pair_fill(transfer, 1, 2, 0);
	if (moment == COMMITTED)
		pair_until(pair_peer, transfer, 1, KVSHM_SENDING_SENT);
	return transfer;
}

/* One of the three is there already: R10: it is let go of, too. */
START_TEST(R10_an_abort_in_any_state_leaves_nothing)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	unit_put(pair_there, 1);
	transfer = until_moment(_i);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	ck_rc(pair_wait(transfer), -ECANCELED);
	pair_idle();
	if (_i != OPENED)
		ck_assert(!pair_has(pair_there, 3)); /* R20 */
	ck_assert_int_eq(pair_state("r"), KVSHM_REQUEST_CLOSED);
	pair_end();
}
END_TEST

/* An engine over there does not want it any more. */
START_TEST(R10_an_end_over_there_reaches_the_sender)
{
	struct kvshm_request request;
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	unit_put(pair_there, 1);
	transfer = until_moment(_i ? _i : GRANTED);
	ck_rc(kvshm_request_find(pair_there, "r", 1, &request), 0);
	ck_rc(kvshm_request_end(pair_there, &request), 0);
	ck_rc(pair_wait(transfer), -ECANCELED);
	pair_idle();
	ck_assert(!pair_has(pair_there, 3));
	pair_end();
}
END_TEST

START_TEST(R22_a_sender_that_goes_can_come_again)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	unit_put(pair_there, 1);
	(void)until_moment(_i);
	pair_disconnect(pair_peer);
	pair_idle();
	pair_peer = pair_connect();
	put_here(1, 3);
	transfer = pair_send("again", 1, 3);
	ck_rc(pair_wait(transfer), 0);
	pair_claim("again", 1, 3);
	pair_end();
}
END_TEST

START_TEST(R22_a_receiver_that_goes_can_come_again)
{
	kvshm_transfer *transfer;
	kvshm_peer *other;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	unit_put(pair_there, 1);
	transfer = until_moment(_i);
	pair_stop_listening();
	ck_assert_int_lt(pair_wait(transfer), 0);
	ck_assert_int_eq(pair_look(transfer).ended, 1);
	pair_idle();
	pair_listen();
	put_here(1, 3);
	other = pair_peer;
	pair_peer = pair_connect();
	transfer = pair_send("again", 1, 3);
	ck_rc(pair_wait(transfer), 0);
	pair_claim("again", 1, 3);
	ck_rc(kvshm_transfer_open(other, NULL, 0, 1, NULL, &transfer), -ENOTCONN);
	pair_end();
}
END_TEST

START_TEST(R16_a_request_of_no_blocks_is_complete)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	ck_rc(kvshm_transfer_open(pair_peer, "none", 4, 0, NULL, &transfer), 0);
	ck_rc(pair_wait(transfer), 0);
	pair_claim("none", 0, 0);
	pair_end();
}
END_TEST

/* A sender that does not know whether it was through asks again, with the same id and attempt. */
START_TEST(what_is_sent_again_is_there_until_the_request_is_closed)
{
	kvshm_transfer *transfer, *again;

	pair_begin(BLOCKS, 1, KVSHM_KEEP);
	put_here(1, 1);
	transfer = pair_send("r", 1, 1);
	ck_rc(pair_wait(transfer), 0);
	again = pair_send("r", 1, 1);
	ck_rc(pair_wait(again), 0);
	ck_assert_uint_eq(pair_look(again).there, 1);
	ck_assert_uint_eq(pair_look(again).bytes, 0);
	pair_claim("r", 1, 1);
	again = pair_send("r", 1, 1);
	ck_rc(pair_wait(again), -EALREADY);
	pair_end();
}
END_TEST

START_TEST(R13_R17_room_is_waited_for_until_its_timeout)
{
	struct kvshm_transfer_options options;
	kvshm_transfer *first, *second, *third;

	pair_begin(BLOCKS, 1, KVSHM_KEEP);
	first = pair_open(pair_peer, "first", 1, BLOCKS, 0);
	pair_until(pair_peer, first, BLOCKS, KVSHM_SENDING_GRANTED);
	kvshm_transfer_defaults(&options);
	options.room_timeout = 50000000;
	ck_rc(kvshm_transfer_open(pair_peer, "second", 6, 1, &options, &second), 0);
	ck_rc(pair_wait(second), -ETIMEDOUT);
	ck_assert_int_eq(pair_look(second).ended, 1);
	third = pair_open(pair_peer, "third", 100, 1, 0); /* waits */
	ck_rc(kvshm_transfer_abort(first), 0);
	pair_until(pair_peer, third, 1, KVSHM_SENDING_GRANTED);
	pair_fill(third, 0, 100, 0);
	ck_rc(pair_wait(third), 0);
	pair_claim("third", 100, 1);
	pair_end();
}
END_TEST

/* ---- Get by key */

static kvshm_transfer *want(const char *id, uint64_t first, size_t count)
{
	static uint8_t bytes[BLOCKS][UNIT_KEY];
	struct kvshm_key keys[BLOCKS];
	kvshm_transfer *transfer;

	for (size_t i = 0; i < count; i++) {
		unit_key(first + i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
	}
	ck_rc(kvshm_want(pair_peer, id, id ? strlen(id) : 0, NULL, keys, count, &transfer), 0);
	return transfer;
}

static void end_wanted(kvshm_transfer *transfer)
{
	struct kvshm_transfer_info info = pair_look(transfer);

	ck_assert_int_eq(info.has_request, 1);
	ck_rc(kvshm_request_wait(pair_here, &info.request, 0), 0);
	ck_rc(kvshm_request_end(pair_here, &info.request), 0);
	ck_rc(kvshm_transfer_close(transfer), 0);
}

START_TEST(what_is_wanted_comes_as_far_as_the_other_side_has_it)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	for (uint64_t i = 1; i <= 10; i++)
		unit_put(pair_there, i);
	unit_put(pair_here, 3); /* not sent */
	transfer = want(_i ? "w" : NULL, 1, 20);
	ck_rc(pair_wait(transfer), 0);
	pair_verify(pair_here, 1, 10);
	ck_assert(!pair_has(pair_here, 11));
	end_wanted(transfer);
	pair_end();
}
END_TEST

START_TEST(R16_what_nobody_has_is_wanted_in_vain)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	transfer = want("w", 1, _i ? 5 : 0);
	ck_rc(pair_wait(transfer), 0);
	ck_assert(!pair_has(pair_here, 1));
	end_wanted(transfer);
	pair_end();
}
END_TEST

START_TEST(a_want_is_aborted_or_ends_with_its_connection)
{
	kvshm_transfer *transfer;

	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	for (uint64_t i = 1; i <= 10; i++)
		unit_put(pair_there, i);
	transfer = want("w", 1, 10);
	if (_i == 0) {
		ck_rc(kvshm_transfer_abort(transfer), 0);
		ck_rc(pair_wait(transfer), -ECANCELED);
	} else if (_i == 1) {
		ck_rc(kvshm_transfer_close(transfer), 0);
	} else {
		pair_stop_listening();
		if (pair_wait(transfer))
			ck_assert_msg(strstr(kvshm_error(), "the connection was lost"), "%s", kvshm_error());
		ck_rc(kvshm_transfer_close(transfer), 0);
		pair_listen();
	}
	pair_end();
}
END_TEST

/* ---- Threads --------------------------------------------------------------------------------------------------- */

static kvshm_transfer *waited;
static uint64_t waited_until;

static void *wait_for_it(void *arg)
{
	(void)arg;
	ck_rc(pair_wait(waited), 0);
	waited_until = unit_in_ms(0);
	return NULL;
}

static bool somebody_sleeps(void)
{
	bool sleeping;

	(void)pthread_mutex_lock(&pair_peer->node.lock);
	sleeping = pair_peer->node.sleeping;
	(void)pthread_mutex_unlock(&pair_peer->node.lock);
	return sleeping;
}

/* What one waits for comes while another has its turn, which never sleeps: the one is awake at once, not when it would
 * have looked again anyway, for a PING. */
START_TEST(who_sleeps_is_woken_by_what_another_threads_turn_has_seen)
{
	pair_begin(BLOCKS, 1, KVSHM_DROP);
	for (int i = 0; i < 20; i++) {
		uint64_t ended;
		pthread_t thread;

		waited = pair_open(pair_peer, NULL, 1, 1, 0);
		pair_until(pair_peer, waited, 1, KVSHM_SENDING_GRANTED);
		ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
		while (!somebody_sleeps())
			;
		pair_fill(waited, 0, 1, 0);
		while (!pair_look(waited).ended)
			(void)kvshm_peer_work(pair_peer, 0, NULL, 0, NULL);
		ended = unit_in_ms(0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		ck_assert_uint_lt(waited_until, ended + UINT64_C(2000000000));
		ck_rc(kvshm_transfer_close(waited), 0);
	}
	pair_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		blocks_of_a_store_go_to_another_as_they_are,
		R08_no_byte_is_written_of_what_is_there,
		R27_several_senders_write_the_planes_of_one_request,
		R07_two_requests_offer_the_same_keys_at_once,
		R16_a_request_of_no_blocks_is_complete,
		what_is_sent_again_is_there_until_the_request_is_closed,
		R13_R17_room_is_waited_for_until_its_timeout,
		who_sleeps_is_woken_by_what_another_threads_turn_has_seen,
	};
	const struct unit_loop loops[] = {
		{R07_who_waits_for_another_takes_over_when_that_one_goes, 2},
		{R10_an_abort_in_any_state_leaves_nothing, MOMENTS},
		{R10_an_end_over_there_reaches_the_sender, MOMENTS},
		{R22_a_sender_that_goes_can_come_again, MOMENTS},
		{R22_a_receiver_that_goes_can_come_again, MOMENTS},
		{what_is_wanted_comes_as_far_as_the_other_side_has_it, 2},
		{R16_what_nobody_has_is_wanted_in_vain, 2},
		{a_want_is_aborted_or_ends_with_its_connection, 3},
		{NULL, 0},
	};

	return unit_run_loops("exchange", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
