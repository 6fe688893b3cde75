/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target.c: files in memory, texts, and the end of a target. See target.h.
 */
#include "config.h"

#include "target.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where faults are told: the fuzzer takes stderr away from what the code under test prints. */
static int report = STDERR_FILENO;

__attribute__((constructor)) static void keep_stderr(void)
{
	int copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (copy >= 0)
		report = copy;
}

void target_fault(const char *what, const char *file, int line)
{
	(void)dprintf(report, "%s:%d: this does not hold: %s\n", file, line, what);
	abort();
}

int target_file(char path[static TARGET_PATH])
{
	int file = memfd_create("fuzz", MFD_CLOEXEC);

	target_must(file >= 0);
	(void)snprintf(path, TARGET_PATH, "/proc/self/fd/%d", file);
	return file;
}

void target_fill(int file, const void *data, size_t size)
{
	target_must(ftruncate(file, 0) == 0);
	target_must(pwrite(file, data, size, 0) == (ssize_t)size);
}

char *target_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	target_must(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}
