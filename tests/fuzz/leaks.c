/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * leaks: counts what is mapped. See leaks.h. The linker puts this file's functions in front of mmap() and munmap().
 */
#include "config.h"

#include "leaks.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

#define PAGE UINT64_C(4096)

void *__real_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);

static uint64_t mapped;

static uint64_t whole(size_t size)
{
	return (size + PAGE - 1) / PAGE * PAGE;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
	void *got = __real_mmap(at, size, protection, flags, file, offset);

	if (got != MAP_FAILED && !(flags & MAP_FIXED)) /* what is fixed lies in what is mapped */
		mapped += whole(size);
	return got;
}

int __wrap_munmap(void *at, size_t size)
{
	int rc = __real_munmap(at, size);

	if (rc == 0)
		mapped -= whole(size);
	return rc;
}

struct leaks leaks_now(void)
{
	struct leaks now = {.mapped = mapped, .next = open("/dev/null", O_RDONLY | O_CLOEXEC)};

	target_must(now.next >= 0 && close(now.next) == 0);
	return now;
}
