/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_bytes.c: keys and bytes. Word i of a block is a hash of key and plane, plus i times an odd constant: every
 * word depends on key, plane and position, and making it costs less than storing it, so that the replay measures the
 * store and the memory. Vectors, because compilers do not make them of a loop at -O2.
 */
#include "config.h"

#include "replay_bytes.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define STEP UINT64_C(0x9e3779b97f4a7c15)

typedef uint64_t pair __attribute__((vector_size(16)));

enum { LANES = 4, WORDS = 2 * LANES }; /* pairs and words of one turn of the loops: 64 bytes */

void replay_key(uint64_t id, uint64_t round, uint8_t key[static REPLAY_KEY_SIZE])
{
	const uint64_t name[2] = { id, round };

	for (unsigned half = 0; half < 2; half++) {
		XXH128_hash_t hash = XXH3_128bits_withSeed(name, sizeof(name), half);

		memcpy(key, &hash.low64, 8);
		memcpy(key + 8, &hash.high64, 8);
		key += 16;
	}
}

/* The words that begin a block. */
static void first_words(pair lane[static LANES], const uint8_t *key, unsigned plane)
{
	uint64_t word = XXH3_64bits_withSeed(key, REPLAY_KEY_SIZE, plane);

	for (unsigned i = 0; i < LANES; i++) {
		lane[i] = (pair){ word, word + STEP };
		word += 2 * STEP;
	}
}

void replay_write(void *bytes, uint64_t size, const uint8_t key[static REPLAY_KEY_SIZE], unsigned plane)
{
	const pair step = { WORDS * STEP, WORDS * STEP };
	pair *to = bytes;
	pair lane[LANES];

	first_words(lane, key, plane);
	for (const pair *end = to + size / sizeof(pair); to < end; to += LANES) {
		for (unsigned i = 0; i < LANES; i++) {
			to[i] = lane[i];
			lane[i] += step;
		}
	}
}

bool replay_intact(const void *bytes, uint64_t size, const uint8_t key[static REPLAY_KEY_SIZE], unsigned plane)
{
	const pair step = { WORDS * STEP, WORDS * STEP };
	const pair *from = bytes;
	pair differ[LANES] = { 0 };
	pair lane[LANES];

	first_words(lane, key, plane);
	for (const pair *end = from + size / sizeof(pair); from < end; from += LANES) {
		for (unsigned i = 0; i < LANES; i++) {
			differ[i] |= from[i] ^ lane[i];
			lane[i] += step;
		}
	}
	differ[0] |= differ[1] | differ[2] | differ[3];
	return !(differ[0][0] | differ[0][1]);
}
