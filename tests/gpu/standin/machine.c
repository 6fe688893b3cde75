/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * machine.c: which devices there are, and which of them this process sees. It is read when it is first asked for.
 *
 * A line of the folder's file `devices` is one device: words KEY=VALUE of name, uuid (GPU-... or MIG-...), memory (in
 * bytes, or with K, M or G) and the numbers of attributes.
 */
#include "config.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "inner.h"

static struct si_machine machine;

static void defaults(struct si_device *device, unsigned number)
{
	static const uint8_t uuid[16] = {0x73, 0x74, 0x61, 0x6e, 0x64, 0x2d, 0x49, 0x6e, 0x80};
	static const struct {
		int attribute, value;
	} values[] = {
		{KVG_ATTRIBUTE_MULTIPROCESSORS, 4},
		{KVG_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
		{KVG_ATTRIBUTE_PAGEABLE_ACCESS, 0},
		{KVG_ATTRIBUTE_VMM, 1},
		{KVG_ATTRIBUTE_FD_EXPORT, 1},
		{KVG_ATTRIBUTE_RDMA_WITH_VMM, 1},
		{KVG_ATTRIBUTE_FLUSH_OPTIONS, KVG_FLUSH_OPTION_HOST},
		{KVG_ATTRIBUTE_WRITES_ORDERING, KVG_ORDERING_NONE},
		{KVG_ATTRIBUTE_DMA_BUF, 1},
		{KVG_ATTRIBUTE_IPC, 1},
		{KVG_ATTRIBUTE_MPS, 0},
	};
	unsigned i;

	snprintf(device->name, sizeof(device->name), "Stand-in %u", number);
	memcpy(device->uuid.bytes, uuid, 16);
	device->uuid.bytes[15] = (uint8_t)number;
	device->mig = false;
	device->memory = (size_t)1 << 30;
	for (i = 0; i < SI_ATTRIBUTES; i++)
		device->attributes[i] = -1;
	for (i = 0; i < sizeof(values) / sizeof(*values); i++)
		device->attributes[values[i].attribute] = values[i].value;
}

/* As nvidia-smi prints it, behind the kind. */
static void uuid_text(const struct si_device *device, char text[41])
{
	const uint8_t *b = device->uuid.bytes;

	snprintf(text, 41, "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 device->mig ? "MIG" : "GPU", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
		 b[12], b[13], b[14], b[15]);
}

static int number_of(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || *end)
		si_die("%s is no number", text);
	return (int)number;
}

static void uuid_of(struct si_device *device, const char *text)
{
	char byte[3] = "";
	unsigned i = 0;

	device->mig = strncmp(text, "MIG-", 4) == 0;
	text += strnlen(text, 4);
	while (i < 16 && isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1])) {
		memcpy(byte, text, 2);
		device->uuid.bytes[i++] = (uint8_t)strtoul(byte, NULL, 16);
		text += text[2] == '-' ? 3 : 2;
	}
	if (i < 16 || *text)
		si_die("devices: a uuid is GPU- or MIG- and 16 bytes in hexadecimal");
}

static size_t bytes_of(const char *text)
{
	char *end;
	size_t bytes = strtoull(text, &end, 10);

	switch (*end) {
	case 'G':
		return bytes << 30;
	case 'M':
		return bytes << 20;
	case 'K':
		return bytes << 10;
	default:
		return bytes;
	}
}

static void word(struct si_device *device, const char *key, const char *value)
{
	char *end;
	unsigned long attribute = strtoul(key, &end, 10);

	if (strcmp(key, "name") == 0)
		snprintf(device->name, sizeof(device->name), "%s", value);
	else if (strcmp(key, "uuid") == 0)
		uuid_of(device, value);
	else if (strcmp(key, "memory") == 0)
		device->memory = bytes_of(value);
	else if (*end == '\0' && attribute < SI_ATTRIBUTES)
		device->attributes[attribute] = number_of(value);
	else
		si_die("devices: what is %s?", key);
}

static void line(struct si_device *device, char *text)
{
	char *state = NULL, *key, *value;

	for (key = strtok_r(text, " \t\n", &state); key; key = strtok_r(NULL, " \t\n", &state)) {
		value = strchr(key, '=');
		if (!value)
			si_die("devices: %s has no value", key);
		*value = '\0';
		word(device, key, value + 1);
	}
}

static void devices(void)
{
	const char *count = getenv("KVSHM_STANDIN_DEVICES");
	char path[4096], text[512];
	FILE *file;

	machine.count = count ? number_of(count) : 2;
	snprintf(path, sizeof(path), "%s/devices", machine.dir);
	file = fopen(path, "re");
	if (file)
		for (machine.count = 0; machine.count < SI_DEVICES && fgets(text, sizeof(text), file);) {
			defaults(&machine.devices[machine.count], (unsigned)machine.count);
			line(&machine.devices[machine.count++], text);
		}
	else if (machine.count < 0 || machine.count > SI_DEVICES)
		si_die("there can be up to %d devices", SI_DEVICES);
	else
		for (int i = 0; i < machine.count; i++)
			defaults(&machine.devices[i], (unsigned)i);
	if (file)
		fclose(file);
}

/* What one word of CUDA_VISIBLE_DEVICES names: an ordinal, or the beginning of one device's UUID; else -1. */
static int named(const char *text, size_t length)
{
	char uuid[41], *end;
	long ordinal;
	int i, found = -1;

	ordinal = strtol(text, &end, 10);
	if (end == text + length && length)
		return ordinal >= 0 && ordinal < machine.count ? (int)ordinal : -1;
	for (i = 0; i < machine.count && length > 4; i++) {
		uuid_text(&machine.devices[i], uuid);
		if (length > 40 || strncasecmp(uuid, text, length) != 0)
			continue;
		if (found >= 0)
			return -1;
		found = i;
	}
	return found;
}

/* What follows a word that names none is not looked at; a device that is named twice leaves none. */
static void visible(void)
{
	const char *text = getenv("CUDA_VISIBLE_DEVICES");
	int i, device;

	if (!text) {
		for (i = 0; i < machine.count; i++)
			machine.visible[machine.visible_count++] = i;
		return;
	}
	while (*text) {
		size_t length = strcspn(text, ",");

		device = named(text, length);
		if (device < 0)
			return;
		for (i = 0; i < machine.visible_count; i++)
			if (machine.visible[i] == device) {
				machine.visible_count = 0;
				return;
			}
		machine.visible[machine.visible_count++] = device;
		text += length + (text[length] == ',');
	}
}

static void find(void)
{
	const char *dir = getenv("KVSHM_STANDIN_DIR"), *tmp = getenv("TMPDIR"), *text;

	if (dir)
		snprintf(machine.dir, sizeof(machine.dir), "%s", dir);
	else if (tmp)
		snprintf(machine.dir, sizeof(machine.dir), "%s/standin", tmp);
	else
		si_die("set KVSHM_STANDIN_DIR, or TMPDIR, to a folder of the test's own");
	if (mkdir(machine.dir, 0777) && errno != EEXIST)
		si_die("can't make %s: %m", machine.dir);
	text = getenv("KVSHM_STANDIN_VERSION");
	machine.version = text ? number_of(text) : 13000;
	text = getenv("KVSHM_STANDIN_GUARD");
	machine.guard = !text || strcmp(text, "0") != 0;
	devices();
	visible();
}

const struct si_machine *si_machine(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find);
	return &machine;
}

int si_device_of(kvg_device ordinal)
{
	const struct si_machine *here = si_machine();

	return ordinal >= 0 && ordinal < here->visible_count ? here->visible[ordinal] : -1;
}

int si_ordinal_of(int device)
{
	const struct si_machine *here = si_machine();
	int i;

	for (i = 0; i < here->visible_count; i++)
		if (here->visible[i] == device)
			return i;
	return -1;
}

int si_attribute(int device, int attribute)
{
	return attribute >= 0 && attribute < SI_ATTRIBUTES ? si_machine()->devices[device].attributes[attribute] : -1;
}
