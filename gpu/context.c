/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * context.c: devices and contexts. See context.h.
 */
#include "config.h"

#include "context.h"

#include <string.h>

#include "fault.h"

void kvg_uuid_text(char text[KVG_NAME_SIZE], const uint8_t uuid[KVS_UUID_SIZE])
{
	(void)uuid;
	text[0] = '\0';
}

int kvg_device_find(const struct kvg_driver *driver, const uint8_t uuid[KVS_UUID_SIZE], kvg_device *device)
{
	(void)driver;
	(void)uuid;
	(void)device;
	return kvs_fault(95, "to be done");
}

int kvg_devices_asked(const char *pool)
{
	return pool && strcmp(pool, "host") != 0;
}

int kvg_devices_parse(const char *pool, uint8_t uuids[KVS_PLANES_MAX][KVS_UUID_SIZE], uint32_t *count)
{
	(void)pool;
	(void)uuids;
	(void)count;
	return kvs_fault(95, "to be done");
}

int kvg_context_enter(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
		      kvg_context *context)
{
	(void)driver;
	(void)contexts;
	(void)device;
	(void)context;
	return kvs_fault(95, "to be done");
}

void kvg_context_leave(const struct kvg_driver *driver)
{
	(void)driver;
}

void kvg_contexts_close(const struct kvg_driver *driver, struct kvg_contexts *contexts)
{
	(void)driver;
	(void)contexts;
}
