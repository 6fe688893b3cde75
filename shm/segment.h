/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * segment.h: making, opening, owning and destroying a store's segment, with its planes.
 *
 * Guarantees: a segment can be seen only when it is whole, and its planes before it. Of two makers of one name one
 * fails, or both find the other's, whole. The owner's lock on a byte of the segment says that the owner lives, and is
 * what gives the right to take the names away.
 */
#ifndef KVS_SEGMENT_H
#define KVS_SEGMENT_H

#include "map.h"

struct kvs_segment_options {
	const char *dir;
	const char *label;
	struct kvs_shape shape;
	uint32_t mode;
	bool replace_dead;
};

/* Makes a store, maps it, and holds the owner's lock on it. Errors as in kvshm_create(). */
int kvs_segment_create(const char *name, const struct kvs_segment_options *options, struct kvs_map *map);

/* Takes the ownership of a store without a living owner. */
int kvs_segment_adopt(const char *name, const char *dir, struct kvs_map *map);

/* Maps a store with its planes. label NULL: any. */
int kvs_segment_open(const char *name, const char *dir, const char *label, struct kvs_map *map);

/* Marks an owned store destroyed and takes its names away. */
void kvs_segment_destroy(const char *name, const char *dir, struct kvs_map *map);

/* Reads and checks the head of an open file: *head is a copy. -EPROTO says what it is instead of a segment of this
 * layout, -EUCLEAN that its geometry makes no sense. */
int kvs_segment_read_head(int file, const char *path, struct kvs_head *head);

/* Opens the file of a store. */
int kvs_segment_open_file(const char *name, const char *dir, int flags, int *file, char *path);

#endif
