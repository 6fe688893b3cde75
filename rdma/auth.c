/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * auth.c: proofs that a side has the secret. Guarantees: see auth.h; the secret is in its structure only, and proofs
 * are compared without telling by the time how much of them is right.
 */
#include "config.h"

#include "auth.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>

#include "bytes.h"
#include "fault.h"

_Static_assert(crypto_auth_hmacsha256_BYTES == KVR_PROOF_SIZE, "a proof is an HMAC");
_Static_assert(crypto_hash_sha256_BYTES == sizeof(((struct kvr_secret *)0)->bytes), "a secret is a hash");

#define CREDITS_AT 6 /* in a message's header: see message.h */
#define HEADER_SIZE 8

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void set_up(void)
{
	once_error = sodium_init() < 0;
}

/* Hashed, so that a secret of any length takes the same room. */
int kvr_secret_set(struct kvr_secret *secret, const void *key, size_t length)
{
	(void)pthread_once(&once, set_up);
	if (once_error)
		return kvs_routine(ENOSYS, "libsodium can't be initialised");
	if (!key || length < KVR_SECRET_MIN || length > KVR_SECRET_MAX)
		return kvs_fault(EINVAL, "a shared key has %d to %d bytes, not %zu (head -c 32 /dev/urandom makes one)",
				 KVR_SECRET_MIN, KVR_SECRET_MAX, key ? length : 0);
	(void)crypto_hash_sha256(secret->bytes, key, length);
	secret->there = true;
	return 0;
}

void kvr_secret_wipe(struct kvr_secret *secret)
{
	sodium_memzero(secret, sizeof(*secret));
}

int kvr_nonce(uint8_t nonce[KVR_NONCE_SIZE])
{
	ssize_t got;

	do
		got = getrandom(nonce, KVR_NONCE_SIZE, 0);
	while (got < 0 && errno == EINTR);
	if (got == KVR_NONCE_SIZE)
		return 0;
	return kvs_fault(got < 0 ? errno : EIO, "the kernel gives no random bytes: %s",
			 got < 0 ? strerror(errno) : "too few");
}

/* With its length in front, so that no two pairs of HELLOs are the same bytes; and without the credits, which are the
 * link's: they are written behind the side that proves. */
static void add_hello(crypto_auth_hmacsha256_state *state, struct kvr_hello_bytes hello)
{
	static const uint8_t no_credits[HEADER_SIZE - CREDITS_AT];
	uint8_t size[8];

	kvr_put64(size, hello.size);
	(void)crypto_auth_hmacsha256_update(state, size, sizeof(size));
	if (hello.size < HEADER_SIZE) {
		(void)crypto_auth_hmacsha256_update(state, hello.bytes, hello.size);
		return;
	}
	(void)crypto_auth_hmacsha256_update(state, hello.bytes, CREDITS_AT);
	(void)crypto_auth_hmacsha256_update(state, no_credits, sizeof(no_credits));
	(void)crypto_auth_hmacsha256_update(state, hello.bytes + HEADER_SIZE, hello.size - HEADER_SIZE);
}

void kvr_prove(const struct kvr_secret *secret, enum kvr_role role, struct kvr_hello_bytes connector,
	       struct kvr_hello_bytes acceptor, uint8_t proof[KVR_PROOF_SIZE])
{
	static const uint8_t constant[16] = "kvshm proof v1"; /* and zeros */
	uint8_t byte = (uint8_t)role;
	crypto_auth_hmacsha256_state state;

	(void)crypto_auth_hmacsha256_init(&state, secret->bytes, sizeof(secret->bytes));
	(void)crypto_auth_hmacsha256_update(&state, constant, sizeof(constant));
	(void)crypto_auth_hmacsha256_update(&state, &byte, 1);
	add_hello(&state, connector);
	add_hello(&state, acceptor);
	(void)crypto_auth_hmacsha256_final(&state, proof);
	sodium_memzero(&state, sizeof(state));
}

bool kvr_proof_is_right(const uint8_t proof[KVR_PROOF_SIZE], const uint8_t expected[KVR_PROOF_SIZE])
{
	return sodium_memcmp(proof, expected, KVR_PROOF_SIZE) == 0;
}
