/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver.c: the messages of those who send: each is checked against what was opened and granted, and handed to its
 * request (inbound.c) or its grants (grants.c). See inbound.h for the states.
 *
 * Guarantees (F2, R09): a message that does not fit ends the connection (-EPROTO, with its text), and all that it had
 * is given back then. Numbers of transfers go up: so a message of one that is gone is told from one that never was. The
 * former is late, as when an ABORT crosses it, and changes nothing. What a source can make this process keep is
 * bounded.
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>

#include "fault.h"
#include "internal.h"
#include "wait.h"

#define OFFERS_MAX (KVR_MESSAGE_MAX / 48U) /* of one message: an entry has more bytes than that */

/* ---- Which transfer ---------------------------------------------------------------------------------------------- */

/* The transfer that a message is of. 0 with NULL: it is gone, and the message late. */
static int find(const struct kvr_peer *peer, uint32_t number, struct kvr_incoming **incoming)
{
	struct kvr_source *source = peer->source;

	*incoming = source ? source->incomings : NULL;
	while (*incoming && (*incoming)->number != number)
		*incoming = (*incoming)->next;
	if (!*incoming && !kvr_source_was_opened(source, number))
		return kvs_fault(EPROTO, "a message of transfer %u, which was not opened", number);
	return 0;
}

/* ---- OPEN ------------------------------------------------------------------------------------------------------ */

static int check_open(const struct kvr_source *source, const struct kvr_open *open)
{
	if (open->transfer == 0 || kvr_source_was_opened(source, open->transfer))
		return kvs_fault(EPROTO, "an OPEN of transfer %u: numbers go up", open->transfer);
	if (open->planes == 0 || open->planes & ~source->receiver->all_planes)
		return kvs_fault(EPROTO, "an OPEN for planes %#x: the store has %u", open->planes,
				 source->receiver->geometry.planes);
	if (open->want == 0 && source->peer->role == KVR_CONNECTOR)
		return kvs_fault(EPROTO, "an OPEN of what nobody here has asked for");
	return 0;
}

static int check_bounds(const struct kvr_source *source, const struct kvr_open *open)
{
	if (source->count < KVR_INCOMINGS_MAX &&
	    source->positions + open->blocks <= KVR_POSITIONS_MAX(source->receiver->geometry.blocks))
		return 0;
	if (open->blocks > source->receiver->geometry.blocks)
		return 0; /* which the store says, in its words */
	return kvs_fault(ENOBUFS, "%u transfers of %llu blocks are open on this connection already: end some before",
			 source->count, (unsigned long long)source->positions);
}

/* Does another sender's OPEN fit a request that is there? */
static int check_join(const struct kvr_inbound *inbound, const struct kvr_open *open)
{
	if (inbound->state == KVR_INBOUND_ENDING)
		return kvs_fault(ECANCELED, "that attempt of the request is being aborted");
	if (!inbound->positions)
		return kvs_fault(EALREADY, "that attempt of the request is complete, and waits for its engine");
	if (inbound->blocks != open->blocks)
		return kvs_fault(EINVAL, "the request was opened with %u blocks by another sender, and with %u by this "
					 "one", inbound->blocks, open->blocks);
	if (inbound->planes & open->planes)
		return kvs_fault(EEXIST, "another sender has planes %#x of the request",
				 inbound->planes & open->planes);
	return 0;
}

static int find_wish(struct kvr_source *source, const struct kvr_open *open, struct kvr_wished **wished)
{
	*wished = NULL;
	if (open->want == 0)
		return 0;
	*wished = kvr_wish_find(source, open->want);
	if (*wished && !(*wished)->inbound)
		return 0;
	return kvs_fault(ECANCELED, "that is not wanted any more");
}

static int open_wish(struct kvr_source *source, const struct kvr_open *open, struct kvr_wished *wished,
		     struct kvr_inbound **inbound)
{
	int rc;

	if (open->blocks > wished->count)
		return kvs_fault(EINVAL, "%u blocks are to be sent, and %u are wanted", open->blocks, wished->count);
	rc = kvr_inbound_open(source->receiver, open, wished, inbound);
	if (rc == 0)
		kvr_sender_wish_opened(source->peer, wished->wish.user, &(*inbound)->request);
	return rc;
}

/* The request that an OPEN is for, found or made. */
static int find_inbound(struct kvr_source *source, const struct kvr_open *open, struct kvr_inbound **inbound)
{
	struct kvr_wished *wished;
	int rc = check_bounds(source, open);

	if (rc == 0)
		rc = find_wish(source, open, &wished);
	if (rc)
		return rc;
	if (wished)
		return open_wish(source, open, wished, inbound);
	*inbound = kvr_inbound_find(source->receiver, open);
	if (*inbound)
		return check_join(*inbound, open);
	return kvr_inbound_open(source->receiver, open, NULL, inbound);
}

/* OPENED says why not. Who wished for it is told, too. */
static void refuse_open(struct kvr_source *source, const struct kvr_open *open, int result)
{
	struct kvr_wished *wished = open->want ? kvr_wish_find(source, open->want) : NULL;
	struct kvr_out out;

	kvr_write_opened(&out, open->transfer, result, kvs_fault_text());
	(void)kvr_peer_send(source->peer, &out, 0); /* else it is lost, which is told */
	if (wished && !wished->inbound)
		kvr_wish_end(wished, result);
}

int kvr_receiver_on_open(struct kvr_peer *peer, const struct kvr_open *open)
{
	struct kvr_incoming *incoming;
	struct kvr_inbound *inbound;
	struct kvr_source *source;
	int rc = kvr_source_of(peer, &source);

	if (rc == 0)
		rc = check_open(source, open);
	if (rc)
		return rc;
	source->last = open->transfer;
	source->opened = true;
	rc = find_inbound(source, open, &inbound);
	if (rc) {
		refuse_open(source, open, rc);
		return 0;
	}
	kvr_peer_count(peer, KVS_PEER_requests, 1);
	incoming = kvr_incoming_new(source, open, inbound);
	if (!incoming)
		refuse_open(source, open, kvs_fault(ENOMEM, "no memory for a transfer of %u blocks", open->blocks));
	else if (inbound->state != KVR_INBOUND_ROOM)
		kvr_incoming_opened(incoming, 0, "");
	kvr_inbound_went_on(inbound);
	kvr_inbound_look(inbound);
	return 0;
}

/* ---- What follows it ------------------------------------------------------------------------------------------- */

/* One entry of an OFFER. -EINVAL: the transfer is to be refused. */
static int take_offer(struct kvr_incoming *incoming, const struct kvr_offer *offer)
{
	struct kvr_answer *answer;
	int rc;

	if (offer->position >= incoming->inbound->blocks)
		return kvs_fault(EPROTO, "an OFFER of position %u in transfer %u, which has %u", offer->position,
				 incoming->number, incoming->inbound->blocks);
	answer = &incoming->answers[offer->position];
	if (answer->state != KVR_ANSWER_NONE)
		return kvs_fault(EPROTO, "position %u of transfer %u was offered before", offer->position,
				 incoming->number);
	rc = kvr_inbound_offer(incoming->inbound, offer);
	if (rc)
		return rc;
	answer->state = KVR_ANSWER_OWED;
	incoming->offered++;
	return 0;
}

int kvr_receiver_on_offer(struct kvr_peer *peer, struct kvr_message *offers)
{
	uint32_t positions[OFFERS_MAX];
	struct kvr_incoming *incoming;
	struct kvr_inbound *inbound;
	struct kvr_offer offer;
	size_t count = 0;
	int rc = find(peer, offers->transfer, &incoming);

	if (rc || !incoming || incoming->state > KVR_INCOMING_OPENED)
		return rc;
	inbound = incoming->inbound;
	for (uint32_t i = 0; rc == 0 && i < offers->count && count < OFFERS_MAX; i++) {
		kvr_next_offer(offers, &offer);
		rc = take_offer(incoming, &offer);
		if (rc == 0)
			positions[count++] = offer.position;
	}
	if (rc && rc != -EINVAL)
		return rc;
	if (rc)
		kvr_incoming_refuse(incoming, rc, kvs_fault_text());
	if (inbound->state != KVR_INBOUND_ROOM) {
		kvr_inbound_went_on(inbound);
		kvr_inbound_ask(inbound, positions, count);
	}
	kvr_inbound_look(inbound);
	return 0;
}

int kvr_receiver_on_commit(struct kvr_peer *peer, struct kvr_message *commits)
{
	struct kvr_incoming *incoming;
	struct kvr_commit commit;
	int rc = find(peer, commits->transfer, &incoming);

	if (rc || !incoming || incoming->state > KVR_INCOMING_OPENED)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < commits->count; i++) {
		kvr_next_commit(commits, &commit);
		rc = kvr_grants_commit(incoming, &commit);
	}
	if (rc)
		return rc;
	kvr_inbound_went_on(incoming->inbound);
	kvr_inbound_look(incoming->inbound);
	return 0;
}

/* A sender ends its transfer, and with it the request of all of them, unless that is complete. */
static void abort_by_sender(struct kvr_incoming *incoming)
{
	struct kvr_inbound *inbound = incoming->inbound;

	if (inbound->state == KVR_INBOUND_COMPLETE) {
		kvr_incoming_end(incoming, KVR_ABORTED, 0, 0);
		kvr_incoming_free(incoming);
	} else {
		incoming->state = KVR_INCOMING_ABORTING;
		kvr_grants_withdraw(incoming);
		kvr_inbound_abort(inbound, -ECANCELED, "one of its senders has aborted the request");
	}
	kvr_inbound_look(inbound);
}

/* It writes nothing any more: it has said so. */
static void drained(struct kvr_incoming *incoming)
{
	struct kvr_inbound *inbound = incoming->inbound;

	if (incoming->state == KVR_INCOMING_DRAINING) {
		incoming->state = KVR_INCOMING_FENCING;
		kvr_grants_withdraw(incoming);
	}
	kvr_inbound_look(inbound);
}

/* Two ABORTs that cross are each other's ABORTED. */
int kvr_receiver_on_abort(struct kvr_peer *peer, const struct kvr_end *abort)
{
	const struct kvr_end aborted = {.transfer = abort->transfer};
	struct kvr_incoming *incoming;
	struct kvr_out out;
	int rc = find(peer, abort->transfer, &incoming);

	if (rc)
		return rc;
	kvr_peer_count(peer, KVS_PEER_aborts, 1);
	if (!incoming) {
		kvr_write_end(&out, KVR_ABORTED, &aborted);
		(void)kvr_peer_send(peer, &out, 0); /* else it is lost, which is told */
		return 0;
	}
	if (incoming->state == KVR_INCOMING_ABORTING)
		return kvs_fault(EPROTO, "a second ABORT of transfer %u", abort->transfer);
	if (incoming->state <= KVR_INCOMING_OPENED)
		abort_by_sender(incoming);
	else
		drained(incoming);
	return 0;
}

int kvr_receiver_on_aborted(struct kvr_peer *peer, const struct kvr_end *aborted)
{
	struct kvr_incoming *incoming;
	int rc = find(peer, aborted->transfer, &incoming);

	if (rc || !incoming)
		return rc;
	if (incoming->state != KVR_INCOMING_DRAINING && incoming->state != KVR_INCOMING_FENCING)
		return kvs_fault(EPROTO, "ABORTED of transfer %u, which nobody here has aborted", aborted->transfer);
	drained(incoming);
	return 0;
}

/* ---- Links and time -------------------------------------------------------------------------------------------- */

void kvr_receiver_on_withdrawn(struct kvr_peer *peer, struct kvr_window *window)
{
	struct kvr_run *run = window->user;
	struct kvr_inbound *inbound = run->incoming ? run->incoming->inbound : NULL;

	(void)peer;
	kvr_grants_withdrawn(run);
	if (inbound)
		kvr_inbound_look(inbound);
}

void kvr_receiver_on_lost(struct kvr_peer *peer)
{
	struct kvr_source *source = peer->source;
	int reason = peer->reason ? peer->reason : -ECONNRESET;

	if (!source)
		return;
	kvr_grants_lost(source);
	while (source->wishes)
		kvr_wish_end(source->wishes, reason);
	while (source->incomings) {
		struct kvr_inbound *inbound = source->incomings->inbound;

		kvr_incoming_free(source->incomings);
		if (inbound->state != KVR_INBOUND_COMPLETE)
			/* Whatever the reason was: to the others it would say that they did not go on, say. */
			kvr_inbound_abort(inbound, -ECONNRESET, "the connection of another of its senders was lost");
		kvr_inbound_look(inbound);
	}
	kvr_source_free(source);
}

void kvr_receiver_wake_at(const struct kvr_receiver *receiver, uint64_t when)
{
	if (when < receiver->node->receiver_at)
		receiver->node->receiver_at = when;
}

uint64_t kvr_receiver_work(struct kvr_node *node, uint64_t now)
{
	struct kvr_receiver *receiver = node->receiver;
	struct kvr_inbound *following;
	uint64_t next = UINT64_MAX;
	bool thorough;

	if (!receiver || !receiver->inbounds)
		return next;
	thorough = now >= receiver->next_look;
	if (thorough)
		receiver->next_look = now + KVR_LOOK_PERIOD;
	else
		next = receiver->next_look; /* for what has changed since the last one */
	for (struct kvr_inbound *inbound = receiver->inbounds; inbound; inbound = following) {
		uint64_t again;

		following = inbound->next;
		again = kvr_inbound_work(inbound, now, thorough);
		next = again < next ? again : next;
	}
	return next;
}

/* ---- Open and close -------------------------------------------------------------------------------------------- */

static int look_at_store(struct kvr_receiver *receiver)
{
	int rc = kvshm_get_geometry(receiver->store, &receiver->geometry);

	if (rc == 0)
		receiver->all_planes = UINT32_MAX >> (KVSHM_PLANES_MAX - receiver->geometry.planes);
	return rc;
}

int kvr_receiver_open(struct kvr_node *node)
{
	struct kvr_receiver *receiver = calloc(1, sizeof(*receiver));
	int rc;

	if (!receiver)
		return kvs_fault(ENOMEM, "no memory for a receiver");
	receiver->node = node;
	receiver->store = node->store;
	receiver->in_gpu = node->store->map.files.memory != KVS_MEMORY_HOST;
	receiver->flush.fn = kvr_grants_flush;
	rc = look_at_store(receiver);
	if (rc) {
		free(receiver);
		return rc;
	}
	node->receiver = receiver;
	return 0;
}

void kvr_receiver_close(struct kvr_node *node)
{
	struct kvr_receiver *receiver = node->receiver;

	if (!receiver)
		return;
	while (receiver->sources)
		kvr_receiver_on_lost(receiver->sources->peer);
	while (receiver->inbounds)
		kvr_inbound_close(receiver->inbounds);
	kvr_loop_uncall(&node->loop, &receiver->flush);
	free(receiver);
	node->receiver = NULL;
}
