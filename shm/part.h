/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * part.h: the parts of a fill. A fill is whole when every plane is written, and its filler has said what the block is:
 * a bit each in the block's `written`, set once and only set; whoever sees them all may make the block READY
 * (table.h). A fill that is not shared begins with the bits of all planes.
 *
 * What becomes of a fill is decided in that one word: it is whole, or it has failed, whichever comes first, for good.
 * Whoever dooms a fill lets it fail first. Were the block's word to decide, writers could make a doomed fill whole, and
 * some who hold it would be told that it came to nothing, and others, later, that it is there (R26).
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
#define KVS_PART_FAILED (UINT64_C(1) << 33) /* it will not be whole */
#define KVS_PART_ALONE (UINT64_C(1) << 34)  /* it is not shared: no plane can be claimed */

static inline uint64_t kvs_part_plane(uint32_t plane)
{
	return UINT64_C(1) << plane;
}

/* The bits of so many planes, all of them. */
static inline uint64_t kvs_part_planes(uint32_t planes)
{
	return (UINT64_C(1) << planes) - 1;
}

/* A fill begins, by the owner of the block. Relaxed: nobody looks before the word is FILLING, which releases it. */
static inline void kvs_part_begin(const struct kvs_map *map, uint32_t block, bool shared)
{
	struct kvs_block_info *info = &map->infos[block];

	atomic_store_explicit(&info->claimed, shared ? 0 : UINT32_MAX, memory_order_relaxed);
	atomic_store_explicit(&info->written, shared ? 0 : kvs_part_planes(map->g.planes) | KVS_PART_ALONE,
			      memory_order_relaxed);
}

/* Becomes the writer of a plane: false if it has one. */
static inline bool kvs_part_claim(const struct kvs_map *map, uint32_t block, uint32_t plane)
{
	_Atomic uint32_t *claimed = &map->infos[block].claimed;
	uint32_t bit = (uint32_t)kvs_part_plane(plane);

	/* A look first (relaxed: the fetch-or decides), so that in the common case who comes second leaves no trace. */
	if (atomic_load_explicit(claimed, memory_order_relaxed) & bit)
		return false;
	/* [death: step] Behind the writer's count. */
	return !(atomic_fetch_or_explicit(claimed, bit, memory_order_seq_cst) & bit);
}

/* Is it one process that writes all planes? Relaxed: the bit is there before the block's word is FILLING, or never. */
static inline bool kvs_part_alone(const struct kvs_map *map, uint32_t block)
{
	return atomic_load_explicit(&map->infos[block].written, memory_order_relaxed) & KVS_PART_ALONE;
}

/* Do these bits say that a block of so many planes is whole? */
static inline bool kvs_part_is_whole(uint64_t written, uint32_t planes)
{
	uint64_t all = kvs_part_planes(planes) | KVS_PART_FILLER;

	return (written & (all | KVS_PART_FAILED)) == all;
}

/* Sets a bit of a fill that is neither whole nor failed; returns what it is then. */
static inline uint64_t kvs_part_set(const struct kvs_map *map, uint32_t block, uint64_t bit)
{
	_Atomic uint64_t *at = &map->infos[block].written;
	uint64_t written = atomic_load_explicit(at, memory_order_seq_cst);

	while (!(written & KVS_PART_FAILED) && !kvs_part_is_whole(written, map->g.planes))
		/* [publish: write] [decided: doom] Release: the part's bytes come before whoever sees the bit; acquire:
		 * so do the bytes of the others whose bits are seen, before the READY that follows. */
		if (atomic_compare_exchange_weak_explicit(at, &written, written | bit, memory_order_seq_cst,
							  memory_order_seq_cst))
			return written | bit;
	return written;
}

/* Ends a part well, unless the fill has failed; returns what it is then: see kvs_part_is_whole(). */
static inline uint64_t kvs_part_end(const struct kvs_map *map, uint32_t block, uint64_t part)
{
	return kvs_part_set(map, block, part);
}

/* Lets a fill fail, unless it is whole. In a section in which the block was seen to be FILLING, so that this is not its
 * next life. (tests/model/recovery_order.pml) */
static inline void kvs_part_fail(const struct kvs_map *map, uint32_t block)
{
	(void)kvs_part_set(map, block, KVS_PART_FAILED);
}

/* Has this part ended well? Relaxed: asked by the part's own writer, who reads nothing because of the answer. */
static inline bool kvs_part_ended(const struct kvs_map *map, uint32_t block, uint64_t part)
{
	return atomic_load_explicit(&map->infos[block].written, memory_order_relaxed) & part;
}

/* [decided: read] */
static inline bool kvs_part_failed(const struct kvs_map *map, uint32_t block)
{
	return atomic_load_explicit(&map->infos[block].written, memory_order_seq_cst) & KVS_PART_FAILED;
}

/* Are all parts whole? [publish: read] [decided: read] */
static inline bool kvs_part_whole(const struct kvs_map *map, uint32_t block)
{
	return kvs_part_is_whole(atomic_load_explicit(&map->infos[block].written, memory_order_seq_cst), map->g.planes);
}

#endif
