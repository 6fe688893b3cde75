/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * match: the longest ready prefix, held; what is said of the key behind it; and nothing held where it fails.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#define COUNT 8

static uint8_t bytes[COUNT][UNIT_KEY];
static struct kvshm_key keys[COUNT];
static struct kvshm_handle refs[COUNT];

/* Keys 0 to 7; the first count of them are in the store. */
static kvshm_store *prefix(unsigned count)
{
	kvshm_store *store = unit_store(64);

	for (uint64_t i = 0; i < COUNT; i++) {
		unit_key(i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
		refs[i] = (struct kvshm_handle){.life = 12345, .block = 67, .kind = KVSHM_NONE};
	}
	for (uint64_t i = 0; i < count; i++)
		unit_put(store, i);
	return store;
}

static void matched(kvshm_store *store, size_t count, size_t wanted, enum kvshm_next wanted_next)
{
	enum kvshm_next next;
	size_t ready;

	ck_rc(kvshm_match(store, keys, count, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, wanted);
	ck_assert_int_eq(next, wanted_next);
	for (size_t i = 0; i < ready; i++) {
		ck_assert_uint_eq(refs[i].kind, KVSHM_REF);
		unit_verify(store, &refs[i], i);
		ck_rc(kvshm_release(store, &refs[i]), 0);
	}
	for (size_t i = ready; i < COUNT; i++)
		ck_assert(refs[i].life == 12345 && refs[i].block == 67); /* untouched */
}

START_TEST(match_of_all_ready_keys_holds_all)
{
	matched(prefix(COUNT), COUNT, COUNT, KVSHM_NEXT_NONE);
}
END_TEST

START_TEST(match_ends_at_a_missing_key)
{
	kvshm_store *store = prefix(5);

	unit_put(store, 6); /* behind the gap: not reached */
	matched(store, COUNT, 5, KVSHM_NEXT_MISSING);
}
END_TEST

START_TEST(R07_match_ends_at_a_key_that_is_being_filled)
{
	kvshm_store *store = prefix(3);
	struct kvshm_handle fill = unit_begin(store, 3);

	matched(store, COUNT, 3, KVSHM_NEXT_FILLING);
	ck_assert_uint_eq(unit_refs(store, &fill), 1); /* the filler's */
	unit_write(store, &fill, 3);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	matched(store, COUNT, 4, KVSHM_NEXT_MISSING);
}
END_TEST

START_TEST(match_of_a_missing_first_key_holds_nothing)
{
	matched(prefix(0), COUNT, 0, KVSHM_NEXT_MISSING);
}
END_TEST

START_TEST(match_of_a_first_key_being_filled_holds_nothing)
{
	kvshm_store *store = prefix(0);

	(void)unit_begin(store, 0);
	matched(store, COUNT, 0, KVSHM_NEXT_FILLING);
}
END_TEST

START_TEST(match_of_no_keys_is_all_of_them)
{
	matched(prefix(0), 0, 0, KVSHM_NEXT_NONE);
}
END_TEST

START_TEST(match_of_one_key_twice_holds_it_twice)
{
	kvshm_store *store = prefix(1);
	enum kvshm_next next;
	size_t ready;

	keys[1] = keys[0];
	ck_rc(kvshm_match(store, keys, 2, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, 2);
	ck_assert_uint_eq(unit_refs(store, &refs[0]), 2);
	ck_rc(kvshm_release(store, &refs[0]), 0);
	ck_rc(kvshm_release(store, &refs[1]), 0);
}
END_TEST

START_TEST(a_match_that_fails_holds_nothing_and_sets_nothing)
{
	kvshm_store *store = prefix(3);
	enum kvshm_next next = KVSHM_NEXT_FILLING;
	struct kvshm_handle first, ref;
	size_t ready = 99;

	ck_rc(unit_get(store, 0, &first), 0);
	for (int i = 0; i < 65535; i++)
		ck_rc(unit_get(store, 2, &ref), 0);
	ck_rc(kvshm_match(store, keys, COUNT, refs, &ready, &next), -EMFILE);
	ck_assert_uint_eq(unit_refs(store, &first), 1);
	ck_assert_uint_eq(unit_refs(store, &ref), 65535);
	ck_assert_uint_eq(ready, 99);
	ck_assert_int_eq(next, KVSHM_NEXT_FILLING);
	/* A caller that releases what it finds in refs must not hit other holds of its own. */
	ck_assert(refs[0].kind == KVSHM_NONE && refs[1].kind == KVSHM_NONE);
}
END_TEST

START_TEST(A2_a_removed_key_ends_a_match)
{
	kvshm_store *store = prefix(COUNT);

	ck_rc(unit_remove(store, 4), 0);
	matched(store, COUNT, 4, KVSHM_NEXT_MISSING);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		match_of_all_ready_keys_holds_all,
		match_ends_at_a_missing_key,
		R07_match_ends_at_a_key_that_is_being_filled,
		match_of_a_missing_first_key_holds_nothing,
		match_of_a_first_key_being_filled_holds_nothing,
		match_of_no_keys_is_all_of_them,
		match_of_one_key_twice_holds_it_twice,
		a_match_that_fails_holds_nothing_and_sets_nothing,
		A2_a_removed_key_ends_a_match,
	};

	return unit_run("match", tests, sizeof(tests) / sizeof(tests[0]));
}
