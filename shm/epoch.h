/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * epoch.h: read-side sections and grace periods over all processes of a store, in the manner of liburcu's memb flavour
 * (Desnoyers et al., "User-Level Implementations of Read-Copy Update", IEEE TPDS 2012), but with everything in the
 * segment, so that they span processes and survive their deaths.
 *
 * Guarantees: a block that went to LIMBO at epoch e is not reused while a section that was entered before it was
 * unlinked goes on. Entering and leaving write one line that no other process writes, wait for nobody, and cost no
 * locked instruction in membarrier mode. A stopped reader is never forced: reuse waits, nothing else does (D4).
 *
 * Inside a section nothing is allocated, waited for or called back.
 */
#ifndef KVS_EPOCH_H
#define KVS_EPOCH_H

#include <stdbool.h>

#include "map.h"

#define KVS_EPOCH_FIRST 16 /* so that a word of epoch 0 is old, and 0 in a reader slot means outside */

/* Can this process take part: 0, or -EOPNOTSUPP. Registers it for GLOBAL_EXPEDITED membarriers, which reach registered
 * processes only, and without an error for the others: so this comes before its first reader slot is visible. */
int kvs_epoch_register(bool fence);

/* Takes a free reader slot for owner (a slot + 1, perhaps with KVS_READER_RECOVERER). -EUSERS if none is left. */
int kvs_reader_take(const struct kvs_map *map, uint32_t owner, struct kvs_reader **reader);
void kvs_reader_give_back(struct kvs_reader *reader);

/* The store of the epoch is made visible before anything that the section reads: by the other side's
 * membarrier (or the fence here), which stands between its read of this slot and its believing that the reader has
 * left what it is about to reuse. So the store is relaxed; a look that finds it has seen the release of the last leave,
 * too (C11 5.1.2.4: the release sequence of that). The epoch is read before anything else (acquire): one that is read
 * after what the section found could be later by two than the block's removal, and let go of it one advance too early.
 * (tests/model/epochs.pml, fault 9) */
static inline void kvs_enter(const struct kvs_actor *actor)
{
	/* [section: enter] */
	uint64_t epoch = atomic_load_explicit(&actor->map->head->epoch, memory_order_acquire);

	atomic_store_explicit(&actor->reader->epoch, epoch, memory_order_relaxed);
	/* [section: enter] */
	if (actor->map->g.fence)
		atomic_thread_fence(memory_order_seq_cst);
	else
		atomic_signal_fence(memory_order_seq_cst);
}

/* [section: leave] Release: what the section read and wrote comes before a look that finds this slot at 0. */
static inline void kvs_leave(const struct kvs_actor *actor)
{
	atomic_store_explicit(&actor->reader->epoch, 0, memory_order_release);
}

/* Advances the epoch by one if no reader is in a section of an earlier one; returns whether it is later now than it
 * was at the call, by whomever. Outside of the caller's own section. */
bool kvs_epoch_advance(const struct kvs_actor *actor);

/* Is every reader outside of its section, after a barrier? Then whatever the caller saw unlinked and in LIMBO before
 * the call is reached by no section any more, and may be reused at once, without three advances: who enters later finds
 * it gone. (tests/model/quiet_look.pml.) Outside of the caller's own section. */
bool kvs_epoch_quiet(const struct kvs_actor *actor);

#endif
