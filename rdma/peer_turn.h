/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * peer_turn.h: what a node does with its connections; and what is counted of them for people (peer_counts.c).
 */
#ifndef KVR_PEER_TURN_H
#define KVR_PEER_TURN_H

#include "peer.h"

/* Time passes: silence, PINGs, what was posted meanwhile, the end of a connection that is DOWN. *next: when it is to be
 * called again at the latest. False: it is lost, and the node's to free. */
bool kvr_peer_turn(struct kvr_peer *peer, uint64_t now, uint64_t *next);

/* Closes its link, if that is still there, and frees it. */
void kvr_peer_free(struct kvr_peer *peer);

/* It has a place in the segment's table of peers from here, if there is one left, until the second; and what the link
 * itself counts is entered there. */
void kvr_peer_is_up(struct kvr_peer *peer);
void kvr_peer_end_counting(struct kvr_peer *peer);
void kvr_peer_count_link(struct kvr_peer *peer);

/* This side ends a connection, or finds it ended, for that reason: its store counts what kind of fault that is. */
void kvr_peer_count_fault(const struct kvr_peer *peer, int reason);

/* A round trip was measured: counts it, and what the link has counted by now. */
void kvr_peer_count_round_trip(struct kvr_peer *peer);

#endif
