/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * client.h: client slots and their rows.
 *
 * Guarantees: a slot is LIVE exactly while its client is attached or waits for recovery. The lock comes before the slot
 * at attach, and the slot before the lock at detach. A row is reserved before its slot is LIVE and is read only while
 * it is; it is given back once no section that saw the slot LIVE goes on. A death in between leaves an EMPTY or IDLE
 * slot, which the next client takes. (tests/model/rows.pml)
 */
#ifndef KVS_CLIENT_H
#define KVS_CLIENT_H

#include "map.h"

static inline enum kvs_slot_state kvs_slot_state(uint64_t word)
{
	return (enum kvs_slot_state)(word & 3);
}

/* [row-reserved: look] Acquire: the slot became LIVE after its row was reserved, so that reading it allocates nothing;
 * and is IDLE only behind all that its client did with what it held. Sequentially consistent, since it stands in the
 * look at the rows (hold-vs-remove). */
static inline bool kvs_client_has_row(const struct kvs_map *map, uint32_t slot)
{
	return kvs_slot_state(atomic_load_explicit(&map->clients[slot].word, memory_order_seq_cst)) == KVS_SLOT_LIVE;
}

/* Takes a free slot, locks it and reserves its row. -EUSERS if there is none (one whose dead client's DMA may go on is
 * none), -EBUSY if one may be free in a moment (a locked one, or a dead client's), -ENOSPC without memory for the
 * row. */
int kvs_client_attach(const struct kvs_map *map, const char *name, uint32_t *slot);

/* The slot's client, which is the caller, does DMA to or from the store's blocks from here on (verbs, a GPU's copies),
 * and says so for as long as it is attached: it calls this before it registers memory, and has ended all DMA when it
 * detaches. What a child of fork() keeps open of its devices outlasts the process that others look at: it must close
 * them (kept.h). Again is no error. -EOPNOTSUPP: others could not see that process's end: kvs_process_self() says why.
 */
int kvs_client_set_dma(const struct kvs_map *map, uint32_t slot);

/* May the devices of the slot's client, which is dead, still reach its blocks? Also where its process can't be seen
 * from here. */
bool kvs_client_dma_goes_on(const struct kvs_map *map, uint32_t slot);

/* Reserves a slot's row, if it is not: 0, or -ENOSPC. Its byte is locked, also by one who recovers it. */
int kvs_client_reserve_row(const struct kvs_map *map, uint32_t slot);

/* Gives a slot back whose client holds nothing any more. The lock is the caller's to drop, afterwards. */
void kvs_client_leave(const struct kvs_map *map, uint32_t slot);

/* What people know a slot's client by: its process and its name, in which control characters are '?'. As views do it
 * reads by pread(2), since the next client may be writing its own there: so the caller looks afterwards whether the
 * slot was still the one's that it means. False: it can't be read. */
bool kvs_client_read(const struct kvs_map *map, uint32_t slot, int32_t *pid, char name[KVS_CLIENT_NAME_SIZE]);

/* Clears all reader slots of a client. Only under the write lock of its byte. */
void kvs_client_clear_readers(const struct kvs_map *map, uint32_t slot);

/* Gives back the rows of slots that have been idle for a grace period. Called under map->recovering. */
void kvs_client_trim(struct kvs_map *map);

#endif
