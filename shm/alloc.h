/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * alloc.h: finding a block for a fill. The hints (a bitmap of blocks that may be free, the hands, the number of idle
 * blocks) only say where to look: the block's word decides, one CAS takes it, and hints that a death left wrong are
 * mended by whoever passes.
 *
 * Guarantees: a block is given to one owner (B1); not before its grace period is over (reuse); a call neither waits
 * nor fails while a block is FREE, or in LIMBO for long enough, or can be evicted and no reader stalls the grace
 * period; but that nobody overtakes those who wait in line for room (room.h).
 */
#ifndef KVS_ALLOC_H
#define KVS_ALLOC_H

#include "map.h"

/* Takes a block: *block is OWNED by the actor. Outside of a section. -ENOSPC if there is none now, or those that wait
 * in line for room come first. */
int kvs_alloc(const struct kvs_actor *actor, uint32_t *block);

/* The same for a place in that line: *block is in its ROOM; -ENOSPC is neither told nor counted. want: how many blocks
 * the place needs yet, for which room is made at once. Not thorough: only what is idle, and not what could be evicted
 * or is a dead client's. */
int kvs_alloc_room(const struct kvs_actor *actor, uint32_t place, uint32_t want, bool thorough, uint32_t *block);

/* A block has become idle (LIMBO or FREE) by the caller's CAS. */
void kvs_alloc_idle(const struct kvs_map *map, uint32_t block);

/* The same for one of many: who waits for room is told by the caller, behind the last one, and not woken for each. */
void kvs_alloc_idle_of_many(const struct kvs_map *map, uint32_t block);

/* A block was seen idle: sets its hint if a death has lost it. */
void kvs_alloc_hint(const struct kvs_map *map, uint32_t block);

#endif
