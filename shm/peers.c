/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peers.c: see peers.h.
 */
#include "config.h"

#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "fault.h"

#define NUMBER_ONE (UINT64_C(1) << 16)

static uint64_t word_of(uint64_t number, uint32_t client, enum kvs_peer_state state)
{
	return (number & ~(NUMBER_ONE - 1)) | (uint64_t)client << 4 | state;
}

/* Moves an entry on, from exactly that word. [peer: take] [peer: give-back] */
static bool move(struct kvs_peer *entry, uint64_t word, uint64_t next)
{
	return atomic_compare_exchange_strong_explicit(&entry->word, &word, next, memory_order_acq_rel,
						       memory_order_relaxed);
}

/* Relaxed, as all but the word: written by the entry's owner, for people. */
static void clear(struct kvs_peer *entry)
{
	for (unsigned i = 0; i < KVS_PEER_COUNTERS; i++)
		atomic_store_explicit(&entry->counters[i], 0, memory_order_relaxed);
	atomic_store_explicit(&entry->round_trip, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->since, (int64_t)time(NULL), memory_order_relaxed);
}

static void describe(struct kvs_peer *entry, const struct kvs_peer_about *about)
{
	/* Relaxed: as in clear(). */
	atomic_store_explicit(&entry->outgoing, about->outgoing, memory_order_relaxed);
	(void)snprintf(entry->transport, sizeof(entry->transport), "%s", about->transport);
	(void)snprintf(entry->device, sizeof(entry->device), "%s", about->device);
	(void)snprintf(entry->local, sizeof(entry->local), "%s", about->local);
	(void)snprintf(entry->remote, sizeof(entry->remote), "%s", about->remote);
	(void)snprintf(entry->node, sizeof(entry->node), "%s", about->node);
	(void)snprintf(entry->store, sizeof(entry->store), "%s", about->store);
}

int kvs_peer_take(const struct kvs_map *map, uint32_t client, const struct kvs_peer_about *about, uint32_t *peer)
{
	for (uint32_t i = 0; i < KVS_PEERS; i++) {
		struct kvs_peer *entry = &map->peers[i];
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed); /* relaxed: the CAS decides */
		uint64_t taken = word_of(word + NUMBER_ONE, client, KVS_PEER_TAKEN);

		if (kvs_peer_state(word) != KVS_PEER_FREE || !move(entry, word, taken))
			continue;
		clear(entry);
		describe(entry, about);
		(void)move(entry, taken, word_of(taken, client, KVS_PEER_USED));
		*peer = i;
		return 0;
	}
	return kvs_routine(ENFILE, "the store's table of connections is full: this one is not shown");
}

static void free_entry(struct kvs_peer *entry, uint64_t word)
{
	(void)move(entry, word, word_of(word, 0, KVS_PEER_FREE));
}

void kvs_peer_give_back(const struct kvs_map *map, uint32_t peer)
{
	struct kvs_peer *entry = &map->peers[peer];

	/* Relaxed: the caller's own. */
	free_entry(entry, atomic_load_explicit(&entry->word, memory_order_relaxed));
}

void kvs_peer_give_back_all(const struct kvs_map *map, uint32_t client)
{
	for (uint32_t i = 0; i < KVS_PEERS; i++) {
		struct kvs_peer *entry = &map->peers[i];
		/* Relaxed: the client's own; or behind the fall of its lock, and what another recoverer does meanwhile
		 * makes the CAS fail. */
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);

		if (kvs_peer_state(word) != KVS_PEER_FREE && kvs_peer_owner(word) == client)
			free_entry(entry, word);
	}
}

void kvs_peer_add(const struct kvs_map *map, uint32_t peer, enum kvs_peer_counter counter, uint64_t n)
{
	_Atomic uint64_t *at = &map->peers[peer].counters[counter];

	/* Relaxed: one thread writes it, at a time, and people read it. */
	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

void kvs_peer_round_trip(const struct kvs_map *map, uint32_t peer, uint64_t ns)
{
	/* Relaxed: as above. */
	atomic_store_explicit(&map->peers[peer].round_trip, ns, memory_order_relaxed);
	kvs_peer_add(map, peer, KVS_PEER_round_trips, 1);
	kvs_peer_add(map, peer, KVS_PEER_round_trips_ns, ns);
}
