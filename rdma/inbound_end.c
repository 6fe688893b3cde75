/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inbound_end.c: how a request that comes in ends: complete, or for any other reason; and how its senders are told. See
 * inbound.h for the states.
 *
 * Guarantees: nothing of it is given up before it is fenced (E2), and the request ends behind the last of its runs.
 * Every way out gives everything back (R09, R10, R12), but for what is complete, which waits to be claimed.
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>

#include "fault.h"
#include "request.h"
#include "wait.h"

/* ---- The end --------------------------------------------------------------------------------------------------- */

/* Tells one of the end. Who may still be writing is asked to stop first: else an honest one runs into a window that is
 * gone, which ends its connection. */
static void stop(struct kvr_incoming *incoming, int result, const char *text)
{
	if (incoming->state == KVR_INCOMING_ABORTING)
		kvr_grants_withdraw(incoming);
	else if (incoming->state <= KVR_INCOMING_OPENED)
		kvr_incoming_refuse(incoming, result, text);
}

void kvr_inbound_abort(struct kvr_inbound *inbound, int result, const char *text)
{
	struct kvr_incoming *next;

	if (inbound->state == KVR_INBOUND_ENDING)
		return;
	if (inbound->state == KVR_INBOUND_COMPLETE)
		inbound->receiver->kept -= inbound->blocks;
	inbound->state = KVR_INBOUND_ENDING;
	inbound->result = result;
	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = next) {
		next = incoming->sibling;
		stop(incoming, result, text);
	}
	for (uint32_t i = 0; i < inbound->blocks; i++)
		if (inbound->positions[i].state == KVR_POSITION_FILL && inbound->positions[i].runs == 0)
			kvr_inbound_end_fill(inbound, &inbound->positions[i]);
	(void)kvshm_request_unreserve(inbound->receiver->store, &inbound->request); /* it may be over */
}

void kvr_inbound_forget(struct kvr_inbound *inbound)
{
	if (inbound->state == KVR_INBOUND_COMPLETE)
		inbound->receiver->kept -= inbound->blocks;
	for (uint32_t i = 0; i < inbound->blocks; i++)
		free(inbound->positions[i].offered);
	free(inbound->positions);
	inbound->positions = NULL;
	inbound->blocks = 0;
}

void kvr_inbound_free(struct kvr_inbound *inbound)
{
	struct kvr_inbound **at = &inbound->receiver->inbounds;

	while (*at != inbound)
		at = &(*at)->next;
	*at = inbound->next;
	kvr_inbound_forget(inbound);
	free(inbound);
}

/* Nothing of it is granted any more. */
void kvr_inbound_finish(struct kvr_inbound *inbound)
{
	(void)kvshm_request_end(inbound->receiver->store, &inbound->request); /* it may be over: R04 */
	while (inbound->incomings) {
		struct kvr_incoming *incoming = inbound->incomings;

		if (incoming->state == KVR_INCOMING_ABORTING)
			kvr_incoming_end(incoming, KVR_ABORTED, 0, 0);
		kvr_incoming_free(incoming);
	}
	if (inbound->wished)
		kvr_wish_end(inbound->wished, inbound->result);
	kvr_inbound_free(inbound);
}

/* ---- Going on -------------------------------------------------------------------------------------------------- */

/* All positions are here. A key that came for several of them is held once: so it holds fewer blocks than it was opened
 * with. */
static int make_complete(const struct kvr_inbound *inbound)
{
	kvshm_store *store = inbound->receiver->store;
	int rc = kvshm_request_complete(store, &inbound->request, 0);

	if (rc != -EINPROGRESS)
		return rc;
	rc = kvl_request_expect_held(store, &inbound->request);
	return rc ? rc : kvshm_request_complete(store, &inbound->request, 0);
}

static void complete(struct kvr_inbound *inbound)
{
	struct kvr_receiver *receiver = inbound->receiver;
	int rc = make_complete(inbound);

	if (rc == -ETIMEDOUT)
		return;
	if (rc) {
		kvr_inbound_abort(inbound, rc == -EAGAIN ? -ECANCELED : rc, kvs_fault_text());
		return;
	}
	inbound->state = KVR_INBOUND_COMPLETE;
	receiver->kept += inbound->blocks;
	inbound->deadline = UINT64_MAX;
	if (receiver->node->claim_timeout) {
		inbound->deadline = kvs_now() + receiver->node->claim_timeout;
		kvr_receiver_wake_at(receiver, inbound->deadline);
	}
	if (inbound->wished)
		kvr_wish_end(inbound->wished, 0);
}

/* Those that have had an answer to everything are done; late ones, which join what is complete, are when they have. */
static void tell_done(struct kvr_inbound *inbound)
{
	struct kvr_incoming *next;

	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = next) {
		next = incoming->sibling;
		if (incoming->state != KVR_INCOMING_OPENED || incoming->offered < inbound->blocks)
			continue;
		kvr_incoming_end(incoming, KVR_DONE, 0, inbound->blocks);
		kvr_incoming_free(incoming);
	}
	if (inbound->put && !inbound->incomings)
		kvr_inbound_abort(inbound, -ECANCELED, "");
	kvr_inbound_keep_few(inbound->receiver);
}

/* Those that went alone, and have nothing any more. True: others are fenced still. */
static bool sweep(struct kvr_inbound *inbound)
{
	struct kvr_incoming *next;
	bool fencing = false;

	for (struct kvr_incoming *incoming = inbound->incomings; incoming; incoming = next) {
		next = incoming->sibling;
		if (incoming->runs)
			fencing = true;
		else if (incoming->state == KVR_INCOMING_FENCING)
			kvr_incoming_free(incoming);
	}
	return fencing;
}

void kvr_inbound_look(struct kvr_inbound *inbound)
{
	bool fencing = sweep(inbound);

	if (inbound->state == KVR_INBOUND_FILLING && inbound->settled == inbound->blocks) {
		if (inbound->here == inbound->blocks)
			complete(inbound);
		else
			kvr_inbound_abort(inbound, -ECANCELED, "a block was refused, or given up");
		fencing = sweep(inbound);
	}
	if (inbound->state == KVR_INBOUND_COMPLETE)
		tell_done(inbound);
	else if (!inbound->incomings)
		kvr_inbound_abort(inbound, -ECANCELED, "");
	if (inbound->state == KVR_INBOUND_ENDING && !fencing)
		kvr_inbound_finish(inbound);
}
