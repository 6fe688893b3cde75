/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * race: of all who ask for a missing key at the same time exactly one fills it (B3), and what the others then read is
 * whole (A2). Threads, clients of one process, and processes start together, round after round.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <sched.h>

#define ROUNDS 1000U
#define ASKERS 2U

struct race {
	_Atomic unsigned *arrived; /* at all meetings so far */
	_Atomic unsigned *fills;   /* of each round */
	kvshm *store;
};

/* A barrier that spins, so that all leave it within nanoseconds of each other where there are processors for all. */
static void meet(const struct race *race)
{
	unsigned all = atomic_fetch_add(race->arrived, 1) / ASKERS * ASKERS + ASKERS;

	for (unsigned spins = 0; atomic_load(race->arrived) < all; spins++)
		if (spins > 10000)
			(void)sched_yield();
}

/* Asks; where room waits for another's section to end (it may have been preempted there), asks again. */
static enum kvshm_outcome ask(kvshm *store, uint64_t number, struct kvshm_handle *handle)
{
	enum kvshm_outcome outcome;
	int rc;

	while ((rc = unit_ask(store, number, &outcome, handle)) == -ENOSPC)
		(void)sched_yield();
	ck_rc(rc, 0);
	return outcome;
}

/* Asks for one key a round. All blocks of a round are held until all have asked, so that nobody finds it evicted. */
static void ask_rounds(const struct race *race)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		enum kvshm_outcome outcome;
		struct kvshm_handle handle;

		meet(race);
		outcome = ask(race->store, i, &handle);
		if (outcome == KVSHM_FILL) {
			atomic_fetch_add(&race->fills[i], 1);
			unit_write(race->store, &handle, i);
			ck_rc(kvshm_publish(race->store, &handle, NULL), 0);
		} else {
			ck_rc(kvshm_wait(race->store, &handle, UINT64_MAX), 0);
		}
		unit_verify(race->store, &handle, i);
		meet(race);
		ck_rc(kvshm_release(race->store, &handle), 0);
	}
}

static void *ask_as_thread(void *arg)
{
	ask_rounds(arg);
	return NULL;
}

static void ask_as_process(void *arg)
{
	struct race *race = arg;

	race->store = unit_attach();
	ask_rounds(race);
	ck_rc(kvshm_detach(race->store), 0);
}

static struct kvshm_create_options small(enum kvshm_retain retain)
{
	struct kvshm_create_options options = unit_options(16);

	options.block_size = 512;
	options.size = UINT64_C(16) * 512;
	options.planes = 2;
	options.retain = retain;
	return options;
}

static struct race prepare(void)
{
	return (struct race){
		.arrived = unit_shared(sizeof(_Atomic unsigned)),
		.fills = unit_shared(ROUNDS * sizeof(_Atomic unsigned)),
	};
}

static void exactly_one_each(const struct race *race)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		ck_assert_msg(atomic_load(&race->fills[i]) == 1, "round %u: %u fills", i, atomic_load(&race->fills[i]));
	ck_assert_uint_eq(unit_counter(race->store, KVS_COUNT_fills), ROUNDS);
}

static void threads_ask(bool one_client)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct race races[ASKERS] = {prepare()};
	pthread_t threads[ASKERS];

	races[0].store = unit_make(&options);
	for (unsigned i = 1; i < ASKERS; i++) {
		races[i] = races[0];
		if (!one_client)
			races[i].store = unit_attach();
	}
	for (unsigned i = 0; i < ASKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_as_thread, &races[i]), 0);
	for (unsigned i = 0; i < ASKERS; i++)
		(void)pthread_join(threads[i], NULL);
	exactly_one_each(&races[0]);
}

START_TEST(B3_two_threads_of_one_client_that_ask_at_once_get_one_fill)
{
	threads_ask(true);
}
END_TEST

START_TEST(B3_two_clients_of_one_process_that_ask_at_once_get_one_fill)
{
	threads_ask(false);
}
END_TEST

static void processes_ask(enum kvshm_retain retain)
{
	struct kvshm_create_options options = small(retain);
	struct child children[ASKERS];
	struct race race = prepare();
	kvshm *store = unit_make(&options);

	for (unsigned i = 0; i < ASKERS; i++)
		unit_child(&children[i], ask_as_process, &race);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_join(&children[i]);
	race.store = store;
	exactly_one_each(&race);
}

START_TEST(B3_two_processes_that_ask_at_once_get_one_fill)
{
	processes_ask(KVSHM_KEEP);
}
END_TEST

START_TEST(B3_two_processes_that_ask_at_once_get_one_fill_in_a_drop_store)
{
	processes_ask(KVSHM_DROP);
}
END_TEST

/* One publishes, gives up and removes in turn; the other reads what it is told is there. */
static void read_rounds(void *arg)
{
	struct race *race = arg;
	kvshm *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_handle ref;
		int rc;

		meet(race);
		rc = unit_get(store, i, &ref);
		if (rc == 0) {
			unit_verify(store, &ref, i); /* whole, in every plane, whatever happens to the key meanwhile */
			ck_rc(kvshm_release(store, &ref), 0);
		} else {
			ck_assert_msg(rc == -ENOENT || rc == -EAGAIN, "%d: %s", rc, kvshm_error());
		}
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(A2_what_is_found_is_whole_while_others_publish_give_up_and_remove)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct race race = prepare();
	kvshm *store = unit_make(&options);
	struct child child;

	unit_child(&child, read_rounds, &race);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_handle fill;

		ck_assert_int_eq(ask(store, i, &fill), KVSHM_FILL);
		meet(&race);
		unit_write(store, &fill, i);
		if (i % 3 == 0) {
			ck_rc(kvshm_give_up(store, &fill), 0);
			continue;
		}
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
		if (i % 3 == 1)
			ck_rc(unit_remove(store, i), 0);
		ck_rc(kvshm_release(store, &fill), 0);
	}
	unit_join(&child);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		B3_two_threads_of_one_client_that_ask_at_once_get_one_fill,
		B3_two_clients_of_one_process_that_ask_at_once_get_one_fill,
		B3_two_processes_that_ask_at_once_get_one_fill,
		B3_two_processes_that_ask_at_once_get_one_fill_in_a_drop_store,
		A2_what_is_found_is_whole_while_others_publish_give_up_and_remove,
	};

	return unit_run("race", tests, sizeof(tests) / sizeof(tests[0]));
}
