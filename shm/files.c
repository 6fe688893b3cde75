/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * files.c: names, nameless files, and room. See files.h.
 */
#include "config.h"

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "layout.h"

int kvs_files_check_name(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t length = name ? strlen(name) : 0;

	if (length == 0 || length > KVS_NAME_MAX || name[0] == '.' || strspn(name, allowed) != length)
		return kvs_fault(EINVAL,
				 "'%.80s' is no store's name: 1 to %d of A-Z a-z 0-9 . _ -, not starting with a dot",
				 name ? name : "", KVS_NAME_MAX);
	return 0;
}

const char *kvs_files_dir(const char *dir)
{
	if (!dir || !*dir)
		dir = secure_getenv("KVSHM_DIR");
	return dir && *dir ? dir : "/dev/shm";
}

int kvs_files_path(char path[KVS_PATH_SIZE], const char *dir, const char *name, int plane)
{
	int length = plane < 0 ? snprintf(path, KVS_PATH_SIZE, "%s/kvshm.%s", dir, name)
			       : snprintf(path, KVS_PATH_SIZE, "%s/kvshm.%s.p%d", dir, name, plane);

	if (length < 0 || length >= KVS_PATH_SIZE)
		return kvs_fault(ENAMETOOLONG, "the path of store '%s' in its directory is too long", name);
	return 0;
}

/* The machine's free memory in bytes, as the kernel estimates it; UINT64_MAX where it does not tell. */
static uint64_t memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = UINT64_MAX / 1024;
	char line[128];

	if (!file)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	(void)fclose(file);
	return kib * UINT64_C(1024);
}

int kvs_files_room(const char *dir, uint64_t bytes, const char *what)
{
	struct statfs fs;
	uint64_t room;

	if (statfs(dir, &fs))
		return kvs_fault(errno, "%s: %s", dir, strerror(errno));
	room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	/* A tmpfs without a limit says 0 of 0 blocks. */
	if (fs.f_blocks && bytes > room)
		return kvs_fault(ENOSPC,
				 "no room in %s: %s needs %llu bytes, %llu are free; make the store smaller, or "
				 "the file system larger (mount -o remount,size=...)",
				 dir, what, (unsigned long long)bytes, (unsigned long long)room);
	room = fs.f_type == TMPFS_MAGIC ? memory_available() : UINT64_MAX;
	if (bytes > room)
		return kvs_fault(ENOMEM, "%s needs %llu bytes of memory, %llu are available: make the store smaller",
				 what, (unsigned long long)bytes, (unsigned long long)room);
	return 0;
}

int kvs_files_reserve(int file, uint64_t at, uint64_t bytes)
{
	/* In pieces: a signal makes tmpfs undo the whole call. */
	const uint64_t piece = UINT64_C(64) << 20;

	while (bytes) {
		uint64_t now = bytes < piece ? bytes : piece;

		if (fallocate(file, 0, (off_t)at, (off_t)now) == 0) {
			at += now;
			bytes -= now;
		} else if (errno != EINTR) {
			return errno;
		}
	}
	return 0;
}

static int reserve(int file, uint64_t bytes, uint64_t size, const char *dir, const char *what)
{
	int error = ftruncate(file, (off_t)size) ? errno : kvs_files_reserve(file, 0, bytes);

	if (!error)
		return 0;
	if (error == EOPNOTSUPP)
		return kvs_fault(EOPNOTSUPP, "%s can't reserve memory (fallocate): use a tmpfs for stores", dir);
	return kvs_fault(error, "cannot reserve the %llu bytes of %s in %s: %s; make the store smaller",
			 (unsigned long long)bytes, what, dir, strerror(error));
}

int kvs_files_make(const char *dir, uint32_t mode, uint64_t bytes, uint64_t size, const char *what, int *file)
{
	int rc = kvs_files_room(dir, bytes, what);
	int fd;

	if (rc)
		return rc;
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return kvs_fault(EOPNOTSUPP, "%s has no O_TMPFILE: use a tmpfs for stores", dir);
	if (fd < 0)
		return kvs_fault(errno, "cannot make a file in %s: %s", dir, strerror(errno));
	rc = reserve(fd, bytes, size, dir, what);
	if (rc == 0 && fchmod(fd, (mode_t)mode)) /* whatever the umask is */
		rc = kvs_fault(errno, "cannot set mode %o: %s", mode, strerror(errno));
	if (rc) {
		(void)close(fd);
		return rc;
	}
	*file = fd;
	return 0;
}

int kvs_files_link(int file, const char *path)
{
	char from[64];

	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", file);
	if (linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	return kvs_fault(errno, "cannot give %s its name: %s", path, strerror(errno));
}

bool kvs_files_is(const char *path, uint64_t device, uint64_t inode)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}
