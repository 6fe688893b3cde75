/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * index.h: from keys to blocks: a fixed table of buckets, each a chain of blocks linked by number, after Harris ("A
 * Pragmatic Implementation of Non-Blocking Linked-Lists", DISC 2001) and Michael ("High Performance Dynamic Lock-Free
 * Hash Tables and List-Based Sets", SPAA 2002), with insertion at the head of the chain.
 *
 * Guarantees: two inserts of one key meet on the bucket's word, so that one of them sees the other (B3): a key that was
 * not in the chain behind the head that was read can have come only through that word. A walk meets every block that is
 * linked during all of it: links change only at the head and around marked blocks, and a marked block's link is
 * frozen. Lookups write nothing and never start again (A1). Every walk is bounded by the number of blocks (F1).
 * (tests/model/insert.pml)
 *
 * All calls are made inside a section: what is met on the way is not reused meanwhile.
 */
#ifndef KVS_INDEX_H
#define KVS_INDEX_H

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "map.h"

/* A walk over the blocks that have one key. There may be several, of which at most one can be held by a lookup. */
struct kvs_walk {
	const uint8_t *key;
	uint64_t hash;
	uint32_t length;
	uint32_t link; /* where it goes on */
	uint32_t steps;
};

/* Inline: the compiler folds most of it for a length that it knows. */
KVS_HOT uint64_t kvs_index_hash(const struct kvs_map *map, const void *key, size_t length)
{
	return XXH3_64bits_withSeed(key, length, map->g.seed);
}

/* Keys are short, and of the same length when this is asked: words, the last of them overlapping, cost less than a call
 * of memcmp(). */
KVS_HOT bool kvs_key_equal(const uint8_t *x, const uint8_t *y, uint32_t length)
{
	uint64_t p, q;

	if (length < sizeof(p))
		return memcmp(x, y, length) == 0;
	for (uint32_t at = 0; at < length - sizeof(p); at += sizeof(p)) {
		memcpy(&p, x + at, sizeof(p));
		memcpy(&q, y + at, sizeof(q));
		if (p != q)
			return false;
	}
	memcpy(&p, x + length - sizeof(p), sizeof(p));
	memcpy(&q, y + length - sizeof(q), sizeof(q));
	return p == q;
}

static inline uint8_t *kvs_key_tail(const struct kvs_map *map, uint32_t block)
{
	return map->tails + (uint64_t)block * map->g.tail;
}

/* Has a block this key? */
KVS_HOT bool kvs_key_is(const struct kvs_map *map, uint32_t number, const uint8_t *key, uint32_t length)
{
	const struct kvs_block *block = kvs_block(map, number);

	if (atomic_load_explicit(&block->key_length, memory_order_relaxed) != length)
		return false;
	if (length <= KVS_KEY_HEAD)
		return kvs_key_equal(block->key, key, length);
	return kvs_key_equal(block->key, key, KVS_KEY_HEAD) &&
	       kvs_key_equal(kvs_key_tail(map, number), key + KVS_KEY_HEAD, length - KVS_KEY_HEAD);
}

/* Writes a key into a block of the caller's; the length is 1 to key_max. */
void kvs_key_write(const struct kvs_map *map, uint32_t block, const uint8_t *key, uint32_t length);

static inline _Atomic uint32_t *kvs_index_bucket(const struct kvs_map *map, uint64_t hash)
{
	return &map->buckets[hash & (map->g.buckets - 1)];
}

/* [insert: walk] Acquire: whoever linked the block had written its key before. */
KVS_HOT void kvs_index_start(const struct kvs_map *map, struct kvs_walk *walk)
{
	walk->link = atomic_load_explicit(kvs_index_bucket(map, walk->hash), memory_order_acquire);
	walk->steps = 0;
}

/* Lookups of many keys: what each will touch is fetched in rounds: the bucket, then the block that it leads to and the
 * client's entry for that, then the same of the next block in the chain where the first has another key (as for two in
 * five keys of a full table). Hints: nothing of it is believed. Only the last round reads keys, and so is made in a
 * section, in which they don't change. */
KVS_HOT void kvs_index_fetch_bucket(const struct kvs_map *map, uint64_t hash)
{
	__builtin_prefetch(kvs_index_bucket(map, hash));
}

/* A block's descriptor, and the client's entry for it. The number may be any. */
KVS_HOT void kvs_fetch_block(const struct kvs_actor *actor, uint32_t number)
{
	if (number < actor->map->g.blocks) {
		__builtin_prefetch(&actor->map->blocks[number]);
		__builtin_prefetch(&actor->row[number], 1);
	}
}

/* Relaxed: only fetched. */
KVS_HOT void kvs_index_fetch_block(const struct kvs_actor *actor, uint64_t hash)
{
	kvs_fetch_block(actor, kvs_link_block(atomic_load_explicit(kvs_index_bucket(actor->map, hash),
								   memory_order_relaxed)));
}

/* The second's number is only fetched: relaxed. */
KVS_HOT void kvs_index_fetch_second(const struct kvs_actor *actor, const uint8_t *key, uint32_t length, uint64_t hash)
{
	const struct kvs_map *map = actor->map;
	uint32_t number = /* [insert: walk] */
		kvs_link_block(atomic_load_explicit(kvs_index_bucket(map, hash), memory_order_acquire));

	if (number >= map->g.blocks || kvs_key_is(map, number, key, length))
		return;
	kvs_fetch_block(actor, kvs_link_block(atomic_load_explicit(&kvs_block(map, number)->next,
								   memory_order_relaxed)));
}

/* The next block with the key: KVS_NONE at the end, and KVS_NONE - 1 for nonsense. */
#define KVS_WALK_NONSENSE (KVS_NONE - 1)
KVS_HOT uint32_t kvs_index_next(const struct kvs_actor *actor, struct kvs_walk *walk)
{
	const struct kvs_map *map = actor->map;

	while (walk->link & ~KVS_LINK_MARK) {
		uint32_t number = kvs_link_block(walk->link);
		struct kvs_block *block = kvs_resolve(map, number);

		if (!block || walk->steps++ > map->g.blocks)
			return KVS_WALK_NONSENSE;
		__builtin_prefetch(&actor->row[number], 1); /* the client's entry: the hold is next */
		walk->link = atomic_load_explicit(&block->next, memory_order_acquire); /* [insert: walk] */
		if (kvs_key_is(map, number, walk->key, walk->length))
			return number;
	}
	return KVS_NONE;
}

/* Links a block of the caller's, whose key has that hash, in front of the head that its walk started at; false if the
 * bucket has changed since. */
bool kvs_index_link(const struct kvs_map *map, uint32_t number, uint64_t hash, uint32_t head);

/* Takes a block out of its chain, whose word is DOOMED or beyond; 0 means that it is not linked any more, by whomever.
 * -EUCLEAN for a chain that makes no sense. Helps others whose blocks it passes. */
int kvs_index_unlink(const struct kvs_map *map, uint32_t number);

#endif
