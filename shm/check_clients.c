/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_clients.c: the head, the client slots, their reader slots, connections and rows of counts, each invariant told
 * where it is checked. See check_look.h. Relaxed: what is looked at are copies.
 */
#include "config.h"

#include <unistd.h>

#include "check_look.h"
#include "client.h"
#include "epoch.h"
#include "part.h"
#include "peers.h"

const char *const kvs_look_fields[KVS_LOOK_FIELDS] = {
	[KVS_LOOK_STATE] = "state",
	[KVS_LOOK_READERS_TOP] = "readers_top",
	[KVS_LOOK_EPOCH] = "epoch",
	[KVS_LOOK_FLOOR] = "floor",
};

/* The few words that everyone believes: the floor is a whole number of clearings; the epoch only goes up. */
void kvs_check_head(struct kvs_look *look)
{
	const uint32_t state = look->state & KVS_STORE_STATE;

	if ((look->state & ~KVS_STORE_BITS) != 0 || (state != KVS_STORE_OPEN && state != KVS_STORE_DESTROYED))
		kvs_look_find(look, KVS_FINDING_head, KVS_LOOK_STATE, 0, look->state);
	if (look->readers_top > look->g->readers)
		kvs_look_find(look, KVS_FINDING_head, KVS_LOOK_READERS_TOP, 0, look->readers_top);
	if (look->epoch < KVS_EPOCH_FIRST)
		kvs_look_find(look, KVS_FINDING_head, KVS_LOOK_EPOCH, 0, look->epoch);
	if (look->floor % KVS_CLEARS_ONE)
		kvs_look_find(look, KVS_FINDING_head, KVS_LOOK_FLOOR, 0, look->floor);
}

/* ---- Reader slots ---------------------------------------------------------------------------------------- */

/* Whose reader slot is it? A flagged one is a recoverer's or a trimmer's, and stays with a slot that is nobody's when
 * the trimmer dies; it is cleared when the slot has a client again. */
static void check_owner(struct kvs_look *look, uint32_t number, uint32_t owner, bool in_section)
{
	uint32_t slot = (owner & ~KVS_READER_RECOVERER) - 1;
	bool flagged = owner & KVS_READER_RECOVERER;

	if (slot >= look->g->clients || (!flagged && !look->slots[slot].live)) {
		kvs_look_find(look, KVS_FINDING_reader, number, slot, owner);
		return;
	}
	look->busy[slot] |= flagged || in_section;
}

/* One is taken for a client that is there, and below the top, which was raised before; who gives it back leaves its
 * section first; and a section's epoch is one that has been. */
static void check_reader(struct kvs_look *look, uint32_t number)
{
	const struct kvs_reader *reader = &look->readers[number];
	uint32_t owner = atomic_load_explicit(&reader->owner, memory_order_relaxed);
	uint64_t epoch = atomic_load_explicit(&reader->epoch, memory_order_relaxed);

	if (owner)
		check_owner(look, number, owner, epoch);
	if (owner && number >= look->readers_top)
		kvs_look_find(look, KVS_FINDING_reader_above, number, look->readers_top, owner);
	if (!owner && epoch)
		kvs_look_find(look, KVS_FINDING_reader_stray, number, 0, epoch);
	if (epoch && (epoch < KVS_EPOCH_FIRST || epoch > look->epoch))
		kvs_look_find(look, KVS_FINDING_reader_epoch, number, 0, epoch);
}

void kvs_check_readers(struct kvs_look *look)
{
	for (uint32_t i = 0; i < look->g->readers; i++)
		check_reader(look, i);
	for (uint32_t i = 0; i < look->g->clients; i++)
		look->any_busy |= look->busy[i] || (look->slots[i].live && !look->slots[i].alive);
}

/* ---- Connections ----------------------------------------------------------------------------------------- */

/* An entry is a client's that is there, who gives it back before it leaves. */
static void check_peer(struct kvs_look *look, uint32_t number)
{
	uint64_t word = atomic_load_explicit(&look->peers[number].word, memory_order_relaxed);
	uint32_t owner = kvs_peer_owner(word);
	bool free = kvs_peer_state(word) == KVS_PEER_FREE;

	if (kvs_peer_state(word) > KVS_PEER_USED || word & 0xc || (free && owner))
		kvs_look_find(look, KVS_FINDING_peer, number, 0, word);
	else if (!free && (owner >= look->g->clients || !look->slots[owner].live))
		kvs_look_find(look, KVS_FINDING_peer_owner, number, owner, word);
}

void kvs_check_peers(struct kvs_look *look)
{
	for (uint32_t i = 0; i < KVS_PEERS; i++)
		check_peer(look, i);
}

/* ---- Rows ------------------------------------------------------------------------------------------------ */

static bool is_nobodys(enum kvs_state state)
{
	return state == KVS_FREE || state == KVS_LIMBO || state == KVS_OWNED || state == KVS_ROOM;
}

/* How many more writers than refs a client may have. Each writer has a ref of its own; but where a block was published
 * that had no key, one of two threads with a copy of its handle may be about to see that it came second. */
static unsigned extra_writers(const struct kvs_look *look, uint32_t number)
{
	return atomic_load_explicit(&look->infos[number].claimed, memory_order_relaxed) == UINT32_MAX;
}

/* What a living client has on a block. A hold that was granted keeps the block, and its client's bit is set. One that
 * was not yet granted is undone, in the section in which it was counted. */
static void check_hold(struct kvs_look *look, uint32_t slot, uint32_t number, uint64_t counts)
{
	uint64_t holders = atomic_load_explicit(&look->blocks[number].holders, memory_order_relaxed);
	uint64_t word = kvs_look_word(look, number);
	enum kvs_state state = kvs_word_state(word);

	if (is_nobodys(state) && (state != KVS_OWNED || kvs_word_owner(word) != slot))
		kvs_look_find_unless(look, look->busy[slot], KVS_FINDING_held_free, number, slot, word);
	else if (!(holders >> slot % 64 & 1))
		kvs_look_find_unless(look, look->busy[slot], KVS_FINDING_no_bit, number, slot, look->row[number]);
	if (kvs_entry_writers(counts) > kvs_entry_refs(counts) + extra_writers(look, number))
		kvs_look_find(look, KVS_FINDING_writers, number, slot, look->row[number]);
}

/* The entry of a client that is there. Its life is one that the block has had: lives only go up, and who counts has
 * read the block's. */
static void check_entry(struct kvs_look *look, uint32_t slot, uint32_t number)
{
	uint64_t entry = look->row[number], life = kvs_look_life(look, number), word = kvs_look_word(look, number);
	uint64_t counts = kvs_entry_counts(entry, life);

	if (entry && (int32_t)(kvs_entry_life(entry) - (uint32_t)life) > 0)
		kvs_look_find(look, KVS_FINDING_entry_ahead, number, slot, entry);
	look->writers[number] += kvs_entry_writers(counts);
	if (!look->slots[slot].alive) {
		look->pending += counts != 0;
		return;
	}
	/* It has let go of its last hold, and is about to give the fill up. */
	if (!counts && kvs_word_state(word) == KVS_FILLING && kvs_word_owner(word) == slot)
		look->pending++;
	if (counts)
		check_hold(look, slot, number, counts);
}

/* A note of pins stands only beside a pin: it comes behind it, and goes before it. The notes are read behind the
 * entries, and have the same time in all looks, which another pin would not have. (That they count more than there are
 * is no finding: the counts go up and down, and come again.) */
static void check_note(struct kvs_look *look, uint32_t slot, uint32_t number)
{
	uint64_t counts = kvs_entry_counts(look->row[number], kvs_look_life(look, number)), note = look->notes[number];
	bool client = look->slots[slot].live;

	if (note && !(client && !look->slots[slot].alive) &&
	    (!client || !kvs_note_pins(note) || !kvs_entry_pins(counts)))
		kvs_look_find(look, KVS_FINDING_note, number, slot, note);
}

/* An empty slot's row is a hole: reading it costs little, but there may be many. */
static bool is_hole(const struct kvs_look *look, uint32_t slot)
{
	off_t row = (off_t)(look->g->rows_at + slot * look->g->row_size);
	off_t data = lseek(look->view->file, row, SEEK_DATA);

	return data < 0 || data >= row + (off_t)look->g->row_size;
}

static void read_row(struct kvs_look *look, uint32_t slot)
{
	size_t size = look->g->blocks * sizeof(look->row[0]);
	uint64_t at = look->g->rows_at + slot * look->g->row_size;

	look->error = kvs_inspect_read(look->view, at, look->row, size);
	if (!look->error)
		look->error = kvs_inspect_read(look->view, at + size, look->notes, size);
}

/* A slot's word is of a state, and so is its mark of DMA; its row holds nothing unless there is a client. */
static void check_row(struct kvs_look *look, uint32_t slot)
{
	uint64_t word = look->slots[slot].word;

	if (word > KVS_SLOT_LIVE)
		kvs_look_find(look, KVS_FINDING_slot, slot, 0, word);
	if (look->slots[slot].dma > KVS_DMA_ENDED)
		kvs_look_find(look, KVS_FINDING_dma, slot, 0, look->slots[slot].dma);
	if (kvs_slot_state(word) == KVS_SLOT_EMPTY && is_hole(look, slot))
		return;
	read_row(look, slot);
	for (uint32_t i = 0; i < look->g->blocks && !look->error; i++) {
		if (look->slots[slot].live)
			check_entry(look, slot, i);
		else if (look->row[i] & KVS_ENTRY_COUNTS)
			kvs_look_find(look, KVS_FINDING_idle_row, i, slot, look->row[i]);
		check_note(look, slot, i);
	}
}

void kvs_check_rows(struct kvs_look *look)
{
	for (uint32_t slot = 0; slot < look->g->clients && !look->error; slot++)
		check_row(look, slot);
}
