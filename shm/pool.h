/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pool.h: where the bytes of a store lie. A pool has planes of equal size; block n is at n times the block size in
 * each. One small table of functions for each kind of memory; the rest of the store does not know which it is.
 */
#ifndef KVS_POOL_H
#define KVS_POOL_H

#include "map.h"

/* One plane: which store's, and which inode it must be. */
struct kvs_plane {
	const char *dir;
	const char *name; /* of the store */
	uint32_t number;
	uint32_t mode;
	uint64_t size;
	uint64_t device, inode;
};

struct kvs_pool {
	/* Makes a plane's memory, reserved but not visible yet: *file is open and locked. Sets device and inode. */
	int (*create)(struct kvs_plane *plane, int *file);
	/* Takes the name away from a plane that a maker who died has left. -EEXIST if it is no such plane. */
	int (*clear)(const struct kvs_plane *plane);
	/* Gives it its name. -EEXIST if a store of that name is there, or being made. */
	int (*show)(const struct kvs_plane *plane, int file);
	/* Maps a plane by its name. -ESTALE if that is another inode's now. */
	int (*import)(const struct kvs_plane *plane, char **base);
	/* Takes its name away if it is still this inode's. */
	void (*hide)(const struct kvs_plane *plane);
};

extern const struct kvs_pool kvs_pool_host;

#endif
