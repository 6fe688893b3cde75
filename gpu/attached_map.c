/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached_map.c: planes of GPU memory in this process's address space, and planes of host memory that are registered.
 * See attached.h.
 *
 * Memory that came as a descriptor is mapped without regard to contexts: its address is good in all of its GPU. What is
 * opened by an IPC handle is of one context, and goes with it.
 */
#include "config.h"

#include "attached_map.h"

#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "fault.h"
#include "lock.h"

bool kvg_attached_is_opened(const struct kvg_attached *attached)
{
	return attached->map->files.export == KVS_EXPORT_IPC;
}

/* A plane's bytes, in whole pages. */
static uint64_t size_of(const struct kvg_attached *attached)
{
	return kvs_layout_plane(&attached->map->g, attached->map->files.page);
}

/* ---- Mapping ----------------------------------------------------------------------------------------------- */

/* Maps memory to a range of addresses that was reserved for it. */
static int map_handle(const struct kvg_driver *driver, kvg_handle handle, kvg_device device, kvg_pointer at,
		      size_t size)
{
	const struct kvg_access access = {
		.location = {.type = KVG_LOCATION_DEVICE, .id = device},
		.flags = KVG_ACCESS_READ_WRITE,
	};
	kvg_result result = driver->memory_map(at, size, 0, handle, 0);

	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "map %zu bytes of GPU memory", size);
	result = driver->memory_access(at, size, &access, 1);
	if (result == KVG_SUCCESS)
		return 0;
	(void)driver->memory_unmap(at, size);
	return kvg_fault(driver, result, "get access to %zu bytes of GPU memory", size);
}

static int reserve_and_map(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
			   kvg_handle handle, kvg_pointer *at)
{
	size_t size = size_of(attached);
	kvg_result result = driver->address_reserve(at, size, attached->map->files.page, 0, 0);
	int rc;

	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "reserve addresses for %zu bytes of GPU memory", size);
	rc = map_handle(driver, handle, attached->devices[plane].device, *at, size);
	if (rc)
		(void)driver->address_free(*at, size);
	return rc;
}

static void unmap_memory(const struct kvg_attached *attached, const struct kvg_driver *driver, kvg_pointer at)
{
	(void)driver->memory_unmap(at, size_of(attached));
	(void)driver->address_free(at, size_of(attached));
}

/* By its descriptor: the mapping keeps the memory, as the descriptor does. */
static int import_memory(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
			 kvg_pointer *at)
{
	void *fd = (void *)(intptr_t)attached->fds[plane]; // NOLINT(performance-no-int-to-ptr): CUDA takes it so
	kvg_handle handle;
	kvg_result result = driver->memory_import(&handle, fd, KVG_HANDLE_FD);
	int rc;

	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result,
				 "import plane %u, which the store's owner has exported as a file descriptor", plane);
	rc = reserve_and_map(attached, driver, plane, handle, at);
	result = driver->memory_release(handle);
	if (rc == 0 && result != KVG_SUCCESS) {
		unmap_memory(attached, driver, *at);
		rc = kvg_fault(driver, result, "let go of the handle of plane %u", plane);
	}
	return rc;
}

int kvg_attached_ownerless(void)
{
	return kvs_fault(ESTALE,
			 "the store's owner is dead, and its GPU memory has gone with it: detach, and attach the "
			 "new one");
}

/* By its IPC handle, in the current context. What the driver says of handles that it can't open is too little. */
static int open_memory(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
		       kvg_context context, kvg_pointer *at)
{
	const struct kvs_map *map = attached->map;
	struct kvg_ipc_handle handle;
	kvg_result result;

	memcpy(handle.bytes, map->files.handle[plane], sizeof(handle.bytes));
	result = driver->ipc_open(at, handle, KVG_IPC_LAZY_PEER_ACCESS);
	if (result == KVG_SUCCESS) {
		attached->owners[plane] = context;
		return 0;
	}
	if (kvs_lock_alive(map->probe, KVS_LOCK_OWNER) == 0)
		return kvg_attached_ownerless();
	if (result == KVG_ALREADY_MAPPED)
		return kvg_attached_other_context();
	if (atomic_load(&map->head->owner_pid) == getpid())
		return kvs_fault(EOPNOTSUPP,
				 "this process owns the store, and legacy IPC handles are for others: make it "
				 "without --export ipc");
	return kvg_fault(
		driver, result,
		"open plane %u by its legacy IPC handle (in a container, that takes the pid and ipc namespaces of "
		"kvshmd; a store without --export ipc takes neither)",
		plane);
}

/* In the plane's context, under the lock. The mark and the bit are for others, and of an own slot: relaxed. */
static int map_plane(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
		     kvg_context context)
{
	struct kvs_client *client = &attached->map->clients[attached->slot];
	kvg_pointer at;
	int rc = kvs_client_set_dma(attached->map, attached->slot);

	if (rc)
		return rc;
	rc = kvg_attached_is_opened(attached) ? open_memory(attached, driver, plane, context, &at)
					      : import_memory(attached, driver, plane, &at);
	if (rc)
		return rc;
	atomic_fetch_or_explicit(&client->planes, UINT32_C(1) << plane, memory_order_relaxed);
	atomic_store(&attached->bases[plane], at);
	return 0;
}

int kvg_attached_map(struct kvg_attached *attached, uint32_t plane, kvg_pointer *base)
{
	kvg_pointer at = atomic_load(&attached->bases[plane]);
	const struct kvg_driver *driver;
	kvg_context context;
	int rc;

	if (at && !kvg_attached_is_opened(attached)) {
		*base = at;
		return 0;
	}
	rc = kvg_attached_enter(attached, plane, &driver, &context);
	if (rc)
		return rc;
	if (!atomic_load(&attached->bases[plane]))
		rc = map_plane(attached, driver, plane, context);
	kvg_attached_leave(attached, driver);
	if (rc == 0)
		*base = atomic_load(&attached->bases[plane]);
	return rc;
}

/* ---- Registering ------------------------------------------------------------------------------------------- */

/* In a context, under the lock. */
static int register_plane(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
			  kvg_context context)
{
	struct kvs_map *map = attached->map;
	kvg_result result;
	int rc = kvs_client_set_dma(map, attached->slot);

	if (rc)
		return rc;
	result = driver->host_register(map->planes[plane], map->plane_size, KVG_HOST_PORTABLE | KVG_HOST_DEVICE_MAP);
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "register plane %u, %llu bytes of host memory", plane,
				 (unsigned long long)map->plane_size);
	attached->owners[plane] = context;
	atomic_fetch_or(&attached->registered, UINT32_C(1) << plane);
	return 0;
}

int kvg_attached_register(struct kvg_attached *attached, uint32_t plane)
{
	const struct kvg_driver *driver;
	kvg_context context;
	int rc;

	if (kvg_attached_is_registered(attached, plane))
		return 0;
	rc = kvg_attached_enter(attached, plane, &driver, &context);
	if (rc)
		return rc;
	if (!kvg_attached_is_registered(attached, plane))
		rc = register_plane(attached, driver, plane, context);
	kvg_attached_leave(attached, driver);
	return rc;
}

int kvg_attached_is_registered(const struct kvg_attached *attached, uint32_t plane)
{
	return (atomic_load(&attached->registered) & UINT32_C(1) << plane) != 0;
}

/* ---- The end of both --------------------------------------------------------------------------------------- */

/* A context that was the caller's may be no more: what was opened or registered in it has gone with it. */
static void let_go_in(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane, kvg_pointer base)
{
	if (kvg_context_push_again(driver, attached->owners[plane]) != KVG_SUCCESS)
		return;
	if (base)
		(void)driver->ipc_close(base);
	else
		(void)driver->host_unregister(attached->map->planes[plane]);
	kvg_context_leave(driver);
}

void kvg_attached_unmap(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane)
{
	kvg_pointer base = atomic_load(&attached->bases[plane]);

	if (attached->owners[plane])
		let_go_in(attached, driver, plane, base);
	else if (base)
		unmap_memory(attached, driver, base);
}
