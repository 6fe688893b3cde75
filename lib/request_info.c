/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_info.c: what a request is, as people are told: of an attached store's, and, with view_requests.c, of a
 * view's. Contracts in kvshm.h.
 *
 * Guarantees: what is told is of one request, though its slot may be another's at any moment; numbers that make no
 * sense become "no owner", "no id", and ages of 0 (F1). Relaxed, all of it: it is written for people, by the request's
 * owner; the look at the word behind it says that it is still that request's.
 */
#include "config.h"

#include <string.h>

#include "lock.h"
#include "request.h"

_Static_assert(KVSHM_REQUEST_ID_MAX == KVS_REQUEST_ID_SIZE, "ids are copied as they are");
_Static_assert(KVSHM_REQUEST_CLOSED == KVS_REQUEST_CLOSED - 1 && KVSHM_REQUEST_OPENING == KVS_REQUEST_OPENING - 1,
	       "states follow from each other");

static uint64_t age(uint64_t since, uint64_t now)
{
	return since && since < now ? now - since : 0;
}

/* How many of those that wait come before a place that waits. */
static uint32_t ahead(const struct kvl_request_place *places, uint64_t place)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < places->requests; i++) {
		uint64_t other = atomic_load_explicit(&places->all[i], memory_order_relaxed);

		count += kvs_place_state(other) == KVS_PLACE_WAITING && other < place;
	}
	return count;
}

/* What it holds, and waits for; a closed one has nothing, whatever its owner last said. */
static void describe_holds(const struct kvs_request *from, const struct kvl_request_place *places,
			   struct kvshm_request_info *to)
{
	uint64_t place = atomic_load_explicit(&places->all[places->slot], memory_order_relaxed);

	to->held = atomic_load_explicit(&from->held, memory_order_relaxed);
	to->fills = atomic_load_explicit(&from->fills, memory_order_relaxed);
	to->room = atomic_load_explicit(&from->room, memory_order_relaxed);
	if (to->held || to->fills)
		to->held_age = age(atomic_load_explicit(&from->held_since, memory_order_relaxed), places->now);
	if (kvs_place_state(place) != KVS_PLACE_WAITING)
		return;
	to->wanted = atomic_load_explicit(&from->wanted, memory_order_relaxed);
	to->ahead = ahead(places, place);
}

void kvl_request_describe(const struct kvs_request *from, uint64_t word, const struct kvl_request_place *places,
			  struct kvshm_request_info *to)
{
	enum kvs_request_state state = kvs_request_state(word);

	memset(to, 0, sizeof(*to));
	to->request = kvl_request_value(places->incarnation, places->slot, word);
	to->owner = kvs_word_owner(word);
	to->completed = (word & KVS_REQUEST_COMPLETED) != 0;
	if (state <= KVS_REQUEST_CLAIMED) { /* its id and all else are still the last one's */
		to->state = KVSHM_REQUEST_OPENING;
		return;
	}
	to->state = (enum kvshm_request_state)(state - 1);
	to->attempt = atomic_load_explicit(&from->attempt, memory_order_relaxed);
	to->expected = atomic_load_explicit(&from->expected, memory_order_relaxed);
	to->claims = kvs_request_claims(from);
	to->age = age(atomic_load_explicit(&from->opened, memory_order_relaxed), places->now);
	if (state != KVS_REQUEST_CLOSED)
		describe_holds(from, places, to);
	to->id_length = kvs_request_read_id(from, to->id);
}

int kvshm_request_get_info(kvshm_store *store, const struct kvshm_request *request, struct kvshm_request_info *info)
{
	struct kvl_request_place places;
	struct kvshm_request_info seen;
	struct kvs_actor actor;
	uint64_t word;
	int rc = kvl_request_look(store, request, &actor, &word);

	if (rc == 0 && !info)
		rc = kvl_no_place();
	if (rc)
		return rc;
	places = (struct kvl_request_place){.all = store->map.places,
					    .slot = request->slot,
					    .requests = store->map.g.requests,
					    .incarnation = store->map.g.incarnation,
					    .now = kvs_now()};
	kvl_request_describe(&store->map.requests[request->slot], word, &places, &seen);
	if (!kvs_request_same(&store->map, request->slot, word)) /* behind all that was read */
		return kvl_request_ended(0);
	if (seen.owner >= store->map.g.clients)
		seen.owner = KVSHM_NO_SLOT;
	else if (seen.state != KVSHM_REQUEST_CLOSED)
		seen.owner_alive = kvs_lock_alive(store->map.probe, seen.owner) == 1;
	*info = seen;
	return 0;
}
