/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * transfer.h: what this side knows of a transfer that it sends, and the steps that its files share.
 *
 *   OPENING    OPEN is sent; offers wait for its answer     OPENED with 0 -> RUNNING; with an error -> ENDED
 *   RUNNING    blocks are offered, granted, written, committed
 *                                                           DONE -> FINISHING; ABORT: ABORTED is sent -> DRAINING
 *   FINISHING  it is over over there                        all commits have arrived -> ENDED
 *   ABORTING   ABORT is sent, behind what was written       it has arrived, and was answered -> ENDED
 *   DRAINING   ABORTED is sent, behind what was written     it has arrived -> ENDED
 *   ENDED      no source of it is read any more; the result is told
 *
 * From each: an abort on this side -> ABORTING (but from DRAINING, FINISHING, ENDED); the link is lost -> ENDED. Two
 * ABORTs that cross on their way are each the answer to the other. What comes of a transfer after its end, or while it
 * is aborted, is late, and passed over; of a number that was never given out it is refused (F2).
 *
 * Guarantees: a block's sources are the engine's again when its state says so, not before: what says so is that a
 * message behind its writes has arrived, or that the link is closed. An answer that does not fit what was asked changes
 * nothing (R09). Each transfer ends once. All is under the node's lock.
 */
#ifndef KVR_TRANSFER_H
#define KVR_TRANSFER_H

#include "peer.h"

struct kvr_push;

enum kvr_phase {
	KVR_OPENING = 0,
	KVR_RUNNING,
	KVR_FINISHING,
	KVR_ABORTING,
	KVR_DRAINING,
	KVR_ENDED,
};

/* A block of a transfer. */
struct kvr_sending {
	int32_t result;	 /* of one that was refused */
	uint32_t mark;	 /* of the last list of positions that it was in: a list names it once */
	uint8_t state;	 /* enum kvshm_sending */
	bool telling;	 /* it is among the events */
	bool written;	 /* from sources that are read until it arrives */
	bool given_up;
};

/* Where a plane of one is to be written to. */
struct kvr_target {
	uint64_t address;
	uint32_t rkey;
};

/* An OFFER that waits until the transfer is opened over there. */
struct kvr_waiting {
	struct kvr_waiting *next;
	uint32_t size;
	uint8_t bytes[];
};

struct kvshm_transfer {
	struct kvr_peer *peer;
	struct kvshm_peer *owner; /* NULL: nobody's: it answers a WANT, or was closed; it is freed at its end */
	struct kvshm_transfer *next, **back; /* all of a sender's */
	struct kvshm_transfer *chain;	     /* its bucket of the table; those that have ended are in none */
	struct kvshm_transfer *next_telling; /* of those that have something to tell */
	bool telling, end_told;

	enum kvr_phase phase;
	uint32_t number, blocks, planes, plane_count;
	int result; /* of the end; set before it where it is known */
	char text[256];
	bool answered, drained; /* ABORTING: what has come of the two */
	void *user;
	uint64_t bytes;

	struct kvr_sending *positions;
	struct kvr_target *targets; /* plane_count of each position, in the order of the planes */
	uint32_t count[8];	    /* positions by state */
	uint32_t marks;		    /* lists that there were */
	uint32_t *order;	    /* positions in the order of their commits */
	uint32_t committed, arrived;
	uint32_t *events; /* a ring of positions, each at most once */
	uint32_t first_event, event_count;
	struct kvr_waiting *offers, **last_offer;

	/* Registered memory that it has written from, as long as some of it may still be read. */
	void **bases;
	size_t base_count;
	uint32_t written; /* positions that may still be read from there */

	struct kvr_push *push; /* NULL: the engine writes */

	/* What is wanted of the other side, not sent: no positions. */
	bool wish, wanted; /* wanted: it was answered */
	bool has_request;
	struct kvshm_request request;
};

#define KVR_TRANSFER_BUCKETS 256

struct kvr_asked; /* a WANT of which parts have yet to come: want.c */

struct kvr_sender {
	struct kvshm_transfer *all;
	struct kvshm_transfer *table[KVR_TRANSFER_BUCKETS]; /* by number: those that have not ended */
	struct kvshm_transfer *telling, **last_telling;
	uint32_t next; /* number */
	uint32_t under_way;
	struct kvr_write write; /* one that may yet grow; length 0: none */
	uint32_t write_tag;
	struct kvr_asked *asked;
};

/* ---- transfer.c: making, finding, ending */

/* One whose OPEN is still to be sent; blocks 0 for a wish. -ENOMEM. */
int kvr_transfer_make(struct kvr_peer *peer, struct kvshm_peer *owner, uint32_t blocks, uint32_t planes,
		      struct kvshm_transfer **transfer);
void kvr_transfer_free(struct kvshm_transfer *transfer);
/* NULL: it has ended, or is none of this peer's. */
struct kvshm_transfer *kvr_transfer_find(const struct kvr_sender *sender, uint32_t number);
/* It has ended, with what kvs_error() says where result is not 0. One that is nobody's is freed: no caller touches it
 * afterwards. */
void kvr_transfer_end(struct kvshm_transfer *transfer, int result);
/* Keeps the calling thread's last error text for an end that is to come. */
void kvr_transfer_will_end(struct kvshm_transfer *transfer, int result);
/* Moves a position into a state, and tells it; lets go of what a push has of it. */
void kvr_transfer_move(struct kvshm_transfer *transfer, uint32_t position, enum kvshm_sending state);
/* Takes what has happened off the queue, oldest transfers first; how many. */
size_t kvr_sender_take_events(struct kvr_sender *sender, struct kvshm_event *events, size_t max);
/* Nobody is told of this one any more. */
void kvr_transfer_hush(struct kvshm_transfer *transfer);

/* ---- offers.c, writes.c: what goes out. Errors as kvr_peer_send(), but where they say more. */

int kvr_transfer_send_open(struct kvshm_transfer *transfer, const struct kvr_open *open);
/* -EINVAL, with the reason; -ENOMEM. Nothing is offered then. */
int kvr_transfer_offer(struct kvshm_transfer *transfer, uint32_t first, const struct kvshm_offer *offers, size_t count);
/* It was opened over there: what waited goes. */
int kvr_transfer_send_offers(struct kvshm_transfer *transfer);
void kvr_transfer_drop_offers(struct kvshm_transfer *transfer);

/* Of a granted position; its range and plane are in order. -EFAULT. */
int kvr_transfer_write(struct kvshm_transfer *transfer, uint32_t position, unsigned plane, uint64_t offset,
		       const void *bytes, uint64_t length);
int kvr_transfer_flush(struct kvr_peer *peer);
/* Of granted positions, each once. */
int kvr_transfer_commit(struct kvshm_transfer *transfer, const uint32_t *positions, size_t count,
			enum kvr_commit_kind kind);
/* Takes back what was not given to the link yet, and sends ABORT or ABORTED behind the rest. */
int kvr_transfer_send_last(struct kvshm_transfer *transfer, enum kvr_type type);
/* As many of its commits have arrived. */
void kvr_transfer_arrived(struct kvshm_transfer *transfer, uint32_t commits);
/* Is any of what begins at this base still to be read? */
bool kvr_transfer_reads(const struct kvshm_transfer *transfer, const void *base);

/* Aborts from this side: from any phase. */
void kvr_transfer_abort(struct kvshm_transfer *transfer);

/* The last message of a transfer has this instead of a count of commits, in its cookie. */
#define KVR_LAST UINT32_MAX

static inline uint64_t kvr_transfer_cookie(const struct kvshm_transfer *transfer, uint32_t low)
{
	return (uint64_t)transfer->number << 32 | low;
}

/* ---- push.c: transfers that write by themselves, from blocks that the store has */

struct kvr_push_options {
	struct kvshm_peer *owner;
	struct kvr_open open; /* id, attempt, room, want */
	void *user;
};

/* Takes refs over, also on failure, and opens and offers. transfer may be NULL. */
int kvr_push_start(struct kvr_peer *peer, const struct kvr_push_options *options, struct kvshm_handle *refs,
		   size_t count, struct kvshm_transfer **transfer);
/* Writes and commits what was granted just now. */
int kvr_push_granted(struct kvshm_transfer *transfer, const uint32_t *positions, size_t count);
/* This block need not be held any more. */
void kvr_push_release(struct kvr_push *push, uint32_t position);
void kvr_push_free(struct kvr_push *push);

/* ---- want.c */

void kvr_asked_free(struct kvr_peer *peer);

#endif
