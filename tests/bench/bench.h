/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * bench.h: what the benchmarks share: a store of their own, random keys in it, an order in which they are asked for,
 * time, and the median of the rounds' ratios. None is a test: timings are of this machine.
 */
#ifndef BENCH_H
#define BENCH_H

#include <kvshm.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_LOOKUPS 2000000U
#define BENCH_KEY_MAX 64
#define BENCH_ROUNDS 9 /* unless told */

struct bench {
	size_t keys, length;
	unsigned rounds;
	unsigned char *key; /* keys of BENCH_KEY_MAX bytes */
	uint32_t *order;    /* BENCH_LOOKUPS numbers of keys, uniform */
	kvshm_owner *owner;
	kvshm_store *store;
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

/* One side of a comparison: runs once through, and returns what one operation cost, in s. */
struct bench_side {
	const char *name;
	double (*run)(void *arg);
};

/* Runs both in turn, rounds times, after one round for nothing, and prints the medians of what they cost, and of
 * second / first. */
void bench_compare(unsigned rounds, void *arg, const char *what, const struct bench_side *first,
		   const struct bench_side *second);

/* The same over the keys. */
void bench_compare_lookups(struct bench *bench, const struct bench_side *first, const struct bench_side *second);

/* The median of some numbers, which it sorts. */
double bench_median(double *numbers, size_t count);

/* Makes a store of this benchmark's own; *name (KVSHM_NAME_MAX + 1 bytes) is its name. Not filled, not attached. */
kvshm_owner *bench_make_store(size_t blocks, char *name);

/* The number in argv[1], which must be above 0, or what it is unless told. */
unsigned bench_rounds(int argc, char **argv);

#endif
