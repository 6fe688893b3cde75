/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peer.h: a connection to another node, whoever made it, and what several connections of a process share.
 *
 * A node (struct kvr_node) is this side: a listener with all that connect to it, or one connection that was made. It
 * has the loop, the memory that is registered, the requests that come in (receiver.h), and a lock that every public
 * call takes. A peer (struct kvr_peer) is one connection of it: who is at the other end, the messages on their way, and
 * the transfers that go out (sender.h). Both sides of a connection send and receive: who listens sends what is
 * wanted of it.
 *
 *   CONNECTING  the link is being made, by this side      up(): HELLO is sent -> GREETING
 *   GREETING    the other's HELLO is awaited              HELLO that fits: PROOF is sent -> PROVING
 *   PROVING     the other's PROOF is awaited              the right one -> UP
 *   UP          all other messages may come
 *   PARTING     given up: our BYE is on its way, and      it has arrived, or a second has passed -> DOWN
 *               nothing that comes is looked at
 *   DOWN        it is lost: reason says why               its node closes the link, gives all up that it had, and frees
 *                                                         it (but a connector's, whose user does)
 *
 * Guarantees: no message but HELLO, PROOF and BYE is looked at before UP: so nobody opens anything without the secret.
 * A message that does not belong into the state, or makes no sense, ends the connection with a BYE that says why, and
 * nothing else. What a lost connection had is given up behind its link's fence, not before (E2). Silence of a peer for
 * longer than the timeout ends its connection: each side sends a PING when it was silent for a third of the other's.
 * Those that have come, and have not proved who they are, are KVR_STRANGERS_MAX at the same time at most, the oldest
 * of the address that has most of them being dropped for the next one, and have KVR_GREETING_TIME (F2). The log tells
 * of one of them, and then no more until one has proved who it is: how many there were meanwhile.
 */
#ifndef KVR_PEER_H
#define KVR_PEER_H

#include <pthread.h>

#include "kvshm.h"

#include "message.h"
#include "transport.h"

struct kvr_receiver;
struct kvr_sender;

/* Positions of all transfers that one connection may have open, at either end, for a store of so many blocks: four
 * times these, and some for small stores. */
#define KVR_POSITIONS_MAX(blocks) (UINT64_C(4) * (blocks) + 65536)

#define KVR_STRANGERS_MAX 64U
#define KVR_GREETING_TIME UINT64_C(10000000000)

#define KVR_REASON 256 /* of the text that says why a connection was lost */

enum kvr_peer_state {
	KVR_PEER_CONNECTING = 0,
	KVR_PEER_GREETING,
	KVR_PEER_PROVING,
	KVR_PEER_UP,
	KVR_PEER_PARTING,
	KVR_PEER_DOWN,
};

struct kvr_node {
	pthread_mutex_t lock;
	kvshm_store *store; /* NULL: none; a connector's only */
	char store_name[KVSHM_NAME_MAX + 1];
	struct kvr_loop loop;
	struct kvr_watch store_watch; /* the store's descriptor (kvshm_poll_fd()) */
	char *planes[KVSHM_PLANES_MAX]; /* the store's, as they are mapped here, whichever memory they have */
	struct kvr_memory *memory;
	struct kvr_secret secret;
	uint64_t timeout, claim_timeout, fill_timeout; /* the latter two: 0: for ever */
	struct kvr_receiver *receiver; /* NULL without a store */
	uint64_t receiver_at; /* when kvr_receiver_work() is to be called; who has work for it sets it to 0 */
	bool store_rang;
	pthread_cond_t turned; /* a turn has ended: for threads that wait while another sleeps */
	bool sleeping;	       /* a thread sleeps on the loop, without the lock, */
	int awake;	       /* and on this: another thread's turn, or call, may have what it waits for, */
	uint64_t happened;     /* which this counts */
	struct kvr_peer *peers;
	bool stranger_told; /* the log has one that had not proved who it is, since one last did; */
	uint64_t strangers_untold; /* and not these, that came after it */
};

/* What waits to be given to the link: messages and writes, in order. */
struct kvr_item;

struct kvr_peer {
	struct kvr_peer *next; /* of its node's */
	struct kvr_node *node;
	const struct kvr_transport *transport;
	struct kvr_link *link;
	enum kvr_role role;
	enum kvr_peer_state state;
	int reason;		 /* of PARTING and DOWN, negative */
	char text[KVR_REASON];	 /* likewise */
	struct kvr_sender *sender; /* the transfers that go out */
	struct kvr_source *source; /* those that come in: receiver.c's; NULL: none yet */

	/* The other side, from its HELLO. */
	struct kvshm_geometry geometry;
	bool has_store;
	char remote[KVR_TEXT]; /* its address: from its link */
	bool unfenced;	       /* its link has no windows: only the end of the link takes back what was granted */
	char label[KVSHM_LABEL_MAX + 1], store[KVSHM_NAME_MAX + 1], name[KVR_TEXT];
	uint32_t pid;
	uint64_t timeout; /* ns of silence that it bears */

	/* Private to peer.c, queue.c and greeting.c. */
	struct kvr_item *first, **last;
	uint64_t queued; /* bytes of these */
	uint64_t heard, spoke, parted, round_trip;
	uint64_t wrote; /* when bytes of a write came last, where that can be seen */
	uint64_t made;
	bool pinged, proved; /* proved: it has been UP */
	uint8_t *hello[2]; /* by role, as they were sent */
	uint32_t hello_size[2];
	uint32_t stats; /* slot in the segment's table of peers; KVSHM_NO_SLOT: none */
	struct kvr_link_info counted; /* what the table has of the link's own counters */
};

/* ---- Nodes */

/* store may be NULL. On failure nothing is left. */
int kvr_node_open(struct kvr_node *node, kvshm_store *store, const struct kvshm_net_options *options);
/* Registers the store's planes, each once and whole, for whatever device its links will use. They may be exposed, which
 * only windows do. */
int kvr_node_add_planes(struct kvr_node *node);
/* Ends all connections, each behind a BYE, and frees all but the node itself. */
void kvr_node_close(struct kvr_node *node);
/* One turn: runs the loop, and then all that follows of it: the store's events, silence, peers that are lost. Under the
 * lock, which is let go of while it sleeps. Where another thread sleeps on the loop already, its turn is waited for.
 * -ETIMEDOUT: nothing happened. */
int kvr_node_work(struct kvr_node *node, uint64_t deadline);
/* Something has happened that a thread may wait for, in a call that has no turn: who sleeps looks. */
void kvr_node_happened(struct kvr_node *node);

/* ---- Peers */

/* Makes the connection to url's endpoint; the peer is the node's. */
int kvr_peer_connect(struct kvr_node *node, const struct kvr_transport *transport, const struct kvr_endpoint *endpoint,
		     const struct kvr_link_options *options, struct kvr_peer **result);
/* Takes a link that came to a port: for kvr_port_user's accept. */
bool kvr_peer_accept(struct kvr_node *node, const struct kvr_transport *transport, struct kvr_link *link,
		     const struct kvr_link_user **user, void **arg);

/* Puts a message behind all that waits; it is copied. cookie as in transport.h: kvr_sender_sent() is called with it.
 * -ENOTCONN, -ENOMEM, -ENOBUFS (the connection is given up then: nobody can go on without the message). */
int kvr_peer_send(struct kvr_peer *peer, const struct kvr_out *out, uint64_t cookie);
/* The same with a write. tag: the transfer's, for the next call. */
int kvr_peer_write(struct kvr_peer *peer, const struct kvr_write *write, uint32_t tag);
/* Takes back what the link was not given yet of a transfer: its writes, and messages whose cookie has the tag in its
 * upper half: a COMMIT must not go without its writes. What it was given is through when a message that is sent behind
 * has arrived. */
void kvr_peer_cancel(struct kvr_peer *peer, uint32_t tag);

/* Ends a connection: says BYE with the calling thread's last error text (kvs_fault_text()), for that reason (negative).
 * Its transfers are told when the link is closed, in the node's turn. */
void kvr_peer_give_up(struct kvr_peer *peer, int reason);

/* Windows, for the receiver: see transport.h. */
int kvr_peer_expose(struct kvr_peer *peer, void *address, uint64_t length, void *user, struct kvr_window **window);
void kvr_peer_withdraw(struct kvr_peer *peer, struct kvr_window *window);

/* Counts something of a connection (shm/peers.def). */
void kvr_peer_count(struct kvr_peer *peer, unsigned counter, uint64_t n);

/* -ENOTCONN, with the text of why. */
int kvr_peer_lost(const struct kvr_peer *peer);

#endif
