/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes.c: where the bytes of blocks lie, and copying them, whichever memory the planes have. Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "part.h"
#include "table.h"
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

/* ---- Copying ----------------------------------------------------------------------------------------------- */

/* May this client write there? It fills the block, or that plane of it, or has it without a key. */
static bool may_write(const struct kvs_actor *actor, const struct kvshm_handle *held, unsigned plane)
{
	switch (held->kind) {
	case KVSHM_WRITER:
		return kvs_table_own_fill(actor, held->block) == 0;
	case KVSHM_PART:
		return held->plane == plane && kvl_is_part(actor, held);
	case KVSHM_OWNED:
		return kvs_table_owns(actor, held->block);
	default:
		return false;
	}
}

/* May this client read there? Who writes may, too. The bytes of a block whose key was removed are there as long as it
 * is held, if they ever were. */
static int may_read(const struct kvs_actor *actor, const struct kvshm_handle *held, const struct kvs_block *block,
		    unsigned plane)
{
	if (may_write(actor, held, plane))
		return 0;
	/* [publish: read] */
	switch (kvs_word_state(atomic_load_explicit(&block->word, memory_order_seq_cst))) {
	case KVS_OWNED:
	case KVS_FILLING:
		return kvs_routine(EAGAIN, "the block is still being filled: wait for it");
	case KVS_READY:
	case KVS_REM_READY:
		return 0;
	default:
		if (kvs_part_whole(actor->map, held->block))
			return 0;
		return kvs_routine(ECANCELED, "the block was never filled: its fill was given up, or has failed");
	}
}

/* What both begin with: *at is where in the plane the bytes are. */
static int begin_copy(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_handle *held,
		      struct kvs_block **block, unsigned plane, uint64_t offset, uint64_t length)
{
	uint64_t size;
	int rc = kvl_begin(store, actor);

	if (rc == 0)
		rc = kvl_held(actor, held, block);
	if (rc)
		return rc;
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	size = store->map.g.block_size;
	if (offset > size || length > size - offset)
		return kvs_fault(EINVAL, "%llu bytes from %llu on: a block of this store has %llu",
				 (unsigned long long)length, (unsigned long long)offset, (unsigned long long)size);
	return 0;
}

int kvshm_read(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, uint64_t offset, void *to,
	       uint64_t length)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	uint64_t at;
	int rc = begin_copy(store, &actor, held, &block, plane, offset, length);

	if (rc == 0)
		rc = may_read(&actor, held, block, plane);
	if (rc || !length)
		return rc;
	if (!to)
		return kvl_no_place();
	at = held->block * store->map.g.block_size + offset;
	if (store->map.files.memory == KVS_MEMORY_CUDA)
		return kvg_attached_read(store->gpu, plane, at, to, length);
	memcpy(to, store->map.planes[plane] + at, length);
	return 0;
}

int kvshm_write(kvshm_store *store, const struct kvshm_handle *held, unsigned plane, uint64_t offset, const void *from,
		uint64_t length)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	uint64_t at;
	int rc = begin_copy(store, &actor, held, &block, plane, offset, length);

	if (rc)
		return rc;
	if (!may_write(&actor, held, plane))
		return kvs_routine(EBADF, "the handle is none that this client may write that plane by: it is no fill, "
					  "block without a key, or part of that plane, or has ended");
	if (!length)
		return 0;
	if (!from)
		return kvs_routine(EINVAL, "no bytes were given (NULL)");
	at = held->block * store->map.g.block_size + offset;
	if (store->map.files.memory == KVS_MEMORY_CUDA)
		return kvg_attached_write(store->gpu, plane, at, from, length);
	memcpy(store->map.planes[plane] + at, from, length);
	return 0;
}

int kvshm_register_plane(kvshm_store *store, unsigned plane)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	if (store->map.files.memory == KVS_MEMORY_CUDA)
		return kvs_routine(EALREADY, "the plane is GPU memory, which needs no registering");
	return kvg_attached_register(store->gpu, plane);
}
