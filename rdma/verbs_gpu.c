/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_gpu.c: planes of GPU memory as memory regions of devices.
 *
 * There are two ways to reach it: a dma-buf of the plane; or its addresses as they are, where the kernel has peer
 * memory (nvidia_peermem). A dma-buf comes first. But Linux takes none to bind windows over (IB_ACCESS_MW_BIND is not
 * among the flags of UVERBS_METHOD_REG_DMABUF_MR, in drivers/infiniband/core/uverbs_std_types_mr.c), and windows are
 * the better fence: so what windows can be over is tried before what they can't, whichever way that is.
 *
 * Guarantees: a plane that is registered can be flushed, too (E1): who can't do that does not write there at all. Where
 * no way goes, the error has both reasons. A dma-buf's descriptor is closed at once: the region keeps the memory.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attached.h"
#include "fault.h"
#include "kept.h"
#include "verbs.h"

#define WHY 200

/* A plane on its way to a device. */
struct plane {
	const struct kvr_device *device;
	const struct kvr_part *part;
	int fd;		      /* of a dma-buf; -1: there is none, */
	char no_dma_buf[WHY]; /* for this reason */
	int error;	      /* why its addresses can't be registered */
};

static int access_with(bool windows)
{
	return IBV_ACCESS_LOCAL_WRITE | (windows ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_WRITE);
}

static bool by_dma_buf(struct plane *plane, bool windows, struct kvr_region *region)
{
	const struct kvr_part *part = plane->part;

	if (plane->fd < 0)
		return false;
	region->mr = kvr_dmabuf_register(plane->device->pd, 0, part->base, part->size, plane->fd, access_with(windows));
	if (!region->mr)
		(void)snprintf(plane->no_dma_buf, WHY, "%s", strerror(errno));
	region->dma_buf = true;
	region->windows = windows;
	return region->mr;
}

static bool by_address(struct plane *plane, bool windows, struct kvr_region *region)
{
	const struct kvr_part *part = plane->part;

	region->mr = ibv_reg_mr(plane->device->pd, part->base, part->size, (unsigned)access_with(windows));
	plane->error = errno;
	region->dma_buf = false;
	region->windows = windows;
	return region->mr;
}

static int no_way(const struct plane *plane)
{
	return kvs_fault(
		EOPNOTSUPP,
		"cannot register GPU memory with %s: as a dma-buf: %s; by its address: %s. Either takes: Linux "
		"5.12 or newer with NVIDIA's open kernel modules; or `modprobe nvidia_peermem`. Else use tcp://, "
		"or a store in host memory",
		plane->device->context->device->name, plane->no_dma_buf, strerror(plane->error));
}

static void open_plane(struct plane *plane)
{
	if (kvg_attached_dma_buf(plane->part->gpu, plane->part->plane, &plane->fd)) {
		plane->fd = -1;
		(void)snprintf(plane->no_dma_buf, WHY, "%s", kvs_fault_text());
	}
}

int kvr_gpu_register(const struct kvr_device *device, const struct kvr_part *part, struct kvr_region *region)
{
	struct plane plane = {.device = device, .part = part};
	int rc = kvg_attached_flush(part->gpu);
	bool done = false;

	if (rc)
		return rc;
	open_plane(&plane);
	if (device->has_windows)
		done = by_dma_buf(&plane, true, region) || by_address(&plane, true, region);
	done = done || by_dma_buf(&plane, false, region) || by_address(&plane, false, region);
	if (!done)
		rc = no_way(&plane);
	if (plane.fd >= 0)
		kvs_kept_close(plane.fd);
	return rc;
}

struct ibv_mr *kvr_gpu_register_block(const struct kvr_device *device, const struct kvr_part *part,
				      const struct kvr_region *region, char *at, uint64_t length)
{
	int fd, error, access = access_with(region->windows);
	struct ibv_mr *mr;

	if (!region->dma_buf)
		return ibv_reg_mr(device->pd, at, length, (unsigned)access);
	if (kvg_attached_dma_buf(part->gpu, part->plane, &fd)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	mr = kvr_dmabuf_register(device->pd, (uint64_t)(at - part->base), at, length, fd, access);
	error = errno;
	kvs_kept_close(fd);
	errno = error;
	return mr;
}
