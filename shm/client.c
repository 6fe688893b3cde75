/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * client.c: taking a slot, leaving it, and giving rows back. See client.h.
 */
#include "config.h"

#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "epoch.h"
#include "fault.h"
#include "lock.h"

#define BUSY_TRIES 50 /* 1 ms apart: a slot that stays locked for longer has a stopped process behind it */

static uint64_t slot_word(enum kvs_slot_state state, uint64_t epoch)
{
	return epoch << 16 | (uint64_t)state;
}

static off_t row_at(const struct kvs_map *map, uint32_t slot)
{
	return (off_t)(map->g.rows_at + slot * map->g.row_size);
}

static uint64_t epoch_now(const struct kvs_map *map)
{
	return atomic_load_explicit(&map->head->epoch, memory_order_seq_cst);
}

static bool slot_free(const struct kvs_map *map, uint32_t slot)
{
	return !kvs_client_has_row(map, slot);
}

/* Makes a locked, free slot LIVE. IDLE comes first: whoever dies in here leaves a row that is known as reserved. */
static int move_in(const struct kvs_map *map, uint32_t slot, const char *name)
{
	struct kvs_client *client = &map->clients[slot];

	atomic_store_explicit(&client->word, slot_word(KVS_SLOT_IDLE, epoch_now(map)), memory_order_seq_cst);
	if (fallocate(map->fd, 0, row_at(map, slot), (off_t)map->g.row_size)) {
		int error = errno;

		return kvs_fault(error, "cannot reserve the %llu bytes of this client's counts: %s",
				 (unsigned long long)map->g.row_size, strerror(error));
	}
	kvs_client_clear_readers(map, slot); /* of a trimmer who died */
	atomic_store_explicit(&client->pid, (int32_t)getpid(), memory_order_relaxed);
	atomic_store_explicit(&client->attached, (int64_t)time(NULL), memory_order_relaxed);
	(void)snprintf(client->name, sizeof(client->name), "%s", name);
	/* [row-reserved] */
	atomic_store_explicit(&client->word, slot_word(KVS_SLOT_LIVE, epoch_now(map)), memory_order_seq_cst);
	return 0;
}

/* Goes over the slots once: -EBUSY if a free one was locked for the moment, by one who moves in, trims its row, or has
 * not noticed yet that its recovery is done. */
static int try_slots(const struct kvs_map *map, const char *name, uint32_t *slot)
{
	bool busy = false;

	for (uint32_t i = 0; i < map->g.clients; i++) {
		int rc;

		if (!slot_free(map, i))
			continue;
		rc = kvs_lock_write(map->fd, i);
		if (rc == -EAGAIN) {
			busy = true;
			continue;
		}
		if (rc)
			return rc;
		/* Its client may have come and died in between: that is recovery's. */
		rc = slot_free(map, i) ? move_in(map, i, name) : -EAGAIN;
		if (rc == 0) {
			*slot = i;
			return 0;
		}
		(void)kvs_lock_drop(map->fd, i);
		if (rc != -EAGAIN)
			return rc;
	}
	return busy ? -EBUSY : -EUSERS;
}

int kvs_client_attach(const struct kvs_map *map, const char *name, uint32_t *slot)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	int rc = try_slots(map, name, slot);

	for (int i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		(void)nanosleep(&moment, NULL);
		rc = try_slots(map, name, slot);
	}
	if (rc == -EBUSY || rc == -EUSERS)
		return kvs_fault(EUSERS,
				 "all %u client slots of the store are taken: detach one, or make the store for "
				 "more (kvshmd --clients)",
				 map->g.clients);
	return rc;
}

void kvs_client_leave(const struct kvs_map *map, uint32_t slot)
{
	atomic_store_explicit(&map->clients[slot].word, slot_word(KVS_SLOT_IDLE, epoch_now(map)), memory_order_seq_cst);
}

void kvs_client_clear_readers(const struct kvs_map *map, uint32_t slot)
{
	for (uint32_t i = 0; i < map->g.readers; i++) {
		uint32_t owner = atomic_load_explicit(&map->readers[i].owner, memory_order_acquire);

		if ((owner & ~KVS_READER_RECOVERER) == slot + 1)
			kvs_reader_give_back(&map->readers[i]);
	}
}

/* Gives one idle row back, whose byte this process has write-locked. A punched hole reads as zeros, and the next client
 * reserves it anew. */
static void trim_row(struct kvs_map *map, uint32_t slot)
{
	struct kvs_actor actor = {.map = map, .self = slot};
	uint64_t word = atomic_load_explicit(&map->clients[slot].word, memory_order_seq_cst);

	if (kvs_slot_state(word) != KVS_SLOT_IDLE)
		return;
	kvs_client_clear_readers(map, slot);
	if (kvs_reader_take(map, (slot + 1) | KVS_READER_RECOVERER, &actor.reader))
		return;
	for (int i = 0; i < KVS_GRACE && epoch_now(map) - (word >> 16) < KVS_GRACE; i++)
		if (!kvs_epoch_advance(&actor))
			break;
	kvs_reader_give_back(actor.reader);
	if (epoch_now(map) - (word >> 16) < KVS_GRACE)
		return;
	if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, row_at(map, slot), (off_t)map->g.row_size) ==
	    0)
		atomic_store_explicit(&map->clients[slot].word, slot_word(KVS_SLOT_EMPTY, 0), memory_order_seq_cst);
}

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
