/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pool_host.c: planes in host memory: a file kvshm.NAME.pN beside the segment for each.
 *
 * A plane gets its name before its segment, which then appears last, and loses it first. So a plane without a segment
 * belongs to a maker who is at work, and has the file locked, or who died there: then the lock is free, and the next
 * maker takes the name away, holding the lock, so that two of them can't remove each other's.
 */
#include "config.h"

#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "lock.h"

static int host_create(struct kvs_plane *plane, int *file)
{
	struct stat st;
	int fd;
	int rc = kvs_files_make(plane->dir, plane->mode, plane->size, plane->size, "a plane", &fd);

	if (rc)
		return rc;
	rc = kvs_lock_write(fd, 0);
	if (rc == 0 && fstat(fd, &st))
		rc = kvs_fault(errno, "cannot look at a new file: %s", strerror(errno));
	if (rc) {
		(void)close(fd);
		return rc;
	}
	plane->device = st.st_dev;
	plane->inode = st.st_ino;
	*file = fd;
	return 0;
}

/* Is the file a segment: that of a store whose name ends as a plane's does? An orphaned plane has no bytes but zeros,
 * and something too short to tell is neither. */
static bool is_segment(int fd)
{
	char magic[8];

	return pread(fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) ||
	       memcmp(magic, KVS_MAGIC, sizeof(magic)) == 0;
}

static int host_clear(const struct kvs_plane *plane)
{
	char path[KVS_PATH_SIZE], segment[KVS_PATH_SIZE];
	struct stat st;
	int rc = kvs_files_path(path, plane->dir, plane->name, (int)plane->number);
	int fd;

	if (rc == 0)
		rc = kvs_files_path(segment, plane->dir, plane->name, -1);
	if (rc)
		return rc;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : kvs_fault(errno, "cannot open %s: %s", path, strerror(errno));
	if (is_segment(fd))
		rc = kvs_fault(
			EEXIST,
			"%s is in the way, which is another store's, or no plane: choose another name, or remove it",
			path);
	else
		rc = kvs_lock_write(fd, 0);
	if (rc == -EAGAIN || (rc == 0 && lstat(segment, &st) == 0))
		rc = kvs_fault(EEXIST, "store '%s' is there already, or being made", plane->name);
	if (rc == 0 && fstat(fd, &st) == 0 && kvs_files_is(path, st.st_dev, st.st_ino) && unlink(path))
		rc = kvs_fault(errno, "cannot remove %s, which a maker who died left: %s", path, strerror(errno));
	(void)close(fd);
	return rc;
}

static int host_show(const struct kvs_plane *plane, int file)
{
	char path[KVS_PATH_SIZE];
	int rc = kvs_files_path(path, plane->dir, plane->name, (int)plane->number);

	if (rc == 0)
		rc = kvs_files_link(file, path);
	if (rc != -EEXIST)
		return rc;
	return kvs_fault(EEXIST, "store '%s' is being made by another process", plane->name);
}

static int host_import(const struct kvs_plane *plane, char **base)
{
	char path[KVS_PATH_SIZE];
	struct stat st;
	int rc = kvs_files_path(path, plane->dir, plane->name, (int)plane->number);
	int fd;

	if (rc)
		return rc;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return kvs_fault(ESTALE, "%s is gone: the store is being destroyed", path);
	if (fd < 0)
		return kvs_fault(errno, "cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) || st.st_dev != plane->device || st.st_ino != plane->inode)
		rc = kvs_fault(ESTALE, "%s belongs to another store by now", path);
	else if ((uint64_t)st.st_size != plane->size)
		rc = kvs_fault(EUCLEAN, "%s has %llu bytes, not %llu: it was truncated; destroy the store", path,
			       (unsigned long long)st.st_size, (unsigned long long)plane->size);
	else
		rc = kvs_map_guarded(fd, plane->size, base);
	(void)close(fd);
	return rc;
}

static void host_hide(const struct kvs_plane *plane)
{
	char path[KVS_PATH_SIZE];

	if (kvs_files_path(path, plane->dir, plane->name, (int)plane->number) == 0 &&
	    kvs_files_is(path, plane->device, plane->inode))
		(void)unlink(path);
}

const struct kvs_pool kvs_pool_host = {
	.create = host_create,
	.clear = host_clear,
	.show = host_show,
	.import = host_import,
	.hide = host_hide,
};
