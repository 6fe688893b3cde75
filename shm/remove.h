/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remove.h: how a block ends. Eviction, removal of a key, giving up, last-reference removal and recovery all go
 * through these calls.
 *
 * Guarantees: a block is freed exactly once (C1), and never while anyone holds it (B1). Only DOOMED leads to LIMBO, so
 * a block that may still be taken back is still in the index. Who loses a CAS to another's REMOVING leaves: that one
 * looks at the rows later. Who finds that another has put the block back instead tries again: it may have been put back
 * for this one's own hold, which has ended since. Who put it back does not: so nobody waits, and no two processes take
 * it from each other for ever (D4).
 *
 * All are called inside a section.
 */
#ifndef KVS_REMOVE_H
#define KVS_REMOVE_H

#include "map.h"

enum kvs_remove_why {
	KVS_REMOVE_LAST,  /* the last hold ended, or a sweep found it so: a READY block of a keep store stays, unless
			   * the store was cleared since */
	KVS_REMOVE_EVICT, /* its room is needed: READY goes too */
};

/* Tries to remove a block that nobody holds, from whatever state it is in; true if it went to LIMBO by this call. */
bool kvs_remove_try(const struct kvs_actor *actor, uint32_t number, enum kvs_remove_why why);

/* Dooms a block from exactly this word, hides it and wakes who waits for it; false if the word had changed. The caller
 * holds it, or recovers its owner, or was its filler and has let go of it (kvs_hold_look()); its release, or its look,
 * then removes it. */
bool kvs_remove_doom(const struct kvs_actor *actor, uint32_t number, uint64_t word);

/* Takes a block whose word is DOOMED or beyond out of its chain: kvs_index_unlink(), and nonsense that it meets is
 * counted (F1). */
int kvs_remove_unlink(const struct kvs_actor *actor, uint32_t number);

#endif
