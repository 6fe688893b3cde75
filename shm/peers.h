/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peers.h: the table of connections to other nodes, for people: who is connected, and what went over each connection.
 *
 * Guarantees: an entry has one owner, a client, from kvs_peer_take() until it is given back, by its owner or by the
 * recovery of that client; nothing else depends on what stands there. Who finds no free entry goes on uncounted. An
 * entry's counters are written by one thread at a time, without locked instructions; they begin at 0 with each
 * connection.
 *
 * Entry's word: 63..16 number: how often it was taken    15..4 owner: the client's slot    1..0 enum kvs_peer_state
 */
#ifndef KVS_PEERS_H
#define KVS_PEERS_H

#include "map.h"

static inline enum kvs_peer_state kvs_peer_state(uint64_t word)
{
	return (enum kvs_peer_state)(word & 3);
}

static inline uint32_t kvs_peer_owner(uint64_t word)
{
	return (uint32_t)(word >> 4 & 0xfff);
}

/* What a connection is; of longer texts what fits. */
struct kvs_peer_about {
	bool outgoing; /* made from here */
	const char *transport, *device, *local, *remote;
	const char *node, *store; /* as the other side calls itself */
};

/* Takes a free entry for a client's connection. -ENFILE: there is none. */
int kvs_peer_take(const struct kvs_map *map, uint32_t client, const struct kvs_peer_about *about, uint32_t *peer);

/* Gives it back. */
void kvs_peer_give_back(const struct kvs_map *map, uint32_t peer);

/* Gives back all of a client's that is at its end, or dead. */
void kvs_peer_give_back_all(const struct kvs_map *map, uint32_t client);

void kvs_peer_add(const struct kvs_map *map, uint32_t peer, enum kvs_peer_counter counter, uint64_t n);

/* Counts a round trip that was measured. */
void kvs_peer_round_trip(const struct kvs_map *map, uint32_t peer, uint64_t ns);

#endif
