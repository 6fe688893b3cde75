/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_blocks.c: the blocks one by one: word, life, key, length and parts, each invariant told where it is checked.
 * See check_look.h. Relaxed: what is looked at are copies.
 */
#include "config.h"

#include "check_look.h"
#include "part.h"

/* States that exist, with owners where there are such. */
static void check_state(struct kvs_look *look, uint32_t number)
{
	uint64_t word = kvs_look_word(look, number);
	uint32_t owner = kvs_word_owner(word);

	switch (kvs_word_state(word)) {
	case KVS_FREE:
	case KVS_READY:
	case KVS_DOOMED:
		if (owner)
			kvs_look_find(look, KVS_FINDING_state, number, owner, word);
		break;
	case KVS_LIMBO: /* of an epoch, of which the word has the low bits: before these turn they can be compared */
		if (look->epoch < KVS_OWNER_COUNT && owner > look->epoch)
			kvs_look_find(look, KVS_FINDING_grace, number, owner, word);
		break;
	case KVS_OWNED:
	case KVS_FILLING:
	case KVS_REM_READY:
	case KVS_REM_DOOMED:
		if (owner >= look->g->clients || !look->slots[owner].live)
			kvs_look_find(look, KVS_FINDING_no_owner, number, owner, word);
		else if (!look->slots[owner].alive)
			look->pending++;
		break;
	case KVS_ROOM: /* of a place in the line */
		if (owner >= look->g->requests)
			kvs_look_find(look, KVS_FINDING_state, number, owner, word);
		break;
	default:
		kvs_look_find(look, KVS_FINDING_state, number, owner, word);
	}
}

/* Has the block a life that began whole? Not where it was never taken, or is being taken just now. */
static bool has_begun(enum kvs_state state)
{
	return kvs_state_exists(state) && state != KVS_FREE && state != KVS_OWNED && state != KVS_ROOM;
}

/* A life carries the count of a clearing that has been; the floor was read after it. */
static void check_life(struct kvs_look *look, uint32_t number)
{
	uint64_t word = kvs_look_word(look, number), life = kvs_look_life(look, number);

	if (life >> KVS_CLEARS_SHIFT > look->floor >> KVS_CLEARS_SHIFT ||
	    (has_begun(kvs_word_state(word)) && life % KVS_CLEARS_ONE == 0))
		kvs_look_find(look, KVS_FINDING_life, number, 0, word);
}

/* Whoever reads a block believes its length; whoever unlinks it, that of its key, which it has from FILLING on. */
static void check_lengths(struct kvs_look *look, uint32_t number)
{
	uint32_t key = atomic_load_explicit(&look->blocks[number].key_length, memory_order_relaxed);
	uint64_t word = kvs_look_word(look, number);

	if (key > look->g->key_max || (key == 0 && has_begun(kvs_word_state(word))))
		kvs_look_find(look, KVS_FINDING_key, number, key, word);
	if (look->infos[number].length > look->g->block_size)
		kvs_look_find(look, KVS_FINDING_length, number, 0, word);
}

/* The bitmap of holders has bits of slots only. */
static void check_bits(struct kvs_look *look, uint32_t number)
{
	uint64_t holders = atomic_load_explicit(&look->blocks[number].holders, memory_order_relaxed);

	if (look->g->clients < 64 && holders >> look->g->clients)
		kvs_look_find(look, KVS_FINDING_bits, number, 0, kvs_look_word(look, number));
}

/* ---- Parts ----------------------------------------------------------------------------------------------- */

/* Bits of planes that there are, each claimed before it was written; and a fill that failed was not whole, and never
 * will be. */
static bool parts_make_sense(uint32_t claimed, uint64_t written, uint32_t planes)
{
	uint64_t all = kvs_part_planes(planes), whole = all | KVS_PART_FILLER;

	return !(written & ~(whole | KVS_PART_FAILED | KVS_PART_ALONE)) && !(written & all & ~(uint64_t)claimed) &&
	       (written & KVS_PART_ALONE ? claimed == UINT32_MAX : !(claimed & ~all)) &&
	       (!(written & KVS_PART_FAILED) || (written & whole) != whole);
}

static unsigned bits(uint64_t of)
{
	return (unsigned)__builtin_popcountll(of);
}

/* A fill goes on: who decides it takes the word on in the same section; and who claims a plane is counted as a writer
 * before, and until the plane is written, or the fill has failed. (The planes were read before the counts: so in two
 * looks with the same planes, the counts of the first one are of their time.) */
static void check_fill(struct kvs_look *look, uint32_t number, uint32_t claimed, uint64_t written)
{
	uint64_t word = kvs_look_word(look, number);
	uint32_t unwritten = claimed & ~(uint32_t)written;

	if (written & KVS_PART_FAILED || kvs_part_is_whole(written, look->g->planes))
		kvs_look_find_unless(look, look->any_busy, KVS_FINDING_fill_stuck, number, 0, word);
	else if (claimed != UINT32_MAX && bits(unwritten) > look->writers[number])
		kvs_look_find(look, KVS_FINDING_no_writer, number, unwritten, word);
}

/* A block is READY when all planes are written, and its filler has said what it is. (R27) */
static void check_parts(struct kvs_look *look, uint32_t number)
{
	const struct kvs_block_info *info = &look->infos[number];
	uint32_t claimed = atomic_load_explicit(&info->claimed, memory_order_relaxed);
	uint64_t written = atomic_load_explicit(&info->written, memory_order_relaxed);
	uint64_t word = kvs_look_word(look, number);
	enum kvs_state state = kvs_word_state(word);

	if (!has_begun(state))
		return;
	if (!parts_make_sense(claimed, written, look->g->planes))
		kvs_look_find(look, KVS_FINDING_parts, number, 0, word);
	else if (state == KVS_FILLING)
		check_fill(look, number, claimed, written);
	else if ((state == KVS_READY || state == KVS_REM_READY) && !kvs_part_is_whole(written, look->g->planes))
		kvs_look_find(look, KVS_FINDING_part_missing, number, 0, word);
}

/* ---- What must go on ------------------------------------------------------------------------------------- */

/* A removal is made in one section, in the name of the one who is in it. */
static void check_removal(struct kvs_look *look, uint32_t number)
{
	uint64_t word = kvs_look_word(look, number);
	enum kvs_state state = kvs_word_state(word);
	uint32_t owner = kvs_word_owner(word);

	if ((state == KVS_REM_READY || state == KVS_REM_DOOMED) && owner < look->g->clients && look->slots[owner].live)
		kvs_look_find_unless(look, kvs_look_busy(look, owner), KVS_FINDING_removal_stuck, number, owner, word);
}

/* Whoever ends the last hold of such a block removes it, and a sweep if they died: a living client, or the recovery of
 * a dead one, may yet do it. */
static bool must_be_held(const struct kvs_look *look, uint32_t number)
{
	switch (kvs_look_state(look, number)) {
	case KVS_OWNED:
	case KVS_ROOM: /* by its place */
	case KVS_FILLING:
	case KVS_REM_READY:
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		return true;
	case KVS_READY:
		return look->g->drop || kvs_look_life(look, number) < look->floor;
	default:
		return false;
	}
}

void kvs_check_blocks(struct kvs_look *look)
{
	for (uint32_t i = 0; i < look->g->blocks; i++) {
		check_state(look, i);
		check_life(look, i);
		check_lengths(look, i);
		check_bits(look, i);
		check_parts(look, i);
		check_removal(look, i);
		if (!look->any_live && must_be_held(look, i))
			kvs_look_find(look, KVS_FINDING_leaked, i, 0, kvs_look_word(look, i));
	}
}
