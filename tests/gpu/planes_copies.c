/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes_copies: who may read and write blocks by copies, and where, in memory of both kinds; host planes that are
 * registered with the driver; and what network cards need of planes in GPU memory.
 */
#include "config.h"

#include "gpu_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attached.h"
#include "kept.h"

/* Two planes, in host memory or on a GPU. */
static kvshm_store *make(bool gpu)
{
	return gpu ? gpu_make("cuda:0,cuda:0") : unit_planes(2);
}

static int write_one(kvshm_store *store, const struct kvshm_handle *held, unsigned plane)
{
	return kvshm_write(store, held, plane, 0, "x", 1);
}

static int read_one(kvshm_store *store, const struct kvshm_handle *held, unsigned plane)
{
	char byte;

	return kvshm_read(store, held, plane, 0, &byte, 1);
}

/* ---- Who may ----------------------------------------------------------------------------------------------- */

START_TEST(a_fill_is_written_and_then_read)
{
	kvshm_store *store = make(_i), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill, ref = unit_pending(other, 1);

	gpu_write(store, &fill, 1);
	gpu_verify(store, &fill, 1); /* its own */
	ck_rc(read_one(other, &ref, 0), -EAGAIN);
	ck_rc(write_one(other, &ref, 0), -EBADF);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(write_one(store, &fill, 0), -EBADF);
	ck_rc(write_one(store, &copy, 0), -EBADF); /* it was one */
	gpu_verify(store, &fill, 1);
	gpu_verify(other, &ref, 1);
	ck_rc(unit_remove(other, 1), 0);
	gpu_verify(other, &ref, 1); /* as long as it is held */
	ck_rc(kvshm_release(store, &fill), 0);
	ck_rc(read_one(store, &fill, 0), -EBADF);
	ck_rc(kvshm_release(other, &ref), 0);
	ck_rc(read_one(store, &copy, 0), -EBADF);
}
END_TEST

START_TEST(a_fill_that_failed_has_no_bytes)
{
	kvshm_store *store = make(_i), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_pending(other, 1);

	gpu_write(store, &fill, 1);
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_rc(read_one(other, &ref, 0), -ECANCELED);
	ck_rc(kvshm_release(other, &ref), 0);
}
END_TEST

START_TEST(a_block_without_a_key_is_its_owners)
{
	kvshm_store *store = make(_i);
	enum kvshm_published published;
	struct kvshm_handle owned, copy;

	ck_rc(kvshm_alloc(store, &owned), 0);
	gpu_write(store, &owned, 1);
	gpu_verify(store, &owned, 1);
	copy = owned;
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_rc(write_one(store, &copy, 0), -EBADF);
	gpu_verify(store, &owned, 1);
}
END_TEST

START_TEST(a_part_is_written_in_its_plane)
{
	kvshm_store *store = make(_i), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), parts[2];
	const struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned plane = 0; plane < 2; plane++)
		parts[plane] = unit_part(other, &ticket, plane);
	ck_rc(write_one(other, &parts[0], 1), -EBADF);
	ck_rc(read_one(other, &parts[0], 1), -EAGAIN);
	for (unsigned plane = 0; plane < 2; plane++) {
		gpu_write_plane(other, &parts[plane], 1, plane);
		ck_rc(read_one(other, &parts[plane], plane), 0);
		ck_rc(kvshm_publish(other, &parts[plane], NULL), 0);
		ck_rc(write_one(other, &parts[plane], plane), -EBADF);
		ck_rc(read_one(other, &parts[plane], plane), -EAGAIN);
	}
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	gpu_verify(other, &parts[1], 1);
}
END_TEST

/* ---- Where ------------------------------------------------------------------------------------------------- */

START_TEST(bounds_of_a_block)
{
	kvshm_store *store = make(_i);
	uint64_t size = store->map.g.block_size;
	struct kvshm_handle owned, none = {.kind = KVSHM_NONE};
	char bytes[4];

	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(kvshm_write(store, &owned, 0, size - 3, "abc", 3), 0);
	ck_rc(kvshm_read(store, &owned, 0, size - 3, bytes, 3), 0);
	ck_assert_mem_eq(bytes, "abc", 3);
	ck_rc(kvshm_write(store, &owned, 0, size, NULL, 0), 0);
	ck_rc(kvshm_read(store, &owned, 0, size, NULL, 0), 0);
	ck_rc(kvshm_write(store, &owned, 0, size - 3, "abcd", 4), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 0, size - 3, bytes, 4), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 0, size + 1, bytes, 0), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 0, UINT64_MAX, bytes, 2), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 0, 2, bytes, UINT64_MAX), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 2, 0, bytes, 1), -EINVAL);
	ck_rc(kvshm_write(store, &owned, 2, 0, bytes, 1), -EINVAL);
	ck_rc(kvshm_read(store, &owned, 0, 0, NULL, 1), -EINVAL);
	ck_rc(kvshm_write(store, &owned, 0, 0, NULL, 1), -EINVAL);
	ck_rc(kvshm_read(store, &none, 0, 0, bytes, 1), -EBADF);
	ck_rc(kvshm_write(store, &none, 0, 0, bytes, 1), -EBADF);
	ck_rc(kvshm_read(store, NULL, 0, 0, bytes, 1), -EINVAL);
	ck_rc(kvshm_read(NULL, &owned, 0, 0, bytes, 1), -EINVAL);
	ck_rc(kvshm_write(NULL, &owned, 0, 0, bytes, 1), -EINVAL);
}
END_TEST

/* ---- Host planes that are registered ----------------------------------------------------------------------- */

START_TEST(a_host_plane_is_registered_once)
{
	kvshm_store *store = unit_planes(2);
	struct kvs_client *client = &store->map.clients[store->slot];
	struct standin_leaks left;

	ck_assert(!kvg_attached_is_registered(store->gpu, 1));
	for (int i = 0; i < 3; i++)
		ck_rc(kvshm_register_plane(store, 1), 0);
	ck_assert(!kvg_attached_is_registered(store->gpu, 0));
	ck_assert(kvg_attached_is_registered(store->gpu, 1));
	ck_assert_uint_eq(atomic_load(&client->dma), KVS_DMA_DOES);
	(void)standin_leaks(&left);
	ck_assert_uint_eq(left.registered, 1);
	ck_assert_uint_eq(standin_calls_of("cuMemHostRegister_v2"), 1);
	ck_rc(kvshm_register_plane(store, 2), -EINVAL);
	unit_detach(store);
	gpu_nothing_left();
}
END_TEST

/* The program's context is used; one that it destroys takes the registration along. */
START_TEST(registered_in_the_callers_context)
{
	kvshm_store *store = unit_planes(1);
	kvg_context context;

	ck_assert_int_eq(cu_init(0), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 1), 0);
	ck_rc(kvshm_register_plane(store, 0), 0);
	ck_assert_uint_eq(standin_context_references(0) + standin_context_references(1), 0);
	if (_i)
		ck_assert_int_eq(cu_context_destroy(context), 0);
	unit_detach(store);
	if (!_i) {
		ck_assert_uint_eq(standin_context_depth(), 1);
		ck_assert_int_eq(cu_context_destroy(context), 0);
		gpu_nothing_left();
	}
}
END_TEST

START_TEST(memory_that_the_program_has_registered)
{
	kvshm_store *store = unit_planes(1);
	kvg_context context;

	ck_assert_int_eq(cu_init(0), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	ck_assert_int_eq(cu_host_register(store->map.planes[0], store->map.plane_size, 0), 0);
	ck_rc(kvshm_register_plane(store, 0), -EEXIST);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "registered that memory itself"));
	ck_assert_int_eq(cu_host_unregister(store->map.planes[0]), 0);
	ck_rc(kvshm_register_plane(store, 0), 0);
}
END_TEST

START_TEST(GPU_memory_needs_no_registering)
{
	ck_rc(kvshm_register_plane(gpu_make("cuda:0"), 0), -EALREADY);
}
END_TEST

/* ---- Network cards ----------------------------------------------------------------------------------------- */

START_TEST(a_dma_buf_is_of_the_planes_bytes)
{
	kvshm_store *store = gpu_make("cuda:0,cuda:1");
	int fd;

	ck_rc(kvg_attached_dma_buf(store->gpu, 1, &fd), 0);
	ck_assert_int_gt(fd, 2);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_uint_eq(atomic_load(&store->map.clients[store->slot].planes), 2);
}
END_TEST

static _Atomic pid_t getter;

static void *get_dma_buf(void *arg)
{
	kvshm_store *store = arg;
	int fd;

	atomic_store(&getter, gettid());
	ck_rc(kvg_attached_dma_buf(store->gpu, 0, &fd), 0);
	(void)close(fd);
	return NULL;
}

/* As the kernel says it of a thread: it waits. */
static void await_sleep(pid_t thread)
{
	char path[64], line[256] = "";

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
	while (!strstr(line, ") S ")) {
		FILE *file = fopen(path, "r");

		ck_assert_ptr_nonnull(file);
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		(void)fclose(file);
		(void)sched_yield();
	}
}

/* The driver may take long, in another thread, and may itself fork. */
START_TEST(who_waits_for_a_dma_buf_keeps_nobody_from_fork)
{
	kvshm_store *store = gpu_make("cuda:0");
	kvg_pointer base;
	pthread_t thread;

	ck_rc(kvg_attached_map(store->gpu, 0, &base), 0);
	ck_assert_int_eq(pthread_mutex_lock(&store->gpu->lock), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, get_dma_buf, store), 0);
	while (!atomic_load(&getter))
		(void)sched_yield();
	await_sleep(atomic_load(&getter));
	ck_rc(kvs_kept_begin(1), 0); /* as fork() does */
	kvs_kept_end();
	ck_assert_int_eq(pthread_mutex_unlock(&store->gpu->lock), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* Each GPU once, of those whose planes are mapped. */
START_TEST(flushes_reach_each_GPU)
{
	kvshm_store *store = gpu_make("cuda:0,cuda:1,cuda:0");
	struct kvshm_plane_info info;

	ck_rc(kvg_attached_flush(store->gpu), 0);
	ck_assert_uint_eq(standin_flushes(), 0);
	ck_rc(kvshm_get_plane_info(store, 2, &info), 0);
	ck_rc(kvg_attached_flush(store->gpu), 0);
	ck_assert_uint_eq(standin_flushes(), 1);
	for (unsigned plane = 0; plane < 2; plane++)
		ck_rc(kvshm_get_plane_info(store, plane, &info), 0);
	ck_rc(kvg_attached_flush(store->gpu), 0);
	ck_assert_uint_eq(standin_flushes(), 3);
	unit_detach(store);
	ck_rc(kvg_attached_flush(unit_attach()->gpu), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_host_plane_is_registered_once, memory_that_the_program_has_registered,
		GPU_memory_needs_no_registering, a_dma_buf_is_of_the_planes_bytes,
		who_waits_for_a_dma_buf_keeps_nobody_from_fork, flushes_reach_each_GPU,
	};
	const struct unit_loop loops[] = {
		{a_fill_is_written_and_then_read, 2},
		{a_fill_that_failed_has_no_bytes, 2},
		{a_block_without_a_key_is_its_owners, 2},
		{a_part_is_written_in_its_plane, 2},
		{bounds_of_a_block, 2},
		{registered_in_the_callers_context, 2},
		{NULL, 0},
	};

	return unit_run_loops("planes_copies", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
