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

#include "cgroup.h"
#include "fault.h"
#include "layout.h"
#include "machine.h"

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

int kvs_files_socket(char path[KVS_PATH_SIZE], const char *dir, const char *name, enum kvs_socket which)
{
	const char *stem = which == KVS_SOCKET_GIVES ? "kvshmd" : "kvshmd-asks";

	if (snprintf(path, KVS_PATH_SIZE, "%s/%s.%s", dir, stem, name) < KVS_PATH_SIZE)
		return 0;
	return kvs_fault(ENAMETOOLONG, "the path of store '%s' in its directory is too long", name);
}

/* What is no socket, somebody has put there: it is left alone. */
void kvs_files_unlink_sockets(const char *dir, const char *name)
{
	char path[KVS_PATH_SIZE];
	struct stat st;

	for (int which = KVS_SOCKET_GIVES; which <= KVS_SOCKET_ASKS; which++)
		if (kvs_files_socket(path, dir, name, (enum kvs_socket)which) == 0 && lstat(path, &st) == 0 &&
		    S_ISSOCK(st.st_mode))
			(void)unlink(path);
}

bool kvs_files_plane_name(const char *name, size_t *stem)
{
	const char *dot = strrchr(name, '.');
	char *end;

	if (!dot || dot[1] != 'p' || dot[2] < '0' || dot[2] > '9')
		return false;
	*stem = (size_t)(dot - name);
	return strtoul(dot + 2, &end, 10) < KVS_PLANES_MAX && !*end;
}

/* Has the machine that memory, as far as this process may take it? */
static int memory_room(uint64_t bytes, const char *what)
{
	int rc = kvs_cgroup_room("", bytes, what);
	uint64_t kib;

	if (rc || !kvs_machine_field("/proc/meminfo", "MemAvailable", &kib) || bytes <= kib * UINT64_C(1024))
		return rc;
	return kvs_fault(ENOMEM, "%s needs %llu bytes of memory, %llu are available: make the store smaller", what,
			 (unsigned long long)bytes, (unsigned long long)kib * 1024);
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
	return fs.f_type == TMPFS_MAGIC ? memory_room(bytes, what) : 0;
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

/* Sets what open() can't be told: the group, and a mode without the umask. */
static int set_access(int fd, const struct kvs_files_access *access)
{
	if (access->group != KVS_GROUP_OWN && fchown(fd, (uid_t)-1, (gid_t)access->group))
		return kvs_fault(errno, "cannot give the files group %lld: %s%s", (long long)access->group,
				 strerror(errno),
				 errno == EPERM ? " (be one of its members, or root)" : "");
	if (fchmod(fd, (mode_t)access->mode))
		return kvs_fault(errno, "cannot set mode %o: %s", access->mode, strerror(errno));
	return 0;
}

int kvs_files_make(const char *dir, const struct kvs_files_access *access, uint64_t size, int *file)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)access->mode);
	int rc;

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return kvs_fault(EOPNOTSUPP, "%s has no O_TMPFILE: use a tmpfs for stores (hugetlbfs has it in "
					     "newer kernels: leave --hugepages out)", dir);
	if (fd < 0)
		return kvs_fault(errno, "cannot make a file in %s: %s", dir, strerror(errno));
	rc = set_access(fd, access);
	if (rc == 0 && ftruncate(fd, (off_t)size))
		rc = kvs_fault(errno, "cannot make a file of %llu bytes in %s: %s", (unsigned long long)size, dir,
			       strerror(errno));
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

int kvs_files_unlink(const char *path, uint64_t device, uint64_t inode)
{
	if (!kvs_files_is(path, device, inode) || unlink(path) == 0 || errno == ENOENT)
		return 0;
	return kvs_fault(errno, "cannot remove %s: %s%s", path, strerror(errno),
			 errno == EPERM || errno == EACCES ? " (run as its owner, or root)" : "");
}
