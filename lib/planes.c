/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes.c: where the bytes of blocks lie, and copying them, whichever memory the planes have. Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "internal.h"

int kvl_plane(struct kvshm_store *store, unsigned plane, char **base)
{
	kvg_pointer at;
	int rc;

	if (store->map.files.memory == KVS_MEMORY_HOST) {
		*base = store->map.planes[plane];
		return 0;
	}
	rc = kvg_attached_map(store->gpu, plane, &at);
	if (rc == 0)
		*base = (char *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr): CUDA's addresses are numbers
	return rc;
}

/* What only a plane of GPU memory has. */
static int describe_gpu(struct kvshm_store *store, unsigned plane, struct kvshm_plane_info *info)
{
	kvg_device device;
	int rc = kvg_attached_device(store->gpu, plane, &device);

	if (rc)
		return rc;
	info->memory = KVSHM_MEMORY_CUDA;
	info->device = device;
	info->page_size = store->map.files.page;
	kvg_uuid_text(info->gpu, store->map.files.uuid[plane]);
	return 0;
}

int kvshm_get_plane_info(kvshm_store *store, unsigned plane, struct kvshm_plane_info *info)
{
	struct kvs_actor actor;
	struct kvshm_plane_info found;
	char *base = NULL;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (!info)
		return kvl_no_place();
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	rc = kvl_plane(store, plane, &base);
	if (rc)
		return rc;
	found = (struct kvshm_plane_info){
		.address = base,
		.size = store->map.g.blocks * store->map.g.block_size,
		.page_size = store->map.files.page ? store->map.files.page : (uint64_t)sysconf(_SC_PAGESIZE),
		.memory = KVSHM_MEMORY_HOST,
		.device = -1,
	};
	if (store->map.files.memory == KVS_MEMORY_CUDA)
		rc = describe_gpu(store, plane, &found);
	if (rc == 0)
		*info = found;
	return rc;
}

int kvshm_address(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, void **address)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	char *base = NULL;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (!address)
		return kvl_no_place();
	rc = kvl_held(&actor, held, &block);
	if (rc)
		return rc;
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	rc = kvl_plane(store, plane, &base);
	if (rc == 0)
		*address = base + held->block * store->map.g.block_size;
	return rc;
}
