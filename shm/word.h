/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * word.h: the words that decide everything: a block's word, its life, an entry of a row of counts, and an index link
 * (32 bits); and the note of pins, for people. Packing and unpacking only; what the states mean and who may change them
 * is told in shm/README.md.
 *
 * Block word:   63..52 owner    51..4 step    3..0 state
 *   The owner is a client's slot (OWNED, FILLING, REMOVING), a request's (ROOM), or the epoch modulo KVS_OWNER_COUNT
 *   (LIMBO), else 0.
 *   The step goes up by one at every CAS, so a CAS from the exact word that was read can't succeed on a later turn of
 *   the same state (48 bits: at 100 million changes of one block a second it repeats after a month).
 *   Futexes look at the low half: state and the step's low 28 bits.
 * Life:         63..40 clear count when it began    39..0 how many lives the block has had
 *   So a block's life says by one comparison whether it began before the store was cleared: see clear.h.
 * Row entry:    63..32 life (low half)    31..16 refs    15..4 pins    3..0 writers
 *   An entry of another life counts as zero.
 * Note of pins: 63..12 since: CLOCK_MONOTONIC in microseconds    11..0 pins that are of no request
 *   None of these pins is known to be older than that: one of them, at least, has been held since then.
 * Index link:   31..1 block + 1, 0 is the end    0 the mark: the block that this link belongs to is on its way out
 */
#ifndef KVS_WORD_H
#define KVS_WORD_H

#include <stdbool.h>
#include <stdint.h>

enum kvs_state {
	KVS_FREE = 0, /* a zeroed segment is one of free blocks */
	KVS_OWNED,
	KVS_ROOM, /* gathered for a place of the line for room */
	KVS_FILLING,
	KVS_READY,
	KVS_REM_READY, /* REMOVING from READY */
	KVS_DOOMED,
	KVS_REM_DOOMED, /* REMOVING from DOOMED */
	KVS_LIMBO,
	KVS_STATES
};

#define KVS_STATE_BITS 4
#define KVS_STEP_BITS 48
#define KVS_OWNER_SHIFT (KVS_STATE_BITS + KVS_STEP_BITS)
#define KVS_OWNER_COUNT (UINT64_C(1) << (64 - KVS_OWNER_SHIFT))

static inline enum kvs_state kvs_word_state(uint64_t word)
{
	return (enum kvs_state)(word & ((1U << KVS_STATE_BITS) - 1));
}

/* Is it a state that blocks can be in? */
static inline bool kvs_state_exists(enum kvs_state state)
{
	return state < KVS_STATES;
}

static inline unsigned kvs_word_owner(uint64_t word)
{
	return (unsigned)(word >> KVS_OWNER_SHIFT);
}

/* The word that follows: its state and owner, one step on. */
static inline uint64_t kvs_word_next(uint64_t word, enum kvs_state state, uint64_t owner)
{
	uint64_t step = ((word >> KVS_STATE_BITS) + 1) & ((UINT64_C(1) << KVS_STEP_BITS) - 1);

	return (owner & (KVS_OWNER_COUNT - 1)) << KVS_OWNER_SHIFT | step << KVS_STATE_BITS | (uint64_t)state;
}

/* Has a block that went to LIMBO at the word's epoch waited long enough? The difference is compared, never the order;
 * one that looks small after a whole turn of the field is only reused later. By-number accesses need three epochs,
 * readers that come through the index two. (tests/model/epochs.pml) */
#define KVS_GRACE 3
static inline bool kvs_word_aged(uint64_t word, uint64_t epoch)
{
	return ((epoch - kvs_word_owner(word)) & (KVS_OWNER_COUNT - 1)) >= KVS_GRACE;
}

#define KVS_CLEARS_SHIFT 40
#define KVS_CLEARS_ONE (UINT64_C(1) << KVS_CLEARS_SHIFT)

/* The life that follows, of a block that is taken now, at this clear count. */
static inline uint64_t kvs_life_next(uint64_t life, uint64_t floor)
{
	return (floor & ~(KVS_CLEARS_ONE - 1)) | ((life + 1) & (KVS_CLEARS_ONE - 1));
}

#define KVS_ENTRY_WRITER UINT64_C(1)
#define KVS_ENTRY_PIN (UINT64_C(1) << 4)
#define KVS_ENTRY_REF (UINT64_C(1) << 16)
#define KVS_ENTRY_WRITERS UINT64_C(0xf)
#define KVS_ENTRY_PINS UINT64_C(0xfff0)
#define KVS_ENTRY_REFS UINT64_C(0xffff0000)
#define KVS_ENTRY_COUNTS UINT64_C(0xffffffff)

static inline uint32_t kvs_entry_life(uint64_t entry)
{
	return (uint32_t)(entry >> 32);
}

/* The counts that an entry has for a life: zero if it is of another. */
static inline uint64_t kvs_entry_counts(uint64_t entry, uint64_t life)
{
	return kvs_entry_life(entry) == (uint32_t)life ? entry & KVS_ENTRY_COUNTS : 0;
}

static inline unsigned kvs_entry_refs(uint64_t counts)
{
	return (unsigned)((counts & KVS_ENTRY_REFS) >> 16);
}

static inline unsigned kvs_entry_pins(uint64_t counts)
{
	return (unsigned)((counts & KVS_ENTRY_PINS) >> 4);
}

static inline unsigned kvs_entry_writers(uint64_t counts)
{
	return (unsigned)(counts & KVS_ENTRY_WRITERS);
}

#define KVS_NOTE_SHIFT 12
#define KVS_NOTE_PINS ((UINT64_C(1) << KVS_NOTE_SHIFT) - 1) /* as many as an entry counts */
#define KVS_NOTE_UNIT UINT64_C(1000)			     /* ns */

/* The note of so many pins, since a time in ns; 0 for none. */
static inline uint64_t kvs_note(unsigned pins, uint64_t since)
{
	return pins ? since / KVS_NOTE_UNIT << KVS_NOTE_SHIFT | (pins & KVS_NOTE_PINS) : 0;
}

static inline unsigned kvs_note_pins(uint64_t note)
{
	return (unsigned)(note & KVS_NOTE_PINS);
}

/* In ns, in whole microseconds. */
static inline uint64_t kvs_note_since(uint64_t note)
{
	return (note >> KVS_NOTE_SHIFT) * KVS_NOTE_UNIT;
}

#define KVS_LINK_END 0U
#define KVS_LINK_MARK 1U

static inline uint32_t kvs_link_to(uint32_t block)
{
	return (block + 1) << 1;
}

/* The block that a link leads to; the end gives UINT32_MAX >> 1, which is no block of any store. */
static inline uint32_t kvs_link_block(uint32_t link)
{
	return ((link >> 1) - 1) & (UINT32_MAX >> 1);
}

#endif
