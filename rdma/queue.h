/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * queue.h: what peer.c needs of the queue of a connection; what others may do with it is in peer.h.
 */
#ifndef KVR_QUEUE_H
#define KVR_QUEUE_H

#include "peer.h"

void kvr_queue_init(struct kvr_peer *peer);
void kvr_queue_clear(struct kvr_peer *peer);

/* Gives the link what it takes. */
void kvr_queue_push(struct kvr_peer *peer);

/* What the link has been given and has kept, it is to send now. */
void kvr_queue_flush(struct kvr_peer *peer);

#endif
