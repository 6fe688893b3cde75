/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_chains.c: the index: every link leads to a block, no block is met twice, each in its key's bucket, each key
 * once (B3); and what a lookup must find is met. See check_look.h. Relaxed: what is looked at are copies.
 */
#include "config.h"

#include "check_look.h"
#include "index.h"
#include "part.h"

#define NEAR 1000 /* blocks of a chain: a forged one would take hours otherwise */

static uint32_t link_of(const struct kvs_look *look, uint32_t block)
{
	return atomic_load_explicit(&look->blocks[block].next, memory_order_relaxed);
}

static uint32_t length_of(const struct kvs_look *look, uint32_t block)
{
	return atomic_load_explicit(&look->blocks[block].key_length, memory_order_relaxed);
}

static uint32_t key_of(const struct kvs_look *look, uint32_t block, uint8_t key[KVS_KEY_MAX])
{
	uint32_t length = length_of(look, block), head = length < KVS_KEY_HEAD ? length : KVS_KEY_HEAD;

	memcpy(key, look->blocks[block].key, head);
	memcpy(key + head, look->tails + (uint64_t)block * look->g->tail, length - head);
	return length;
}

static bool has_key(const struct kvs_look *look, uint32_t block)
{
	return length_of(look, block) && length_of(look, block) <= look->g->key_max;
}

static bool can_be_found(enum kvs_state state)
{
	return state == KVS_FILLING || state == KVS_READY || state == KVS_REM_READY;
}

/* Does a lookup find it? */
static bool is_found(const struct kvs_look *look, uint32_t block)
{
	return has_key(look, block) && can_be_found(kvs_look_state(look, block)) &&
	       kvs_look_life(look, block) >= look->floor;
}

/* Each key once: against those before it in its chain, whose length hashing keeps far below the bound. */
static void check_once(struct kvs_look *look, uint32_t first, uint32_t number)
{
	uint8_t key[KVS_KEY_MAX], other[KVS_KEY_MAX];
	uint32_t length = key_of(look, number, key);

	if (!is_found(look, number))
		return;
	for (uint32_t i = first, near = 0; i != number && near < NEAR; i = kvs_link_block(link_of(look, i)), near++)
		if (is_found(look, i) && key_of(look, i, other) == length && memcmp(key, other, length) == 0)
			kvs_look_find(look, KVS_FINDING_key_twice, number, i, kvs_look_word(look, number));
}

/* What is linked can be found, or was doomed a moment ago: who dooms a block unlinks it in the same section. So does a
 * filler that links a block which was doomed before by a clearing; meanwhile another may be looking whether it is held,
 * as it is by the filler. */
static void check_linked_state(struct kvs_look *look, uint32_t bucket, uint32_t number)
{
	uint64_t word = kvs_look_word(look, number);
	enum kvs_state state = kvs_word_state(word);

	if (state == KVS_DOOMED)
		kvs_look_find_unless(look, look->any_busy, KVS_FINDING_still_linked, number, bucket, word);
	else if (!can_be_found(state))
		kvs_look_find_unless(look, state == KVS_REM_DOOMED && look->any_busy, KVS_FINDING_chain_state, number,
				     bucket, word);
	else if (link_of(look, number) & KVS_LINK_MARK)
		kvs_look_find(look, KVS_FINDING_marked, number, 0, word);
}

/* A block that is linked; false where the chain can't be followed any further. */
static bool check_linked(struct kvs_look *look, uint32_t bucket, uint32_t first, uint32_t number)
{
	uint64_t word = kvs_look_word(look, number);
	uint8_t key[KVS_KEY_MAX];

	if (look->linked[number]) {
		kvs_look_find(look, KVS_FINDING_chain_twice, number, bucket, word);
		return false;
	}
	look->linked[number] = true;
	check_linked_state(look, bucket, number);
	if (!has_key(look, number))
		return true; /* found with the blocks */
	if ((XXH3_64bits_withSeed(key, key_of(look, number, key), look->g->seed) & (look->g->buckets - 1)) != bucket)
		kvs_look_find(look, KVS_FINDING_chain_bucket, number, bucket, word);
	check_once(look, first, number);
	return true;
}

/* A bucket belongs to no block, so its link is never marked: who unlinks would go no further. */
static void check_chain(struct kvs_look *look, uint32_t bucket)
{
	uint32_t link = look->buckets[bucket], first = kvs_link_block(link);

	if (link & KVS_LINK_MARK)
		kvs_look_find(look, KVS_FINDING_bucket_marked, bucket, 0, link);
	while (link & ~KVS_LINK_MARK) {
		uint32_t number = kvs_link_block(link);

		if (number >= look->g->blocks)
			kvs_look_find(look, KVS_FINDING_chain_end, bucket, number, look->buckets[bucket]);
		if (number >= look->g->blocks || !check_linked(look, bucket, first, number))
			break;
		link = link_of(look, number);
	}
}

/* Must a lookup meet it? A fill that was granted was linked before: its part has ended, or a plane has a writer. */
static bool must_be_linked(const struct kvs_look *look, uint32_t block)
{
	const struct kvs_block_info *info = &look->infos[block];
	uint32_t claimed = atomic_load_explicit(&info->claimed, memory_order_relaxed);

	switch (kvs_look_state(look, block)) {
	case KVS_READY:
	case KVS_REM_READY:
		return true;
	case KVS_FILLING:
		return (claimed && claimed != UINT32_MAX) ||
		       atomic_load_explicit(&info->written, memory_order_relaxed) & KVS_PART_FILLER;
	default:
		return false;
	}
}

void kvs_check_chains(struct kvs_look *look)
{
	for (uint32_t b = 0; b < look->g->buckets; b++)
		check_chain(look, b);
	for (uint32_t i = 0; i < look->g->blocks; i++)
		if (must_be_linked(look, i) && !look->linked[i])
			kvs_look_find(look, KVS_FINDING_not_linked, i, 0, kvs_look_word(look, i));
}
