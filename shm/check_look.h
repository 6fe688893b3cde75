/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_look.h: one look at a segment, for the parts of the check (check*.c).
 *
 * A look reads everything in a fixed order, one part after the other, and collects what is wrong with it. So it may see
 * what never was: only that counts which every look has seen, with the same word: one that is the same has not changed
 * in between, by its step. (So loads are relaxed: of copies.)
 *
 * Some things are wrong unless a thread is at them, in its section: it may have been stopped there for ever. Such a
 * finding is excused while the one who may explain it is in a section, or dead and not recovered. Of all its looks one
 * must have seen it without an excuse. That proves it: the reader slots are read before the words and the rows, so that
 * the state that explains nothing lies between two looks that saw the same word. (The first look, with none before it,
 * excuses them all.)
 */
#ifndef KVS_CHECK_LOOK_H
#define KVS_CHECK_LOOK_H

#include "check.h"

struct kvs_finding {
	enum kvs_finding_kind kind;
	uint32_t number, other;
	bool excused;
	uint64_t word;
};

/* The fields of the head that are checked. */
enum kvs_look_field { KVS_LOOK_STATE, KVS_LOOK_READERS_TOP, KVS_LOOK_EPOCH, KVS_LOOK_FLOOR, KVS_LOOK_FIELDS };
extern const char *const kvs_look_fields[KVS_LOOK_FIELDS];

struct kvs_findings {
	struct kvs_finding *of;
	size_t count, room;
};

/* All of a segment that a look needs, in the order in which it is read. */
struct kvs_look {
	const struct kvs_view *view;
	const struct kvs_geometry *g;
	bool first; /* of several */

	struct kvs_slot_view *slots;
	struct kvs_reader *readers;
	struct kvs_block *blocks;
	uint32_t *buckets;
	uint8_t *tails;
	struct kvs_block_info *infos;
	_Atomic uint64_t *places; /* read before: */
	struct kvs_request *requests;
	struct kvs_peer *peers;
	_Atomic uint64_t *ids;
	uint64_t *row, *notes; /* of one slot after the other */
	uint32_t *writers; /* over all rows, of each block in its life */
	/* What lives, epochs, reader slots and places that were read above came from, is not beyond these. */
	uint64_t floor, epoch, line_next;
	uint32_t readers_top;
	uint32_t state;

	bool *busy; /* slots: in a section, or dead, or being recovered: not excluded from being at something */
	bool any_busy, any_alive, any_live;
	bool *linked; /* blocks: met in a chain */

	uint64_t pending;
	struct kvs_findings found;
	int error;
};

/* Notes something that nothing explains. The word is what it was seen by. */
void kvs_look_find(struct kvs_look *look, enum kvs_finding_kind kind, uint32_t number, uint32_t other, uint64_t word);

/* Notes something that one who is busy may explain. */
void kvs_look_find_unless(struct kvs_look *look, bool busy, enum kvs_finding_kind kind, uint32_t number, uint32_t other,
			  uint64_t word);

static inline uint64_t kvs_look_word(const struct kvs_look *look, uint32_t block)
{
	return atomic_load_explicit(&look->blocks[block].word, memory_order_relaxed);
}

static inline enum kvs_state kvs_look_state(const struct kvs_look *look, uint32_t block)
{
	return kvs_word_state(kvs_look_word(look, block));
}

static inline uint64_t kvs_look_life(const struct kvs_look *look, uint32_t block)
{
	return atomic_load_explicit(&look->blocks[block].life, memory_order_relaxed);
}

/* May this client be at something? */
static inline bool kvs_look_busy(const struct kvs_look *look, uint32_t slot)
{
	return look->busy[slot] || !look->slots[slot].alive;
}

/* The parts of the check, in the order in which they may be called: rows count the writers that blocks need. */
void kvs_check_head(struct kvs_look *look);
void kvs_check_peers(struct kvs_look *look);
void kvs_check_readers(struct kvs_look *look);
void kvs_check_rows(struct kvs_look *look);
void kvs_check_blocks(struct kvs_look *look);
void kvs_check_chains(struct kvs_look *look);
void kvs_check_requests(struct kvs_look *look);

#endif
