/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * client.c: taking a slot, leaving it, and giving rows back. See client.h, tests/model/slots.pml,
 * tests/model/dma_end.pml.
 */
#include "config.h"

#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "epoch.h"
#include "fault.h"
#include "files.h"
#include "lock.h"
#include "process.h"

/* [row-reserved: set] */
static void set_slot(const struct kvs_map *map, uint32_t slot, enum kvs_slot_state state)
{
	atomic_store_explicit(&map->clients[slot].word, (uint64_t)state, memory_order_seq_cst);
}

static off_t row_at(const struct kvs_map *map, uint32_t slot)
{
	return (off_t)(map->g.rows_at + slot * map->g.row_size);
}

/* [limbo-epoch: leave] [limbo-epoch: advance] Behind a look that found the slot IDLE; behind the advances. */
static uint64_t epoch_now(const struct kvs_map *map)
{
	return atomic_load_explicit(&map->head->epoch, memory_order_seq_cst);
}

static bool slot_free(const struct kvs_map *map, uint32_t slot)
{
	return !kvs_client_has_row(map, slot);
}

int kvs_client_reserve_row(const struct kvs_map *map, uint32_t slot)
{
	int error = kvs_files_reserve(map->fd, (uint64_t)row_at(map, slot), map->g.row_size);

	return error ? kvs_fault(error, "cannot reserve the %llu bytes of the counts of client %u: %s",
				 (unsigned long long)map->g.row_size, slot, strerror(error))
		     : 0;
}

/* Makes a locked, free slot LIVE. IDLE comes first: whoever dies in here leaves a row that is known as reserved. */
static int move_in(const struct kvs_map *map, uint32_t slot, const char *name)
{
	struct kvs_client *client = &map->clients[slot];
	int rc;

	set_slot(map, slot, KVS_SLOT_IDLE);
	rc = kvs_client_reserve_row(map, slot);
	if (rc)
		return rc;
	kvs_client_clear_readers(map, slot); /* of a trimmer who died */
	atomic_store_explicit(&client->pid, (int32_t)getpid(), memory_order_relaxed);
	atomic_store_explicit(&client->attached, (int64_t)time(NULL), memory_order_relaxed);
	(void)snprintf(client->name, sizeof(client->name), "%s", name);
	atomic_store_explicit(&client->dma, KVS_DMA_NONE, memory_order_relaxed); /* it may be the last client's */
	atomic_store_explicit(&client->planes, 0, memory_order_relaxed);
	set_slot(map, slot, KVS_SLOT_LIVE);
	return 0;
}

/* The mark behind what it needs, for a death in between. Relaxed: see layout.h. */
int kvs_client_set_dma(const struct kvs_map *map, uint32_t slot)
{
	struct kvs_client *client = &map->clients[slot];
	struct kvs_process self;
	int rc = kvs_process_self(&self);

	if (rc)
		return rc;
	atomic_store_explicit(&client->started, self.started, memory_order_relaxed);
	atomic_store_explicit(&client->home, self.home, memory_order_relaxed);
	atomic_store_explicit(&client->dma, KVS_DMA_DOES, memory_order_release); /* [death: step] */
	return 0;
}

bool kvs_client_dma_goes_on(const struct kvs_map *map, uint32_t slot)
{
	const struct kvs_client *client = &map->clients[slot];
	uint32_t dma = atomic_load_explicit(&client->dma, memory_order_acquire); /* [death: recover] */
	struct kvs_process process = {
		.pid = atomic_load_explicit(&client->pid, memory_order_relaxed),
		.started = atomic_load_explicit(&client->started, memory_order_relaxed),
		.home = atomic_load_explicit(&client->home, memory_order_relaxed),
	};

	return dma != KVS_DMA_NONE && dma != KVS_DMA_ENDED && kvs_process_look(&process) != KVS_PROCESS_ENDED;
}

bool kvs_client_read(const struct kvs_map *map, uint32_t slot, int32_t *pid, char name[KVS_CLIENT_NAME_SIZE])
{
	struct kvs_client client;
	off_t at = (off_t)(map->g.clients_at + slot * sizeof(client));

	if (slot >= map->g.clients || pread(map->probe, &client, sizeof(client), at) != (ssize_t)sizeof(client))
		return false;
	*pid = atomic_load_explicit(&client.pid, memory_order_relaxed); /* a copy, hence relaxed */
	memcpy(name, client.name, KVS_CLIENT_NAME_SIZE);
	name[KVS_CLIENT_NAME_SIZE - 1] = '\0';
	for (char *c = name; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	return true;
}

/* Moves into one slot if it is free: -EBUSY if it is, or may soon be, but not just now: locked by one who moves in,
 * trims its row or recovers it, or a dead client's. One whose DMA may go on is not waited for. */
static int try_slot(const struct kvs_map *map, const char *name, uint32_t slot)
{
	int rc;

	if (!slot_free(map, slot))
		return kvs_lock_alive(map->probe, slot) == 1 || kvs_client_dma_goes_on(map, slot) ? -EUSERS : -EBUSY;
	rc = kvs_lock_write(map->fd, slot);
	if (rc)
		return rc == -EAGAIN ? -EBUSY : rc;
	/* Its client may have come and died in between: that is recovery's. */
	rc = slot_free(map, slot) ? move_in(map, slot, name) : -EBUSY;
	if (rc)
		(void)kvs_lock_drop(map->fd, slot);
	return rc;
}

/* How many dead clients' slots wait for the end of their processes. */
static unsigned waiting(const struct kvs_map *map)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < map->g.clients; i++)
		count += !slot_free(map, i) && kvs_lock_alive(map->probe, i) == 0 && kvs_client_dma_goes_on(map, i);
	return count;
}

int kvs_client_attach(const struct kvs_map *map, const char *name, uint32_t *slot)
{
	bool busy = false;

	for (uint32_t i = 0; i < map->g.clients; i++) {
		int rc = try_slot(map, name, i);

		if (rc == 0)
			*slot = i;
		if (rc != -EBUSY && rc != -EUSERS)
			return rc;
		busy |= rc == -EBUSY;
	}
	if (busy)
		return kvs_fault(EBUSY, "the client slots that are free are locked just now");
	return kvs_fault(EUSERS,
			 "all %u client slots of the store are taken, %u of them by dead clients whose processes have "
			 "not ended (kvshm-stat): detach one, or make the store for more (kvshmd --clients)",
			 map->g.clients, waiting(map));
}

void kvs_client_leave(const struct kvs_map *map, uint32_t slot)
{
	set_slot(map, slot, KVS_SLOT_IDLE);
}

/* Relaxed: the lock comes behind whatever its owners did with a reader slot. */
void kvs_client_clear_readers(const struct kvs_map *map, uint32_t slot)
{
	for (uint32_t i = 0; i < map->g.readers; i++) {
		uint32_t owner = atomic_load_explicit(&map->readers[i].owner, memory_order_relaxed);

		if ((owner & ~KVS_READER_RECOVERER) == slot + 1)
			kvs_reader_give_back(&map->readers[i]);
	}
}

/* Waits out, without waiting, the sections that may have seen the slot LIVE: those that were entered before now. The
 * epoch is this call's own: one that the leaving client had noted could be long past by the time that it was stored.
 * (tests/model/rows.pml) */
static bool outlived(const struct kvs_actor *actor)
{
	uint64_t epoch = epoch_now(actor->map);

	if (kvs_epoch_quiet(actor))
		return true;
	for (int i = 0; i < KVS_GRACE; i++)
		if (!kvs_epoch_advance(actor))
			return false;
	return epoch_now(actor->map) - epoch >= KVS_GRACE;
}

/* Gives one idle row back, whose byte this process has write-locked. A punched hole reads as zeros, and the next client
 * reserves it anew. [row-reserved: look] Before the barrier: whose section begins behind that finds it IDLE, too. */
static void trim_row(struct kvs_map *map, uint32_t slot)
{
	struct kvs_actor actor = {.map = map, .row = kvs_row(map, slot), .self = slot};
	bool done;

	if (kvs_slot_state(atomic_load_explicit(&map->clients[slot].word, memory_order_seq_cst)) != KVS_SLOT_IDLE)
		return;
	kvs_client_clear_readers(map, slot);
	if (kvs_reader_take(map, (slot + 1) | KVS_READER_RECOVERER, &actor.reader))
		return;
	done = outlived(&actor);
	kvs_reader_give_back(actor.reader);
	if (done && fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, row_at(map, slot),
			      (off_t)map->g.row_size) == 0)
		set_slot(map, slot, KVS_SLOT_EMPTY);
}

/* Relaxed: who finds an idle slot looks again when it has its lock. */
void kvs_client_trim(struct kvs_map *map)
{
	for (uint32_t i = 0; i < map->g.clients; i++) {
		uint64_t word = atomic_load_explicit(&map->clients[i].word, memory_order_relaxed);

		if (kvs_slot_state(word) != KVS_SLOT_IDLE || kvs_lock_write(map->probe, i))
			continue;
		trim_row(map, i);
		(void)kvs_lock_drop(map->probe, i);
	}
}
