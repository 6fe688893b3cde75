/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_scene.h: a store whose planes are handed out as descriptors, as gpu/share.h sees it: without a GPU and without
 * a driver, since what goes over the sockets is descriptors of whatever there is. Here that is memory files, each with
 * a number in it.
 *
 * A test has one map at a time that the fixture does not know of: in the process that it runs in.
 */
#ifndef SHARE_SCENE_H
#define SHARE_SCENE_H

#include "fixture.h"
#include "share_parts.h"

#define SCENE_PLANES 3
#define SCENE_HOUR UINT64_C(3600000000000) /* ns: what does not come at once runs into the test's time limit */
#define SCENE_SHORT UINT64_C(20000000)

/* A process's side of the store. */
struct scene {
	const char *dir;
	struct kvs_map map;
	struct kvg_share *share;
	int fds[KVS_PLANES_MAX]; /* the owner's own */
	uint32_t slot;
};

/* Makes the store in that directory, with planes, and owns it; then hands them out (scene_share()). */
void scene_make(struct scene *scene, const char *dir);
void scene_share(struct scene *scene);
struct kvs_files_access scene_access(const struct scene *scene);
/* Adopts the store, with the descriptors still to come. */
void scene_adopt(struct scene *scene, const char *dir);
/* Ends what the process has of it: the store goes with its owner. */
void scene_destroy(struct scene *scene);
void scene_close(struct scene *scene);

/* A client: opens the store, and has a slot. */
void scene_attach(struct scene *scene, const char *dir);
void scene_detach(struct scene *scene);

/* In a child: makes the store, tells the parent, and hands out planes until it is killed. arg: the directory. */
void scene_own(void *arg);
/* Starts one and waits until it is there. */
void scene_owner(struct child *child, const char *dir);
/* Hands out until the child that is attached at the other end of the pipe tells. */
void scene_serve(struct scene *scene, const struct child *child);

/* Are these the planes? Then they are closed. */
void scene_check(int fds[KVS_PLANES_MAX]);

/* How many descriptors this process has. */
unsigned scene_count_fds(void);
/* From now on this process may have so many more. */
void scene_limit_fds(unsigned more);
void scene_unlimit_fds(void);

/* Is there a socket's name, and of whom? */
bool scene_socket_is_there(const char *dir, enum kvs_socket which);

#endif
