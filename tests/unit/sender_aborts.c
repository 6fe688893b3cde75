/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sender_aborts: R10: an abort works at any moment, also before any answer has come, from either side, and from both at
 * once. E2: the sources are the engine's again when what reads them has arrived; what was not written yet is not
 * written any more, and is not committed.
 */
#include "config.h"

#include "hand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static kvshm_transfer *transfer;
static uint32_t number;
static uint8_t *source;

enum moment { OPENING, OPENED, OFFERED, GRANTED, WRITTEN, COMMITTED, MOMENTS };

static const uint32_t position;

static void begin(enum moment moment)
{
	struct kvr_grant granted;

	hand_listen();
	hand_connect(NULL);
	source = calloc(1, HAND_BLOCK);
	ck_rc(kvshm_peer_register(hand_peer, source, HAND_BLOCK), 0);
	if (moment == OPENING) {
		ck_rc(kvshm_transfer_open(hand_peer, "a", 1, 2, NULL, &transfer), 0);
		hand_offer(transfer, 0, 1);
		number = hand_take(KVR_OPEN)->open.transfer;
		return;
	}
	number = hand_open(&transfer, 2);
	if (moment == OPENED)
		return;
	hand_offer(transfer, 0, 1);
	(void)hand_take(KVR_OFFER);
	if (moment == OFFERED)
		return;
	granted = hand_write_it(0, 3);
	hand_grant(number, &granted, 1);
	ck_assert_uint_eq(hand_events(1).sending, KVSHM_SENDING_GRANTED);
	if (moment >= WRITTEN)
		ck_rc(kvshm_transfer_write(transfer, 0, 0, 0, source, HAND_BLOCK), 0);
	if (moment == COMMITTED) {
		ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
		(void)hand_take(KVR_COMMIT);
	}
}

static void end(void)
{
	ck_rc(kvshm_peer_unregister(hand_peer, source), 0); /* nothing reads it */
	hand_end();
	free(source);
}

static const struct kvr_end *take_end(enum kvr_type type)
{
	const struct kvr_message *message = hand_take(type);

	ck_assert_uint_eq(message->end.transfer, number);
	ck_assert(message->end.by_sender);
	return &message->end;
}

START_TEST(R10_an_abort_here_ends_it_when_it_is_answered)
{
	begin((enum moment)_i);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	ck_rc(kvshm_transfer_abort(transfer), 0); /* again: nothing more */
	ck_assert_int_eq(take_end(KVR_ABORT)->result, -ECANCELED);
	hand_silent();
	ck_assert_int_eq(hand_look(transfer).ended, 0);
	ck_rc(kvshm_transfer_wait(transfer, 0), -ETIMEDOUT);
	ck_rc(kvshm_transfer_offer(transfer, 1, &(struct kvshm_offer){.key = {"k", 1}}, 1), -ECANCELED);
	hand_close(KVR_ABORTED, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	hand_silent();
	end();
}
END_TEST

START_TEST(R10_an_abort_over_there_is_drained_and_answered)
{
	begin((enum moment)_i);
	hand_close(KVR_ABORT, number, -ETIMEDOUT);
	(void)take_end(KVR_ABORTED);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ETIMEDOUT);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), -ETIMEDOUT);
	hand_silent();
	end();
}
END_TEST

/* Each is the other's answer. */
START_TEST(R10_aborts_that_cross_are_each_others_answers)
{
	begin((enum moment)_i);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	(void)take_end(KVR_ABORT);
	hand_close(KVR_ABORT, number, -ECANCELED);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	hand_close(KVR_ABORTED, number, 0); /* late */
	hand_silent();
	end();
}
END_TEST

/* What was on its way to the sender when it aborted, is passed over. */
START_TEST(R10_answers_that_cross_an_abort_change_nothing)
{
	const struct kvr_grant grant = hand_answer(0, KVR_HERE, 0);

	begin(OPENING);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	hand_opened(number, 0, "");
	hand_grant(number, &grant, 1);
	(void)take_end(KVR_ABORT);
	hand_work();
	ck_assert_uint_eq(hand_look(transfer).there, 0);
	ck_assert_int_eq(hand_look(transfer).ended, 0);
	hand_close(KVR_ABORTED, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	hand_silent(); /* no offer */
	end();
}
END_TEST

START_TEST(R10_a_refusal_that_crosses_an_abort_is_its_answer)
{
	begin(OPENING);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	hand_opened(number, -ETIMEDOUT, "no room");
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	end();
}
END_TEST

START_TEST(R10_a_DONE_that_crosses_an_abort_was_first)
{
	begin(OPENED);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	end();
}
END_TEST

/* The link takes a few writes, and no more: what waits behind them goes with the abort, its commit too. */
START_TEST(E2_what_was_not_written_yet_is_neither_written_nor_committed)
{
	const size_t size = (size_t)64 << 20;
	struct kvr_grant granted;
	uint8_t *large;

	begin(OPENED);
	large = malloc(size);
	memset(large, 1, size);
	ck_rc(kvshm_peer_register(hand_peer, large, size), 0);
	hand_offer(transfer, 0, 1);
	(void)hand_take(KVR_OFFER);
	granted = hand_write_it(0, 3);
	hand_grant(number, &granted, 1);
	(void)hand_events(1);
	hand_hold();
	for (size_t at = 0; at < size; at += HAND_BLOCK)
		ck_rc(kvshm_transfer_write(transfer, 0, at / HAND_BLOCK % 2, 0, large + at, HAND_BLOCK), 0);
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	hand_go_on();
	(void)take_end(KVR_ABORT); /* not COMMIT */
	hand_close(KVR_ABORTED, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	ck_assert_uint_eq(hand_look(transfer).sent, 0);
	ck_rc(kvshm_peer_unregister(hand_peer, large), 0);
	free(large);
	end();
}
END_TEST

/* Nobody's any more, it is aborted like any, and forgotten when it was answered. */
START_TEST(one_that_is_closed_while_under_way_goes_on_until_it_is_drained)
{
	struct kvshm_peer_info info;

	begin((enum moment)_i);
	ck_rc(kvshm_transfer_close(transfer), 0);
	(void)take_end(KVR_ABORT);
	ck_rc(kvshm_peer_get_info(hand_peer, &info), 0);
	ck_assert_uint_eq(info.transfers, 1);
	hand_close(KVR_ABORTED, number, 0);
	while (info.transfers) {
		hand_work();
		ck_rc(kvshm_peer_get_info(hand_peer, &info), 0);
	}
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R10_answers_that_cross_an_abort_change_nothing,
		R10_a_refusal_that_crosses_an_abort_is_its_answer,
		R10_a_DONE_that_crosses_an_abort_was_first,
		E2_what_was_not_written_yet_is_neither_written_nor_committed,
	};
	const struct unit_loop loops[] = {
		{R10_an_abort_here_ends_it_when_it_is_answered, MOMENTS},
		{R10_an_abort_over_there_is_drained_and_answered, MOMENTS},
		{R10_aborts_that_cross_are_each_others_answers, MOMENTS},
		{one_that_is_closed_while_under_way_goes_on_until_it_is_drained, MOMENTS},
		{NULL, 0},
	};

	return unit_run_loops("sender_aborts", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
