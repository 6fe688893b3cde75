/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * files.h: the files that a store consists of: their names, and how they appear whole.
 *
 * Guarantees: a file is made without a name (O_TMPFILE), so that whoever dies while making it leaves nothing; a name is
 * taken away only while it is known to be the right inode's.
 */
#ifndef KVS_FILES_H
#define KVS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define KVS_PATH_SIZE 4096

/* Is it a store's name: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot? 0 or -EINVAL. */
int kvs_files_check_name(const char *name);

/* dir, or $KVSHM_DIR, or /dev/shm. */
const char *kvs_files_dir(const char *dir);

/* The path of a store's segment, or of its plane (plane >= 0). 0 or -ENAMETOOLONG. */
int kvs_files_path(char path[KVS_PATH_SIZE], const char *dir, const char *name, int plane);

/* The sockets of a store whose planes are handed out as descriptors (gpu/share.h): where the owner gives, and where one
 * who becomes it asks. Their names are no store's segment's, whatever stores are called. They are made, and taken away,
 * under the owner's lock only. */
enum kvs_socket { KVS_SOCKET_GIVES = 0, KVS_SOCKET_ASKS = 1 };
int kvs_files_socket(char path[KVS_PATH_SIZE], const char *dir, const char *name, enum kvs_socket which);
void kvs_files_unlink_sockets(const char *dir, const char *name);

/* How a store's files are made: permission bits whatever the umask is, and group; KVS_GROUP_OWN: the process's. */
#define KVS_GROUP_OWN (-1)
struct kvs_files_access {
	uint32_t mode;
	int64_t group;
};

/* Does a name end as a plane's, in ".p0" to ".p31"? *stem: how long what comes before that is. */
bool kvs_files_plane_name(const char *name, size_t *stem);

/* Makes a nameless file of that size, with no memory yet. */
int kvs_files_make(const char *dir, const struct kvs_files_access *access, uint64_t size, int *file);

/* Reserves some bytes of a file; 0 or an errno, which is not negative. A signal does not end it. */
int kvs_files_reserve(int file, uint64_t at, uint64_t bytes);

/* Gives it a name: -EEXIST if there is one. */
int kvs_files_link(int file, const char *path);

/* Does the path lead to this inode (of a file, or by its numbers)? */
bool kvs_files_is(const char *path, uint64_t device, uint64_t inode);

/* Takes a path's name away, if it leads to this inode; no such name is no fault. -EPERM and others with a text. */
int kvs_files_unlink(const char *path, uint64_t device, uint64_t inode);

/* Have the file system, and if that is memory this process's cgroup and the machine, room for so many bytes? 0, -ENOSPC
 * or -ENOMEM. */
int kvs_files_room(const char *dir, uint64_t bytes, const char *what);

#endif
