/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * make.c: making a store, replacing a dead one, destroying one. See segment.h.
 *
 * A death while making leaves nameless files, which go with it, or planes without a segment, which the next maker
 * removes (pool_host.c). A death while destroying leaves a segment marked destroyed, without some planes and without an
 * owner: it can be replaced or removed like any dead store.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "epoch.h"
#include "fault.h"
#include "files.h"
#include "lock.h"
#include "pool.h"
#include "segment.h"
#include "segment_parts.h"

struct making {
	const char *name;
	const char *dir;
	const struct kvs_segment_options *options;
	struct kvs_geometry geometry;
	struct kvs_plane planes[KVS_PLANES_MAX];
	int plane_files[KVS_PLANES_MAX];
	uint32_t planes_made, planes_shown;
};

static int random_numbers(struct kvs_geometry *geometry)
{
	uint64_t numbers[2];

	if (getrandom(numbers, sizeof(numbers), 0) != (ssize_t)sizeof(numbers))
		return kvs_fault(errno, "no random numbers: %s", strerror(errno));
	geometry->incarnation = numbers[0];
	geometry->seed = numbers[1];
	return 0;
}

/* Takes the names of a store away that this process holds the owner's lock of: planes first, so that a death in between
 * leaves no plane without its segment. */
static void hide(const char *name, const char *dir, int fd, const struct kvs_head *head, uint32_t planes)
{
	char path[KVS_PATH_SIZE];
	struct stat st;

	for (uint32_t i = 0; i < planes; i++) {
		struct kvs_plane plane;

		kvs_segment_plane(&plane, head, dir, name, i);
		kvs_pool_host.hide(&plane);
	}
	if (kvs_files_path(path, kvs_files_dir(dir), name, -1) == 0 && fstat(fd, &st) == 0 &&
	    kvs_files_is(path, st.st_dev, st.st_ino))
		(void)unlink(path);
}

void kvs_segment_destroy(const char *name, const char *dir, struct kvs_map *map)
{
	atomic_store(&map->head->state, KVS_STORE_DESTROYED);
	hide(name, dir, map->fd, map->head, map->g.planes);
}

/* The state lies behind the frozen part of a segment that may make no sense: it is written by file, not by map. */
static void mark_destroyed(int file)
{
	const uint32_t state = KVS_STORE_DESTROYED;

	if (pwrite(file, &state, sizeof(state), (off_t)offsetof(struct kvs_head, state)) != (ssize_t)sizeof(state))
		kvs_log(KVS_LOG_WARNING, "cannot mark the old store destroyed: %s", strerror(errno));
}

/* Removes the store that is in the way, whose owner's lock this process has. */
static void replace(const char *name, const char *dir, int file, struct kvs_head *head)
{
	if (head->geometry.planes > KVS_PLANES_MAX)
		head->geometry.planes = 0; /* a head that makes no sense otherwise either */
	mark_destroyed(file);
	hide(name, dir, file, head, head->geometry.planes);
}

/* Something has the name. 0: it is gone now. What is no segment of this layout is left alone. */
static int clear_name(const char *name, const struct kvs_segment_options *options)
{
	char path[KVS_PATH_SIZE];
	struct kvs_head head;
	int file = -1;
	int rc = kvs_segment_open_file(name, options->dir, O_RDWR, &file, path);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = kvs_segment_read_head(file, path, &head);
	if (rc == 0 || rc == -EUCLEAN)
		rc = kvs_lock_write(file, KVS_LOCK_OWNER);
	if (rc == -EAGAIN)
		rc = kvs_fault(
			EEXIST,
			"store '%s' is there already, with a living owner: choose another name, or end that kvshmd",
			name);
	else if (rc == 0 && !options->replace_dead)
		rc = kvs_fault(EOWNERDEAD,
			       "store '%s' is there already, without a living owner (%s): go on with it by --adopt, or "
			       "make a new one by --replace-dead",
			       name, path);
	else if (rc == 0)
		replace(name, options->dir, file, &head);
	(void)close(file);
	return rc;
}

static int name_taken(const char *name, const char *dir)
{
	char path[KVS_PATH_SIZE];
	struct stat st;
	int rc = kvs_files_path(path, kvs_files_dir(dir), name, -1);

	return rc ? rc : lstat(path, &st) == 0;
}

/* Planes that a maker who died before its segment was there has left: they may be more, or larger, than these. */
static int clear_orphans(const struct making *m)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < KVS_PLANES_MAX; i++) {
		struct kvs_plane plane = {.dir = m->dir, .name = m->name, .number = i};

		rc = kvs_pool_host.clear(&plane);
	}
	return rc;
}

static int make_planes(struct making *m)
{
	for (uint32_t i = 0; i < m->geometry.planes; i++) {
		int rc;

		m->planes[i] = (struct kvs_plane){
			.dir = m->dir,
			.name = m->name,
			.number = i,
			.mode = m->options->mode,
			.size = m->geometry.block_size * m->geometry.blocks,
		};
		rc = kvs_pool_host.create(&m->planes[i], &m->plane_files[i]);
		if (rc)
			return rc;
		m->planes_made++;
	}
	return 0;
}

static void write_head(const struct making *m, struct kvs_head *head)
{
	memcpy(head->magic, KVS_MAGIC, sizeof(head->magic));
	head->layout = KVS_LAYOUT;
	head->size = m->geometry.size;
	(void)snprintf(head->maker, sizeof(head->maker), "%s", PACKAGE_VERSION);
	head->fingerprint = kvs_layout_fingerprint();
	kvs_segment_boot_id(head->boot_id);
	head->created = (int64_t)time(NULL);
	head->geometry = m->geometry;
	for (uint32_t i = 0; i < m->geometry.planes; i++) {
		head->plane_device[i] = m->planes[i].device;
		head->plane_inode[i] = m->planes[i].inode;
	}
	(void)snprintf(head->label, sizeof(head->label), "%s", m->options->label ? m->options->label : "");
	atomic_store(&head->epoch, KVS_EPOCH_FIRST);
	atomic_store(&head->idle, m->geometry.blocks);
	atomic_store(&head->owner_pid, (int32_t)getpid());
	atomic_store(&head->state, KVS_STORE_OPEN);
}

/* Gives the planes and then the segment their names. */
static int show(struct making *m, int file)
{
	char path[KVS_PATH_SIZE];
	int rc = kvs_files_path(path, m->dir, m->name, -1);

	for (uint32_t i = 0; rc == 0 && i < m->geometry.planes; i++) {
		rc = kvs_pool_host.show(&m->planes[i], m->plane_files[i]);
		if (rc == 0)
			m->planes_shown++;
	}
	if (rc)
		return rc;
	rc = kvs_files_link(file, path);
	return rc == -EEXIST ? kvs_fault(EEXIST, "store '%s' is there already: another made it meanwhile", m->name)
			     : rc;
}

/* Makes the segment, fills it, and shows everything. */
static int make_segment(struct making *m, struct kvs_map *map)
{
	int file;
	int rc = kvs_files_make(m->dir, m->options->mode, m->geometry.rows_at, m->geometry.size, "the segment", &file);

	if (rc)
		return rc;
	rc = kvs_map_open(map, file, &m->geometry);
	if (rc)
		goto close_file;
	rc = kvs_lock_write(map->fd, KVS_LOCK_OWNER);
	if (rc)
		goto close_map;
	write_head(m, map->head);
	for (uint32_t i = 0; i < m->geometry.blocks; i++)
		kvs_alloc_hint(map, i);
	for (uint32_t i = 0; rc == 0 && i < m->geometry.planes; i++)
		rc = kvs_map_guarded(m->plane_files[i], m->planes[i].size, &map->planes[i]);
	if (rc == 0)
		rc = show(m, file);
close_map:
	if (rc)
		kvs_map_close(map);
close_file:
	(void)close(file);
	return rc;
}

int kvs_segment_create(const char *name, const struct kvs_segment_options *options, struct kvs_map *map)
{
	struct making m = {.name = name, .dir = kvs_files_dir(options->dir), .options = options};
	uint64_t planes;
	int rc = kvs_files_check_name(name);

	if (rc)
		return rc;
	rc = kvs_layout_make(&options->shape, &m.geometry);
	if (rc)
		return kvs_fault(-rc, "a store of that shape can't be made");
	rc = random_numbers(&m.geometry);
	if (rc)
		return rc;
	rc = name_taken(name, m.dir);
	if (rc > 0)
		rc = clear_name(name, options);
	if (rc == 0)
		rc = clear_orphans(&m);
	if (rc)
		return rc;
	planes = m.geometry.block_size * m.geometry.blocks * m.geometry.planes;
	rc = kvs_files_room(m.dir, planes + m.geometry.rows_at, "the store");
	if (rc == 0)
		rc = make_planes(&m);
	if (rc == 0)
		rc = make_segment(&m, map);
	for (uint32_t i = 0; rc && i < m.planes_shown; i++)
		kvs_pool_host.hide(&m.planes[i]);
	for (uint32_t i = 0; i < m.planes_made; i++)
		(void)close(m.plane_files[i]); /* and with it the maker's lock: the segment is there now, or nothing */
	return rc;
}
