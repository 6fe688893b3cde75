/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * alloc.c: memory of cuMemAlloc(), which others open by a legacy IPC handle. Who opened it does not keep it: once its
 * maker has freed it, or is gone, no copy and no kernel reaches it any more (KVG_ILLEGAL_ADDRESS).
 */
#include "config.h"
#include <string.h>
#include <unistd.h>
#include "inner.h"

struct handle { /* what is in the 64 bytes */
	char mark[8];
	struct kvg_uuid device;
	uint64_t owner, number, zero[3];
};

_Static_assert(sizeof(struct handle) == sizeof(struct kvg_ipc_handle), "it fills them");

static const char mark[8] = "standin";

/* Puts memory at addresses of its own. Of memory that can't be, nothing is left. */
static kvg_result place(struct si_range *from, kvg_pointer *at)
{
	kvg_result result = KVG_OUT_OF_MEMORY;
	struct si_range *range;

	from->size = from->memory->bytes;
	from->at = si_addresses(from->size, 0);
	if (from->at)
		result = si_range_add(from);
	if (result != KVG_SUCCESS) {
		si_memory_let_go(from->memory);
		return result;
	}
	range = si_range_of(from->at, from->size);
	result = si_range_show(range);
	if (result == KVG_SUCCESS)
		*at = range->at;
	else
		si_range_remove(range);
	return result;
}

SI_PUBLIC kvg_result cu_memory_alloc(kvg_pointer *at, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	kvg_result result = si_enter(SI_memory_alloc);
	struct si_range range = {.kind = SI_ALLOCATION};

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&range.context);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS && !size)
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		result = si_memory_make(&range.memory, range.context->device, (size + page - 1) & ~(page - 1), true);
	return si_leave(result == KVG_SUCCESS ? place(&range, at) : result);
}

/* The range that begins there, of that kind. */
static struct si_range *range_at(kvg_pointer at, enum si_kind kind)
{
	struct si_range *range = si_range_of((uintptr_t)at, 1);

	return range && range->at == at && range->kind == kind ? range : NULL;
}

SI_PUBLIC kvg_result cu_memory_free(kvg_pointer at)
{
	kvg_result result = si_enter(SI_memory_free);
	struct si_range *range;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	range = range_at(at, SI_ALLOCATION);
	if (result == KVG_SUCCESS && !range)
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		si_range_remove(range);
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_ipc_get(struct kvg_ipc_handle *to, kvg_pointer at)
{
	kvg_result result = si_enter(SI_ipc_get);
	struct handle handle = {.number = 0};
	struct si_range *range;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	range = si_range_of((uintptr_t)at, 1);
	if (result == KVG_SUCCESS && (!range || range->kind != SI_ALLOCATION))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS && si_attribute(range->memory->device, KVG_ATTRIBUTE_IPC) <= 0)
		result = KVG_NOT_SUPPORTED;
	if (result != KVG_SUCCESS)
		return si_leave(result);
	memcpy(handle.mark, mark, sizeof(mark));
	handle.device = si_machine()->devices[range->memory->device].uuid;
	handle.owner = range->memory->owner;
	handle.number = range->memory->number;
	memcpy(to->bytes, &handle, sizeof(handle));
	return si_leave(KVG_SUCCESS);
}

static int device_by_uuid(const struct kvg_uuid *uuid)
{
	const struct si_machine *machine = si_machine();
	int i;

	for (i = 0; i < machine->visible_count; i++)
		if (memcmp(&machine->devices[machine->visible[i]].uuid, uuid, sizeof(*uuid)) == 0)
			return machine->visible[i];
	return -1;
}

/* What is open of it: in this context one opening more; in another of the same device it may not be. */
static kvg_result open_again(const struct handle *handle, kvg_context context, struct si_range **result)
{
	struct si_range *range;

	*result = NULL;
	for (range = si_ranges_first(); range; range = range->next) {
		if (range->kind != SI_OPENED || range->memory->owner != handle->owner ||
		    range->memory->number != handle->number)
			continue;
		if (range->context == context)
			*result = range;
		else if (range->context->device == context->device)
			return KVG_ALREADY_MAPPED;
	}
	return KVG_SUCCESS;
}

static kvg_result open_handle(const struct handle *handle, kvg_context context, kvg_pointer *at)
{
	struct si_range new = {.kind = SI_OPENED, .context = context, .opened = 1}, *range;
	int device = device_by_uuid(&handle->device);
	kvg_result result;

	if (memcmp(handle->mark, mark, sizeof(mark)) != 0)
		return KVG_INVALID_VALUE;
	if (handle->owner == si_process)
		return KVG_INVALID_CONTEXT;
	if (device < 0)
		return KVG_INVALID_DEVICE;
	if (si_attribute(device, KVG_ATTRIBUTE_IPC) <= 0)
		return KVG_NOT_SUPPORTED;
	result = open_again(handle, context, &range);
	if (result != KVG_SUCCESS)
		return result;
	if (range) {
		range->opened++;
		*at = range->at;
		return KVG_SUCCESS;
	}
	result = si_memory_open(&new.memory, device, handle->owner, handle->number);
	return result == KVG_SUCCESS ? place(&new, at) : result;
}

SI_PUBLIC kvg_result cu_ipc_open(kvg_pointer *at, struct kvg_ipc_handle from, unsigned flags)
{
	kvg_result result = si_enter(SI_ipc_open);
	struct handle handle;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	memcpy(&handle, from.bytes, sizeof(handle));
	result = si_current(&context);
	if (result == KVG_SUCCESS && flags != KVG_IPC_LAZY_PEER_ACCESS)
		result = KVG_INVALID_VALUE;
	return si_leave(result == KVG_SUCCESS ? open_handle(&handle, context, at) : result);
}

SI_PUBLIC kvg_result cu_ipc_close(kvg_pointer at)
{
	kvg_result result = si_enter(SI_ipc_close);
	struct si_range *range;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	range = range_at(at, SI_OPENED);
	if (result == KVG_SUCCESS && !range)
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS && --range->opened == 0)
		si_range_remove(range);
	return si_leave(result);
}
