/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * derive.c: keys from labels, groups and hashes, by libsodium's BLAKE2b. Contract in kvshm.h.
 */
#include "config.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

/* libsodium chooses the fastest code for this processor once. */
static void set_up(void)
{
	once_error = sodium_init() < 0;
}

/* Numbers with their low byte first, so that a key is the same on every machine. */
static void add_number(crypto_generichash_state *state, uint64_t number, unsigned bytes)
{
	uint8_t text[8];

	for (unsigned i = 0; i < bytes; i++)
		text[i] = (uint8_t)(number >> (8 * i));
	(void)crypto_generichash_update(state, text, bytes);
}

static int initialise(void)
{
	(void)pthread_once(&once, set_up);
	return once_error ? kvs_routine(ENOSYS, "libsodium can't be initialised") : 0;
}

static int check_hash(const void *hash, size_t hash_size)
{
	return hash && hash_size ? 0 : kvs_routine(EINVAL, "no hash (NULL) or an empty one was given");
}

/* All that comes before the hash. */
static void begin(crypto_generichash_state *state, const char *label, uint32_t group, size_t hash_size)
{
	static const uint8_t version[16] = "kvshm key v1"; /* and zeros */
	size_t label_size = label ? strlen(label) : 0;

	(void)crypto_generichash_init(state, NULL, 0, KVSHM_DERIVED_KEY_SIZE);
	(void)crypto_generichash_update(state, version, sizeof(version));
	add_number(state, label_size, 8);
	(void)crypto_generichash_update(state, (const uint8_t *)(label ? label : ""), label_size);
	add_number(state, group, 4);
	add_number(state, hash_size, 8);
}

static void end(crypto_generichash_state *state, const void *hash, size_t hash_size,
		uint8_t key[KVSHM_DERIVED_KEY_SIZE])
{
	(void)crypto_generichash_update(state, hash, hash_size);
	(void)crypto_generichash_final(state, key, KVSHM_DERIVED_KEY_SIZE);
}

int kvshm_derive_key(const char *label, uint32_t group, const void *hash, size_t hash_size,
		     uint8_t key[KVSHM_DERIVED_KEY_SIZE])
{
	crypto_generichash_state state;
	int rc = check_hash(hash, hash_size);

	if (rc == 0 && !key)
		rc = kvl_no_place();
	if (rc == 0)
		rc = initialise();
	if (rc)
		return rc;
	begin(&state, label, group, hash_size);
	end(&state, hash, hash_size, key);
	return 0;
}

/* What comes before the hashes is hashed once for all that follow each other in one size. */
int kvshm_derive_key_batch(const char *label, uint32_t group, const struct kvshm_key *hashes, size_t count,
			   uint8_t (*keys)[KVSHM_DERIVED_KEY_SIZE], int *results)
{
	crypto_generichash_state begun, state;
	size_t begun_for = 0; /* no hash has that size */
	int rc;

	if (count && (!hashes || !keys || !results))
		return kvs_routine(EINVAL, "an array of a batch is missing (NULL)");
	rc = initialise();
	for (size_t i = 0; rc == 0 && i < count; i++) {
		const struct kvshm_key *hash = &hashes[i];

		results[i] = check_hash(hash->bytes, hash->length);
		if (results[i])
			continue;
		if (hash->length != begun_for)
			begin(&begun, label, group, hash->length);
		begun_for = hash->length;
		state = begun;
		end(&state, hash->bytes, hash->length, keys[i]);
	}
	return rc;
}
