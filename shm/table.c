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
#include "part.h"
#include "remove.h"
#include "wait.h"

int kvs_table_nonsense(struct kvs_reader *reader)
{
	kvs_count_many(reader, KVS_COUNT_nonsense, 1);
	return kvs_fault(EUCLEAN, "a chain of the index makes no sense: see kvshm-check");
}

/* The life that follows. A block's first one is the store's own, so that a handle that was kept from another store of
 * the name is of no life here; its lower half is of the store too, since a row's entries have only that. */
static uint64_t next_life(const struct kvs_map *map, uint64_t life)
{
	if (!life)
		life = map->g.incarnation & (KVS_CLEARS_ONE / 2 - 1);
	return kvs_life_next(life, kvs_floor(map));
}

/* An OWNED block of the actor's begins a new life, held by it: only its owner resets it, since a helper that did so
 * could erase a hold of the next life. The life changes before the word can be FILLING, so that whoever comes by an old
 * number sees it; it carries the clear count of now, since the bytes may be written from now on. What is relaxed here
 * is released by that word. (tests/model/block_life.pml) */
void kvs_table_begin(const struct kvs_actor *actor, bool shared, struct kvs_found *owned)
{
	struct kvs_block *block = kvs_block(actor->map, owned->block);
	struct kvs_block_info *info = &actor->map->infos[owned->block];

	owned->life = next_life(actor->map, atomic_load_explicit(&block->life, memory_order_relaxed));
	atomic_store_explicit(&block->life, owned->life, memory_order_seq_cst); /* [life: begin] */
	atomic_store_explicit(&block->holders, kvs_holder_bit(actor->self), memory_order_seq_cst); /* [holders: mark] */
	atomic_store_explicit(&block->key_length, 0, memory_order_relaxed);
	info->length = 0;
	atomic_store_explicit(&info->depth, 0, memory_order_relaxed);
	atomic_store_explicit(&info->since, kvs_now(), memory_order_relaxed);
	memset(info->opaque, 0, sizeof(info->opaque));
	kvs_part_begin(actor->map, owned->block, shared);
	kvs_evict_stamp(actor->map, block);
	(void)kvs_hold_add(actor, owned->block, owned->life, KVS_ENTRY_REF, KVS_ENTRY_REFS, false);
}

int kvs_table_alloc(const struct kvs_actor *actor, bool shared, struct kvs_found *owned)
{
	int rc = kvs_alloc(actor, &owned->block);

	if (rc == 0)
		kvs_table_begin(actor, shared, owned);
	return rc;
}

/* The word, if the block is OWNED by the actor. [claim: next] Acquire: behind a count as writer that another thread has
 * given back, what that one made of the word is seen. */
static bool own_block(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	*word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_acquire);
	return kvs_word_state(*word) == KVS_OWNED && kvs_word_owner(*word) == actor->self;
}

bool kvs_table_owns(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t word;

	return own_block(actor, number, &word);
}

bool kvs_table_claim(const struct kvs_actor *actor, const struct kvs_found *owned)
{
	if (kvs_hold_add(actor, owned->block, owned->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITER, true))
		return false;
	if (kvs_table_owns(actor, owned->block))
		return true;
	/* It was published meanwhile: this count may be the last. */
	(void)kvs_hold_release(actor, owned->block, owned->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITERS);
	return false;
}

void kvs_table_give_back(const struct kvs_actor *actor, const struct kvs_found *owned)
{
	struct kvs_block *block = kvs_block(actor->map, owned->block);
	uint64_t word;

	/* In one step: between two, another could claim it. */
	(void)kvs_hold_sub(&actor->row[owned->block], owned->life, KVS_ENTRY_REF + KVS_ENTRY_WRITER, KVS_ENTRY_REFS);
	/* [reuse: leave] Nobody else ever saw it, so it needs no grace period. */
	if (own_block(actor, owned->block, &word) &&
	    atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_FREE, 0),
						    memory_order_seq_cst, memory_order_relaxed))
		kvs_alloc_idle(actor->map, owned->block);
}

/* The word, if the block is being filled by the actor. */
static int own_fill(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	/* [doom-vs-link: link] of who has linked it just now. */
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

/* An OWNED block gets its key, and is FILLING: before the link, so that whoever meets it there finds it being filled,
 * and held by its filler. */
static int name(const struct kvs_actor *actor, const struct kvs_walk *walk, const struct kvs_found *mine)
{
	struct kvs_block *block = kvs_block(actor->map, mine->block);
	uint64_t word;
	bool mine_still;

	kvs_key_write(actor->map, mine->block, walk->key, walk->length);
	/* [life: begin] [claim: end] The word before the count: so no thread of the actor's claims it again. */
	mine_still = own_block(actor, mine->block, &word) &&
		     atomic_compare_exchange_strong_explicit(&block->word, &word,
							     kvs_word_next(word, KVS_FILLING, actor->self),
							     memory_order_seq_cst, memory_order_relaxed);
	/* Where it was claimed, that has ended; a fill's block never was. */
	(void)kvs_hold_sub(&actor->row[mine->block], mine->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITERS);
	if (mine_still)
		return 0;
	(void)kvs_hold_sub(&actor->row[mine->block], mine->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	kvs_count(actor, KVS_COUNT_nonsense);
	return kvs_fault(EUCLEAN, "block %u was taken from its owner: see kvshm-check", mine->block);
}

/* In a section: links a block that is being filled, unless another of the key is there: then that one is taken.
 * (tests/model/insert.pml) */
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

int kvs_table_link(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash,
		   const struct kvs_found *mine, struct kvs_found *found)
{
	struct kvs_walk walk = {.key = key, .hash = hash, .length = (uint32_t)length};
	struct kvs_found theirs = {.block = KVS_NONE};
	uint64_t word;
	int taken;
	int rc = name(actor, &walk, mine);

	if (rc)
		return rc;
	kvs_enter(actor);
	taken = link_or_take(actor, &walk, mine, &theirs);
	if (taken != KVS_GONE) {
		/* Never linked, and so never seen: it goes the way of all blocks nonetheless. */
		if (own_fill(actor, mine->block, &word) == 0)
			(void)kvs_remove_doom(actor, mine->block, word);
		(void)kvs_hold_release_inside(actor, mine->block, mine->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
		if (taken >= 0) /* else the chain made no sense */
			kvs_count(actor, KVS_COUNT_fill_races);
	} else if (own_fill(actor, mine->block, &word)) {
		/* Clearing, which goes by number, doomed it before it was linked, and found nothing to unlink. Who
		 * dooms it from here on finds the link. */
		(void)kvs_remove_unlink(actor, mine->block);
	}
	kvs_leave(actor);
	*found = taken == KVS_GONE ? *mine : theirs;
	return taken;
}

int kvs_table_fill(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash, bool shared,
		   struct kvs_found *found)
{
	struct kvs_found mine = {.block = KVS_NONE};
	int rc = kvs_table_alloc(actor, shared, &mine);

	return rc ? rc : kvs_table_link(actor, key, length, hash, &mine, found);
}

/* The word, if the filler's part of a fill of the actor's has not ended. */
static int own_part(const struct kvs_actor *actor, uint32_t number, uint64_t *word)
{
	return kvs_part_ended(actor->map, number, KVS_PART_FILLER) ? -EBADF : own_fill(actor, number, word);
}

int kvs_table_own_fill(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t word;

	return own_part(actor, number, &word);
}

/* Is anyone else there who may be waiting? Who waits took its hold before it looked at the word. The life is relaxed:
 * the caller holds it. */
static bool others_hold(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t life = atomic_load_explicit(&block->life, memory_order_relaxed), counts;

	/* [wake: ready] */
	if (actor->map->g.clients > 64 || /* several share a bit */
	    atomic_load_explicit(&block->holders, memory_order_seq_cst) != kvs_holder_bit(actor->self))
		return true;
	/* [wake: ready] The filler's is one ref; who waits has another, or, for a request, a pin. */
	counts = kvs_entry_counts(atomic_load_explicit(&actor->row[number], memory_order_seq_cst), life);
	return kvs_entry_refs(counts) > 1 || kvs_entry_pins(counts);
}

void kvs_table_finish(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	_Atomic uint64_t *since = &actor->map->infos[number].since;
	uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst);
	uint64_t now;

	/* [wake: ready] [publish: write] Release: the bytes, and what is said of them, come before whoever finds the
	 * block READY. Where it is FILLING no more, another was first; or the key was removed, which came right
	 * behind. */
	do {
		if (kvs_word_state(word) != KVS_FILLING)
			return;
	} while (!atomic_compare_exchange_weak_explicit(&block->word, &word, kvs_word_next(word, KVS_READY, 0),
							memory_order_seq_cst, memory_order_seq_cst));
	if (others_hold(actor, number)) {
		kvs_wait_wake(&block->word);
		kvs_wait_ring(actor->map);
	}
	now = kvs_now(); /* relaxed below: for people */
	kvs_time(actor->reader, KVS_TIME_fill, now - atomic_load_explicit(since, memory_order_relaxed));
	atomic_store_explicit(since, now, memory_order_relaxed);
	kvs_count(actor, KVS_COUNT_fills);
	kvs_evict_tick(actor->map);
}

/* (tests/model/parts.pml) */
int kvs_table_end_part(const struct kvs_actor *actor, uint32_t number, uint64_t part)
{
	uint64_t written;

	if (kvs_block_cleared(actor->map, number)) {
		(void)kvs_table_doom(actor, number);
		return -ECANCELED;
	}
	written = kvs_part_end(actor->map, number, part);
	if (kvs_part_is_whole(written, actor->map->g.planes))
		kvs_table_finish(actor, number);
	if (!(written & KVS_PART_FAILED))
		return 0;
	kvs_table_fail_part(actor, number); /* who let it fail may not have come to say so in the word */
	return -ECANCELED;
}

/* Dooms a block from exactly that word. Whoever dooms a fill counts it as given up: so each is counted once. */
static bool doom(const struct kvs_actor *actor, uint32_t number, uint64_t word)
{
	if (!kvs_remove_doom(actor, number, word))
		return false;
	if (kvs_word_state(word) == KVS_FILLING)
		kvs_count(actor, KVS_COUNT_give_ups);
	return true;
}

int kvs_table_give_up(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t word;
	int rc = own_part(actor, number, &word);

	if (rc)
		return rc;
	return doom(actor, number, word) ? 0 : -ECANCELED;
}

bool kvs_table_doom(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);

	for (;;) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [life: judge] */
		enum kvs_state state = kvs_word_state(word);

		if (state != KVS_FILLING && state != KVS_READY && state != KVS_REM_READY)
			return false;
		if (doom(actor, number, word))
			return true;
	}
}

void kvs_table_fail_part(const struct kvs_actor *actor, uint32_t number)
{
	/* [life: judge] The bits that are set behind it are of this life. */
	uint64_t word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_seq_cst);

	/* Only the others' parts, and the filler, go on from FILLING: not to READY, without this part. So it fails only
	 * where the fill is doomed already. */
	if (kvs_word_state(word) == KVS_FILLING)
		(void)doom(actor, number, word);
}

int kvs_table_touch(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash)
{
	struct kvs_map *map = actor->map;
	struct kvs_walk walk = {.key = key, .hash = hash, .length = (uint32_t)length};
	int seen = KVS_GONE;

	kvs_index_start(map, &walk);
	for (;;) {
		uint32_t number = kvs_index_next(actor, &walk);
		enum kvs_state state;

		if (number == KVS_NONE)
			return seen;
		if (number == KVS_WALK_NONSENSE)
			return kvs_table_nonsense(actor->reader);
		/* [life: judge] */
		state = kvs_word_state(atomic_load_explicit(&kvs_block(map, number)->word, memory_order_acquire));
		if (kvs_block_cleared(map, number))
			continue;
		if (state == KVS_READY || state == KVS_REM_READY) {
			kvs_evict_stamp(map, kvs_block(map, number));
			return KVS_TAKEN;
		}
		if (state == KVS_FILLING)
			seen = KVS_NOT_READY;
	}
}
