/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * segment.c: opening segments, and judging what is found under a store's name. See segment.h; making and destroying are
 * in make.c.
 */
#include "config.h"

#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "lock.h"
#include "pool.h"
#include "segment_parts.h"

void kvs_segment_boot_id(uint8_t id[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	unsigned nibble = 0;

	memset(id, 0, 16); /* without /proc every boot looks the same: only that check is lost */
	for (ssize_t i = 0; i < length && nibble < 32; i++) {
		unsigned value;

		if (text[i] >= '0' && text[i] <= '9')
			value = (unsigned)(text[i] - '0');
		else if (text[i] >= 'a' && text[i] <= 'f')
			value = (unsigned)(text[i] - 'a') + 10;
		else
			continue;
		id[nibble / 2] |= (uint8_t)(nibble % 2 ? value : value << 4);
		nibble++;
	}
	if (fd >= 0)
		(void)close(fd);
}

int kvs_segment_open_file(const char *name, const char *dir, int flags, int *file, char *path)
{
	int rc = kvs_files_check_name(name);
	struct stat st;
	int fd;

	if (rc == 0)
		rc = kvs_files_path(path, kvs_files_dir(dir), name, -1);
	if (rc)
		return rc;
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return kvs_fault(ENOENT, "there is no store '%s' (%s): start its kvshmd, or name its directory", name,
				 path);
	if (fd < 0 && errno == EACCES)
		return kvs_fault(
			EACCES, "no permission for %s: run as its owner, or let kvshmd make it with --mode 0660", path);
	if (fd < 0 && errno == ELOOP)
		return kvs_fault(EPROTO, "%s is a symbolic link: stores are files", path);
	if (fd < 0 && errno != EISDIR)
		return kvs_fault(errno, "cannot open %s: %s", path, strerror(errno));
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			(void)close(fd);
		return kvs_fault(EPROTO, "%s is no kvshm segment, but something else than a file", path);
	}
	*file = fd;
	return 0;
}

static int judge_layout(const struct kvs_head *head, const char *path)
{
	if (head->layout == KVS_LAYOUT)
		return 0;
	return kvs_fault(EPROTO,
			 "%s has layout %u, made by kvshm %.*s; this is kvshm %s with layout %u: use the same version "
			 "for all processes, or make the store anew (--replace-dead)",
			 path, head->layout, (int)sizeof(head->maker), head->maker, PACKAGE_VERSION, KVS_LAYOUT);
}

static int judge_build(const struct kvs_head *head, const char *path)
{
	if (head->fingerprint == kvs_layout_fingerprint())
		return 0;
	return kvs_fault(EPROTO,
			 "%s was made by another build of kvshm %.*s (fingerprint %016llx, here %016llx): use the "
			 "same build for all processes, or make the store anew (--replace-dead)",
			 path, (int)sizeof(head->maker), head->maker, (unsigned long long)head->fingerprint,
			 (unsigned long long)kvs_layout_fingerprint());
}

/* Reads up to size bytes of the head, and judges those that never change. */
static int read_start(int file, const char *path, struct kvs_head *head, size_t size, size_t *got)
{
	ssize_t length = pread(file, head, size, 0);

	if (length < 0)
		return kvs_fault(errno, "cannot read %s: %s", path, strerror(errno));
	if (length < KVS_FROZEN)
		return kvs_fault(EPROTO, "%s is no kvshm segment: it has only %lld bytes", path, (long long)length);
	if (memcmp(head->magic, KVS_MAGIC, sizeof(head->magic)) != 0)
		return kvs_fault(EPROTO, "%s is no kvshm segment (its first bytes are others)", path);
	*got = (size_t)length;
	return 0;
}

int kvs_segment_read_frozen(int file, const char *path, struct kvs_head *head)
{
	size_t got;

	return read_start(file, path, head, KVS_FROZEN, &got);
}

int kvs_segment_read_head(int file, const char *path, struct kvs_head *head)
{
	uint8_t boot_id[16];
	struct stat st;
	size_t got = 0;
	int rc = read_start(file, path, head, sizeof(*head), &got);

	if (rc == 0 && fstat(file, &st))
		rc = kvs_fault(errno, "cannot look at %s: %s", path, strerror(errno));
	if (rc == 0)
		rc = judge_layout(head, path);
	if (rc)
		return rc;
	if (got < sizeof(*head) || (uint64_t)st.st_size < head->size)
		return kvs_fault(EPROTO,
				 "%s is truncated: it has %lld of its %llu bytes; end its processes and make it anew "
				 "(--replace-dead)",
				 path, (long long)st.st_size, (unsigned long long)head->size);
	rc = judge_build(head, path);
	if (rc)
		return rc;
	if (head->geometry.size != head->size || kvs_layout_check(&head->geometry, (uint64_t)st.st_size) ||
	    head->planes.page & (head->planes.page - 1) || head->planes.page > UINT64_C(1) << 40 ||
	    head->planes.memory > KVS_MEMORY_CUDA || head->planes.export > KVS_EXPORT_IPC)
		return kvs_fault(EUCLEAN, "the geometry in %s makes no sense: destroy the store", path);
	head->label[KVS_LABEL_SIZE - 1] = '\0';
	kvs_segment_boot_id(boot_id);
	if (memcmp(boot_id, head->boot_id, sizeof(boot_id)) != 0)
		return kvs_fault(EPROTO, "%s is from before the last boot: make it anew (--replace-dead)", path);
	return 0;
}

bool kvs_segment_is_kin(int file)
{
	char magic[sizeof(KVS_MAGIC) - 1];
	ssize_t got = pread(file, magic, sizeof(magic), 0);

	return got >= 0 && memcmp(magic, KVS_MAGIC, (size_t)got) == 0;
}

bool kvs_segment_is_ours(int file, struct kvs_head *head)
{
	return pread(file, head, sizeof(*head), 0) == (ssize_t)sizeof(*head) &&
	       memcmp(head->magic, KVS_MAGIC, sizeof(head->magic)) == 0 && head->layout == KVS_LAYOUT &&
	       head->fingerprint == kvs_layout_fingerprint();
}

void kvs_segment_plane(struct kvs_plane *plane, const struct kvs_geometry *geometry,
		       const struct kvs_plane_files *files, const char *dir, const char *name, uint32_t number)
{
	*plane = (struct kvs_plane){
		.dir = kvs_files_dir(dir),
		.name = name,
		.number = number,
		.size = kvs_layout_plane(geometry, files->page),
		.page = files->page,
		.device = files->device[number],
		.inode = files->inode[number],
	};
}

static int import_planes(struct kvs_map *map, const char *dir, const char *name)
{
	map->plane_size = kvs_layout_plane(&map->g, map->files.page);
	for (uint32_t i = 0; i < kvs_segment_files(&map->g, &map->files); i++) {
		struct kvs_plane plane;
		int rc;

		kvs_segment_plane(&plane, &map->g, &map->files, dir, name, i);
		rc = kvs_pool_host.import(&plane, &map->planes[i]);
		if (rc)
			return rc;
	}
	return 0;
}

static int judge_label(const struct kvs_head *head, const char *name, const char *label)
{
	if (!label || strcmp(label, head->label) == 0)
		return 0;
	return kvs_fault(EMEDIUMTYPE,
			 "store '%s' has the label '%s', not '%s': attach the store of your model, dtype and "
			 "layout",
			 name, head->label, label);
}

int kvs_segment_open(const char *name, const char *dir, const char *label, struct kvs_map *map)
{
	char path[KVS_PATH_SIZE];
	struct kvs_head head;
	int file = -1;
	int rc = kvs_segment_open_file(name, dir, O_RDWR, &file, path);

	if (rc)
		return rc;
	rc = kvs_segment_read_head(file, path, &head);
	if (rc == 0 && !kvs_store_is_open(atomic_load(&head.state)))
		rc = kvs_fault(ESTALE, "store '%s' was destroyed: ask again, or make a new one (kvshmd --replace-dead)",
			       name);
	if (rc == 0)
		rc = judge_label(&head, name, label);
	if (rc == 0)
		rc = kvs_map_open(map, file, &head.geometry);
	(void)close(file);
	if (rc)
		return rc;
	map->files = head.planes;
	rc = import_planes(map, dir, name);
	if (rc)
		kvs_map_close(map);
	return rc;
}

/* Locks the owner's byte of the store that the name leads to, and makes sure that it still does. */
static int become_owner(struct kvs_map *map, const char *name, const char *path)
{
	struct stat st;
	int rc = kvs_lock_write(map->fd, KVS_LOCK_OWNER);

	if (rc == -EAGAIN)
		return kvs_fault(EEXIST, "store '%s' has a living owner (process %d)", name,
				 (int)atomic_load(&map->head->owner_pid));
	if (rc)
		return rc;
	if (fstat(map->fd, &st) || !kvs_files_is(path, st.st_dev, st.st_ino))
		return kvs_fault(ENOENT, "store '%s' was removed meanwhile", name);
	atomic_store(&map->head->owner_pid, (int32_t)getpid());
	return 0;
}

int kvs_segment_adopt(const char *name, const char *dir, struct kvs_map *map)
{
	char path[KVS_PATH_SIZE];
	int rc = kvs_segment_open(name, dir, NULL, map);

	if (rc)
		return rc;
	rc = kvs_files_path(path, kvs_files_dir(dir), name, -1);
	if (rc == 0)
		rc = become_owner(map, name, path);
	if (rc == 0 && !kvs_store_is_open(atomic_load(&map->head->state)))
		rc = kvs_fault(ESTALE, "store '%s' was being destroyed when its owner died: replace it", name);
	if (rc)
		kvs_map_close(map);
	return rc;
}
