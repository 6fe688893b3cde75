/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * derive: keys from labels, groups and hashes: the bytes that kvshm.h tells of, and never the same for two inputs.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint8_t count_up[256];

/* As computed by another program: Python's hashlib.blake2b(message, digest_size=32). */
static const struct vector {
	const char *label;
	uint32_t group;
	const char *hash; /* NULL: the bytes 0, 1, 2, ... */
	size_t hash_size;
	const char *key; /* in hexadecimal */
} vectors[] = {
	{NULL, 0, "\0", 1, "c6b3b53e3431ed914fa854b0dc1c700976022c7632fcf050c8a595fa061c7dfe"},
	{"", 0, "\0", 1, "c6b3b53e3431ed914fa854b0dc1c700976022c7632fcf050c8a595fa061c7dfe"},
	{"llama-3-70b/bf16/tp4", 0, NULL, 32, "72113536d69a28c1a4879a53d0bc6931d40c0971cd0ff2c15c62012ef6d3b1db"},
	{"llama-3-70b/bf16/tp4", 7, NULL, 32, "8f23c5cb0eeba7bd70815ebda453be2f220b0baa342ac83de3f432692124dfcd"},
	{"caf\xc3\xa9", 0x01020304, "abc", 3, "2b8e24d232727a7e6768688f86aa8d73635e3e24e7b5a23e1d37351bb77d4fc1"},
	{"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	 0xfffffffe, NULL, 256, "307d730d278736bd2c7f05d68b816ea8836237f01da6a586f44d71d5c44bda06"},
};

START_TEST(derived_keys_are_the_bytes_that_the_contract_tells_of)
{
	for (unsigned i = 0; i < sizeof(count_up); i++)
		count_up[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];
		char text[2 * KVSHM_DERIVED_KEY_SIZE + 1];
		uint8_t key[KVSHM_DERIVED_KEY_SIZE];

		ck_rc(kvshm_derive_key(v->label, v->group, v->hash ? (const void *)v->hash : count_up, v->hash_size,
				       key),
		      0);
		for (unsigned n = 0; n < sizeof(key); n++)
			(void)snprintf(text + 2 * (size_t)n, 3, "%02x", key[n]);
		ck_assert_str_eq(text, v->key);
	}
}
END_TEST

/* Inputs that would be the same bytes if they were put behind each other without their lengths. */
START_TEST(A2_inputs_that_differ_never_derive_one_key)
{
	static const struct {
		const char *label;
		uint32_t group;
		const char *hash;
		size_t size;
	} inputs[] = {
		{"ab", 0, "cd", 2},
		{"abc", 0, "d", 1},
		{"a", 0, "bcd", 3},
		{"", 0, "abcd", 4},
		{"ab", 0, "cd\0", 3},
		{"ab", 1, "cd", 2},
		{"ab", 256, "cd", 2},
		{"ab", 1U << 24, "cd", 2},
		{"ab\1", 0, "cd", 2},
		{"ab", 0, "\0cd", 3},
		{"ab", 'c', "d", 1},
		{"ab", 'c' << 24, "d", 1},
	};
	enum { COUNT = sizeof(inputs) / sizeof(inputs[0]) };
	uint8_t keys[COUNT][KVSHM_DERIVED_KEY_SIZE];

	for (unsigned i = 0; i < COUNT; i++)
		ck_rc(kvshm_derive_key(inputs[i].label, inputs[i].group, inputs[i].hash, inputs[i].size, keys[i]), 0);
	for (unsigned i = 0; i < COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_mem_ne(keys[i], keys[j], KVSHM_DERIVED_KEY_SIZE);
}
END_TEST

START_TEST(derive_key_checks_what_it_is_given)
{
	uint8_t key[KVSHM_DERIVED_KEY_SIZE] = {42};

	ck_rc(kvshm_derive_key("x", 0, NULL, 3, key), -EINVAL);
	ck_rc(kvshm_derive_key("x", 0, "abc", 0, key), -EINVAL);
	ck_rc(kvshm_derive_key("x", 0, "abc", 3, NULL), -EINVAL);
	ck_assert_str_ne(kvshm_error(), "");
	ck_assert_uint_eq(key[0], 42);
}
END_TEST

/* Of sizes that change and stay, with one in between that is refused. */
START_TEST(R24_a_batch_derives_the_keys_that_single_calls_do)
{
	static const size_t sizes[] = {32, 32, 8, 0, 8, 256, 1, 1, 32};
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	uint8_t hashes[COUNT][256], keys[COUNT][KVSHM_DERIVED_KEY_SIZE], key[KVSHM_DERIVED_KEY_SIZE];
	struct kvshm_key asked[COUNT];
	char label[301] = "";
	int results[COUNT];

	for (unsigned i = 0; i < COUNT; i++) {
		memset(hashes[i], (int)i + 1, sizeof(hashes[i]));
		asked[i] = (struct kvshm_key){sizes[i] ? hashes[i] : NULL, sizes[i]};
	}
	for (unsigned length = 0; length <= 300; length += 100) { /* also of more than one block of the hash's */
		memset(label, 'x', length);
		memset(keys, 42, sizeof(keys));
		ck_rc(kvshm_derive_key_batch(length ? label : NULL, length, asked, COUNT, keys, results), 0);
		for (unsigned i = 0; i < COUNT; i++) {
			memset(key, 42, sizeof(key));
			ck_rc(kvshm_derive_key(label, length, asked[i].bytes, asked[i].length, key), results[i]);
			ck_assert_int_eq(results[i], sizes[i] ? 0 : -EINVAL);
			ck_assert_mem_eq(keys[i], key, sizeof(key));
		}
	}
}
END_TEST

START_TEST(a_batch_without_its_arrays_derives_nothing)
{
	const struct kvshm_key hash = {"abc", 3};
	uint8_t key[1][KVSHM_DERIVED_KEY_SIZE] = {{42}};
	int result = 12345;

	ck_rc(kvshm_derive_key_batch("x", 0, NULL, 1, key, &result), -EINVAL);
	ck_rc(kvshm_derive_key_batch("x", 0, &hash, 1, NULL, &result), -EINVAL);
	ck_rc(kvshm_derive_key_batch("x", 0, &hash, 1, key, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "NULL"));
	ck_rc(kvshm_derive_key_batch("x", 0, NULL, 0, NULL, NULL), 0);
	ck_assert_int_eq(result, 12345);
	ck_assert_uint_eq(key[0][0], 42);
}
END_TEST

static void *derive(void *arg)
{
	ck_rc(kvshm_derive_key("x", 1, "abc", 3, arg), 0);
	return NULL;
}

START_TEST(keys_derived_by_threads_at_once_and_used_in_a_store)
{
	uint8_t keys[4][KVSHM_DERIVED_KEY_SIZE];
	struct kvshm_handle ref;
	enum kvshm_outcome outcome;
	pthread_t threads[4];
	kvshm_store *store;

	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, derive, keys[i]), 0);
	for (unsigned i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	store = unit_store(4);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_mem_eq(keys[i], keys[0], KVSHM_DERIVED_KEY_SIZE);
		ck_rc(kvshm_get_or_fill(store, keys[i], sizeof(keys[i]), &outcome, &ref), 0);
		ck_assert_int_eq(outcome, i ? KVSHM_READY : KVSHM_FILL);
		if (i == 0)
			ck_rc(kvshm_publish(store, &ref, NULL), 0);
		ck_rc(kvshm_release(store, &ref), 0);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		derived_keys_are_the_bytes_that_the_contract_tells_of,
		A2_inputs_that_differ_never_derive_one_key,
		derive_key_checks_what_it_is_given,
		R24_a_batch_derives_the_keys_that_single_calls_do,
		a_batch_without_its_arrays_derives_nothing,
		keys_derived_by_threads_at_once_and_used_in_a_store,
	};

	return unit_run("derive", tests, sizeof(tests) / sizeof(tests[0]));
}
