/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_holds.c: the list of what a request holds: a table by the blocks' numbers, in its owner's memory. See
 * request.h. Guarantees: a block is in it once; place is made before a hold is taken, so that none is lost for want of
 * memory.
 */
#include "config.h"

#include "request.h"

#include <stdlib.h>

#define PLACES_FIRST 16 /* of a list: a power of two */

static struct kvl_hold *add(struct kvl_request *own, const struct kvl_hold *hold)
{
	uint32_t at = kvl_hold_place(hold->block, own->size);

	while (own->holds[at].kind != KVL_EMPTY)
		at = (at + 1) & (own->size - 1);
	own->holds[at] = *hold;
	own->used++;
	return &own->holds[at];
}

/* A quarter of the places, at least, stays empty, so that searches end soon. */
int kvl_request_make_place(struct kvl_request *own, size_t more)
{
	struct kvl_hold *old = own->holds;
	uint64_t want = (uint64_t)own->held + own->fills + more, size = PLACES_FIRST;
	uint32_t old_size = own->size;

	if (own->size && own->used + more <= own->size - own->size / 4)
		return 0;
	while (size - size / 4 < want * 2)
		size *= 2;
	own->holds = size <= UINT32_MAX / 2 ? calloc(size, sizeof(*own->holds)) : NULL;
	if (!own->holds) {
		own->holds = old;
		return kvs_fault(ENOMEM, "no memory for the list of a request's holds");
	}
	own->size = (uint32_t)size;
	own->used = 0;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i].kind == KVL_FILL || kvl_hold_is_held(&old[i]))
			(void)add(own, &old[i]);
	free(old);
	return 0;
}

struct kvl_hold *kvl_request_add_hold(struct kvl_request *own, uint32_t block, uint64_t life, enum kvl_hold_kind kind)
{
	const struct kvl_hold hold = {.life = life, .block = block, .kind = (uint8_t)kind};
	_Atomic uint64_t *since = &own->store->map.requests[own->slot].held_since;

	own->held += kind != KVL_FILL;
	own->unready += kind != KVL_FILL;
	own->fills += kind == KVL_FILL;
	/* Relaxed: for people. */
	if (own->held + own->fills == 1)
		atomic_store_explicit(since, kvs_now(), memory_order_relaxed);
	return add(own, &hold);
}

enum kvl_hold_kind kvl_request_turn(const struct kvs_actor *actor, uint32_t block, uint64_t life)
{
	return kvs_hold_turn(&actor->row[block], life, KVS_ENTRY_REF, KVS_ENTRY_REFS, KVS_ENTRY_PIN, KVS_ENTRY_PINS)
		       ? KVL_REF
		       : KVL_PIN;
}

void kvl_request_see_ready(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold)
{
	if (hold->ready)
		return;
	if (!hold->filled)
		kvs_room_spare(actor, &own->room);
	hold->ready = true;
	own->unready--;
}

/* A fill of the request's own that is published, but waits for parts of others': nobody sends for these any more. Other
 * requests of this client may hold the block, and would wait for it for ever. (One that is ready stays as it is.) */
static void give_up_unfinished(const struct kvs_actor *actor, const struct kvl_hold *hold)
{
	if (!hold->own || hold->ready)
		return;
	kvs_enter(actor);
	kvs_table_fail_part(actor, hold->block);
	kvs_leave(actor);
}

void kvl_request_drop_hold(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold)
{
	bool pin = hold->kind == KVL_PIN;

	give_up_unfinished(actor, hold);
	(void)kvs_hold_release(actor, hold->block, hold->life, pin ? KVS_ENTRY_PIN : KVS_ENTRY_REF,
			       pin ? KVS_ENTRY_PINS : KVS_ENTRY_REFS);
	own->held -= kvl_hold_is_held(hold);
	own->unready -= kvl_hold_is_held(hold) && !hold->ready;
	own->fills -= hold->kind == KVL_FILL;
	hold->kind = KVL_LEFT;
}

void kvl_request_tell(const struct kvl_request *own)
{
	struct kvs_request *told = &own->store->map.requests[own->slot];

	/* Relaxed: for people. */
	atomic_store_explicit(&told->held, own->held, memory_order_relaxed);
	atomic_store_explicit(&told->fills, own->fills, memory_order_relaxed);
	atomic_store_explicit(&told->room, own->room.count, memory_order_relaxed);
	if (own->held + own->fills == 0)
		atomic_store_explicit(&told->held_since, 0, memory_order_relaxed);
}
