/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes.c: planes as their owner has them. See planes.h.
 */
#include "config.h"

#include "planes.h"

#include "fault.h"

int kvg_planes_make(void *wish, const struct kvs_geometry *geometry, struct kvs_plane_files *files)
{
	(void)wish;
	(void)geometry;
	(void)files;
	return kvs_fault(95, "to be done");
}

int kvg_planes_take(const int *fds, uint32_t count, struct kvg_planes **planes)
{
	(void)fds;
	(void)count;
	(void)planes;
	return kvs_fault(95, "to be done");
}

const int *kvg_planes_fds(const struct kvg_planes *planes)
{
	(void)planes;
	return NULL;
}

void kvg_planes_free(struct kvg_planes *planes)
{
	(void)planes;
}
