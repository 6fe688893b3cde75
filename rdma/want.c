/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * want.c: get by key between nodes: what this side wants of the other, and what the other wants of this one. Nobody
 * reads remotely: who has the blocks pushes them, under a request that the wanting side has opened for itself.
 *
 * Guarantees: what is found is held from then on until it was sent (B3). A WANT of several parts is looked up part by
 * part, and holds no more than was named, and no more than the store has blocks; what all of a peer's WANTs have under
 * way is bounded (F2). One that is not whole when its connection ends leaves nothing.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "counters.h"
#include "receiver.h"
#include "sender.h"
#include "transfer.h"
#include "want.h"

/* ---- What the other side wants */

#define ASKED_MAX 4096 /* pushes of one peer at the same time: a store has no more requests */

struct kvr_asked {
	uint32_t want, total, got, attempt, room;
	uint8_t id[KVSHM_REQUEST_ID_MAX];
	size_t id_length;
	size_t held, size;
	struct kvshm_handle *refs;
};

void kvr_asked_free(struct kvr_peer *peer)
{
	struct kvr_asked *asked = peer->sender->asked;

	if (!asked)
		return;
	if (asked->held)
		(void)kvshm_let_go(peer->node->store, asked->refs, asked->held);
	free(asked->refs);
	free(asked);
	peer->sender->asked = NULL;
}

static int answer(struct kvr_peer *peer, uint32_t want, uint32_t have, int result)
{
	struct kvr_wanted wanted = { .want = want, .have = have, .result = result };
	struct kvr_out out;

	kvr_write_wanted(&out, &wanted);
	(void)kvr_peer_send(peer, &out, 0); /* a connection that is lost needs no answer */
	return 0;
}

/* The first part. */
static int begin(struct kvr_peer *peer, const struct kvr_want *want)
{
	struct kvr_asked *asked;

	if (!peer->has_store || want->total > peer->geometry.blocks || !want->want)
		return kvs_fault(EPROTO, "the other side wants %u keys, and its store has %u blocks", want->total,
				 peer->geometry.blocks);
	asked = calloc(1, sizeof(*asked));
	if (!asked)
		return kvs_fault(ENOMEM, "no memory for what the other side wants");
	asked->want = want->want;
	asked->total = want->total;
	asked->attempt = want->attempt;
	asked->room = want->room;
	asked->id_length = want->id.length;
	if (want->id.length)
		memcpy(asked->id, want->id.bytes, want->id.length);
	peer->sender->asked = asked;
	return 0;
}

/* Does it go on where the one before has ended? */
static int check(const struct kvr_asked *asked, const struct kvr_want *want, uint32_t count)
{
	if (want->want != asked->want || want->total != asked->total || want->first != asked->got ||
	    count > asked->total - asked->got || (!count && asked->total))
		return kvs_fault(EPROTO, "the other side's WANT %u does not go on where its part before has ended",
				 want->want);
	return 0;
}

static int make_place(struct kvr_asked *asked, size_t more)
{
	size_t size = asked->size ? asked->size : 64;
	struct kvshm_handle *refs;

	while (size < asked->held + more)
		size *= 2;
	if (size == asked->size)
		return 0;
	refs = realloc(asked->refs, size * sizeof(*refs));
	if (!refs)
		return kvs_fault(ENOMEM, "no memory for what the other side wants");
	asked->refs = refs;
	asked->size = size;
	return 0;
}

/* A key takes three bytes at the least. */
#define KEYS_MAX (KVR_MESSAGE_MAX / 3)

/* Holds those of this part that are ready here. */
static int look_up(struct kvr_peer *peer, struct kvr_asked *asked, struct kvr_message *message)
{
	struct kvshm_geometry here;
	int rc = make_place(asked, message->count);

	if (rc == 0)
		rc = kvshm_get_geometry(peer->node->store, &here);
	for (uint32_t i = 0; i < message->count && rc == 0; i++) {
		struct kvshm_handle *ref = &asked->refs[asked->held];
		struct kvr_text key;

		kvr_next_key(message, &key);
		if (key.length > here.key_max || asked->held >= here.blocks)
			continue;
		rc = kvshm_get(peer->node->store, key.bytes, key.length, ref);
		if (rc == 0)
			asked->held++;
		else if (rc == -ENOENT || rc == -EAGAIN || rc == -EMFILE)
			rc = 0;
	}
	asked->got += message->count;
	return rc;
}

/* Each WANT that goes on has memory here, and holds blocks, for as long as its peer likes. */
static bool is_too_much(const struct kvr_peer *peer, size_t held)
{
	uint64_t positions = held;

	if (peer->sender->under_way >= ASKED_MAX)
		return true;
	for (const struct kvshm_transfer *t = peer->sender->all; t; t = t->next)
		if (t->push && !t->owner)
			positions += t->blocks;
	return positions > KVR_POSITIONS_MAX(peer->node->store->map.g.blocks);
}

/* All parts are there: sends what was found. */
static int push(struct kvr_peer *peer, struct kvr_asked *asked)
{
	struct kvr_push_options options = {
		.open = {
			.want = asked->want,
			.attempt = asked->attempt,
			.room = asked->room,
			.id = { .bytes = asked->id, .length = (uint32_t)asked->id_length },
		},
	};
	size_t held = asked->held;

	asked->held = 0;
	if (is_too_much(peer, held)) {
		(void)kvshm_let_go(peer->node->store, asked->refs, held);
		return answer(peer, asked->want, 0, -EBUSY);
	}
	(void)answer(peer, asked->want, (uint32_t)held, 0);
	return held ? kvr_push_start(peer, &options, asked->refs, held, NULL) : 0;
}

int kvr_sender_on_want(struct kvr_peer *peer, struct kvr_message *message)
{
	struct kvr_sender *sender = peer->sender;
	int rc = 0;

	if (!peer->node->store)
		return message->want.first ? 0 : answer(peer, message->want.want, 0, -EOPNOTSUPP);
	if (!sender->asked)
		rc = begin(peer, &message->want);
	if (rc == 0)
		rc = check(sender->asked, &message->want, message->count);
	if (rc == 0)
		rc = look_up(peer, sender->asked, message);
	if (rc == 0 && sender->asked->got == sender->asked->total) {
		rc = push(peer, sender->asked);
		kvr_asked_free(peer);
	}
	return rc == -ENOTCONN ? 0 : rc;
}

/* ---- What this side wants */

static void *name_of(const struct kvshm_transfer *t)
{
	return (void *)(uintptr_t)t->number; // NOLINT(performance-no-int-to-ptr): it is no address
}

/* Its transfer, which may have been closed and freed meanwhile. */
static struct kvshm_transfer *find(const struct kvr_peer *peer, uint32_t number)
{
	struct kvshm_transfer *t = kvr_transfer_find(peer->sender, number);

	return t && t->wish ? t : NULL;
}

/* A key that this side's store can't have is not asked for: it comes to nothing, as those do that the other side lacks
 * (R24). */
static bool is_possible(const struct kvr_peer *peer, const struct kvshm_key *key)
{
	return key->length <= peer->node->store->map.g.key_max;
}

static int send_want(struct kvshm_transfer *t, const struct kvr_want *want, const struct kvshm_key *keys, size_t count)
{
	struct kvr_want part = *want;
	struct kvr_out out;
	uint32_t done = 0;
	int rc = 0;

	kvr_begin_want(&out, &part);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct kvr_text key = { .bytes = keys[i].bytes, .length = (uint32_t)keys[i].length };

		if (!is_possible(t->peer, &keys[i]))
			continue;
		if (!kvr_add_key(&out, key)) {
			rc = kvr_peer_send(t->peer, &out, 0);
			part.first = done;
			kvr_begin_want(&out, &part);
			(void)kvr_add_key(&out, key);
		}
		done++;
	}
	return rc ? rc : kvr_peer_send(t->peer, &out, 0);
}

int kvr_wish_start(struct kvr_peer *peer, struct kvshm_peer *owner, const struct kvr_want *want,
		   const struct kvshm_key *keys, size_t count, void *user, struct kvshm_transfer **transfer)
{
	struct kvr_wish wish = { .id = want->id.bytes, .id_length = want->id.length, .attempt = want->attempt,
				 .keys = keys, .count = count };
	struct kvr_want whole = *want;
	struct kvshm_transfer *t;
	int rc = kvr_transfer_make(peer, owner, 0, 0, &t);

	if (rc)
		return rc;
	t->wish = true;
	t->phase = KVR_RUNNING;
	t->user = user;
	wish.want = whole.want = t->number;
	wish.user = name_of(t);
	rc = kvr_receiver_wish(peer, &wish);
	if (rc) {
		kvr_transfer_free(t);
		return rc;
	}
	*transfer = t;
	for (size_t i = 0; i < count; i++)
		whole.total += is_possible(peer, &keys[i]);
	kvr_peer_count(peer, KVS_PEER_sent_wants, whole.total);
	/* What it can't is the connection's end, and so the transfer's: that tells. */
	(void)send_want(t, &whole, keys, count);
	return 0;
}

int kvr_sender_on_wanted(struct kvr_peer *peer, const struct kvr_wanted *wanted)
{
	struct kvshm_transfer *t = find(peer, wanted->want);

	if (!t && wanted->want && wanted->want < peer->sender->next)
		return 0; /* late */
	if (!t || t->wanted)
		return kvs_fault(EPROTO, "the other side answers WANT %u, which was not asked, or was answered",
				 wanted->want);
	t->wanted = true;
	if (wanted->result) {
		(void)kvs_fault(-wanted->result, "the other side sends nothing: %s",
				wanted->result == -EOPNOTSUPP ? "it has no store" : strerror(-wanted->result));
		kvr_transfer_will_end(t, wanted->result);
		kvr_receiver_wish_abort(peer, wanted->want);
	} else if (!wanted->have) {
		kvr_receiver_wish_empty(peer, wanted->want);
	}
	return 0;
}

void kvr_wish_abort(struct kvshm_transfer *t)
{
	if (t->phase != KVR_RUNNING)
		return;
	if (!t->result) {
		(void)kvs_routine(ECANCELED, "it was aborted here");
		kvr_transfer_will_end(t, -ECANCELED);
	}
	t->phase = KVR_ABORTING;
	kvr_receiver_wish_abort(t->peer, t->number);
}

void kvr_sender_wish_opened(struct kvr_peer *peer, void *user, const struct kvshm_request *request)
{
	struct kvshm_transfer *t = find(peer, (uint32_t)(uintptr_t)user);

	if (!t)
		return;
	t->request = *request;
	t->has_request = true;
}

void kvr_sender_wish_ended(struct kvr_peer *peer, void *user, int result)
{
	struct kvshm_transfer *t = find(peer, (uint32_t)(uintptr_t)user);

	if (result && peer->state >= KVR_PEER_PARTING)
		return; /* with all that the connection had: kvr_sender_on_lost() says why */
	if (t)
		kvr_transfer_end(t, t->result ? t->result : result);
}
