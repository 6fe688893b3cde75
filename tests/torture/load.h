/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load.h: verified work on a store. Workers (threads or processes) do all the calls at random on a few keys, write
 * bytes that depend on key, life and plane, and verify them under every hold, more than once. Tickets travel between
 * them through the books. What they measure:
 *
 *   torn, foreign   bytes that were not published under that key in that life (A2, R27): in any plane, however held
 *   two_fillers     two fills of one life of a block, or two writers of one of its planes; or two fills of one key at
 *                   once, or one of a key that someone holds ready (B3)
 *   among_readers   a writer began while somebody read the block, or a block changed hands under its writer (B1)
 *   lost            a release, publish or give-up of a hold that was taken said that there was none (B1, D2); a held
 *                   key was not found; a ticket of a held block was refused (R26)
 *   cleared         a hit of a fill that began before a clear which had returned before the lookup began (R28)
 *   wrong           any other answer that the header does not allow
 *
 * Words in the planes and the books that serve the measuring are atomics without ordering, lest they hide from
 * ThreadSanitizer what the library should have ordered. Files: load.c the step and the calls on one key, load_bytes.c,
 * load_holds.c, load_fills.c (fills that stay open over several steps: shared, and of blocks without a key),
 * load_tickets.c, load_batch.c (matches and batches), load_requests.c; load_inner.h is between them.
 */
#ifndef LOAD_H
#define LOAD_H

#include "base.h"

#define LOAD_KEYS 256U
#define LOAD_HOLDS 12U
#define LOAD_OPEN 3U
#define LOAD_STALE 8U
#define LOAD_PLANES 3U
#define LOAD_BLOCK_SIZE UINT64_C(1024)
#define LOAD_SKIP 2U /* words at the beginning of a block in each plane: who wrote it, and how many read it */
#define LOAD_LENT 8U	  /* holds of a request */
#define LOAD_REQUESTS 16U /* that are posted */
#define LOAD_TICKETS 512U
#define LOAD_RECENT 16U /* of these, where the youngest are */

enum load_event {
	LOAD_HIT, LOAD_MISS, LOAD_BUSY, LOAD_PENDING, LOAD_FILL, LOAD_NO_ROOM, LOAD_PUBLISHED, LOAD_GAVE_UP,
	LOAD_CANCELED, LOAD_WAITED, LOAD_TIMED_OUT, LOAD_ASK_AGAIN, LOAD_MATCHED, LOAD_WINDOW, LOAD_PINNED,
	LOAD_REMOVED, LOAD_TOUCHED, LOAD_CLEARED, LOAD_BATCH, LOAD_VERIFIED, LOAD_STALE_HANDLE,
	LOAD_OWNED, LOAD_PUBLISHED_AS, LOAD_DUPLICATE,
	LOAD_SHARED, LOAD_JOINED, LOAD_NOT_JOINED, LOAD_PART, LOAD_PART_CANCELED, LOAD_PART_GAVE_UP, LOAD_WHOLE,
	LOAD_BY_TICKET, LOAD_TICKET_HELD, LOAD_TICKET_STALE, LOAD_TICKET_CANCELED,
	LOAD_REQUEST_OPENED, LOAD_REQUEST_REFUSED, LOAD_ROOM, LOAD_NO_ROOM_RESERVED, LOAD_COMPLETE, LOAD_ENDED,
	LOAD_REQUEST_CANCELED, LOAD_CLAIMED, LOAD_ASKED, LOAD_EVENTS
};

/* A ticket that any worker may take. Written in pieces, by many, who may die at it: the sum tells a whole one. */
struct load_posted {
	_Atomic uint64_t ticket[2];
	_Atomic uint64_t about; /* the key, and what it was posted as */
	_Atomic uint64_t token; /* of the poster's hold */
	_Atomic uint64_t sum;
	_Atomic uint64_t held; /* the token, as long as the poster holds the block */
};

struct load_books {
	struct {
		_Alignas(64) _Atomic uint64_t fillers, holders; /* an era, and how many in it: load_holds.c */
	} key[LOAD_KEYS];
	_Atomic uint64_t torn, foreign, two_fillers, among_readers, lost, cleared, wrong;
	_Atomic uint64_t clears_begun, clears_done;
	_Atomic uint64_t event[LOAD_EVENTS];
	_Atomic uint64_t together[LOAD_HOLDS]; /* how many read a block when one more came */
	struct base_histogram waits;
	struct load_posted posted[LOAD_TICKETS];
	_Atomic uint64_t requests[LOAD_REQUESTS]; /* that others may use, each in a word */
	_Atomic uint64_t attempts;		  /* so many were opened */
	unsigned keys;	  /* the even ones are removed, and their parts given up, at times; the odd ones never */
	unsigned planes;
	bool kills;	  /* workers may be killed: what a death leaves wrong in these books is not looked at */
	bool one_thread;  /* each attachment is one worker's */
	bool brief;	  /* nothing is kept or waited for: workers meet where holds begin and end */
	_Atomic bool stop;
};

/* A hold, or a block without a key. */
struct load_hold {
	struct kvshm_handle handle;
	unsigned key;
	bool filling;	/* the books count it as a fill */
	bool counted;	/* no clear was under way when it was taken, by its key: so the books count it */
	uint64_t era;	/* how many clears had returned before it was taken */
	uint64_t done;	/* the same, or before it was waited for: it is of no fill from before these; 0: by ticket */
	uint64_t stamp; /* of a fill: how many clears had begun when it was taken */
	uint64_t token; /* of its ticket that is posted; 0: none */
	unsigned slot;	/* where */
};

enum load_open_kind { LOAD_OPEN_FILL, LOAD_OPEN_PART, LOAD_OPEN_AWAITED, LOAD_OPEN_OWNED };

/* What a worker goes on with in a later step. */
struct load_open {
	struct load_hold hold;
	struct kvshm_ticket ticket;
	enum load_open_kind kind;
	unsigned patience;
	bool filler; /* it began the fill that it awaits */
};

/* A hold of a request's. */
struct load_lent {
	struct load_hold hold;
	bool ready; /* and counted by the books */
};

/* The one that a worker has. */
struct load_request {
	struct kvshm_request request;
	bool open, complete;
	unsigned count;
	struct load_lent lent[LOAD_LENT];
};

struct load_worker {
	kvshm_store *store;
	struct load_books *books;
	uint64_t random;
	uint64_t id; /* not 0 */
	unsigned count;
	struct load_hold holds[LOAD_HOLDS];
	unsigned open_count;
	struct load_open open[LOAD_OPEN];
	struct load_request request;
	uint64_t posted;
	unsigned released;
	struct load_hold stale[LOAD_STALE]; /* the last ones that were released */
};

/* Options for a store that the load can work on. */
void load_options(struct kvshm_create_options *options, unsigned blocks, unsigned planes, enum kvshm_retain retain);

/* Numbers to keys of different lengths; returns the length. */
size_t load_key(unsigned number, unsigned char key[KVSHM_KEY_MAX]);

/* Writes one plane of a block that is the caller's to write. */
void load_write_plane(struct load_worker *worker, const struct load_hold *hold, unsigned plane);

/* What is to be published of a block. */
void load_describe(const struct load_hold *hold, struct kvshm_meta *meta);

/* Both, for a block that is the caller's to fill: all planes. */
void load_write(struct load_worker *worker, const struct load_hold *hold, struct kvshm_meta *meta);

/* Verifies all planes of a block that the caller holds, and that is ready. */
void load_verify(struct load_worker *worker, const struct load_hold *hold);

/* One random call or so. False if the store was destroyed. */
bool load_step(struct load_worker *worker);

/* Lets go of all holds. */
void load_end(struct load_worker *worker);

/* Fails if anything was violated; and prints what was measured before. */
void load_check(const struct load_books *books);
void load_report(struct load_books *books);

#endif
