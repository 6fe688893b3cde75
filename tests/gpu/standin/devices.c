/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * devices.c: the beginning, and what devices are.
 */
#include "config.h"
#include <stdio.h>
#include <sys/random.h>
#include "inner.h"

static atomic_ulong flushes;

SI_PUBLIC kvg_result cu_init(unsigned flags)
{
	kvg_result result = si_enter_early(SI_init);

	if (result != KVG_SUCCESS)
		return result;
	if (flags)
		return KVG_INVALID_VALUE;
	if (!si_machine()->visible_count)
		return KVG_NO_DEVICE;
	pthread_mutex_lock(&si_lock);
	if (!si_process && getrandom(&si_process, sizeof(si_process), 0) != sizeof(si_process))
		si_die("no random numbers: %m");
	si_started();
	pthread_mutex_unlock(&si_lock);
	return KVG_SUCCESS;
}

SI_PUBLIC kvg_result cu_get_version(int *version)
{
	kvg_result result = si_enter_early(SI_get_version);

	if (result == KVG_SUCCESS)
		*version = si_machine()->version;
	return result;
}

SI_PUBLIC kvg_result cu_device_count(int *count)
{
	kvg_result result = si_enter(SI_device_count);

	if (result != KVG_SUCCESS)
		return result;
	*count = si_machine()->visible_count;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_device_get(kvg_device *device, int ordinal)
{
	kvg_result result = si_enter(SI_device_get);

	if (result != KVG_SUCCESS)
		return result;
	if (si_device_of(ordinal) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	*device = ordinal;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_device_uuid(struct kvg_uuid *uuid, kvg_device device)
{
	kvg_result result = si_enter(SI_device_uuid);

	if (result != KVG_SUCCESS)
		return result;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	*uuid = si_machine()->devices[si_device_of(device)].uuid;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_device_name(char *name, int size, kvg_device device)
{
	kvg_result result = si_enter(SI_device_name);

	if (result != KVG_SUCCESS)
		return result;
	if (size <= 0)
		return si_leave(KVG_INVALID_VALUE);
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	snprintf(name, (size_t)size, "%s", si_machine()->devices[si_device_of(device)].name);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_device_attribute(int *value, int attribute, kvg_device device)
{
	kvg_result result = si_enter(SI_device_attribute);

	if (result != KVG_SUCCESS)
		return result;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	if (si_attribute(si_device_of(device), attribute) < 0)
		return si_leave(KVG_INVALID_VALUE);
	*value = si_attribute(si_device_of(device), attribute);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_device_memory(size_t *bytes, kvg_device device)
{
	kvg_result result = si_enter(SI_device_memory);

	if (result != KVG_SUCCESS)
		return result;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	*bytes = si_machine()->devices[si_device_of(device)].memory;
	return si_leave(KVG_SUCCESS);
}

/* What the current context's device has left. */
SI_PUBLIC kvg_result cu_memory_info(size_t *available, size_t *total)
{
	kvg_result result = si_enter(SI_memory_info);
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	if (result != KVG_SUCCESS)
		return si_leave(result);
	*total = si_machine()->devices[context->device].memory;
	*available = *total - standin_bytes_used(context->device);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_flush_writes(int target, int scope)
{
	kvg_result result = si_enter(SI_flush_writes);
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	if (result != KVG_SUCCESS)
		return si_leave(result);
	if (target != KVG_FLUSH_CURRENT_CONTEXT || (scope != KVG_FLUSH_TO_OWNER && scope != KVG_FLUSH_TO_ALL_DEVICES))
		return si_leave(KVG_INVALID_VALUE);
	if (!(si_attribute(context->device, KVG_ATTRIBUTE_FLUSH_OPTIONS) & KVG_FLUSH_OPTION_HOST))
		return si_leave(KVG_NOT_SUPPORTED);
	atomic_fetch_add(&flushes, 1);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC unsigned long standin_flushes(void)
{
	return atomic_load(&flushes);
}
