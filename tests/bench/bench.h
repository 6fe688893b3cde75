/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * bench.h: what the benchmarks share: random keys in a store of their own, an order in which they are asked for, time,
 * and the median of the rounds' ratios. None is a test: timings are of this machine.
 */
#ifndef BENCH_H
#define BENCH_H

#include <kvshm.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_LOOKUPS 2000000U
#define BENCH_KEY_MAX 64

struct bench {
	size_t keys, length;
	unsigned rounds;
	unsigned char *key; /* keys of BENCH_KEY_MAX bytes */
	uint32_t *order;    /* BENCH_LOOKUPS numbers of keys, uniform */
	kvshm_owner *owner;
	kvshm *store;
};

_Noreturn void bench_die(const char *what);

/* CLOCK_MONOTONIC in s. */
double bench_now(void);

/* Reads [KEYS [KEY-LENGTH [ROUNDS]]], makes the keys, and a store that has them all. */
void bench_begin(struct bench *bench, int argc, char **argv, size_t keys);
void bench_end(struct bench *bench);

static inline const unsigned char *bench_key(const struct bench *bench, size_t i)
{
	return bench->key + (size_t)bench->order[i] * BENCH_KEY_MAX;
}

/* Runs both in turn, rounds times, after one round for nothing, and prints what they cost and the median of second /
 * first. */
void bench_compare(const struct bench *bench, const char *first_name, double (*first)(const struct bench *),
		   const char *second_name, double (*second)(const struct bench *));

#endif
