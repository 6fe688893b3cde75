/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_parts.c: sockets, their names, and the message with the planes' descriptors. See share_parts.h.
 * (tests/model/asks.pml)
 */
#include "config.h"

#include "share_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"

#define MAGIC "kvshmfds"
#define BACKLOG 4096 /* the kernel makes less of it (net.core.somaxconn): who finds no place there tries again */

/* SOCK_SEQPACKET: it comes whole, or not at all. */
struct message {
	char magic[8];
	uint64_t incarnation;
	uint32_t planes;
	uint32_t reserved;
};

/* Behind it: a descriptor for each plane. */
union control {
	char bytes[CMSG_SPACE(sizeof(int) * KVS_PLANES_MAX)];
	struct cmsghdr align;
};

/* Puts a descriptor that this call has opened into kvs_kept, where no fork() comes between. open() returns it, or a
 * negative errno. */
static int open_kept(int (*open_it)(const void *arg), const void *arg, int *fd)
{
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	rc = open_it(arg);
	if (rc >= 0)
		kvs_kept_add(rc);
	kvs_kept_end();
	if (rc < 0)
		return rc;
	*fd = rc;
	return 0;
}

static int open_dir(const void *dir)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_socket(const void *unused)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)unused;
	return fd < 0 ? -errno : fd;
}

static int open_spare(const void *unused)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)unused;
	return fd < 0 ? -errno : fd;
}

static int accept_next(const void *listener)
{
	int fd = accept4(((const struct kvg_listener *)listener)->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kvg_place_open(struct kvg_place *place, const char *dir, const char *name, enum kvs_socket which)
{
	char parent[32], path[KVS_PATH_SIZE];
	int rc = open_kept(open_dir, dir, &place->dir);

	if (rc)
		return kvs_fault(-rc, "cannot open %s: %s", dir, strerror(-rc));
	(void)snprintf(parent, sizeof(parent), "/proc/self/fd/%d", place->dir);
	rc = kvs_files_socket(path, parent, name, which);
	place->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (rc == 0 && strlen(path) >= sizeof(place->address.sun_path))
		rc = kvs_fault(ENAMETOOLONG, "the path of the socket of store '%s' is too long", name);
	if (rc) {
		kvg_place_close(place);
		return rc;
	}
	memcpy(place->address.sun_path, path, strlen(path) + 1);
	return 0;
}

void kvg_place_close(struct kvg_place *place)
{
	kvs_kept_close(place->dir);
}

/* ---- Listening -------------------------------------------------------------------------------------------- */

/* What a dead owner, or an adopter that died while it asked, has left. The path leads through /proc: it is called by
 * what it is. */
static int clear_place(const struct kvg_place *place)
{
	const char *path = place->address.sun_path, *leaf = strrchr(path, '/') + 1;
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : kvs_fault(errno, "cannot look at %s, the socket of the store: %s", leaf,
						   strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return kvs_fault(EEXIST,
				 "%s, beside the store's segment, is no socket, and is in the way of one: remove it",
				 leaf);
	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	return kvs_fault(errno,
			 "cannot remove %s, which a dead owner of the store has left: %s (run as its owner, or "
			 "root)",
			 leaf, strerror(errno));
}

/* Who may open the segment may connect. A store that root adopts for another stays the other's. */
static int set_access(const char *path, const struct kvs_map *map, const struct kvs_files_access *access)
{
	struct stat segment, own;

	if (fstat(map->fd, &segment) || lstat(path, &own))
		return -errno;
	if (access->group != KVS_GROUP_OWN && own.st_gid != (gid_t)access->group &&
	    lchown(path, (uid_t)-1, (gid_t)access->group))
		return -errno;
	/* Who is not root can't, and need not: it has opened the segment by its group's, or others', permission, and
	 * so can they. */
	if (own.st_uid != segment.st_uid && lchown(path, segment.st_uid, (gid_t)-1) && errno != EPERM)
		return -errno;
	return chmod(path, (mode_t)access->mode) ? -errno : 0;
}

/* Between bind() and listen() connecting is refused: so the name has its permissions before anyone can. */
static int bind_and_listen(struct kvg_listener *listener, const struct kvs_map *map,
			   const struct kvs_files_access *access)
{
	const char *path = listener->place.address.sun_path;
	struct stat st;
	int rc;

	if (bind(listener->fd, (const void *)&listener->place.address, sizeof(listener->place.address)))
		return -errno;
	if (lstat(path, &st))
		return -errno;
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	rc = set_access(path, map, access);
	if (rc == 0 && listen(listener->fd, BACKLOG))
		rc = -errno;
	if (rc)
		(void)kvs_files_unlink(path, listener->device, listener->inode);
	return rc;
}

int kvg_listen(struct kvg_listener *listener, const char *dir, const char *name, enum kvs_socket which,
	       const struct kvs_map *map, const struct kvs_files_access *access)
{
	int rc = kvg_place_open(&listener->place, dir, name, which);

	if (rc)
		return rc;
	rc = clear_place(&listener->place);
	if (rc)
		goto close_place;
	rc = open_kept(open_socket, NULL, &listener->fd);
	if (rc)
		goto tell;
	rc = open_kept(open_spare, NULL, &listener->spare);
	if (rc)
		goto close_socket;
	rc = bind_and_listen(listener, map, access);
	if (rc == 0)
		return 0;
	kvs_kept_close(listener->spare);
close_socket:
	kvs_kept_close(listener->fd);
tell:
	rc = kvs_fault(-rc, "cannot listen at %s in %s, where clients of the store come for its planes: %s%s",
		       strrchr(listener->place.address.sun_path, '/') + 1, dir, strerror(-rc),
		       rc == -ENOENT ? " (is /proc mounted?)" : "");
close_place:
	kvg_place_close(&listener->place);
	return rc;
}

/* The name before the socket: as long as that is open, the inode is no other file's. */
void kvg_listen_end(struct kvg_listener *listener)
{
	(void)kvs_files_unlink(listener->place.address.sun_path, listener->device, listener->inode);
	if (listener->spare >= 0)
		kvs_kept_close(listener->spare);
	kvs_kept_close(listener->fd);
	kvg_place_close(&listener->place);
}

/* No descriptor is left, and who waits would stay: the socket would be readable for ever. */
static void send_away(struct kvg_listener *listener)
{
	int fd;

	if (listener->spare >= 0)
		kvs_kept_close(listener->spare);
	listener->spare = -1;
	if (open_kept(accept_next, listener, &fd) == 0)
		kvs_kept_close(fd);
	(void)open_kept(open_spare, NULL, &listener->spare);
}

int kvg_accept(struct kvg_listener *listener, int *fd)
{
	int rc;

	do
		rc = open_kept(accept_next, listener, fd);
	while (rc == -EINTR || rc == -ECONNABORTED);
	if (rc == -EMFILE || rc == -ENFILE)
		send_away(listener);
	return rc;
}

/* ---- The message ------------------------------------------------------------------------------------------ */

#define GROUPS_MAX 256 /* of more, only the first one counts: the listener's own */

/* Is the one at the other end of that group? */
static bool is_of_group(int fd, const struct ucred *who, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t size = sizeof(groups);
	bool found = who->gid == group;

	if (found || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
		return found;
	for (size_t i = 0; i < size / sizeof(groups[0]) && !found; i++)
		found = groups[i] == group;
	return found;
}

/* May who listens open the segment? The kernel has noted who called listen(). */
static int judge_listener(int fd, const struct kvs_map *map)
{
	struct ucred who;
	socklen_t size = sizeof(who);
	struct stat segment;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) || fstat(map->fd, &segment))
		return -errno;
	if (who.uid == 0 || who.uid == segment.st_uid || segment.st_mode & S_IWOTH)
		return 0;
	return segment.st_mode & S_IWGRP && is_of_group(fd, &who, segment.st_gid) ? 0 : -EPERM;
}

int kvg_connect(const struct kvg_place *place, const struct kvs_map *map, int *fd)
{
	int rc = open_kept(open_socket, NULL, fd);

	if (rc)
		return rc;
	if (connect(*fd, (const void *)&place->address, sizeof(place->address)))
		rc = -errno;
	else
		rc = judge_listener(*fd, map);
	if (rc)
		kvs_kept_close(*fd);
	return rc;
}

int kvg_send(int fd, const struct kvs_map *map, const int *fds)
{
	struct message message = {.incarnation = map->g.incarnation, .planes = map->g.planes};
	const size_t size = map->g.planes * sizeof(*fds);
	union control control = {.bytes = {0}};
	struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};
	struct msghdr header = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

	memcpy(message.magic, MAGIC, sizeof(message.magic));
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(rights), fds, size);
	return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* All descriptors that came, whatever they are. */
static unsigned take_all(struct msghdr *header, int fds[KVS_PLANES_MAX])
{
	unsigned count = 0;

	for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one; one = CMSG_NXTHDR(header, one)) {
		size_t size = one->cmsg_len - CMSG_LEN(0);

		if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&fds[count], CMSG_DATA(one), size); /* the buffer has room for no more than fds has */
		count += (unsigned)(size / sizeof(*fds));
	}
	return count;
}

static int judge(const struct kvs_map *map, const struct message *message, ssize_t got, int flags, unsigned count)
{
	if (got == 0 && count == 0)
		return -ENODATA;
	if (got != (ssize_t)sizeof(*message) || memcmp(message->magic, MAGIC, sizeof(message->magic)) != 0)
		return -EPROTO;
	if (message->incarnation != map->g.incarnation)
		return -ESTALE;
	if (message->planes == map->g.planes && count < message->planes && flags & MSG_CTRUNC)
		return kvs_fault(EMFILE,
				 "the descriptors of the %u planes can't all be received: let this process open more "
				 "files (ulimit -n), and ask the security module (SELinux), if there is one",
				 map->g.planes);
	return message->planes != map->g.planes || count != message->planes || flags & (MSG_CTRUNC | MSG_TRUNC)
		       ? -EPROTO
		       : 0;
}

/* A program that has closed its standard streams would print into them. */
static int above_standard(int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int higher;

		if (fds[i] > STDERR_FILENO)
			continue;
		higher = fcntl(fds[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		if (higher < 0)
			return kvs_fault(errno, "no descriptor for the planes: %s", strerror(errno));
		(void)close(fds[i]);
		fds[i] = higher;
	}
	return 0;
}

/* Without a fork() in between. */
static int receive(int fd, const struct kvs_map *map, int fds[KVS_PLANES_MAX])
{
	struct message message = {.incarnation = 0};
	union control control = {.bytes = {0}};
	struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};
	struct msghdr header = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
	ssize_t got;
	unsigned count;
	int rc;

	do
		got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? -EAGAIN : -ENODATA;
	count = take_all(&header, fds);
	rc = judge(map, &message, got, header.msg_flags, count);
	if (rc == 0)
		rc = above_standard(fds, count);
	for (unsigned i = 0; i < count; i++) {
		if (rc)
			(void)close(fds[i]);
		else
			kvs_kept_add(fds[i]);
	}
	return rc;
}

int kvg_receive(int fd, const struct kvs_map *map, int fds[KVS_PLANES_MAX])
{
	int rc = kvs_kept_begin(KVS_PLANES_MAX);

	if (rc)
		return rc;
	rc = receive(fd, map, fds);
	kvs_kept_end();
	return rc;
}
