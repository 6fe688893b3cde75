/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * table.h: the calls on keys: finding with a hold, beginning a fill, ending it.
 *
 * Guarantees: A1, A2, B3. The finding and the hold are one step: nobody is told of a key that it does not hold.
 */
#ifndef KVS_TABLE_H
#define KVS_TABLE_H

#include "hold.h"
#include "index.h"

/* A block in one of its lives: what a hold is on. */
struct kvs_found {
	uint64_t life;
	uint32_t block;
};

/* Counts nonsense in the index, and says so: -EUCLEAN. */
int kvs_table_nonsense(struct kvs_reader *reader);

/* In a section: takes the first block of a walk that can be held. Others of the same key are on their way out. Returns
 * enum kvs_taken (KVS_GONE: there is no such key), or -EUCLEAN. */
KVS_HOT int kvs_table_take(const struct kvs_actor *actor, struct kvs_walk *walk, bool fills, struct kvs_found *found)
{
	for (;;) {
		enum kvs_taken taken;

		found->block = kvs_index_next(actor, walk);
		if (found->block == KVS_NONE)
			return KVS_GONE;
		if (__builtin_expect(found->block == KVS_WALK_NONSENSE, 0))
			return kvs_table_nonsense(actor->reader);
		taken = kvs_hold_take(actor, found->block, fills, &found->life);
		if (taken != KVS_GONE)
			return (int)taken;
	}
}

/* Looks a key up, whose hash is given, and takes a ref. Returns as above. Inline, with the rest of the way: a lookup
 * should cost what it touches, not what it calls. */
KVS_HOT int kvs_table_get(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash, bool fills,
			  struct kvs_found *found)
{
	struct kvs_walk walk = {.key = key, .hash = hash, .length = (uint32_t)length};
	int taken;

	kvs_enter(actor);
	kvs_index_start(actor->map, &walk);
	taken = kvs_table_take(actor, &walk, fills, found);
	kvs_leave(actor);
	return taken;
}

/* Begins a fill of a key that was not there: KVS_GONE means that it is the caller's now, in *found, which it holds and
 * is to fill; else as above, since another was first. -ENOSPC as in kvs_alloc(). */
int kvs_table_fill(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash,
		   struct kvs_found *found);

/* Publishes, or dooms, a block that the caller fills: 0; -ECANCELED if it was doomed meanwhile; -EBADF if it is no fill
 * of the caller's. What is to be read has been written before, once the first call has said that it is still the
 * caller's to write. Holds stay as they are. */
int kvs_table_own_fill(const struct kvs_actor *actor, uint32_t number);
int kvs_table_publish(const struct kvs_actor *actor, uint32_t number);
int kvs_table_give_up(const struct kvs_actor *actor, uint32_t number);

/* Dooms a block that the caller holds, as the removal of its key. */
void kvs_table_remove(const struct kvs_actor *actor, uint32_t number);

#endif
