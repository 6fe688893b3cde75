/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * files.c: the memory of devices. Each is a file in the folder, KIND.DEVICE.OWNER.NUMBER, with a lock of its open file
 * description: of memory of cuMemCreate() everybody has a copy of the first one's descriptor, so that the kernel lets
 * go of the lock when nobody has a descriptor or a mapping any more; of legacy memory only its maker's has the lock.
 * What nobody has locked is not in use, and is removed by who next looks. A lock of the folder's own file makes who
 * looks, and who makes, one at a time.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "inner.h"

uint64_t si_process;

struct name {
	bool legacy;
	int device;
	uint64_t owner, number;
};

static int lock_folder(void)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", si_machine()->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd >= 0)
		while (flock(fd, LOCK_EX) && errno == EINTR)
			;
	return fd;
}

static bool is_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool keep_locked(int fd)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* A number behind a dot, and what follows it. */
static const char *number_of(const char *text, int base, uint64_t *number)
{
	char *end;

	if (!text || *text != '.')
		return NULL;
	*number = strtoull(text + 1, &end, base);
	return end != text + 1 ? end : NULL;
}

static bool read_name(const char *text, struct name *name)
{
	uint64_t device = 0;

	name->legacy = strncmp(text, "alloc.", 6) == 0;
	if (!name->legacy && strncmp(text, "memory.", 7) != 0)
		return false;
	text = number_of(strchr(text, '.'), 10, &device);
	text = number_of(text, 16, &name->owner);
	text = number_of(text, 10, &name->number);
	name->device = (int)device;
	return text && !*text;
}

static void path_of(char path[4096], bool legacy, int device, uint64_t owner, uint64_t number)
{
	snprintf(path, 4096, "%s/%s.%d.%" PRIx64 ".%" PRIu64, si_machine()->dir, legacy ? "alloc" : "memory", device,
		 owner, number);
}

/* The bytes in use of a device, with the folder locked. */
static size_t used(int device)
{
	DIR *dir = opendir(si_machine()->dir);
	struct dirent *entry;
	struct name name;
	struct stat status;
	size_t bytes = 0;
	int fd;

	while (dir && (entry = readdir(dir))) {
		if (!read_name(entry->d_name, &name) || name.device != device)
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!is_locked(fd))
			unlinkat(dirfd(dir), entry->d_name, 0);
		else if (fstat(fd, &status) == 0)
			bytes += (size_t)status.st_size;
		close(fd);
	}
	if (dir)
		closedir(dir);
	return bytes;
}

SI_PUBLIC size_t standin_bytes_used(int device)
{
	int folder = lock_folder();
	size_t bytes = used(device);

	close(folder);
	return bytes;
}

kvg_result si_memory_make(struct si_memory **result, int device, size_t bytes, bool legacy)
{
	static uint64_t numbers;
	struct si_memory *memory = calloc(1, sizeof(*memory));
	int folder = lock_folder();
	char path[4096];

	if (!memory || folder < 0)
		goto no_system;
	*memory = (struct si_memory){.uses = 1,
				     .fd = -1,
				     .device = device,
				     .bytes = bytes,
				     .legacy = legacy,
				     .owner = si_process,
				     .number = ++numbers};
	if (bytes > si_machine()->devices[device].memory ||
	    used(device) > si_machine()->devices[device].memory - bytes) {
		close(folder);
		free(memory);
		return KVG_OUT_OF_MEMORY;
	}
	path_of(path, legacy, device, si_process, memory->number);
	memory->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)bytes) || !keep_locked(memory->fd)) {
		unlink(path);
		goto no_system;
	}
	close(folder);
	*result = memory;
	return KVG_SUCCESS;
no_system:
	if (memory && memory->fd >= 0)
		close(memory->fd);
	if (folder >= 0)
		close(folder);
	free(memory);
	return KVG_OPERATING_SYSTEM;
}

/* The name of that file, if it is memory; it can't be told by a mark that another file could have. */
static bool name_of(const struct stat *file, struct name *name)
{
	DIR *dir = opendir(si_machine()->dir);
	struct dirent *entry;
	struct stat status;
	bool found = false;

	while (dir && !found && (entry = readdir(dir)))
		found = read_name(entry->d_name, name) && !name->legacy &&
			fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
			status.st_dev == file->st_dev && status.st_ino == file->st_ino;
	if (dir)
		closedir(dir);
	return found;
}

kvg_result si_memory_of(struct si_memory **result, int fd)
{
	struct si_memory *memory;
	struct stat status;
	struct name name;

	if (fstat(fd, &status) || !S_ISREG(status.st_mode) || !name_of(&status, &name))
		return KVG_INVALID_VALUE;
	if (si_ordinal_of(name.device) < 0)
		return KVG_INVALID_DEVICE;
	memory = calloc(1, sizeof(*memory));
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (!memory || fd < 0) {
		free(memory);
		return KVG_OPERATING_SYSTEM;
	}
	*memory = (struct si_memory){.uses = 1,
				     .fd = fd,
				     .device = name.device,
				     .bytes = (size_t)status.st_size,
				     .exportable = true,
				     .owner = name.owner,
				     .number = name.number};
	*result = memory;
	return KVG_SUCCESS;
}

kvg_result si_memory_open(struct si_memory **result, int device, uint64_t owner, uint64_t number)
{
	struct si_memory *memory;
	struct stat status;
	char path[4096];
	int fd;

	path_of(path, true, device, owner, number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return KVG_INVALID_VALUE;
	memory = calloc(1, sizeof(*memory));
	if (!memory || fstat(fd, &status) || !is_locked(fd)) {
		free(memory);
		close(fd);
		return KVG_INVALID_VALUE;
	}
	*memory = (struct si_memory){.uses = 1,
				     .fd = fd,
				     .device = device,
				     .bytes = (size_t)status.st_size,
				     .legacy = true,
				     .owner = owner,
				     .number = number};
	*result = memory;
	return KVG_SUCCESS;
}

bool si_memory_is(const struct si_memory *memory)
{
	return memory->owner == si_process || !memory->legacy || is_locked(memory->fd);
}

int si_memory_descriptor(const struct si_memory *memory, size_t offset)
{
	char path[4096];
	int fd;

	path_of(path, memory->legacy, memory->device, memory->owner, memory->number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (!keep_locked(fd) || lseek(fd, (off_t)offset, SEEK_SET) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void si_memory_let_go(struct si_memory *memory)
{
	char path[4096];

	if (--memory->uses)
		return;
	if (memory->legacy && memory->owner == si_process) {
		path_of(path, true, memory->device, memory->owner, memory->number);
		unlink(path);
	}
	close(memory->fd);
	free(memory);
}
