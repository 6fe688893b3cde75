/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * segment.h: making, opening, owning, destroying and unlinking a store's segment, with its planes.
 *
 * Guarantees: a segment can be seen only when it is whole, and its planes before it. Of two makers of one name one
 * fails, or both find the other's, whole. The owner's lock on a byte of the segment says that the owner lives, and is
 * what gives the right to take the names away.
 */
#ifndef KVS_SEGMENT_H
#define KVS_SEGMENT_H

#include "files.h"
#include "map.h"
#include "memory.h"

/* Makes planes that are no files, when the way is clear: sets what *planes has of them. What it has made is its
 * maker's to give back where the store is not made after all. */
typedef int kvs_planes_fn(void *arg, const struct kvs_geometry *geometry, struct kvs_plane_files *planes);

struct kvs_segment_options {
	const char *dir;
	const char *label;
	struct kvs_shape shape;
	struct kvs_files_access access;
	bool replace_dead;
	bool huge;	  /* planes of huge pages */
	int32_t node;	  /* the NUMA node of its memory; KVS_NODE_ANY unless told */
	unsigned threads; /* that populate it */
	kvs_progress_fn *progress;
	void *progress_arg;
	kvs_planes_fn *planes; /* NULL: they are files of host memory */
	void *planes_arg;
};

/* Makes a store, maps it, and holds the owner's lock on it. Errors as in kvshm_create(). */
int kvs_segment_create(const char *name, const struct kvs_segment_options *options, struct kvs_map *map);

/* Takes the ownership of a store without a living owner. */
int kvs_segment_adopt(const char *name, const char *dir, struct kvs_map *map);

/* Maps a store with its planes. label NULL: any. */
int kvs_segment_open(const char *name, const char *dir, const char *label, struct kvs_map *map);

/* Marks an owned store destroyed and takes its names away. */
void kvs_segment_destroy(const char *name, const char *dir, struct kvs_map *map);

/* Takes away a store that nobody has, of any version: -EBUSY if someone has; and planes that a dead maker left. */
int kvs_segment_unlink(const char *name, const char *dir);

/* The same without a text of who has it. */
int kvs_segment_unlink_dead(const char *name, const char *dir);

/* Has an owned store still got its names, the segment's and the planes'? */
bool kvs_segment_named(const char *name, const char *dir, const struct kvs_map *map);

/* Reads and checks the head of an open file: *head is a copy. -EPROTO says what it is instead of a segment of this
 * layout, -EUCLEAN that its geometry makes no sense. */
int kvs_segment_read_head(int file, const char *path, struct kvs_head *head);

/* Reads the frozen part of an open file into *head, whose rest stays as it is. -EPROTO: it is no segment of any
 * version. */
int kvs_segment_read_frozen(int file, const char *path, struct kvs_head *head);

/* Opens the file of a store. */
int kvs_segment_open_file(const char *name, const char *dir, int flags, int *file, char *path);

#endif
