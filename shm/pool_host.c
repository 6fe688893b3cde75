/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pool_host.c: planes in host memory, a file for each: kvshm.NAME.pN beside the segment; or, of huge pages, in a
 * hugetlbfs, which stores of all directories share: kvshm.NAME.DEVICE-INODE.pN there, with the numbers, in hexadecimal
 * digits, of the directory where the segment is.
 *
 * A plane gets its name before its segment, which then appears last, and loses it first. So a plane without a segment
 * belongs to a maker who is at work, and has the file locked, or who died there: then the lock is free, and the next
 * maker takes the name away, holding the lock, so that two of them can't remove each other's.
 */
#include "config.h"

#include "pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "hugetlb.h"
#include "lock.h"

#define STEM_SIZE 128 /* of a plane's file name without its number */

/* Begins the names of a store's planes: in its own directory, or in a hugetlbfs. */
static int stem_of(char stem[STEM_SIZE], const char *dir, const char *name, bool huge)
{
	struct stat st;

	if (huge && stat(dir, &st))
		return kvs_fault(errno, "%s: %s", dir, strerror(errno));
	if (huge)
		(void)snprintf(stem, STEM_SIZE, "kvshm.%s.%llx-%llx", name, (unsigned long long)st.st_dev,
			       (unsigned long long)st.st_ino);
	else
		(void)snprintf(stem, STEM_SIZE, "kvshm.%s", name);
	return 0;
}

static int path_in(char path[KVS_PATH_SIZE], const char *where, const char *stem, uint32_t number)
{
	if (snprintf(path, KVS_PATH_SIZE, "%s/%s.p%u", where, stem, number) < KVS_PATH_SIZE)
		return 0;
	return kvs_fault(ENAMETOOLONG, "the path of %s in its directory is too long", stem);
}

static int path_of(char path[KVS_PATH_SIZE], const struct kvs_plane *plane)
{
	char stem[STEM_SIZE], where[KVS_PATH_SIZE];
	int rc = stem_of(stem, plane->dir, plane->name, plane->page != 0);

	if (rc == 0 && plane->page)
		rc = kvs_huge_find(plane->device, where);
	return rc ? rc : path_in(path, plane->page ? where : plane->dir, stem, plane->number);
}

static int host_create(struct kvs_plane *plane, const struct kvs_files_access *access, int *file)
{
	char where[KVS_PATH_SIZE];
	struct stat st;
	int fd = -1;
	int rc = plane->page ? kvs_huge_find(plane->device, where) : 0;

	if (rc == 0)
		rc = kvs_files_make(plane->page ? where : plane->dir, access, plane->size, &fd);
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

static int host_show(const struct kvs_plane *plane, int file)
{
	char path[KVS_PATH_SIZE];
	int rc = path_of(path, plane);

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
	int rc = path_of(path, plane);
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
		rc = kvs_map_guarded(fd, plane->size, plane->page ? plane->page : 1, base);
	(void)close(fd);
	return rc;
}

static int host_hide(const struct kvs_plane *plane)
{
	char path[KVS_PATH_SIZE];
	int rc = path_of(path, plane);

	if (rc == -ENODEV)
		return 0; /* where that hugetlbfs is mounted a sweep will find it */
	return rc ? rc : kvs_files_unlink(path, plane->device, plane->inode);
}

static bool host_named(const struct kvs_plane *plane)
{
	char path[KVS_PATH_SIZE];

	return path_of(path, plane) == 0 && kvs_files_is(path, plane->device, plane->inode);
}

static bool host_judge(const struct kvs_plane *plane, char *text, size_t size)
{
	char path[KVS_PATH_SIZE];
	struct stat st;

	if (path_of(path, plane))
		return false;
	if (lstat(path, &st)) {
		if (errno != ENOENT)
			return false;
		(void)snprintf(text, size, "plane %u is gone: there is no %s", plane->number, path);
		return true;
	}
	if (st.st_dev != plane->device || st.st_ino != plane->inode) {
		(void)snprintf(text, size, "plane %u is gone: %s is another file", plane->number, path);
		return true;
	}
	if ((uint64_t)st.st_size == plane->size)
		return false;
	(void)snprintf(text, size, "plane %u has %llu bytes, not %llu: %s was truncated", plane->number,
		       (unsigned long long)st.st_size, (unsigned long long)plane->size, path);
	return true;
}

/* ---- Planes that are known by their names only ------------------------------------------------------------ */

struct sweep {
	const char *dir, *name;
	enum kvs_sweep which;
	int removed;
};

/* Can the file be a plane? It is whole blocks, and does not begin as a segment does: that of a store whose name ends as
 * a plane's. */
static bool may_be_plane(int fd)
{
	char magic[8];
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size && st.st_size % KVS_BLOCK_UNIT == 0 &&
	       pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, KVS_MAGIC, sizeof(magic)) != 0;
}

/* Judges what has a plane's name and takes the maker's lock on it. 0: it may go. */
static int may_go(const struct sweep *sweep, int fd, const char *path)
{
	char segment[KVS_PATH_SIZE];
	struct stat st;
	int rc;

	if (!may_be_plane(fd))
		return kvs_fault(EEXIST,
				 "%s is in the way, which is another store's, or no plane: choose another name, or "
				 "remove it",
				 path);
	rc = kvs_lock_write(fd, 0);
	if (rc == 0 && sweep->which == KVS_SWEEP_ORPHANS) {
		rc = kvs_files_path(segment, sweep->dir, sweep->name, -1);
		if (rc == 0 && lstat(segment, &st) == 0)
			rc = -EAGAIN;
	}
	return rc == -EAGAIN ? kvs_fault(EEXIST, "store '%s' is there already, or being made", sweep->name) : rc;
}

static int sweep_one(struct sweep *sweep, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : kvs_fault(errno, "cannot open %s: %s", path, strerror(errno));
	rc = may_go(sweep, fd, path);
	if (rc == 0 && fstat(fd, &st) == 0)
		rc = kvs_files_unlink(path, st.st_dev, st.st_ino);
	kvs_lock_close(fd);
	sweep->removed += rc == 0;
	return rc == -EEXIST && sweep->which == KVS_SWEEP_OWNED ? 0 : rc;
}

/* page 0: the store's own directory. */
static int sweep_in(const char *where, uint64_t page, void *arg)
{
	struct sweep *sweep = arg;
	char stem[STEM_SIZE], path[KVS_PATH_SIZE];
	int rc = stem_of(stem, sweep->dir, sweep->name, page != 0);

	if (page && access(where, X_OK))
		return 0; /* a hugetlbfs that is not for this user: nothing there is this store's */
	for (uint32_t i = 0; rc == 0 && i < KVS_PLANES_MAX; i++) {
		rc = path_in(path, where, stem, i);
		if (rc == 0)
			rc = sweep_one(sweep, path);
	}
	return rc;
}

static int host_sweep(const char *dir, const char *name, enum kvs_sweep which)
{
	struct sweep sweep = {.dir = dir, .name = name, .which = which};
	int rc = sweep_in(dir, 0, &sweep);

	if (rc == 0)
		rc = kvs_huge_each(sweep_in, &sweep);
	return rc ? rc : sweep.removed;
}

struct names {
	const char *dir;
	int (*fn)(const char *name, void *arg);
	void *arg;
};

/* Cuts a file's name down to the store's: "kvshm." before it, middle and ".pN" behind it. False if it has not these. */
static bool cut_name(char *file, const char *middle, const char **name)
{
	size_t length = strlen(middle), stem;

	if (strncmp(file, "kvshm.", 6) != 0 || !kvs_files_plane_name(file, &stem) || stem <= 6 + length)
		return false;
	if (memcmp(file + stem - length, middle, length) != 0)
		return false;
	file[stem - length] = '\0';
	*name = file + 6;
	return true;
}

static int names_in(const char *where, uint64_t page, void *arg)
{
	const struct names *names = arg;
	char stem[STEM_SIZE];
	const char *middle = stem + strlen("kvshm."), *name;
	struct dirent *entry;
	DIR *stream;
	int rc = stem_of(stem, names->dir, "", page != 0);

	if (rc)
		return rc;
	stream = opendir(where);
	while (stream && rc == 0 && (entry = readdir(stream)))
		if (cut_name(entry->d_name, middle, &name))
			rc = names->fn(name, names->arg);
	if (stream)
		(void)closedir(stream);
	return rc;
}

static int host_each_name(const char *dir, int (*fn)(const char *name, void *arg), void *arg)
{
	struct names names = {.dir = dir, .fn = fn, .arg = arg};
	int rc = names_in(dir, 0, &names);

	return rc ? rc : kvs_huge_each(names_in, &names);
}

const struct kvs_pool kvs_pool_host = {
	.create = host_create,
	.show = host_show,
	.import = host_import,
	.hide = host_hide,
	.named = host_named,
	.judge = host_judge,
	.sweep = host_sweep,
	.each_name = host_each_name,
};
