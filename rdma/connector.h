/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * connector.h: a connection that this process has made, and how the calls with it and its transfers begin and end.
 */
#ifndef KVR_CONNECTOR_H
#define KVR_CONNECTOR_H

#include "peer.h"
#include "transfer.h"

#define KVR_ALIVE UINT64_C(0x72656570)

/* In memory that fork() wipes in the child: there, alive is 0. */
struct kvshm_peer {
	uint64_t alive;
	struct kvr_node node;
	struct kvr_peer *peer;
	struct kvr_call more; /* there are events that had no place: the descriptor is readable */
	bool tells;	      /* somebody takes events */
};

/* Takes the node's lock: -EINVAL (NULL), -ECHILD. Under it the log waits. */
int kvr_connector_enter(struct kvshm_peer *peer);
/* Lets go of it. Returns rc. */
int kvr_connector_leave(struct kvshm_peer *peer, int rc);

#endif
