/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lookup.c: what taking and releasing a ref costs, against the same in liburcu's in-process hash table:
 * cds_lfht_lookup + uatomic_inc + uatomic_dec, memb flavour, presized. Same keys, same hash (XXH3), same order, one
 * process, rounds interleaved; prints the median of the rounds' ratios. Not a test: timings are of this machine.
 *
 *   lookup [KEYS [KEY-LENGTH [ROUNDS]]]
 */
#include "config.h"

#include <urcu/urcu-memb.h>

#include <kvshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <urcu/rculfhash.h>
#include <urcu/uatomic.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define LOOKUPS 2000000U
#define KEY_MAX 64

struct node {
	struct cds_lfht_node link;
	unsigned long refs;
	unsigned char key[KEY_MAX];
};

struct bench {
	size_t keys, length;
	unsigned char *key; /* keys of KEY_MAX bytes */
	uint32_t *order;    /* LOOKUPS numbers of keys, uniform */
	struct node *nodes;
	struct cds_lfht *table;
	kvshm *store;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "lookup: %s: %s\n", what, kvshm_error());
	exit(1);
}

static double now(void)
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

	b->key = calloc(b->keys, KEY_MAX);
	b->order = malloc(LOOKUPS * sizeof(*b->order));
	if (!b->key || !b->order)
		die("no memory");
	for (size_t i = 0; i < b->keys; i++)
		for (size_t at = 0; at < b->length; at += 8) {
			uint64_t n = random_number(&state);

			memcpy(b->key + i * KEY_MAX + at, &n, b->length - at < 8 ? b->length - at : 8);
		}
	for (size_t i = 0; i < LOOKUPS; i++)
		b->order[i] = (uint32_t)(random_number(&state) % b->keys);
}

static unsigned long hash(const struct bench *b, const unsigned char *key)
{
	return XXH3_64bits_withSeed(key, b->length, 1);
}

static void fill_table(struct bench *b)
{
	size_t buckets = 1;

	while (buckets < b->keys)
		buckets *= 2;
	urcu_memb_register_thread();
	b->table = cds_lfht_new_flavor(buckets, buckets, buckets, 0, &urcu_memb_flavor, NULL);
	b->nodes = calloc(b->keys, sizeof(*b->nodes));
	if (!b->table || !b->nodes)
		die("no memory");
	for (size_t i = 0; i < b->keys; i++) {
		cds_lfht_node_init(&b->nodes[i].link);
		memcpy(b->nodes[i].key, b->key + i * KEY_MAX, KEY_MAX);
		urcu_memb_read_lock();
		cds_lfht_add(b->table, hash(b, b->nodes[i].key), &b->nodes[i].link);
		urcu_memb_read_unlock();
	}
}

static void fill_store(struct bench *b)
{
	enum kvshm_outcome outcome;
	struct kvshm_handle handle;

	for (size_t i = 0; i < b->keys; i++)
		if (kvshm_get_or_fill(b->store, b->key + i * KEY_MAX, b->length, &outcome, &handle) ||
		    outcome != KVSHM_FILL || kvshm_publish(b->store, &handle, NULL) || kvshm_release(b->store, &handle))
			die("cannot fill the store");
}

static size_t match_length;

static int match(struct cds_lfht_node *link, const void *key)
{
	return memcmp(caa_container_of(link, struct node, link)->key, key, match_length) == 0;
}

static double run_table(const struct bench *b)
{
	double start = now();

	for (size_t i = 0; i < LOOKUPS; i++) {
		const unsigned char *key = b->key + (size_t)b->order[i] * KEY_MAX;
		struct cds_lfht_iter iter;
		struct cds_lfht_node *link;
		struct node *node;

		urcu_memb_read_lock();
		cds_lfht_lookup(b->table, hash(b, key), match, key, &iter);
		link = cds_lfht_iter_get_node(&iter);
		if (!link)
			die("a key is missing in the table");
		node = caa_container_of(link, struct node, link);
		uatomic_inc(&node->refs);
		urcu_memb_read_unlock();
		uatomic_dec(&node->refs);
	}
	return now() - start;
}

static double run_store(const struct bench *b)
{
	double start = now();

	for (size_t i = 0; i < LOOKUPS; i++) {
		const unsigned char *key = b->key + (size_t)b->order[i] * KEY_MAX;
		struct kvshm_handle ref;

		if (kvshm_get(b->store, key, b->length, &ref) || kvshm_release(b->store, &ref))
			die("a key is missing in the store");
	}
	return now() - start;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void run(const struct bench *b, unsigned rounds)
{
	double *ratio = calloc(rounds, sizeof(*ratio)), table = 0, store = 0;

	if (!ratio)
		die("no memory");
	(void)run_table(b);
	(void)run_store(b);
	for (unsigned i = 0; i < rounds; i++) {
		double t = run_table(b), s = run_store(b);

		table += t;
		store += s;
		ratio[i] = s / t;
	}
	qsort(ratio, rounds, sizeof(*ratio), by_value);
	(void)printf("%zu keys of %zu bytes: cds_lfht %.1f ns, kvshm %.1f ns, "
		     "ratio %.3f (median of %u; %.3f to %.3f)\n",
		     b->keys, b->length, table / rounds / LOOKUPS * 1e9, store / rounds / LOOKUPS * 1e9,
		     ratio[rounds / 2], rounds, ratio[0], ratio[rounds - 1]);
	free(ratio);
}

int main(int argc, char **argv)
{
	struct bench b = {.keys = argc > 1 ? strtoul(argv[1], NULL, 0) : 65536,
			  .length = argc > 2 ? strtoul(argv[2], NULL, 0) : 32};
	unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 9;
	struct kvshm_create_options options;
	kvshm_owner *owner;
	char name[KVSHM_NAME_MAX];

	if (b.keys == 0 || b.length < 8 || b.length > KEY_MAX || rounds == 0) {
		(void)fprintf(stderr, "lookup: KEYS and ROUNDS must be above 0, KEY-LENGTH 8 to %d\n", KEY_MAX);
		return 1;
	}
	match_length = b.length;
	make_keys(&b);
	kvshm_create_defaults(&options);
	options.block_size = KVSHM_BLOCK_UNIT;
	options.size = b.keys * options.block_size;
	(void)snprintf(name, sizeof(name), "bench-lookup-%d", (int)getpid());
	if (kvshm_create(name, &options, &owner))
		die("cannot make a store");
	if (kvshm_attach(name, NULL, &b.store))
		die("cannot attach the store");
	fill_table(&b);
	fill_store(&b);
	run(&b, rounds);
	(void)kvshm_detach(b.store);
	(void)kvshm_destroy(owner);
	return 0;
}
