/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * listener.h: who listens on behalf of a store: a node, and the port that its connections come to.
 */
#ifndef KVR_LISTENER_H
#define KVR_LISTENER_H

#include "peer.h"

struct kvshm_listener {
	uint64_t alive; /* KVR_LISTENING; in a child of fork(): 0 */
	struct kvr_node node;
	const struct kvr_transport *transport;
	struct kvr_endpoint endpoint;
	struct kvr_port *port;
	int reason; /* why it is lost; 0: it is not */
	char text[KVR_REASON];
};

#define KVR_LISTENING UINT64_C(0x6e657473696c)

#endif
