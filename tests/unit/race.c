/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * race: of all who ask for a missing key at the same time exactly one fills it (B3), and what the others then read is
 * whole (A2). Threads, clients of one process, and processes start together, round after round.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 1000U
#define ASKERS 2U

struct race {
	_Atomic unsigned *arrived; /* at all meetings so far */
	_Atomic unsigned *asleep;  /* of them, now */
	_Atomic unsigned *fills;   /* of each round */
	kvshm_store *store;
};

static void futex(_Atomic unsigned *word, int what, unsigned value)
{
	(void)syscall(SYS_futex, word, what, value, NULL, NULL, 0);
}

/* A barrier that spins, so that all leave it within nanoseconds of each other where there are processors for all.
 * Where there are not, who waits sleeps: one that yields lets every other program of the machine go first, at each
 * meeting. */
static void meet(const struct race *race)
{
	unsigned number = atomic_fetch_add(race->arrived, 1), all = number / ASKERS * ASKERS + ASKERS, seen;

	for (unsigned spins = 0; (seen = atomic_load(race->arrived)) < all; spins++)
		if (spins > 10000) {
			atomic_fetch_add(race->asleep, 1);
			futex(race->arrived, FUTEX_WAIT, seen);
			atomic_fetch_sub(race->asleep, 1);
		}
	if (number + 1 == all && atomic_load(race->asleep))
		futex(race->arrived, FUTEX_WAKE, ASKERS);
}

/* Asks; where room waits for another's section to end (it may have been preempted there), asks again. */
static enum kvshm_outcome ask(kvshm_store *store, uint64_t number, struct kvshm_handle *handle)
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
		.asleep = unit_shared(sizeof(_Atomic unsigned)),
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
	kvshm_store *store = unit_make(&options);

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
	kvshm_store *store = unit_attach();

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
	kvshm_store *store = unit_make(&options);
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

/* Each has a block of its own, whole, and publishes it under the key of the round. */
static void publish_rounds(void *arg)
{
	struct race *race = arg;
	kvshm_store *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		enum kvshm_published published;
		struct kvshm_handle block;
		int rc;

		while ((rc = kvshm_alloc(store, &block)) == -ENOSPC)
			(void)sched_yield();
		ck_rc(rc, 0);
		unit_write(store, &block, i);
		meet(race);
		ck_rc(unit_publish_as(store, &block, i, &published), 0);
		if (published == KVSHM_PUBLISHED)
			atomic_fetch_add(&race->fills[i], 1);
		else if (published == KVSHM_DUPLICATE_PENDING)
			ck_rc(kvshm_wait(store, &block, UINT64_MAX), 0);
		unit_verify(store, &block, i);
		meet(race);
		ck_rc(kvshm_release(store, &block), 0);
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(B3_two_processes_that_publish_under_one_key_at_once_get_one_block)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct child children[ASKERS];
	struct race race = prepare();

	race.store = unit_make(&options);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_child(&children[i], publish_rounds, &race);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_join(&children[i]);
	exactly_one_each(&race);
}
END_TEST

/* One removes the key that the other publishes at the same time: it is published, or canceled, and nothing is left. */
static void remove_rounds(void *arg)
{
	struct race *race = arg;
	kvshm_store *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		int rc;

		meet(race);
		for (int n = 0; n < 20; n++) {
			rc = unit_remove(store, i);
			ck_assert_msg(rc == 0 || rc == -ENOENT, "%d: %s", rc, kvshm_error());
		}
		meet(race);
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(C2_a_key_that_is_removed_as_it_is_published_is_held_or_canceled)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct race race = prepare();
	kvshm_store *store = unit_make(&options);
	struct child child;

	unit_child(&child, remove_rounds, &race);
	for (unsigned i = 0; i < ROUNDS; i++) {
		enum kvshm_published published;
		struct kvshm_handle block, copy;
		int rc;

		while ((rc = kvshm_alloc(store, &block)) == -ENOSPC)
			(void)sched_yield();
		ck_rc(rc, 0);
		unit_write(store, &block, i);
		copy = block;
		meet(&race);
		rc = unit_publish_as(store, &block, i, &published);
		if (rc == 0) {
			ck_assert_int_eq(published, KVSHM_PUBLISHED);
			unit_verify(store, &block, i);
			ck_rc(kvshm_release(store, &block), 0);
		} else {
			ck_rc(rc, -ECANCELED);
			ck_assert_uint_eq(block.kind, KVSHM_NONE);
		}
		ck_assert_uint_eq(unit_entry(store, store->slot, copy.block) & KVS_ENTRY_COUNTS, 0);
		meet(&race);
	}
	unit_join(&child);
}
END_TEST

/* Two processes write a plane each, and end their parts at the same time; a third one reads what it finds. */
struct writers {
	struct race race;
	struct kvshm_ticket *ticket;
	_Atomic unsigned *planes;
	_Atomic bool *over;
};

/* Begins a shared fill, as ask() does. */
static struct kvshm_handle begin_shared(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle fill;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];
	int rc;

	unit_key(number, key);
	while ((rc = kvshm_get_or_fill_shared(store, key, sizeof(key), &outcome, &fill)) == -ENOSPC)
		(void)sched_yield();
	ck_rc(rc, 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	return fill;
}

static void end_parts_rounds(void *arg)
{
	const struct writers *writers = arg;
	unsigned plane = atomic_fetch_add(writers->planes, 1);
	kvshm_store *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_handle part;

		if (plane == 0) { /* it is the filler too */
			struct kvshm_handle fill = begin_shared(store, i);

			*writers->ticket = unit_ticket(store, &fill);
			part = unit_part(store, writers->ticket, 0);
			ck_rc(kvshm_publish(store, &fill, NULL), 0);
			ck_rc(kvshm_release(store, &fill), 0); /* its part is hold enough */
		}
		meet(&writers->race);
		if (plane == 1)
			part = unit_part(store, writers->ticket, 1);
		unit_write_plane(store, &part, i, plane);
		meet(&writers->race);
		ck_rc(kvshm_publish(store, &part, NULL), 0);
		meet(&writers->race);
		unit_verify(store, &part, i);
		ck_assert(unit_has(store, i)); /* whoever was last has made it ready */
		meet(&writers->race);
		ck_rc(kvshm_release(store, &part), 0);
	}
	ck_rc(kvshm_detach(store), 0);
}

/* The same two ask for one plane at once. */
static void join_rounds(void *arg)
{
	const struct writers *writers = arg;
	bool filler = atomic_fetch_add(writers->planes, 1) == 0;
	kvshm_store *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_handle fill, part;
		int rc;

		if (filler) {
			fill = begin_shared(store, 0);
			*writers->ticket = unit_ticket(store, &fill);
		}
		meet(&writers->race);
		rc = kvshm_join(store, writers->ticket, 0, &part);
		ck_assert_msg(rc == 0 || rc == -EBUSY, "%d: %s", rc, kvshm_error());
		meet(&writers->race);
		if (rc == 0) {
			atomic_fetch_add(&writers->race.fills[i], 1);
			ck_rc(kvshm_give_up(store, &part), 0);
		}
		meet(&writers->race);
		if (filler)
			ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(B3_of_two_that_join_one_plane_at_once_one_writes_it)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct writers writers = {.race = prepare()};
	struct child children[ASKERS];

	writers.ticket = unit_shared(sizeof(*writers.ticket));
	writers.planes = unit_shared(sizeof(*writers.planes));
	writers.race.store = unit_make(&options);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_child(&children[i], join_rounds, &writers);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_join(&children[i]);
	for (unsigned i = 0; i < ROUNDS; i++)
		ck_assert_msg(atomic_load(&writers.race.fills[i]) == 1, "round %u: %u writers", i,
			      atomic_load(&writers.race.fills[i]));
}
END_TEST

static void *read_what_is_there(void *arg)
{
	const struct writers *writers = arg;
	kvshm_store *store = writers->race.store;
	unsigned i = 0;

	while (!atomic_load(writers->over)) {
		struct kvshm_handle ref;

		if (unit_get(store, i % ROUNDS, &ref) == 0) {
			unit_verify(store, &ref, i % ROUNDS); /* never with a plane missing */
			ck_rc(kvshm_release(store, &ref), 0);
		} else {
			i++;
		}
		(void)sched_yield();
	}
	return NULL;
}

START_TEST(R27_two_that_end_their_parts_at_once_make_the_block_ready_once)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct writers writers = {.race = prepare()};
	struct child children[ASKERS];
	pthread_t reader;

	writers.ticket = unit_shared(sizeof(*writers.ticket));
	writers.planes = unit_shared(sizeof(*writers.planes));
	writers.over = unit_shared(sizeof(*writers.over));
	writers.race.store = unit_make(&options);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_child(&children[i], end_parts_rounds, &writers);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_what_is_there, &writers), 0);
	for (unsigned i = 0; i < ASKERS; i++)
		unit_join(&children[i]);
	atomic_store(writers.over, true);
	(void)pthread_join(reader, NULL);
	ck_assert_uint_eq(unit_counter(writers.race.store, KVS_COUNT_fills), ROUNDS);
	ck_assert_uint_eq(unit_counter(writers.race.store, KVS_COUNT_parts), (uint64_t)2 * ROUNDS);
}
END_TEST

/* One clears, the other fills; then no key of before is there. */
static void clear_rounds(void *arg)
{
	struct race *race = arg;
	kvshm_store *store = unit_attach();

	for (unsigned i = 0; i < ROUNDS; i++) {
		meet(race);
		ck_rc(kvshm_clear(store), 0);
		meet(race);
		ck_assert(!unit_has(store, 0)); /* published or being published when it was cleared */
		meet(race);
	}
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(R28_what_is_published_as_the_store_is_cleared_is_no_hit_afterwards_or_was_begun_afterwards)
{
	struct kvshm_create_options options = small(KVSHM_KEEP);
	struct race race = prepare();
	kvshm_store *store = unit_make(&options);
	struct child child;

	unit_child(&child, clear_rounds, &race);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kvshm_handle fill, owned = {.kind = KVSHM_NONE};
		enum kvshm_published published;
		int rc;

		if (i % 2)
			while (kvshm_alloc(store, &owned) == -ENOSPC)
				(void)sched_yield();
		else
			ck_assert_int_eq(ask(store, 0, &fill), KVSHM_FILL);
		meet(&race);
		rc = i % 2 ? unit_publish_as(store, &owned, 0, &published) : kvshm_publish(store, &fill, NULL);
		ck_assert_msg(rc == 0 || rc == -ECANCELED, "%d: %s", rc, kvshm_error());
		if (rc == 0)
			ck_rc(kvshm_release(store, i % 2 ? &owned : &fill), 0);
		meet(&race);
		meet(&race);
	}
	unit_join(&child);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_clears), ROUNDS);
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
		B3_two_processes_that_publish_under_one_key_at_once_get_one_block,
		C2_a_key_that_is_removed_as_it_is_published_is_held_or_canceled,
		B3_of_two_that_join_one_plane_at_once_one_writes_it,
		R27_two_that_end_their_parts_at_once_make_the_block_ready_once,
		R28_what_is_published_as_the_store_is_cleared_is_no_hit_afterwards_or_was_begun_afterwards,
	};

	return unit_run("race", tests, sizeof(tests) / sizeof(tests[0]));
}
