/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver.h: requests that come in from other nodes: what peer.c tells of messages, links and time.
 *
 * All are called under the node's lock, in the node's turn. Those with a peer are called in its state UP, but lost().
 * A message that breaks the rules is told by a negative errno, with its text: peer.c ends the connection then.
 */
#ifndef KVR_RECEIVER_H
#define KVR_RECEIVER_H

#include "peer.h"

int kvr_receiver_open(struct kvr_node *node);	/* node->store is attached */
void kvr_receiver_close(struct kvr_node *node); /* all links are closed */

int kvr_receiver_on_open(struct kvr_peer *peer, const struct kvr_open *open);
int kvr_receiver_on_offer(struct kvr_peer *peer, struct kvr_message *offers);
int kvr_receiver_on_commit(struct kvr_peer *peer, struct kvr_message *commits);
int kvr_receiver_on_abort(struct kvr_peer *peer, const struct kvr_end *abort);	   /* by_sender */
int kvr_receiver_on_aborted(struct kvr_peer *peer, const struct kvr_end *aborted); /* by_sender */
void kvr_receiver_on_withdrawn(struct kvr_peer *peer, struct kvr_window *window);

/* The peer's link is closed: all that it was granted is fenced; windows are gone without on_withdrawn(). */
void kvr_receiver_on_lost(struct kvr_peer *peer);

/* Something has changed in the store, or the time has come that it returned last: looks at rooms, at fills of others,
 * at ends that were asked for, at deadlines. Returns when it is to be called at the
 * latest (ns; UINT64_MAX: no need). */
uint64_t kvr_receiver_work(struct kvr_node *node, uint64_t now);

/* What this process wants of a peer: opens its own request for it, and expects the peer's OPEN of that want. The rest
 * goes as with any OPEN. In the number of the want its OPEN is recognised. */
struct kvr_wish {
	uint32_t want; /* above 0 */
	const void *id;
	size_t id_length;
	uint32_t attempt;
	/* It is to be filled with these, and no others: what the peer offers beside them is refused, position by
	 * position. Those that the store can't have count for none. Used during the call only. */
	const struct kvshm_key *keys;
	size_t count;
	void *user;
};
/* Told of each: request is the store's, once it was opened; ended: 0 it is complete, else why not. */
void kvr_sender_wish_opened(struct kvr_peer *peer, void *user, const struct kvshm_request *request);
void kvr_sender_wish_ended(struct kvr_peer *peer, void *user, int result);
int kvr_receiver_wish(struct kvr_peer *peer, const struct kvr_wish *wish);
/* The peer has nothing of it (WANTED with have 0): its request is opened with 0 blocks, and complete. */
void kvr_receiver_wish_empty(struct kvr_peer *peer, uint32_t want);
/* Aborts it, as an abort from this side. */
void kvr_receiver_wish_abort(struct kvr_peer *peer, uint32_t want);

#endif
