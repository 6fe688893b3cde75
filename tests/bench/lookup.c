/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lookup.c: what taking and releasing a ref costs, against the same in liburcu's in-process hash table:
 * cds_lfht_lookup + uatomic_inc + uatomic_dec, memb flavour, presized. Same keys, same hash (XXH3), same order, one
 * process, rounds interleaved; prints the median of the rounds' ratios.
 *
 *   lookup [KEYS [KEY-LENGTH [ROUNDS]]]
 */
#include "config.h"

#include "bench.h"

#include <urcu/urcu-memb.h>

#include <stdlib.h>
#include <string.h>
#include <urcu/rculfhash.h>
#include <urcu/uatomic.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct node {
	struct cds_lfht_node link;
	unsigned long refs;
	unsigned char key[BENCH_KEY_MAX];
};

static struct cds_lfht *table;
static size_t match_length;

static unsigned long hash(const struct bench *b, const unsigned char *key)
{
	return XXH3_64bits_withSeed(key, b->length, 1);
}

static void fill_table(const struct bench *b)
{
	struct node *nodes = calloc(b->keys, sizeof(*nodes));
	size_t buckets = 1;

	while (buckets < b->keys)
		buckets *= 2;
	urcu_memb_register_thread();
	table = cds_lfht_new_flavor(buckets, buckets, buckets, 0, &urcu_memb_flavor, NULL);
	if (!table || !nodes)
		bench_die("no memory");
	for (size_t i = 0; i < b->keys; i++) {
		cds_lfht_node_init(&nodes[i].link);
		memcpy(nodes[i].key, b->key + i * BENCH_KEY_MAX, BENCH_KEY_MAX);
		urcu_memb_read_lock();
		cds_lfht_add(table, hash(b, nodes[i].key), &nodes[i].link);
		urcu_memb_read_unlock();
	}
}

static int match(struct cds_lfht_node *link, const void *key)
{
	return memcmp(caa_container_of(link, struct node, link)->key, key, match_length) == 0;
}

static double run_table(void *arg)
{
	const struct bench *b = arg;
	double start = bench_now();

	for (size_t i = 0; i < BENCH_LOOKUPS; i++) {
		const unsigned char *key = bench_key(b, i);
		struct cds_lfht_iter iter;
		struct cds_lfht_node *link;
		struct node *node;

		urcu_memb_read_lock();
		cds_lfht_lookup(table, hash(b, key), match, key, &iter);
		link = cds_lfht_iter_get_node(&iter);
		if (!link)
			bench_die("a key is missing in the table");
		node = caa_container_of(link, struct node, link);
		uatomic_inc(&node->refs);
		urcu_memb_read_unlock();
		uatomic_dec(&node->refs);
	}
	return (bench_now() - start) / BENCH_LOOKUPS;
}

static double run_store(void *arg)
{
	const struct bench *b = arg;
	double start = bench_now();

	for (size_t i = 0; i < BENCH_LOOKUPS; i++) {
		struct kvshm_handle ref;

		if (kvshm_get(b->store, bench_key(b, i), b->length, &ref) || kvshm_release(b->store, &ref))
			bench_die("a key is missing in the store");
	}
	return (bench_now() - start) / BENCH_LOOKUPS;
}

int main(int argc, char **argv)
{
	struct bench b;

	bench_begin(&b, argc, argv, 65536);
	match_length = b.length;
	fill_table(&b);
	bench_compare_lookups(&b, &(struct bench_side){"cds_lfht", run_table},
			      &(struct bench_side){"kvshm", run_store});
	bench_end(&b);
	return 0;
}
