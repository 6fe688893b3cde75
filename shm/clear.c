/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * clear.c: see clear.h, and tests/model/block_life.pml.
 */
#include "config.h"

#include "clear.h"

#include <errno.h>

#include "fault.h"
#include "hold.h"
#include "table.h"

/* The one step. The floor is read relaxed: the CAS is tried again from what it finds. */
static int raise_floor(const struct kvs_actor *actor)
{
	_Atomic uint64_t *floor = &actor->map->head->floor;
	uint64_t now = atomic_load_explicit(floor, memory_order_relaxed);

	do {
		if (now > UINT64_MAX - KVS_CLEARS_ONE)
			return kvs_fault(EOVERFLOW, "the store was cleared too often to be cleared again: make a new "
						    "one (kvshmd --replace-dead)");
		/* [clear: raise] Release: what this process did before is seen by who finds the store cleared. */
	} while (!atomic_compare_exchange_weak_explicit(floor, &now, now + KVS_CLEARS_ONE, memory_order_seq_cst,
							memory_order_relaxed));
	kvs_count(actor, KVS_COUNT_clears);
	return 0;
}

/* [life: judge] */
static bool in_the_way(const struct kvs_map *map, uint32_t number)
{
	switch (kvs_word_state(atomic_load_explicit(&kvs_block(map, number)->word, memory_order_acquire))) {
	case KVS_FILLING:
	case KVS_READY:
	case KVS_REM_READY:
		return kvs_block_cleared(map, number);
	default:
		return false;
	}
}

/* Removes one block as if by its key: who dooms it holds it. A section for each, so that no grace period waits for the
 * whole walk. The life is relaxed: who takes a hold by it looks again. */
static void remove_cleared(const struct kvs_actor *actor, uint32_t number)
{
	uint64_t life = atomic_load_explicit(&kvs_block(actor->map, number)->life, memory_order_relaxed);
	enum kvs_taken taken;

	kvs_enter(actor);
	taken = kvs_cleared(actor->map, life) ? kvs_hold_take_life(actor, number, life) : KVS_GONE;
	if (taken == KVS_TAKEN || taken == KVS_TAKEN_FILLING || taken == KVS_TAKEN_DOOMED) {
		(void)kvs_table_doom(actor, number);
		(void)kvs_hold_release_inside(actor, number, life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	}
	kvs_leave(actor);
}

int kvs_clear(const struct kvs_actor *actor)
{
	int rc = raise_floor(actor);

	for (uint32_t i = 0; rc == 0 && i < actor->map->g.blocks; i++)
		if (in_the_way(actor->map, i))
			remove_cleared(actor, i);
	return rc;
}
