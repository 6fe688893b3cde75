/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * table.c: the index, the words and the counts together. See table.h.
 */
#include "config.h"

#include "table.h"

#include <errno.h>

#include "alloc.h"
#include "evict.h"
#include "fault.h"
#include "remove.h"
#include "wait.h"

int kvs_table_nonsense(struct kvs_reader *reader)
{
	kvs_count_many(reader, KVS_COUNT_nonsense, 1);
	return kvs_fault(EUCLEAN, "a chain of the index makes no sense: see kvshm-check");
}

/* An OWNED block of the actor's begins a new life with a key: only its owner resets it, since a helper that did so
 * could erase a hold of the next life. The life changes first, so that whoever comes by an old number sees it. */
static int begin_life(const struct kvs_actor *actor, const struct kvs_walk *walk, struct kvs_found *found)
{
	struct kvs_block *block = kvs_block(actor->map, found->block);
	struct kvs_block_info *info = &actor->map->infos[found->block];
	uint64_t word = atomic_load_explicit(&block->word, memory_order_acquire);

	found->life = atomic_load_explicit(&block->life, memory_order_relaxed) + 1;
	atomic_store_explicit(&block->life, found->life, memory_order_seq_cst);
	atomic_store_explicit(&block->holders, kvs_holder_bit(actor->self), memory_order_seq_cst);
	kvs_key_write(actor->map, found->block, walk->key, walk->length);
	info->length = 0;
	atomic_store_explicit(&info->depth, 0, memory_order_relaxed);
	memset(info->opaque, 0, sizeof(info->opaque));
	kvs_evict_stamp(actor->map, block);
	(void)kvs_hold_add(actor, found->block, found->life, KVS_ENTRY_REF, KVS_ENTRY_REFS, false);
	/* Before the link: whoever meets the block there finds it being filled, and held by its filler. */
	if (kvs_word_state(word) == KVS_OWNED && kvs_word_owner(word) == actor->self &&
	    atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_FILLING, actor->self),
						    memory_order_seq_cst, memory_order_relaxed))
		return 0;
	(void)kvs_hold_sub(&actor->row[found->block], found->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	kvs_count(actor, KVS_COUNT_nonsense);
	return kvs_fault(EUCLEAN, "block %u was taken from its owner: see kvshm-check", found->block);
}

/* In a section: links a block that is being filled, unless another of the key is there: then that one is taken. */
static int link_or_take(const struct kvs_actor *actor, struct kvs_walk *walk, const struct kvs_found *mine,
			struct kvs_found *theirs)
{
	for (;;) {
		uint32_t head;
		int taken;

		kvs_index_start(actor->map, walk);
		head = walk->link;
		taken = kvs_table_take(actor, walk, true, theirs);
		if (taken != KVS_GONE || kvs_index_link(actor->map, mine->block, walk->hash, head))
			return taken;
	}
}

int kvs_table_fill(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash,
		   struct kvs_found *found)
{
	struct kvs_walk walk = {.key = key, .hash = hash, .length = (uint32_t)length};
	struct kvs_found mine = {.block = KVS_NONE}, theirs = {.block = KVS_NONE};
	int taken;
	int rc = kvs_alloc(actor, &mine.block);

	if (rc == 0)
		rc = begin_life(actor, &walk, &mine);
	if (rc)
		return rc;
	kvs_enter(actor);
	taken = link_or_take(actor, &walk, &mine, &theirs);
	if (taken != KVS_GONE) {
		/* Never linked, and so never seen: it goes the way of all blocks nonetheless. */
		(void)kvs_table_give_up(actor, mine.block);
		(void)kvs_hold_release_inside(actor, mine.block, mine.life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
		if (taken >= 0) /* else the chain made no sense */
			kvs_count(actor, KVS_COUNT_fill_races);
	}
	kvs_leave(actor);
	*found = taken == KVS_GONE ? mine : theirs;
	return taken;
}

/* The word, if the block is being filled by the actor. */
static int own_fill(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	*word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_seq_cst);
	switch (kvs_word_state(*word)) {
	case KVS_FILLING:
		return kvs_word_owner(*word) == actor->self ? 0 : -EBADF;
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		return -ECANCELED;
	default:
		return -EBADF;
	}
}

int kvs_table_own_fill(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t word;

	return own_fill(actor, number, &word);
}

/* Is anyone else there who may be waiting? Who waits took its hold before it looked at the word: [hold-vs-remove]. */
static bool others_hold(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t life = atomic_load_explicit(&block->life, memory_order_relaxed);

	return actor->map->g.clients > 64 || /* several share a bit */
	       atomic_load_explicit(&block->holders, memory_order_seq_cst) != kvs_holder_bit(actor->self) ||
	       kvs_entry_refs(kvs_entry_counts(atomic_load_explicit(&actor->row[number], memory_order_seq_cst), life)) >
		       1;
}

int kvs_table_publish(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t word;
	int rc = own_fill(actor, number, &word);

	if (rc)
		return rc;
	/* [publish] Release: the bytes, and what is said of them, come before whoever finds the block READY. Only a
	 * removal can have changed the word: it stays doomed. */
	if (!atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_READY, 0),
						     memory_order_seq_cst, memory_order_relaxed))
		return own_fill(actor, number, &word) == -ECANCELED ? -ECANCELED : -EBADF;
	kvs_evict_tick(actor->map);
	if (others_hold(actor, number))
		kvs_wait_wake(block);
	return 0;
}

int kvs_table_give_up(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t word;
	int rc = own_fill(actor, number, &word);

	if (rc)
		return rc;
	return kvs_remove_doom(actor, number, word) ? 0 : -ECANCELED;
}

void kvs_table_remove(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);

	for (;;) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst);
		enum kvs_state state = kvs_word_state(word);

		if (state != KVS_FILLING && state != KVS_READY && state != KVS_REM_READY)
			return;
		if (kvs_remove_doom(actor, number, word)) {
			kvs_count(actor, KVS_COUNT_removals);
			return;
		}
	}
}
