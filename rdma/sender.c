/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sender.c: what the receiving side answers to a transfer. Guarantees: see transfer.h; an answer whose positions,
 * counts, planes or addresses do not fit what was asked is refused whole, which ends the connection (R09, F2).
 */
#include "config.h"

#include <string.h>

#include "counters.h"
#include "fault.h"
#include "sender.h"
#include "transfer.h"

/* *t is NULL where it has ended: what comes then is late. -EPROTO: it was never begun, or sends nothing. */
static int find(const struct kvr_peer *peer, uint32_t number, enum kvr_type type, struct kvshm_transfer **t)
{
	*t = kvr_transfer_find(peer->sender, number);
	if (*t ? !(*t)->wish : number && number < peer->sender->next)
		return 0;
	return kvs_fault(EPROTO, "the other side sent %s for transfer %u, which was never opened",
			 kvr_type_name(type), number);
}

static int unexpected(const struct kvshm_transfer *t, enum kvr_type type)
{
	static const char *const phases[] = {
		[KVR_OPENING] = "not opened yet", [KVR_RUNNING] = "running",   [KVR_FINISHING] = "complete",
		[KVR_ABORTING] = "being aborted", [KVR_DRAINING] = "draining", [KVR_ENDED] = "over",
	};

	return kvs_fault(EPROTO, "the other side sent %s for transfer %u, which is %s", kvr_type_name(type), t->number,
			 phases[t->phase]);
}

/* ---- The ends of phases */

static void aborted(struct kvshm_transfer *t)
{
	if (t->phase == KVR_ABORTING && t->answered && t->drained)
		kvr_transfer_end(t, t->result);
}

static void answered(struct kvshm_transfer *t)
{
	t->answered = true;
	aborted(t);
}

static void finish(struct kvshm_transfer *t)
{
	if (t->phase == KVR_FINISHING && t->arrived == t->committed)
		kvr_transfer_end(t, t->result);
}

void kvr_transfer_abort(struct kvshm_transfer *t)
{
	if (t->phase != KVR_OPENING && t->phase != KVR_RUNNING)
		return;
	(void)kvs_routine(ECANCELED, "the transfer was aborted here");
	kvr_transfer_will_end(t, -ECANCELED);
	t->phase = KVR_ABORTING;
	kvr_transfer_drop_offers(t);
	(void)kvr_transfer_send_last(t, KVR_ABORT); /* a connection that is lost ends it, too */
}

void kvr_sender_on_sent(struct kvr_peer *peer, uint64_t cookie)
{
	struct kvshm_transfer *t = kvr_transfer_find(peer->sender, (uint32_t)(cookie >> 32));

	if (!t)
		return;
	if ((uint32_t)cookie != KVR_LAST) {
		kvr_transfer_arrived(t, (uint32_t)cookie);
		finish(t);
		return;
	}
	t->drained = true;
	if (t->phase == KVR_DRAINING)
		kvr_transfer_end(t, t->result);
	else
		aborted(t);
}

/* ---- OPENED */

int kvr_sender_on_opened(struct kvr_peer *peer, const struct kvr_opened *opened)
{
	struct kvshm_transfer *t;
	int rc = find(peer, opened->transfer, KVR_OPENED, &t);
	char text[200];

	if (rc || !t)
		return rc;
	if (t->phase != KVR_OPENING && t->phase != KVR_ABORTING && t->phase != KVR_DRAINING)
		return unexpected(t, KVR_OPENED);
	if (opened->result == 0) {
		if (t->phase == KVR_OPENING) {
			t->phase = KVR_RUNNING;
			(void)kvr_transfer_send_offers(t);
		}
		return 0;
	}
	if (t->phase == KVR_OPENING) {
		kvr_text_show(opened->text, text, sizeof(text));
		(void)kvs_fault(-opened->result, "the other side refused the transfer: %s",
				*text ? text : strerror(-opened->result));
		kvr_transfer_end(t, opened->result);
	} else if (t->phase == KVR_ABORTING) {
		answered(t);
	}
	return 0;
}

/* ---- GRANT */

/* Of a plane's target: asked for, not twice, and inside of an address space. */
static int check_target(const struct kvshm_transfer *t, const struct kvr_grant_plane *plane, uint32_t *planes)
{
	uint32_t bit = plane->plane < KVSHM_PLANES_MAX ? UINT32_C(1) << plane->plane : 0;
	uint64_t end;

	if (!(bit & t->planes) || bit & *planes)
		return kvs_fault(EPROTO, "it grants plane %u, which was not asked for, or twice", plane->plane);
	if (__builtin_add_overflow(plane->address, t->peer->geometry.block_size, &end))
		return kvs_fault(EPROTO, "it grants a block at the end of the address space");
	*planes |= bit;
	return 0;
}

static int check_planes(const struct kvshm_transfer *t, const struct kvr_grant *grant)
{
	uint32_t planes = 0;
	int rc = 0;

	if (grant->count != (grant->kind == KVR_WRITE_IT ? t->plane_count : 0))
		return kvs_fault(EPROTO, "it grants %u planes where %u were asked for", grant->count, t->plane_count);
	if (grant->kind == KVR_WRITE_IT && grant->block >= t->peer->geometry.blocks)
		return kvs_fault(EPROTO, "it grants block %u of %u", grant->block, t->peer->geometry.blocks);
	for (uint32_t i = 0; i < grant->count && rc == 0; i++)
		rc = check_target(t, &grant->planes[i], &planes);
	return rc;
}

static int check_grant(struct kvshm_transfer *t, const struct kvr_grant *grant)
{
	struct kvr_sending *p;

	if (grant->position >= t->blocks)
		return kvs_fault(EPROTO, "it answers for block %u of %u", grant->position, t->blocks);
	p = &t->positions[grant->position];
	if (p->mark == t->marks)
		return kvs_fault(EPROTO, "it answers twice for block %u", grant->position);
	p->mark = t->marks;
	if (p->state != KVSHM_SENDING_OFFERED && (p->state != KVSHM_SENDING_PENDING || grant->kind == KVR_PENDING))
		return kvs_fault(EPROTO, "it answers for block %u, which was not offered, or has its answer",
				 grant->position);
	if ((grant->kind == KVR_REFUSED) != (grant->result != 0))
		return kvs_fault(EPROTO, "its result for block %u is %d", grant->position, grant->result);
	return check_planes(t, grant);
}

static int check_grants(struct kvshm_transfer *t, struct kvr_message grants)
{
	int rc = 0;

	t->marks++;
	for (uint32_t i = 0; i < grants.count && rc == 0; i++) {
		struct kvr_grant grant;

		kvr_next_grant(&grants, &grant);
		rc = check_grant(t, &grant);
	}
	if (rc) {
		char text[256];

		(void)strncpy(text, kvs_fault_text(), sizeof(text) - 1);
		text[sizeof(text) - 1] = 0;
		return kvs_fault(EPROTO, "the other side's answer to transfer %u is refused whole: %s", t->number,
				 text);
	}
	return 0;
}

static uint32_t index_of(uint32_t planes, uint32_t plane)
{
	return (uint32_t)__builtin_popcount(planes & ((UINT32_C(1) << plane) - 1));
}

static void take_grant(struct kvshm_transfer *t, const struct kvr_grant *grant)
{
	static const enum kvshm_sending states[] = {
		[KVR_WRITE_IT] = KVSHM_SENDING_GRANTED,
		[KVR_HERE] = KVSHM_SENDING_THERE,
		[KVR_PENDING] = KVSHM_SENDING_PENDING,
		[KVR_REFUSED] = KVSHM_SENDING_REFUSED,
	};
	struct kvr_target *targets = &t->targets[(uint64_t)grant->position * t->plane_count];

	for (uint32_t i = 0; i < grant->count; i++)
		targets[index_of(t->planes, grant->planes[i].plane)] =
			(struct kvr_target){ .address = grant->planes[i].address, .rkey = grant->planes[i].rkey };
	t->positions[grant->position].result = grant->result;
	if (grant->kind == KVR_HERE)
		kvr_peer_count(t->peer, KVS_PEER_sent_deduplicated, 1);
	else if (grant->kind == KVR_REFUSED)
		kvr_peer_count(t->peer, KVS_PEER_sent_refused, 1);
	kvr_transfer_move(t, grant->position, states[grant->kind]);
}

/* A push goes on with what was granted at once: positions of one message. */
#define GRANTS_AT_ONCE (KVR_MESSAGE_MAX / 24)

static int take_grants(struct kvshm_transfer *t, struct kvr_message *grants)
{
	uint32_t granted[GRANTS_AT_ONCE];
	uint32_t count = 0;

	for (uint32_t i = 0; i < grants->count; i++) {
		struct kvr_grant grant;

		kvr_next_grant(grants, &grant);
		take_grant(t, &grant);
		if (grant.kind == KVR_WRITE_IT && count < GRANTS_AT_ONCE)
			granted[count++] = grant.position;
	}
	return t->push ? kvr_push_granted(t, granted, count) : 0;
}

int kvr_sender_on_grant(struct kvr_peer *peer, struct kvr_message *grants)
{
	struct kvshm_transfer *t;
	int rc = find(peer, grants->transfer, KVR_GRANT, &t);

	if (rc || !t || t->phase == KVR_ABORTING || t->phase == KVR_DRAINING)
		return rc;
	if (t->phase != KVR_RUNNING)
		return unexpected(t, KVR_GRANT);
	rc = check_grants(t, *grants);
	return rc ? rc : take_grants(t, grants);
}

/* ---- DONE, ABORT, ABORTED */

/* What it says must be possible: nothing of this sender's is open any more; with a good end nothing ever was. */
static int check_done(const struct kvshm_transfer *t, const struct kvr_end *done)
{
	uint32_t open = t->count[KVSHM_SENDING_OFFERED] + t->count[KVSHM_SENDING_PENDING] +
			t->count[KVSHM_SENDING_GRANTED];

	if (open || (done->result == 0 && t->count[KVSHM_SENDING_NONE]))
		return kvs_fault(EPROTO, "the other side sent DONE for transfer %u, of which %u blocks are open and %u "
				 "were not offered", t->number, open, t->count[KVSHM_SENDING_NONE]);
	return 0;
}

/* Blocks that did not come: refused, or given up by this side. */
static bool lacks_some(const struct kvshm_transfer *t)
{
	for (uint32_t i = t->arrived; i < t->committed; i++)
		if (t->positions[t->order[i]].given_up)
			return true;
	return t->count[KVSHM_SENDING_REFUSED] != 0;
}

int kvr_sender_on_done(struct kvr_peer *peer, const struct kvr_end *done)
{
	struct kvshm_transfer *t;
	int rc = find(peer, done->transfer, KVR_DONE, &t);

	if (rc || !t || t->phase == KVR_DRAINING)
		return rc;
	if (t->phase == KVR_ABORTING) { /* it crossed the ABORT: so it came first over there */
		if (done->result == 0)
			kvr_transfer_will_end(t, 0);
		answered(t);
		return 0;
	}
	if (t->phase != KVR_RUNNING)
		return unexpected(t, KVR_DONE);
	rc = check_done(t, done);
	if (rc)
		return rc;
	t->phase = KVR_FINISHING;
	if (done->result || lacks_some(t)) {
		rc = done->result ? done->result : -ECANCELED;
		(void)kvs_fault(-rc, "some of its blocks did not come: the events of the transfer say which");
		kvr_transfer_will_end(t, rc);
	}
	finish(t);
	return 0;
}

static const char *why_there(int result)
{
	switch (result) {
	case -ECANCELED:
		return "its request was ended there, or not claimed, or a block was refused (its event says why)";
	case -ETIMEDOUT:
		return "no block of it was offered, written or committed for longer than its fill timeout there "
		       "(kvshmd --fill-timeout)";
	case -ECONNRESET:
		return "the connection of another of its senders was lost there";
	default:
		return strerror(-result);
	}
}

int kvr_sender_on_abort(struct kvr_peer *peer, const struct kvr_end *abort)
{
	struct kvshm_transfer *t;
	int rc = find(peer, abort->transfer, KVR_ABORT, &t);

	if (rc || !t || t->phase == KVR_DRAINING || t->phase == KVR_FINISHING)
		return rc;
	if (t->phase == KVR_ABORTING) {
		answered(t);
		return 0;
	}
	rc = abort->result ? abort->result : -ECANCELED;
	(void)kvs_fault(-rc, "the other side ended the transfer: %s", why_there(rc));
	kvr_transfer_will_end(t, rc);
	t->phase = KVR_DRAINING;
	kvr_transfer_drop_offers(t);
	(void)kvr_transfer_send_last(t, KVR_ABORTED);
	return 0;
}

int kvr_sender_on_aborted(struct kvr_peer *peer, const struct kvr_end *aborted)
{
	struct kvshm_transfer *t;
	int rc = find(peer, aborted->transfer, KVR_ABORTED, &t);

	if (rc || !t)
		return rc;
	if (t->phase == KVR_OPENING || t->phase == KVR_RUNNING)
		return unexpected(t, KVR_ABORTED);
	if (t->phase == KVR_ABORTING)
		answered(t);
	return 0;
}

/* ---- The connection */

void kvr_sender_on_lost(struct kvr_peer *peer)
{
	struct kvr_sender *sender = peer->sender;
	int reason = peer->reason ? peer->reason : -ECONNRESET;
	struct kvshm_transfer *next;

	sender->write.length = 0;
	for (struct kvshm_transfer *t = sender->all; t; t = next) {
		next = t->next;
		(void)kvs_fault(-reason, "the connection was lost: %s",
				*peer->text ? peer->text : "the other side said goodbye");
		t->text[0] = 0;
		if (t->phase != KVR_ENDED)
			kvr_transfer_end(t, reason);
	}
	kvr_asked_free(peer);
}

void kvr_sender_work(struct kvr_peer *peer)
{
	(void)kvr_transfer_flush(peer);
}
