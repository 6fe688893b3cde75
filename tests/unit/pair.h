/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pair.h: two nodes in one process, over TCP on this machine unless a test says otherwise: a store with a listener,
 * which a thread of its own works for, and a store from which a peer sends. Both must be sound in the end, with nothing
 * left in them.
 */
#ifndef PAIR_H
#define PAIR_H

#include "fixture.h"

extern kvshm_store *pair_here;	/* where the peer sends from */
extern kvshm_store *pair_there; /* an engine of the receiving store; the listener is another client of it */
extern kvshm_peer *pair_peer;
extern const char *pair_url; /* what the next pair_begin() listens at */
extern const char *pair_pool_here, *pair_pool_there; /* which memory its stores have; NULL: the host's */
extern uint64_t pair_block; /* bytes of their blocks; 4096 unless told (pair_open() and pair_fill() are for these) */

void pair_begin(uint32_t blocks, uint32_t planes, enum kvshm_retain retain);
/* One more connection from the same store. */
kvshm_peer *pair_connect(void);
void pair_disconnect(kvshm_peer *peer);
/* The listener goes; and comes again, at the same address. */
void pair_stop_listening(void);
void pair_listen(void);
void pair_end(void);

/* A request of the receiving store, as its engine sees it. */
enum kvshm_request_state pair_state(const char *id);
/* Waits for it, claims those keys, checks their bytes, and ends it; returns when it is closed. */
void pair_claim(const char *id, uint64_t first, size_t count);
/* Returns when the receiving store is idle: nothing is held or reserved there. */
void pair_idle(void);
bool pair_is_idle(void);
/* Key first to first + count - 1 are in a store; their bytes are right. */
void pair_verify(kvshm_store *store, uint64_t first, size_t count);
bool pair_has(kvshm_store *store, uint64_t number);

/* Waits for a transfer's end. */
int pair_wait(kvshm_transfer *transfer);
struct kvshm_transfer_info pair_look(kvshm_transfer *transfer);
/* Sends these keys of the store here, which holds them; the transfer is under way. */
kvshm_transfer *pair_send(const char *id, uint64_t first, size_t count);
/* Opens one that the test writes: offers the keys, from position 0. planes 0: all. */
kvshm_transfer *pair_open(kvshm_peer *peer, const char *id, uint64_t first, uint32_t count, uint32_t planes);
/* Works until as many positions are in a state. */
void pair_until(kvshm_peer *peer, kvshm_transfer *transfer, uint32_t count, enum kvshm_sending state);
/* Writes a granted block of such a one, and commits it. */
void pair_fill(kvshm_transfer *transfer, uint32_t position, uint64_t number, uint32_t planes);

#endif
