/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * incoming.c: who sends, and each transfer of one: made, told, ended. See inbound.h for the states.
 */
#include "config.h"

#include "inbound.h"

#include <stdlib.h>

#include "fault.h"
#include "wait.h"

/* ---- Sources --------------------------------------------------------------------------------------------------- */

int kvr_source_of(struct kvr_peer *peer, struct kvr_source **source)
{
	struct kvr_receiver *receiver = peer->node->receiver;
	struct kvr_source *made = peer->source;

	if (!receiver)
		return kvs_fault(EPROTO, "a transfer is opened to a process that has no store");
	if (!made) {
		made = calloc(1, sizeof(*made));
		if (!made)
			return kvs_fault(ENOMEM, "no memory for a peer");
		made->peer = peer;
		made->receiver = receiver;
		made->next = receiver->sources;
		receiver->sources = made;
		peer->source = made;
	}
	*source = made;
	return 0;
}

void kvr_source_free(struct kvr_source *source)
{
	struct kvr_source **at = &source->receiver->sources;

	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	source->peer->source = NULL;
	free(source);
}

/* Was a transfer of that number opened? (Modulo 2^32, since a connection may last long.) */
bool kvr_source_was_opened(const struct kvr_source *source, uint32_t number)
{
	return source && source->opened && (int32_t)(number - source->last) <= 0;
}

/* ---- Incomings ------------------------------------------------------------------------------------------------- */

/* What can't be sent is told by the connection's end. */
static void tell(const struct kvr_incoming *incoming, const struct kvr_out *out)
{
	if (incoming->source->peer->state == KVR_PEER_UP)
		(void)kvr_peer_send(incoming->source->peer, out, 0);
}

void kvr_incoming_opened(struct kvr_incoming *incoming, int result, const char *text)
{
	struct kvr_out out;

	if (result == 0)
		incoming->state = KVR_INCOMING_OPENED;
	kvr_write_opened(&out, incoming->number, result, text);
	tell(incoming, &out);
}

void kvr_incoming_end(struct kvr_incoming *incoming, enum kvr_type type, int result, uint32_t held)
{
	const struct kvr_end end = {.transfer = incoming->number, .held = held, .result = result};
	struct kvr_out out;

	kvr_write_end(&out, type, &end);
	tell(incoming, &out);
}

struct kvr_incoming *kvr_incoming_new(struct kvr_source *source, const struct kvr_open *open,
				      struct kvr_inbound *inbound)
{
	struct kvr_incoming *incoming = calloc(1, sizeof(*incoming));

	if (!incoming)
		return NULL;
	*incoming = (struct kvr_incoming){.source = source, .inbound = inbound, .number = open->transfer,
					  .planes = open->planes};
	incoming->answers = calloc(inbound->blocks ? inbound->blocks : 1, sizeof(*incoming->answers));
	if (!incoming->answers) {
		free(incoming);
		return NULL;
	}
	incoming->next = source->incomings;
	source->incomings = incoming;
	source->count++;
	source->positions += inbound->blocks;
	incoming->sibling = inbound->incomings;
	inbound->incomings = incoming;
	inbound->planes |= incoming->planes;
	return incoming;
}

void kvr_incoming_free(struct kvr_incoming *incoming)
{
	struct kvr_source *source = incoming->source;
	struct kvr_incoming **at = &source->incomings;

	while (*at != incoming)
		at = &(*at)->next;
	*at = incoming->next;
	for (at = &incoming->inbound->incomings; *at != incoming;)
		at = &(*at)->sibling;
	*at = incoming->sibling;
	incoming->inbound->planes &= ~incoming->planes;
	source->count--;
	source->positions -= incoming->inbound->blocks;
	free(incoming->answers);
	free(incoming);
}

void kvr_incoming_refuse(struct kvr_incoming *incoming, int result, const char *text)
{
	if (incoming->state == KVR_INCOMING_ASKED) {
		kvr_incoming_opened(incoming, result, text);
	} else {
		kvr_peer_count(incoming->source->peer, KVS_PEER_aborts, 1);
		kvr_incoming_end(incoming, KVR_ABORT, result, 0);
		if (incoming->runs) {
			incoming->state = KVR_INCOMING_DRAINING;
			incoming->drained = kvs_now() + KVR_DRAIN_TIME;
			kvr_receiver_wake_at(incoming->source->receiver, incoming->drained);
			return;
		}
	}
	kvr_incoming_free(incoming);
}
