/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * epoch.c: reader slots, and the look over them that advances the epoch. See epoch.h.
 *
 * A reader may read the epoch, be delayed, and store it when it is long past: it then stalls the next advance, and its
 * loads come after the barrier of every advance that did not see it, so that it can't reach what those let go. That
 * is why two epochs are enough for who comes through the index, and three for who comes by number.
 * (tests/model/epochs.pml; tests/model/rows.pml for the rows of counts; tests/model/slots.pml for who has a slot)
 */
#include "config.h"

#include "epoch.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"

static int membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

int kvs_epoch_register(bool fence)
{
	int have;

	if (fence)
		return 0;
	have = membarrier(MEMBARRIER_CMD_QUERY);
	if (have < 0 || !(have & MEMBARRIER_CMD_GLOBAL_EXPEDITED) || !(have & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
		return kvs_fault(EOPNOTSUPP, "the store uses membarrier(2), which this kernel or its seccomp filter "
					     "does not have: make the store in fence mode (kvshmd --fence)");
	if (membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
		return kvs_fault(EOPNOTSUPP,
				 "cannot register for membarrier(2): %s: make the store in fence mode "
				 "(kvshmd --fence)",
				 strerror(errno));
	return 0;
}

/* Raises the bound of the walks over reader slots, before the slot's first section. Read relaxed: it only goes up, and
 * who finds it high enough reads what another has raised. */
static void raise_top(struct kvs_head *head, uint32_t top)
{
	uint32_t seen = atomic_load_explicit(&head->readers_top, memory_order_relaxed);

	/* [section: enter] Who does not see it after its barrier, finds its section's loads behind that barrier. */
	while (seen < top && !atomic_compare_exchange_weak_explicit(&head->readers_top, &seen, top,
								    memory_order_seq_cst, memory_order_relaxed))
		;
}

/* The first look at an owner is relaxed: it only says where to try. */
int kvs_reader_take(const struct kvs_map *map, uint32_t owner, struct kvs_reader **reader)
{
	for (uint32_t i = 0; i < map->g.readers; i++) {
		struct kvs_reader *r = &map->readers[i];
		uint32_t nobody = 0;

		if (atomic_load_explicit(&r->owner, memory_order_relaxed)) /* the CAS has the last word */
			continue;
		raise_top(map->head, i + 1);
		/* [reader-slot: take] Acquire: its counts go on from those of the one before. */
		if (atomic_compare_exchange_strong_explicit(&r->owner, &nobody, owner, memory_order_acq_rel,
							    memory_order_relaxed)) {
			/* [reader-alone: take] */
			atomic_thread_fence(memory_order_seq_cst);
			*reader = r;
			return 0;
		}
	}
	return kvs_fault(EUSERS,
			 "all %u reader slots of the store are taken: fewer threads must use it, or the store "
			 "must be made for more clients (kvshmd --clients)",
			 map->g.readers);
}

void kvs_reader_give_back(struct kvs_reader *reader)
{
	atomic_store_explicit(&reader->epoch, 0, memory_order_release); /* [section: leave] */
	/* [reader-slot: give-back] */
	atomic_store_explicit(&reader->owner, 0, memory_order_release);
}

/* How many reader slots there are to look at. [section: look] Behind the barrier, or the fence of alone(). */
static uint32_t readers_to_see(const struct kvs_map *map)
{
	uint32_t top = atomic_load_explicit(&map->head->readers_top, memory_order_acquire);

	return top < map->g.readers ? top : map->g.readers;
}

/* Is the actor's reader slot the only one that is taken? [reader-alone: look] Who takes one later does so behind a
 * fence, and finds in its sections what was done before the fence here. Acquire: [reader-slot: take] what was done in a
 * reader slot that is nobody's comes before what follows. */
static bool alone(const struct kvs_actor *actor)
{
	const struct kvs_map *map = actor->map;
	uint32_t top;

	atomic_thread_fence(memory_order_seq_cst);
	top = readers_to_see(map);
	for (uint32_t i = 0; i < top; i++)
		if (&map->readers[i] != actor->reader &&
		    atomic_load_explicit(&map->readers[i].owner, memory_order_acquire))
			return false;
	return true;
}

/* [section: look] In membarrier mode this makes every running reader's epoch visible, and its loads late. It can't fail
 * once this process is registered. It interrupts every processor that runs a client, so it is left out where there is
 * no other. (tests/model/quiet_look.pml) */
static bool barrier(const struct kvs_actor *actor)
{
	if (actor->map->g.fence || alone(actor)) {
		atomic_thread_fence(memory_order_seq_cst);
		return true;
	}
	return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

bool kvs_epoch_advance(const struct kvs_actor *actor)
{
	const struct kvs_map *map = actor->map;
	/* Acquire: before the barrier, which so stands between this epoch's beginning and the looks. */
	uint64_t epoch = atomic_load_explicit(&map->head->epoch, memory_order_acquire);
	uint32_t top;

	if (!barrier(actor))
		return false;
	top = readers_to_see(map);
	for (uint32_t i = 0; i < top; i++) {
		uint64_t at = atomic_load_explicit(&map->readers[i].epoch, memory_order_acquire); /* [section: look] */

		if (at != 0 && at != epoch) {
			kvs_count(actor, KVS_COUNT_grace_stalls);
			return atomic_load_explicit(&map->head->epoch, memory_order_acquire) != epoch;
		}
	}
	/* [grace: advance] [limbo-epoch: advance] Acquire and release: the sections seen to have ended come before
	 * whatever the new epoch lets anyone reuse. */
	if (atomic_compare_exchange_strong_explicit(&map->head->epoch, &epoch, epoch + 1, memory_order_seq_cst,
						    memory_order_seq_cst))
		kvs_count(actor, KVS_COUNT_grace_periods);
	return true;
}

bool kvs_epoch_quiet(const struct kvs_actor *actor)
{
	const struct kvs_map *map = actor->map;
	uint32_t top;

	if (!barrier(actor))
		return false;
	top = readers_to_see(map);
	for (uint32_t i = 0; i < top; i++)
		if (atomic_load_explicit(&map->readers[i].epoch, memory_order_acquire)) /* [section: look] */
			return false;
	kvs_count(actor, KVS_COUNT_quiet_looks);
	return true;
}
