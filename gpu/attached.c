/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached.c: what an attachment has of GPUs. See attached.h.
 */
#include "config.h"

#include "attached.h"

#include <stdlib.h>

#include "fault.h"

int kvg_attached_open(struct kvs_map *map, uint32_t slot, const char *dir, const char *name,
		      struct kvg_attached **attached)
{
	struct kvg_attached *made = calloc(1, sizeof(*made));

	(void)dir;
	(void)name;
	if (!made)
		return kvs_fault(12, "no memory");
	made->map = map;
	made->slot = slot;
	*attached = made;
	return 0;
}

void kvg_attached_close(struct kvg_attached *attached)
{
	free(attached);
}

int kvg_attached_map(struct kvg_attached *attached, uint32_t plane, kvg_pointer *base)
{
	(void)attached;
	(void)plane;
	(void)base;
	return kvs_fault(95, "to be done");
}

int kvg_attached_device(struct kvg_attached *attached, uint32_t plane, kvg_device *device)
{
	(void)attached;
	(void)plane;
	(void)device;
	return kvs_fault(95, "to be done");
}
