/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * offers.c: opening a transfer, and offering its blocks. Guarantees: nothing is offered before the other side has said
 * that the room is there (R11); an offer that is refused here has offered nothing. A key that no store could have is
 * refused here; one that is too long for the other side's is for that side to refuse, alone (R24).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "fault.h"
#include "transfer.h"

int kvr_transfer_send_open(struct kvshm_transfer *t, const struct kvr_open *open)
{
	struct kvr_open whole = *open;
	struct kvr_out out;

	whole.transfer = t->number;
	whole.blocks = t->blocks;
	whole.planes = t->planes;
	kvr_write_open(&out, &whole);
	kvr_peer_count(t->peer, KVS_PEER_sent_requests, 1);
	return kvr_peer_send(t->peer, &out, 0);
}

/* ---- Is it in order? */

static int check_one(const struct kvshm_transfer *t, uint32_t position, const struct kvshm_offer *offer)
{
	const struct kvshm_geometry *there = &t->peer->geometry;

	if (t->positions[position].state != KVSHM_SENDING_NONE)
		return kvs_fault(EINVAL, "block %u of the transfer was offered before", position);
	if (!offer->key.bytes || !offer->key.length || offer->key.length > KVSHM_KEY_MAX)
		return kvs_fault(EINVAL, "block %u: its key has %zu bytes: keys have 1 to %d", position,
				 offer->key.bytes ? offer->key.length : 0, KVSHM_KEY_MAX);
	if (offer->meta.length > there->block_size)
		return kvs_fault(EINVAL, "block %u: its length is %llu, and a block has %llu", position,
				 (unsigned long long)offer->meta.length, (unsigned long long)there->block_size);
	return 0;
}

static int check(const struct kvshm_transfer *t, uint32_t first, const struct kvshm_offer *offers, size_t count)
{
	int rc = 0;

	if (first > t->blocks || count > t->blocks - first)
		return kvs_fault(EINVAL, "blocks %u to %llu are offered, and the transfer has %u", first,
				 (unsigned long long)first + count - 1, t->blocks);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = check_one(t, first + (uint32_t)i, &offers[i]);
	return rc;
}

/* ---- OFFERs */

static int keep(struct kvr_waiting ***last, const struct kvr_out *out)
{
	struct kvr_waiting *waiting = malloc(sizeof(*waiting) + out->size);

	if (!waiting)
		return kvs_fault(ENOMEM, "no memory for offers");
	waiting->next = NULL;
	waiting->size = out->size;
	memcpy(waiting->bytes, out->bytes, out->size);
	**last = waiting;
	*last = &waiting->next;
	return 0;
}

static void drop(struct kvr_waiting **list)
{
	while (*list) {
		struct kvr_waiting *next = (*list)->next;

		free(*list);
		*list = next;
	}
}

static struct kvr_offer entry(uint32_t position, const struct kvshm_offer *offer)
{
	return (struct kvr_offer){
		.position = position,
		.depth = offer->meta.depth,
		.length = offer->meta.length,
		.opaque = offer->meta.opaque,
		.key = { .bytes = offer->key.bytes, .length = (uint32_t)offer->key.length },
	};
}

/* All of them as messages. */
static int build(const struct kvshm_transfer *t, uint32_t first, const struct kvshm_offer *offers, size_t count,
		 struct kvr_waiting **list)
{
	struct kvr_waiting **last = list;
	struct kvr_out out;
	int rc = 0;

	kvr_begin_offers(&out, t->number);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct kvr_offer offer = entry(first + (uint32_t)i, &offers[i]);

		if (kvr_add_offer(&out, &offer))
			continue;
		rc = keep(&last, &out);
		kvr_begin_offers(&out, t->number);
		(void)kvr_add_offer(&out, &offer);
	}
	if (rc == 0 && out.count)
		rc = keep(&last, &out);
	if (rc)
		drop(list);
	return rc;
}

int kvr_transfer_offer(struct kvshm_transfer *t, uint32_t first, const struct kvshm_offer *offers, size_t count)
{
	struct kvr_waiting *list = NULL;
	int rc = check(t, first, offers, count);

	if (rc == 0)
		rc = build(t, first, offers, count, &list);
	if (rc)
		return rc;
	*t->last_offer = list;
	while (*t->last_offer)
		t->last_offer = &(*t->last_offer)->next;
	for (size_t i = 0; i < count; i++)
		kvr_transfer_move(t, first + (uint32_t)i, KVSHM_SENDING_OFFERED);
	return t->phase == KVR_RUNNING ? kvr_transfer_send_offers(t) : 0;
}

int kvr_transfer_send_offers(struct kvshm_transfer *t)
{
	struct kvr_out out;
	int rc = 0;

	for (const struct kvr_waiting *waiting = t->offers; waiting && rc == 0; waiting = waiting->next) {
		memcpy(out.bytes, waiting->bytes, waiting->size);
		out.size = waiting->size;
		rc = kvr_peer_send(t->peer, &out, 0);
	}
	kvr_transfer_drop_offers(t);
	return rc;
}

void kvr_transfer_drop_offers(struct kvshm_transfer *t)
{
	drop(&t->offers);
	t->last_offer = &t->offers;
}
