/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * greeting.h: how two nodes come to know each other: HELLO and PROOF. See peer.h for the states, auth.h for the proof.
 */
#ifndef KVR_GREETING_H
#define KVR_GREETING_H

#include "peer.h"

/* Sends this side's HELLO. */
int kvr_greeting_begin(struct kvr_peer *peer);

/* Each takes the peer to its next state, or says why not: -EPROTO, -EACCES, -EMEDIUMTYPE. bytes: the message, whole. */
int kvr_greeting_on_hello(struct kvr_peer *peer, const struct kvr_hello *hello, const uint8_t *bytes, size_t size);
int kvr_greeting_on_proof(struct kvr_peer *peer, struct kvr_text proof);

/* Frees what it kept. */
void kvr_greeting_end(struct kvr_peer *peer);

#endif
