/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * vmm.c: memory of cuMemCreate(), handed to others as a descriptor, and mapped where a process has reserved addresses.
 * It needs no context. What the manual demands of an argument is checked.
 */
#include "config.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "inner.h"

struct handle {
	struct handle *next;
	kvg_handle number;
	struct si_memory *memory;
};

struct reservation {
	struct reservation *next;
	uintptr_t at;
	size_t size;
};

static struct handle *handles;
static struct reservation *reservations;

unsigned si_handles_count(void)
{
	const struct handle *handle;
	unsigned count = 0;

	for (handle = handles; handle; handle = handle->next)
		count++;
	return count;
}

unsigned si_reservations_count(void)
{
	const struct reservation *reservation;
	unsigned count = 0;

	for (reservation = reservations; reservation; reservation = reservation->next)
		count++;
	return count;
}

static struct handle **handle_of(kvg_handle number)
{
	struct handle **place;

	for (place = &handles; *place && (*place)->number != number; place = &(*place)->next)
		;
	return place;
}

static kvg_result give_handle(struct si_memory *memory, kvg_handle *result)
{
	static kvg_handle numbers = 0x5000;
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle) {
		si_memory_let_go(memory);
		return KVG_OUT_OF_MEMORY;
	}
	*handle = (struct handle){.next = handles, .number = numbers += 16, .memory = memory};
	handles = handle;
	*result = handle->number;
	return KVG_SUCCESS;
}

static kvg_result check_prop(const struct kvg_prop *prop)
{
	int device, i;

	if (!prop || prop->type != KVG_ALLOCATION_PINNED || prop->location.type != KVG_LOCATION_DEVICE ||
	    (prop->handle_types && prop->handle_types != KVG_HANDLE_FD) || prop->windows || prop->compression ||
	    prop->rdma_capable > 1 || prop->usage)
		return KVG_INVALID_VALUE;
	for (i = 0; i < 4; i++)
		if (prop->reserved[i])
			return KVG_INVALID_VALUE;
	device = si_device_of(prop->location.id);
	if (device < 0)
		return KVG_INVALID_DEVICE;
	if (si_attribute(device, KVG_ATTRIBUTE_VMM) <= 0 ||
	    (prop->handle_types && si_attribute(device, KVG_ATTRIBUTE_FD_EXPORT) <= 0) ||
	    (prop->rdma_capable && si_attribute(device, KVG_ATTRIBUTE_RDMA_WITH_VMM) <= 0))
		return KVG_NOT_SUPPORTED;
	return KVG_SUCCESS;
}

SI_PUBLIC kvg_result cu_memory_granularity(size_t *granularity, const struct kvg_prop *prop, int option)
{
	kvg_result result = si_enter(SI_memory_granularity);

	if (result != KVG_SUCCESS)
		return result;
	result = check_prop(prop);
	if (result == KVG_SUCCESS && option != 0 && option != KVG_GRANULARITY_RECOMMENDED)
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		*granularity = SI_GRANULARITY;
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_memory_create(kvg_handle *handle, size_t size, const struct kvg_prop *prop,
				      unsigned long long flags)
{
	kvg_result result = si_enter(SI_memory_create);
	struct si_memory *memory;

	if (result != KVG_SUCCESS)
		return result;
	result = check_prop(prop);
	if (result == KVG_SUCCESS && (!size || size % SI_GRANULARITY || flags))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		result = si_memory_make(&memory, si_device_of(prop->location.id), size, false);
	if (result != KVG_SUCCESS)
		return si_leave(result);
	memory->exportable = prop->handle_types == KVG_HANDLE_FD;
	return si_leave(give_handle(memory, handle));
}

SI_PUBLIC kvg_result cu_memory_release(kvg_handle number)
{
	kvg_result result = si_enter(SI_memory_release);
	struct handle **place, *handle;

	if (result != KVG_SUCCESS)
		return result;
	place = handle_of(number);
	handle = *place;
	if (!handle)
		return si_leave(KVG_INVALID_VALUE);
	*place = handle->next;
	si_memory_let_go(handle->memory);
	free(handle);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_memory_export(void *to, kvg_handle number, int type, unsigned long long flags)
{
	kvg_result result = si_enter(SI_memory_export);
	const struct handle *handle;
	int fd;

	if (result != KVG_SUCCESS)
		return result;
	handle = *handle_of(number);
	if (!handle || !handle->memory->exportable || type != KVG_HANDLE_FD || flags)
		return si_leave(KVG_INVALID_VALUE);
	fd = fcntl(handle->memory->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return si_leave(KVG_OPERATING_SYSTEM);
	*(int *)to = fd;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_memory_import(kvg_handle *handle, void *from, int type)
{
	kvg_result result = si_enter(SI_memory_import);
	struct si_memory *memory;

	if (result != KVG_SUCCESS)
		return result;
	if (type != KVG_HANDLE_FD)
		return si_leave(KVG_INVALID_VALUE);
	result = si_memory_of(&memory, (int)(intptr_t)from);
	return si_leave(result == KVG_SUCCESS ? give_handle(memory, handle) : result);
}

SI_PUBLIC kvg_result cu_address_reserve(kvg_pointer *at, size_t size, size_t alignment, kvg_pointer hint,
					unsigned long long flags)
{
	kvg_result result = si_enter(SI_address_reserve);
	struct reservation *reservation;

	(void)hint;
	if (result != KVG_SUCCESS)
		return result;
	if (!size || size % SI_GRANULARITY || (alignment & (alignment - 1)) || flags)
		return si_leave(KVG_INVALID_VALUE);
	reservation = calloc(1, sizeof(*reservation));
	if (!reservation)
		return si_leave(KVG_OUT_OF_MEMORY);
	*reservation = (struct reservation){.next = reservations, .at = si_addresses(size, alignment), .size = size};
	if (!reservation->at) {
		free(reservation);
		return si_leave(KVG_OUT_OF_MEMORY);
	}
	reservations = reservation;
	*at = reservation->at;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_address_free(kvg_pointer at, size_t size)
{
	kvg_result result = si_enter(SI_address_free);
	struct reservation **place, *reservation;

	if (result != KVG_SUCCESS)
		return result;
	for (place = &reservations; *place && (*place)->at != at; place = &(*place)->next)
		;
	reservation = *place;
	if (!reservation || reservation->size != size || si_ranges_overlap(at, size))
		return si_leave(KVG_INVALID_VALUE);
	*place = reservation->next;
	free(reservation);
	return si_leave(KVG_SUCCESS);
}

static bool is_reserved(uintptr_t at, size_t size)
{
	const struct reservation *r;

	for (r = reservations; r; r = r->next)
		if (at >= r->at && at - r->at <= r->size && size <= r->size - (at - r->at))
			return true;
	return false;
}

SI_PUBLIC kvg_result cu_memory_map(kvg_pointer at, size_t size, size_t offset, kvg_handle number,
				   unsigned long long flags)
{
	kvg_result result = si_enter(SI_memory_map);
	struct handle *handle;

	if (result != KVG_SUCCESS)
		return result;
	handle = *handle_of(number);
	if (!handle || !size || at % SI_GRANULARITY || size % SI_GRANULARITY || offset || flags ||
	    size > handle->memory->bytes || !is_reserved(at, size) || si_ranges_overlap(at, size))
		return si_leave(KVG_INVALID_VALUE);
	result = si_range_add(&(struct si_range){.kind = SI_MAP, .at = at, .size = size, .memory = handle->memory});
	if (result == KVG_SUCCESS)
		handle->memory->uses++;
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_memory_unmap(kvg_pointer at, size_t size)
{
	kvg_result result = si_enter(SI_memory_unmap);
	struct si_range *range;

	if (result != KVG_SUCCESS)
		return result;
	range = si_range_of(at, size);
	if (!range || range->kind != SI_MAP || range->at != at || range->size != size)
		return si_leave(KVG_INVALID_VALUE);
	si_range_remove(range);
	return si_leave(KVG_SUCCESS);
}

static kvg_result check_access(const struct kvg_access *access, size_t count)
{
	size_t i;

	if (!access || !count)
		return KVG_INVALID_VALUE;
	for (i = 0; i < count; i++) {
		if (access[i].location.type != KVG_LOCATION_DEVICE ||
		    (access[i].flags != 0 && access[i].flags != KVG_ACCESS_READ_WRITE))
			return KVG_INVALID_VALUE;
		if (si_device_of(access[i].location.id) < 0)
			return KVG_INVALID_DEVICE;
	}
	return KVG_SUCCESS;
}

SI_PUBLIC kvg_result cu_memory_access(kvg_pointer at, size_t size, const struct kvg_access *access, size_t count)
{
	kvg_result result = si_enter(SI_memory_access);
	struct si_range *range;
	size_t i;

	if (result != KVG_SUCCESS)
		return result;
	result = check_access(access, count);
	range = si_range_of(at, size);
	if (result == KVG_SUCCESS && (!range || range->kind != SI_MAP || range->at != at || range->size != size))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS)
		result = si_range_show(range);
	for (i = 0; result == KVG_SUCCESS && i < count; i++) {
		uint64_t bit = 1ull << si_device_of(access[i].location.id);

		range->devices = access[i].flags ? range->devices | bit : range->devices & ~bit;
	}
	return si_leave(result);
}

/* A descriptor of a part, as a dma-buf: its position is where the part begins. It keeps the memory. */
SI_PUBLIC kvg_result cu_range_handle(void *handle, kvg_pointer at, size_t size, int type, unsigned long long flags)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	kvg_result result = si_enter(SI_range_handle);
	struct si_range *range;
	int fd;

	if (result != KVG_SUCCESS)
		return result;
	range = si_range_of(at, size);
	if (!range || !range->memory || !range->inner || !size || at % page || size % page ||
	    type != KVG_RANGE_DMA_BUF || flags)
		return si_leave(KVG_INVALID_VALUE);
	if (si_attribute(range->memory->device, KVG_ATTRIBUTE_DMA_BUF) <= 0)
		return si_leave(KVG_NOT_SUPPORTED);
	fd = si_memory_descriptor(range->memory, range->offset + (at - range->at));
	if (fd < 0)
		return si_leave(KVG_OPERATING_SYSTEM);
	*(int *)handle = fd;
	return si_leave(KVG_SUCCESS);
}
