/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * segment_parts.h: what segment.c, make.c and unlink.c share.
 */
#ifndef KVS_SEGMENT_PARTS_H
#define KVS_SEGMENT_PARTS_H

#include "pool.h"

/* This boot's id. */
void kvs_segment_boot_id(uint8_t id[16]);

/* Is the file a segment of any version, or as much of the beginning of one as it has? */
bool kvs_segment_is_kin(int file);

/* Has it a head of this layout, which can be read and marked, whatever it says? */
bool kvs_segment_is_ours(int file, struct kvs_head *head);

/* How many of its planes are files: all, or none. */
static inline uint32_t kvs_segment_files(const struct kvs_geometry *geometry, const struct kvs_plane_files *files)
{
	return files->memory == KVS_MEMORY_HOST ? geometry->planes : 0;
}

/* One plane, which is a file, of the store of that geometry. */
void kvs_segment_plane(struct kvs_plane *plane, const struct kvs_geometry *geometry,
		       const struct kvs_plane_files *files, const char *dir, const char *name, uint32_t number);

/* Something may have the name of a store that is to be made. 0: nothing has it now. A store without a living owner is
 * replaced if that is asked for; one that is not of this layout only if no client has it. */
int kvs_segment_clear_name(const char *name, const char *dir, bool replace_dead);

#endif
