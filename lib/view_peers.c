/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_peers.c: a store's connections to other nodes. Contract in kvshm.h.
 *
 * Guarantees: nothing is mapped or written; every number read is checked before it is used (F1). What is told is of one
 * connection: its entry is read twice, and again where the two differ. Relaxed: what is looked at are copies.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "peers.h"
#include "view.h"

#define TURNS 8 /* of an entry's reading, until it is passed over: others take it as fast as it is read */

static uint64_t word_of(const struct kvs_peer *entry)
{
	return atomic_load_explicit(&entry->word, memory_order_relaxed);
}

static bool is_used(const struct kvs_view *view, const struct kvs_peer *entry)
{
	return kvs_peer_state(word_of(entry)) == KVS_PEER_USED && kvs_peer_owner(word_of(entry)) < view->g.clients;
}

/* *used: there is a connection, and the entry is its. */
static int read_entry(const struct kvs_view *view, uint32_t peer, struct kvs_peer *entry, bool *used)
{
	uint64_t at = view->g.peers_at + peer * sizeof(*entry);
	int rc = kvs_inspect_read(view, at, entry, sizeof(*entry));

	*used = false;
	for (int turn = 0; rc == 0 && !*used && turn < TURNS && is_used(view, entry); turn++) {
		uint64_t was = word_of(entry);

		rc = kvs_inspect_read(view, at, entry, sizeof(*entry));
		*used = rc == 0 && word_of(entry) == was;
	}
	return rc;
}

/* Text of the other side's, or of whoever wrote into the segment: control characters are '?'. */
static void copy_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	to[size - 1] = '\0';
	for (char *c = to; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
}

#define COPY_TEXT(member)                                                                       \
	do {                                                                                    \
		_Static_assert(sizeof(to->member) == sizeof(from->member), "all of it is shown"); \
		copy_text(to->member, from->member, sizeof(to->member));                        \
	} while (0)

static void describe(const struct kvs_peer *from, const struct kvs_slot_view *slots, struct kvshm_peer_view *to)
{
	const struct kvs_slot_view *slot = &slots[kvs_peer_owner(word_of(from))];

	to->client = kvs_peer_owner(word_of(from));
	to->pid = slot->pid;
	copy_text(to->name, slot->name, sizeof(to->name));
	to->alive = slot->alive;
	to->outgoing = atomic_load_explicit(&from->outgoing, memory_order_relaxed) != 0;
	COPY_TEXT(transport);
	COPY_TEXT(device);
	COPY_TEXT(local);
	COPY_TEXT(remote);
	COPY_TEXT(node);
	COPY_TEXT(store);
	to->since = atomic_load_explicit(&from->since, memory_order_relaxed);
	to->round_trip = atomic_load_explicit(&from->round_trip, memory_order_relaxed);
#define KVS_PEER(counter, help) \
	to->counter = atomic_load_explicit(&from->counters[KVS_PEER_##counter], memory_order_relaxed);
#include "peers.def"
#undef KVS_PEER
	to->round_trip_mean = to->round_trips ? to->round_trips_ns / to->round_trips : 0;
}

int kvshm_view_peers(kvshm_view *view, int (*fn)(const struct kvshm_peer_view *peer, void *arg), void *arg)
{
	struct kvs_slot_view *slots = NULL;
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	rc = kvs_inspect_slots(&view->inner, &slots);
	for (uint32_t i = 0; rc == 0 && i < KVS_PEERS; i++) {
		struct kvshm_peer_view peer = {.peer = i};
		struct kvs_peer entry;
		bool used;

		rc = read_entry(&view->inner, i, &entry, &used);
		if (rc || !used)
			continue;
		describe(&entry, slots, &peer);
		rc = fn(&peer, arg);
	}
	free(slots);
	return rc;
}
