/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peer_counts.c: what is counted of a connection, in its store's table (shm/peers.h), from when it is up until what it
 * had is given up. One of a node without a store, and one that finds the table full, is not counted. What ends
 * connections is counted in the store, since the table forgets them.
 */
#include "config.h"

#include "peer_turn.h"

#include "internal.h"
#include "peers.h"

static bool is_counted(const struct kvr_peer *peer)
{
	return peer->stats != KVSHM_NO_SLOT;
}

void kvr_peer_is_up(struct kvr_peer *peer)
{
	kvshm_store *store = peer->node->store;
	struct kvr_link_info link;
	struct kvs_peer_about about = {
		.outgoing = peer->role == KVR_CONNECTOR,
		.transport = peer->transport->name,
		.device = link.device,
		.local = link.local,
		.remote = link.remote,
		.node = peer->name,
		.store = peer->store,
	};

	if (!store)
		return;
	peer->transport->describe(peer->link, &link);
	if (kvs_peer_take(&store->map, store->slot, &about, &peer->stats))
		peer->stats = KVSHM_NO_SLOT;
}

void kvr_peer_end_counting(struct kvr_peer *peer)
{
	if (is_counted(peer))
		kvs_peer_give_back(&peer->node->store->map, peer->stats);
	peer->stats = KVSHM_NO_SLOT;
}

void kvr_peer_count(struct kvr_peer *peer, unsigned counter, uint64_t n)
{
	if (is_counted(peer))
		kvs_peer_add(&peer->node->store->map, peer->stats, (enum kvs_peer_counter)counter, n);
}

/* The link counts from its beginning: what has come since the last time is added. */
void kvr_peer_count_link(struct kvr_peer *peer)
{
	const struct kvr_link_info *old = &peer->counted;
	struct kvr_link_info now;

	if (!is_counted(peer))
		return;
	peer->transport->describe(peer->link, &now);
	kvr_peer_count(peer, KVS_PEER_link_sent, now.bytes_sent - old->bytes_sent);
	kvr_peer_count(peer, KVS_PEER_link_received, now.bytes_received - old->bytes_received);
	kvr_peer_count(peer, KVS_PEER_windows_bound, now.windows_exposed - old->windows_exposed);
	kvr_peer_count(peer, KVS_PEER_windows_invalidated, now.windows_withdrawn - old->windows_withdrawn);
	kvr_peer_count(peer, KVS_PEER_windows_retired, now.windows_retired - old->windows_retired);
	kvr_peer_count(peer, KVS_PEER_retries, now.retries - old->retries);
	peer->counted = now;
}

void kvr_peer_count_round_trip(struct kvr_peer *peer)
{
	if (!is_counted(peer))
		return;
	kvs_peer_round_trip(&peer->node->store->map, peer->stats, peer->round_trip);
	kvr_peer_count_link(peer);
}

static enum kvs_counter kind_of(int reason)
{
	switch (reason) {
	case -EPROTO:
	case -EMEDIUMTYPE:
		return KVS_COUNT_peer_errors_message;
	case -EACCES:
		return KVS_COUNT_peer_errors_access;
	case -ETIMEDOUT:
		return KVS_COUNT_peer_errors_timeout;
	default:
		return KVS_COUNT_peer_errors_device;
	}
}

void kvr_peer_count_fault(const struct kvr_peer *peer, int reason)
{
	struct kvs_actor actor;

	if (reason == -ESHUTDOWN || !peer->node->store)
		return;
	if (kvl_begin(peer->node->store, &actor) == 0) /* a store that is lost counts nothing */
		kvs_count(&actor, kind_of(reason));
}
