/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_auth: a proof is what another implementation of HMAC-SHA-256 makes of the same bytes, and is good for one
 * secret, one role and one pair of HELLOs only.
 */
#include "config.h"

#include "fixture.h"

#include <string.h>

#include "auth.h"

static const uint8_t key[] = "a key of 22 characters";

static struct kvr_secret secret_of(const void *bytes, size_t size)
{
	struct kvr_secret secret;

	ck_rc(kvr_secret_set(&secret, bytes, size), 0);
	ck_assert(secret.there);
	return secret;
}

static void prove(const struct kvr_secret *secret, enum kvr_role role, const char *connector, const char *acceptor,
		  uint8_t proof[KVR_PROOF_SIZE])
{
	kvr_prove(secret, role, (struct kvr_hello_bytes){ (const uint8_t *)connector, strlen(connector) },
		  (struct kvr_hello_bytes){ (const uint8_t *)acceptor, strlen(acceptor) }, proof);
}

static void expect_other(const struct kvr_secret *secret, enum kvr_role role, const char *connector,
			 const char *acceptor)
{
	struct kvr_secret good = secret_of(key, sizeof(key) - 1);
	uint8_t proof[KVR_PROOF_SIZE], other[KVR_PROOF_SIZE];

	prove(&good, KVR_CONNECTOR, "12345678 one hello", "12345678 the other", proof);
	prove(secret, role, connector, acceptor, other);
	ck_assert(!kvr_proof_is_right(other, proof));
}

/* Python's
 * hmac.new(hashlib.sha256(b"a key of 22 characters").digest(), b"kvshm proof v1\0\0" + b"\0" +
 * HELLO(b"123456\0\0 one hello") + HELLO(b"123456\0\0 the other"), hashlib.sha256), where HELLO(b) is
 * struct.pack("<Q", len(b)) + b. */
START_TEST(a_proof_is_what_others_make_of_the_same_bytes)
{
	static const uint8_t expected[KVR_PROOF_SIZE] = {
		0x5e, 0x78, 0x5f, 0x7c, 0xe7, 0x0b, 0x3d, 0xb4,
		0xe2, 0x7a, 0xd1, 0x12, 0xbf, 0xd0, 0x10, 0x21,
		0xd3, 0x8e, 0x49, 0x1e, 0xcb, 0xb4, 0x15, 0x3d,
		0x0d, 0x5a, 0xa2, 0xfc, 0x23, 0x39, 0x85, 0xc9,
	};
	struct kvr_secret good = secret_of(key, sizeof(key) - 1);
	uint8_t proof[KVR_PROOF_SIZE];

	prove(&good, KVR_CONNECTOR, "12345678 one hello", "12345678 the other", proof);
	ck_assert_mem_eq(proof, expected, sizeof(proof));
}
END_TEST

START_TEST(a_proof_is_good_for_one_secret_role_and_pair_of_HELLOs)
{
	struct kvr_secret good = secret_of(key, sizeof(key) - 1), bad = secret_of("another key, as long", 20);
	uint8_t proof[KVR_PROOF_SIZE], again[KVR_PROOF_SIZE];

	prove(&good, KVR_CONNECTOR, "12345678 one hello", "12345678 the other", proof);
	prove(&good, KVR_CONNECTOR, "12345678 one hello", "12345678 the other", again);
	ck_assert(kvr_proof_is_right(proof, again));
	expect_other(&bad, KVR_CONNECTOR, "12345678 one hello", "12345678 the other");
	expect_other(&good, KVR_ACCEPTOR, "12345678 one hello", "12345678 the other");
	expect_other(&good, KVR_CONNECTOR, "12345678 the other", "12345678 one hello");
	expect_other(&good, KVR_CONNECTOR, "12345678 one hell0", "12345678 the other");
	expect_other(&good, KVR_CONNECTOR, "12345678 one hello1", "12345678 the other");
	expect_other(&good, KVR_CONNECTOR, "1234567", "12345678 the other");
	for (unsigned i = 0; i < 8 * KVR_PROOF_SIZE; i++) { /* every bit counts */
		again[i / 8] ^= (uint8_t)(1U << i % 8);
		ck_assert(!kvr_proof_is_right(proof, again));
		again[i / 8] ^= (uint8_t)(1U << i % 8);
	}
}
END_TEST

START_TEST(the_credits_in_a_header_do_not_matter)
{
	struct kvr_secret good = secret_of(key, sizeof(key) - 1);
	uint8_t proof[KVR_PROOF_SIZE], again[KVR_PROOF_SIZE];

	prove(&good, KVR_CONNECTOR, "12345678 one hello", "12345678 the other", proof);
	prove(&good, KVR_CONNECTOR, "123456xy one hello", "123456zz the other", again);
	ck_assert(kvr_proof_is_right(proof, again));
	prove(&good, KVR_CONNECTOR, "12345x78 one hello", "12345678 the other", again);
	ck_assert(!kvr_proof_is_right(proof, again));
}
END_TEST

START_TEST(a_secret_has_16_to_4096_bytes)
{
	static uint8_t bytes[KVR_SECRET_MAX + 1];
	struct kvr_secret secret = { .there = false };

	ck_rc(kvr_secret_set(&secret, bytes, KVR_SECRET_MIN - 1), -EINVAL);
	ck_rc(kvr_secret_set(&secret, bytes, KVR_SECRET_MAX + 1), -EINVAL);
	ck_rc(kvr_secret_set(&secret, NULL, 32), -EINVAL);
	ck_assert(!secret.there);
	ck_rc(kvr_secret_set(&secret, bytes, KVR_SECRET_MIN), 0);
	ck_rc(kvr_secret_set(&secret, bytes, KVR_SECRET_MAX), 0);
	kvr_secret_wipe(&secret);
	ck_assert(!secret.there);
	for (unsigned i = 0; i < sizeof(secret.bytes); i++)
		ck_assert_uint_eq(secret.bytes[i], 0);
}
END_TEST

START_TEST(nonces_differ)
{
	uint8_t one[KVR_NONCE_SIZE] = { 0 }, other[KVR_NONCE_SIZE] = { 0 };

	ck_rc(kvr_nonce(one), 0);
	ck_rc(kvr_nonce(other), 0);
	ck_assert_mem_ne(one, other, sizeof(one));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_proof_is_what_others_make_of_the_same_bytes,
		a_proof_is_good_for_one_secret_role_and_pair_of_HELLOs,
		the_credits_in_a_header_do_not_matter,
		a_secret_has_16_to_4096_bytes,
		nonces_differ,
	};

	return unit_run("rdma_auth", tests, sizeof(tests) / sizeof(tests[0]));
}
