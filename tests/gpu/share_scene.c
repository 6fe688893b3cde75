/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_scene.c: stores for the tests of gpu/share.h. See share_scene.h.
 */
#include "config.h"

#include "share_scene.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "kept.h"
#include "segment.h"

static int make_planes(void *arg, const struct kvs_geometry *geometry, struct kvs_plane_files *planes)
{
	struct scene *scene = arg;

	planes->memory = KVS_MEMORY_CUDA;
	planes->export = KVS_EXPORT_FD;
	planes->page = 4096;
	ck_rc(kvs_kept_begin(geometry->planes), 0);
	for (uint32_t i = 0; i < geometry->planes; i++) {
		scene->fds[i] = memfd_create("plane", MFD_CLOEXEC);
		ck_assert_int_ge(scene->fds[i], 0);
		ck_assert_int_eq(pwrite(scene->fds[i], &i, sizeof(i), 0), sizeof(i));
		kvs_kept_add(scene->fds[i]);
	}
	kvs_kept_end();
	return 0;
}

void scene_make(struct scene *scene, const char *dir)
{
	const struct kvs_segment_options options = {
		.dir = dir,
		.shape = {.block_size = 512,
			  .blocks = 8,
			  .planes = SCENE_PLANES,
			  .key_max = 64,
			  .clients = 64,
			  .requests = 4},
		.access = {.mode = 0600, .group = KVS_GROUP_OWN},
		.node = -1,
		.planes = make_planes,
		.planes_arg = scene,
	};

	*scene = (struct scene){.dir = dir};
	ck_rc(kvs_segment_create(unit_name(), &options, &scene->map), 0);
}

struct kvs_files_access scene_access(const struct scene *scene)
{
	struct stat st;

	ck_assert_int_eq(fstat(scene->map.fd, &st), 0);
	return (struct kvs_files_access){.mode = st.st_mode & 0777, .group = st.st_gid};
}

void scene_share(struct scene *scene)
{
	const struct kvs_files_access access = scene_access(scene);

	ck_rc(kvg_share_open(kvs_files_dir(scene->dir), unit_name(), &scene->map, &access, scene->fds, &scene->share),
	      0);
}

void scene_adopt(struct scene *scene, const char *dir)
{
	*scene = (struct scene){.dir = dir};
	ck_rc(kvs_segment_adopt(unit_name(), dir, &scene->map), 0);
}

void scene_close(struct scene *scene)
{
	kvg_share_close(scene->share);
	for (uint32_t i = 0; i < SCENE_PLANES; i++)
		if (scene->fds[i] > 0)
			kvs_kept_close(scene->fds[i]);
	kvs_map_close(&scene->map);
	*scene = (struct scene){.dir = NULL};
}

void scene_destroy(struct scene *scene)
{
	kvs_segment_destroy(unit_name(), scene->dir, &scene->map);
	scene_close(scene);
}

void scene_attach(struct scene *scene, const char *dir)
{
	*scene = (struct scene){.dir = dir};
	ck_rc(kvs_segment_open(unit_name(), dir, NULL, &scene->map), 0);
	ck_rc(kvs_client_attach(&scene->map, "client", &scene->slot), 0);
}

void scene_detach(struct scene *scene)
{
	kvs_client_leave(&scene->map, scene->slot);
	scene_close(scene);
}

void scene_own(void *arg)
{
	struct scene scene;

	scene_make(&scene, arg);
	scene_share(&scene);
	unit_tell_parent();
	for (;;) {
		struct pollfd waits = {.fd = kvg_share_fd(scene.share), .events = POLLIN};

		(void)poll(&waits, 1, -1);
		kvg_share_work(scene.share);
	}
}

void scene_owner(struct child *child, const char *dir)
{
	unit_child(child, scene_own, (void *)dir);
	unit_await(child);
}

void scene_serve(struct scene *scene, const struct child *child)
{
	struct pollfd waits[] = {{.fd = kvg_share_fd(scene->share), .events = POLLIN},
				 {.fd = child->in, .events = POLLIN}};

	do {
		ck_assert_int_gt(poll(waits, 2, -1), 0);
		kvg_share_work(scene->share);
	} while (!waits[1].revents);
	unit_await(child);
}

void scene_check(int fds[KVS_PLANES_MAX])
{
	for (uint32_t i = 0; i < SCENE_PLANES; i++) {
		uint32_t number = ~i;

		ck_assert_int_gt(fds[i], STDERR_FILENO);
		ck_assert_int_eq(pread(fds[i], &number, sizeof(number), 0), sizeof(number));
		ck_assert_uint_eq(number, i);
		kvs_kept_close(fds[i]);
	}
}

unsigned scene_count_fds(void)
{
	DIR *stream = opendir("/proc/self/fd");
	unsigned count = 0;

	ck_assert_ptr_nonnull(stream);
	while (readdir(stream))
		count++;
	(void)closedir(stream);
	return count - 3; /* ".", "..", and the stream's own */
}

static rlim_t before;

void scene_limit_fds(unsigned more)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	before = limit.rlim_cur;
	limit.rlim_cur = 0; /* it is of their numbers: those that are free below it count */
	while (fcntl((int)limit.rlim_cur, F_GETFD) >= 0 || more--)
		limit.rlim_cur++;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void scene_unlimit_fds(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = before;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

bool scene_socket_is_there(const char *dir, enum kvs_socket which)
{
	char path[KVS_PATH_SIZE];
	struct stat st;

	ck_rc(kvs_files_socket(path, kvs_files_dir(dir), unit_name(), which), 0);
	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}
