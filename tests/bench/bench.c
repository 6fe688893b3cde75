/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * bench.c: see bench.h.
 */
#include "config.h"

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void bench_die(const char *what)
{
	(void)fprintf(stderr, "%s: %s\n", what, kvshm_error());
	exit(1);
}

double bench_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void make_keys(struct bench *b)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	b->key = calloc(b->keys, BENCH_KEY_MAX);
	b->order = malloc(BENCH_LOOKUPS * sizeof(*b->order));
	if (!b->key || !b->order)
		bench_die("no memory");
	for (size_t i = 0; i < b->keys; i++)
		for (size_t at = 0; at < b->length; at += 8) {
			uint64_t n = random_number(&state);

			memcpy(b->key + i * BENCH_KEY_MAX + at, &n, b->length - at < 8 ? b->length - at : 8);
		}
	for (size_t i = 0; i < BENCH_LOOKUPS; i++)
		b->order[i] = (uint32_t)(random_number(&state) % b->keys);
}

static void fill_store(struct bench *b)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;

	for (size_t i = 0; i < b->keys; i++)
		if (kvshm_get_or_fill(b->store, b->key + i * BENCH_KEY_MAX, b->length, &outcome, &handle) ||
		    outcome != KVSHM_FILL || kvshm_publish(b->store, &handle, NULL) || kvshm_release(b->store, &handle))
			bench_die("cannot fill the store");
}

void bench_begin(struct bench *b, int argc, char **argv, size_t keys)
{
	struct kvshm_create_options options;
	char name[KVSHM_NAME_MAX];

	b->keys = argc > 1 ? strtoul(argv[1], NULL, 0) : keys;
	b->length = argc > 2 ? strtoul(argv[2], NULL, 0) : 32;
	b->rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 9;
	if (b->keys == 0 || b->length < 8 || b->length > BENCH_KEY_MAX || b->rounds == 0) {
		(void)fprintf(stderr, "%s [KEYS [KEY-LENGTH [ROUNDS]]]: KEYS and ROUNDS must be above 0, KEY-LENGTH 8 "
				      "to %d\n", argv[0], BENCH_KEY_MAX);
		exit(1);
	}
	make_keys(b);
	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = b->keys * options.block_size;
	(void)snprintf(name, sizeof(name), "bench-%d", (int)getpid());
	if (kvshm_create(name, &options, &b->owner))
		bench_die("cannot make a store");
	if (kvshm_attach(name, NULL, &b->store))
		bench_die("cannot attach the store");
	fill_store(b);
}

void bench_end(struct bench *b)
{
	(void)kvshm_detach(b->store);
	(void)kvshm_destroy(b->owner);
	free(b->key);
	free(b->order);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

void bench_compare(const struct bench *b, const char *first_name, double (*first)(const struct bench *),
		   const char *second_name, double (*second)(const struct bench *))
{
	double *ratio = calloc(b->rounds, sizeof(*ratio)), sum[2] = {0, 0};

	if (!ratio)
		bench_die("no memory");
	(void)first(b);
	(void)second(b);
	for (unsigned i = 0; i < b->rounds; i++) {
		double f = first(b), s = second(b);

		sum[0] += f;
		sum[1] += s;
		ratio[i] = s / f;
	}
	qsort(ratio, b->rounds, sizeof(*ratio), by_value);
	(void)printf("%zu keys of %zu bytes: %s %.1f ns, %s %.1f ns, ratio %.3f (median of %u; %.3f to %.3f)\n",
		     b->keys, b->length, first_name, sum[0] / b->rounds / BENCH_LOOKUPS * 1e9, second_name,
		     sum[1] / b->rounds / BENCH_LOOKUPS * 1e9, ratio[b->rounds / 2], b->rounds, ratio[0],
		     ratio[b->rounds - 1]);
	free(ratio);
}
