/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * mutate.h: damage to a segment that is in use: what is written where. A mutator maps the segment for itself, and goes
 * by the geometry that it read when the store was whole. Each mutation writes one field of the segment (words, links,
 * lives, entries of rows, slot words, hands: whatever layout.h names), or some bytes anywhere: a bit flipped, noise, 0,
 * all ones, numbers at the edge of what there is, or what another such field says. Some are taken back a little later,
 * so that calls go on getting far into a store of which something is always wrong.
 */
#ifndef MUTATE_H
#define MUTATE_H

#include "../torture/base.h"
#include "layout.h"

enum mutate_section {
	MUTATE_FROZEN,	 /* the first 64 bytes */
	MUTATE_GEOMETRY, /* what is fixed behind them: fingerprint, geometry, planes, label */
	MUTATE_STATE,
	MUTATE_HEAD, /* the words that everyone writes */
	MUTATE_CLIENTS,
	MUTATE_READERS,
	MUTATE_COUNTERS, /* and histograms */
	MUTATE_LINE,	 /* the words of the head that requests write */
	MUTATE_REQUESTS,
	MUTATE_IDS, /* of requests, and their hashes */
	MUTATE_PLACES,
	MUTATE_PEERS,
	MUTATE_HINTS,
	MUTATE_BUCKETS,
	MUTATE_BLOCKS,
	MUTATE_KEYS,
	MUTATE_INFOS,
	MUTATE_ROWS,
	MUTATE_NOTES, /* of pins, in the rows */
	MUTATE_ANYWHERE, /* any bytes */
	MUTATE_SECTIONS
};

#define MUTATE_UNDONE 64U /* mutations that may wait to be taken back */

struct mutate_undo {
	uint64_t at, before, after, due;
	unsigned width;
};

struct mutator {
	unsigned char *base;
	struct kvs_geometry g;
	uint64_t random;
	bool counters;	  /* they may be damaged, too, and whose they are */
	unsigned lasting; /* of 100 mutations that would stay, so many do; the others are taken back, too */
	uint64_t count;
	uint64_t by_section[MUTATE_SECTIONS];
	uint64_t undone;
	unsigned waiting;
	struct mutate_undo undo[MUTATE_UNDONE];
	struct kvs_head head; /* as it was */
};

extern const char *const mutate_names[MUTATE_SECTIONS];

/* Maps the segment of a store that is whole, for mutations of this stream of random numbers. */
void mutate_open(struct mutator *m, const char *path);
void mutate_close(struct mutator *m);

/* One mutation; and those that are due are taken back. */
void mutate(struct mutator *m);

/* Some lasting ones of what was fixed when the store was made. */
void mutate_fixed(struct mutator *m, unsigned mutations);

/* Takes back what waits for that, and all damage to what was fixed when the store was made, and to its state. */
void mutate_mend_head(struct mutator *m);

/* What the reader slots have counted, over all of them. */
uint64_t mutate_counted(const struct mutator *m, enum kvs_counter counter);

#endif
