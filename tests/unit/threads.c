/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * threads: any thread may call; each has a reader slot while it lives, and gives it back when it ends.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define KEYS 20U

static kvshm_store *one_clients_store(void)
{
	struct kvshm_create_options options = unit_options(64);

	options.clients = 1; /* 16 reader slots */
	return unit_make(&options);
}

static unsigned readers_used(const kvshm_store *store)
{
	unsigned used = 0;

	for (uint32_t i = 0; i < store->map.g.readers; i++)
		used += atomic_load(&store->map.readers[i].owner) != 0;
	return used;
}

static void *ask_once(void *arg)
{
	ck_assert(!unit_has(arg, 1));
	return NULL;
}

START_TEST(a_thread_that_ends_gives_its_reader_slot_back)
{
	kvshm_store *store = one_clients_store();

	ck_assert_uint_eq(store->map.g.readers, 16);
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, ask_once, store), 0);
		(void)pthread_join(thread, NULL);
	}
	ck_assert_uint_eq(readers_used(store), 0); /* this thread has made no call */
}
END_TEST

static pthread_barrier_t all_here, all_done;

static void *ask_and_stay(void *arg)
{
	ck_assert(!unit_has(arg, 1));
	(void)pthread_barrier_wait(&all_here);
	(void)pthread_barrier_wait(&all_done);
	return NULL;
}

START_TEST(too_many_threads_at_once_are_EUSERS_until_one_ends)
{
	kvshm_store *store = one_clients_store();
	struct kvshm_handle ref;
	pthread_t threads[16];

	(void)pthread_barrier_init(&all_here, NULL, 17);
	(void)pthread_barrier_init(&all_done, NULL, 17);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_stay, store), 0);
	(void)pthread_barrier_wait(&all_here);
	ck_assert_uint_eq(readers_used(store), 16);
	ck_rc(unit_get(store, 1, &ref), -EUSERS);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "16"));
	ck_rc(kvshm_recover(store, NULL), -EUSERS);
	(void)pthread_barrier_wait(&all_done);
	for (unsigned i = 0; i < 16; i++)
		(void)pthread_join(threads[i], NULL);
	ck_rc(unit_get(store, 1, &ref), -ENOENT);
}
END_TEST

static struct kvshm_handle left, some[3];

static void *fill_half_and_end(void *arg)
{
	left = unit_begin_shared(arg, 2);
	ck_rc(kvshm_publish(arg, &left, NULL), 0); /* its plane is not written yet */
	return NULL;
}

/* Nobody else could give it up while this client lives. */
START_TEST(D3_a_fill_is_not_let_go_of_by_a_thread_that_can_not_give_it_up)
{
	kvshm_store *store = one_clients_store();
	pthread_t threads[16], filler;

	ck_assert_int_eq(pthread_create(&filler, NULL, fill_half_and_end, store), 0);
	(void)pthread_join(filler, NULL);
	(void)pthread_barrier_init(&all_here, NULL, 17);
	(void)pthread_barrier_init(&all_done, NULL, 17);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_stay, store), 0);
	(void)pthread_barrier_wait(&all_here);
	ck_rc(kvshm_release(store, &left), -EUSERS);
	ck_assert_uint_eq(left.kind, KVSHM_REF);
	ck_assert_uint_eq(unit_refs(store, &left), 1);
	(void)pthread_barrier_wait(&all_done);
	for (unsigned i = 0; i < 16; i++)
		(void)pthread_join(threads[i], NULL);
	ck_rc(kvshm_release(store, &left), 0);
	unit_put(store, 2);
}
END_TEST

static void *hold_some_and_end(void *arg)
{
	(void)fill_half_and_end(arg);
	some[0] = left;
	some[1] = unit_fill(arg, 3, 0);
	some[2] = unit_fill(arg, 4, 0);
	left = some[2];
	ck_rc(kvshm_release(arg, &left), 0); /* some[2] is a copy of it */
	return NULL;
}

START_TEST(let_go_tries_all_and_tells_of_the_first_that_stays)
{
	kvshm_store *store = one_clients_store();
	pthread_t threads[16], filler;

	ck_assert_int_eq(pthread_create(&filler, NULL, hold_some_and_end, store), 0);
	(void)pthread_join(filler, NULL);
	(void)pthread_barrier_init(&all_here, NULL, 17);
	(void)pthread_barrier_init(&all_done, NULL, 17);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_stay, store), 0);
	(void)pthread_barrier_wait(&all_here);
	ck_rc(kvshm_let_go(store, some, 3), -EUSERS);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "16"));
	ck_assert(some[0].kind == KVSHM_REF && some[1].kind == KVSHM_NONE && some[2].kind == KVSHM_REF);
	ck_assert_uint_eq(unit_refs(store, &some[0]), 1);
	(void)pthread_barrier_wait(&all_done);
	for (unsigned i = 0; i < 16; i++)
		(void)pthread_join(threads[i], NULL);
	ck_rc(kvshm_let_go(store, some, 3), -EBADF);
	ck_assert_uint_eq(some[0].kind, KVSHM_NONE);
	unit_put(store, 2);
}
END_TEST

static void *fill_and_end(void *arg)
{
	left = unit_fill(arg, 1, 0);
	return NULL;
}

START_TEST(B2_a_hold_belongs_to_the_client_and_outlives_the_thread_that_took_it)
{
	kvshm_store *store = one_clients_store();
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fill_and_end, store), 0);
	(void)pthread_join(thread, NULL);
	unit_verify(store, &left, 1);
	ck_assert_uint_eq(unit_refs(store, &left), 1);
	ck_rc(kvshm_release(store, &left), 0); /* by another thread */
	ck_rc(kvshm_release(store, &left), -EBADF);
}
END_TEST

static void *fail_with_text(void *arg)
{
	struct kvshm_handle ref;

	ck_assert_str_eq(kvshm_error(), ""); /* another thread's error is not this one's */
	ck_rc(kvshm_get(arg, "k", 0, &ref), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "0 bytes"));
	return NULL;
}

START_TEST(an_errors_text_belongs_to_its_thread)
{
	kvshm_store *store = one_clients_store();
	struct kvshm_handle ref;
	pthread_t thread;

	ck_assert_str_eq(kvshm_error(), "");
	ck_rc(unit_get(store, 1, &ref), -ENOENT);
	ck_assert_int_eq(pthread_create(&thread, NULL, fail_with_text, store), 0);
	(void)pthread_join(thread, NULL);
	ck_assert_str_eq(kvshm_error(), "there is no such key");
}
END_TEST

/* Threads of one client that take and release refs of the same keys, and fill what is missing. */
static void *share_keys(void *arg)
{
	kvshm_store *store = arg;

	(void)pthread_barrier_wait(&all_here);
	for (uint64_t i = 0; i < 3000; i++) {
		enum kvshm_outcome outcome;
		struct kvshm_handle handle;
		uint64_t number = i * 7 % KEYS;

		ck_rc(unit_ask(store, number, &outcome, &handle), 0);
		if (outcome == KVSHM_FILL) {
			unit_write(store, &handle, number);
			ck_rc(kvshm_publish(store, &handle, NULL), 0);
		} else if (outcome == KVSHM_PENDING) {
			ck_rc(kvshm_wait(store, &handle, UINT64_MAX), 0);
		}
		if (i % 16 == 0)
			unit_verify(store, &handle, number);
		ck_rc(kvshm_release(store, &handle), 0);
	}
	return NULL;
}

START_TEST(B2_counts_of_one_client_are_right_whatever_its_threads_do)
{
	kvshm_store *store = one_clients_store();
	pthread_t threads[4];

	(void)pthread_barrier_init(&all_here, NULL, 4);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, share_keys, store), 0);
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	for (uint32_t block = 0; block < 64; block++)
		ck_assert_uint_eq(unit_entry(store, 0, block) & KVS_ENTRY_COUNTS, 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), KEYS);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_hits) + unit_counter(store, KVS_COUNT_dedups) + KEYS, 12000);
}
END_TEST

START_TEST(a_thread_uses_several_stores_at_once)
{
	kvshm_store *first = unit_store(16), *others[10];

	for (unsigned i = 0; i < 7; i++)
		others[i] = unit_attach();
	unit_put(first, 1);
	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < 7; i++)
			ck_assert(unit_has(others[i], 1));
	ck_assert_uint_eq(readers_used(first), 8);
	for (unsigned i = 0; i < 7; i++) {
		unit_detach(others[i]);
		ck_assert_uint_eq(readers_used(first), 7 - i);
	}
}
END_TEST

static void *end_after_detach(void *arg)
{
	ck_assert(!unit_has(arg, 1));
	(void)pthread_barrier_wait(&all_here);
	(void)pthread_barrier_wait(&all_done); /* the store is detached in between */
	return NULL;
}

START_TEST(a_thread_may_end_after_its_store_was_detached)
{
	kvshm_store *first = unit_store(16), *store = unit_attach(), *again;
	pthread_t thread;

	(void)pthread_barrier_init(&all_here, NULL, 2);
	(void)pthread_barrier_init(&all_done, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, end_after_detach, store), 0);
	(void)pthread_barrier_wait(&all_here);
	unit_detach(store);
	again = unit_attach(); /* perhaps the same slot, and the same reader slot: not the thread's to give back */
	ck_assert(!unit_has(again, 1));
	ck_assert(!unit_has(first, 1));
	(void)pthread_barrier_wait(&all_done);
	(void)pthread_join(thread, NULL);
	ck_assert_uint_eq(readers_used(first), 2);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_thread_that_ends_gives_its_reader_slot_back,
		too_many_threads_at_once_are_EUSERS_until_one_ends,
		D3_a_fill_is_not_let_go_of_by_a_thread_that_can_not_give_it_up,
		let_go_tries_all_and_tells_of_the_first_that_stays,
		B2_a_hold_belongs_to_the_client_and_outlives_the_thread_that_took_it,
		an_errors_text_belongs_to_its_thread,
		B2_counts_of_one_client_are_right_whatever_its_threads_do,
		a_thread_uses_several_stores_at_once,
		a_thread_may_end_after_its_store_was_detached,
	};

	return unit_run("threads", tests, sizeof(tests) / sizeof(tests[0]));
}
