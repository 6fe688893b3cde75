/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inbound_work.c: what a request that comes in waits for: room, fills of others, its engine's end, claims, senders that
 * are to drain. Guarantees: none of it blocks; whatever it waits for has an end that comes by itself: a deadline, a
 * death that the store tells of, or the end of a connection (D4, R07). (tests/model/remote_fence.pml)
 */
#include "config.h"

#include "inbound.h"

#include <string.h>

#include "fault.h"
#include "wait.h"

#define SOME 64U /* positions that are asked for at once */

/* ---- Time, and the store --------------------------------------------------------------------------------------- */

/* What was offered while it waited is asked for. */
static void begin(struct kvr_inbound *inbound)
{
	uint32_t some[SOME];
	size_t n = 0;

	inbound->state = KVR_INBOUND_FILLING;
	kvr_inbound_went_on(inbound);
	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = incoming->sibling)
		if (incoming->state == KVR_INCOMING_ASKED)
			kvr_incoming_opened(incoming, 0, "");
	for (uint32_t i = 0; i < inbound->blocks && inbound->state == KVR_INBOUND_FILLING; i++) {
		if (inbound->positions[i].state != KVR_POSITION_NONE)
			some[n++] = i;
		if (n && (n == SOME || i + 1 == inbound->blocks)) {
			kvr_inbound_ask(inbound, some, n);
			n = 0;
		}
	}
}

void kvr_inbound_went_on(struct kvr_inbound *inbound)
{
	const struct kvr_receiver *receiver = inbound->receiver;

	inbound->went_on = kvs_now();
	if (receiver->node->fill_timeout)
		kvr_receiver_wake_at(receiver, inbound->went_on + receiver->node->fill_timeout);
}

/* Is it for its senders to go on? Not where all that is missing is filled by others. */
static bool awaits_senders(const struct kvr_inbound *inbound)
{
	uint32_t missing = inbound->blocks - inbound->settled;

	for (uint32_t i = inbound->pending; i != KVR_NO_POSITION; i = inbound->positions[i].next)
		missing--;
	return missing != 0;
}

/* What has room and grants, and whose senders do nothing with it, holds blocks that others could have. Bytes that come
 * are seen over TCP only, and of a connection, not of a transfer. Returns when to look again. */
static uint64_t look_at_progress(struct kvr_inbound *inbound, uint64_t now)
{
	const uint64_t timeout = inbound->receiver->node->fill_timeout;
	uint64_t since = inbound->went_on;

	if (!timeout || inbound->state != KVR_INBOUND_FILLING)
		return UINT64_MAX;
	for (const struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = incoming->sibling)
		if (incoming->source->peer->wrote > since)
			since = incoming->source->peer->wrote;
	if (now < since + timeout)
		return since + timeout;
	if (awaits_senders(inbound))
		kvr_inbound_abort(inbound, -ETIMEDOUT, "its senders have not gone on for the fill timeout");
	return UINT64_MAX; /* what is granted once others have failed begins a time of its own */
}

static void look_for_room(struct kvr_inbound *inbound)
{
	int rc = kvshm_request_wait_room(inbound->receiver->store, &inbound->request, 0);

	if (rc == 0)
		begin(inbound);
	else if (rc != -EINPROGRESS)
		kvr_inbound_abort(inbound, rc, kvs_fault_text());
}

/* What others fill: it is here, or to be asked for again, or still pending. What this request fills itself, for another
 * position (-EBADF), is asked for again when one of its fills has ended. */
static void look_at_pending(struct kvr_inbound *inbound)
{
	const bool fills_ended = inbound->fills_ended != inbound->fills_seen;
	uint32_t todo = inbound->pending, some[SOME];
	size_t n = 0;

	inbound->pending = KVR_NO_POSITION;
	inbound->fills_seen = inbound->fills_ended;
	while (todo != KVR_NO_POSITION && inbound->state == KVR_INBOUND_FILLING) {
		struct kvr_position *at = &inbound->positions[todo];
		uint32_t position = todo;
		int rc = kvshm_wait(inbound->receiver->store, &at->handle, 0);

		todo = at->next;
		if (rc == -ETIMEDOUT || (rc == -EBADF && !fills_ended)) {
			kvr_inbound_push_pending(inbound, position);
		} else {
			if (rc == 0)
				kvr_inbound_set_here(inbound, at);
			else
				at->state = KVR_POSITION_OFFERED;
			some[n++] = position;
		}
		if (n && (n == SOME || todo == KVR_NO_POSITION)) {
			kvr_inbound_ask(inbound, some, n);
			n = 0;
		}
	}
	if (n)
		kvr_inbound_ask(inbound, some, n);
}

/* Has its end been asked for, by an engine here, or come? */
static void look_for_end(struct kvr_inbound *inbound, uint64_t now)
{
	struct kvshm_request_info info;
	int rc = kvshm_request_get_info(inbound->receiver->store, &inbound->request, &info);

	if (rc == 0 && info.state >= KVSHM_REQUEST_ENDING)
		rc = -ECANCELED;
	if (rc) {
		kvr_inbound_abort(inbound, rc, "an engine here has asked for the end of the request");
		return;
	}
	if (inbound->state != KVR_INBOUND_COMPLETE)
		return;
	if (info.claims != inbound->claims) { /* it has been claimed since it was last looked at */
		inbound->claims = info.claims;
		if (inbound->deadline != UINT64_MAX)
			inbound->deadline = now + inbound->receiver->node->claim_timeout;
	}
	if (now >= inbound->deadline)
		kvr_inbound_abort(inbound, -ECANCELED, "nobody has claimed the request in time");
}

static struct kvr_inbound *find(const struct kvr_receiver *receiver, const struct kvr_open *open)
{
	struct kvr_inbound *inbound = receiver->inbounds;

	while (inbound && (inbound->attempt != open->attempt || inbound->id_length != open->id.length ||
			   memcmp(inbound->id, open->id.bytes, open->id.length)))
		inbound = inbound->next;
	return inbound;
}

struct kvr_inbound *kvr_inbound_find(struct kvr_receiver *receiver, const struct kvr_open *open)
{
	struct kvr_inbound *inbound = open->id.length ? find(receiver, open) : NULL;

	if (!inbound || inbound->state != KVR_INBOUND_COMPLETE)
		return inbound;
	look_for_end(inbound, kvs_now());
	kvr_inbound_look(inbound);
	return find(receiver, open);
}

void kvr_inbound_keep_few(struct kvr_receiver *receiver)
{
	const uint64_t most = KVR_POSITIONS_MAX(receiver->geometry.blocks);
	struct kvr_inbound *oldest = receiver->inbounds;

	while (receiver->kept > most && oldest) {
		oldest = NULL;
		for (struct kvr_inbound *at = receiver->inbounds; at; at = at->next) /* the oldest is last */
			if (at->state == KVR_INBOUND_COMPLETE && !at->incomings && at->blocks)
				oldest = at;
		if (oldest)
			kvr_inbound_forget(oldest);
	}
}

/* Whose time to drain is over is fenced, whatever it does: by windows, or by the end of its connection. */
static uint64_t look_at_drains(struct kvr_inbound *inbound, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = incoming->sibling) {
		struct kvr_peer *peer = incoming->source->peer;

		if (incoming->state != KVR_INCOMING_DRAINING)
			continue;
		if (now < incoming->drained) {
			next = incoming->drained < next ? incoming->drained : next;
		} else if (peer->unfenced) {
			kvr_peer_give_up(peer, kvs_fault(ETIMEDOUT, "transfer %u was aborted, and its sender has not "
								    "answered: its device has no windows that could "
								    "be taken back", incoming->number));
		} else {
			incoming->state = KVR_INCOMING_FENCING;
			kvr_grants_withdraw(incoming);
		}
	}
	return next;
}

uint64_t kvr_inbound_work(struct kvr_inbound *inbound, uint64_t now, bool thorough)
{
	uint64_t next, progress;

	if (inbound->state == KVR_INBOUND_ROOM && thorough)
		look_for_room(inbound);
	else if (inbound->state != KVR_INBOUND_ROOM && inbound->state != KVR_INBOUND_ENDING && thorough)
		look_for_end(inbound, now);
	if (inbound->state == KVR_INBOUND_FILLING)
		look_at_pending(inbound);
	progress = look_at_progress(inbound, now);
	next = look_at_drains(inbound, now);
	next = progress < next ? progress : next;
	if (inbound->state <= KVR_INBOUND_COMPLETE && inbound->state != KVR_INBOUND_FILLING)
		next = inbound->deadline < next ? inbound->deadline : next;
	kvr_inbound_look(inbound);
	return next;
}

void kvr_inbound_close(struct kvr_inbound *inbound)
{
	if (inbound->state == KVR_INBOUND_COMPLETE)
		look_for_end(inbound, kvs_now());
	if (inbound->state == KVR_INBOUND_COMPLETE) {
		while (inbound->incomings)
			kvr_incoming_free(inbound->incomings);
		kvr_inbound_free(inbound);
		return;
	}
	kvr_inbound_abort(inbound, -ECONNRESET, "");
	kvr_inbound_finish(inbound);
}
