/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * unlink.c: taking a store away: its owner destroys it, or another takes a dead one. See segment.h.
 *
 * The lock on the owner's byte of the segment's inode gives the right to take its names away, while the name leads to
 * that inode: nobody else can make a store of that name before it is free. The locks on all clients' bytes say that
 * nobody is attached, or will be: who tries meets them, and finds the store gone (lib/store.c). These bytes are the
 * same in every version, so a store can be taken away that can't be read: of another layout or boot, or truncated.
 *
 * The planes go first, and the segment last: who dies in between leaves a dead store, with some planes missing, which
 * can be taken away again.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "lock.h"
#include "pool.h"
#include "segment.h"
#include "segment_parts.h"
#include "users.h"

/* A store that is to be taken away. */
struct dead {
	const char *name, *dir;
	char path[KVS_PATH_SIZE];
	int file;
	bool ours; /* of this layout: head is what it says */
	struct kvs_head head;
};

static int hide_planes(const struct kvs_geometry *geometry, const struct kvs_plane_files *files, const char *dir,
		       const char *name)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < kvs_segment_files(geometry, files) && i < KVS_PLANES_MAX; i++) {
		struct kvs_plane plane;

		kvs_segment_plane(&plane, geometry, files, dir, name, i);
		rc = kvs_pool_host.hide(&plane);
	}
	return rc;
}

void kvs_segment_destroy(const char *name, const char *dir, struct kvs_map *map)
{
	char path[KVS_PATH_SIZE];
	struct stat st;
	bool whole = kvs_map_whole(map) == 0; /* touching what is gone raises SIGBUS */
	bool named = kvs_files_path(path, kvs_files_dir(dir), name, -1) == 0 && fstat(map->fd, &st) == 0 &&
		     kvs_files_is(path, st.st_dev, st.st_ino);

	if (whole)
		atomic_store(&map->head->state, KVS_STORE_DESTROYED);
	if (named) /* else the sockets of that name are another store's by now */
		kvs_files_unlink_sockets(kvs_files_dir(dir), name);
	if (whole)
		(void)hide_planes(&map->g, &map->files, dir, name);
	else /* its planes are known by their names only */
		(void)kvs_pool_host.sweep(kvs_files_dir(dir), name, KVS_SWEEP_OWNED);
	if (named)
		(void)kvs_files_unlink(path, st.st_dev, st.st_ino);
}

bool kvs_segment_named(const char *name, const char *dir, const struct kvs_map *map)
{
	char path[KVS_PATH_SIZE];
	struct stat st;

	if (kvs_files_path(path, kvs_files_dir(dir), name, -1) || fstat(map->fd, &st) ||
	    !kvs_files_is(path, st.st_dev, st.st_ino))
		return false;
	for (uint32_t i = 0; i < kvs_segment_files(&map->g, &map->files); i++) {
		struct kvs_plane plane;

		kvs_segment_plane(&plane, &map->g, &map->files, dir, name, i);
		if (!kvs_pool_host.named(&plane))
			return false;
	}
	return true;
}

/* The segment may make no sense behind its head: it is written by file, not by map. */
static void mark_destroyed(int file)
{
	const uint32_t state = KVS_STORE_DESTROYED;

	if (pwrite(file, &state, sizeof(state), (off_t)offsetof(struct kvs_head, state)) != (ssize_t)sizeof(state))
		kvs_log(KVS_LOG_WARNING, "cannot mark the old store destroyed: %s", strerror(errno));
}

/* A file with a plane's name beside a store of which it may be one: what its bytes look like proves nothing. */
static int may_be_a_plane(const struct dead *dead)
{
	char stem[KVS_NAME_MAX + 1], path[KVS_PATH_SIZE];
	struct stat st;
	size_t length;
	int rc;

	if (!kvs_files_plane_name(dead->name, &length) || length == 0)
		return 0;
	memcpy(stem, dead->name, length);
	stem[length] = '\0';
	rc = kvs_files_path(path, dead->dir, stem, -1);
	if (rc || lstat(path, &st))
		return rc;
	return kvs_fault(EPROTO, "%s may be a plane of store '%s': remove that one first", dead->path, stem);
}

/* Takes the names away, under the owner's lock. */
static int take_away(struct dead *dead)
{
	struct stat st;
	int rc = may_be_a_plane(dead);

	if (rc)
		return rc;
	if (fstat(dead->file, &st) || !kvs_files_is(dead->path, st.st_dev, st.st_ino))
		return kvs_fault(ENOENT, "store '%s' was removed meanwhile", dead->name);
	if (dead->ours)
		rc = hide_planes(&dead->head.geometry, &dead->head.planes, dead->dir, dead->name);
	if (rc == 0)
		rc = kvs_pool_host.sweep(dead->dir, dead->name, KVS_SWEEP_OWNED);
	if (rc < 0)
		return rc;
	kvs_files_unlink_sockets(dead->dir, dead->name);
	if (dead->ours)
		mark_destroyed(dead->file);
	return kvs_files_unlink(dead->path, st.st_dev, st.st_ino);
}

static int open_dead(struct dead *dead, const char *name, const char *dir)
{
	dead->name = name;
	dead->dir = kvs_files_dir(dir);
	dead->file = -1;
	return kvs_segment_open_file(name, dead->dir, O_RDWR, &dead->file, dead->path);
}

/* Says who has it; that is not this process, which has the owner's lock perhaps. */
static int is_used(const struct dead *dead, const char *advice)
{
	char who[1024];

	(void)kvs_lock_drop(dead->file, KVS_LOCK_OWNER);
	kvs_users(dead->file, who, sizeof(who));
	return kvs_fault(EBUSY, "store '%s' is in use (%s): %s", dead->name, who, advice);
}

static int clear(struct dead *dead, bool replace_dead)
{
	int judged = kvs_segment_read_head(dead->file, dead->path, &dead->head);
	int rc;

	if (!kvs_segment_is_kin(dead->file))
		return judged;
	rc = kvs_lock_write(dead->file, KVS_LOCK_OWNER);
	if (rc == -EAGAIN)
		return kvs_fault(EEXIST,
				 "store '%s' is there already, with a living owner: choose another name, or end that "
				 "kvshmd",
				 dead->name);
	if (rc)
		return rc;
	if (!replace_dead)
		return judged == -EPROTO ? judged
					 : kvs_fault(EOWNERDEAD,
						     "store '%s' is there already, without a living owner (%s): go on "
						     "with it by --adopt, or make a new one by --replace-dead",
						     dead->name, dead->path);
	dead->ours = kvs_segment_is_ours(dead->file, &dead->head);
	if (!dead->ours)
		rc = kvs_lock_write_clients(dead->file);
	if (rc == -EAGAIN)
		return is_used(dead, "it is of another version of kvshm, or truncated, and can't tell them that it is "
				     "replaced: end them first");
	return rc ? rc : take_away(dead);
}

int kvs_segment_clear_name(const char *name, const char *dir, bool replace_dead)
{
	struct dead dead;
	int rc = open_dead(&dead, name, dir);

	if (rc == 0) {
		rc = clear(&dead, replace_dead);
		kvs_lock_close(dead.file);
	}
	return rc == -ENOENT ? 0 : rc;
}

/* -EBUSY without a text: somebody has it. */
static int unlink_opened(struct dead *dead)
{
	int rc;

	if (!kvs_segment_is_kin(dead->file))
		return kvs_fault(EPROTO, "%s is no kvshm segment (its first bytes are others): look what it is",
				 dead->path);
	rc = kvs_lock_write(dead->file, KVS_LOCK_OWNER);
	if (rc == 0)
		rc = kvs_lock_write_clients(dead->file);
	if (rc)
		return rc == -EAGAIN ? -EBUSY : rc;
	dead->ours = kvs_segment_is_ours(dead->file, &dead->head);
	return take_away(dead);
}

static int no_store(const struct dead *dead)
{
	return kvs_fault(ENOENT, "there is no store '%s' in %s", dead->name, dead->dir);
}

static int unlink_store(const char *name, const char *dir, bool tell)
{
	struct dead dead;
	int rc = open_dead(&dead, name, dir);

	if (rc == -ENOENT) {
		int removed = kvs_pool_host.sweep(dead.dir, name, KVS_SWEEP_ORPHANS);

		if (removed > 0)
			return 0;
		/* None, or those of a maker who is at work: there is no store yet. */
		return removed == 0 || removed == -EEXIST ? no_store(&dead) : removed;
	}
	if (rc)
		return rc;
	rc = unlink_opened(&dead);
	if (rc == -EBUSY && tell)
		rc = is_used(&dead, "end them first; SIGTERM to its kvshmd removes the store");
	kvs_lock_close(dead.file);
	return rc;
}

int kvs_segment_unlink(const char *name, const char *dir)
{
	return unlink_store(name, dir, true);
}

int kvs_segment_unlink_dead(const char *name, const char *dir)
{
	return unlink_store(name, dir, false);
}
