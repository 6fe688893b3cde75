/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * clear.h: clearing a store: one step after which no key that was there is found by anyone.
 *
 * The head has a floor, the lowest life that counts; a block's life carries the clear count of the moment when its
 * bytes could first be written (word.h). Raising the floor by one count is the whole of clearing.
 *
 * Guarantees: R28, C2. A lookup, or a wait, that begins after the step finds no block from before it, whoever fills or
 * publishes it later. A death after the step loses room at most until the next sweep: such blocks are doomed by the
 * clearing call, by recovery and by the eviction hand, which takes them before anything else.
 * (tests/model/block_life.pml)
 */
#ifndef KVS_CLEAR_H
#define KVS_CLEAR_H

#include "map.h"

/* [clear: look] The lowest life that counts. Acquire: what who cleared had done before is seen by who finds it so. */
static inline uint64_t kvs_floor(const struct kvs_map *map)
{
	return atomic_load_explicit(&map->head->floor, memory_order_acquire);
}

static inline bool kvs_cleared(const struct kvs_map *map, uint64_t life)
{
	return life < kvs_floor(map);
}

/* Is the block of a life from before the last clearing? [life: judge] Behind a look at its word. */
static inline bool kvs_block_cleared(const struct kvs_map *map, uint32_t block)
{
	return kvs_cleared(map, atomic_load_explicit(&kvs_block(map, block)->life, memory_order_acquire));
}

/* Clears the store, then takes what was cleared out of the index, and gives back what nobody holds. Outside of a
 * section. -EOVERFLOW when the count is at its end: it never turns, or blocks of long ago would come back. */
int kvs_clear(const struct kvs_actor *actor);

#endif
