/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * segment_parts.h: what segment.c and make.c share.
 */
#ifndef KVS_SEGMENT_PARTS_H
#define KVS_SEGMENT_PARTS_H

#include "pool.h"

/* This boot's id. */
void kvs_segment_boot_id(uint8_t id[16]);

/* One plane of the store with this head. */
void kvs_segment_plane(struct kvs_plane *plane, const struct kvs_head *head, const char *dir, const char *name,
		       uint32_t number);

#endif
