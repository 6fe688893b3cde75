/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached_card.c: what network cards need of planes in GPU memory: buffers that they reach, and that what they wrote
 * is seen. See attached.h.
 */
#include "config.h"

#include "attached.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"

static int no_dma_buf(const char *why)
{
	return kvs_fault(EOPNOTSUPP, "GPU memory can't be given to network cards as a dma-buf: %s", why);
}

static int can_export(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver *driver)
{
	int can, rc;

	if (!driver->range_handle)
		return no_dma_buf("the driver is older than CUDA 11.7");
	rc = kvg_device_ask(driver, attached->devices[plane].device, KVG_ATTRIBUTE_DMA_BUF, &can);
	if (rc || can)
		return rc;
	return no_dma_buf("the driver has none here (it takes the open kernel modules, and Linux 5.12)");
}

/* Without a fork() in between. The driver does not say whether what it makes is closed by exec(). */
static int export_range(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver *driver, int *fd)
{
	size_t size = kvs_layout_plane(&attached->map->g, attached->map->files.page);
	kvg_pointer base = atomic_load(&attached->bases[plane]);
	int theirs = -1, rc;
	kvg_result result = driver->range_handle(&theirs, base, size, KVG_RANGE_DMA_BUF, 0);

	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "export plane %u as a dma-buf", plane);
	*fd = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	rc = *fd < 0 ? kvs_fault(errno, "cannot keep a dma-buf: %s", strerror(errno)) : 0;
	(void)close(theirs);
	return rc;
}

/* A child of fork() would keep the memory by it. */
static int export_kept(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver *driver, int *fd)
{
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	rc = export_range(attached, plane, driver, fd);
	if (rc == 0)
		kvs_kept_add(*fd);
	kvs_kept_end();
	return rc;
}

/* The attachment's lock before that of what is kept: who waits for the first, while the driver does what takes long,
 * must not keep others from fork(); the driver may itself be one of these. */
int kvg_attached_dma_buf(struct kvg_attached *attached, uint32_t plane, int *fd)
{
	const struct kvg_driver *driver;
	kvg_context context;
	kvg_pointer base;
	int rc = kvg_attached_map(attached, plane, &base);

	if (rc == 0)
		rc = kvg_attached_enter(attached, plane, &driver, &context);
	if (rc)
		return rc;
	rc = can_export(attached, plane, driver);
	if (rc == 0)
		rc = export_kept(attached, plane, driver, fd);
	kvg_attached_leave(attached, driver);
	return rc;
}

/* ---- Flushes ----------------------------------------------------------------------------------------------- */

/* In a context of the device. A driver that knows neither attribute is one whose devices need a flush. */
static int flush_device(const struct kvg_driver *driver, kvg_device device)
{
	int ordering, options, rc = kvg_device_ask(driver, device, KVG_ATTRIBUTE_WRITES_ORDERING, &ordering);
	kvg_result result;

	if (rc || ordering >= KVG_ORDERING_ALL_DEVICES)
		return rc;
	rc = kvg_device_ask(driver, device, KVG_ATTRIBUTE_FLUSH_OPTIONS, &options);
	if (rc)
		return rc;
	if (driver->flush_writes && options & KVG_FLUSH_OPTION_HOST) {
		result = driver->flush_writes(KVG_FLUSH_CURRENT_CONTEXT, KVG_FLUSH_TO_ALL_DEVICES);
		if (result == KVG_SUCCESS)
			return 0;
		return kvg_fault(driver, result, "flush what network cards have written to GPU %d", device);
	}
	if (ordering >= KVG_ORDERING_OWNER)
		return 0; /* its planes are mapped for the GPU alone that they are on */
	return kvs_fault(
		EOPNOTSUPP,
		"GPU %d does not order what network cards write to it, and the driver can't flush that: blocks "
		"that other nodes fill need another GPU, a newer driver, or a pool of host memory",
		device);
}

int kvg_attached_flush(struct kvg_attached *attached)
{
	const struct kvs_map *map = attached->map;
	int rc = 0;

	for (uint32_t plane = 0; rc == 0 && plane < map->g.planes; plane++) {
		const struct kvg_driver *driver;
		kvg_context context;
		bool done = false;

		for (uint32_t i = 0; i < plane && !done; i++)
			done = atomic_load(&attached->bases[i]) &&
			       memcmp(map->files.uuid[i], map->files.uuid[plane], KVS_UUID_SIZE) == 0;
		if (done || !atomic_load(&attached->bases[plane]))
			continue;
		rc = kvg_attached_enter(attached, plane, &driver, &context);
		if (rc)
			return rc;
		rc = flush_device(driver, attached->devices[plane].device);
		kvg_attached_leave(attached, driver);
	}
	return rc;
}
