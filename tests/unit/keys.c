/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * keys: finding them: lengths, bytes, prefixes, and requests that share one.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

static kvshm_store *store_for_keys_of(uint32_t key_max)
{
	struct kvshm_create_options options = unit_options(64);

	options.key_max = key_max;
	return unit_make(&options);
}

static void put(kvshm_store *store, const void *key, size_t length)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;

	ck_rc(kvshm_get_or_fill(store, key, length, &outcome, &handle), 0);
	ck_assert_int_eq(outcome, KVSHM_FILL);
	ck_rc(kvshm_publish(store, &handle, NULL), 0);
	ck_rc(kvshm_release(store, &handle), 0);
}

static bool has(kvshm_store *store, const void *key, size_t length)
{
	struct kvshm_handle ref;
	int rc = kvshm_get(store, key, length, &ref);

	if (rc == 0)
		ck_rc(kvshm_release(store, &ref), 0);
	else
		ck_rc(rc, -ENOENT);
	return rc == 0;
}

START_TEST(keys_of_every_length_differ_by_any_byte_and_by_their_length)
{
	static const size_t lengths[] = {1, 7, 8, 9, 31, 32, 33, 36, 40, 41, 64, 200, 255, 256};
	kvshm_store *store = store_for_keys_of(256);
	uint8_t key[256];

	memset(key, 3, sizeof(key));
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		put(store, key, lengths[i]); /* each is a prefix of the next */
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		ck_assert(has(store, key, lengths[i]));
		for (size_t at = 0; at < lengths[i]; at++) {
			key[at] = 4;
			ck_assert_msg(!has(store, key, lengths[i]), "byte %zu of %zu makes no difference", at,
				      lengths[i]);
			key[at] = 3;
		}
	}
	for (size_t length = 1; length <= 256; length++) {
		bool there = false;

		for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			there |= lengths[i] == length;
		ck_assert_int_eq(has(store, key, length), there);
	}
}
END_TEST

/* Two keys of one bucket that differ in one byte only, at any place: found apart though they share a chain. */
START_TEST(A2_keys_of_one_bucket_are_told_apart_by_every_byte)
{
	static const size_t lengths[] = {1, 8, 31, 32, 33, 36, 63, 64};
	struct kvshm_create_options options = unit_options(1); /* one bucket */
	kvshm_store *store = unit_make(&options);
	uint8_t key[64];

	memset(key, 9, sizeof(key));
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		put(store, key, lengths[i]);
		for (size_t at = 0; at < lengths[i]; at++) {
			key[at] ^= 0x80;
			ck_assert(!has(store, key, lengths[i]));
			key[at] ^= 0x80;
		}
		ck_assert(has(store, key, lengths[i]));
	}
}
END_TEST

START_TEST(keys_are_bytes_zeros_included)
{
	static const uint8_t zeros[64];
	kvshm_store *store = store_for_keys_of(64);

	put(store, zeros, 64);
	put(store, zeros, 1);
	ck_assert(has(store, zeros, 64));
	ck_assert(has(store, zeros, 1));
	ck_assert(!has(store, zeros, 2));
	ck_assert(!has(store, zeros, 63));
}
END_TEST

START_TEST(keys_too_long_empty_or_NULL_are_EINVAL_in_every_call)
{
	static const uint8_t bytes[300];
	const struct kvshm_key good_then_bad[2] = {{bytes, 4}, {bytes, 37}};
	const struct {
		const void *key;
		size_t length;
	} bad[] = {{bytes, 0}, {bytes, 37}, {bytes, 300}, {bytes, SIZE_MAX}, {NULL, 4}};
	kvshm_store *store = store_for_keys_of(36);
	struct kvshm_handle handle = {.kind = 77};
	enum kvshm_outcome outcome = KVSHM_PENDING;
	enum kvshm_next next;
	size_t ready = 55;

	put(store, bytes, 4);
	put(store, bytes, 36);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_rc(kvshm_get(store, bad[i].key, bad[i].length, &handle), -EINVAL);
		ck_rc(kvshm_get_or_fill(store, bad[i].key, bad[i].length, &outcome, &handle), -EINVAL);
		ck_rc(kvshm_remove(store, bad[i].key, bad[i].length), -EINVAL);
	}
	ck_rc(kvshm_get(store, bytes, 37, &handle), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "37"));
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "36"));
	ck_rc(kvshm_match(store, good_then_bad, 2, &handle, &ready, &next), -EINVAL);
	ck_assert_uint_eq(ready, 55); /* results are set on success only */
	ck_assert_uint_eq(handle.kind, 77);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
}
END_TEST

START_TEST(no_store_is_EINVAL_in_every_call)
{
	const struct kvshm_handle held = {.kind = KVSHM_REF};

	unit_all_calls(NULL, &held, -EINVAL);
	ck_assert_str_ne(kvshm_error(), "");
}
END_TEST

/* A prefix of eight keys that all requests share, and eight of each one's own. */
#define SHARED 8U
#define REQUEST 16U

static void run_request(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle holds[REQUEST];

	for (uint32_t i = 0; i < REQUEST; i++) {
		uint64_t key = i < SHARED ? i : 1000 + number * REQUEST + i;
		enum kvshm_outcome outcome;

		ck_rc(unit_ask(store, key, &outcome, &holds[i]), 0);
		ck_assert_int_eq(outcome, i < SHARED && number ? KVSHM_READY : KVSHM_FILL);
		if (outcome == KVSHM_FILL) {
			struct kvshm_meta meta = {.length = 4096, .depth = i};

			ck_rc(kvshm_publish(store, &holds[i], &meta), 0);
		}
	}
	for (uint32_t i = 0; i < REQUEST; i++)
		ck_rc(kvshm_release(store, &holds[i]), 0);
}

START_TEST(R01_same_prefix_10000_requests_64_blocks)
{
	kvshm_store *stores[2] = {unit_store(64), unit_attach()};
	struct kvshm_handle all[64];

	for (uint64_t i = 0; i < 10000; i++)
		run_request(stores[i % 2], i);
	ck_assert_uint_eq(unit_counter(stores[0], KVS_COUNT_fills), SHARED + 10000 * (REQUEST - SHARED));
	ck_assert_uint_eq(unit_counter(stores[0], KVS_COUNT_hits), UINT64_C(9999) * SHARED);
	for (uint32_t block = 0; block < 64; block++) /* nothing has leaked: nothing is held, */
		for (uint32_t slot = 0; slot < 2; slot++)
			ck_assert_uint_eq(unit_entry(stores[0], slot, block) & KVS_ENTRY_COUNTS, 0);
	for (uint64_t i = 0; i < 64; i++) /* and every block can be had */
		all[i] = unit_fill(stores[0], 1000000 + i, 0);
	for (uint64_t i = 0; i < 64; i++)
		ck_rc(kvshm_release(stores[0], &all[i]), 0);
}
END_TEST

START_TEST(R01_one_key_asked_for_100000_times_leaks_nothing)
{
	kvshm_store *store = unit_store(64);
	struct kvshm_handle ref;
	enum kvshm_outcome outcome;

	unit_put(store, 1);
	for (int i = 0; i < 100000; i++) {
		ck_rc(unit_ask(store, 1, &outcome, &ref), 0);
		ck_assert_int_eq(outcome, KVSHM_READY);
		ck_rc(kvshm_release(store, &ref), 0);
	}
	for (uint32_t block = 0; block < 64; block++)
		ck_assert_uint_eq(unit_entry(store, 0, block) & KVS_ENTRY_COUNTS, 0);
	for (uint64_t i = 2; i < 65; i++)
		unit_put(store, i); /* the other 63 blocks were not touched */
	ck_assert(unit_has(store, 1));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 0);
}
END_TEST

START_TEST(B3_a_key_asked_for_by_its_own_filler_is_pending_not_a_second_fill)
{
	kvshm_store *store = unit_store(64);
	struct kvshm_handle fill = unit_begin(store, 1), again;
	enum kvshm_outcome outcome;

	ck_rc(unit_ask(store, 1, &outcome, &again), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_assert_uint_eq(again.block, fill.block);
	ck_assert_uint_eq(again.life, fill.life);
	ck_rc(kvshm_release(store, &again), 0);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(a_store_of_one_block_works)
{
	kvshm_store *store = unit_store(1);

	for (uint64_t i = 0; i < 100; i++) {
		unit_put(store, i);
		ck_assert(unit_has(store, i));
		ck_assert(i == 0 || !unit_has(store, i - 1));
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		keys_of_every_length_differ_by_any_byte_and_by_their_length,
		A2_keys_of_one_bucket_are_told_apart_by_every_byte,
		keys_are_bytes_zeros_included,
		keys_too_long_empty_or_NULL_are_EINVAL_in_every_call,
		no_store_is_EINVAL_in_every_call,
		R01_same_prefix_10000_requests_64_blocks,
		R01_one_key_asked_for_100000_times_leaks_nothing,
		B3_a_key_asked_for_by_its_own_filler_is_pending_not_a_second_fill,
		a_store_of_one_block_works,
	};

	return unit_run("keys", tests, sizeof(tests) / sizeof(tests[0]));
}
