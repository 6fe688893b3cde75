/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * map.h: a segment and its planes in this process's memory, and the one place where numbers from the segment become
 * addresses. Guarantees: mapping and file descriptors do not survive fork() in the child; the mappings lie between
 * inaccessible pages; core dumps leave them out; an index that is not below its count never becomes an address (F1).
 */
#ifndef KVS_MAP_H
#define KVS_MAP_H

#include <pthread.h>
#include <stdbool.h>

#include "layout.h"

/* Of what a lookup is made of: inlined whatever the compiler thinks of its size, so that what is constant in a call
 * folds. */
#define KVS_HOT static inline __attribute__((always_inline))

struct kvs_map {
	struct kvs_geometry g; /* the private copy, checked */
	struct kvs_plane_files files; /* likewise; of a store that was opened or made */
	struct kvs_head *head;
	struct kvs_client *clients;
	struct kvs_reader *readers;
	struct kvs_request *requests;
	_Atomic uint64_t *ids;
	_Atomic uint64_t *places;
	struct kvs_peer *peers;
	_Atomic uint64_t *hints;
	_Atomic uint32_t *buckets;
	struct kvs_block *blocks;
	uint8_t *tails;
	struct kvs_block_info *infos;
	char *rows;
	char *planes[KVS_PLANES_MAX]; /* NULL where they were not mapped: an owner needs none */
	uint64_t plane_size;	      /* of each, in whole pages of its file */
	int fd;	   /* carries the lock of this client, or of the owner */
	int probe; /* a second description of the same file, for looking at others' locks and for recovery */
	pthread_mutex_t recovering; /* one thread of a process recovers at a time */
};

/* Maps the segment that is open at file (which stays the caller's), whose geometry has been checked. */
int kvs_map_open(struct kvs_map *map, int file, const struct kvs_geometry *geometry);
void kvs_map_close(struct kvs_map *map);

/* Maps size bytes of fd between guards; *base is where they begin, at a multiple of align (a power of two). */
int kvs_map_guarded(int fd, uint64_t size, uint64_t align, char **base);
void kvs_map_release(char *base, uint64_t size);

/* Does the file still have all its bytes? Asked where a call enters the kernel anyway: a truncated segment can't be
 * sealed against on tmpfs, and touching what is gone raises SIGBUS. 0 or -EUCLEAN. */
int kvs_map_whole(const struct kvs_map *map);

static inline struct kvs_block *kvs_block(const struct kvs_map *map, uint32_t block)
{
	return &map->blocks[block];
}

/* The descriptor of a block whose number came from the segment or from a caller: NULL if there is no such block. */
static inline struct kvs_block *kvs_resolve(const struct kvs_map *map, uint32_t block)
{
	return block < map->g.blocks ? &map->blocks[block] : NULL;
}

/* A client's row; the caller knows that it is reserved (see kvs_client_has_row()). */
static inline _Atomic uint64_t *kvs_row(const struct kvs_map *map, uint32_t slot)
{
	return (_Atomic uint64_t *)(void *)(map->rows + slot * map->g.row_size);
}

/* Behind the entries of a row: a note for each block of the client's pins that are of no request. */
static inline _Atomic uint64_t *kvs_row_pins(const struct kvs_map *map, _Atomic uint64_t *row)
{
	return row + map->g.blocks;
}

/* Who does something: in whose name words are changed, and through which reader slot. A recoverer acts in the name of
 * the dead client, through a reader slot of its own. */
struct kvs_actor {
	struct kvs_map *map;
	struct kvs_reader *reader;
	_Atomic uint64_t *row; /* of that client */
	uint32_t self;
};

/* Relaxed: see layout.h. */
static inline void kvs_count_many(struct kvs_reader *reader, enum kvs_counter counter, uint64_t n)
{
	_Atomic uint64_t *at = &reader->counters[counter];

	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void kvs_count(const struct kvs_actor *actor, enum kvs_counter counter)
{
	kvs_count_many(actor->reader, counter, 1);
}

/* Puts a time in ns into a histogram. Relaxed, as counters. */
static inline void kvs_time(struct kvs_reader *reader, enum kvs_histogram histogram, uint64_t ns)
{
	_Atomic uint64_t *cells = reader->times[histogram];
	_Atomic uint64_t *bucket = &cells[kvs_histogram_bucket(ns)], *sum = &cells[KVS_HISTOGRAM_SUM];

	atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + ns, memory_order_relaxed);
}

#endif
