/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * prefix.c: what a scheduler pays for a prefix of 256 keys that are all ready: match, get in a batch, and a request's
 * match, the first time and asked again; and their ends. Against 256 single calls. In three settings: what is touched
 * is in the cache; the same with 64 other requests that hold 256 keys each; and nothing of the store is in the cache.
 * Prints the medians of the rounds, and the medians of the rounds' ratios.
 *
 *   prefix [KEYS [KEY-LENGTH [ROUNDS]]]
 */
#include "config.h"

#include "bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX 256U
#define OTHERS 64U
#define PASSES 100U		   /* of a round, where the cache is warm */
#define SWEPT (UINT32_C(256) << 20) /* bytes: more than any cache has */

static struct kvshm_key keys[PREFIX];
static struct kvshm_handle handles[PREFIX];
static int results[PREFIX];
static struct kvshm_request request;
static uint64_t opened; /* requests so far: each has an id of its own */

static void name_keys(const struct bench *b, size_t first)
{
	for (size_t i = 0; i < PREFIX; i++)
		keys[i] = (struct kvshm_key){bench_key(b, first + i), b->length};
}

/* ---- What is timed ------------------------------------------------------------------------------------------- */

static void get_singly(const struct bench *b)
{
	for (size_t i = 0; i < PREFIX; i++)
		if (kvshm_get(b->store, keys[i].bytes, keys[i].length, &handles[i]))
			bench_die("a key is missing");
}

static void release_singly(const struct bench *b)
{
	for (size_t i = 0; i < PREFIX; i++)
		if (kvshm_release(b->store, &handles[i]))
			bench_die("a ref was lost");
}

static void match(const struct bench *b)
{
	enum kvshm_next next;
	size_t ready;

	if (kvshm_match(b->store, keys, PREFIX, handles, &ready, &next) || ready != PREFIX)
		bench_die("no match");
}

static void get_together(const struct bench *b)
{
	if (kvshm_get_batch(b->store, keys, PREFIX, handles, results))
		bench_die("no batch");
}

static void release_together(const struct bench *b)
{
	if (kvshm_release_batch(b->store, handles, PREFIX, results))
		bench_die("no batch");
}

static void open_request(const struct bench *b)
{
	opened++;
	if (kvshm_request_open(b->store, &opened, sizeof(opened), 0, PREFIX, &request))
		bench_die("cannot open a request");
}

static void match_request(const struct bench *b)
{
	enum kvshm_next next;
	size_t ready;

	if (kvshm_request_match(b->store, &request, keys, PREFIX, handles, &ready, &next) || ready != PREFIX)
		bench_die("no match of a request");
}

static void shrink_request(const struct bench *b)
{
	if (kvshm_request_release(b->store, &request, handles, PREFIX))
		bench_die("cannot release what a request holds");
}

static void end_request(const struct bench *b)
{
	if (kvshm_request_end(b->store, &request))
		bench_die("cannot end a request");
}

/* One pass is all of these, in order. Of a way that has several parts, the sum is shown behind the last. */
static const struct part {
	const char *name;
	void (*run)(const struct bench *b);
	const char *sum;
	unsigned first; /* of the parts that the sum has; those behind an end of a request's first match are left out */
} parts[] = {
	{"256 kvshm_get", get_singly, NULL, 0},
	{"256 kvshm_release", release_singly, "singly", 0},
	{"kvshm_match", match, NULL, 0},
	{"kvshm_release_batch", release_together, "match + release", 2},
	{"kvshm_get_batch", get_together, NULL, 0},
	{"kvshm_release_batch", release_together, "get + release", 4},
	{"kvshm_request_open", open_request, NULL, 0},
	{"kvshm_request_match", match_request, NULL, 0},
	{"kvshm_request_end", end_request, "open + match + end", 6},
	{"kvshm_request_open", open_request, NULL, 0},
	{"kvshm_request_match", match_request, NULL, 0},
	{"kvshm_request_match again", match_request, NULL, 0},
	{"kvshm_request_release", shrink_request, NULL, 0},
	{"kvshm_request_end of nothing", end_request, NULL, 0},
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* ---- Rounds -------------------------------------------------------------------------------------------------- */

static void *room_for(size_t count, size_t size)
{
	void *room = calloc(count, size);

	if (!room)
		bench_die("no memory");
	return room;
}

/* Something else is in the cache afterwards. */
static void sweep(void)
{
	static unsigned char *memory;

	if (!memory)
		memory = room_for(1, SWEPT);
	for (size_t i = 0; i < SWEPT; i += 64)
		memory[i]++;
}

/* What each part cost: the median of the passes, so that one that was interrupted does not count. */
static void run_round(const struct bench *b, bool cold, double spent[PARTS])
{
	static double times[PARTS][PASSES];
	unsigned passes = cold ? 1 : PASSES;

	for (unsigned pass = 0; pass < passes; pass++) {
		for (size_t i = 0; i < PARTS; i++) {
			double start;

			if (cold)
				sweep();
			start = bench_now();
			parts[i].run(b);
			times[i][pass] = bench_now() - start;
		}
	}
	for (size_t i = 0; i < PARTS; i++)
		spent[i] = bench_median(times[i], passes);
}

static double sum_of(const double spent[PARTS], size_t first, size_t last)
{
	double sum = 0;

	for (size_t i = first; i <= last; i++)
		sum += spent[i];
	return sum;
}

/* What parts first to last cost in the rounds, and against the single calls of the same round. */
static void show(const char *name, double (*spent)[PARTS], unsigned rounds, size_t first, size_t last)
{
	double *times = room_for(rounds, sizeof(*times)), *ratios = room_for(rounds, sizeof(*ratios)), median, ratio;

	for (unsigned i = 0; i < rounds; i++) {
		times[i] = sum_of(spent[i], first, last);
		ratios[i] = times[i] / sum_of(spent[i], 0, 1);
	}
	median = bench_median(times, rounds);
	ratio = bench_median(ratios, rounds);
	(void)printf("  %-30s %8.2f us (%.2f to %.2f), ratio %.3f\n", name, median * 1e6, times[0] * 1e6,
		     times[rounds - 1] * 1e6, ratio);
	free(times);
	free(ratios);
}

static void compare(const struct bench *b, const char *setting, bool cold)
{
	double(*spent)[PARTS] = room_for(b->rounds, sizeof(*spent));

	name_keys(b, 0);
	run_round(b, cold, spent[0]);
	for (unsigned i = 0; i < b->rounds; i++)
		run_round(b, cold, spent[i]);
	(void)printf("%s, %u of %zu keys of %zu bytes (medians of %u):\n", setting, PREFIX, b->keys, b->length,
		     b->rounds);
	for (size_t i = 0; i < PARTS; i++) {
		show(parts[i].name, spent, b->rounds, i, i);
		if (parts[i].sum)
			show(parts[i].sum, spent, b->rounds, parts[i].first, i);
	}
	(void)fflush(stdout);
	free(spent);
}

/* Others that hold keys, some of them the same. */
static void open_others(const struct bench *b, struct kvshm_request others[OTHERS])
{
	for (unsigned i = 0; i < OTHERS; i++) {
		name_keys(b, (size_t)i * PREFIX / 2);
		open_request(b);
		match_request(b);
		others[i] = request;
	}
}

static void end_others(const struct bench *b, const struct kvshm_request others[OTHERS])
{
	for (unsigned i = 0; i < OTHERS; i++) {
		request = others[i];
		end_request(b);
	}
}

int main(int argc, char **argv)
{
	struct kvshm_request others[OTHERS];
	struct bench b;

	bench_begin(&b, argc, argv, 65536);
	compare(&b, "warm", false);
	open_others(&b, others);
	compare(&b, "warm, 64 other requests", false);
	end_others(&b, others);
	compare(&b, "cold", true);
	bench_end(&b);
	return 0;
}
