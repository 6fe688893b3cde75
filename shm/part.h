/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * part.h: the parts of a fill. A fill is whole when every plane is written, and its filler has said what the block is:
 * a bit each in the block's `written`, set once and only set; whoever sees them all may make the block READY
 * (table.h). A fill that is not shared begins with the bits of all planes.
 *
 * Guarantees: R27, A2. A plane has one writer at most: the one that set its bit in `claimed`. A writer counts itself in
 * its row before it claims a plane, and uncounts itself after its part has ended: so its death in between is seen by
 * its recovery, which dooms the fill (D3). Not only then: who dies between the count and a claim that another had won
 * dooms it too, and those who wait ask again. (tests/model/parts.pml)
 */
#ifndef KVS_PART_H
#define KVS_PART_H

#include "map.h"

#define KVS_PART_FILLER (UINT64_C(1) << 32) /* the filler's own part */

static inline uint64_t kvs_part_plane(uint32_t plane)
{
	return UINT64_C(1) << plane;
}

/* The bits of so many planes, all of them. */
static inline uint64_t kvs_part_planes(uint32_t planes)
{
	return (UINT64_C(1) << planes) - 1;
}

/* A fill begins, by the owner of the block. Relaxed: the block can't be found before it is linked. */
static inline void kvs_part_begin(const struct kvs_map *map, uint32_t block, bool shared)
{
	struct kvs_block_info *info = &map->infos[block];

	atomic_store_explicit(&info->claimed, shared ? 0 : UINT32_MAX, memory_order_relaxed);
	atomic_store_explicit(&info->written, shared ? 0 : kvs_part_planes(map->g.planes), memory_order_relaxed);
}

/* Becomes the writer of a plane: false if it has one. */
static inline bool kvs_part_claim(const struct kvs_map *map, uint32_t block, uint32_t plane)
{
	_Atomic uint32_t *claimed = &map->infos[block].claimed;
	uint32_t bit = (uint32_t)kvs_part_plane(plane);

	/* A look first, so that in the common case who comes second leaves no trace. */
	return !(atomic_load_explicit(claimed, memory_order_relaxed) & bit) &&
	       !(atomic_fetch_or_explicit(claimed, bit, memory_order_seq_cst) & bit);
}

/* Do these bits say that a block of so many planes is whole? */
static inline bool kvs_part_is_whole(uint64_t written, uint32_t planes)
{
	uint64_t all = kvs_part_planes(planes) | KVS_PART_FILLER;

	return (written & all) == all;
}

/* [publish] Ends a part well; are all whole now? Release: its bytes come before whoever sees the bit; acquire: so do
 * the bytes of the others whose bits are seen, before the READY that follows. */
static inline bool kvs_part_end(const struct kvs_map *map, uint32_t block, uint64_t part)
{
	_Atomic uint64_t *written = &map->infos[block].written;

	return kvs_part_is_whole(atomic_fetch_or_explicit(written, part, memory_order_seq_cst) | part, map->g.planes);
}

/* Has this part ended well? */
static inline bool kvs_part_ended(const struct kvs_map *map, uint32_t block, uint64_t part)
{
	return atomic_load_explicit(&map->infos[block].written, memory_order_relaxed) & part;
}

/* Are all parts whole? [publish] */
static inline bool kvs_part_whole(const struct kvs_map *map, uint32_t block)
{
	return kvs_part_is_whole(atomic_load_explicit(&map->infos[block].written, memory_order_seq_cst), map->g.planes);
}

#endif
