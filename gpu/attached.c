/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached.c: what an attachment has of GPUs, from its beginning to its end; and which context its calls are made in.
 * See attached.h; mapping is in attached_map.c, copies in attached_copy.c, what network cards need in attached_card.c,
 * what every call looks at in look.c.
 */
#include "config.h"

#include "attached.h"

#include <stdlib.h>
#include <string.h>

#include "attached_map.h"
#include "fault.h"
#include "kept.h"
#include "share.h"
#include "streams.h"

/* ---- Its beginning and its end ----------------------------------------------------------------------------- */

static bool has_descriptors(const struct kvs_map *map)
{
	return map->files.memory == KVS_MEMORY_CUDA && map->files.export == KVS_EXPORT_FD;
}

static void free_attached(struct kvg_attached *attached)
{
	(void)pthread_mutex_destroy(&attached->lock);
	free(attached->dir);
	free(attached);
}

int kvg_attached_open(struct kvs_map *map, uint32_t slot, const char *dir, const char *name,
		      struct kvg_attached **attached)
{
	struct kvg_attached *made = calloc(1, sizeof(*made));
	int rc = 0;

	if (made)
		made->dir = strdup(dir);
	if (!made || !made->dir) {
		free(made);
		return kvs_fault(ENOMEM, "no memory");
	}
	made->map = map;
	made->slot = slot;
	memcpy(made->name, name, strlen(name) + 1);
	(void)pthread_mutex_init(&made->lock, NULL);
	for (uint32_t i = 0; i < KVS_PLANES_MAX; i++)
		made->fds[i] = -1;
	if (has_descriptors(map))
		rc = kvg_share_fetch(dir, name, map, made->fds);
	if (rc)
		free_attached(made);
	else
		*attached = made;
	return rc;
}

/* Whatever the driver says meanwhile: there is no way back. */
static void let_go(struct kvg_attached *attached, const struct kvg_driver *driver)
{
	bool bears;

	kvg_streams_close(attached, driver);
	kvg_attached_copies_close(attached, driver);
	bears = kvg_capture_bear(driver) == KVG_SUCCESS;
	for (uint32_t i = 0; i < attached->map->g.planes; i++)
		kvg_attached_unmap(attached, driver, i);
	kvg_contexts_close(driver, &attached->contexts);
	if (bears)
		kvg_capture_mind(driver);
}

void kvg_attached_close(struct kvg_attached *attached)
{
	const struct kvg_driver *driver = kvg_driver_loaded();

	if (!attached)
		return;
	if (driver)
		let_go(attached, driver);
	for (uint32_t i = 0; i < KVS_PLANES_MAX; i++)
		if (attached->fds[i] >= 0)
			kvs_kept_close(attached->fds[i]);
	free_attached(attached);
}

/* ---- Devices and contexts ---------------------------------------------------------------------------------- */

/* The device of a plane; of host memory that of the calling thread's context, or the first. Under the lock. */
static int find_device(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver *driver,
		       kvg_device *device)
{
	struct kvg_device_of *of = &attached->devices[plane];
	kvg_context current = NULL;
	kvg_result result;
	int rc;

	if (attached->map->files.memory == KVS_MEMORY_HOST) {
		result = driver->context_current(&current);
		if (result == KVG_SUCCESS)
			result = current ? driver->context_device(device) : driver->device_get(device, 0);
		return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "find a GPU for host memory");
	}
	if (!of->known) {
		rc = kvg_device_find(driver, attached->map->files.uuid[plane], &of->device);
		if (rc)
			return rc;
		of->known = 1;
	}
	*device = of->device;
	return 0;
}

int kvg_attached_device(struct kvg_attached *attached, uint32_t plane, kvg_device *device)
{
	const struct kvg_driver *driver;
	int rc = kvg_driver(&driver);

	if (rc)
		return rc;
	(void)pthread_mutex_lock(&attached->lock);
	rc = find_device(attached, plane, driver, device);
	(void)pthread_mutex_unlock(&attached->lock);
	return rc;
}

/* The context that planes of a device have been opened in. The driver opens the handles that one process has made of
 * one device in one context only of another process. */
static kvg_context opened_in(const struct kvg_attached *attached, kvg_device device)
{
	for (uint32_t i = 0; i < attached->map->g.planes; i++)
		if (attached->owners[i] && attached->devices[i].device == device)
			return attached->owners[i];
	return NULL;
}

int kvg_attached_other_context(void)
{
	return kvs_fault(EXDEV,
			 "the GPU's planes are mapped in another context of this process, and legacy IPC handles "
			 "can be in one only: use that one, or make the store without --export ipc");
}

/* Which context a call is made in. Under the lock. */
static int choose(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver *driver, kvg_context *context)
{
	bool opens = attached->map->files.memory == KVS_MEMORY_CUDA && attached->map->files.export == KVS_EXPORT_IPC;
	kvg_context opened;
	kvg_device device = -1;
	int rc = find_device(attached, plane, driver, &device);

	if (rc)
		return rc;
	opened = opens ? opened_in(attached, device) : NULL;
	if (!opened)
		return kvg_context_find(driver, &attached->contexts, device, context);
	rc = kvg_context_current(driver, device, context);
	if (rc)
		return rc;
	if (*context && *context != opened)
		return kvg_attached_other_context();
	*context = opened;
	return 0;
}

int kvg_attached_context(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver **driver,
			 kvg_context *context)
{
	int rc = kvg_driver(driver);

	if (rc)
		return rc;
	(void)pthread_mutex_lock(&attached->lock);
	rc = choose(attached, plane, *driver, context);
	(void)pthread_mutex_unlock(&attached->lock);
	return rc;
}

int kvg_attached_enter(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver **driver,
		       kvg_context *context)
{
	int rc = kvg_driver(driver);

	if (rc)
		return rc;
	(void)pthread_mutex_lock(&attached->lock);
	rc = choose(attached, plane, *driver, context);
	if (rc == 0)
		rc = kvg_context_push(*driver, *context);
	if (rc)
		(void)pthread_mutex_unlock(&attached->lock);
	return rc;
}

void kvg_attached_leave(struct kvg_attached *attached, const struct kvg_driver *driver)
{
	kvg_context_leave(driver);
	(void)pthread_mutex_unlock(&attached->lock);
}
