/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_random.h: numbers that look random and come again with the same seed (SplitMix64).
 */
#ifndef REPLAY_RANDOM_H
#define REPLAY_RANDOM_H

#include <stdint.h>

static inline uint64_t replay_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* A number from 0 to limit - 1. The small ones are favoured by less than limit in 2^64. */
static inline uint64_t replay_random_below(uint64_t *state, uint64_t limit)
{
	return replay_random(state) % limit;
}

#endif /* REPLAY_RANDOM_H */
