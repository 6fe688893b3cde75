/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * map.c: mapping and unmapping, the second description, and what happens at fork().
 *
 * A child of fork() would share the parent's open file description, and with it the lock that says that the parent
 * lives: both descriptors are closed in the child (kept.h). The mappings are MADV_DONTFORK. The structures of the
 * library itself are wiped (see lib/store.c), so that the child's calls notice.
 */
#include "config.h"

#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"

#define GUARD UINT64_C(65536) /* a multiple of every page size */

/* Moves a descriptor that stays open out of the way of what a program prints: one that has closed its standard streams
 * would print into the segment. */
static int above_standard(int fd)
{
	int higher;

	if (fd > STDERR_FILENO)
		return fd;
	higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	(void)close(fd);
	return higher < 0 ? kvs_fault(errno, "no descriptor for the segment: %s", strerror(errno)) : higher;
}

/* A description of its own of an open file's inode, never by its name again: that may be another store's by now. */
static int open_again(int file)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return kvs_fault(errno, "cannot open the segment again through %s: %s%s", path, strerror(errno),
				 errno == ENOENT ? " (is /proc mounted?)" : "");
	return above_standard(fd);
}

/* Opens both descriptions. fork() is kept out from the first open() on: a child that got hold of a description that is
 * not in the table would keep its parent's lock. */
static int open_both(struct kvs_map *map, int file)
{
	int rc = kvs_kept_begin(2);

	if (rc)
		return rc;
	map->fd = rc = open_again(file);
	if (rc < 0)
		goto end;
	map->probe = rc = open_again(file);
	if (rc < 0) {
		(void)close(map->fd);
		goto end;
	}
	kvs_kept_add(map->fd);
	kvs_kept_add(map->probe);
	rc = 0;
end:
	kvs_kept_end();
	return rc;
}

static void close_both(const struct kvs_map *map)
{
	kvs_kept_close(map->probe);
	kvs_kept_close(map->fd); /* last: the lock falls with it */
}

static uint64_t whole(uint64_t size)
{
	return (size + GUARD - 1) / GUARD * GUARD + 2 * GUARD;
}

/* Reserves addresses for size bytes and the guards around them, so that what is between begins at a multiple of align.
 * What the alignment costs is given back at once: what stays is whole(size) bytes from a guard's beginning on. */
static int reserve(uint64_t size, uint64_t align, char **base)
{
	uint64_t all = whole(size) + (align > GUARD ? align : 0);
	char *reserved = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *begin, *end = reserved + all;

	if (reserved == MAP_FAILED)
		return kvs_fault(errno, "cannot reserve %llu bytes of addresses: %s", (unsigned long long)all,
				 strerror(errno));
	begin = reserved + GUARD;
	if (align > GUARD)
		begin += (align - (uintptr_t)begin % align) % align;
	if (begin - GUARD > reserved)
		(void)munmap(reserved, (size_t)(begin - GUARD - reserved));
	if (end > begin - GUARD + whole(size))
		(void)munmap(begin - GUARD + whole(size), (size_t)(end - (begin - GUARD + whole(size))));
	*base = begin;
	return 0;
}

int kvs_map_guarded(int fd, uint64_t size, uint64_t align, char **base)
{
	char *begin = NULL;
	int rc = reserve(size, align, &begin);

	if (rc)
		return rc;
	if (mmap(begin, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		rc = kvs_fault(errno, "cannot map %llu bytes: %s", (unsigned long long)size, strerror(errno));
	} else if (madvise(begin, size, MADV_DONTFORK) || madvise(begin, size, MADV_DONTDUMP)) {
		/* DONTFORK: see above. DONTDUMP: a dump of many GiB would hold up the fall of the lock, and so
		 * recovery. */
		rc = kvs_fault(errno, "cannot keep the store out of children and core dumps: %s", strerror(errno));
	}
	if (rc)
		kvs_map_release(begin, size);
	else
		*base = begin;
	return rc;
}

void kvs_map_release(char *base, uint64_t size)
{
	if (base)
		(void)munmap(base - GUARD, whole(size));
}

int kvs_map_open(struct kvs_map *map, int file, const struct kvs_geometry *geometry)
{
	char *base = NULL;
	int rc;

	memset(map, 0, sizeof(*map));
	map->g = *geometry;
	rc = open_both(map, file);
	if (rc)
		return rc;
	rc = kvs_map_guarded(file, map->g.size, 1, &base);
	if (rc) {
		close_both(map);
		return rc;
	}
	map->head = (struct kvs_head *)(void *)base;
	map->clients = (struct kvs_client *)(void *)(base + map->g.clients_at);
	map->readers = (struct kvs_reader *)(void *)(base + map->g.readers_at);
	map->requests = (struct kvs_request *)(void *)(base + map->g.requests_at);
	map->ids = (_Atomic uint64_t *)(void *)(base + map->g.ids_at);
	map->places = (_Atomic uint64_t *)(void *)(base + map->g.places_at);
	map->peers = (struct kvs_peer *)(void *)(base + map->g.peers_at);
	map->hints = (_Atomic uint64_t *)(void *)(base + map->g.hints_at);
	map->buckets = (_Atomic uint32_t *)(void *)(base + map->g.buckets_at);
	map->blocks = (struct kvs_block *)(void *)(base + map->g.blocks_at);
	map->tails = (uint8_t *)base + map->g.tails_at;
	map->infos = (struct kvs_block_info *)(void *)(base + map->g.infos_at);
	map->rows = base + map->g.rows_at;
	(void)pthread_mutex_init(&map->recovering, NULL);
	return 0;
}

void kvs_map_close(struct kvs_map *map)
{
	for (uint32_t i = 0; i < map->g.planes; i++)
		kvs_map_release(map->planes[i], map->plane_size);
	kvs_map_release((char *)map->head, map->g.size);
	(void)pthread_mutex_destroy(&map->recovering);
	close_both(map);
}

int kvs_map_whole(const struct kvs_map *map)
{
	struct stat st;

	if (fstat(map->fd, &st) == 0 && (uint64_t)st.st_size == map->g.size)
		return 0;
	return kvs_fault(EUCLEAN, "the segment's file was truncated under its users: destroy the store");
}
