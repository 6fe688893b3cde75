/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_parts.h: what both sides of share.h's sockets are made of: their names, the one message, and who sends it.
 *
 * Guarantees: nothing here waits. Every descriptor that is open between two calls is in kvs_kept, and is close-on-exec:
 * a child of fork(), or of a program that is started, has none. What was received in vain is closed.
 */
#ifndef KVG_SHARE_PARTS_H
#define KVG_SHARE_PARTS_H

#include <sys/un.h>

#include "share.h"

/* A socket's name. Its directory is open, since sun_path has room for 107 characters, and directories have longer
 * names: the path goes through /proc/self/fd. */
struct kvg_place {
	int dir;
	struct sockaddr_un address;
};

int kvg_place_open(struct kvg_place *place, const char *dir, const char *name, enum kvs_socket which);
void kvg_place_close(struct kvg_place *place);

/* A socket that listens at a place, whose name is its own: what a dead one has left there is taken away. */
struct kvg_listener {
	struct kvg_place place;
	uint64_t device, inode; /* of its name */
	int fd;
	int spare; /* a descriptor that is given up to get rid of who connects while there is none left */
};

/* With the owner's lock held. Nobody can connect before the name has the permissions that the segment has. */
int kvg_listen(struct kvg_listener *listener, const char *dir, const char *name, enum kvs_socket which,
	       const struct kvs_map *map, const struct kvs_files_access *access);
/* Takes its name away, too, where it is still its own. */
void kvg_listen_end(struct kvg_listener *listener);

/* The next one that waits, in kvs_kept. -EAGAIN: nobody does. -EMFILE, -ENFILE: no descriptor is left, and who
 * waited longest has been sent away; other errors of accept(2). No texts. */
int kvg_accept(struct kvg_listener *listener, int *fd);

/* Connects, in kvs_kept. -ENOENT, -ECONNREFUSED: nobody listens there; -EAGAIN: too many wait already; -EPERM: who
 * listens may not open the segment, and so is no owner: a directory like /dev/shm lets any user take a name that is
 * free. Others. No texts. */
int kvg_connect(const struct kvg_place *place, const struct kvs_map *map, int *fd);

/* A negative errno, without a text. */
int kvg_send(int fd, const struct kvs_map *map, const int *fds);

/* One message. What comes is the caller's, in kvs_kept, and none of it is one of the standard streams.
 *   -EAGAIN  nothing is there yet    -ENODATA  the other end has gone    -EPROTO  it is no such message
 *   -ESTALE  it is of another store  -EMFILE  not all of it could be received
 * No texts, but of -EMFILE. */
int kvg_receive(int fd, const struct kvs_map *map, int fds[KVS_PLANES_MAX]);

/* For tests, which have less time: share.h's calls, with the time in ns that they wait at most. */
int kvg_share_fetch_for(const char *dir, const char *name, const struct kvs_map *map, int fds[KVS_PLANES_MAX],
			uint64_t time);
int kvg_share_ask_for(const char *dir, const char *name, const struct kvs_map *map,
		      const struct kvs_files_access *access, int fds[KVS_PLANES_MAX], uint64_t time);

#endif
