/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hold.c: taking a hold, ending it, and looking whether anyone has one. See hold.h, and tests/model/block_life.pml.
 */
#include "config.h"

#include "hold.h"

#include "client.h"
#include "remove.h"
#include "wait.h"

enum kvs_taken kvs_hold_take_other(const struct kvs_actor *actor, uint32_t number, bool fills, uint64_t life,
				   uint64_t unit, uint64_t field)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	enum kvs_taken taken = KVS_GONE;

	for (;;) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [hold-vs-remove: hold] */
		enum kvs_state state = kvs_word_state(word);

		if (state == KVS_READY)
			return KVS_TAKEN;
		if (state == KVS_FILLING && fills)
			return KVS_TAKEN_FILLING;
		if (state == KVS_FILLING)
			taken = KVS_NOT_READY;
		if (!kvs_state_exists(state))
			kvs_count(actor, KVS_COUNT_nonsense);
		if (state != KVS_REM_READY)
			break;
		/* Someone is looking whether anyone holds it, and we do. Whether this succeeds or not: look again. */
		(void)atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_READY, 0),
							      memory_order_seq_cst, memory_order_relaxed);
	}
	(void)kvs_hold_release_inside(actor, number, life, unit, field);
	return taken;
}

/* Counts a ref for a life that may be long past: a ticket can be of any age. An entry that another thread of this
 * client has in use for a later life is left alone: it says that ours has ended. One of an earlier life is overwritten:
 * who counted there held a ticket that was stale, and finds nothing to undo. (tests/model/stale_ticket.pml) Relaxed
 * first: see kvs_hold_add(). */
static int add_by_ticket(const struct kvs_actor *actor, uint32_t number, uint64_t life)
{
	_Atomic uint64_t *at = &actor->row[number];
	uint64_t entry = atomic_load_explicit(at, memory_order_relaxed);
	uint64_t counts;

	do {
		counts = kvs_entry_counts(entry, life);
		if (!counts && entry & KVS_ENTRY_COUNTS && (int32_t)(kvs_entry_life(entry) - (uint32_t)life) > 0)
			return -ESTALE;
		if ((counts & KVS_ENTRY_REFS) == KVS_ENTRY_REFS)
			return -EMFILE;
		/* [hold-vs-remove: hold] */
	} while (!atomic_compare_exchange_weak_explicit(at, &entry, life << 32 | (counts + KVS_ENTRY_REF),
							memory_order_seq_cst, memory_order_relaxed));
	return 0;
}

/* Counted: what is it that is held? [life: judge] The word is read before the life: a life that is still the same was
 * so then. */
static enum kvs_taken judge_by_ticket(const struct kvs_actor *actor, uint32_t number, uint64_t life)
{
	struct kvs_block *block = kvs_block(actor->map, number);

	for (;;) {
		uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [hold-vs-remove: hold] */
		enum kvs_state state = kvs_word_state(word), back;

		if (atomic_load_explicit(&block->life, memory_order_seq_cst) != life)
			return KVS_GONE;
		if (state == KVS_READY)
			return KVS_TAKEN;
		if (state == KVS_FILLING)
			return KVS_TAKEN_FILLING;
		if (state == KVS_DOOMED)
			return KVS_TAKEN_DOOMED;
		if (!kvs_state_exists(state))
			kvs_count(actor, KVS_COUNT_nonsense);
		if (state != KVS_REM_READY && state != KVS_REM_DOOMED)
			return KVS_GONE;
		/* Someone is looking whether anyone holds it, and we do. */
		back = state == KVS_REM_READY ? KVS_READY : KVS_DOOMED;
		(void)atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, back, 0),
							      memory_order_seq_cst, memory_order_relaxed);
	}
}

enum kvs_taken kvs_hold_take_life(const struct kvs_actor *actor, uint32_t number, uint64_t life)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	enum kvs_taken taken;
	int rc;

	/* A first look; judge_by_ticket() has the last one. [life: judge] */
	if (atomic_load_explicit(&block->life, memory_order_seq_cst) != life)
		return KVS_GONE;
	kvs_hold_mark(actor, block);
	rc = add_by_ticket(actor, number, life);
	if (rc)
		return rc == -EMFILE ? KVS_TAKEN_FULL : KVS_GONE;
	taken = judge_by_ticket(actor, number, life);
	if (taken == KVS_GONE)
		(void)kvs_hold_release_inside(actor, number, life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	return taken;
}

void kvs_hold_look(const struct kvs_actor *actor, uint32_t number, uint64_t life)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [life: judge] */

	/* A shared fill whose filler has let go of it is nobody's: a writer alone can't say what it is. Where the last
	 * part, a removal or a recovery has taken the word on meanwhile, this CAS fails, rightly. The life is read
	 * behind the word: who comes to look so late that this client fills the block again, in its next life, finds
	 * another. */
	if (kvs_word_state(word) == KVS_FILLING && kvs_word_owner(word) == actor->self &&
	    atomic_load_explicit(&block->life, memory_order_seq_cst) == life &&
	    !kvs_hold_counts(actor, number, life) && kvs_remove_doom(actor, number, word))
		kvs_count(actor, KVS_COUNT_give_ups);
	(void)kvs_remove_try(actor, number, KVS_REMOVE_LAST);
}

int kvs_hold_release_inside(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field)
{
	int rc = kvs_hold_sub(&actor->row[block], life, unit, field);

	if (rc == 0 && kvs_hold_must_look(actor->map, block))
		kvs_hold_look(actor, block, life);
	return rc;
}

int kvs_hold_release(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t unit, uint64_t field)
{
	int rc = kvs_hold_sub(&actor->row[block], life, unit, field);

	if (rc == 0 && kvs_hold_must_look(actor->map, block)) {
		kvs_enter(actor);
		kvs_hold_look(actor, block, life);
		kvs_leave(actor);
	}
	return rc;
}

/* ---- Pins that are of no request --------------------------------------------------------------------------- */

/* The note is there only while the pin is, wherever a death is: it comes behind the entry, and goes before it. Relaxed:
 * the entry's CAS, beside which it stands, keeps the two in order for who dies, and all others only look. */
static void note_pin(_Atomic uint64_t *at, uint64_t since)
{
	uint64_t note = atomic_load_explicit(at, memory_order_relaxed), next;

	do {
		unsigned pins = kvs_note_pins(note);

		if (pins == KVS_NOTE_PINS)
			return; /* nonsense: there are no more */
		next = kvs_note(pins + 1, pins ? kvs_note_since(note) : since);
	} while (!atomic_compare_exchange_weak_explicit(at, &note, next, memory_order_relaxed, memory_order_relaxed));
}

/* Where the oldest of several pins ends, the next one's age is not known: it is taken to begin now. So an age is never
 * too high, and a pin that stays for ever is seen to age once those have ended that were there before it. Relaxed, as
 * in note_pin(). */
static bool drop_note(_Atomic uint64_t *at, uint64_t since)
{
	uint64_t note = atomic_load_explicit(at, memory_order_relaxed), next;

	do {
		unsigned pins = kvs_note_pins(note);
		uint64_t oldest = kvs_note_since(note);

		if (!pins)
			return false;
		next = kvs_note(pins - 1, since / KVS_NOTE_UNIT > oldest / KVS_NOTE_UNIT ? oldest : kvs_now());
	} while (!atomic_compare_exchange_weak_explicit(at, &note, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

int kvs_hold_pin(const struct kvs_actor *actor, uint32_t block, uint64_t life, uint64_t since)
{
	int rc = kvs_hold_add(actor, block, life, KVS_ENTRY_PIN, KVS_ENTRY_PINS, true);

	if (rc == 0)
		note_pin(&kvs_row_pins(actor->map, actor->row)[block], since);
	return rc;
}

int kvs_hold_unpin(const struct kvs_map *map, _Atomic uint64_t *row, uint32_t block, uint64_t life, uint64_t since)
{
	_Atomic uint64_t *note = &kvs_row_pins(map, row)[block];
	uint64_t entry = atomic_load_explicit(&row[block], memory_order_relaxed); /* relaxed: as in kvs_hold_sub() */
	int rc;

	if (!(kvs_entry_counts(entry, life) & KVS_ENTRY_PINS) || !drop_note(note, since))
		return -EBADF;
	rc = kvs_hold_sub(&row[block], life, KVS_ENTRY_PIN, KVS_ENTRY_PINS);
	if (rc)
		note_pin(note, since); /* one pin was ended twice at once: the note was another's, of a later life */
	return rc;
}

/* What one client has on a block in a life. (tests/model/rows.pml: in a section, the row stays.) */
static uint64_t counts_of(const struct kvs_map *map, uint32_t slot, uint32_t block, uint64_t life)
{
	uint64_t entry;

	if (!kvs_client_has_row(map, slot))
		return 0;
	entry = atomic_load_explicit(&kvs_row(map, slot)[block], memory_order_seq_cst); /* [hold-vs-remove: remove] */
	return kvs_entry_counts(entry, life);
}

bool kvs_hold_any(const struct kvs_map *map, uint32_t block, uint64_t life)
{
	/* [holders: look] */
	uint64_t bits = atomic_load_explicit(&kvs_block(map, block)->holders, memory_order_seq_cst);

	for (; bits; bits &= bits - 1)
		for (uint32_t slot = (uint32_t)__builtin_ctzll(bits); slot < map->g.clients; slot += 64)
			if (counts_of(map, slot, block, life))
				return true;
	return false;
}

unsigned kvs_hold_writers(const struct kvs_map *map, uint32_t block, uint64_t life, uint32_t *slots, unsigned max)
{
	/* [holders: look] */
	uint64_t bits = atomic_load_explicit(&kvs_block(map, block)->holders, memory_order_seq_cst);
	unsigned count = 0;

	for (; bits; bits &= bits - 1)
		for (uint32_t slot = (uint32_t)__builtin_ctzll(bits); slot < map->g.clients && count < max; slot += 64)
			if (counts_of(map, slot, block, life) & KVS_ENTRY_WRITERS)
				slots[count++] = slot;
	return count;
}
