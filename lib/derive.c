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

int kvshm_derive_key(const char *label, uint32_t group, const void *hash, size_t hash_size,
		     uint8_t key[KVSHM_DERIVED_KEY_SIZE])
{
	static const uint8_t version[16] = "kvshm key v1"; /* and zeros */
	crypto_generichash_state state;
	size_t label_size = label ? strlen(label) : 0;

	if (!hash || !hash_size || !key)
		return kvs_routine(EINVAL, "no hash, an empty one, or no place for the key was given");
	(void)pthread_once(&once, set_up);
	if (once_error)
		return kvs_routine(ENOSYS, "libsodium can't be initialised");
	(void)crypto_generichash_init(&state, NULL, 0, KVSHM_DERIVED_KEY_SIZE);
	(void)crypto_generichash_update(&state, version, sizeof(version));
	add_number(&state, label_size, 8);
	(void)crypto_generichash_update(&state, (const uint8_t *)(label ? label : ""), label_size);
	add_number(&state, group, 4);
	add_number(&state, hash_size, 8);
	(void)crypto_generichash_update(&state, hash, hash_size);
	(void)crypto_generichash_final(&state, key, KVSHM_DERIVED_KEY_SIZE);
	return 0;
}
