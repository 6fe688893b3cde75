/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * holds: what a ref and a pin keep, and their limits (B1, B2, R06, A1).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "epoch.h"

#define BLOCKS 16

/* Everything that can have its room has it several times over. */
static void thrash(kvshm_store *store)
{
	for (uint64_t i = 0; i < UINT64_C(10) * BLOCKS; i++)
		unit_put(store, 100000 + i);
}

START_TEST(B1_a_held_block_is_not_reused)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 1000);

	thrash(other);
	unit_verify(store, &ref, 1);
	ck_assert(unit_has(other, 1));
	ck_rc(kvshm_release(store, &ref), 0);
	thrash(other);
	ck_assert(!unit_has(other, 1));
}
END_TEST

START_TEST(B1_a_pinned_block_is_not_reused)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 1000), pin;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_release(store, &ref), 0);
	thrash(other);
	unit_verify(store, &pin, 1);
	ck_rc(kvshm_unpin(store, &pin), 0);
	thrash(other);
	ck_assert(!unit_has(other, 1));
}
END_TEST

START_TEST(B1_a_block_being_filled_is_not_reused)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1);

	unit_write(store, &fill, 1);
	thrash(other);
	unit_verify(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	unit_verify(store, &fill, 1);
}
END_TEST

static void release_by_one_keeps_it_for_the_other(enum kvshm_retain retain)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle first, second;
	kvshm_store *store, *other;

	options.retain = retain;
	store = unit_make(&options);
	other = unit_attach();
	first = unit_fill(store, 1, 1000);
	ck_rc(unit_get(other, 1, &second), 0);
	ck_rc(kvshm_release(store, &first), 0);
	thrash(store);
	unit_verify(other, &second, 1);
	ck_assert(unit_has(store, 1));
	unit_detach(store);
	ck_assert(unit_has(other, 1));
	unit_verify(other, &second, 1);
}

START_TEST(R06_releasing_a_key_that_another_uses_leaves_it_readable)
{
	release_by_one_keeps_it_for_the_other(KVSHM_KEEP);
}
END_TEST

START_TEST(R06_in_a_drop_store_too)
{
	release_by_one_keeps_it_for_the_other(KVSHM_DROP);
}
END_TEST

START_TEST(R06_two_refs_of_one_client_end_one_by_one)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle first, second;
	kvshm_store *store;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	first = unit_fill(store, 1, 0);
	ck_rc(unit_get(store, 1, &second), 0);
	ck_rc(kvshm_release(store, &first), 0);
	thrash(store);
	unit_verify(store, &second, 1);
	ck_rc(kvshm_release(store, &second), 0);
	ck_assert(!unit_has(store, 1));
}
END_TEST

START_TEST(B2_65535_refs_of_a_block_and_then_EMFILE)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin, theirs, one;
	enum kvshm_outcome outcome;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	for (int i = 1; i < 65535; i++)
		ck_rc(unit_get(store, 1, &one), 0);
	ck_assert_uint_eq(unit_refs(store, &ref), 65535);
	ck_rc(unit_get(store, 1, &one), -EMFILE);
	ck_rc(unit_ask(store, 1, &outcome, &one), -EMFILE);
	ck_assert_uint_eq(unit_refs(store, &ref), 65535);
	ck_assert_uint_eq(unit_pins(store, &ref), 1); /* nothing has spilled over */
	ck_rc(unit_get(other, 1, &theirs), 0);	      /* another client has a row of its own */
	for (int i = 0; i < 65535; i++) {
		one = ref;
		ck_rc(kvshm_release(store, &one), 0);
	}
	one = ref;
	ck_rc(kvshm_release(store, &one), -EBADF);
	ck_rc(unit_get(store, 1, &one), 0);
}
END_TEST

START_TEST(B2_4095_pins_of_a_block_and_then_EMFILE)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin, one;

	for (int i = 0; i < 4095; i++)
		ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_pin(store, &ref, &one), -EMFILE);
	ck_assert_uint_eq(unit_pins(store, &ref), 4095);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	for (int i = 0; i < 4095; i++) {
		one = pin;
		ck_rc(kvshm_unpin(store, &one), 0);
	}
	one = pin;
	ck_rc(kvshm_unpin(store, &one), -EBADF);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
}
END_TEST

START_TEST(a_pin_can_be_taken_from_a_pin_and_while_it_is_filled)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill = unit_begin(store, 1), one, two;

	ck_rc(kvshm_pin(store, &fill, &one), 0);
	ck_rc(kvshm_pin(store, &one, &two), 0);
	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_release(store, &fill), 0);
	ck_rc(kvshm_unpin(store, &one), 0);
	thrash(store);
	unit_verify(store, &two, 1);
	ck_rc(kvshm_unpin(store, &two), 0);
}
END_TEST

START_TEST(A1_a_lookup_writes_only_its_clients_row_and_its_threads_reader_slot)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	uint64_t size = store->map.g.size, row = store->map.g.row_size;
	struct kvshm_handle ref;
	char *before = malloc(size);
	const char *now = (const char *)store->map.head;

	unit_put(store, 1);
	ck_assert(unit_has(other, 1)); /* its bit is set, its reader slot is taken */
	memcpy(before, now, size);
	ck_rc(unit_get(other, 1, &ref), 0);
	for (uint64_t at = 0; at < size; at++) {
		const char *reader = (const char *)unit_actor_of(other).reader;
		bool own_row = at >= store->map.g.rows_at + other->slot * row &&
			       at < store->map.g.rows_at + (other->slot + 1) * row;
		bool own_reader = at >= (uint64_t)(reader - (const char *)other->map.head) &&
				  at < (uint64_t)(reader - (const char *)other->map.head) + sizeof(struct kvs_reader);

		if (before[at] != now[at])
			ck_assert_msg(own_row || own_reader, "byte %llu of the segment was written",
				      (unsigned long long)at);
	}
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	free(before);
}
END_TEST

static void *look_up(void *arg)
{
	ck_assert(unit_has(arg, 1));
	ck_assert(!unit_has(arg, 2));
	return NULL;
}

START_TEST(A1_a_lookup_waits_for_no_lock_and_no_reader)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvs_actor reader = unit_actor_of(other);
	pthread_t thread;

	unit_put(store, 1);
	/* A recovery under way in this process, a section that never ends, an epoch that can't advance. */
	(void)pthread_mutex_lock(&store->map.recovering);
	kvs_enter(&reader);
	ck_assert_int_eq(pthread_create(&thread, NULL, look_up, store), 0);
	(void)pthread_join(thread, NULL);
	kvs_leave(&reader);
	(void)pthread_mutex_unlock(&store->map.recovering);
}
END_TEST

START_TEST(refs_and_pins_that_a_client_leaves_at_detach_are_given_back)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(other, 1, 0), pin;

	ck_rc(kvshm_pin(other, &ref, &pin), 0);
	for (uint64_t i = 2; i < 10; i++)
		(void)unit_fill(other, i, 0);
	unit_detach(other);
	for (uint64_t i = 1; i < 10; i++)
		ck_assert(unit_has(store, i));
	thrash(store);
	ck_assert(!unit_has(store, 1));
	unit_sound();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		B1_a_held_block_is_not_reused,
		B1_a_pinned_block_is_not_reused,
		B1_a_block_being_filled_is_not_reused,
		R06_releasing_a_key_that_another_uses_leaves_it_readable,
		R06_in_a_drop_store_too,
		R06_two_refs_of_one_client_end_one_by_one,
		B2_65535_refs_of_a_block_and_then_EMFILE,
		B2_4095_pins_of_a_block_and_then_EMFILE,
		a_pin_can_be_taken_from_a_pin_and_while_it_is_filled,
		A1_a_lookup_writes_only_its_clients_row_and_its_threads_reader_slot,
		A1_a_lookup_waits_for_no_lock_and_no_reader,
		refs_and_pins_that_a_client_leaves_at_detach_are_given_back,
	};

	return unit_run("holds", tests, sizeof(tests) / sizeof(tests[0]));
}
