/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_wait: a request is complete when all its blocks are ready, and whoever waits for that is told: by a wake, or,
 * where somebody died, by its own looks (R07, R16, R17, D3). Nothing is waited for beyond the deadline.
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 16U

static void expect_text(const char *says)
{
	ck_assert_msg(strstr(kvshm_error(), says), "no '%s' in: %s", says, kvshm_error());
}

START_TEST(R16_a_request_of_zero_blocks_completes_and_tells_who_waits)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct sleeper waiter = {.store = other, .request = request};

	atomic_store(&scene_endless, true);
	scene_sleep(&waiter, scene_wait);
	scene_asleep(1);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	scene_woken(&waiter, 0);
	ck_rc(kvshm_request_claim(other, &request, NULL, 0, NULL, NULL), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_completed), 1);
	scene_end(store, &request);
}
END_TEST

START_TEST(R16_it_needs_no_room_and_no_keys)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	enum kvshm_next next;

	ck_rc(kvshm_request_reserve(store, &request, 0, 0), 0);
	ck_assert_uint_eq(scene_match(store, &request, 0, 0, NULL, &next), 0);
	ck_assert_int_eq(next, KVSHM_NEXT_NONE);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_wait(store, &request, 0), 0);
}
END_TEST

START_TEST(a_request_is_complete_when_it_has_all_its_blocks_and_says_why_not)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 3);
	struct kvshm_handle theirs = unit_begin(other, 1), own;

	ck_rc(kvshm_request_complete(store, &request, UINT64_MAX), -EINPROGRESS); /* at once */
	expect_text("0 of the 3 blocks");
	(void)scene_pending(store, &request, 1);
	(void)scene_fill(store, &request, 2);
	ck_rc(kvshm_request_complete(store, &request, UINT64_MAX), -EINPROGRESS);
	own = scene_begin(store, &request, 3);
	ck_rc(kvshm_request_complete(store, &request, UINT64_MAX), -EBUSY);
	scene_publish(store, &own, 3);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	ck_rc(kvshm_request_wait(other, &request, 0), -ETIMEDOUT);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_OPEN);
	ck_rc(kvshm_publish(other, &theirs, NULL), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_COMPLETE);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_request_wait(other, &request, 0), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_completed), 1);
	(void)scene_fill(store, &request, 4); /* more than it expected */
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
}
END_TEST

START_TEST(R17_waiting_has_a_deadline_that_is_reached_and_not_before)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	uint64_t deadlines[] = {1, 5, 25}; /* less and more than a slice, in ms */

	(void)unit_begin(other, 1);
	(void)scene_pending(store, &request, 1);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t deadline = unit_in_ms(deadlines[i]);

		ck_rc(kvshm_request_complete(store, &request, deadline), -ETIMEDOUT);
		ck_assert_uint_ge(kvs_now(), deadline);
		deadline = unit_in_ms(deadlines[i]);
		ck_rc(kvshm_request_wait(other, &request, deadline), -ETIMEDOUT);
		ck_assert_uint_ge(kvs_now(), deadline);
	}
	ck_rc(kvshm_request_complete(store, &request, 1), -ETIMEDOUT);
	ck_rc(kvshm_request_wait(store, &request, 1), -ETIMEDOUT);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_wait_timeouts), 8);
	ck_assert_uint_eq(scene_pins(store), 1); /* the hold stays */
}
END_TEST

START_TEST(who_waits_is_told_how_a_request_ended)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request aborted = scene_open(store, 1, 1), complete = scene_open(store, 2, 0),
			     asked = scene_open(store, 3, 0);

	ck_rc(kvshm_request_complete(store, &complete, 0), 0);
	scene_end(store, &aborted);
	scene_end(store, &complete);
	ck_rc(kvshm_request_end(other, &asked), 0);
	ck_rc(kvshm_request_wait(other, &aborted, UINT64_MAX), -ECANCELED);
	expect_text("before it was complete");
	ck_rc(kvshm_request_wait(other, &complete, UINT64_MAX), -ECANCELED);
	expect_text("after it was complete");
	ck_rc(kvshm_request_wait(other, &asked, UINT64_MAX), -ECANCELED);
	expect_text("asked for");
}
END_TEST

/* ---- The owner is woken ------------------------------------------------------------------------------------ */

/* The owner of a request waits for a block that `filler` fills. */
static void owner_is_woken(kvshm_store *store, kvshm_store *filler,
			   void (*end)(kvshm_store *filler, struct kvshm_handle *fill), int wanted)
{
	struct sleeper owner = {.store = store, .request = scene_open(store, 1, 1)};
	struct kvshm_handle fill = unit_begin(filler, 1);

	(void)scene_pending(store, &owner.request, 1);
	atomic_store(&scene_endless, true);
	scene_sleep(&owner, scene_complete);
	scene_asleep(1);
	end(filler, &fill);
	scene_woken(&owner, wanted);
	ck_assert_uint_eq(scene_pins(store), wanted ? 0 : 1);
	if (wanted == 0)
		return;
	(void)scene_fill(store, &owner.request, 1);
	ck_rc(kvshm_request_complete(store, &owner.request, 0), 0);
}

static void by_publish(kvshm_store *filler, struct kvshm_handle *fill)
{
	ck_rc(kvshm_publish(filler, fill, NULL), 0);
	ck_rc(kvshm_release(filler, fill), 0);
}

static void by_give_up(kvshm_store *filler, struct kvshm_handle *fill)
{
	ck_rc(kvshm_give_up(filler, fill), 0);
}

static void by_removal(kvshm_store *filler, struct kvshm_handle *fill)
{
	ck_rc(unit_remove(filler, 1), 0);
	ck_rc(kvshm_publish(filler, fill, NULL), -ECANCELED);
}

static void by_clear(kvshm_store *filler, struct kvshm_handle *fill)
{
	ck_rc(kvshm_clear(filler), 0);
	ck_rc(kvshm_give_up(filler, fill), 0);
}

static void by_detach(kvshm_store *filler, struct kvshm_handle *fill)
{
	(void)fill;
	unit_detach(filler);
}

START_TEST(D3_publish_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, unit_attach(), by_publish, 0);
}
END_TEST

START_TEST(D3_publish_wakes_a_request_of_the_fillers_own_client)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, store, by_publish, 0);
}
END_TEST

START_TEST(D3_give_up_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, unit_attach(), by_give_up, -EAGAIN);
}
END_TEST

START_TEST(D3_give_up_wakes_a_request_of_the_fillers_own_client)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, store, by_give_up, -EAGAIN);
}
END_TEST

START_TEST(D3_removal_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, unit_attach(), by_removal, -EAGAIN);
}
END_TEST

START_TEST(R28_clearing_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, unit_attach(), by_clear, -EAGAIN);
}
END_TEST

START_TEST(D3_detach_of_the_filler_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS);

	owner_is_woken(store, unit_attach(), by_detach, -EAGAIN);
}
END_TEST

START_TEST(a_request_waits_for_all_its_blocks)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct sleeper owner = {.store = store, .request = scene_open(store, 1, 3)};
	struct kvshm_handle fills[3];

	for (unsigned i = 0; i < 3; i++) {
		fills[i] = unit_begin(other, i);
		(void)scene_pending(store, &owner.request, i);
	}
	atomic_store(&scene_endless, true);
	scene_sleep(&owner, scene_complete);
	for (unsigned i = 0; i < 3; i++) {
		scene_asleep(1);
		ck_assert_int_eq(scene_state(store, &owner.request), KVS_REQUEST_OPEN);
		ck_rc(kvshm_publish(other, &fills[i], NULL), 0);
	}
	scene_woken(&owner, 0);
	ck_assert_int_eq(scene_state(store, &owner.request), KVS_REQUEST_COMPLETE);
}
END_TEST

/* Its end is asked for while it waits: seen at its next look, since it sleeps on a block. */
START_TEST(R10_a_request_that_waits_for_a_block_is_ended_by_another)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct sleeper owner = {.store = store, .request = scene_open(store, 1, 1)};
	struct kvshm_handle fill = unit_begin(other, 1);

	(void)scene_pending(store, &owner.request, 1);
	scene_sleep(&owner, scene_complete);
	scene_asleep(1);
	ck_rc(kvshm_request_end(other, &owner.request), 0);
	scene_woken(&owner, -ECANCELED);
	ck_assert_int_eq(scene_state(store, &owner.request), KVS_REQUEST_CLOSED);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
}
END_TEST

/* The end is asked for behind the call's look at the request, while it looks at its blocks; which are counted. */
static unsigned looked_at;
static kvshm_store *asks;
static const struct kvshm_request *asked;
int __real_kvl_judge_wait(const struct kvs_actor *actor, uint32_t block, uint64_t word);
int __wrap_kvl_judge_wait(const struct kvs_actor *actor, uint32_t block, uint64_t word);

int __wrap_kvl_judge_wait(const struct kvs_actor *actor, uint32_t block, uint64_t word)
{
	if (asks)
		ck_rc(kvshm_request_end(asks, asked), 0);
	asks = NULL;
	looked_at++;
	return __real_kvl_judge_wait(actor, block, word);
}

START_TEST(R10_an_end_that_is_asked_for_while_the_blocks_are_looked_at_is_not_lost)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = unit_begin(other, 1);

	(void)scene_pending(store, &request, 1);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	ck_rc(kvshm_release(other, &fill), 0);
	asked = &request;
	asks = other;
	ck_rc(kvshm_request_complete(store, &request, 0), -ECANCELED);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_CLOSED);
	ck_assert_uint_eq(scene_pins(store), 0);
	ck_rc(kvshm_request_wait(other, &request, 0), -ECANCELED);
}
END_TEST

/* ---- What is not ready yet --------------------------------------------------------------------------------- */

static void settle(kvshm_store *store, const struct kvshm_request *request, int wanted, uint32_t pending)
{
	uint32_t seen = 77;

	ck_rc(kvshm_request_settle(store, request, &seen), wanted);
	ck_assert_uint_eq(seen, pending);
}

START_TEST(settle_counts_what_is_not_ready_and_never_waits)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle theirs = unit_begin(other, 1), mine;

	settle(store, &request, 0, 0);
	(void)scene_pending(store, &request, 1);
	settle(store, &request, 0, 1);
	mine = scene_begin(store, &request, 2);
	(void)scene_fill(store, &request, 3);
	settle(store, &request, 0, 2);
	ck_rc(kvshm_publish(other, &theirs, NULL), 0);
	settle(store, &request, 0, 1);
	scene_publish(store, &mine, 2);
	settle(store, &request, 0, 0);
	ck_assert_uint_eq(scene_pins(store), 3); /* what is ready stays held */
	ck_rc(kvshm_request_settle(store, &request, NULL), -EINVAL);
	ck_rc(kvshm_release(other, &theirs), 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(settle_tells_once_of_what_has_failed_and_it_has_ended)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle gone = unit_begin(other, 1), lasts = unit_begin(other, 2), lent[2];

	lent[0] = scene_pending(store, &request, 1);
	lent[1] = scene_pending(store, &request, 2);
	ck_rc(kvshm_give_up(other, &gone), 0);
	settle(store, &request, -EAGAIN, 1);
	ck_assert_uint_eq(scene_pins(store), 1);
	ck_rc(kvshm_wait(store, &lent[0], 0), -EBADF);
	ck_rc(kvshm_wait(store, &lent[1], 0), -ETIMEDOUT);
	settle(store, &request, 0, 1);
	ck_rc(kvshm_give_up(other, &lasts), 0);
	settle(store, &request, -EAGAIN, 0);
	settle(store, &request, 0, 0);
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

START_TEST(settle_goes_on_when_the_request_is_complete_and_ends_with_it)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle theirs = unit_begin(other, 1);
	uint32_t pending = 77;

	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	(void)scene_pending(store, &request, 1);
	(void)scene_begin(store, &request, 2);
	settle(store, &request, 0, 2);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_COMPLETE);
	ck_rc(kvshm_request_end(other, &request), 0);
	ck_rc(kvshm_request_settle(store, &request, &pending), -ECANCELED);
	ck_assert_uint_eq(pending, 77);
	ck_rc(kvshm_give_up(other, &theirs), 0);
}
END_TEST

/* Through every way into the list and out of it the count stays right: no look is left out, and none is in vain. */
START_TEST(settle_looks_at_blocks_only_while_one_is_not_ready)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle theirs = unit_begin(other, 1), lent = scene_pending(store, &request, 1), twice;

	(void)scene_fill(store, &request, 2);
	(void)scene_ready(store, &request, 2);
	twice = scene_pending(store, &request, 1);
	ck_assert_uint_eq(twice.block, lent.block);
	looked_at = 0;
	settle(store, &request, 0, 1);
	ck_assert_uint_eq(looked_at, 1); /* at the one that is not ready */
	ck_rc(kvshm_request_release(store, &request, &lent, 1), 0);
	looked_at = 0;
	settle(store, &request, 0, 0);
	(void)scene_pending(store, &request, 1);
	ck_rc(kvshm_publish(other, &theirs, NULL), 0);
	(void)scene_ready(store, &request, 1); /* so it was seen */
	settle(store, &request, 0, 0);
	ck_assert_uint_eq(looked_at, 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_assert_uint_eq(looked_at, 0);
	ck_rc(kvshm_release(other, &theirs), 0);
}
END_TEST

START_TEST(R27_settle_counts_a_shared_fill_until_its_parts_are_whole_or_one_has_failed)
{
	kvshm_store *store = unit_planes(2), *worker = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);

	for (uint64_t number = 1; number <= 2; number++) {
		uint8_t key[UNIT_KEY];
		enum kvshm_outcome outcome;
		struct kvshm_handle fill, parts[2];
		struct kvshm_ticket ticket;

		unit_key(number, key);
		ck_rc(kvshm_request_get_or_fill_shared(store, &request, key, sizeof(key), &outcome, &fill), 0);
		ck_assert_int_eq(outcome, KVSHM_FILL);
		ticket = unit_ticket(store, &fill);
		parts[0] = unit_part(worker, &ticket, 0);
		parts[1] = unit_part(worker, &ticket, 1);
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
		settle(store, &request, 0, 1);
		unit_end_part(worker, &parts[0], number);
		settle(store, &request, 0, 1);
		if (number == 1) {
			unit_end_part(worker, &parts[1], number);
			ck_rc(kvshm_release(worker, &parts[1]), 0);
			settle(store, &request, 0, 0);
		} else {
			ck_rc(kvshm_give_up(worker, &parts[1]), 0);
			settle(store, &request, -EAGAIN, 0);
		}
		ck_rc(kvshm_release(worker, &parts[0]), 0);
		ck_assert_uint_eq(scene_pins(store), 1);
	}
	scene_end(store, &request);
	scene_nothing_left(store);
}
END_TEST

/* ---- One block of a request's ------------------------------------------------------------------------------ */

START_TEST(D3_a_lent_hold_is_waited_for_as_a_ref_is)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 2);
	struct kvshm_handle first = unit_begin(other, 1), second = unit_begin(other, 2);
	struct kvshm_handle good = scene_pending(store, &request, 1), bad = scene_pending(store, &request, 2), again;

	ck_rc(kvshm_wait(store, &good, 0), -ETIMEDOUT);
	ck_rc(kvshm_publish(other, &first, NULL), 0);
	ck_rc(kvshm_wait(store, &good, unit_in_ms(10000)), 0);
	ck_assert_uint_eq(good.kind, KVSHM_LENT);
	ck_rc(kvshm_give_up(other, &second), 0);
	ck_rc(kvshm_wait(store, &bad, unit_in_ms(10000)), -ECANCELED);
	ck_assert_uint_eq(bad.kind, KVSHM_NONE);
	ck_assert_uint_eq(scene_pins(store), 1);
	again = good;
	scene_end(store, &request);
	ck_rc(kvshm_wait(store, &again, 0), -EBADF);
}
END_TEST

struct lent_wait {
	kvshm_store *store;
	struct kvshm_handle lent;
	int rc;
};

static void *wait_for_lent(void *arg)
{
	struct lent_wait *wait = arg;

	wait->rc = kvshm_wait(wait->store, &wait->lent, UINT64_MAX);
	return NULL;
}

START_TEST(R17_who_waits_for_a_lent_hold_goes_on_when_its_request_ends)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle fill = unit_begin(other, 1);
	struct lent_wait wait = {.store = store, .lent = scene_pending(store, &request, 1)};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_lent, &wait), 0);
	while (unit_counter(store, KVS_COUNT_waits) == 0)
		(void)sched_yield();
	scene_end(store, &request);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(wait.rc, -ECANCELED);
	ck_assert_uint_eq(wait.lent.kind, KVSHM_NONE);
	ck_rc(kvshm_give_up(other, &fill), 0);
}
END_TEST

/* ---- Others are woken -------------------------------------------------------------------------------------- */

/* Two wait, in other clients, until a request is complete. */
static void others_are_woken(void (*change)(kvshm_store *store, const struct kvshm_request *request), int wanted)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct sleeper waiters[2];

	atomic_store(&scene_endless, true);
	for (unsigned i = 0; i < 2; i++) {
		waiters[i] = (struct sleeper){.store = unit_attach(), .request = request};
		scene_sleep(&waiters[i], scene_wait);
	}
	scene_asleep(2);
	change(store, &request);
	for (unsigned i = 0; i < 2; i++)
		scene_woken(&waiters[i], wanted);
}

static void completes(kvshm_store *store, const struct kvshm_request *request)
{
	ck_rc(kvshm_request_complete(store, request, 0), 0);
}

static void is_asked(kvshm_store *store, const struct kvshm_request *request)
{
	kvshm_store *other = unit_attach();

	(void)store;
	ck_rc(kvshm_request_end(other, request), 0);
}

static void detaches(kvshm_store *store, const struct kvshm_request *request)
{
	(void)request;
	unit_detach(store);
}

START_TEST(D3_a_request_that_is_complete_wakes_who_waits)
{
	others_are_woken(completes, 0);
}
END_TEST

START_TEST(D3_a_request_that_ends_wakes_who_waits)
{
	others_are_woken(scene_end, -ECANCELED);
}
END_TEST

START_TEST(D3_an_end_that_is_asked_for_wakes_who_waits)
{
	others_are_woken(is_asked, -ECANCELED);
}
END_TEST

START_TEST(D3_an_owner_that_detaches_wakes_who_waits)
{
	others_are_woken(detaches, -ECANCELED);
}
END_TEST

/* ---- Deaths ------------------------------------------------------------------------------------------------ */

static void own_and_wait_for_death(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 1);

	(void)arg;
	(void)scene_begin(store, &request, 1);
	unit_wait_for_death();
}

START_TEST(D3_recovery_of_a_dead_owner_wakes_who_waits)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct sleeper waiter = {.store = store};
	struct child child;

	unit_child(&child, own_and_wait_for_death, NULL);
	unit_await(&child);
	waiter.request = scene_find(store, 1);
	atomic_store(&scene_endless, true);
	scene_sleep(&waiter, scene_wait);
	scene_asleep(1);
	unit_kill(&child);
	ck_rc(kvshm_recover(other, NULL), 0);
	scene_woken(&waiter, -ECANCELED);
}
END_TEST

START_TEST(D3_recovery_of_a_dead_filler_wakes_a_request_that_waits)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct sleeper owner = {.store = store, .request = scene_open(store, 2, 1)};
	struct child child;

	unit_child(&child, own_and_wait_for_death, NULL);
	unit_await(&child);
	(void)scene_pending(store, &owner.request, 1);
	atomic_store(&scene_endless, true);
	scene_sleep(&owner, scene_complete);
	scene_asleep(1);
	unit_kill(&child);
	ck_rc(kvshm_recover(other, NULL), 0);
	scene_woken(&owner, -EAGAIN);
}
END_TEST

static void wait_for_id_1(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request = scene_find(store, 1);

	(void)arg;
	unit_tell_parent();
	ck_rc(kvshm_request_wait(store, &request, UINT64_MAX), -ECANCELED);
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(D3_all_who_wait_see_that_the_owner_is_dead)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request;
	struct child owner, waiters[3];

	unit_child(&owner, own_and_wait_for_death, NULL);
	unit_await(&owner);
	for (unsigned i = 0; i < 3; i++) {
		unit_child(&waiters[i], wait_for_id_1, NULL);
		unit_await(&waiters[i]);
	}
	request = scene_find(store, 1);
	ck_rc(kvshm_request_wait(store, &request, unit_in_ms(30)), -ETIMEDOUT); /* it lives */
	unit_kill(&owner);
	for (unsigned i = 0; i < 3; i++)
		unit_join(&waiters[i]);
	ck_rc(kvshm_request_wait(store, &request, 0), -ECANCELED);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_requests_aborted), 1);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(R07_a_request_whose_filler_dies_asks_again_and_fills_itself)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 2, 2);
	struct kvshm_handle theirs = unit_begin(other, 2);
	struct child child;

	unit_child(&child, own_and_wait_for_death, NULL);
	unit_await(&child);
	(void)scene_pending(store, &request, 1);
	(void)scene_pending(store, &request, 2);
	ck_rc(kvshm_request_complete(store, &request, unit_in_ms(30)), -ETIMEDOUT);
	unit_kill(&child);
	ck_rc(kvshm_request_complete(store, &request, unit_in_ms(30000)), -EAGAIN);
	ck_assert_uint_eq(scene_pins(store), 1); /* the other's key is waited for as before */
	(void)scene_fill(store, &request, 1);
	ck_rc(kvshm_publish(other, &theirs, NULL), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
}
END_TEST

START_TEST(waits_end_with_the_store)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct sleeper owner = {.store = store, .request = scene_open(store, 1, 1)},
		       waiter = {.store = other, .request = owner.request};

	(void)unit_begin(other, 1);
	(void)scene_pending(store, &owner.request, 1);
	scene_sleep(&owner, scene_complete); /* in slices: the end of a store wakes nobody */
	scene_sleep(&waiter, scene_wait);
	scene_asleep(2);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	scene_woken(&owner, -ESTALE);
	scene_woken(&waiter, -ESTALE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R16_a_request_of_zero_blocks_completes_and_tells_who_waits,
		R16_it_needs_no_room_and_no_keys,
		a_request_is_complete_when_it_has_all_its_blocks_and_says_why_not,
		R17_waiting_has_a_deadline_that_is_reached_and_not_before,
		who_waits_is_told_how_a_request_ended,
		D3_publish_wakes_a_request_that_waits,
		D3_publish_wakes_a_request_of_the_fillers_own_client,
		D3_give_up_wakes_a_request_that_waits,
		D3_give_up_wakes_a_request_of_the_fillers_own_client,
		D3_removal_wakes_a_request_that_waits,
		R28_clearing_wakes_a_request_that_waits,
		D3_detach_of_the_filler_wakes_a_request_that_waits,
		a_request_waits_for_all_its_blocks,
		R10_a_request_that_waits_for_a_block_is_ended_by_another,
		settle_counts_what_is_not_ready_and_never_waits,
		settle_tells_once_of_what_has_failed_and_it_has_ended,
		settle_goes_on_when_the_request_is_complete_and_ends_with_it,
		settle_looks_at_blocks_only_while_one_is_not_ready,
		R27_settle_counts_a_shared_fill_until_its_parts_are_whole_or_one_has_failed,
		D3_a_lent_hold_is_waited_for_as_a_ref_is,
		R17_who_waits_for_a_lent_hold_goes_on_when_its_request_ends,
		R10_an_end_that_is_asked_for_while_the_blocks_are_looked_at_is_not_lost,
		D3_a_request_that_is_complete_wakes_who_waits,
		D3_a_request_that_ends_wakes_who_waits,
		D3_an_end_that_is_asked_for_wakes_who_waits,
		D3_an_owner_that_detaches_wakes_who_waits,
		D3_recovery_of_a_dead_owner_wakes_who_waits,
		D3_recovery_of_a_dead_filler_wakes_a_request_that_waits,
		D3_all_who_wait_see_that_the_owner_is_dead,
		R07_a_request_whose_filler_dies_asks_again_and_fills_itself,
		waits_end_with_the_store,
	};

	return unit_run("request_wait", tests, sizeof(tests) / sizeof(tests[0]));
}
