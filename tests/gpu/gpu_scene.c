/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * gpu_scene.c: see gpu_scene.h.
 */
#include "config.h"

#include "gpu_scene.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

struct kvshm_create_options gpu_options(const char *pool, enum kvshm_export export)
{
	struct kvshm_create_options options = unit_options(GPU_BLOCKS);

	options.pool = pool;
	options.gpu_export = export;
	return options;
}

kvshm_store *gpu_make(const char *pool)
{
	const struct kvshm_create_options options = gpu_options(pool, KVSHM_EXPORT_FD);

	return unit_make(&options);
}

/* ---- The owner ---- */

static int stop[2];

static void *serve(void *arg)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.fd = stop[0], .events = POLLIN}};

	ck_rc(kvshm_owner_fd(unit_owner, &fds[0].fd), 0);
	while (!fds[1].revents) {
		ck_assert(poll(fds, 2, -1) > 0 || errno == EINTR);
		ck_rc(kvshm_owner_recover(unit_owner, NULL), 0);
	}
	return arg;
}

static void own(void *arg)
{
	const struct gpu_wish *wish = arg;
	const struct kvshm_create_options options = gpu_options(wish->pool, wish->export);
	pthread_t thread;

	ck_assert_int_eq(pipe(stop), 0);
	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
	unit_tell_parent();
	unit_await_parent();
	ck_assert_int_eq(write(stop[1], "", 1), 1);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_rc(kvshm_destroy(unit_owner), 0);
	gpu_nothing_left();
}

void gpu_owner(struct child *owner, const struct gpu_wish *wish)
{
	unit_child(owner, own, (void *)wish);
	unit_await(owner);
}

void gpu_owner_end(const struct child *owner)
{
	unit_tell(owner);
	unit_join(owner);
}

/* ---- Bytes ---- */

void gpu_write_plane(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane)
{
	uint64_t size = store->map.g.block_size;
	uint8_t bytes[4096];

	ck_assert_uint_le(size, sizeof(bytes));
	unit_bytes(number, plane, bytes, size);
	ck_rc(kvshm_write(store, held, plane, 0, bytes, size), 0);
}

void gpu_write(kvshm_store *store, const struct kvshm_handle *held, uint64_t number)
{
	for (unsigned plane = 0; plane < store->map.g.planes; plane++)
		gpu_write_plane(store, held, number, plane);
}

void gpu_verify(kvshm_store *store, const struct kvshm_handle *held, uint64_t number)
{
	uint64_t size = store->map.g.block_size;
	uint8_t bytes[4096], wanted[4096];

	ck_assert_uint_le(size, sizeof(bytes));
	for (unsigned plane = 0; plane < store->map.g.planes; plane++) {
		unit_bytes(number, plane, wanted, size);
		memset(bytes, 0, size);
		ck_rc(kvshm_read(store, held, plane, 0, bytes, size), 0);
		ck_assert_mem_eq(bytes, wanted, size);
	}
}

void gpu_put(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle = unit_begin(store, number);

	gpu_write(store, &handle, number);
	ck_rc(kvshm_publish(store, &handle, NULL), 0);
	ck_rc(kvshm_release(store, &handle), 0);
}

void gpu_check(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle ref;

	ck_rc(unit_get(store, number, &ref), 0);
	gpu_verify(store, &ref, number);
	ck_rc(kvshm_release(store, &ref), 0);
}

/* ---- What is left ---- */

void gpu_nothing_left(void)
{
	ck_assert_str_eq(standin_leaks_text(), "nothing");
	ck_assert_uint_eq(standin_context_depth(), 0);
}

void gpu_all_is_free(void)
{
	ck_assert_uint_eq(standin_bytes_used(0), 0);
	ck_assert_uint_eq(standin_bytes_used(1), 0);
}
