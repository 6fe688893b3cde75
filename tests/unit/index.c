/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * index: chains of blocks: linking at the head, unlinking anywhere, helping, and walks that meet nonsense. All keys are
 * linked into one bucket, so that chains are long whatever the hash does.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "epoch.h"
#include "index.h"

#define BLOCKS 64

/* Gives a block a key whose bucket is that of key 0, and links it. */
static uint64_t next_key;
static uint64_t keys[BLOCKS];

static void link_block(struct kvs_map *map, uint32_t number)
{
	struct kvs_block *block = kvs_block(map, number);
	uint8_t key[UNIT_KEY];
	uint64_t hash;

	do {
		unit_key(next_key++, key);
		hash = kvs_index_hash(map, key, UNIT_KEY);
	} while (kvs_index_bucket(map, hash) != map->buckets);
	keys[number] = next_key - 1;
	memcpy(block->key, key, UNIT_KEY);
	block->key_length = UNIT_KEY;
	atomic_store(&block->word, kvs_word_next(0, KVS_READY, 0));
	ck_assert(kvs_index_link(map, number, hash, atomic_load(map->buckets)));
}

static struct kvs_map *linked(void)
{
	struct kvs_map *map = unit_memory(BLOCKS);

	for (uint32_t i = 0; i < BLOCKS; i++)
		link_block(map, i);
	return map;
}

static uint32_t next(struct kvs_map *map, struct kvs_walk *walk)
{
	struct kvs_actor actor = {.map = map, .row = kvs_row(map, 0)};

	return kvs_index_next(&actor, walk);
}

static uint32_t find(struct kvs_map *map, uint32_t number)
{
	uint8_t key[UNIT_KEY];
	struct kvs_walk walk = {.key = key, .length = UNIT_KEY};

	unit_key(keys[number], key);
	walk.hash = kvs_index_hash(map, key, UNIT_KEY);
	kvs_index_start(map, &walk);
	return next(map, &walk);
}

START_TEST(a_chain_of_all_blocks_finds_each)
{
	struct kvs_map *map = linked();

	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(find(map, i), i);
}
END_TEST

START_TEST(unlinking_hides_that_block_and_no_other)
{
	static const uint32_t order[] = {31, 0, 63, 32, 1, 62, 30}; /* middle, last, first, neighbours */
	struct kvs_map *map = linked();
	bool gone[BLOCKS] = {false};

	for (unsigned n = 0; n < sizeof(order) / sizeof(order[0]); n++) {
		ck_assert_int_eq(kvs_index_unlink(map, order[n]), 0);
		gone[order[n]] = true;
		for (uint32_t i = 0; i < BLOCKS; i++)
			ck_assert_uint_eq(find(map, i), gone[i] ? KVS_NONE : i);
	}
}
END_TEST

START_TEST(unlinking_twice_or_what_was_never_linked_is_harmless)
{
	struct kvs_map *map = linked();

	ck_assert_int_eq(kvs_index_unlink(map, 5), 0);
	ck_assert_int_eq(kvs_index_unlink(map, 5), 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(find(map, i), i == 5 ? KVS_NONE : i);
}
END_TEST

START_TEST(B3_a_link_from_a_head_that_has_changed_fails)
{
	struct kvs_map *map = linked();
	uint32_t head = atomic_load(map->buckets);
	uint64_t hash = 0; /* bucket 0 */

	ck_assert_int_eq(kvs_index_unlink(map, 7), 0);
	link_block(map, 7); /* the head is another now */
	ck_assert_int_eq(kvs_index_unlink(map, 9), 0);
	ck_assert(!kvs_index_link(map, 9, hash, head));
	ck_assert_uint_eq(find(map, 7), 7);
	ck_assert_uint_eq(find(map, 9), KVS_NONE);
}
END_TEST

START_TEST(who_passes_a_marked_block_helps_it_out)
{
	struct kvs_map *map = linked();

	/* Two unlinkers died after their mark. */
	atomic_fetch_or(&kvs_block(map, 20)->next, KVS_LINK_MARK);
	atomic_fetch_or(&kvs_block(map, 21)->next, KVS_LINK_MARK);
	ck_assert_int_eq(kvs_index_unlink(map, 10), 0); /* linked before them: it is behind them in the chain */
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(find(map, i), i == 10 || i == 20 || i == 21 ? KVS_NONE : i);
}
END_TEST

START_TEST(a_reader_on_an_unlinked_block_goes_on_along_the_chain)
{
	struct kvs_map *map = linked();
	uint8_t key[UNIT_KEY];
	struct kvs_walk walk = {.key = key, .length = UNIT_KEY};

	/* The walk stands on block 40 when that goes, and its follower too. */
	walk.link = kvs_link_to(40);
	ck_assert_int_eq(kvs_index_unlink(map, 40), 0);
	ck_assert_int_eq(kvs_index_unlink(map, 39), 0);
	unit_key(keys[3], key);
	walk.hash = kvs_index_hash(map, key, UNIT_KEY);
	ck_assert_uint_eq(next(map, &walk), 3);
}
END_TEST

static uint32_t find_missing(struct kvs_map *map)
{
	static const uint8_t key[UNIT_KEY] = "no such key";
	struct kvs_walk walk = {.key = key, .hash = 0, .length = UNIT_KEY}; /* bucket 0 */

	kvs_index_start(map, &walk);
	return next(map, &walk);
}

START_TEST(F1_a_cycle_ends_walks_and_unlinks)
{
	struct kvs_map *map = linked();

	ck_assert_uint_eq(find_missing(map), KVS_NONE);
	atomic_store(&kvs_block(map, 0)->next, kvs_link_to(30)); /* the chain's end goes back to its middle */
	ck_assert_uint_eq(find_missing(map), KVS_WALK_NONSENSE);
	ck_assert_int_eq(kvs_index_unlink(map, 50), -EUCLEAN);
	atomic_store(&kvs_block(map, 0)->next, kvs_link_to(0));
	ck_assert_uint_eq(find_missing(map), KVS_WALK_NONSENSE);
	ck_assert_int_eq(kvs_index_unlink(map, 51), -EUCLEAN);
	atomic_store(&kvs_block(map, 0)->next, kvs_link_to(0) | KVS_LINK_MARK);
	ck_assert_int_eq(kvs_index_unlink(map, 52), -EUCLEAN);
}
END_TEST

START_TEST(F1_a_link_to_no_block_ends_walks_and_unlinks)
{
	static const uint32_t wild[] = {BLOCKS, BLOCKS + 1, KVS_BLOCKS_MAX, UINT32_MAX >> 1};
	struct kvs_map *map = linked();

	for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		atomic_store(&kvs_block(map, 20)->next, (wild[i] + 1) << 1);
		if (kvs_link_block((wild[i] + 1) << 1) == wild[i] && (wild[i] + 1) << 1) {
			ck_assert_uint_eq(find_missing(map), KVS_WALK_NONSENSE);
			ck_assert_int_eq(kvs_index_unlink(map, 3), -EUCLEAN);
		}
		atomic_store(map->buckets, (wild[i] + 1) << 1 | KVS_LINK_MARK);
		if ((wild[i] + 1) << 1)
			ck_assert_uint_eq(find_missing(map), KVS_WALK_NONSENSE);
		atomic_store(map->buckets, kvs_link_to(BLOCKS - 1));
	}
}
END_TEST

START_TEST(F1_a_keys_length_beyond_key_max_is_never_hashed)
{
	static const uint16_t lengths[] = {0, 65, 257, UINT16_MAX};
	struct kvs_map *map = linked();

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		kvs_block(map, BLOCKS - 1)->key_length = lengths[i];
		ck_assert_int_eq(kvs_index_unlink(map, BLOCKS - 1), -EUCLEAN);
		ck_assert_uint_eq(find(map, 3), 3);
	}
}
END_TEST

/* Each thread takes blocks of its own out of the one chain, while the others do; then all link theirs again. The
 * barrier in between is the grace period. */
#define THREADS 4
static pthread_barrier_t barrier;

static void *churn(void *arg)
{
	const struct kvs_actor *actor = arg;
	struct kvs_map *map = actor->map;
	uint32_t first = actor->self * 8;

	for (int round = 0; round < 500; round++) {
		(void)pthread_barrier_wait(&barrier);
		for (uint32_t i = first; i < first + 8; i++) {
			ck_assert_int_eq(kvs_index_unlink(map, i), 0);
			ck_assert_uint_eq(find(map, i), KVS_NONE);
			ck_assert_uint_eq(find(map, BLOCKS - 1), BLOCKS - 1); /* nobody touches that one */
		}
		(void)pthread_barrier_wait(&barrier);
		for (uint32_t i = first; i < first + 8; i++) {
			while (!kvs_index_link(map, i, 0, atomic_load(map->buckets)))
				;
			ck_assert_uint_eq(find(map, i), i);
		}
	}
	return NULL;
}

START_TEST(threads_that_link_and_unlink_one_chain_lose_nothing)
{
	struct kvs_map *map = linked();
	struct kvs_actor actors[THREADS];
	pthread_t threads[THREADS];

	(void)pthread_barrier_init(&barrier, NULL, THREADS);
	for (uint32_t i = 0; i < THREADS; i++) {
		actors[i] = unit_actor(map, i);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &actors[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(find(map, i), i);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_chain_of_all_blocks_finds_each,
		unlinking_hides_that_block_and_no_other,
		unlinking_twice_or_what_was_never_linked_is_harmless,
		B3_a_link_from_a_head_that_has_changed_fails,
		who_passes_a_marked_block_helps_it_out,
		a_reader_on_an_unlinked_block_goes_on_along_the_chain,
		F1_a_cycle_ends_walks_and_unlinks,
		F1_a_link_to_no_block_ends_walks_and_unlinks,
		F1_a_keys_length_beyond_key_max_is_never_hashed,
		threads_that_link_and_unlink_one_chain_lose_nothing,
	};

	return unit_run("index", tests, sizeof(tests) / sizeof(tests[0]));
}
