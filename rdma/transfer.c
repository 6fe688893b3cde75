/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * transfer.c: the transfers that a peer sends: making, finding, ending, and what is to be told of them. Guarantees: see
 * transfer.h. The queue of events is bounded: each position is in it once at most, with the state that it has when it
 * is taken.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "sender.h"
#include "transfer.h"

/* ---- The table of a peer */

int kvr_sender_open(struct kvr_peer *peer)
{
	struct kvr_sender *sender = calloc(1, sizeof(*sender));

	if (!sender)
		return kvs_fault(ENOMEM, "no memory for the transfers of a connection");
	sender->next = 1;
	sender->last_telling = &sender->telling;
	peer->sender = sender;
	return 0;
}

void kvr_sender_close(struct kvr_peer *peer)
{
	struct kvr_sender *sender = peer->sender;
	struct kvshm_transfer *next;

	if (!sender)
		return;
	for (struct kvshm_transfer *t = sender->all; t; t = next) {
		next = t->next;
		kvr_transfer_free(t);
	}
	kvr_asked_free(peer);
	free(sender);
	peer->sender = NULL;
}

static struct kvshm_transfer **bucket(struct kvr_sender *sender, uint32_t number)
{
	return &sender->table[number % KVR_TRANSFER_BUCKETS];
}

struct kvshm_transfer *kvr_transfer_find(const struct kvr_sender *sender, uint32_t number)
{
	struct kvshm_transfer *t = sender->table[number % KVR_TRANSFER_BUCKETS];

	while (t && t->number != number)
		t = t->chain;
	return t;
}

static void add(struct kvr_sender *sender, struct kvshm_transfer *t)
{
	struct kvshm_transfer **at = bucket(sender, t->number);

	t->chain = *at;
	*at = t;
	t->next = sender->all;
	t->back = &sender->all;
	if (t->next)
		t->next->back = &t->next;
	sender->all = t;
	sender->under_way++;
}

static void take_off(struct kvr_sender *sender, const struct kvshm_transfer *t)
{
	struct kvshm_transfer **at = bucket(sender, t->number);

	while (*at != t)
		at = &(*at)->chain;
	*at = t->chain;
	sender->under_way--;
}

/* ---- Making one */

static bool get_memory(struct kvshm_transfer *t)
{
	size_t n = t->blocks;

	if (!n)
		return true;
	t->positions = calloc(n, sizeof(*t->positions));
	t->targets = calloc(n * t->plane_count, sizeof(*t->targets));
	t->order = malloc(n * sizeof(*t->order));
	t->events = malloc(n * sizeof(*t->events));
	return t->positions && t->targets && t->order && t->events;
}

static void free_memory(struct kvshm_transfer *t)
{
	free(t->positions);
	free(t->targets);
	free(t->order);
	free(t->events);
	free(t->bases);
	kvr_transfer_drop_offers(t);
	free(t);
}

int kvr_transfer_make(struct kvr_peer *peer, struct kvshm_peer *owner, uint32_t blocks, uint32_t planes,
		      struct kvshm_transfer **transfer)
{
	struct kvshm_transfer *t = calloc(1, sizeof(*t));

	if (!t)
		return kvs_fault(ENOMEM, "no memory for a transfer");
	t->peer = peer;
	t->owner = owner;
	t->blocks = blocks;
	t->planes = planes;
	t->plane_count = (uint32_t)__builtin_popcount(planes);
	t->last_offer = &t->offers;
	t->count[KVSHM_SENDING_NONE] = blocks;
	if (!get_memory(t)) {
		free_memory(t);
		return kvs_fault(ENOMEM, "no memory for a transfer of %u blocks", blocks);
	}
	t->number = peer->sender->next++;
	if (!peer->sender->next) /* 0 is none's */
		peer->sender->next = 1;
	add(peer->sender, t);
	*transfer = t;
	return 0;
}

void kvr_transfer_free(struct kvshm_transfer *t)
{
	if (t->phase != KVR_ENDED)
		take_off(t->peer->sender, t);
	kvr_transfer_hush(t);
	*t->back = t->next;
	if (t->next)
		t->next->back = t->back;
	if (t->push)
		kvr_push_free(t->push);
	free_memory(t);
}

/* ---- What is to be told */

static void tell(struct kvshm_transfer *t)
{
	struct kvr_sender *sender = t->peer->sender;

	if (t->telling || !t->owner)
		return;
	t->telling = true;
	t->next_telling = NULL;
	*sender->last_telling = t;
	sender->last_telling = &t->next_telling;
}

void kvr_transfer_hush(struct kvshm_transfer *t)
{
	struct kvr_sender *sender = t->peer->sender;
	struct kvshm_transfer **at = &sender->telling;

	if (!t->telling)
		return;
	while (*at != t)
		at = &(*at)->next_telling;
	*at = t->next_telling;
	if (!*at)
		sender->last_telling = at;
	t->telling = false;
}

void kvr_transfer_move(struct kvshm_transfer *t, uint32_t position, enum kvshm_sending state)
{
	struct kvr_sending *p = &t->positions[position];

	t->count[p->state]--;
	t->count[state]++;
	p->state = (uint8_t)state;
	if (t->push && state >= KVSHM_SENDING_SENT)
		kvr_push_release(t->push, position);
	/* That it was offered and committed the engine knows: it did so itself. */
	if (!t->owner || state == KVSHM_SENDING_OFFERED || state == KVSHM_SENDING_COMMITTED || p->telling)
		return;
	p->telling = true;
	t->events[(t->first_event + t->event_count++) % t->blocks] = position;
	tell(t);
}

static struct kvshm_event take_position(struct kvshm_transfer *t)
{
	uint32_t position = t->events[t->first_event];
	struct kvr_sending *p = &t->positions[position];

	t->first_event = (t->first_event + 1) % t->blocks;
	t->event_count--;
	p->telling = false;
	return (struct kvshm_event){
		.transfer = t,
		.user = t->user,
		.position = position,
		.sending = (enum kvshm_sending)p->state,
		.result = p->state == KVSHM_SENDING_REFUSED ? p->result : 0,
	};
}

static bool has_more(const struct kvshm_transfer *t)
{
	return t->event_count || (t->phase == KVR_ENDED && !t->end_told);
}

size_t kvr_sender_take_events(struct kvr_sender *sender, struct kvshm_event *events, size_t max)
{
	size_t count = 0;

	while (count < max && sender->telling) {
		struct kvshm_transfer *t = sender->telling;

		if (t->event_count) {
			events[count++] = take_position(t);
		} else if (has_more(t)) {
			t->end_told = true;
			events[count++] = (struct kvshm_event){ .transfer = t, .user = t->user,
								.position = KVSHM_WHOLE_TRANSFER, .result = t->result };
		}
		if (!has_more(t))
			kvr_transfer_hush(t);
	}
	return count;
}

/* ---- Its end */

void kvr_transfer_will_end(struct kvshm_transfer *t, int result)
{
	t->result = result;
	(void)strncpy(t->text, result ? kvs_fault_text() : "", sizeof(t->text) - 1);
}

void kvr_transfer_end(struct kvshm_transfer *t, int result)
{
	if (t->phase == KVR_ENDED)
		return;
	if (t->result != result || !t->text[0])
		kvr_transfer_will_end(t, result);
	take_off(t->peer->sender, t);
	t->phase = KVR_ENDED;
	t->written = 0;
	kvr_node_happened(t->peer->node);
	kvr_transfer_drop_offers(t);
	if (t->push) {
		kvr_push_free(t->push);
		t->push = NULL;
	}
	if (t->owner)
		tell(t);
	else
		kvr_transfer_free(t);
}
