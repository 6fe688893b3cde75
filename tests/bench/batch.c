/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * batch.c: what a batch of 32 lookups, and of 32 releases, costs against 32 single calls. Same keys, same order, rounds
 * interleaved; prints the medians of the rounds' ratios.
 *
 *   batch [KEYS [KEY-LENGTH [ROUNDS]]]
 */
#include "config.h"

#include "bench.h"

#include <string.h>

#define BATCH 32U

static struct kvshm_key keys[BATCH];
static struct kvshm_handle refs[BATCH];
static int results[BATCH];

static void name_keys(const struct bench *b, size_t first)
{
	for (size_t i = 0; i < BATCH; i++)
		keys[i] = (struct kvshm_key){bench_key(b, first + i), b->length};
}

static void get_singly(const struct bench *b)
{
	for (size_t i = 0; i < BATCH; i++)
		if (kvshm_get(b->store, keys[i].bytes, keys[i].length, &refs[i]))
			bench_die("a key is missing");
}

static void release_singly(const struct bench *b)
{
	for (size_t i = 0; i < BATCH; i++)
		if (kvshm_release(b->store, &refs[i]))
			bench_die("a ref was lost");
}

static void get_together(const struct bench *b)
{
	if (kvshm_get_batch(b->store, keys, BATCH, refs, results))
		bench_die("no batch");
}

static void release_together(const struct bench *b)
{
	if (kvshm_release_batch(b->store, refs, BATCH, results))
		bench_die("no batch");
}

/* Only one of the two is timed: what is fetched by the lookups is there for the releases. */
static double run(const struct bench *b, void (*get)(const struct bench *), void (*release)(const struct bench *))
{
	double spent = 0;

	for (size_t first = 0; first + BATCH <= BENCH_LOOKUPS; first += BATCH) {
		double start;

		name_keys(b, first);
		start = bench_now();
		get(b);
		spent += bench_now() - start;
		release(b);
	}
	return spent / BENCH_LOOKUPS;
}

static double single(void *arg)
{
	return run(arg, get_singly, release_singly);
}

static double batch(void *arg)
{
	return run(arg, get_together, release_together);
}

int main(int argc, char **argv)
{
	struct bench b;

	bench_begin(&b, argc, argv, 1000000);
	bench_compare_lookups(&b, &(struct bench_side){"32 single lookups, each", single},
			      &(struct bench_side){"a batch of 32, each", batch});
	bench_end(&b);
	return 0;
}
