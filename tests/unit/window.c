/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * window: matches of sliding windows, and of keys of which some are not asked for, against an oracle that tries every
 * prefix.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEYS 100U /* more than three groups are fetched */

enum presence { MISSING, FILLING, READY, NOT_ASKED };

static kvshm_store *store;
static enum presence presence[KEYS];
static uint8_t bytes[KEYS][UNIT_KEY];
static struct kvshm_key keys[KEYS];
static struct kvshm_handle refs[KEYS], fills[KEYS];

/* A store of which the keys 0 to count - 1 are as told. */
static void make(const enum presence *wanted, size_t count)
{
	if (!store)
		store = unit_store(2 * KEYS);
	for (uint64_t i = 0; i < count; i++) {
		if (fills[i].kind == KVSHM_WRITER)
			ck_rc(kvshm_give_up(store, &fills[i]), 0);
		if (unit_has(store, i))
			ck_rc(unit_remove(store, i), 0);
		presence[i] = wanted[i];
		unit_key(i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
		if (wanted[i] == FILLING)
			fills[i] = unit_begin(store, i);
		else if (wanted[i] == READY)
			unit_put(store, i);
		else if (wanted[i] == NOT_ASKED)
			keys[i] = (struct kvshm_key){NULL, 0};
		refs[i] = (struct kvshm_handle){.life = 12345, .kind = 77};
	}
}

static bool counts_as_ready(size_t i)
{
	return presence[i] == READY || presence[i] == NOT_ASKED;
}

static enum kvshm_next next_at(size_t at, size_t count)
{
	if (at == count)
		return KVSHM_NEXT_NONE;
	return presence[at] == MISSING ? KVSHM_NEXT_MISSING : KVSHM_NEXT_FILLING;
}

/* The longest prefix whose last keys are ready, by trying each. */
static size_t longest(size_t count, size_t window)
{
	for (size_t prefix = count; prefix > 0; prefix--) {
		size_t from = prefix < window ? 0 : prefix - window, at = from;

		while (at < prefix && counts_as_ready(at))
			at++;
		if (at == prefix)
			return prefix;
	}
	return 0;
}

/* refs[from] to refs[to - 1] are held, where a key was asked for, and no other ref of the first count is. */
static void held_and_no_other(size_t from, size_t to, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i >= from && i < to && presence[i] == READY) {
			ck_assert_uint_eq(refs[i].kind, KVSHM_REF);
			unit_verify(store, &refs[i], i);
			ck_assert_uint_eq(unit_refs(store, &refs[i]), 1);
			ck_rc(kvshm_release(store, &refs[i]), 0);
		} else if (refs[i].kind != 77) {
			ck_assert_uint_eq(refs[i].kind, KVSHM_NONE);
		}
	}
	for (uint32_t block = 0; block < store->map.g.blocks; block++)
		ck_assert_uint_eq(unit_entry(store, store->slot, block) & KVS_ENTRY_COUNTS,
				  unit_state(store, block) == KVS_FILLING ? KVS_ENTRY_REF : 0);
}

static void try_window(size_t count, size_t window)
{
	size_t wanted = longest(count, window), ready = 999;
	enum kvshm_next next;

	ck_rc(kvshm_match_window(store, keys, count, window, refs, &ready, &next), 0);
	ck_assert_msg(ready == wanted, "%zu keys, a window of %zu: %zu, not %zu", count, window, ready, wanted);
	ck_assert_int_eq(next, next_at(ready, count));
	for (size_t i = 0; i < count; i++)
		ck_assert(refs[i].kind == KVSHM_REF || refs[i].kind == KVSHM_NONE); /* each is said something of */
	held_and_no_other(ready < window ? 0 : ready - window, ready, count);
}

static void try_match(size_t count)
{
	size_t wanted = 0, ready = 999;
	enum kvshm_next next;

	while (wanted < count && counts_as_ready(wanted))
		wanted++;
	for (size_t i = 0; i < count; i++)
		refs[i] = (struct kvshm_handle){.life = 12345, .kind = 77};
	ck_rc(kvshm_match(store, keys, count, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, wanted);
	ck_assert_int_eq(next, next_at(ready, count));
	for (size_t i = 0; i < ready; i++)
		ck_assert_uint_eq(refs[i].kind, presence[i] == READY ? KVSHM_REF : KVSHM_NONE);
	for (size_t i = ready; i < count; i++)
		ck_assert(refs[i].kind == 77 && refs[i].life == 12345); /* untouched */
	held_and_no_other(0, ready, count);
}

START_TEST(a_window_is_the_longest_prefix_whose_last_keys_are_ready)
{
	unsigned seed = (unsigned)time(NULL);

	printf("# seed %u\n", seed);
	for (int round = 0; round < 400; round++) {
		size_t count = (size_t)rand_r(&seed) % (KEYS + 1);
		int ready_share = 50 + rand_r(&seed) % 50; /* of 100 */
		enum presence wanted[KEYS];

		for (size_t i = 0; i < count; i++) {
			wanted[i] = rand_r(&seed) % 100 < ready_share ? READY : (enum presence)(rand_r(&seed) % 2);
			if (rand_r(&seed) % 10 == 0)
				wanted[i] = NOT_ASKED;
		}
		make(wanted, count);
		for (size_t window = 1; window < 10; window++)
			try_window(count, window);
		for (int i = 0; i < 5; i++)
			try_window(count, 1 + (size_t)rand_r(&seed) % (count + 3));
		try_window(count, SIZE_MAX);
		try_match(count);
	}
}
END_TEST

/* All patterns of few keys. */
START_TEST(a_window_of_every_pattern_of_five_keys)
{
	for (unsigned code = 0; code < 1024; code++) {
		enum presence wanted[5];

		for (unsigned i = 0; i < 5; i++)
			wanted[i] = (enum presence)(code >> 2 * i & 3);
		make(wanted, 5);
		for (size_t window = 1; window <= 6; window++)
			try_window(5, window);
		try_match(5);
	}
}
END_TEST

START_TEST(keys_before_the_window_may_be_missing)
{
	static const enum presence wanted[6] = {MISSING, MISSING, FILLING, READY, READY, MISSING};
	enum kvshm_next next;
	size_t ready;

	make(wanted, 6);
	ck_rc(kvshm_match_window(store, keys, 6, 2, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, 5);
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	held_and_no_other(3, 5, 6);
	ck_rc(kvshm_match_window(store, keys, 6, 3, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, 0); /* no run is long enough, and none begins at the beginning */
	ck_assert_int_eq(next, KVSHM_NEXT_MISSING);
	held_and_no_other(0, 0, 6);
}
END_TEST

START_TEST(a_window_of_no_keys_is_all_of_them)
{
	enum kvshm_next next = KVSHM_NEXT_MISSING;
	size_t ready = 9;

	make(NULL, 0);
	ck_rc(kvshm_match_window(store, NULL, 0, 3, NULL, &ready, &next), 0);
	ck_assert(ready == 0 && next == KVSHM_NEXT_NONE);
	ck_rc(kvshm_match(store, NULL, 0, NULL, &ready, &next), 0);
	ck_assert(ready == 0 && next == KVSHM_NEXT_NONE);
}
END_TEST

START_TEST(a_window_checks_what_it_is_given)
{
	static const enum presence wanted[3] = {READY, READY, READY};
	enum kvshm_next next = (enum kvshm_next)55;
	size_t ready = 99;

	make(wanted, 3);
	ck_rc(kvshm_match_window(store, keys, 3, 0, refs, &ready, &next), -EINVAL);
	ck_rc(kvshm_match_window(store, NULL, 3, 1, refs, &ready, &next), -EINVAL);
	ck_rc(kvshm_match_window(store, keys, 3, 1, NULL, &ready, &next), -EINVAL);
	ck_rc(kvshm_match_window(store, keys, 3, 1, refs, NULL, &next), -EINVAL);
	ck_rc(kvshm_match_window(store, keys, 3, 1, refs, &ready, NULL), -EINVAL);
	ck_rc(kvshm_match(store, keys, 3, NULL, &ready, &next), -EINVAL);
	keys[2] = (struct kvshm_key){NULL, 5}; /* neither a key nor none */
	ck_rc(kvshm_match_window(store, keys, 3, 1, refs, &ready, &next), -EINVAL);
	ck_rc(kvshm_match(store, keys, 3, refs, &ready, &next), -EINVAL);
	keys[2] = (struct kvshm_key){bytes[2], 0};
	ck_rc(kvshm_match_window(store, keys, 3, 1, refs, &ready, &next), -EINVAL);
	ck_rc(kvshm_match(store, keys, 3, refs, &ready, &next), -EINVAL);
	keys[2] = (struct kvshm_key){NULL, 0};
	ck_rc(kvshm_match(store, &keys[2], 1, NULL, &ready, &next), -EINVAL); /* its ref is to be set too */
	ck_assert(ready == 99 && next == (enum kvshm_next)55);
	held_and_no_other(0, 0, 3);
}
END_TEST

START_TEST(a_window_that_fails_holds_nothing)
{
	enum presence wanted[40];
	enum kvshm_next next = (enum kvshm_next)55;
	struct kvshm_handle ref;
	size_t ready = 99;

	for (unsigned i = 0; i < 40; i++)
		wanted[i] = READY;
	make(wanted, 40);
	for (int i = 0; i < 65535; i++)
		ck_rc(unit_get(store, 2, &ref), 0);
	ck_rc(kvshm_match_window(store, keys, 40, 40, refs, &ready, &next), -EMFILE);
	ck_assert(ready == 99 && next == (enum kvshm_next)55);
	for (unsigned i = 0; i < 40; i++)
		ck_assert_uint_eq(refs[i].kind, KVSHM_NONE);
	for (int i = 0; i < 65535; i++) {
		struct kvshm_handle copy = ref;

		ck_rc(kvshm_release(store, &copy), 0);
	}
	held_and_no_other(0, 0, 40);
	try_window(40, 37); /* does not come as far as key 2 */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_window_is_the_longest_prefix_whose_last_keys_are_ready,
		a_window_of_every_pattern_of_five_keys,
		keys_before_the_window_may_be_missing,
		a_window_of_no_keys_is_all_of_them,
		a_window_checks_what_it_is_given,
		a_window_that_fails_holds_nothing,
	};

	return unit_run("window", tests, sizeof(tests) / sizeof(tests[0]));
}
