/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * far.h: what the tests of the receiver share: a store that listens, and other nodes that a test drives by hand, over
 * TCP on this machine: each says message by message what the test wants, also what no sender would, and keeps what
 * comes. All of it is one thread: who waits for something lets all others go on. Nothing sleeps for a time: where time
 * must pass, far_later() has the library see a later one (the linker puts it in front of kvs_now()).
 */
#ifndef FAR_H
#define FAR_H

#include "fixture.h"

#include "inbound.h"
#include "listener.h"

#define FAR_GRANTS 512U

/* Another node. */
struct far {
	struct kvr_loop loop;
	struct kvr_memory *memory;
	uint8_t *bytes; /* what it writes from: of one block */
	struct kvr_link *link;
	struct far_message *first, **last; /* that came, and were not taken */
	struct far_message *taken;
	struct kvr_message message; /* the one that was taken */
	bool up, down;
	bool mute; /* PINGs are not answered */
	bool deaf; /* what comes is read, and not acknowledged */
	int reason;
	uint64_t ponged;
	struct kvr_grant grants[FAR_GRANTS]; /* those that far_grants() took */
};

extern kvshm_listener *far_listener;
static inline const struct kvr_node *far_node(void)
{
	return &far_listener->node;
}

/* A keep store of so many blocks, which listens; claims wait for ever. Its test ends with far_end(): then nothing of it
 * may be held, but what is ready. */
kvshm_store *far_store(uint32_t blocks);
void far_listen(kvshm_store *store, const struct kvshm_net_options *options);
void far_end(kvshm_store *store);

/* Connects, greets, and is greeted. Up to eight at the same time. */
struct far *far_connect(void);
/* Cuts the connection without a word; the listener has seen it when this returns. */
void far_cut(struct far *far);
/* The connection is ended by the listener, with this reason in its BYE (0: without one). */
void far_lost(struct far *far, int reason);

/* Lets all go on until the condition holds, which it has to soon. */
#define far_until(condition)                                                                           \
	do {                                                                                           \
		uint64_t far_deadline = unit_in_ms(UNIT_SOON);                                         \
		while (!(condition))                                                                   \
			ck_assert_msg(far_turn(far_deadline), "line %d: %s never came", __LINE__, #condition); \
	} while (0)
bool far_turn(uint64_t until);
/* Lets all go on until everything that this one said before has been looked at, with all that follows of it. */
void far_idle(struct far *far);
/* The library's clock goes on by so many ms. */
void far_later(uint64_t ms);

/* ---- What it says ---- */

void far_say(struct far *far, const struct kvr_out *out);
/* An OPEN of a request whose id is a number (0: without a name), attempt 0, room for a minute. planes 0: all. */
struct kvr_open far_open_of(uint32_t transfer, const uint64_t *id, uint32_t blocks);
void far_open(struct far *far, uint32_t transfer, const uint64_t *id, uint32_t blocks);
/* Offers keys first_key to first_key + count - 1, for positions from first on; depth is the key. */
void far_offer(struct far *far, uint32_t transfer, uint32_t first, uint64_t first_key, uint32_t count);
void far_offer_one(struct far *far, uint32_t transfer, const struct kvr_offer *offer);
/* An offer of a whole block. Valid until the next call. */
struct kvr_offer far_offer_of(uint32_t position, uint64_t key);
/* Writes a key's bytes into the planes that were granted; a part of them. */
void far_write(struct far *far, const struct kvr_grant *grant, uint64_t key);
void far_write_at(struct far *far, uint64_t to, uint64_t length, uint32_t rkey);
void far_commit(struct far *far, uint32_t transfer, uint32_t position, uint32_t planes, enum kvr_commit_kind kind);
void far_abort(struct far *far, uint32_t transfer);
void far_aborted(struct far *far, uint32_t transfer);

/* ---- What comes ---- */

/* The next message, which must be of that type. Valid until the next call. */
struct kvr_message *far_take(struct far *far, enum kvr_type type);
/* The type of the next one, which is not taken. */
enum kvr_type far_next(struct far *far);
/* OPENED with that result. */
void far_opened(struct far *far, uint32_t transfer, int result);
/* GRANTs, until so many entries have come: in far->grants, in their order. */
void far_grants(struct far *far, uint32_t transfer, uint32_t count);
/* One, of that kind. */
const struct kvr_grant *far_grant(struct far *far, uint32_t transfer, uint32_t position, enum kvr_grant_kind kind);
/* DONE, ABORT or ABORTED of a transfer, with that result. */
void far_ended(struct far *far, enum kvr_type type, uint32_t transfer, int result);
/* Nothing comes but what was taken. */
void far_silent(struct far *far);

/* ---- All at once ---- */

/* Opens a transfer, offers keys from first_key on for all its blocks, and takes the grants: all to be written. */
void far_begin(struct far *far, uint32_t transfer, const uint64_t *id, uint32_t blocks, uint64_t first_key);
/* Writes them all, commits, and is told DONE. */
void far_finish(struct far *far, uint32_t transfer, uint32_t blocks, uint64_t first_key);

/* ---- What the store says ---- */

/* Is the key ready? Leaves nothing held. */
bool far_has(kvshm_store *store, uint64_t key);
/* The request of that id; its state. -1: none is known. */
int far_state(kvshm_store *store, uint64_t id);
/* An engine claims the keys of a complete request, finds the bytes, and ends it. */
void far_claim(kvshm_store *store, uint64_t id, uint64_t first_key, uint32_t count);
/* Nothing is held, filled, reserved or waited for. */
void far_nothing_held(kvshm_store *store);

#endif
