/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * queue.c: what waits to be given to a connection's link: messages and writes, in the order in which they were posted.
 *
 * Guarantees: nothing overtakes: so a COMMIT comes behind its writes. Long writes are given in pieces, so that a PING,
 * which goes past the queue, is never long behind one. It has no bound of its own: what is in it is bounded by who puts
 * it there (the sender by its transfers' offers, the receiver by what it was offered).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "internal.h"
#include "queue.h"
#include "wait.h"

/* Of a write, at once: long enough for any device to be busy with, and so short that what a link has taken, of which
 * nothing can be taken back, does not hold up a PING or an ABORT for long. */
#define PIECE (UINT64_C(256) << 10)

struct kvr_item {
	struct kvr_item *next;
	uint64_t cookie;
	struct kvr_write write;
	uint32_t tag;
	uint32_t size; /* of a message; 0: it is a write */
	uint8_t bytes[];
};

/* What all that one connection may have open can have waiting: each position two GRANTs, or an OFFER, a COMMIT and its
 * writes. */
static uint64_t most(const struct kvr_peer *peer)
{
	const struct kvs_geometry *geometry = &peer->node->store->map.g;

	return KVR_POSITIONS_MAX(geometry->blocks) * (256 + 64 * (uint64_t)geometry->planes);
}

/* -ENOBUFS, and the connection is given up. */
static int check_queue(struct kvr_peer *peer)
{
	int rc;

	if (peer->role == KVR_CONNECTOR || !peer->node->store || peer->queued <= most(peer))
		return 0;
	rc = kvs_fault(ENOBUFS, "%llu bytes of messages wait for %s, which asks for more, and takes none",
		       (unsigned long long)peer->queued, peer->remote);
	kvr_peer_give_up(peer, rc);
	return rc;
}

void kvr_queue_init(struct kvr_peer *peer)
{
	peer->first = NULL;
	peer->last = &peer->first;
}

static void append(struct kvr_peer *peer, struct kvr_item *item)
{
	item->next = NULL;
	peer->queued += sizeof(*item) + item->size;
	*peer->last = item;
	peer->last = &item->next;
}

static void drop_first(struct kvr_peer *peer)
{
	struct kvr_item *item = peer->first;

	peer->first = item->next;
	if (!peer->first)
		peer->last = &peer->first;
	peer->queued -= sizeof(*item) + item->size;
	free(item);
}

void kvr_queue_clear(struct kvr_peer *peer)
{
	while (peer->first)
		drop_first(peer);
}

/* Gives the link one piece: 0, or what the link says. */
static int give_write(struct kvr_peer *peer, struct kvr_write *write)
{
	struct kvr_write piece = *write;
	int rc;

	if (piece.length > PIECE)
		piece.length = PIECE;
	rc = peer->transport->write(peer->link, &piece);
	if (rc)
		return rc;
	write->from = (const char *)write->from + piece.length;
	write->to += piece.length;
	write->length -= piece.length;
	return 0;
}

static int give_first(struct kvr_peer *peer)
{
	struct kvr_item *item = peer->first;
	int rc = item->size ? peer->transport->send(peer->link, item->bytes, item->size, item->cookie)
			    : give_write(peer, &item->write);

	if (rc == 0 && item->size) /* of writes the other side hears nothing */
		peer->spoke = kvs_now();
	if (rc == 0 && (item->size || !item->write.length))
		drop_first(peer);
	return rc;
}

void kvr_queue_push(struct kvr_peer *peer)
{
	int rc = 0;

	while (rc == 0 && peer->first)
		rc = give_first(peer);
	if (rc && rc != -EAGAIN && rc != -ENOTCONN)
		kvr_peer_give_up(peer, rc);
}

void kvr_queue_flush(struct kvr_peer *peer)
{
	if (peer->link && peer->transport->flush)
		peer->transport->flush(peer->link);
}

static int no_memory(struct kvr_peer *peer)
{
	int rc = kvs_fault(ENOMEM, "no memory for a message to another node: the connection is given up");

	kvr_peer_give_up(peer, rc);
	return rc;
}

static bool may_post(const struct kvr_peer *peer)
{
	return peer->state >= KVR_PEER_GREETING && peer->state <= KVR_PEER_UP;
}

/* What is alone in the queue is tried at once; else the link says when it has room again. */
static void post(struct kvr_peer *peer, struct kvr_item *item)
{
	bool alone = !peer->first;

	append(peer, item);
	if (alone)
		kvr_queue_push(peer);
}

int kvr_peer_send(struct kvr_peer *peer, const struct kvr_out *out, uint64_t cookie)
{
	struct kvr_item *item;
	int rc;

	if (!may_post(peer))
		return kvr_peer_lost(peer);
	rc = check_queue(peer);
	if (rc)
		return rc;
	item = malloc(sizeof(*item) + out->size);
	if (!item)
		return no_memory(peer);
	*item = (struct kvr_item){.cookie = cookie, .tag = (uint32_t)(cookie >> 32), .size = out->size};
	memcpy(item->bytes, out->bytes, out->size);
	post(peer, item);
	return 0;
}

int kvr_peer_write(struct kvr_peer *peer, const struct kvr_write *write, uint32_t tag)
{
	struct kvr_item *item;

	if (!may_post(peer))
		return kvr_peer_lost(peer);
	if (!write->length)
		return 0;
	item = malloc(sizeof(*item));
	if (!item)
		return no_memory(peer);
	*item = (struct kvr_item){.tag = tag, .write = *write};
	post(peer, item);
	return 0;
}

void kvr_peer_cancel(struct kvr_peer *peer, uint32_t tag)
{
	struct kvr_item **at = &peer->first;

	while (*at) {
		struct kvr_item *item = *at;

		if (item->tag != tag) {
			at = &item->next;
			continue;
		}
		*at = item->next;
		peer->queued -= sizeof(*item) + item->size;
		free(item);
	}
	peer->last = at;
}
