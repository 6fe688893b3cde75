/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pool.h: where the bytes of a store lie. A pool has planes of equal size; block n is at n times the block size in
 * each. One small table of functions for each kind of memory; the rest of the store does not know which it is.
 */
#ifndef KVS_POOL_H
#define KVS_POOL_H

#include "files.h"
#include "map.h"

/* One plane: which store's, and which inode it must be. */
struct kvs_plane {
	const char *dir;
	const char *name; /* of the store */
	uint32_t number;
	uint64_t size; /* whole pages */
	uint64_t page; /* of huge pages, in the hugetlbfs of that device; 0: beside the segment */
	uint64_t device, inode;
};

/* What a sweep takes away of what has the names of a store's planes. */
enum kvs_sweep {
	KVS_SWEEP_ORPHANS, /* planes without a segment, whose maker is dead. -EEXIST if one is anything else */
	KVS_SWEEP_OWNED,   /* the planes of a store whose owner's lock the caller has; it leaves alone what is none */
};

struct kvs_pool {
	/* Makes a plane's file without a name: *file is open and locked, and has no memory yet. Sets its inode. */
	int (*create)(struct kvs_plane *plane, const struct kvs_files_access *access, int *file);
	/* Gives it its name. -EEXIST if a store of that name is there, or being made. */
	int (*show)(const struct kvs_plane *plane, int file);
	/* Maps a plane by its name. -ESTALE if that is another inode's now. */
	int (*import)(const struct kvs_plane *plane, char **base);
	/* Takes its name away if it is still this inode's. */
	int (*hide)(const struct kvs_plane *plane);
	/* Has it still got its name? */
	bool (*named)(const struct kvs_plane *plane);
	/* What is wrong with the file that has its name; false: nothing, or it can't be told from here. */
	bool (*judge)(const struct kvs_plane *plane, char *text, size_t size);
	/* Takes the names of planes away that are known by these only: how many, or a negative errno. */
	int (*sweep)(const char *dir, const char *name, enum kvs_sweep which);
	/* Calls fn with each name of a store in dir that a plane's file has, as often as there are such files. */
	int (*each_name)(const char *dir, int (*fn)(const char *name, void *arg), void *arg);
};

extern const struct kvs_pool kvs_pool_host;

#endif
