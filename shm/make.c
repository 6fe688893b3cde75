/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * make.c: making a store. See segment.h.
 *
 * A death while making leaves nameless files, which go with it, or planes without a segment, which the next maker
 * removes (pool_host.c).
 */
#include "config.h"

#include <errno.h>
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
#include "hugetlb.h"
#include "lock.h"
#include "numa.h"
#include "pool.h"
#include "segment.h"
#include "segment_parts.h"

struct making {
	const char *name;
	const char *dir;
	const struct kvs_segment_options *options;
	struct kvs_geometry geometry;
	struct kvs_plane_files ids; /* what the head says of the planes */
	uint32_t files;		    /* planes that are files: all, or none */
	struct kvs_plane planes[KVS_PLANES_MAX];
	int plane_files[KVS_PLANES_MAX];
	uint32_t planes_made, planes_shown;
	uint64_t page, device; /* of the planes' hugetlbfs */
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

static int name_taken(const char *name, const char *dir)
{
	char path[KVS_PATH_SIZE];
	struct stat st;
	int rc = kvs_files_path(path, kvs_files_dir(dir), name, -1);

	return rc ? rc : lstat(path, &st) == 0;
}

/* Where the store is to lie: is there such a node, and such a file system? */
static int choose_place(struct making *m)
{
	char dir[KVS_PATH_SIZE];
	struct stat st;
	int rc = kvs_numa_room(m->options->node, 0, 0, "the store");

	if (rc || !m->options->huge)
		return rc;
	rc = kvs_huge_choose(dir, &m->page);
	if (rc == 0 && stat(dir, &st))
		rc = kvs_fault(errno, "%s: %s", dir, strerror(errno));
	if (rc == 0)
		m->device = st.st_dev;
	return rc;
}

/* Is there memory for all of it? */
static int look_for_room(const struct making *m)
{
	uint64_t planes = m->files * kvs_layout_plane(&m->geometry, m->page);
	uint64_t ordinary = m->geometry.rows_at + (m->page ? 0 : planes);
	char dir[KVS_PATH_SIZE];
	int rc = kvs_files_room(m->dir, ordinary, "the store");

	if (rc == 0)
		rc = kvs_numa_room(m->options->node, ordinary, 0, "the store");
	if (rc || !m->page)
		return rc;
	rc = kvs_huge_find(m->device, dir);
	if (rc == 0)
		rc = kvs_huge_room(dir, m->page, planes);
	return rc ? rc : kvs_numa_room(m->options->node, planes, m->page, "the store");
}

static int make_planes(struct making *m)
{
	if (m->options->planes)
		return m->options->planes(m->options->planes_arg, &m->geometry, &m->ids);
	m->ids.page = m->page;
	for (uint32_t i = 0; i < m->files; i++) {
		int rc;

		m->planes[i] = (struct kvs_plane){
			.dir = m->dir,
			.name = m->name,
			.number = i,
			.size = kvs_layout_plane(&m->geometry, m->page),
			.page = m->page,
			.device = m->device,
		};
		rc = kvs_pool_host.create(&m->planes[i], &m->options->access, &m->plane_files[i]);
		if (rc)
			return rc;
		m->planes_made++;
		m->ids.device[i] = m->planes[i].device;
		m->ids.inode[i] = m->planes[i].inode;
	}
	return 0;
}

/* Gets the memory of the planes and the segment. The planes are mapped for that only: an owner does not look at blocks,
 * and page tables for them would cost it memory. */
static int get_memory(struct making *m, const struct kvs_map *map)
{
	const struct kvs_memory_options how = {
		.dir = m->dir,
		.node = m->options->node,
		.threads = m->options->threads,
		.progress = m->options->progress,
		.arg = m->options->progress_arg,
	};
	struct kvs_memory files[KVS_PLANES_MAX + 1];
	uint32_t mapped = 0;
	int rc = 0;

	while (rc == 0 && mapped < m->files) {
		struct kvs_plane *plane = &m->planes[mapped];
		struct kvs_memory *file = &files[mapped];

		*file = (struct kvs_memory){.file = m->plane_files[mapped],
					    .mapped = plane->size,
					    .bytes = plane->size,
					    .page = plane->page};
		rc = kvs_map_guarded(file->file, plane->size, plane->page ? plane->page : 1, &file->base);
		mapped += rc == 0;
	}
	files[mapped] = (struct kvs_memory){.file = map->fd,
					    .base = (char *)map->head,
					    .mapped = m->geometry.size,
					    .bytes = m->geometry.rows_at};
	if (rc == 0)
		rc = kvs_memory_get(files, mapped + 1, &how);
	while (mapped) {
		mapped--;
		kvs_map_release(files[mapped].base, files[mapped].bytes);
	}
	return rc;
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
	head->planes = m->ids;
	head->plane_node = m->options->node;
	(void)snprintf(head->label, sizeof(head->label), "%s", m->options->label ? m->options->label : "");
	atomic_store(&head->epoch, KVS_EPOCH_FIRST);
	atomic_store(&head->idle, m->geometry.blocks);
	atomic_store(&head->owner_pid, (int32_t)getpid());
	atomic_store(&head->state, KVS_STORE_OPEN | (m->ids.memory == KVS_MEMORY_CUDA && m->ids.export == KVS_EXPORT_IPC
							     ? KVS_STORE_WATCHED
							     : 0));
}

/* Gives the planes and then the segment their names. */
static int show(struct making *m, int file)
{
	char path[KVS_PATH_SIZE];
	int rc = kvs_files_path(path, m->dir, m->name, -1);

	for (uint32_t i = 0; rc == 0 && i < m->files; i++) {
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
	int rc = kvs_files_make(m->dir, &m->options->access, m->geometry.size, &file);

	if (rc)
		return rc;
	rc = kvs_map_open(map, file, &m->geometry);
	if (rc)
		goto close_file;
	rc = get_memory(m, map);
	if (rc == 0)
		rc = kvs_lock_write(map->fd, KVS_LOCK_OWNER);
	if (rc)
		goto close_map;
	write_head(m, map->head);
	map->files = map->head->planes;
	for (uint32_t i = 0; i < m->geometry.blocks; i++)
		kvs_alloc_hint(map, i);
	rc = show(m, file);
close_map:
	if (rc)
		kvs_map_close(map);
close_file:
	(void)close(file);
	return rc;
}

/* Clears the way: a dead store, if it is to be replaced, and planes that a maker who died before its segment was there
 * has left, which may be more, or larger, than these. */
static int clear_way(const struct making *m)
{
	int rc = name_taken(m->name, m->dir);

	if (rc > 0)
		rc = kvs_segment_clear_name(m->name, m->dir, m->options->replace_dead);
	if (rc == 0)
		rc = kvs_pool_host.sweep(m->dir, m->name, KVS_SWEEP_ORPHANS);
	return rc < 0 ? rc : 0;
}

int kvs_segment_create(const char *name, const struct kvs_segment_options *options, struct kvs_map *map)
{
	struct making m = {.name = name, .dir = kvs_files_dir(options->dir), .options = options};
	int rc = kvs_files_check_name(name);

	if (rc)
		return rc;
	rc = kvs_layout_make(&options->shape, &m.geometry);
	if (rc)
		return kvs_fault(-rc, "a store of that shape can't be made");
	m.files = options->planes ? 0 : m.geometry.planes;
	rc = random_numbers(&m.geometry);
	if (rc == 0)
		rc = choose_place(&m);
	if (rc == 0)
		rc = clear_way(&m);
	if (rc == 0)
		rc = look_for_room(&m);
	if (rc == 0)
		rc = make_planes(&m);
	if (rc == 0)
		rc = make_segment(&m, map);
	for (uint32_t i = 0; rc && i < m.planes_shown; i++)
		(void)kvs_pool_host.hide(&m.planes[i]);
	for (uint32_t i = 0; i < m.planes_made; i++)
		kvs_lock_close(m.plane_files[i]); /* the segment is there now, or nothing */
	return rc;
}
