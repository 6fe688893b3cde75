/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check.c: the invariants of a segment, each told where it is checked. See check.h.
 *
 * A look reads everything and collects what is wrong with it, each finding with the word that it concerns. Since the
 * parts of a store at work are read one after the other, a look at one may see what never was; so there only that
 * counts which every look has seen, with the same word: a word that is the same has not changed in between, by its
 * step. (So loads are relaxed: of copies.)
 */
#include "config.h"

#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fault.h"
#include "index.h"
#include "part.h"

#define LOOKS 10  /* at a store at work */
#define NEAR 1000 /* blocks of a chain: a forged one would take hours otherwise */

enum kind {
	BAD_STATE,     /* a word of no state, or with an owner where there is none */
	NO_SUCH_OWNER, /* its owner's slot is nobody's */
	CHAIN_END,     /* a chain leads to a block that does not exist */
	CHAIN_TWICE,   /* a block is met twice */
	CHAIN_BUCKET,  /* a block is in another key's bucket */
	CHAIN_STATE,   /* a block is linked that must not be, or marked that must not be */
	NOT_LINKED,    /* a ready block that no lookup finds */
	KEY_TWICE,     /* two blocks of one key are to be found */
	BAD_LENGTH,    /* more bytes than a block has */
	PART_MISSING,  /* ready, though a part is not whole */
	NO_BIT,	       /* held by a client that the bitmap does not name */
	WRITERS,       /* more writers than refs */
	IDLE_ROW,      /* counts of nobody */
	BAD_READER,    /* a reader slot of nobody */
	LEAKED,	       /* a block that nobody will ever give back */
};

struct finding {
	uint32_t kind, number, other;
	uint32_t reserved; /* compared as bytes */
	uint64_t word;
};

struct findings {
	struct finding *of;
	size_t count, room;
};

/* One look: all of the segment that it needs. */
struct look {
	const struct kvs_view *view;
	const struct kvs_geometry *g;
	struct kvs_slot_view *slots;
	struct kvs_block *blocks;
	struct kvs_block_info *infos;
	uint32_t *buckets;
	uint8_t *tails;
	uint64_t *row;
	bool *linked;
	bool any_alive, any_live;
	uint64_t floor; /* read after the blocks: what was cleared before they were read is known to be */
	uint64_t pending;
	struct findings found;
	int error;
};

static void find(struct look *l, enum kind kind, uint32_t number, uint32_t other, uint64_t word)
{
	struct finding *more;

	if (l->found.count == l->found.room) {
		l->found.room = l->found.room ? 2 * l->found.room : 64;
		more = realloc(l->found.of, l->found.room * sizeof(*more));
		if (!more) {
			l->error = kvs_fault(ENOMEM, "no memory");
			l->found.room = l->found.count;
			return;
		}
		l->found.of = more;
	}
	l->found.of[l->found.count++] = (struct finding){.kind = kind, .number = number, .other = other, .word = word};
}

static uint64_t word_of(const struct look *l, uint32_t block)
{
	return atomic_load_explicit(&l->blocks[block].word, memory_order_relaxed);
}

static uint32_t link_of(const struct look *l, uint32_t block)
{
	return atomic_load_explicit(&l->blocks[block].next, memory_order_relaxed);
}

static void key_of(const struct look *l, uint32_t block, uint8_t key[KVS_KEY_MAX])
{
	uint32_t length = l->blocks[block].key_length, head = length < KVS_KEY_HEAD ? length : KVS_KEY_HEAD;

	memcpy(key, l->blocks[block].key, head);
	memcpy(key + head, l->tails + (uint64_t)block * l->g->tail, length - head);
}

static bool key_makes_sense(const struct look *l, uint32_t block)
{
	return l->blocks[block].key_length && l->blocks[block].key_length <= l->g->key_max;
}

static void *get(struct look *l, uint64_t at, size_t size)
{
	void *to = kvs_inspect_memory(size);

	if (!to && !l->error)
		l->error = kvs_fault(ENOMEM, "no memory");
	if (!l->error)
		l->error = kvs_inspect_read(l->view, at, to, size);
	return to;
}

/* The counts of one live slot against the words. */
static void check_entry(struct look *l, uint32_t slot, uint32_t number)
{
	const struct kvs_block *block = &l->blocks[number];
	uint64_t counts = kvs_entry_counts(l->row[number], atomic_load_explicit(&block->life, memory_order_relaxed));
	uint64_t holders = atomic_load_explicit(&block->holders, memory_order_relaxed);
	uint64_t word = word_of(l, number);

	/* It has let go of its last hold, and is about to give the fill up. */
	if (l->slots[slot].alive && kvs_word_state(word) == KVS_FILLING && kvs_word_owner(word) == slot && !counts)
		l->pending++;
	if (!counts)
		return;
	if (!l->slots[slot].alive)
		l->pending++;
	if (!(holders >> slot % 64 & 1) && kvs_word_state(word) != KVS_OWNED)
		find(l, NO_BIT, number, slot, l->row[number]);
	if ((counts & KVS_ENTRY_WRITERS) > kvs_entry_refs(counts))
		find(l, WRITERS, number, slot, l->row[number]);
}

/* Rows: those of live slots count; an idle one holds nothing; an empty one is a hole. */
static void check_rows(struct look *l)
{
	for (uint32_t slot = 0; slot < l->g->clients && !l->error; slot++) {
		if (kvs_slot_state(l->slots[slot].word) == KVS_SLOT_EMPTY)
			continue;
		l->error = kvs_inspect_read(l->view, l->g->rows_at + slot * l->g->row_size, l->row,
					    l->g->blocks * sizeof(l->row[0]));
		for (uint32_t i = 0; i < l->g->blocks && !l->error; i++)
			if (l->slots[slot].live)
				check_entry(l, slot, i);
			else if (l->row[i] & KVS_ENTRY_COUNTS)
				find(l, IDLE_ROW, i, slot, l->slots[slot].word);
	}
}

/* Are all planes written, and has the filler said what the block is? (R27) */
static bool whole(const struct look *l, uint32_t number)
{
	return kvs_part_is_whole(atomic_load_explicit(&l->infos[number].written, memory_order_relaxed), l->g->planes);
}

/* Words: states that exist, owners that do. What a dead client left is pending, until its recovery. */
static void check_word(struct look *l, uint32_t number)
{
	uint64_t word = word_of(l, number);
	unsigned owner = kvs_word_owner(word);

	switch (kvs_word_state(word)) {
	case KVS_FREE:
	case KVS_READY:
	case KVS_DOOMED:
		if (owner)
			find(l, BAD_STATE, number, owner, word);
		break;
	case KVS_LIMBO:
		break;
	case KVS_OWNED:
	case KVS_FILLING:
	case KVS_REM_READY:
	case KVS_REM_DOOMED:
		if (owner >= l->g->clients || !l->slots[owner].live)
			find(l, NO_SUCH_OWNER, number, owner, word);
		else if (!l->slots[owner].alive)
			l->pending++;
		break;
	default:
		find(l, BAD_STATE, number, owner, word);
	}
	if (kvs_word_state(word) != KVS_READY)
		return;
	if (l->infos[number].length > l->g->block_size)
		find(l, BAD_LENGTH, number, 0, word);
	if (!whole(l, number))
		find(l, PART_MISSING, number, 0, word);
}

/* Whoever ends the last hold of such a block removes it, and a sweep if they died: a living client, or the recovery of
 * a dead one, may yet do it. */
static bool nobodys(const struct look *l, uint32_t number)
{
	switch (kvs_word_state(word_of(l, number))) {
	case KVS_OWNED:
	case KVS_FILLING:
	case KVS_REM_READY:
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		return true;
	case KVS_READY:
		return l->g->drop;
	default:
		return false;
	}
}

static void check_words(struct look *l)
{
	for (uint32_t i = 0; i < l->g->blocks; i++) {
		check_word(l, i);
		if (!l->any_live && nobodys(l, i))
			find(l, LEAKED, i, 0, word_of(l, i));
	}
}

static bool can_be_found(enum kvs_state state)
{
	return state == KVS_FILLING || state == KVS_READY || state == KVS_REM_READY;
}

/* Does a lookup find it? */
static bool is_found(const struct look *l, uint32_t number)
{
	return can_be_found(kvs_word_state(word_of(l, number))) &&
	       atomic_load_explicit(&l->blocks[number].life, memory_order_relaxed) >= l->floor;
}

/* Each key once (B3): against those before it in its chain, whose length hashing keeps far below the bound. */
static void check_once(struct look *l, uint32_t first, uint32_t number)
{
	uint8_t key[KVS_KEY_MAX], other[KVS_KEY_MAX];

	if (!is_found(l, number))
		return;
	key_of(l, number, key);
	for (uint32_t i = first, near = 0; i != number && near < NEAR; i = kvs_link_block(link_of(l, i)), near++) {
		if (!is_found(l, i) ||
		    l->blocks[i].key_length != l->blocks[number].key_length)
			continue;
		key_of(l, i, other);
		if (memcmp(key, other, l->blocks[i].key_length) == 0)
			find(l, KEY_TWICE, number, i, word_of(l, number));
	}
}

/* A block that is linked; false where the chain can't be followed any further. */
static bool check_linked(struct look *l, uint32_t bucket, uint32_t first, uint32_t number)
{
	enum kvs_state state = kvs_word_state(word_of(l, number));
	uint8_t key[KVS_KEY_MAX];

	if (l->linked[number]) {
		find(l, CHAIN_TWICE, number, bucket, word_of(l, number));
		return false;
	}
	l->linked[number] = true;
	if (!can_be_found(state) && state != KVS_DOOMED)
		find(l, CHAIN_STATE, number, bucket, word_of(l, number));
	if (can_be_found(state) && link_of(l, number) & KVS_LINK_MARK)
		find(l, CHAIN_STATE, number, bucket, word_of(l, number));
	if (!key_makes_sense(l, number)) {
		find(l, CHAIN_BUCKET, number, bucket, word_of(l, number));
		return false;
	}
	key_of(l, number, key);
	if ((XXH3_64bits_withSeed(key, l->blocks[number].key_length, l->g->seed) & (l->g->buckets - 1)) != bucket)
		find(l, CHAIN_BUCKET, number, bucket, word_of(l, number));
	check_once(l, first, number);
	return true;
}

/* Chains: every link leads to a block, no block is met twice, in its key's bucket; and a ready block is met. */
static void check_chains(struct look *l)
{
	for (uint32_t b = 0; b < l->g->buckets; b++) {
		uint32_t link = l->buckets[b], first = kvs_link_block(link);

		while (link & ~KVS_LINK_MARK) {
			uint32_t number = kvs_link_block(link);

			if (number >= l->g->blocks)
				find(l, CHAIN_END, b, number, l->buckets[b]);
			if (number >= l->g->blocks || !check_linked(l, b, first, number))
				break;
			link = link_of(l, number);
		}
	}
	for (uint32_t i = 0; i < l->g->blocks; i++) {
		enum kvs_state state = kvs_word_state(word_of(l, i));

		if ((state == KVS_READY || state == KVS_REM_READY) && !l->linked[i])
			find(l, NOT_LINKED, i, 0, word_of(l, i));
	}
}

/* Reader slots: of live clients; a recoverer's or trimmer's flag goes with it. */
static void check_readers(struct look *l)
{
	struct kvs_reader *all = get(l, l->g->readers_at, l->g->readers * sizeof(*all));

	for (uint32_t i = 0; i < l->g->readers && !l->error; i++) {
		uint32_t owner = atomic_load_explicit(&all[i].owner, memory_order_relaxed);
		uint32_t slot = (owner & ~KVS_READER_RECOVERER) - 1;

		if (owner && (slot >= l->g->clients || (!(owner & KVS_READER_RECOVERER) && !l->slots[slot].live)))
			find(l, BAD_READER, i, slot, owner);
	}
	free(all);
}

static void read_all(struct look *l)
{
	if (!l->error)
		l->error = kvs_inspect_slots(l->view, &l->slots);
	for (uint32_t i = 0; i < l->g->clients && !l->error; i++) {
		l->any_live |= l->slots[i].live;
		l->any_alive |= l->slots[i].alive;
	}
	l->blocks = get(l, l->g->blocks_at, l->g->blocks * sizeof(*l->blocks));
	l->buckets = get(l, l->g->buckets_at, l->g->buckets * sizeof(*l->buckets));
	l->tails = get(l, l->g->tails_at, (size_t)l->g->blocks * l->g->tail);
	l->infos = get(l, l->g->infos_at, l->g->blocks * sizeof(*l->infos));
	if (!l->error)
		l->error = kvs_inspect_read(l->view, offsetof(struct kvs_head, floor), &l->floor, sizeof(l->floor));
	l->row = malloc(l->g->blocks * sizeof(*l->row));
	l->linked = calloc(l->g->blocks, sizeof(*l->linked));
	if (!l->error && (!l->row || !l->linked))
		l->error = kvs_fault(ENOMEM, "no memory");
}

static void free_all(struct look *l)
{
	free(l->slots);
	free(l->blocks);
	free(l->buckets);
	free(l->tails);
	free(l->infos);
	free(l->row);
	free(l->linked);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct finding));
}

/* Takes one look; its findings are the caller's. */
static int take_look(const struct kvs_view *view, struct look *l)
{
	memset(l, 0, sizeof(*l));
	l->view = view;
	l->g = &view->g;
	read_all(l);
	if (!l->error)
		check_rows(l);
	if (!l->error) {
		check_words(l);
		check_chains(l);
		check_readers(l);
	}
	free_all(l);
	if (l->found.count)
		qsort(l->found.of, l->found.count, sizeof(struct finding), compare);
	return l->error;
}

/* Keeps of the first what the second has too; both are sorted. */
static void keep_common(struct findings *first, const struct findings *second)
{
	size_t kept = 0, j = 0;

	for (size_t i = 0; i < first->count; i++) {
		while (j < second->count && compare(&second->of[j], &first->of[i]) < 0)
			j++;
		if (j < second->count && compare(&second->of[j], &first->of[i]) == 0)
			first->of[kept++] = first->of[i];
	}
	first->count = kept;
}

static void tell(const struct finding *f, void (*fn)(const char *, void *), void *arg)
{
	static const char *const states[16] = {"FREE",	   "OWNED",
					       "ROOM",	   "FILLING",
					       "READY",	   "REMOVING from READY",
					       "DOOMED",   "REMOVING from DOOMED",
					       "LIMBO",	   "state 9",
					       "state 10", "state 11",
					       "state 12", "state 13",
					       "state 14", "state 15"};
	static const char *const texts[] = {
		[BAD_STATE] = "block %u is %s with owner %u, which makes no sense",
		[NO_SUCH_OWNER] = "block %u is %s of client %u, whose slot is nobody's",
		[CHAIN_END] = "bucket %u (%s) leads to block %u, which does not exist",
		[CHAIN_TWICE] = "block %u (%s) is linked twice, lastly in bucket %u",
		[CHAIN_BUCKET] = "block %u (%s) is linked in bucket %u, which is not its key's",
		[CHAIN_STATE] = "block %u is %s, and linked (or marked) in bucket %u nonetheless",
		[NOT_LINKED] = "block %u is %s, and in no chain: no lookup finds it (%u)",
		[KEY_TWICE] = "block %u (%s) has the same key as block %u, and both can be found",
		[BAD_LENGTH] = "block %u (%s) has a length above the block size (%u)",
		[PART_MISSING] = "block %u is %s, though a part of it is not written (%u)",
		[NO_BIT] = "block %u (%s) is held by client %u, which its bitmap does not name",
		[WRITERS] = "block %u (%s) has more writers than refs of client %u",
		[IDLE_ROW] = "block %u (%s) has counts in the row of slot %u, which is nobody's",
		[BAD_READER] = "reader slot %u (%s) is taken for slot %u, which is nobody's",
		[LEAKED] = "block %u is %s, and nobody is left to give it back (%u)",
	};
	char line[256];
	const char *by;

	if (f->kind == CHAIN_END)
		by = "its chain";
	else if (f->kind == BAD_READER)
		by = "its owner";
	else if (f->kind == NO_BIT || f->kind == WRITERS || f->kind == IDLE_ROW)
		by = "its entry";
	else
		by = states[kvs_word_state(f->word)];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(line, sizeof(line), texts[f->kind], f->number, by, f->other);
#pragma GCC diagnostic pop
	fn(line, arg);
}

static bool is_leak(const struct finding *f)
{
	return f->kind == LEAKED || f->kind == IDLE_ROW || f->kind == NO_SUCH_OWNER || f->kind == NOT_LINKED;
}

int kvs_check(struct kvs_view *view, void (*fn)(const char *finding, void *arg), void *arg,
	      struct kvs_check_result *result)
{
	struct look first, again;
	int rc = take_look(view, &first);

	for (int i = 1; rc == 0 && first.any_alive && first.found.count && i < LOOKS; i++) {
		rc = take_look(view, &again);
		if (rc == 0)
			keep_common(&first.found, &again.found);
		free(again.found.of);
	}
	if (rc == 0) {
		*result = (struct kvs_check_result){
			.unsound = first.found.count, .pending = first.pending, .quiescent = !first.any_alive};
		for (size_t i = 0; i < first.found.count; i++) {
			result->leaked += is_leak(&first.found.of[i]);
			if (fn)
				tell(&first.found.of[i], fn, arg);
		}
	}
	free(first.found.of);
	return rc;
}
