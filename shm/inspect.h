/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inspect.h: looking at a segment from outside. Guarantees: nothing is mapped or written, so neither a truncated file
 * nor a hole raises a signal or allocates; no slot is needed; every number read is checked before it is used (F1). What
 * it reads of a store at work is a moving picture.
 */
#ifndef KVS_INSPECT_H
#define KVS_INSPECT_H

#include <stdbool.h>
#include <sys/types.h>

#include "layout.h"

#define KVS_INSPECT_CHUNK 8192U /* blocks read at a time */

struct kvs_view {
	int file;
	struct kvs_geometry g;
	struct kvs_head head; /* as it was at the last kvs_inspect_refresh() */
	char path[4096];
};

/* What one slot was seen to be. */
struct kvs_slot_view {
	uint64_t word;
	bool live;	 /* a client's, alive or waiting for recovery */
	bool alive;	 /* its lock is held */
	bool recovering; /* it is dead, and a recoverer has a lock */
	uint32_t dma;	 /* enum kvs_dma */
	bool waits;	 /* it is dead, and what its devices may reach waits for the end of its process */
	bool elsewhere;	 /* that is of another pid namespace than the caller */
	uint32_t planes; /* of a GPU's memory, that it has mapped: a bit each */
	int32_t pid;
	int64_t attached;
	char name[KVS_CLIENT_NAME_SIZE];
	uint64_t refs, pins, blocks, fills, parts, owned; /* as kvs_inspect_walk() counted them */
};

/* Some blocks, and what is held of them. */
struct kvs_chunk {
	uint32_t first, count;
	struct kvs_block blocks[KVS_INSPECT_CHUNK];
	uint64_t entries[KVS_INSPECT_CHUNK]; /* of one row: the walk's own */
	uint64_t counts[KVS_INSPECT_CHUNK];  /* over all rows: refs << 32 | pins */
};

struct kvs_survey {
	uint64_t states[KVS_STATES];
	uint64_t unknown; /* words of no state */
	uint64_t held, pinned, cleared, evictable, refs, pins;
};

struct kvs_readers_view {
	uint64_t counters[KVS_COUNTERS];
	uint64_t times[KVS_HISTOGRAMS][KVS_HISTOGRAM_CELLS];
	uint32_t used, stalling;
	uint32_t slowest;	 /* the slot that is in the oldest section; KVS_NONE: none is in one */
	uint32_t slowest_client; /* whose it is; KVS_NONE: nobody's */
	uint64_t slowest_epoch;
};

int kvs_inspect_open(const char *name, const char *dir, struct kvs_view *view);
void kvs_inspect_close(struct kvs_view *view);

/* Reads the head anew. */
int kvs_inspect_refresh(struct kvs_view *view);

/* Memory for what is copied from a segment, aligned as it is there; free() it. NULL if there is none. */
void *kvs_inspect_memory(size_t size);

/* Reads size bytes at an offset; a short file is -EPROTO. */
int kvs_inspect_read(const struct kvs_view *view, uint64_t at, void *to, size_t size);

/* The slots, an array of g.clients that the caller frees. */
int kvs_inspect_slots(const struct kvs_view *view, struct kvs_slot_view **slots);

/* Calls fn for all blocks, a chunk at a time, with what the rows of live slots have of them; counts into the slots what
 * each client has. A result of fn's other than 0 ends the walk and is returned. */
int kvs_inspect_walk(const struct kvs_view *view, struct kvs_slot_view *slots,
		     int (*fn)(const struct kvs_chunk *chunk, void *arg), void *arg);

/* Counts blocks by state, and holds, also in the slots. */
int kvs_inspect_survey(const struct kvs_view *view, struct kvs_slot_view *slots, struct kvs_survey *survey);

/* Is a block with this word and life one of those that the last clearing hid? */
bool kvs_inspect_cleared(const struct kvs_view *view, uint64_t word, uint64_t life);

/* Sums what the reader slots count, and looks for those that stall grace periods. */
int kvs_inspect_readers(const struct kvs_view *view, struct kvs_readers_view *readers);

#endif
