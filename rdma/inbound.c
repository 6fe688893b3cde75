/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inbound.c: one request that comes in: its opening, its keys and its fills; see inbound.h for its states. It is an
 * engine's request like any other, made of the library's own calls: what a death here leaves is ended by recovery.
 *
 * Guarantees: none of these calls waits. Every key that an incoming was told is here is held by the request until its
 * end (R02). A fill is published once all planes are whole and fenced, and given up once it is fenced (E2, R23).
 * (tests/model/remote_fence.pml)
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "wait.h"

#define SOME 64U /* positions that are asked for at once */

/* ---- Opening --------------------------------------------------------------------------------------------------- */

static struct kvr_inbound *new_inbound(struct kvr_receiver *receiver, const struct kvr_open *open,
				       struct kvr_wished *wished)
{
	struct kvr_inbound *inbound = calloc(1, sizeof(*inbound));

	if (!inbound)
		return NULL;
	*inbound = (struct kvr_inbound){.receiver = receiver, .blocks = open->blocks, .attempt = open->attempt,
					.pending = KVR_NO_POSITION, .id_length = open->id.length};
	if (wished) {
		inbound->attempt = wished->wish.attempt;
		inbound->id_length = wished->wish.id_length;
		memcpy(inbound->id, wished->id, wished->wish.id_length);
	} else if (open->id.length) {
		memcpy(inbound->id, open->id.bytes, open->id.length);
	}
	inbound->put = inbound->id_length == 0 && !wished;
	inbound->deadline = kvs_now() + open->room * UINT64_C(1000000);
	return inbound;
}

/* A place in the line, and one for each position. */
static int take_place(struct kvr_inbound *inbound)
{
	kvshm_store *store = inbound->receiver->store;
	int rc = kvshm_request_queue(store, &inbound->request, inbound->blocks, inbound->deadline);

	if (rc && rc != -EINPROGRESS)
		return rc;
	inbound->state = rc ? KVR_INBOUND_ROOM : KVR_INBOUND_FILLING;
	inbound->positions = calloc(inbound->blocks ? inbound->blocks : 1, sizeof(*inbound->positions));
	return inbound->positions ? 0 : kvs_fault(ENOMEM, "no memory for a request of %u blocks", inbound->blocks);
}

int kvr_inbound_open(struct kvr_receiver *receiver, const struct kvr_open *open, struct kvr_wished *wished,
		     struct kvr_inbound **inbound)
{
	struct kvr_inbound *made = new_inbound(receiver, open, wished);
	int rc;

	if (!made)
		return kvs_fault(ENOMEM, "no memory for a request");
	rc = kvshm_request_open(receiver->store, made->id_length ? made->id : NULL, made->id_length,
				made->attempt, made->blocks, &made->request);
	if (rc == 0) {
		rc = take_place(made);
		if (rc) /* what it has is let go of; the text stays */
			(void)kvshm_request_end(receiver->store, &made->request);
	}
	if (rc) {
		free(made);
		return rc;
	}
	made->wished = wished;
	if (wished)
		wished->inbound = made;
	made->next = receiver->inbounds;
	receiver->inbounds = made;
	*inbound = made;
	return 0;
}

/* ---- Offers ---------------------------------------------------------------------------------------------------- */

static bool is_same_key(const struct kvr_position *at, const struct kvr_offer *offer)
{
	return at->offered && at->offered->length == offer->key.length &&
	       memcmp(at->offered->key, offer->key.bytes, offer->key.length) == 0;
}

static struct kvr_offered *keep(const struct kvr_offer *offer)
{
	struct kvr_offered *offered = malloc(sizeof(*offered) + offer->key.length);

	if (!offered)
		return NULL;
	offered->meta = (struct kvshm_meta){.length = offer->length, .depth = offer->depth};
	memcpy(offered->meta.opaque, offer->opaque, sizeof(offered->meta.opaque));
	offered->length = offer->key.length;
	memcpy(offered->key, offer->key.bytes, offer->key.length);
	return offered;
}

/* A key that the store can't have, or that is none of those that were wanted, is refused alone (R24). It is kept all
 * the same: the others who offer it are to offer the same. */
int kvr_inbound_offer(struct kvr_inbound *inbound, const struct kvr_offer *offer)
{
	const struct kvshm_geometry *geometry = &inbound->receiver->geometry;
	struct kvr_position *at = &inbound->positions[offer->position];

	if (at->state != KVR_POSITION_NONE)
		return is_same_key(at, offer) ? 0
					      : kvs_fault(EINVAL, "position %u was offered with another key by another "
								  "sender of the request", offer->position);
	at->offered = keep(offer);
	if (!at->offered)
		return kvs_fault(ENOMEM, "no memory for what is offered");
	at->state = KVR_POSITION_OFFERED;
	if (offer->key.length > geometry->key_max || offer->length > geometry->block_size)
		kvr_inbound_fail(inbound, offer->position, -EINVAL);
	else if (inbound->wished && !kvr_wish_has(inbound->wished, offer->key))
		kvr_inbound_fail(inbound, offer->position, -EPERM);
	return 0;
}

/* ---- Positions ------------------------------------------------------------------------------------------------- */

static void set_failed(struct kvr_inbound *inbound, struct kvr_position *at, int result)
{
	at->state = KVR_POSITION_FAILED;
	at->result = result;
	inbound->settled++;
}

void kvr_inbound_set_here(struct kvr_inbound *inbound, struct kvr_position *at)
{
	at->state = KVR_POSITION_HERE;
	inbound->settled++;
	inbound->here++;
}

/* Its filler's end: nothing lands in it any more. The store's descriptor tells other clients of it: requests of this
 * one that wait for the key are looked at anyway. */
void kvr_inbound_end_fill(struct kvr_inbound *inbound, struct kvr_position *at)
{
	kvshm_store *store = inbound->receiver->store;
	int rc = at->result;

	if (rc == 0 && inbound->state == KVR_INBOUND_ENDING)
		rc = -ECANCELED;
	if (rc == 0 && at->written != inbound->receiver->all_planes)
		return; /* others' planes are awaited */
	if (rc == 0)
		rc = kvshm_publish(store, &at->handle, &at->offered->meta);
	inbound->fills_ended++;
	kvr_receiver_wake_at(inbound->receiver, 0);
	if (rc == 0) {
		kvr_inbound_set_here(inbound, at);
		return;
	}
	if (at->handle.kind == KVSHM_WRITER)
		(void)kvshm_give_up(store, &at->handle); /* of a store that was destroyed there is nothing to give up */
	set_failed(inbound, at, rc);
}

void kvr_inbound_fenced(struct kvr_inbound *inbound, uint32_t position, uint32_t planes, int result)
{
	struct kvr_position *at = &inbound->positions[position];

	at->runs--;
	at->written |= planes;
	if (result && at->result == 0)
		at->result = result;
	if (at->runs == 0)
		kvr_inbound_end_fill(inbound, at);
}

void kvr_inbound_fail(struct kvr_inbound *inbound, uint32_t position, int result)
{
	struct kvr_position *at = &inbound->positions[position];

	if (at->state != KVR_POSITION_FILL) {
		set_failed(inbound, at, result);
		return;
	}
	at->result = result;
	if (at->runs == 0)
		kvr_inbound_end_fill(inbound, at);
}

void kvr_inbound_push_pending(struct kvr_inbound *inbound, uint32_t position)
{
	inbound->positions[position].next = inbound->pending;
	inbound->pending = position;
}

/* Another fills it. A look that says "not yet" is what has the store tell of that one's death, too (kvshm_poll_fd()).
 * -EBADF: it is a fill of this request's own, for another position, whose end comes here anyway. */
static void wait_for(struct kvr_inbound *inbound, uint32_t position)
{
	struct kvr_position *at = &inbound->positions[position];
	int rc = kvshm_wait(inbound->receiver->store, &at->handle, 0);

	if (rc == 0) {
		kvr_inbound_set_here(inbound, at);
		return;
	}
	at->state = KVR_POSITION_PENDING;
	kvr_inbound_push_pending(inbound, position);
	if (rc != -ETIMEDOUT && rc != -EBADF)
		kvr_receiver_wake_at(inbound->receiver, 0);
}

/* What the store said of a key. */
static void take(struct kvr_inbound *inbound, uint32_t position, int result, enum kvshm_outcome outcome)
{
	struct kvr_position *at = &inbound->positions[position];

	if (result)
		set_failed(inbound, at, result);
	else if (outcome == KVSHM_READY)
		kvr_inbound_set_here(inbound, at);
	else if (outcome == KVSHM_PENDING)
		wait_for(inbound, position);
	else {
		at->state = KVR_POSITION_FILL;
		kvr_inbound_went_on(inbound); /* whose writing it is has its time from now on */
	}
}

static void ask_some(struct kvr_inbound *inbound, const uint32_t *positions, size_t count)
{
	struct kvshm_handle handles[SOME];
	enum kvshm_outcome outcomes[SOME];
	struct kvshm_key keys[SOME] = {{0}};
	int results[SOME], rc;

	for (size_t i = 0; i < count; i++) {
		const struct kvr_offered *offered = inbound->positions[positions[i]].offered;

		keys[i] = (struct kvshm_key){offered->key, offered->length};
	}
	rc = kvshm_request_get_or_fill_batch(inbound->receiver->store, &inbound->request, keys, count, outcomes,
					     handles, results);
	if (rc) {
		kvr_inbound_abort(inbound, rc, kvs_fault_text());
		return;
	}
	for (size_t i = 0; i < count; i++) {
		inbound->positions[positions[i]].handle = handles[i];
		take(inbound, positions[i], results[i], outcomes[i]);
	}
}

void kvr_inbound_ask(struct kvr_inbound *inbound, const uint32_t *positions, size_t count)
{
	uint32_t some[SOME];
	size_t n = 0;

	for (size_t i = 0; i < count && inbound->state == KVR_INBOUND_FILLING; i++) {
		if (inbound->positions[positions[i]].state == KVR_POSITION_OFFERED)
			some[n++] = positions[i];
		if (n && (n == SOME || i + 1 == count)) {
			ask_some(inbound, some, n);
			n = 0;
		}
	}
	if (inbound->state != KVR_INBOUND_FILLING && inbound->state != KVR_INBOUND_COMPLETE)
		return;
	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = incoming->sibling)
		kvr_grants_answer(incoming, positions, count);
}
