/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_scene.h: stores that are sound, and faults that are planted in them, for the test of the check.
 *
 * There are two stores: one at rest, in which everything can be judged, and one whose two clients live and have each
 * kind of hold. A plant writes one fault into the segment, and says by expect() in which words it must be told.
 */
#ifndef CHECK_SCENE_H
#define CHECK_SCENE_H

#include "fixture.h"

#include "check.h"

struct scene {
	struct kvs_map map; /* the owner's: it stays when the clients have left */
	kvshm_store *a, *b; /* the clients of the live store, in slots 0 and 1, with the reader slots 0 and 1 */
	/* Blocks of both stores: READY ones that nobody holds, each alone in its bucket, the last with a long key; one
	 * that was never taken; one that has gone. */
	uint32_t ready, second, tailed, unused, limbo;
	/* Of the live one: READY and held by both; a's without a key; a's fill; a's shared fill, whose plane 0 b
	 * writes; and one of b's whose key was removed. */
	uint32_t held, owned, filling, shared, doomed;
	/* Requests: a's, with one block of room; b's, which holds the held block; and one of a's that has ended. */
	uint32_t with_room, holding, closed;
};
extern struct scene scene;

void store_at_rest(void);
void live_store(void);

/* ---- What the check says ---- */

struct told {
	unsigned of[KVS_FINDINGS]; /* how many of each kind */
	unsigned count, lost;
	char lines[4096]; /* each behind a line's end */
};

extern const char *const kind_names[KVS_FINDINGS];

/* One more line that the check must say, in the order of findings.def. */
void expect(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct kvs_check_result look(struct told *told);
void must_be_told(const struct told *told, const char *when);
struct kvs_check_result nothing_is_found(const char *when);

/* ---- What plants are made of ---- */

struct kvs_block *block(uint32_t number);
uint64_t word(uint32_t number);
uint64_t life(uint32_t number);
_Atomic uint64_t *entry(uint32_t slot, uint32_t number);
uint32_t bucket_of(uint32_t number);
uint32_t empty_bucket(void);
/* Puts a word of another state into a block. */
void put_state(uint32_t number, unsigned state, uint32_t owner);
/* Counts something of a client's for the block's present life. */
void put_counts(uint32_t slot, uint32_t number, uint64_t counts);
/* Links a block in front of its chain; takes one out. */
void link_first(uint32_t number);
void cut(uint32_t number);
/* Changes a byte of a block's key so that it leads to another bucket. */
void spoil(uint32_t number, uint8_t *byte);
/* Lets a reader slot be in a section. */
void enter(uint32_t reader);

struct plant {
	enum kvs_finding_kind kind; /* that it must be found as */
	bool at_work;		    /* in the live store */
	void (*plant)(void);
	const char *name;
};
#define AT_REST(kind, fn) {KVS_FINDING_##kind, false, fn, #fn}
#define AT_WORK(kind, fn) {KVS_FINDING_##kind, true, fn, #fn}

extern const struct plant plants_of_blocks[], plants_of_index[], plants_of_requests[];
extern const size_t plants_of_blocks_count, plants_of_index_count, plants_of_requests_count;

/* ---- Mending ---- */

/* The segment as it was. It is read and mended as a file, so that rows which are holes stay so. */
struct soil {
	int file;
	size_t size;
	uint64_t *before, *now;
};
struct soil keep_segment(void);
/* Makes it what it was, and forgets what was expected. */
void mend(const struct soil *soil);
void end_soil(struct soil *soil);

#endif
