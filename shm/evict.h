/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * evict.h: which blocks make room for others.
 *
 * Guarantees: only what nobody holds is evicted (R21, B1: by the one way out, remove.c). Of blocks that were last used
 * together the deeper ones go before the shallower ones. The hit rate follows that of exact LRU. All of it hints: a
 * death can't damage more than the order.
 */
#ifndef KVS_EVICT_H
#define KVS_EVICT_H

#include "map.h"

/* A block was let go of: it was used in the present generation. Written only when that changes, since the line is
 * shared. */
static inline void kvs_evict_stamp(const struct kvs_map *map, struct kvs_block *block)
{
	uint8_t now = atomic_load_explicit(&map->head->generation, memory_order_relaxed);

	if (atomic_load_explicit(&block->stamp, memory_order_relaxed) != now)
		atomic_store_explicit(&block->stamp, now, memory_order_relaxed);
}

/* A block has been filled: so many make a generation. */
void kvs_evict_tick(const struct kvs_map *map);

/* Tries to make that many blocks idle: evicts (in a keep store), and heals what deaths have left. Returns how many it
 * tried, some of which another may have evicted, or taken into use, first: 0 means that there is nothing to evict.
 * Outside of a section; looks at each block at most once. */
unsigned kvs_evict(const struct kvs_actor *actor, unsigned want);

#endif
