/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * auth.h: two sides that share a key prove it to each other, without showing it: each sends a nonce in its HELLO, and
 * then HMAC-SHA-256 (RFC 2104, by libsodium) over a constant, its own role, and both HELLO messages, whole. Who has
 * sent which HELLO is in it, so that a proof is of no use on another connection or to the other side. (The header's
 * credits are the link's, and written behind whoever builds a HELLO: they are taken as 0.)
 */
#ifndef KVR_AUTH_H
#define KVR_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVR_NONCE_SIZE 32
#define KVR_PROOF_SIZE 32
#define KVR_SECRET_MIN 16
#define KVR_SECRET_MAX 4096

enum kvr_role { KVR_CONNECTOR = 0, KVR_ACCEPTOR = 1 };

struct kvr_secret {
	uint8_t bytes[32]; /* SHA-256 of what was given; wiped at the end */
	bool there;
};

/* -EINVAL: of less than KVR_SECRET_MIN bytes, or of more than KVR_SECRET_MAX.
 * -ENOSYS: libsodium can't be initialised. */
int kvr_secret_set(struct kvr_secret *secret, const void *key, size_t length);
void kvr_secret_wipe(struct kvr_secret *secret);
int kvr_nonce(uint8_t nonce[KVR_NONCE_SIZE]);

/* The proof of the side with that role. own and other are the HELLOs that this side has sent and received. */
struct kvr_hello_bytes {
	const uint8_t *bytes;
	size_t size;
};
void kvr_prove(const struct kvr_secret *secret, enum kvr_role role, struct kvr_hello_bytes connector,
	       struct kvr_hello_bytes acceptor, uint8_t proof[KVR_PROOF_SIZE]);
/* In constant time. */
bool kvr_proof_is_right(const uint8_t proof[KVR_PROOF_SIZE], const uint8_t expected[KVR_PROOF_SIZE]);

#endif
