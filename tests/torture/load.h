/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load.h: verified work on a store. Workers (threads or processes) do all the calls at random on a few keys, write
 * bytes that depend on key, life and plane, and verify them under every hold, more than once. What they measure:
 *
 *   torn, foreign   bytes that were not published under that key in that life (A2)
 *   two_fillers     two fills of one life of a block; or of one key at once, or of a key that someone holds ready (B3)
 *   among_readers   a writer began while somebody read the block, or a block changed hands under its writer (B1)
 *   lost            a release, publish or give-up of a hold that was taken said that there was none (B1, D2)
 *   wrong           any other answer that the header does not allow
 *
 * Words in the planes that serve the measuring are atomics without ordering, lest they hide from ThreadSanitizer what
 * the library should have ordered.
 */
#ifndef LOAD_H
#define LOAD_H

#include "base.h"

#define LOAD_KEYS 256U
#define LOAD_HOLDS 12U
#define LOAD_STALE 8U
#define LOAD_PLANES 3U
#define LOAD_BLOCK_SIZE UINT64_C(1024)
#define LOAD_SKIP 2U /* words at the beginning of a block in each plane: who wrote it, and how many read it */

enum load_event {
	LOAD_HIT, LOAD_MISS, LOAD_BUSY, LOAD_PENDING, LOAD_FILL, LOAD_NO_ROOM, LOAD_PUBLISHED, LOAD_GAVE_UP,
	LOAD_CANCELED, LOAD_WAITED, LOAD_TIMED_OUT, LOAD_ASK_AGAIN, LOAD_MATCHED, LOAD_PINNED, LOAD_REMOVED,
	LOAD_VERIFIED, LOAD_STALE_HANDLE, LOAD_EVENTS
};

struct load_books {
	struct {
		_Alignas(64) _Atomic int fillers, holders;
	} key[LOAD_KEYS];
	_Atomic uint64_t torn, foreign, two_fillers, among_readers, lost, wrong;
	_Atomic uint64_t event[LOAD_EVENTS];
	_Atomic uint64_t together[LOAD_HOLDS]; /* how many read a block when one more came */
	struct base_histogram waits;
	unsigned keys;	  /* the even ones are removed at times, the odd ones never */
	unsigned planes;
	bool kills;	  /* workers may be killed: what a death leaves wrong in these books is not looked at */
	bool one_thread;  /* each attachment is one worker's */
	bool brief;	  /* nothing is kept or waited for: workers meet where holds begin and end */
	_Atomic bool stop;
};

struct load_hold {
	struct kvshm_handle handle;
	unsigned key;
};

struct load_worker {
	kvshm *store;
	struct load_books *books;
	uint64_t random;
	uint64_t id; /* not 0 */
	unsigned count;
	struct load_hold holds[LOAD_HOLDS];
	unsigned released;
	struct load_hold stale[LOAD_STALE]; /* the last ones that were released */
};

/* Options for a store that the load can work on. */
void load_options(struct kvshm_create_options *options, unsigned blocks, unsigned planes, enum kvshm_retain retain);

/* Numbers to keys of different lengths; returns the length. */
size_t load_key(unsigned number, unsigned char key[KVSHM_KEY_MAX]);

/* Writes all planes of a block that is the caller's to fill, and what is to be published of it. */
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
