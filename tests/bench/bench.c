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

kvshm_owner *bench_make_store(size_t blocks, char *name)
{
	struct kvshm_create_options options;
	kvshm_owner *owner;

	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = blocks * options.block_size;
	(void)snprintf(name, KVSHM_NAME_MAX + 1, "bench-%d", (int)getpid());
	if (kvshm_create(name, &options, &owner))
		bench_die("cannot make a store");
	return owner;
}

unsigned bench_rounds(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : BENCH_ROUNDS;

	if (rounds == 0 || rounds > 1000000) {
		(void)fprintf(stderr, "%s [ROUNDS]: ROUNDS must be above 0\n", argv[0]);
		exit(1);
	}
	return (unsigned)rounds;
}

void bench_begin(struct bench *b, int argc, char **argv, size_t keys)
{
	char name[KVSHM_NAME_MAX + 1];

	b->keys = argc > 1 ? strtoul(argv[1], NULL, 0) : keys;
	b->length = argc > 2 ? strtoul(argv[2], NULL, 0) : 32;
	b->rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : BENCH_ROUNDS;
	if (b->keys == 0 || b->length < 8 || b->length > BENCH_KEY_MAX || b->rounds == 0) {
		(void)fprintf(stderr, "%s [KEYS [KEY-LENGTH [ROUNDS]]]: KEYS and ROUNDS must be above 0, KEY-LENGTH 8 "
				      "to %d\n", argv[0], BENCH_KEY_MAX);
		exit(1);
	}
	make_keys(b);
	b->owner = bench_make_store(b->keys, name);
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

double bench_median(double *numbers, size_t count)
{
	qsort(numbers, count, sizeof(*numbers), by_value);
	return numbers[count / 2];
}

void bench_compare(unsigned rounds, void *arg, const char *what, const struct bench_side *first,
		   const struct bench_side *second)
{
	double *f = calloc(rounds, 3 * sizeof(*f)), *s, *ratio, median;

	if (!f)
		bench_die("no memory");
	s = f + rounds;
	ratio = s + rounds;
	(void)first->run(arg);
	(void)second->run(arg);
	for (unsigned i = 0; i < rounds; i++) {
		f[i] = first->run(arg);
		s[i] = second->run(arg);
		ratio[i] = s[i] / f[i];
	}
	median = bench_median(ratio, rounds);
	(void)printf("%s: %s %.1f ns, %s %.1f ns, ratio %.3f (medians of %u; %.3f to %.3f)\n", what, first->name,
		     bench_median(f, rounds) * 1e9, second->name, bench_median(s, rounds) * 1e9, median, rounds,
		     ratio[0], ratio[rounds - 1]);
	(void)fflush(stdout);
	free(f);
}

void bench_compare_lookups(struct bench *b, const struct bench_side *first, const struct bench_side *second)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "%zu keys of %zu bytes", b->keys, b->length);
	bench_compare(b->rounds, b, what, first, second);
}
