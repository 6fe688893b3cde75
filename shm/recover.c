/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * recover.c: recovery of dead clients. See recover.h, and shm/README.md for the table of what a death leaves.
 *
 * The order for each block is: read the word, then the entry, then CAS from exactly that word. (Reading the entry first
 * would doom an innocent fill of the block's next life.) A recoverer acts in the name of the dead client, whose number
 * it uses in words, through a reader slot of its own that carries that number and a flag. Whoever takes the slot's byte
 * for itself alone, at the end, looks once more for both.
 * (tests/model/block_life.pml, tests/model/slots.pml, tests/model/recovery_order.pml,
 * tests/model/stale_ticket.pml)
 *
 * Of a client that does DMA each recoverer looks behind its own lock whether the process has ended, and once more when
 * it has the byte alone: who finds that it goes on gives up what waits for nothing, and says so in the slot, for who
 * comes later has nothing to do then; who finds that it has ended says that, for who can't see it.
 * (tests/model/dma_end.pml, tests/model/remote_fence.pml)
 */
#include "config.h"

#include "recover.h"

#include <errno.h>

#include "alloc.h"
#include "clear.h"
#include "client.h"
#include "epoch.h"
#include "fault.h"
#include "hold.h"
#include "lock.h"
#include "part.h"
#include "peers.h"
#include "process.h"
#include "remove.h"
#include "requests.h"
#include "room.h"
#include "wait.h"

/* Whose holds are ended, and how far. */
enum whose {
	OWN,	  /* a client lets go by itself */
	DEAD,	  /* a dead one's: all goes */
	DEAD_DMA, /* a dead one's whose devices may go on: what they may reach stays */
	NOBODYS,  /* likewise, and all else has gone: none, for now */
};

/* Ends what the word says that the client was doing with the block. (tests/model/parts.pml) */
static void end_work(const struct kvs_actor *actor, uint32_t number, uint64_t word, uint64_t counts,
		     enum whose whose)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	bool mine = kvs_word_owner(word) == actor->self;

	switch (kvs_word_state(word)) {
	case KVS_OWNED: /* [reuse: leave] */
		if (mine && whose != DEAD_DMA &&
		    atomic_compare_exchange_strong_explicit(&block->word, &word, kvs_word_next(word, KVS_FREE, 0),
							    memory_order_seq_cst, memory_order_relaxed))
			kvs_alloc_idle(actor->map, number);
		break;
	case KVS_FILLING:
		if ((mine || counts & KVS_ENTRY_WRITERS) && kvs_remove_doom(actor, number, word))
			kvs_count(actor, whose == OWN ? KVS_COUNT_give_ups : KVS_COUNT_recovered_fills);
		break;
	default:
		break;
	}
}

/* Heals a block that the walk passes, whoever left it. */
static void heal(const struct kvs_actor *actor, uint32_t number)
{
	/* [hold-vs-remove: hold] Behind the count, as who releases looks. */
	uint64_t word = atomic_load_explicit(&kvs_block(actor->map, number)->word, memory_order_seq_cst);

	switch (kvs_word_state(word)) {
	case KVS_FREE:
	case KVS_LIMBO:
		kvs_alloc_hint(actor->map, number);
		break;
	case KVS_ROOM:
		kvs_room_heal(actor, number);
		break;
	case KVS_FILLING: /* one who doomed it may have died on the way */
		if (kvs_part_failed(actor->map, number))
			(void)kvs_remove_doom(actor, number, word);
		break;
	case KVS_READY:
	case KVS_REM_READY:
	case KVS_DOOMED:
	case KVS_REM_DOOMED:
		(void)kvs_remove_try(actor, number, KVS_REMOVE_LAST);
		break;
	default:
		break;
	}
}

/* One block, in a section of its own, so that a grace period never waits for the whole walk. [death: recover] */
static void recover_block(const struct kvs_actor *actor, uint32_t number, enum whose whose)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	_Atomic uint64_t *at = &actor->row[number];
	uint64_t word, entry, counts;

	kvs_enter(actor);
	word = atomic_load_explicit(&block->word, memory_order_seq_cst); /* [life: judge] */
	entry = atomic_load_explicit(at, memory_order_seq_cst);
	counts = kvs_entry_counts(entry, atomic_load_explicit(&block->life, memory_order_seq_cst));
	end_work(actor, number, word, counts, whose);
	if (entry && whose != DEAD_DMA) {
		/* The note of its pins first: one is never there without a pin. Relaxed: the entry's store releases
		 * it. */
		atomic_store_explicit(&kvs_row_pins(actor->map, actor->row)[number], 0, memory_order_relaxed);
		/* [hold-vs-remove: hold] */
		atomic_store_explicit(at, 0, memory_order_seq_cst);
		if (counts && whose == DEAD)
			kvs_count(actor, KVS_COUNT_recovered_holds);
	}
	heal(actor, number);
	kvs_leave(actor);
}

/* [death: recover] Behind the fall of the lock, with whatever the dead one did. */
static bool concerned(const struct kvs_actor *actor, uint32_t number)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	enum kvs_state state = kvs_word_state(atomic_load_explicit(&block->word, memory_order_seq_cst));

	/* READY blocks of a keep store are the many that need nothing, unless the client held them. */
	return state != KVS_READY || actor->map->g.drop || kvs_block_cleared(actor->map, number) ||
	       atomic_load_explicit(&actor->row[number], memory_order_seq_cst);
}

/* All requests and blocks; returns about how many of these are idle (relaxed: a hint). Places in the line go first, so
 * that the walk finds whose blocks are free; requests are closed, and their slots free, when nothing is left of
 * them. */
static int64_t recover_all(const struct kvs_actor *actor, enum whose whose)
{
	const struct kvs_map *map = actor->map;
	int64_t idle = 0;

	kvs_request_abort_all(actor);
	for (uint32_t i = 0; i < map->g.blocks; i++) {
		enum kvs_state state;

		if (concerned(actor, i))
			recover_block(actor, i, whose);
		state = kvs_word_state(atomic_load_explicit(&kvs_block(map, i)->word, memory_order_relaxed));
		idle += state == KVS_FREE || state == KVS_LIMBO;
	}
	if (whose != DEAD_DMA)
		kvs_request_close_all(actor);
	kvs_wait_deafen(map, actor->self);
	kvs_peer_give_back_all(map, actor->self);
	return idle;
}

/* Lets readers that died in a section stall no grace period any more. Several recoverers may be at it, and one of them
 * may stop anywhere, and go on when the reader slot has long been another client's: so one of them takes each reader
 * slot for itself, by a CAS that can't succeed later. (No new client gets this number while the stopped one has its
 * read lock.) Reader slots of other recoverers are left alone; finish() clears what a recoverer that died leaves. */
static void clear_readers(const struct kvs_map *map, uint32_t slot)
{
	for (uint32_t i = 0; i < map->g.readers; i++) {
		uint32_t owner = slot + 1;

		/* [reader-slot: take] The dead one's counts are there: its lock fell behind them. */
		if (atomic_compare_exchange_strong_explicit(&map->readers[i].owner, &owner,
							    owner | KVS_READER_RECOVERER, memory_order_acq_rel,
							    memory_order_relaxed))
			kvs_reader_give_back(&map->readers[i]);
	}
}

void kvs_recover_self(const struct kvs_actor *actor)
{
	(void)recover_all(actor, OWN);
}

/* ---- A dead client ----------------------------------------------------------------------------------------- */

/* Relaxed: see layout.h. */
static uint32_t dma_of(const struct kvs_map *map, uint32_t slot)
{
	return atomic_load_explicit(&map->clients[slot].dma, memory_order_relaxed);
}

static void set_dma(const struct kvs_map *map, uint32_t slot, enum kvs_dma dma)
{
	atomic_store_explicit(&map->clients[slot].dma, dma, memory_order_relaxed);
}

/* How far its recovery can go by now, behind a lock on its byte: so the one that is looked at is the one that is
 * recovered. Who saw its process end says so before anything else: it may die on the way, and have been the last who
 * could see it. */
static enum whose judge(const struct kvs_map *map, uint32_t slot)
{
	uint32_t dma = dma_of(map, slot);

	if (dma == KVS_DMA_NONE)
		return DEAD;
	if (kvs_client_dma_goes_on(map, slot))
		return dma == KVS_DMA_WAITS ? NOBODYS : DEAD_DMA;
	set_dma(map, slot, KVS_DMA_ENDED);
	return DEAD;
}

/* Under a read lock on the slot's byte, which is given only when its client is dead. */
static int give_back_shared(struct kvs_map *map, uint32_t slot, enum whose whose)
{
	struct kvs_actor actor = {.map = map, .row = kvs_row(map, slot), .self = slot};
	int rc;

	clear_readers(map, slot);
	rc = kvs_reader_take(map, (slot + 1) | KVS_READER_RECOVERER, &actor.reader);
	if (rc)
		return rc;
	(void)recover_all(&actor, whose);
	kvs_reader_give_back(actor.reader);
	return 0;
}

/* Alone, all has been given up but what the devices may reach. */
static void leave_waiting(const struct kvs_map *map, uint32_t slot)
{
	const struct kvs_client *client = &map->clients[slot];
	int32_t pid = atomic_load_explicit(&client->pid, memory_order_relaxed); /* for people */
	const char *more = "";

	if (kvs_process_is_elsewhere(atomic_load_explicit(&client->home, memory_order_relaxed)))
		more = " of another pid namespace, which is not seen from here: until one attaches from there, or the "
		       "store is replaced; engines must share the pid namespace of kvshmd (hostPID, --pid host)";
	set_dma(map, slot, KVS_DMA_WAITS);
	kvs_log(KVS_LOG_NOTICE,
		"client %u is dead, and did DMA: its fills are given up; its blocks wait for the end of process %d%s",
		slot, (int)pid, more);
}

/* Under the write lock: no other recoverer is left, and none comes. One more walk, for what other recoverers in the
 * same name left; it sets the number of idle blocks right too, which deaths leave wrong. 1: the slot is free. */
static int finish(struct kvs_map *map, uint32_t slot, enum whose whose)
{
	struct kvs_actor actor = {.map = map, .row = kvs_row(map, slot), .self = slot};
	int rc = kvs_reader_take(map, (slot + 1) | KVS_READER_RECOVERER, &actor.reader);

	if (rc)
		return rc;
	atomic_store_explicit(&map->head->idle, recover_all(&actor, whose), memory_order_relaxed);
	if (whose == DEAD)
		kvs_count(&actor, KVS_COUNT_recoveries);
	kvs_client_clear_readers(map, slot); /* this call's own among them */
	if (whose == DEAD_DMA) {
		leave_waiting(map, slot);
		return 0;
	}
	kvs_client_leave(map, slot);
	return 1;
}

/* Turns the read lock on the slot's byte into a write lock. Where another recoverer is in the way, each lets go and
 * asks once more, so that the one who lets go last gets it, and the slot is freed. (One who attaches or trims may have
 * it at that moment, who saw the slot free before: that one lets go, and the next recovery frees the slot.) */
static int lock_alone(const struct kvs_map *map, uint32_t slot)
{
	int rc = kvs_lock_write(map->probe, slot);

	if (rc != -EAGAIN)
		return rc;
	(void)kvs_lock_drop(map->probe, slot);
	return kvs_lock_write(map->probe, slot);
}

static int recover_locked(struct kvs_map *map, uint32_t slot)
{
	enum whose whose;
	int rc;

	if (!kvs_client_has_row(map, slot))
		return 0; /* it left, or another has recovered it, in between */
	whose = judge(map, slot);
	if (whose == NOBODYS)
		return 0;
	/* It is reserved, unless the slot's word is nonsense: touching it in a full file system would raise SIGBUS. */
	rc = kvs_client_reserve_row(map, slot);
	if (rc == 0)
		rc = give_back_shared(map, slot, whose);
	if (rc == 0)
		rc = lock_alone(map, slot);
	if (rc)
		return rc == -EAGAIN ? 0 : rc; /* another recoverer will get it */
	/* It may have been freed, and even have had another client that died: that one is recovered as well. Or another
	 * recoverer left it to wait in between: one that dies in a section would stall those who only look. */
	if (!kvs_client_has_row(map, slot))
		return 0;
	whose = judge(map, slot);
	return whose == NOBODYS ? 0 : finish(map, slot, whose);
}

/* The first look, without a lock, is a hint: it keeps those who come by, and wait in slices, from locking a client that
 * waits. */
static int recover_one(struct kvs_map *map, uint32_t slot)
{
	int rc;

	if (!kvs_client_has_row(map, slot) ||
	    (dma_of(map, slot) == KVS_DMA_WAITS && kvs_client_dma_goes_on(map, slot)))
		return 0;
	rc = kvs_lock_read(map->probe, slot);
	if (rc)
		return rc == -EAGAIN ? 0 : rc; /* it lives */
	rc = recover_locked(map, slot);
	(void)kvs_lock_drop(map->probe, slot);
	if (rc > 0)
		kvs_log(KVS_LOG_NOTICE, "client %u is dead: what it held has been given back", slot);
	return rc;
}

int kvs_recover_slot(struct kvs_map *map, uint32_t slot)
{
	int rc;

	if (slot >= map->g.clients || pthread_mutex_trylock(&map->recovering))
		return 0;
	kvs_log_put_off();
	rc = kvs_map_whole(map);
	if (rc == 0)
		rc = recover_one(map, slot);
	(void)pthread_mutex_unlock(&map->recovering);
	kvs_log_go_on();
	return rc;
}

int kvs_recover_dead(struct kvs_map *map)
{
	int done = 0, error = 0;

	if (pthread_mutex_trylock(&map->recovering))
		return 0;
	kvs_log_put_off();
	error = kvs_map_whole(map);
	/* An error with one client keeps nobody from the others. */
	for (uint32_t i = 0; error != -EUCLEAN && i < map->g.clients; i++) {
		int rc = recover_one(map, i);

		if (rc < 0)
			error = rc;
		else
			done += rc;
	}
	if (error != -EUCLEAN)
		kvs_client_trim(map);
	(void)pthread_mutex_unlock(&map->recovering);
	kvs_log_go_on();
	return error ? error : done;
}
