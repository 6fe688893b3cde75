/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * table.h: the calls on keys: finding with a hold, beginning a fill, ending it.
 *
 * Guarantees: A1, A2, B3, R27. The finding and the hold are one step: nobody is told of a key that it does not hold.
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
		taken = kvs_hold_take(actor, found->block, fills, KVS_ENTRY_REF, KVS_ENTRY_REFS, &found->life);
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

/* In a section: marks a key as used now. Returns KVS_TAKEN, KVS_NOT_READY, KVS_GONE or -EUCLEAN; nothing is held. */
int kvs_table_touch(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash);

/* An OWNED block of the actor's, just taken, begins a life that it holds. */
void kvs_table_begin(const struct kvs_actor *actor, bool shared, struct kvs_found *owned);

/* Takes a block without a key: OWNED, and held by the actor. shared: its planes have writers of their own. -ENOSPC as
 * in kvs_alloc(). */
int kvs_table_alloc(const struct kvs_actor *actor, bool shared, struct kvs_found *owned);

/* Is the block such a one of the actor's? */
bool kvs_table_owns(const struct kvs_actor *actor, uint32_t number);

/* Of several threads that have copies of one handle of such a block, one goes on to give it back or to link it: false
 * for the others, and if it is not one of the actor's. Else they could write the key of a block that is linked. */
bool kvs_table_claim(const struct kvs_actor *actor, const struct kvs_found *owned);

/* Gives back such a block, that was claimed. */
void kvs_table_give_back(const struct kvs_actor *actor, const struct kvs_found *owned);

/* Gives such a block, that was claimed or never had a handle, a key. KVS_GONE: the actor fills it now, and everyone
 * finds that; *found is it. Else another block has the key, and is held as kvs_table_take() says, or not; the actor's
 * has gone back. */
int kvs_table_link(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash,
		   const struct kvs_found *mine, struct kvs_found *found);

/* Begins a fill of a key that was not there: both of the above. */
int kvs_table_fill(const struct kvs_actor *actor, const void *key, size_t length, uint64_t hash, bool shared,
		   struct kvs_found *found);

/* Is the block being filled by the actor: 0; -ECANCELED if it was doomed meanwhile; -EBADF if it is no fill of the
 * actor's, or one whose filler's part has ended. What is said of a block is written after this, and before the filler's
 * part ends. */
int kvs_table_own_fill(const struct kvs_actor *actor, uint32_t number);

/* Ends a part of a fill well: the filler's (KVS_PART_FILLER) or a plane's. The last one makes the block READY. The
 * caller holds the block, and its part was not ended before. 0, or -ECANCELED if the fill was doomed, or is from before
 * the store was cleared. In a section. */
int kvs_table_end_part(const struct kvs_actor *actor, uint32_t number, uint64_t part);

/* Makes a held block READY, all of whose parts are whole, unless another has done so, or its key was removed. */
void kvs_table_finish(const struct kvs_actor *actor, uint32_t number);

/* Dooms a block that the caller fills: as kvs_table_own_fill(). Holds stay as they are. In a section. */
int kvs_table_give_up(const struct kvs_actor *actor, uint32_t number);

/* Dooms the fill of a block of which the caller writes a part. In a section. */
void kvs_table_fail_part(const struct kvs_actor *actor, uint32_t number);

/* Dooms a block that the caller holds, whatever it is; false if it was on its way out already. In a section. */
bool kvs_table_doom(const struct kvs_actor *actor, uint32_t number);

#endif
