/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sender.h: transfers that go out to another node: what peer.c tells of messages and links. See receiver.h for when and
 * how these are called.
 */
#ifndef KVR_SENDER_H
#define KVR_SENDER_H

#include "peer.h"

int kvr_sender_open(struct kvr_peer *peer); /* sets peer->sender */
void kvr_sender_close(struct kvr_peer *peer);

int kvr_sender_on_opened(struct kvr_peer *peer, const struct kvr_opened *opened);
int kvr_sender_on_grant(struct kvr_peer *peer, struct kvr_message *grants);
int kvr_sender_on_done(struct kvr_peer *peer, const struct kvr_end *done);
int kvr_sender_on_abort(struct kvr_peer *peer, const struct kvr_end *abort);	 /* not by_sender */
int kvr_sender_on_aborted(struct kvr_peer *peer, const struct kvr_end *aborted); /* not by_sender */
int kvr_sender_on_want(struct kvr_peer *peer, struct kvr_message *message);
int kvr_sender_on_wanted(struct kvr_peer *peer, const struct kvr_wanted *wanted);
void kvr_sender_on_sent(struct kvr_peer *peer, uint64_t cookie);

/* The peer's link is closed, for peer->reason: no source is read any more. */
void kvr_sender_on_lost(struct kvr_peer *peer);

/* The end of a turn: puts what was written and committed meanwhile into the peer's queue, as far as that is good. */
void kvr_sender_work(struct kvr_peer *peer);

#endif
