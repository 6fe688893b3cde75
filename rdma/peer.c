/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peer.c: a connection: its states, what comes over its link and where that goes, and how it ends. Contract in peer.h.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "greeting.h"
#include "peer_turn.h"
#include "queue.h"
#include "receiver.h"
#include "sender.h"
#include "url.h"
#include "wait.h"

#define BYE_COOKIE UINT64_MAX
#define PARTING_TIME UINT64_C(1000000000)

/* ---- Ends ------------------------------------------------------------------------------------------------------ */

int kvr_peer_lost(const struct kvr_peer *peer)
{
	return kvs_fault(ENOTCONN, "the connection to %s is lost: %s", peer->remote,
			 peer->text[0] ? peer->text : "it was never made");
}

static void note_reason(struct kvr_peer *peer, int reason, const char *text)
{
	peer->reason = reason;
	(void)snprintf(peer->text, sizeof(peer->text), "%s", text);
}

/* Anyone may connect, and so would fill the log: of those that have proved nothing one is told, until one has. */
static void tell_people(const struct kvr_peer *peer)
{
	struct kvr_node *node = peer->node;

	if (!peer->proved && node->stranger_told) {
		node->strangers_untold++;
		return;
	}
	kvs_log(KVS_LOG_WARNING, "the connection of %s is given up: %s%s", peer->remote, peer->text,
		peer->proved ? "" : " (more like it are counted only, until one has proved who it is)");
	if (!peer->proved)
		node->stranger_told = true;
}

/* One has proved who it is. */
static void tell_of_strangers(struct kvr_node *node)
{
	if (node->strangers_untold)
		kvs_log(KVS_LOG_WARNING, "%llu more connections were given up that had not proved who they are",
			(unsigned long long)node->strangers_untold);
	node->strangers_untold = 0;
	node->stranger_told = false;
}

/* This side has found it, and told it. Who listens has no caller who would hear of it; that this side ends all in order
 * (-ESHUTDOWN) is no fault. */
static void see_fault(struct kvr_peer *peer, int reason)
{
	note_reason(peer, reason, kvs_fault_text());
	kvr_peer_count_fault(peer, reason);
	if (peer->role == KVR_ACCEPTOR && reason != -ESHUTDOWN)
		tell_people(peer);
}

void kvr_peer_give_up(struct kvr_peer *peer, int reason)
{
	struct kvr_out out;

	if (peer->state >= KVR_PEER_PARTING)
		return;
	see_fault(peer, reason);
	kvr_queue_clear(peer);
	kvr_write_bye(&out, reason, peer->text);
	if (peer->state == KVR_PEER_CONNECTING ||
	    peer->transport->send(peer->link, out.bytes, out.size, BYE_COOKIE) != 0) {
		peer->state = KVR_PEER_DOWN;
		return;
	}
	peer->state = KVR_PEER_PARTING;
	peer->parted = kvs_now();
}

/* The other side has said goodbye. Its number is taken for what it is worth: an errno. */
static void on_bye(struct kvr_peer *peer, const struct kvr_bye *bye)
{
	char text[KVR_REASON - 32];

	kvr_text_show(bye->text, text, sizeof(text));
	note_reason(peer, bye->result < 0 && bye->result > -4096 ? bye->result : -ECONNRESET, "it has closed it");
	if (text[0])
		(void)snprintf(peer->text, sizeof(peer->text), "it has closed it: %s", text);
	peer->state = KVR_PEER_DOWN;
}

/* ---- What comes ------------------------------------------------------------------------------------------------ */

static int pong(struct kvr_peer *peer, uint64_t time)
{
	struct kvr_out out;

	kvr_write_ping(&out, KVR_PONG, time);
	/* Past the queue. Where the link has no room, what fills it says that this side lives. */
	(void)peer->transport->send(peer->link, out.bytes, out.size, 0);
	return 0;
}

static int on_pong(struct kvr_peer *peer, uint64_t time)
{
	uint64_t now = kvs_now();

	if (time > now)
		return kvs_fault(EPROTO, "%s answers a PING that was never sent", peer->remote);
	peer->round_trip = now - time;
	kvr_peer_count_round_trip(peer);
	return 0;
}

static int on_abort(struct kvr_peer *peer, const struct kvr_message *message)
{
	bool abort = message->type == KVR_ABORT;

	if (!message->end.by_sender)
		return abort ? kvr_sender_on_abort(peer, &message->end) : kvr_sender_on_aborted(peer, &message->end);
	if (!peer->node->receiver)
		return kvs_fault(EPROTO, "%s ends a transfer, and this side has no store for any", peer->remote);
	return abort ? kvr_receiver_on_abort(peer, &message->end) : kvr_receiver_on_aborted(peer, &message->end);
}

/* What is for the receiver. */
static int to_receiver(struct kvr_peer *peer, struct kvr_message *message)
{
	if (!peer->node->receiver)
		return kvs_fault(EPROTO, "%s sends blocks, and this side has no store for any", peer->remote);
	switch (message->type) {
	case KVR_OPEN:
		return kvr_receiver_on_open(peer, &message->open);
	case KVR_OFFER:
		return kvr_receiver_on_offer(peer, message);
	default:
		return kvr_receiver_on_commit(peer, message);
	}
}

static int dispatch(struct kvr_peer *peer, struct kvr_message *message)
{
	switch (message->type) {
	case KVR_OPEN:
	case KVR_OFFER:
	case KVR_COMMIT:
		return to_receiver(peer, message);
	case KVR_OPENED:
		return kvr_sender_on_opened(peer, &message->opened);
	case KVR_GRANT:
		return kvr_sender_on_grant(peer, message);
	case KVR_ABORT:
	case KVR_ABORTED:
		return on_abort(peer, message);
	case KVR_DONE:
		return kvr_sender_on_done(peer, &message->end);
	case KVR_WANT:
		return kvr_sender_on_want(peer, message);
	case KVR_WANTED:
		return kvr_sender_on_wanted(peer, &message->wanted);
	case KVR_PING:
		return pong(peer, message->time);
	case KVR_PONG:
		return on_pong(peer, message->time);
	default:
		return kvs_fault(EPROTO, "%s sends a message of type %d where none is expected", peer->remote,
				 (int)message->type);
	}
}

static bool has_no_windows(const struct kvr_peer *peer)
{
	struct kvr_link_info info;

	peer->transport->describe(peer->link, &info);
	return info.flags & KVR_LINK_NO_WINDOWS;
}

static int greet(struct kvr_peer *peer, const struct kvr_message *message, const uint8_t *bytes, size_t size)
{
	if (peer->state <= KVR_PEER_GREETING && message->type == KVR_HELLO)
		return kvr_greeting_on_hello(peer, &message->hello, bytes, size);
	if (peer->state == KVR_PEER_PROVING && message->type == KVR_PROOF) {
		int rc = kvr_greeting_on_proof(peer, message->proof);

		if (rc == 0) {
			peer->proved = true;
			tell_of_strangers(peer->node);
			peer->unfenced = has_no_windows(peer);
			kvr_peer_is_up(peer);
		}
		return rc;
	}
	return kvs_fault(EPROTO, "%s sends a message of type %d before it has said who it is: is kvshm at that port?",
			 peer->remote, (int)message->type);
}

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	struct kvr_peer *peer = arg;
	struct kvr_message message;
	int rc;

	if (peer->state >= KVR_PEER_PARTING)
		return;
	peer->heard = kvs_now();
	rc = kvr_read(bytes, size, &message);
	if (rc == 0 && message.type == KVR_BYE) {
		on_bye(peer, &message.bye);
		return;
	}
	if (rc == 0)
		rc = peer->state == KVR_PEER_UP ? dispatch(peer, &message) : greet(peer, &message, bytes, size);
	if (rc)
		kvr_peer_give_up(peer, rc);
}

static void on_up(void *arg)
{
	struct kvr_peer *peer = arg;
	int rc;

	peer->heard = kvs_now();
	rc = kvr_greeting_begin(peer);
	if (rc)
		kvr_peer_give_up(peer, rc);
}

/* A PING waits behind the writes before it, which may take longer than the timeout. */
static void on_heard(void *arg)
{
	struct kvr_peer *peer = arg;

	peer->heard = peer->wrote = kvs_now();
}

static void on_room(void *arg)
{
	struct kvr_peer *peer = arg;

	if (peer->state <= KVR_PEER_UP)
		kvr_queue_push(peer);
}

static void on_sent(void *arg, uint64_t cookie)
{
	struct kvr_peer *peer = arg;

	if (cookie == BYE_COOKIE && peer->state == KVR_PEER_PARTING)
		peer->state = KVR_PEER_DOWN;
	else if (peer->state == KVR_PEER_UP)
		kvr_sender_on_sent(peer, cookie);
}

static void on_withdrawn(void *arg, struct kvr_window *window)
{
	struct kvr_peer *peer = arg;

	if (peer->state == KVR_PEER_UP)
		kvr_receiver_on_withdrawn(peer, window);
}

static void on_down(void *arg, int reason)
{
	struct kvr_peer *peer = arg;

	if (peer->state < KVR_PEER_PARTING)
		see_fault(peer, reason);
	peer->state = KVR_PEER_DOWN;
}

static const struct kvr_link_user link_user = {
	.up = on_up,
	.message = on_message,
	.heard = on_heard,
	.room = on_room,
	.sent = on_sent,
	.withdrawn = on_withdrawn,
	.down = on_down,
};

/* ---- Life ------------------------------------------------------------------------------------------------------ */

static int make(struct kvr_node *node, const struct kvr_transport *transport, enum kvr_role role,
		struct kvr_peer **made)
{
	struct kvr_peer *peer = calloc(1, sizeof(*peer));
	int rc;

	if (!peer)
		return kvs_fault(ENOMEM, "no memory");
	peer->node = node;
	peer->transport = transport;
	peer->role = role;
	if (role == KVR_ACCEPTOR) /* it answers the other's HELLO with its own */
		peer->state = KVR_PEER_GREETING;
	peer->stats = KVSHM_NO_SLOT;
	peer->made = peer->heard = peer->spoke = kvs_now();
	kvr_queue_init(peer);
	rc = kvr_sender_open(peer);
	if (rc) {
		free(peer);
		return rc;
	}
	*made = peer;
	return 0;
}

static void enter(struct kvr_peer *peer)
{
	peer->next = peer->node->peers;
	peer->node->peers = peer;
}

int kvr_peer_connect(struct kvr_node *node, const struct kvr_transport *transport, const struct kvr_endpoint *endpoint,
		     const struct kvr_link_options *options, struct kvr_peer **result)
{
	struct kvr_peer *peer;
	int rc = make(node, transport, KVR_CONNECTOR, &peer);

	if (rc)
		return rc;
	rc = transport->connect(&node->loop, endpoint, options, node->memory, &link_user, peer, &peer->link);
	if (rc) {
		kvr_sender_close(peer);
		free(peer);
		return rc;
	}
	kvr_endpoint_write(endpoint, peer->remote, sizeof(peer->remote));
	enter(peer);
	*result = peer;
	return 0;
}

static bool is_stranger(const struct kvr_peer *peer)
{
	return peer->role == KVR_ACCEPTOR && !peer->proved && peer->state != KVR_PEER_DOWN;
}

/* Those of one address that have proved nothing. */
static unsigned count_of(struct kvr_peer *const *strangers, unsigned count, const struct kvr_peer *one)
{
	const char *port = strrchr(one->remote, ':');
	size_t length = port ? (size_t)(port - one->remote) + 1 : sizeof(one->remote);
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++)
		found += memcmp(strangers[i]->remote, one->remote, length) == 0;
	return found;
}

/* One more is about to come: who connects and says nothing must not keep others out. The one that goes is of the
 * address that has most of them, so that who connects very often is in its own way, and the oldest of these. It is not
 * said goodbye to, which would take time. (The newest is first.) */
static void make_place(struct kvr_node *node)
{
	struct kvr_peer *strangers[KVR_STRANGERS_MAX], *goes = NULL;
	unsigned count = 0, most = 0;

	for (struct kvr_peer *peer = node->peers; peer && count < KVR_STRANGERS_MAX; peer = peer->next)
		if (is_stranger(peer))
			strangers[count++] = peer;
	if (count < KVR_STRANGERS_MAX)
		return;
	for (unsigned i = 0; i < count; i++) {
		unsigned like_it = count_of(strangers, count, strangers[i]);

		if (like_it >= most) {
			most = like_it;
			goes = strangers[i];
		}
	}
	see_fault(goes, kvs_fault(ETIMEDOUT, "%u others have connected before it proved who it is",
				  KVR_STRANGERS_MAX));
	goes->state = KVR_PEER_DOWN;
}

bool kvr_peer_accept(struct kvr_node *node, const struct kvr_transport *transport, struct kvr_link *link,
		     const struct kvr_link_user **user, void **arg)
{
	struct kvr_link_info info;
	struct kvr_peer *peer;

	transport->describe(link, &info);
	if (make(node, transport, KVR_ACCEPTOR, &peer)) {
		kvs_log(KVS_LOG_WARNING, "the connection of %s is refused: %s", info.remote, kvs_fault_text());
		return false;
	}
	make_place(node);
	peer->link = link;
	(void)snprintf(peer->remote, sizeof(peer->remote), "%s", info.remote);
	enter(peer);
	*user = &link_user;
	*arg = peer;
	return true;
}

/* The link is closed, and with it the fence is there: what the connection had is given up. Once. */
static void bury(struct kvr_peer *peer)
{
	if (!peer->link)
		return;
	kvr_peer_count_link(peer);
	peer->transport->close(peer->link);
	peer->link = NULL;
	kvr_queue_clear(peer);
	kvr_greeting_end(peer);
	if (peer->node->receiver)
		kvr_receiver_on_lost(peer);
	kvr_sender_on_lost(peer);
	kvr_peer_end_counting(peer);
}

void kvr_peer_free(struct kvr_peer *peer)
{
	bury(peer);
	kvr_sender_close(peer);
	free(peer);
}

/* ---- Turns ----------------------------------------------------------------------------------------------------- */

/* Says that this side lives, if it has said nothing for a while, or has not measured the way yet. */
static void ping(struct kvr_peer *peer, uint64_t now)
{
	struct kvr_out out;

	if (peer->pinged && now - peer->spoke < peer->timeout / 3)
		return;
	kvr_write_ping(&out, KVR_PING, now);
	if (peer->transport->send(peer->link, out.bytes, out.size, 0) == 0)
		peer->pinged = true;
	peer->spoke = now;
}

/* When it is given up, if nothing comes: what the greeting takes is bounded as a whole. */
static uint64_t patience(const struct kvr_peer *peer)
{
	uint64_t silent = peer->heard + peer->node->timeout, greeted = peer->made + KVR_GREETING_TIME;

	return is_stranger(peer) && greeted < silent ? greeted : silent;
}

bool kvr_peer_turn(struct kvr_peer *peer, uint64_t now, uint64_t *next)
{
	const uint64_t silence = peer->node->timeout;

	if (peer->state < KVR_PEER_PARTING && peer->state != KVR_PEER_CONNECTING && now > patience(peer))
		kvr_peer_give_up(peer, kvs_fault(ETIMEDOUT, "%s for %u s",
						 peer->proved ? "nothing was heard of it" :
						 "it has not said, and proved, who it is",
						 (unsigned)((now - (peer->proved ? peer->heard : peer->made)) /
							    1000000000)));
	if (peer->state == KVR_PEER_UP) {
		ping(peer, now);
		kvr_sender_work(peer);
		kvr_queue_flush(peer);
		*next = now + (peer->timeout < silence ? peer->timeout : silence) / 3 + 1;
	} else if (peer->state < KVR_PEER_PARTING) {
		*next = patience(peer) + 1;
	} else if (peer->state == KVR_PEER_PARTING) {
		*next = peer->parted + PARTING_TIME;
		if (now >= *next)
			peer->state = KVR_PEER_DOWN;
	}
	if (peer->state != KVR_PEER_DOWN)
		return true;
	bury(peer);
	*next = UINT64_MAX;
	return peer->role == KVR_CONNECTOR;
}

/* ---- Windows --------------------------------------------------------------------------------------------------- */

int kvr_peer_expose(struct kvr_peer *peer, void *address, uint64_t length, void *user, struct kvr_window **window)
{
	if (peer->state != KVR_PEER_UP)
		return kvr_peer_lost(peer);
	return peer->transport->expose(peer->link, address, length, user, window);
}

void kvr_peer_withdraw(struct kvr_peer *peer, struct kvr_window *window)
{
	if (peer->state == KVR_PEER_UP)
		peer->transport->withdraw(peer->link, window);
}
