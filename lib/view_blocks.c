/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_blocks.c: a store's blocks, one by one. Contract in kvshm.h. Blocks are read in chunks, and what belongs to
 * them (infos, the tails of their keys) with each chunk, so that memory stays bounded. Relaxed: what
 * is looked at are copies.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "view.h"
#include "wait.h"

static const char *const state_names[] = {
	[KVS_FREE] = "free",	     [KVS_OWNED] = "owned",   [KVS_ROOM] = "room", [KVS_FILLING] = "filling",
	[KVS_READY] = "ready",	     [KVS_REM_READY] = "removing", [KVS_DOOMED] = "doomed",
	[KVS_REM_DOOMED] = "removing", [KVS_LIMBO] = "grace",
};

_Static_assert(KVSHM_KEY_MAX == KVS_KEY_MAX && KVSHM_OPAQUE_SIZE == KVS_OPAQUE_SIZE, "they are copied as they are");

struct block_walk {
	const struct kvs_view *view;
	int (*fn)(const struct kvshm_block_info *block, void *arg);
	void *arg;
	uint64_t now;
	struct kvs_block_info *infos; /* of the chunk */
	uint8_t *tails;
};

/* From a fill's beginning until the block is nobody's. */
static bool has_key(enum kvs_state state)
{
	return state >= KVS_FILLING && state < KVS_LIMBO;
}

static void copy_key(const struct block_walk *walk, const struct kvs_block *block, uint32_t i,
		     struct kvshm_block_info *to)
{
	uint32_t length = atomic_load_explicit(&block->key_length, memory_order_relaxed);
	uint32_t head = length < KVS_KEY_HEAD ? length : KVS_KEY_HEAD;

	if (length > walk->view->g.key_max)
		return;
	to->key_length = length;
	memcpy(to->key, block->key, head);
	memcpy(to->key + head, walk->tails + (size_t)i * walk->view->g.tail, length - head);
}

/* The filler's own bit, and planes that there are not, are left out. */
static void copy_info(const struct block_walk *walk, const struct kvs_block_info *info, struct kvshm_block_info *to)
{
	uint32_t planes = (uint32_t)((UINT64_C(1) << walk->view->g.planes) - 1);

	to->length = info->length;
	to->depth = atomic_load_explicit(&info->depth, memory_order_relaxed);
	to->claimed = atomic_load_explicit(&info->claimed, memory_order_relaxed) & planes;
	to->written = (uint32_t)atomic_load_explicit(&info->written, memory_order_relaxed) & planes;
	memcpy(to->opaque, info->opaque, sizeof(to->opaque));
}

static uint64_t age_of(const struct block_walk *walk, uint32_t i)
{
	uint64_t since = atomic_load_explicit(&walk->infos[i].since, memory_order_relaxed);

	return since && since < walk->now ? walk->now - since : 0;
}

static void describe_block(const struct block_walk *walk, const struct kvs_chunk *chunk, uint32_t i,
			   struct kvshm_block_info *to)
{
	const struct kvs_block *block = &chunk->blocks[i];
	uint64_t word = atomic_load_explicit(&block->word, memory_order_relaxed);
	enum kvs_state state = kvs_word_state(word);
	unsigned owner = kvs_word_owner(word);

	memset(to, 0, sizeof(*to));
	to->block = chunk->first + i;
	to->state = state < KVS_STATES ? state_names[state] : "unknown";
	to->life = atomic_load_explicit(&block->life, memory_order_relaxed);
	to->refs = chunk->counts[i] >> 32;
	to->pins = (uint32_t)chunk->counts[i];
	to->owner = KVSHM_NO_SLOT;
	if ((state == KVS_OWNED || state == KVS_FILLING || state == KVS_REM_READY || state == KVS_REM_DOOMED) &&
	    owner < walk->view->g.clients)
		to->owner = owner;
	to->cleared = kvs_inspect_cleared(walk->view, word, to->life);
	if (state == KVS_OWNED || has_key(state))
		to->age = age_of(walk, i);
	if (has_key(state)) {
		copy_key(walk, block, i, to);
		copy_info(walk, &walk->infos[i], to);
	}
}

static int tell_chunk(const struct kvs_chunk *chunk, void *arg)
{
	struct block_walk *walk = arg;
	const struct kvs_geometry *g = &walk->view->g;
	int rc = kvs_inspect_read(walk->view, g->infos_at + chunk->first * sizeof(*walk->infos), walk->infos,
				  chunk->count * sizeof(*walk->infos));

	if (rc == 0)
		rc = kvs_inspect_read(walk->view, g->tails_at + (uint64_t)chunk->first * g->tail, walk->tails,
				      (size_t)chunk->count * g->tail);
	walk->now = kvs_now();
	for (uint32_t i = 0; rc == 0 && i < chunk->count; i++) {
		struct kvshm_block_info info;

		if (kvs_word_state(atomic_load_explicit(&chunk->blocks[i].word, memory_order_relaxed)) == KVS_FREE)
			continue;
		describe_block(walk, chunk, i, &info);
		rc = walk->fn(&info, walk->arg);
	}
	return rc;
}

static int walk_blocks(struct block_walk *walk)
{
	struct kvs_slot_view *slots;
	int rc;

	walk->infos = kvs_inspect_memory(KVS_INSPECT_CHUNK * sizeof(*walk->infos));
	walk->tails = kvs_inspect_memory((size_t)KVS_INSPECT_CHUNK * walk->view->g.tail);
	if (!walk->infos || !walk->tails)
		return kvs_fault(ENOMEM, "no memory");
	rc = kvs_inspect_slots(walk->view, &slots);
	if (rc)
		return rc;
	rc = kvs_inspect_walk(walk->view, slots, tell_chunk, walk);
	free(slots);
	return rc;
}

int kvshm_view_blocks(kvshm_view *view, int (*fn)(const struct kvshm_block_info *block, void *arg), void *arg)
{
	struct block_walk walk = {.fn = fn, .arg = arg};
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	walk.view = &view->inner;
	rc = kvs_inspect_refresh(&view->inner); /* for the clear count */
	if (rc == 0)
		rc = walk_blocks(&walk);
	free(walk.infos);
	free(walk.tails);
	return rc;
}
