/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * memory.c: the parts of this process's memory that writes read from and windows are opened over. See memory.h.
 *
 * Guarantees: parts do not overlap; a part is with every registrar, or with none.
 */
#include "config.h"

#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"

struct kvr_memory {
	struct kvr_part *parts;
	struct kvr_registrar *registrars;
};

int kvr_memory_open(struct kvr_memory **memory)
{
	struct kvr_memory *made = calloc(1, sizeof(*made));

	if (!made)
		return kvs_fault(ENOMEM, "no memory for the list of memory to register");
	*memory = made;
	return 0;
}

/* From first to the one before end. */
static void unregister(const struct kvr_memory *memory, struct kvr_part *part, const struct kvr_registrar *end)
{
	for (struct kvr_registrar *at = memory->registrars; at != end; at = at->next)
		at->remove(at, part);
}

void kvr_memory_close(struct kvr_memory *memory)
{
	if (!memory)
		return;
	while (memory->parts) {
		struct kvr_part *part = memory->parts;

		memory->parts = part->next;
		unregister(memory, part, NULL);
		free(part);
	}
	while (memory->registrars) {
		struct kvr_registrar *registrar = memory->registrars;

		memory->registrars = registrar->next;
		registrar->close(registrar);
	}
	free(memory);
}

/* Every page of it; mincore() says ENOMEM of what is not mapped, and tells nothing else here. */
static bool is_mapped(const char *base, uint64_t size)
{
	enum { STEP = 4096 };
	unsigned char pages[STEP];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)base % page;
	char *at = (char *)(uintptr_t)base - before; // NOLINT(performance-no-int-to-ptr)
	uint64_t left = size + before;

	while (left) {
		uint64_t bytes = left < page * STEP ? left : page * STEP;

		if (mincore(at, bytes, pages))
			return false;
		at += bytes;
		left -= bytes;
	}
	return true;
}

/* Addresses of a GPU's may lie in mappings that the processor can't read: the kernel, which is to read a set of signals
 * from there, says so (and for want of a thing to do with it, nothing else). */
static bool is_readable(const char *base)
{
	const char *at = base - (uintptr_t)base % sizeof(uint64_t);

	return syscall(SYS_rt_sigprocmask, -1, at, NULL, sizeof(uint64_t)) == 0 || errno != EFAULT;
}

static int check_range(const struct kvr_memory *memory, const char *base, uint64_t size)
{
	if (!size || (uintptr_t)base + size < (uintptr_t)base)
		return kvs_fault(EINVAL, "%llu bytes at %p are no memory", (unsigned long long)size,
				 (const void *)base);
	for (const struct kvr_part *part = memory->parts; part; part = part->next)
		if (base < part->base + part->size && part->base < base + size)
			return kvs_fault(EEXIST, "%llu bytes at %p overlap memory that was added before",
					 (unsigned long long)size, (const void *)base);
	return 0;
}

static int check_host(const char *base, uint64_t size)
{
	if (is_mapped(base, size) && is_readable(base))
		return 0;
	return kvs_fault(EFAULT,
			 "of %llu bytes at %p not all are mapped as memory that can be read. (Memory of a GPU "
			 "can't be registered so; planes of a store in GPU memory are already)",
			 (unsigned long long)size, (const void *)base);
}

static int add(struct kvr_memory *memory, const struct kvr_part *wanted)
{
	struct kvr_part *part = calloc(1, sizeof(*part));
	int rc;

	if (!part)
		return kvs_fault(ENOMEM, "no memory for the list of memory to register");
	*part = *wanted;
	for (struct kvr_registrar *at = memory->registrars; at; at = at->next) {
		rc = at->add(at, part);
		if (rc) {
			unregister(memory, part, at);
			free(part);
			return rc;
		}
	}
	part->next = memory->parts;
	memory->parts = part;
	return 0;
}

int kvr_memory_add(struct kvr_memory *memory, void *base, uint64_t size, bool exposed)
{
	const struct kvr_part wanted = {.base = base, .size = size, .exposed = exposed};
	int rc = check_range(memory, base, size);

	if (rc == 0)
		rc = check_host(base, size);
	return rc ? rc : add(memory, &wanted);
}

int kvr_memory_add_gpu(struct kvr_memory *memory, void *base, uint64_t size, struct kvg_attached *gpu, uint32_t plane)
{
	const struct kvr_part wanted = {.base = base, .size = size, .exposed = true, .gpu = gpu, .plane = plane};
	int rc = check_range(memory, base, size);

	return rc ? rc : add(memory, &wanted);
}

int kvr_memory_remove(struct kvr_memory *memory, void *base)
{
	for (struct kvr_part **at = &memory->parts; *at; at = &(*at)->next) {
		struct kvr_part *part = *at;

		if (part->base != base)
			continue;
		*at = part->next;
		unregister(memory, part, NULL);
		free(part);
		return 0;
	}
	return kvs_fault(ENOENT, "no memory that begins at %p was added", base);
}

const struct kvr_part *kvr_memory_find(const struct kvr_memory *memory, const void *from, uint64_t length)
{
	uintptr_t at = (uintptr_t)from;

	for (const struct kvr_part *part = memory->parts; part; part = part->next) {
		uintptr_t base = (uintptr_t)part->base;

		if (at >= base && at - base <= part->size && length <= part->size - (at - base))
			return part;
	}
	return NULL;
}

bool kvr_memory_in_gpu(const struct kvr_memory *memory)
{
	const struct kvr_part *part = memory->parts;

	while (part && !part->gpu)
		part = part->next;
	return part;
}

struct kvr_registrar *kvr_memory_registrar(const struct kvr_memory *memory,
					   void (*close)(struct kvr_registrar *registrar),
					   bool (*is)(const struct kvr_registrar *registrar, const void *arg),
					   const void *arg)
{
	for (struct kvr_registrar *at = memory->registrars; at; at = at->next)
		if (at->close == close && is(at, arg))
			return at;
	return NULL;
}

int kvr_memory_register(struct kvr_memory *memory, struct kvr_registrar *registrar)
{
	for (struct kvr_part *part = memory->parts; part; part = part->next) {
		int rc = registrar->add(registrar, part);

		if (rc) {
			for (struct kvr_part *done = memory->parts; done != part; done = done->next)
				registrar->remove(registrar, done);
			return rc;
		}
	}
	registrar->next = memory->registrars;
	memory->registrars = registrar;
	return 0;
}

void kvr_memory_unregister(struct kvr_memory *memory, struct kvr_registrar *registrar)
{
	struct kvr_registrar **at = &memory->registrars;

	while (*at != registrar)
		at = &(*at)->next;
	*at = registrar->next;
	for (struct kvr_part *part = memory->parts; part; part = part->next)
		registrar->remove(registrar, part);
	registrar->close(registrar);
}
