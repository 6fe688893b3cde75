/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * index.c: linking and unlinking. See index.h, and tests/model/insert.pml.
 */
#include "config.h"

#include "index.h"

#include <errno.h>
static uint32_t head_length(uint32_t length)
{
	return length < KVS_KEY_HEAD ? length : KVS_KEY_HEAD;
}

void kvs_key_write(const struct kvs_map *map, uint32_t block, const uint8_t *key, uint32_t length)
{
	uint32_t head = head_length(length);

	atomic_store_explicit(&kvs_block(map, block)->key_length, (uint16_t)length, memory_order_relaxed);
	memcpy(kvs_block(map, block)->key, key, head);
	memcpy(kvs_key_tail(map, block), key + head, length - head);
}

static void read_key(const struct kvs_map *map, uint32_t block, uint8_t *key, uint32_t length)
{
	uint32_t head = head_length(length);

	memcpy(key, kvs_block(map, block)->key, head);
	memcpy(key + head, kvs_key_tail(map, block), length - head);
}

/* The bucket of a block that has a key; NULL if the key makes no sense. */
static _Atomic uint32_t *bucket_of(const struct kvs_map *map, uint32_t block)
{
	uint32_t length = atomic_load_explicit(&kvs_block(map, block)->key_length, memory_order_relaxed);
	uint8_t key[KVS_KEY_MAX];

	if (length == 0 || length > map->g.key_max)
		return NULL;
	read_key(map, block, key, length);
	return kvs_index_bucket(map, kvs_index_hash(map, key, length));
}

/* The block's own link is stored relaxed: it is in no chain before the CAS. */
bool kvs_index_link(const struct kvs_map *map, uint32_t number, uint64_t hash, uint32_t head)
{
	struct kvs_block *block = kvs_block(map, number);

	atomic_store_explicit(&block->next, head & ~KVS_LINK_MARK, memory_order_relaxed);
	/* [insert: link] Release: the key, the link and the word come before the block can be found. Sequentially
	 * consistent for [doom-vs-link: link]: the filler looks at the word behind it. */
	return atomic_compare_exchange_strong_explicit(kvs_index_bucket(map, hash), &head, kvs_link_to(number),
						       memory_order_seq_cst, memory_order_relaxed);
}

/* Marks a block's own link, which freezes it: nothing is ever linked behind a marked block. Returns the link.
 * [insert: walk] It leads on to what another has linked. */
static uint32_t mark(struct kvs_block *block)
{
	return atomic_fetch_or_explicit(&block->next, KVS_LINK_MARK, memory_order_seq_cst) | KVS_LINK_MARK;
}

int kvs_index_unlink(const struct kvs_map *map, uint32_t number)
{
	_Atomic uint32_t *bucket = bucket_of(map, number);
	_Atomic uint32_t *before;
	uint32_t link, steps;

	if (!bucket)
		return -EUCLEAN;
again:
	before = bucket;
	/* [doom-vs-link: doom] Behind the CAS to DOOMED. An acquire could be made before that, and miss the link of a
	 * filler that missed the DOOMED. */
	link = atomic_load_explicit(before, memory_order_seq_cst);
	for (steps = 0; link != KVS_LINK_END; steps++) {
		struct kvs_block *block = kvs_resolve(map, kvs_link_block(link));
		uint32_t next;

		if (!block || link & KVS_LINK_MARK || steps > map->g.blocks)
			return -EUCLEAN;
		next = kvs_link_block(link) == number ? mark(block)
						      : atomic_load_explicit(&block->next, memory_order_acquire);
		if (!(next & KVS_LINK_MARK)) {
			before = &block->next;
			link = next;
			continue;
		}
		/* [insert: link] Fails if the one before was marked or unlinked, or another helped. */
		if (!atomic_compare_exchange_strong_explicit(before, &link, next & ~KVS_LINK_MARK, memory_order_seq_cst,
							     memory_order_relaxed))
			goto again;
		link = next & ~KVS_LINK_MARK;
	}
	return 0;
}
