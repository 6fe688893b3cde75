/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hold.h: the counts. Each client has a row with an entry for each block: life, refs, pins, writers in one word, so
 * that the life and the counts change together. A block's count is the sum over the rows.
 *
 * Guarantees: a row is written by its client's threads only, and by recoverers after its death, so a death never leaves
 * a count whose owner is unknown (B2, D1). A count never goes below zero, and a hold of one life is never taken from,
 * or added to, another's. A hold that was granted keeps the block until it is released (B1): the count comes before the
 * look at the word here, and the CAS to REMOVING before the look at the rows in remove.c, all sequentially consistent,
 * so that at least one side sees the other: the tag hold-vs-remove. (tests/model/block_life.pml)
 */
#ifndef KVS_HOLD_H
#define KVS_HOLD_H

#include <errno.h>

#include "clear.h"
#include "epoch.h"
#include "evict.h"
#include "map.h"

static inline uint64_t kvs_holder_bit(uint32_t slot)
{
	return UINT64_C(1) << (slot % 64);
}

/* The counts that the actor's client has on a block in a life. Relaxed: asked by who has a hold, or has just let go. */
static inline uint64_t kvs_hold_counts(const struct kvs_actor *actor, uint32_t block, uint64_t life)
{
	return kvs_entry_counts(atomic_load_explicit(&actor->row[block], memory_order_relaxed), life);
}

/* Adds one unit (KVS_ENTRY_REF, _PIN or _WRITER) to the entry for a life that can't end meanwhile: the caller found the
 * block in its section, or holds it, which must_hold asks to be proved (else -EBADF). -EMFILE when the count is full.
 * An entry that is overwritten is of an earlier life: the CAS fails if another thread counts for this one by then. The
 * first look is relaxed: only this client's threads write the entry, and who has a hold got it behind its count. */
KVS_HOT int kvs_hold_add(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field,
			 bool must_hold)
{
	_Atomic uint64_t *at = &actor->row[block];
	uint64_t entry = atomic_load_explicit(at, memory_order_relaxed);
	uint64_t counts;

	do {
		counts = kvs_entry_counts(entry, life);
		if (must_hold && !counts)
			return -EBADF;
		if ((counts & field) == field)
			return -EMFILE;
		/* [hold-vs-remove: hold] */
	} while (!atomic_compare_exchange_weak_explicit(at, &entry, life << 32 | (counts + unit), memory_order_seq_cst,
							memory_order_relaxed));
	return 0;
}

/* Takes one unit away from the entry at: -EBADF if it has none for this life. Relaxed first, as above.
 * (tests/model/stale_ticket.pml) */
KVS_HOT int kvs_hold_sub(_Atomic uint64_t *at, uint64_t life, uint64_t unit, uint64_t field)
{
	uint64_t entry = atomic_load_explicit(at, memory_order_relaxed);

	do {
		if (!(kvs_entry_counts(entry, life) & field))
			return -EBADF;
		/* [hold-vs-remove: hold] Also: what the holder did with the bytes comes before a look that finds the
		 * count at zero. */
	} while (!atomic_compare_exchange_weak_explicit(at, &entry, entry - unit, memory_order_seq_cst,
							memory_order_relaxed));
	return 0;
}

/* Turns one unit into another of the same entry, so that the block is held all the time: -EBADF, -EMFILE as above, and
 * nothing is changed. */
KVS_HOT int kvs_hold_turn(_Atomic uint64_t *at, uint64_t life, uint64_t from, uint64_t from_field, uint64_t to,
			  uint64_t to_field)
{
	uint64_t entry = atomic_load_explicit(at, memory_order_relaxed); /* relaxed: as above */

	do {
		uint64_t counts = kvs_entry_counts(entry, life);

		if (!(counts & from_field))
			return -EBADF;
		if ((counts & to_field) == to_field)
			return -EMFILE;
		/* [hold-vs-remove: hold] */
	} while (!atomic_compare_exchange_weak_explicit(at, &entry, entry - from + to, memory_order_seq_cst,
							memory_order_relaxed));
	return 0;
}

/* The bit comes before the count: who looks at the rows that the bits name, looks at this one. Acquire: where another
 * thread of this client has set it, that comes before this one's count too. */
KVS_HOT void kvs_hold_mark(const struct kvs_actor *actor, struct kvs_block *block)
{
	uint64_t bit = kvs_holder_bit(actor->self);

	if (!(atomic_load_explicit(&block->holders, memory_order_acquire) & bit))
		/* [holders: mark] */
		atomic_fetch_or_explicit(&block->holders, bit, memory_order_seq_cst);
}

enum kvs_taken {
	KVS_TAKEN,	   /* held, and ready */
	KVS_TAKEN_FILLING, /* held, and being filled */
	KVS_NOT_READY,	   /* being filled, and the caller did not want that: not held */
	KVS_GONE,	   /* on its way out: not held */
	KVS_TAKEN_FULL,	   /* this client has too many refs (or pins) of it: not held */
	KVS_TAKEN_DOOMED,  /* held by ticket, and out of sight: nobody else finds it */
};

/* What kvs_hold_take() does once it has counted and the block is not READY. */
enum kvs_taken kvs_hold_take_other(const struct kvs_actor *actor, uint32_t number, bool fills, uint64_t life,
				   uint64_t unit, uint64_t field);

/* In a section: takes a hold (a ref, or a pin) of a block that the caller met through the index in this section. fills:
 * also while it is being filled. *life is set in any case. Inline up to the common case. */
KVS_HOT enum kvs_taken kvs_hold_take(const struct kvs_actor *actor, uint32_t number, bool fills, uint64_t unit,
				     uint64_t field, uint64_t *life)
{
	struct kvs_block *block = kvs_block(actor->map, number);

	*life = atomic_load_explicit(&block->life, memory_order_acquire);
	if (__builtin_expect(kvs_cleared(actor->map, *life), 0))
		return KVS_GONE;
	kvs_hold_mark(actor, block);
	if (__builtin_expect(kvs_hold_add(actor, number, *life, unit, field, false), 0))
		return KVS_TAKEN_FULL;
	/* [hold-vs-remove: hold] [publish: read] */
	if (__builtin_expect(kvs_word_state(atomic_load_explicit(&block->word, memory_order_seq_cst)) == KVS_READY,
			     1)) {
		return KVS_TAKEN;
	} else {
		const struct kvs_actor other = *actor; /* a copy, so that the caller's can stay in registers */

		return kvs_hold_take_other(&other, number, fills, *life, unit, field);
	}
}

/* In a section: takes a ref by number and life, without having met the block through the index: by ticket, that is. A
 * block that is doomed is taken too, since its bytes are someone's, and one that was cleared. KVS_GONE: it is not of
 * this life any more, or nobody's. */
enum kvs_taken kvs_hold_take_life(const struct kvs_actor *actor, uint32_t number, uint64_t life);

/* After a hold was taken away: must this process look whether the block is to be removed? Whoever subtracts last must
 * look; who is not last leaves it to the others. In a keep store a release leaves a READY block, and a removal from
 * READY, to the evictor, and only stamps it. One that is being filled may be this client's own fill, of which it was
 * the last hold. */
KVS_HOT bool kvs_hold_must_look(const struct kvs_map *map, uint32_t number)
{
	struct kvs_block *block = kvs_block(map, number);

	/* [hold-vs-remove: hold] Behind the count down: whoever did not see that has its REMOVING seen here. */
	switch (kvs_word_state(atomic_load_explicit(&block->word, memory_order_seq_cst))) {
	case KVS_READY:
	case KVS_REM_READY:
		kvs_evict_stamp(map, block);
		return map->g.drop;
	case KVS_FILLING:
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		return true;
	default:
		return false;
	}
}

/* In a section: that look. */
void kvs_hold_look(const struct kvs_actor *actor, uint32_t number, uint64_t life);

/* Ends a hold; the last one of a block that is on its way out, or of any block of a drop store, frees it (C1). -EBADF
 * as above. The first outside of a section, the second inside. */
int kvs_hold_release(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field);
int kvs_hold_release_inside(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit,
			    uint64_t field);

/* A pin that is of no request, by who holds the block (-EBADF, -EMFILE as in kvs_hold_add()); and its end, outside of a
 * section, without a look at the word (-EBADF: it is none, or a request's). since: when it was taken, in ns. The
 * client's row has a note of such pins for each block, for people. */
int kvs_hold_pin(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t since);
int kvs_hold_unpin(const struct kvs_map *map, _Atomic uint64_t *row, uint32_t block, uint64_t life, uint64_t since);

/* In a section: the slots of the clients that write parts of the block in this life, at most max of them; returns how
 * many. */
unsigned kvs_hold_writers(const struct kvs_map *map, uint32_t block, uint64_t life, uint32_t *slots, unsigned max);

/* In a section: does anyone hold the block in this life? */
bool kvs_hold_any(const struct kvs_map *map, uint32_t block, uint64_t life);

#endif
