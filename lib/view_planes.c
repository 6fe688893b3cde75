/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view_planes.c: a store's planes, and who has them mapped. Contract in kvshm.h.
 *
 * Guarantees: nothing is mapped or written, and no driver is loaded; every number read is checked before it is used
 * (F1). Relaxed: what is looked at are copies.
 */
#include "config.h"

#include <stdlib.h>

#include "context.h"
#include "view.h"

_Static_assert(KVSHM_GPU_SIZE == KVG_NAME_SIZE, "a GPU's name has room");

static uint32_t count_mappings(const struct kvs_view *view, const struct kvs_slot_view *slots, uint32_t plane)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < view->g.clients; i++)
		count += slots[i].live &&
			 (view->head.planes.memory == KVS_MEMORY_HOST || (slots[i].planes >> plane & 1U));
	return count;
}

int kvshm_view_planes(kvshm_view *view, int (*fn)(const struct kvshm_plane_view *plane, void *arg), void *arg)
{
	struct kvs_slot_view *slots = NULL;
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	rc = kvs_inspect_slots(&view->inner, &slots);
	for (uint32_t i = 0; rc == 0 && i < view->inner.g.planes; i++) {
		struct kvshm_plane_view plane = {
			.plane = i,
			.memory = (enum kvshm_memory)view->inner.head.planes.memory,
			.size = view->inner.g.blocks * view->inner.g.block_size,
			.mapped = count_mappings(&view->inner, slots, i),
		};

		if (plane.memory == KVSHM_MEMORY_CUDA)
			kvg_uuid_text(plane.gpu, view->inner.head.planes.uuid[i]);
		rc = fn(&plane, arg);
	}
	free(slots);
	return rc;
}
