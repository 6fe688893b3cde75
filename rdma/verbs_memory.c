/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_memory.c: parts of kvr_memory as memory regions of devices.
 *
 * Guarantees (E3): with windows nobody reads or writes a part from outside by its region's own key. Without, whoever
 * has a region's key may write all of it: so it is given to peers that are to write, and the fence is their queue
 * pair's end. (verbs_gpu.c says when a plane of GPU memory is without.)
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "fault.h"
#include "verbs.h"

#define PIECES 1024

struct key {
	const struct kvr_device *device;
	struct kvr_region region;
	struct key *next;
	struct piece *pieces[PIECES]; /* by their address */
};

/* Of a device whose windows do not keep to their own bounds: a region that is as narrow as its windows. Blocks are
 * always the same: each is registered once, when it is granted for the first time. */
struct piece {
	struct ibv_mr *mr;
	const void *address; /* mr's own is a dma-buf's offset, where it is of one */
	struct piece *next;
};

int kvr_key_fault(int error, const struct ibv_context *context, const char *format, ...)
{
	const char *name = context->device->name;
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
	char what[128];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(what, sizeof(what), format, list);
	va_end(list);
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	if ((error == ENOMEM || error == EPERM || error == EAGAIN) && limit.rlim_cur != RLIM_INFINITY)
		return kvs_fault(ENOMEM,
				 "cannot %s with %s (%s): this process may lock %llu bytes (RLIMIT_MEMLOCK); raise "
				 "that: `ulimit -l unlimited`, or LimitMEMLOCK=infinity in systemd's unit, or "
				 "--ulimit memlock=-1 for a container",
				 what, name, strerror(error), (unsigned long long)limit.rlim_cur);
	return kvs_fault(error, "cannot %s with %s: %s", what, name, strerror(error));
}

static int access_of(const struct kvr_device *device, const struct kvr_part *part)
{
	if (!part->exposed)
		return 0;
	return IBV_ACCESS_LOCAL_WRITE | (device->has_windows ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_WRITE);
}

static int register_part(const struct kvr_device *device, const struct kvr_part *part, struct kvr_region *region)
{
	if (part->gpu)
		return kvr_gpu_register(device, part, region);
	region->windows = device->has_windows;
	region->mr = ibv_reg_mr(device->pd, part->base, part->size, (unsigned)access_of(device, part));
	if (region->mr)
		return 0;
	return kvr_key_fault(errno, device->context, "register memory%s, %llu bytes,",
			     part->exposed ? " of a store" : "", (unsigned long long)part->size);
}

int kvr_key_add(struct kvr_registrar *registrar, struct kvr_part *part)
{
	struct kvr_device *device =
		(struct kvr_device *)(void *)((char *)registrar - offsetof(struct kvr_device, registrar));
	struct key *key = calloc(1, sizeof(*key));
	int rc;

	if (!key)
		return kvs_fault(ENOMEM, "no memory to register memory");
	key->device = device;
	rc = register_part(device, part, &key->region);
	if (rc) {
		free(key);
		return rc;
	}
	if (part->exposed && !key->region.windows)
		device->region_keys = true;
	key->next = part->keys;
	part->keys = key;
	return 0;
}

static void free_pieces(struct key *key)
{
	for (unsigned i = 0; i < PIECES; i++)
		while (key->pieces[i]) {
			struct piece *piece = key->pieces[i];

			key->pieces[i] = piece->next;
			(void)ibv_dereg_mr(piece->mr);
			free(piece);
		}
}

void kvr_key_remove(struct kvr_registrar *registrar, struct kvr_part *part)
{
	struct key *key = part->keys, *before = NULL;

	while (key && &key->device->registrar != registrar) {
		before = key;
		key = key->next;
	}
	if (!key)
		return;
	if (before)
		before->next = key->next;
	else
		part->keys = key->next;
	free_pieces(key);
	(void)ibv_dereg_mr(key->region.mr);
	free(key);
}

static struct key *find(const struct kvr_part *part, const struct kvr_device *device)
{
	struct key *key = part->keys;

	while (key && key->device != device)
		key = key->next;
	return key;
}

/* Every part is with every device that a link has. */
const struct kvr_region *kvr_key_find(const struct kvr_part *part, const struct kvr_device *device)
{
	return &find(part, device)->region;
}

static struct piece *make_piece(const struct kvr_device *device, const struct kvr_part *part,
				const struct kvr_region *region, void *address, uint64_t length)
{
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece) {
		(void)kvs_fault(ENOMEM, "no memory to register memory");
		return NULL;
	}
	piece->address = address;
	if (part->gpu)
		piece->mr = kvr_gpu_register_block(device, part, region, address, length);
	else
		piece->mr = ibv_reg_mr(device->pd, address, length, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	if (piece->mr)
		return piece;
	(void)kvr_key_fault(errno, device->context, "register a block, %llu bytes,", (unsigned long long)length);
	free(piece);
	return NULL;
}

struct ibv_mr *kvr_key_under(const struct kvr_part *part, struct kvr_device *device, void *address, uint64_t length)
{
	struct key *key = find(part, device);
	struct piece **at = &key->pieces[((uintptr_t)address >> 12) % PIECES], *piece = *at;

	if (!device->wide_windows || !key->region.windows)
		return key->region.mr;
	while (piece && (piece->address != address || piece->mr->length != length))
		piece = piece->next;
	if (piece)
		return piece->mr;
	piece = make_piece(device, part, &key->region, address, length);
	if (!piece)
		return NULL;
	piece->next = *at;
	*at = piece;
	return piece->mr;
}
