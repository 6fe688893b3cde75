/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * host.c: memory of the host's that devices reach: registered, or allocated so.
 */
#include "config.h"
#include <sys/mman.h>
#include <unistd.h>
#include "inner.h"

static kvg_result begin(kvg_context *context, size_t size, unsigned flags)
{
	kvg_result result = si_current(context);

	if (result == KVG_SUCCESS && (!size || (flags & ~(unsigned)(KVG_HOST_PORTABLE | KVG_HOST_DEVICE_MAP))))
		result = KVG_INVALID_VALUE;
	return result;
}

SI_PUBLIC kvg_result cu_host_register(void *at, size_t size, unsigned flags)
{
	kvg_result result = si_enter(SI_host_register);
	struct si_range range = {.kind = SI_REGISTERED, .at = (uintptr_t)at, .size = size, .inner = at};

	if (result != KVG_SUCCESS)
		return result;
	result = begin(&range.context, size, flags);
	if (result == KVG_SUCCESS && (!at || si_is_device_address(range.at)))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS && si_ranges_overlap(range.at, size))
		result = KVG_HOST_MEMORY_ALREADY_REGISTERED;
	return si_leave(result == KVG_SUCCESS ? si_range_add(&range) : result);
}

SI_PUBLIC kvg_result cu_host_alloc(void **at, size_t size, unsigned flags)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	kvg_result result = si_enter(SI_host_alloc);
	struct si_range range = {.kind = SI_PINNED, .size = (size + page - 1) & ~(page - 1)};

	if (result != KVG_SUCCESS)
		return result;
	result = begin(&range.context, size, flags);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result != KVG_SUCCESS)
		return si_leave(result);
	range.inner = mmap(NULL, range.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (range.inner == MAP_FAILED)
		return si_leave(KVG_OUT_OF_MEMORY);
	range.at = (uintptr_t)range.inner;
	result = si_range_add(&range);
	if (result == KVG_SUCCESS)
		*at = range.inner;
	else
		munmap(range.inner, range.size);
	return si_leave(result);
}

static kvg_result take_back(void *at, enum si_kind kind, kvg_result otherwise)
{
	struct si_range *range = si_range_of((uintptr_t)at, 1);
	kvg_context context;
	kvg_result result = si_current(&context);

	if (result == KVG_SUCCESS && (!range || range->at != (uintptr_t)at || range->kind != kind))
		result = otherwise;
	if (result == KVG_SUCCESS)
		si_range_remove(range);
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_host_unregister(void *at)
{
	kvg_result result = si_enter(SI_host_unregister);

	return result == KVG_SUCCESS ? take_back(at, SI_REGISTERED, KVG_HOST_MEMORY_NOT_REGISTERED) : result;
}

SI_PUBLIC kvg_result cu_host_free(void *at)
{
	kvg_result result = si_enter(SI_host_free);

	return result == KVG_SUCCESS ? take_back(at, SI_PINNED, KVG_INVALID_VALUE) : result;
}
