/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sender_answers: R09, F2: an answer whose positions, counts, planes, blocks or addresses do not fit what was asked is
 * refused whole: none of it is taken, the connection ends with -EPROTO, and so does the transfer. What comes late is
 * passed over.
 */
#include "config.h"

#include "hand.h"

#include <errno.h>
#include <string.h>

static kvshm_transfer *transfer;
static uint32_t number;

/* Four blocks, three of which are offered, and 1 is pending. */
static void begin(void)
{
	const struct kvr_grant pending = hand_answer(1, KVR_PENDING, 0);

	number = hand_open(&transfer, 4);
	hand_offer(transfer, 0, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(hand_take(KVR_OFFER)->transfer, number);
	hand_grant(number, &pending, 1);
	ck_assert_uint_eq(hand_events(1).sending, KVSHM_SENDING_PENDING);
}

/* It ends the connection; nothing of the answer was taken. */
static void refused(void)
{
	struct kvshm_transfer_info info;
	size_t count;

	hand_gone(-EPROTO);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -EPROTO);
	info = hand_look(transfer);
	ck_assert_uint_eq(info.granted + info.there + info.refused, 0);
	ck_assert_uint_eq(info.offered, 2);
	ck_assert_uint_eq(info.pending, 1);
	ck_rc(kvshm_peer_work(hand_peer, 0, &(struct kvshm_event){.position = 0}, 1, &count), 0);
	ck_rc(kvshm_peer_work(hand_peer, 0, &(struct kvshm_event){.position = 0}, 1, &count), -ENOTCONN);
	ck_rc(kvshm_transfer_open(hand_peer, NULL, 0, 1, NULL, &transfer), -ENOTCONN);
}

enum { WRONG_ANSWERS = 17 };

/* A good answer for block 0 goes before each bad one. */
static size_t wrong_answer(int i, struct kvr_grant grants[3])
{
	grants[0] = hand_write_it(0, 5);
	grants[1] = hand_write_it(2, 6);
	switch (i) {
	case 0: /* no such block */
		grants[1].position = 4;
		return 2;
	case 1:
		grants[1].position = UINT32_MAX;
		return 2;
	case 2: /* not offered */
		grants[1].position = 3;
		return 2;
	case 3: /* twice */
		grants[1].position = 0;
		return 2;
	case 4: /* fewer planes */
		grants[1].count = 1;
		return 2;
	case 5: /* more */
		grants[1].count = 3;
		grants[1].planes[2] = (struct kvr_grant_plane){.plane = 2};
		return 2;
	case 6: /* none */
		grants[1].count = 0;
		return 2;
	case 7: /* one of them twice */
		grants[1].planes[1].plane = 0;
		return 2;
	case 8: /* one that was not asked for */
		grants[1].planes[1].plane = 2;
		return 2;
	case 9:
		grants[1].planes[1].plane = UINT32_MAX;
		return 2;
	case 10: /* a block that the store does not have */
		grants[1].block = HAND_BLOCKS;
		return 2;
	case 11: /* at the end of the address space */
		grants[1].planes[0].address = UINT64_MAX - HAND_BLOCK + 2;
		return 2;
	case 12: /* pending, and pending again */
		grants[1] = hand_answer(1, KVR_PENDING, 0);
		return 2;
	case 13: /* refused, and no reason */
		grants[1] = hand_answer(2, KVR_REFUSED, 0);
		return 2;
	case 14: /* a reason, and not refused */
		grants[1] = hand_answer(2, KVR_HERE, -ENOSPC);
		return 2;
	case 15: /* there, and planes to be written */
		grants[1].kind = KVR_HERE;
		return 2;
	default: /* of a transfer that never was */
		return 1;
	}
}

START_TEST(R09_an_answer_that_does_not_fit_is_refused_whole)
{
	struct kvr_grant grants[3];
	size_t count;

	hand_listen();
	hand_connect(NULL);
	begin();
	count = wrong_answer(_i, grants);
	hand_grant(_i == WRONG_ANSWERS - 1 ? number + 1 : number, grants, count);
	refused();
	hand_end();
}
END_TEST

/* An answer to what has its answer. */
START_TEST(R09_a_second_answer_is_refused)
{
	const struct kvr_grant first[] = {hand_answer(0, KVR_HERE, 0), hand_answer(2, KVR_REFUSED, -ENOSPC)};

	hand_listen();
	hand_connect(NULL);
	begin();
	hand_grant(number, first, 2);
	hand_events(2);
	hand_grant(number, &first[_i], 1);
	hand_gone(-EPROTO);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -EPROTO);
	hand_end();
}
END_TEST

START_TEST(F2_messages_out_of_their_order_end_the_connection)
{
	hand_listen();
	hand_connect(NULL);
	begin();
	switch (_i) {
	case 0: /* opened twice */
		hand_opened(number, 0, "");
		break;
	case 1: /* complete, and blocks are open */
		hand_close(KVR_DONE, number, 0);
		break;
	case 2: /* over, and blocks are open: that is an ABORT */
		hand_close(KVR_DONE, number, -ECANCELED);
		break;
	case 3: /* nobody has aborted it */
		hand_close(KVR_ABORTED, number, 0);
		break;
	case 4: /* of transfers that never were */
		hand_close(KVR_DONE, number + 1, 0);
		break;
	case 5:
		hand_close(KVR_ABORT, 0, 0);
		break;
	default:
		hand_opened(UINT32_MAX, 0, "");
		break;
	}
	refused();
	hand_end();
}
END_TEST

START_TEST(F2_what_comes_after_the_end_is_late_and_passed_over)
{
	const struct kvr_grant there = hand_answer(0, KVR_HERE, 0);

	hand_listen();
	hand_connect(NULL);
	number = hand_open(&transfer, 0);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	hand_grant(number, &there, 1);
	hand_close(KVR_DONE, number, 0);
	hand_close(KVR_ABORT, number, 0);
	hand_close(KVR_ABORTED, number, 0);
	hand_opened(number, 0, "");
	ck_rc(kvshm_transfer_close(transfer), 0);
	number = hand_open(&transfer, 0);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	hand_end();
}
END_TEST

/* A text of the other side's is shown in one line. */
START_TEST(a_transfer_that_is_refused_says_why)
{
	hand_listen();
	hand_connect(NULL);
	ck_rc(kvshm_transfer_open(hand_peer, "a", 1, 1, NULL, &transfer), 0);
	hand_offer(transfer, 0, 1);
	number = hand_take(KVR_OPEN)->open.transfer;
	hand_opened(number, -ETIMEDOUT, "no room\nfor it");
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "no room?for it"));
	ck_assert_int_eq(hand_look(transfer).ended, 1);
	ck_rc(kvshm_transfer_offer(transfer, 0, NULL, 0), -ETIMEDOUT);
	hand_silent(); /* what waited to be offered never was */
	hand_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		F2_what_comes_after_the_end_is_late_and_passed_over,
		a_transfer_that_is_refused_says_why,
	};
	const struct unit_loop loops[] = {
		{R09_an_answer_that_does_not_fit_is_refused_whole, WRONG_ANSWERS},
		{R09_a_second_answer_is_refused, 2},
		{F2_messages_out_of_their_order_end_the_connection, 7},
		{NULL, 0},
	};

	return unit_run_loops("sender_answers", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
