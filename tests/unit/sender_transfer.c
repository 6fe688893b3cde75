/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sender_transfer: the ways of a block from the offer to its last state, what goes out on them, and what calls refuse;
 * against another node that is driven by hand. E1: a commit goes behind its writes. R08: what is there is not written.
 */
#include "config.h"

#include "hand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static kvshm_transfer *transfer;
static uint32_t number;
static uint8_t *source; /* registered; block n at n * HAND_BLOCK */

static void begin(uint32_t blocks)
{
	hand_listen();
	hand_connect(NULL);
	source = malloc(blocks * HAND_BLOCK);
	for (uint32_t i = 0; i < blocks; i++)
		memset(source + i * HAND_BLOCK, (int)(i + 1), HAND_BLOCK);
	ck_rc(kvshm_peer_register(hand_peer, source, blocks * HAND_BLOCK), 0);
	number = hand_open(&transfer, blocks);
}

static void end(void)
{
	hand_end();
	free(source);
}

static void grant_all(uint32_t count)
{
	struct kvr_grant grants[16];

	hand_offer(transfer, 0, count);
	for (uint32_t i = 0; i < count; i++) {
		(void)hand_take(KVR_OFFER);
		grants[i] = hand_write_it(i, i);
	}
	hand_grant(number, grants, count);
	ck_assert_uint_eq(hand_events(count).sending, KVSHM_SENDING_GRANTED);
}

static int write_block(uint32_t position, unsigned plane)
{
	return kvshm_transfer_write(transfer, position, plane, 0, source + position * HAND_BLOCK, HAND_BLOCK);
}

static void write_both(uint32_t position)
{
	ck_rc(write_block(position, 0), 0);
	ck_rc(write_block(position, 1), 0);
}

START_TEST(what_is_offered_is_what_was_said)
{
	struct kvshm_offer offers[60];
	uint8_t keys[60][64];
	uint32_t seen = 0;

	begin(60);
	for (uint32_t i = 0; i < 60; i++) {
		memset(keys[i], (int)i, sizeof(keys[i]));
		offers[i] = (struct kvshm_offer){.key = {keys[i], 64}, .meta = {.length = i, .depth = 1000 + i}};
		memset(offers[i].meta.opaque, (int)(i ^ 0xff), KVSHM_OPAQUE_SIZE);
	}
	ck_rc(kvshm_transfer_offer(transfer, 0, offers, 60), 0);
	ck_assert_uint_eq(hand_look(transfer).offered, 60);
	while (seen < 60) {
		struct kvr_message *message = hand_take(KVR_OFFER);

		ck_assert_uint_eq(message->transfer, number);
		for (uint32_t i = 0; i < message->count; i++, seen++) {
			struct kvr_offer offer;

			kvr_next_offer(message, &offer);
			ck_assert_uint_eq(offer.position, seen);
			ck_assert_uint_eq(offer.length, seen);
			ck_assert_uint_eq(offer.depth, 1000 + seen);
			ck_assert_uint_eq(offer.key.length, 64);
			ck_assert_int_eq(memcmp(offer.key.bytes, keys[seen], 64), 0);
			ck_assert_int_eq(memcmp(offer.opaque, offers[seen].meta.opaque, KVSHM_OPAQUE_SIZE), 0);
		}
	}
	end();
}
END_TEST

/* Nothing is offered before the room is there (R11). */
START_TEST(R11_offers_wait_for_OPENED)
{
	begin(1);
	ck_rc(kvshm_transfer_open(hand_peer, "b", 1, 1, NULL, &transfer), 0);
	hand_offer(transfer, 0, 1);
	number = hand_take(KVR_OPEN)->open.transfer;
	hand_silent();
	hand_opened(number, 0, "");
	ck_assert_uint_eq(hand_take(KVR_OFFER)->transfer, number);
	end();
}
END_TEST

START_TEST(E1_a_block_goes_from_offer_to_sent)
{
	const uint32_t position = 1;
	struct kvr_message *message;
	struct kvr_commit commit;

	begin(2);
	grant_all(2);
	write_both(1);
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
	ck_assert_uint_eq(hand_look(transfer).committed, 1);
	message = hand_take(KVR_COMMIT);
	kvr_next_commit(message, &commit);
	ck_assert_uint_eq(message->count, 1);
	ck_assert_uint_eq(commit.position, 1);
	ck_assert_uint_eq(commit.planes, 3);
	ck_assert_uint_eq(commit.kind, KVR_WHOLE);
	/* Behind its writes: so they are there, in both planes. */
	ck_assert_int_eq(memcmp(hand_bytes(1, 0), source + HAND_BLOCK, HAND_BLOCK), 0);
	ck_assert_int_eq(memcmp(hand_bytes(1, 1), source + HAND_BLOCK, HAND_BLOCK), 0);
	ck_assert_uint_eq(hand_events(1).sending, KVSHM_SENDING_SENT);
	ck_assert_uint_eq(hand_look(transfer).sent, 1);
	ck_assert_uint_eq(hand_look(transfer).bytes, 2 * HAND_BLOCK);
	end();
}
END_TEST

START_TEST(what_is_adjacent_goes_in_one_write)
{
	const uint32_t all[] = {0, 1, 2, 3, 4};

	struct kvr_grant grant;

	begin(5);
	grant_all(4);
	hand_offer(transfer, 4, 1);
	grant = hand_write_it(4, 10);
	hand_grant(number, &grant, 1);
	(void)hand_take(KVR_OFFER);
	(void)hand_events(1);
	(void)hand_writes();
	for (uint32_t i = 0; i < 4; i++)
		ck_rc(write_block(i, 0), 0);
	for (uint32_t i = 0; i < 4; i++)
		ck_rc(write_block(i, 1), 0);
	ck_rc(write_block(4, 1), 0); /* its source continues, its target does not */
	ck_rc(write_block(4, 0), 0);
	ck_rc(kvshm_transfer_commit(transfer, all, 5), 0);
	ck_assert_uint_eq(hand_writes(), 4);
	(void)hand_take(KVR_COMMIT);
	for (uint32_t i = 0; i < 5; i++) {
		const uint32_t block = i < 4 ? i : 10;

		ck_assert_int_eq(memcmp(hand_bytes(block, 0), source + i * HAND_BLOCK, HAND_BLOCK), 0);
		ck_assert_int_eq(memcmp(hand_bytes(block, 1), source + i * HAND_BLOCK, HAND_BLOCK), 0);
	}
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	end();
}
END_TEST

START_TEST(R08_what_is_there_is_not_written)
{
	const struct kvr_grant there[] = {hand_answer(0, KVR_HERE, 0), hand_answer(1, KVR_HERE, 0)};

	begin(2);
	hand_offer(transfer, 0, 2);
	(void)hand_writes();
	hand_grant(number, there, 2);
	ck_assert_uint_eq(hand_events(2).sending, KVSHM_SENDING_THERE);
	ck_rc(write_block(0, 0), -EINVAL);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	ck_assert_uint_eq(hand_writes(), 0);
	ck_assert_uint_eq(hand_look(transfer).bytes, 0);
	end();
}
END_TEST

START_TEST(R07_what_another_fills_is_there_or_is_granted_later)
{
	const struct kvr_grant pending[] = {hand_answer(0, KVR_PENDING, 0), hand_answer(1, KVR_PENDING, 0)};
	struct kvr_grant then[] = {hand_answer(0, KVR_HERE, 0), {.position = 1}};
	const uint32_t position = 1;

	begin(2);
	then[1] = hand_write_it(1, 7);
	hand_offer(transfer, 0, 2);
	hand_grant(number, pending, 2);
	ck_assert_uint_eq(hand_events(2).sending, KVSHM_SENDING_PENDING);
	hand_grant(number, then, 2);
	ck_assert_uint_eq(hand_events(2).sending, KVSHM_SENDING_GRANTED);
	write_both(1);
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
	(void)hand_events(1);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	ck_assert_int_eq(memcmp(hand_bytes(7, 0), source + HAND_BLOCK, HAND_BLOCK), 0);
	end();
}
END_TEST

/* Of each key its own result; the others go on. */
START_TEST(R24_one_that_is_refused_does_not_fail_the_others)
{
	const struct kvr_grant answers[] = {hand_answer(0, KVR_REFUSED, -ENOSPC), hand_answer(1, KVR_HERE, 0)};
	struct kvshm_event events[2];
	size_t count = 0;

	begin(2);
	hand_offer(transfer, 0, 2);
	hand_grant(number, answers, 2);
	while (count < 2) {
		size_t more;

		ck_rc(kvshm_peer_work(hand_peer, unit_in_ms(UNIT_SOON), events + count, 2 - count, &more), 0);
		count += more;
	}
	ck_assert_uint_eq(events[0].sending, KVSHM_SENDING_REFUSED);
	ck_assert_int_eq(events[0].result, -ENOSPC);
	ck_assert_uint_eq(events[1].sending, KVSHM_SENDING_THERE);
	hand_close(KVR_DONE, number, 0); /* it is over; but not all are there */
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	end();
}
END_TEST

START_TEST(what_is_given_up_ends_as_refused)
{
	const uint32_t up = 0, whole = 1;
	struct kvr_commit commit;
	struct kvshm_event event;

	begin(2);
	grant_all(2);
	ck_rc(write_block(0, 0), 0);
	ck_rc(kvshm_transfer_give_up(transfer, &up, 1), 0);
	write_both(1);
	ck_rc(kvshm_transfer_commit(transfer, &whole, 1), 0);
	kvr_next_commit(hand_take(KVR_COMMIT), &commit);
	ck_assert_uint_eq(commit.position, 0);
	ck_assert_uint_eq(commit.kind, KVR_GIVEN_UP);
	kvr_next_commit(hand_take(KVR_COMMIT), &commit);
	ck_assert_uint_eq(commit.kind, KVR_WHOLE);
	event = hand_events(1);
	ck_assert_uint_eq(event.sending, KVSHM_SENDING_REFUSED);
	ck_assert_int_eq(event.result, -ECANCELED);
	ck_assert_uint_eq(hand_events(1).sending, KVSHM_SENDING_SENT);
	hand_close(KVR_DONE, number, -ECANCELED);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), -ECANCELED);
	end();
}
END_TEST

START_TEST(R16_a_transfer_of_no_blocks_completes)
{
	begin(1);
	ck_rc(kvshm_transfer_open(hand_peer, NULL, 0, 0, NULL, &transfer), 0);
	number = hand_take(KVR_OPEN)->open.transfer;
	hand_opened(number, 0, "");
	hand_close(KVR_DONE, number, 0);
	ck_assert_uint_eq(hand_events(1).position, KVSHM_WHOLE_TRANSFER);
	ck_rc(kvshm_transfer_wait(transfer, 0), 0);
	end();
}
END_TEST

START_TEST(calls_refuse_what_is_out_of_range_and_change_nothing)
{
	const uint32_t twice[] = {0, 0}, some[] = {0, 1}, none = 4;
	struct kvshm_offer offer = {.key = {"k", 1}};
	kvshm_transfer *other;

	begin(4);
	grant_all(1);
	ck_rc(kvshm_transfer_offer(transfer, 0, &offer, 1), -EINVAL);
	ck_rc(kvshm_transfer_offer(transfer, 4, &offer, 1), -EINVAL);
	ck_rc(kvshm_transfer_offer(transfer, UINT32_MAX, &offer, 1), -EINVAL);
	ck_rc(kvshm_transfer_offer(transfer, 1, NULL, 1), -EINVAL);
	offer.key.length = 0;
	ck_rc(kvshm_transfer_offer(transfer, 1, &offer, 1), -EINVAL);
	offer = (struct kvshm_offer){.key = {"k", KVSHM_KEY_MAX + 1}};
	ck_rc(kvshm_transfer_offer(transfer, 1, &offer, 1), -EINVAL);
	offer = (struct kvshm_offer){.key = {"k", 1}, .meta.length = HAND_BLOCK + 1};
	ck_rc(kvshm_transfer_offer(transfer, 1, &offer, 1), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 0, 0, 1, source, HAND_BLOCK), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 0, 0, UINT64_MAX, source, 2), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 0, 2, 0, source, 1), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 0, 64, 0, source, 1), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 1, 0, 0, source, 1), -EINVAL);
	ck_rc(kvshm_transfer_write(transfer, 0, 0, 0, source - 1, 1), -EFAULT);
	ck_rc(kvshm_transfer_commit(transfer, twice, 2), -EINVAL);
	ck_rc(kvshm_transfer_commit(transfer, some, 2), -EINVAL);
	ck_rc(kvshm_transfer_give_up(transfer, &none, 1), -EINVAL);
	ck_assert_uint_eq(hand_look(transfer).granted, 1);
	ck_assert_uint_eq(hand_look(transfer).bytes, 0);
	ck_rc(kvshm_transfer_open(hand_peer, "x", 1, HAND_BLOCKS + 1, NULL, &other), -E2BIG);
	ck_rc(kvshm_transfer_open(hand_peer, "", 0, 1, NULL, &other), -EINVAL);
	ck_rc(kvshm_transfer_open(hand_peer, "x", KVSHM_REQUEST_ID_MAX + 1, 1, NULL, &other), -EINVAL);
	ck_rc(kvshm_transfer_open(hand_peer, "x", 1, 1, &(struct kvshm_transfer_options){.planes = 4}, &other),
	      -EINVAL);
	ck_rc(kvshm_send(hand_peer, NULL, 0, NULL, NULL, 0, &other), -EINVAL); /* no store here */
	ck_rc(kvshm_want(hand_peer, NULL, 0, NULL, NULL, 0, &other), -EINVAL);
	hand_silent();
	end();
}
END_TEST

START_TEST(memory_stays_registered_while_it_may_be_read)
{
	const uint32_t position = 0;

	begin(2);
	grant_all(2);
	ck_rc(kvshm_peer_register(hand_peer, source + 1, 1), -EEXIST);
	ck_rc(kvshm_peer_unregister(hand_peer, source + 1), -ENOENT);
	write_both(0);
	ck_rc(kvshm_peer_unregister(hand_peer, source), -EBUSY);
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
	ck_assert_uint_eq(hand_events(1).sending, KVSHM_SENDING_SENT);
	ck_rc(kvshm_peer_unregister(hand_peer, source), 0);
	ck_rc(write_block(1, 0), -EFAULT);
	end();
}
END_TEST

/* Several are told in the order in which they happened, each once, however little place there is. */
START_TEST(what_has_no_place_is_told_next_time)
{
	const struct kvr_grant there[] = {hand_answer(0, KVR_HERE, 0), hand_answer(1, KVR_HERE, 0),
					  hand_answer(2, KVR_HERE, 0)};
	int fd;

	begin(3);
	hand_offer(transfer, 0, 3);
	hand_grant(number, there, 3);
	hand_close(KVR_DONE, number, 0);
	ck_rc(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	ck_rc(kvshm_peer_fd(hand_peer, &fd), 0);
	for (uint32_t i = 0; i < 3; i++) {
		struct kvshm_event event = hand_events(1);

		ck_assert_uint_eq(event.position, i);
		ck_assert_ptr_eq(event.transfer, transfer);
	}
	ck_assert_uint_eq(hand_events(1).position, KVSHM_WHOLE_TRANSFER);
	end();
}
END_TEST

START_TEST(a_lost_connection_ends_all_and_says_why)
{
	kvshm_transfer *other;
	struct kvshm_peer_info info;

	begin(2);
	grant_all(1);
	ck_rc(kvshm_transfer_open(hand_peer, "b", 1, 1, NULL, &other), 0);
	ck_rc(kvshm_transfer_close(other), 0); /* under way: it goes on without an owner */
	ck_rc(kvshm_peer_get_info(hand_peer, &info), 0);
	ck_assert_uint_eq(info.transfers, 2);
	hand_cut();
	ck_assert_int_lt(kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON)), 0);
	ck_assert_int_eq(hand_look(transfer).result, -ECONNRESET);
	ck_rc(kvshm_peer_get_info(hand_peer, &info), 0);
	ck_assert_uint_eq(info.transfers, 0);
	ck_assert_int_eq(info.connected, 0);
	ck_rc(write_block(0, 0), -ECONNRESET);
	ck_rc(kvshm_transfer_abort(transfer), 0);
	end();
}
END_TEST

static void forked(void *arg)
{
	int fd;

	(void)arg;
	ck_rc(kvshm_transfer_abort(transfer), -ECHILD);
	ck_rc(kvshm_peer_fd(hand_peer, &fd), -ECHILD);
	ck_rc(kvshm_disconnect(hand_peer), -ECHILD);
}

START_TEST(after_fork_they_are_the_parents)
{
	struct child child;

	if (!unit_fork_wipes("after_fork_they_are_the_parents"))
		return;
	begin(1);
	unit_child(&child, forked, NULL);
	unit_join(&child);
	grant_all(1);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_is_offered_is_what_was_said,
		R11_offers_wait_for_OPENED,
		E1_a_block_goes_from_offer_to_sent,
		what_is_adjacent_goes_in_one_write,
		R08_what_is_there_is_not_written,
		R07_what_another_fills_is_there_or_is_granted_later,
		R24_one_that_is_refused_does_not_fail_the_others,
		what_is_given_up_ends_as_refused,
		R16_a_transfer_of_no_blocks_completes,
		calls_refuse_what_is_out_of_range_and_change_nothing,
		memory_stays_registered_while_it_may_be_read,
		what_has_no_place_is_told_next_time,
		a_lost_connection_ends_all_and_says_why,
		after_fork_they_are_the_parents,
	};

	return unit_run("sender_transfer", tests, sizeof(tests) / sizeof(tests[0]));
}
