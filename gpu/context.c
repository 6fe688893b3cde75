/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * context.c: devices and contexts. See context.h.
 */
#include "config.h"

#include "context.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

/* ---- UUIDs as text ----------------------------------------------------------------------------------------- */

void kvg_uuid_text(char text[KVG_NAME_SIZE], const uint8_t uuid[KVS_UUID_SIZE])
{
	char *at = stpcpy(text, "GPU-");

	for (unsigned i = 0; i < KVS_UUID_SIZE; i++)
		at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "GPU-" or "MIG-", and 8-4-4-4-12 hexadecimal digits. */
static bool parse_uuid(const char *text, uint8_t uuid[KVS_UUID_SIZE])
{
	if (strncmp(text, "GPU-", 4) != 0 && strncmp(text, "MIG-", 4) != 0)
		return false;
	text += 4;
	for (unsigned i = 0; i < KVS_UUID_SIZE; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		high = digit(text[0]);
		low = high < 0 ? -1 : digit(text[1]);
		if (low < 0)
			return false;
		uuid[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return *text == '\0';
}

/* ---- Devices ----------------------------------------------------------------------------------------------- */

static int read_uuid(const struct kvg_driver *driver, int ordinal, kvg_device *device, uint8_t uuid[KVS_UUID_SIZE])
{
	struct kvg_uuid read;
	kvg_result result = driver->device_get(device, ordinal);

	if (result == KVG_SUCCESS)
		result = driver->device_uuid(&read, *device);
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "look at GPU %d", ordinal);
	memcpy(uuid, read.bytes, KVS_UUID_SIZE);
	return 0;
}

static int count_devices(const struct kvg_driver *driver, int *count)
{
	kvg_result result = driver->device_count(count);

	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "count the GPUs");
}

/* Says what this process sees instead of what it looks for, and what to do about it. */
static int not_seen(const struct kvg_driver *driver, const char *what)
{
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	char list[8 * (KVG_NAME_SIZE + 2)] = "", text[KVG_NAME_SIZE];
	uint8_t uuid[KVS_UUID_SIZE] = {0};
	kvg_device device;
	size_t length = 0;
	int count, rc = count_devices(driver, &count);

	if (rc)
		return rc;
	for (int i = 0; i < count && i < 8; i++) {
		rc = read_uuid(driver, i, &device, uuid);
		if (rc)
			return rc;
		kvg_uuid_text(text, uuid);
		length += (size_t)sprintf(list + length, "%s%s", i ? ", " : "", text);
	}
	if (visible)
		return kvs_fault(
			ENODEV,
			"this process can't see %s: CUDA shows it %d (%s%s), and CUDA_VISIBLE_DEVICES is '%.200s': "
			"name the GPU there too, by its UUID",
			what, count, list, count > 8 ? ", ..." : "", visible);
	return kvs_fault(
		ENODEV,
		"this process can't see %s: CUDA shows it %d (%s%s), with no CUDA_VISIBLE_DEVICES: nvidia-smi -L "
		"lists what there is; a container must be started with that GPU, too (--gpus), and of instances of "
		"MIG a process sees one, which CUDA_VISIBLE_DEVICES names",
		what, count, list, count > 8 ? ", ..." : "");
}

int kvg_device_find(const struct kvg_driver *driver, const uint8_t uuid[KVS_UUID_SIZE], kvg_device *device)
{
	char text[KVG_NAME_SIZE];
	uint8_t seen[KVS_UUID_SIZE];
	int count, rc = count_devices(driver, &count);

	for (int i = 0; rc == 0 && i < count; i++) {
		rc = read_uuid(driver, i, device, seen);
		if (rc == 0 && memcmp(seen, uuid, KVS_UUID_SIZE) == 0)
			return 0;
	}
	if (rc)
		return rc;
	kvg_uuid_text(text, uuid);
	return not_seen(driver, text);
}

int kvg_device_ask(const struct kvg_driver *driver, kvg_device device, int attribute, int *value)
{
	kvg_result result = driver->device_attribute(value, attribute, device);

	if (result == KVG_INVALID_VALUE)
		*value = 0;
	else if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "ask what GPU %d can do", device);
	return 0;
}

/* ---- What a pool's text asks for --------------------------------------------------------------------------- */

int kvg_devices_asked(const char *pool)
{
	return pool && strcmp(pool, "host") != 0;
}

static int parse_ordinal(const char *text, int *ordinal)
{
	char *end;
	unsigned long number;

	if (strncmp(text, "cuda:", 5) != 0 || digit(text[5]) < 0 || digit(text[5]) > 9)
		return 0;
	number = strtoul(text + 5, &end, 10);
	*ordinal = number < 1000000 ? (int)number : 1000000; /* more than anyone has */
	return *end == '\0';
}

/* One item of it. */
static int parse_device(const char *text, const struct kvg_driver **driver, uint8_t uuid[KVS_UUID_SIZE])
{
	kvg_device device;
	int ordinal = -1, count, rc;

	if (!parse_ordinal(text, &ordinal) && !parse_uuid(text, uuid))
		return kvs_fault(
			EINVAL,
			"'%.60s' names no GPU: it is cuda:N, or a UUID as nvidia-smi -L has it (GPU-..., MIG-...), "
			"several with commas between them; or host",
			text);
	rc = kvg_driver(driver);
	if (rc)
		return rc;
	if (ordinal < 0)
		return kvg_device_find(*driver, uuid, &device);
	rc = count_devices(*driver, &count);
	if (rc)
		return rc;
	return ordinal < count ? read_uuid(*driver, ordinal, &device, uuid) : not_seen(*driver, text);
}

int kvg_devices_parse(const char *pool, uint8_t uuids[KVS_PLANES_MAX][KVS_UUID_SIZE], uint32_t *count)
{
	const struct kvg_driver *driver;
	uint32_t found = 0;
	int rc = 0;

	for (const char *at = pool, *end; rc == 0 && at; at = *end ? end + 1 : NULL) {
		char text[64];
		size_t length;

		end = strchrnul(at, ',');
		length = (size_t)(end - at);
		if (found == KVS_PLANES_MAX)
			return kvs_fault(EINVAL, "the pool '%.60s...' has more than %u planes", pool, KVS_PLANES_MAX);
		(void)snprintf(text, sizeof(text), "%.*s", (int)(length < sizeof(text) ? length : sizeof(text)), at);
		rc = parse_device(text, &driver, uuids[found++]);
	}
	if (rc == 0)
		*count = found;
	return rc;
}

/* ---- Captures ---------------------------------------------------------------------------------------------- */

static _Thread_local struct {
	unsigned depth;
	int mode; /* what it was */
} capture;

kvg_result kvg_capture_bear(const struct kvg_driver *driver)
{
	int mode = KVG_CAPTURE_MODE_RELAXED;
	kvg_result result = capture.depth ? KVG_SUCCESS : driver->capture_mode(&mode);

	if (result == KVG_SUCCESS && !capture.depth++)
		capture.mode = mode;
	return result;
}

void kvg_capture_mind(const struct kvg_driver *driver)
{
	if (!--capture.depth)
		(void)driver->capture_mode(&capture.mode);
}

/* ---- Contexts ---------------------------------------------------------------------------------------------- */

int kvg_context_current(const struct kvg_driver *driver, kvg_device device, kvg_context *context)
{
	kvg_context current = NULL;
	kvg_device of = -1;
	kvg_result result = driver->context_current(&current);

	if (result == KVG_SUCCESS && current)
		result = driver->context_device(&of);
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "look at the calling thread's context");
	*context = current && of == device ? current : NULL;
	return 0;
}

int kvg_context_primary(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
			kvg_context *context)
{
	kvg_result result;

	for (uint32_t i = 0; i < contexts->count; i++)
		if (contexts->devices[i] == device) {
			*context = contexts->contexts[i];
			return 0;
		}
	result = kvg_capture_bear(driver);
	if (result == KVG_SUCCESS) {
		result = driver->primary_retain(context, device);
		kvg_capture_mind(driver);
	}
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "get the primary context of GPU %d", device);
	contexts->devices[contexts->count] = device;
	contexts->contexts[contexts->count++] = *context;
	return 0;
}

int kvg_context_find(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
		     kvg_context *context)
{
	int rc = kvg_context_current(driver, device, context);

	return rc || *context ? rc : kvg_context_primary(driver, contexts, device, context);
}

kvg_result kvg_context_push_again(const struct kvg_driver *driver, kvg_context context)
{
	kvg_result result = kvg_capture_bear(driver);

	if (result != KVG_SUCCESS)
		return result;
	result = driver->context_push(context);
	if (result != KVG_SUCCESS)
		kvg_capture_mind(driver);
	return result;
}

int kvg_context_push(const struct kvg_driver *driver, kvg_context context)
{
	kvg_result result = kvg_context_push_again(driver, context);

	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "make a context current");
}

int kvg_context_enter(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
		      kvg_context *context)
{
	int rc = kvg_context_find(driver, contexts, device, context);

	return rc ? rc : kvg_context_push(driver, *context);
}

void kvg_context_leave(const struct kvg_driver *driver)
{
	kvg_context context;

	(void)driver->context_pop(&context);
	kvg_capture_mind(driver);
}

void kvg_contexts_close(const struct kvg_driver *driver, struct kvg_contexts *contexts)
{
	while (contexts->count)
		(void)driver->primary_release(contexts->devices[--contexts->count]);
}
