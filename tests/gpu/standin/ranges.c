/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ranges.c: what addresses mean. Addresses of devices come from one large reservation and are given out once, so that
 * none is ever taken for something else after its end. What is there the stand-in has at another place, unless
 * KVSHM_STANDIN_GUARD is 0: the processor can't reach it by the address.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "inner.h"

enum { SPACE_BITS = 42 };

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct si_range *ranges;
static uintptr_t space, next;

static void *pointer(uintptr_t at)
{
	return (void *)at; // NOLINT(performance-no-int-to-ptr): addresses of devices are numbers
}

static bool take_space(void)
{
	size_t size = (size_t)1 << SPACE_BITS;
	void *at;

	if (space)
		return true;
	at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return false;
	madvise(at, size, MADV_DONTDUMP);
	next = space = (uintptr_t)at;
	return true;
}

uintptr_t si_addresses(size_t size, size_t alignment)
{
	uintptr_t at;

	if (!take_space())
		return 0;
	if (alignment < SI_GRANULARITY)
		alignment = SI_GRANULARITY;
	at = (next + alignment - 1) & ~(alignment - 1);
	if (at - space > ((size_t)1 << SPACE_BITS) - SI_GRANULARITY ||
	    size > ((size_t)1 << SPACE_BITS) - SI_GRANULARITY - (at - space))
		return 0;
	next = at + size + SI_GRANULARITY; /* nothing is next to anything */
	return at;
}

bool si_is_device_address(uintptr_t at)
{
	return space && at - space < (uintptr_t)1 << SPACE_BITS;
}

struct si_range *si_range_of(uintptr_t at, size_t size)
{
	struct si_range *range;

	for (range = ranges; range; range = range->next)
		if (at - range->at < range->size && size <= range->size - (at - range->at))
			return range;
	return NULL;
}

struct si_range *si_ranges_first(void)
{
	return ranges;
}

bool si_ranges_overlap(uintptr_t at, size_t size)
{
	const struct si_range *range;

	for (range = ranges; range; range = range->next)
		if (at < range->at + range->size && range->at < at + size)
			return true;
	return false;
}

kvg_result si_range_add(const struct si_range *from)
{
	struct si_range *range = malloc(sizeof(*range));

	if (!range)
		return KVG_OUT_OF_MEMORY;
	*range = *from;
	pthread_rwlock_wrlock(&lock);
	range->next = ranges;
	ranges = range;
	pthread_rwlock_unlock(&lock);
	return KVG_SUCCESS;
}

kvg_result si_range_show(struct si_range *range)
{
	int fixed = si_machine()->guard ? 0 : MAP_FIXED;
	char *inner;

	if (range->inner)
		return KVG_SUCCESS;
	inner = mmap(fixed ? pointer(range->at) : NULL, range->size, PROT_READ | PROT_WRITE, MAP_SHARED | fixed,
		     range->memory->fd, (off_t)range->offset);
	if (inner == MAP_FAILED)
		return KVG_OPERATING_SYSTEM;
	madvise(inner, range->size, MADV_DONTFORK);
	pthread_rwlock_wrlock(&lock);
	range->inner = inner;
	pthread_rwlock_unlock(&lock);
	return KVG_SUCCESS;
}

static void hide(struct si_range *range)
{
	if (range->kind == SI_PINNED || (range->inner && range->memory && si_machine()->guard))
		munmap(range->inner, range->size);
	else if (range->inner && range->memory &&
		 mmap(pointer(range->at), range->size, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		si_die("addresses can't be taken back: %m");
}

/* The driver keeps pages that are registered; the program must not have unmapped them. */
static void check_registered(const struct si_range *range)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = range->at & ~(page - 1);
	unsigned char here;

	for (; at < range->at + range->size; at += page)
		if (mincore(pointer(at), page, &here) && errno == ENOMEM)
			si_die("memory at %#zx was unmapped while it was registered with the driver", (size_t)at);
}

void si_range_remove(struct si_range *range)
{
	struct si_range **place;

	pthread_rwlock_wrlock(&lock);
	for (place = &ranges; *place != range; place = &(*place)->next)
		;
	*place = range->next;
	hide(range);
	pthread_rwlock_unlock(&lock);
	if (range->kind == SI_REGISTERED)
		check_registered(range);
	if (range->memory)
		si_memory_let_go(range->memory);
	free(range);
}

unsigned si_ranges_abandon(kvg_context context)
{
	struct si_range *range, *following;
	unsigned count = 0;

	for (range = ranges; range; range = following) {
		following = range->next;
		if (range->kind == SI_MAP || range->context != context)
			continue;
		si_range_remove(range);
		count++;
	}
	return count;
}

unsigned si_ranges_count(enum si_kind kind)
{
	const struct si_range *range;
	unsigned count = 0;

	for (range = ranges; range; range = range->next)
		if (range->kind == kind)
			count += kind == SI_OPENED ? range->opened : 1;
	return count;
}

void si_ranges_hold(void)
{
	pthread_rwlock_rdlock(&lock);
}

void si_ranges_go(void)
{
	pthread_rwlock_unlock(&lock);
}

static bool may(const struct si_range *range, int device, bool kernel)
{
	switch (range->kind) {
	case SI_MAP:
		return range->devices & 1ull << device;
	case SI_ALLOCATION:
		return !kernel || range->context->device == device;
	case SI_OPENED:
		return (!kernel || range->context->device == device) && si_memory_is(range->memory);
	default:
		return true;
	}
}

char *si_at(uintptr_t at, size_t size, int device, bool kernel)
{
	struct si_range *range = si_range_of(at, size);

	if (range)
		return range->inner && may(range, device, kernel) ? range->inner + (at - range->at) : NULL;
	if (si_is_device_address(at) || (kernel && si_attribute(device, KVG_ATTRIBUTE_PAGEABLE_ACCESS) <= 0))
		return NULL;
	return pointer(at);
}

bool si_is_pageable(uintptr_t at, size_t size)
{
	return !si_is_device_address(at) && !si_range_of(at, size);
}

/* Of memory that the driver does not know it says nothing. */
SI_PUBLIC kvg_result cu_pointer_attribute(void *value, int attribute, kvg_pointer at)
{
	kvg_result result = si_enter(SI_pointer_attribute);
	const struct si_range *range;

	if (result != KVG_SUCCESS)
		return result;
	range = si_range_of((uintptr_t)at, 1);
	if (!range)
		return si_leave(KVG_INVALID_VALUE);
	switch (attribute) {
	case KVG_POINTER_MEMORY_TYPE:
		*(unsigned *)value = range->memory ? KVG_MEMORY_HOST + 1 : KVG_MEMORY_HOST;
		break;
	case KVG_POINTER_DEVICE_ORDINAL:
		*(int *)value = si_ordinal_of(range->memory ? range->memory->device : range->context->device);
		break;
	case KVG_POINTER_RANGE_START:
		*(kvg_pointer *)value = range->at;
		break;
	case KVG_POINTER_RANGE_SIZE:
		*(size_t *)value = range->size;
		break;
	default:
		return si_leave(KVG_INVALID_VALUE);
	}
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC void *standin_look(kvg_pointer at, size_t bytes)
{
	struct si_range *range;
	void *inner = NULL;

	si_ranges_hold();
	range = si_range_of((uintptr_t)at, bytes);
	if (range && range->inner)
		inner = range->inner + ((uintptr_t)at - range->at);
	si_ranges_go();
	return inner;
}
