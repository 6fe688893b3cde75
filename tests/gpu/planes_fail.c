/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes_fail: each call of the driver's fails in its turn, in all that kvshm does with planes: the error is told, the
 * driver has nothing left of it, nor has a device memory in use, and the next attempt succeeds.
 */
#include "config.h"

#include "gpu_scene.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "attached.h"

/* What is done, and undone where it succeeded. */
struct work {
	int (*doing)(void);
	void (*undo)(void);
};

static kvshm_store *store;
static struct standin_leaks before;
static size_t used;

static void remember(void)
{
	(void)standin_leaks(&before);
	used = standin_bytes_used(0);
}

/* What can't be given back, since its context can't be entered, goes with the context. */
static void as_before(const char *failed)
{
	struct standin_leaks now;

	(void)standin_leaks(&now);
	if (strcmp(failed, "cuCtxPushCurrent_v2") == 0 || strcmp(failed, "cuThreadExchangeStreamCaptureMode") == 0)
		before.abandoned = now.abandoned;
	ck_assert_msg(memcmp(&now, &before, sizeof(now)) == 0, "%s has failed, and left: %s", failed,
		      standin_leaks_text());
	ck_assert_msg(standin_bytes_used(0) == used, "%s has failed: %zu bytes in use, not %zu", failed,
		      standin_bytes_used(0), used);
	ck_assert_msg(standin_context_depth() == 0, "%s has failed, and left a context current", failed);
}

/* Each of its calls fails once. The text says which error that was, and what to do. A call whose failure nobody minds
 * (of the attributes that are but asked for) lets it succeed. How many failed. */
static unsigned fail_each(const struct work *work)
{
	unsigned failures = 0;

	remember();
	for (unsigned k = 1;; k++) {
		const char *failed;
		int rc;

		standin_fail_call(k, KVG_UNKNOWN);
		rc = work->doing();
		failed = standin_failed();
		standin_calm();
		if (!failed) {
			ck_rc(rc, 0);
			break;
		}
		if (rc) {
			ck_assert_msg(rc == -EIO, "%s has failed: %d, %s", failed, rc, kvshm_error());
			ck_assert_msg(strstr(kvshm_error(), "CUDA_ERROR_UNKNOWN"), "%s: %s", failed, kvshm_error());
			failures++;
		} else {
			work->undo();
		}
		as_before(failed);
	}
	work->undo();
	as_before("nothing");
	return failures;
}

/* ---- Making a store ---------------------------------------------------------------------------------------- */

static enum kvshm_export export;

static int create(void)
{
	struct kvshm_create_options options = gpu_options("cuda:0,cuda:0", export);
	int rc = kvshm_create(unit_name(), &options, &unit_owner);

	ck_assert_int_eq(access(unit_path(-1), F_OK) == 0, rc == 0);
	return rc;
}

static void destroy(void)
{
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	ck_assert_int_ne(access(unit_path(-1), F_OK), 0);
}

START_TEST(making_a_store)
{
	const struct work work = {create, destroy};

	export = _i ? KVSHM_EXPORT_IPC : KVSHM_EXPORT_FD;
	ck_assert_uint_gt(fail_each(&work), 10);
	gpu_nothing_left();
	gpu_all_is_free();
}
END_TEST

/* What comes behind the planes fails as well. */
START_TEST(a_segment_that_cannot_be_made)
{
	struct kvshm_create_options options = gpu_options("cuda:0,cuda:0", _i ? KVSHM_EXPORT_IPC : KVSHM_EXPORT_FD);

	options.mode = 0600;
	options.numa_node = -1;
	options.dir = "/proc"; /* without O_TMPFILE */
	ck_assert_int_lt(kvshm_create(unit_name(), &options, &unit_owner), 0);
	unit_owner = NULL;
	gpu_nothing_left();
	gpu_all_is_free();
}
END_TEST

/* ---- Using one --------------------------------------------------------------------------------------------- */

static int map_both(void)
{
	struct kvshm_plane_info info;
	int rc;

	store = unit_attach();
	rc = kvshm_get_plane_info(store, 0, &info);
	if (rc == 0)
		rc = kvshm_get_plane_info(store, 1, &info);
	if (rc) /* detached without the second plane, or both */
		unit_detach(store);
	return rc;
}

static void unmap_both(void)
{
	unit_detach(store);
}

/* The failure may be while it is unmapped. */
static int map_and_unmap(void)
{
	struct kvshm_plane_info info;
	int rc;

	store = unit_attach();
	rc = kvshm_get_plane_info(store, 0, &info);
	if (rc == 0)
		rc = kvshm_get_plane_info(store, 1, &info);
	unit_detach(store);
	return rc;
}

static void nothing(void)
{
}

static const struct work mapping = {map_both, unmap_both}, unmapping = {map_and_unmap, nothing};

START_TEST(mapping_descriptors)
{
	struct kvshm_create_options options = gpu_options("cuda:0,cuda:0", KVSHM_EXPORT_FD);

	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	ck_assert_uint_gt(fail_each(_i ? &unmapping : &mapping), 10);
}
END_TEST

static void map_handles(void *arg)
{
	int unmaps = *(int *)arg;

	unit_await_parent();
	ck_assert_uint_gt(fail_each(unmaps ? &unmapping : &mapping), 8);
}

START_TEST(mapping_handles)
{
	const struct gpu_wish wish = {"cuda:0,cuda:0", KVSHM_EXPORT_IPC};
	struct child owner, client;

	unit_child(&client, map_handles, &_i);
	gpu_owner(&owner, &wish);
	unit_tell(&client);
	unit_join(&client);
	gpu_owner_end(&owner);
	gpu_all_is_free();
}
END_TEST

/* With a context of the caller's, and without. */
static struct kvshm_handle owned;
static char bytes[64];

static int do_write(void)
{
	return kvshm_write(store, &owned, 0, 0, bytes, sizeof(bytes));
}

static int do_read(void)
{
	return kvshm_read(store, &owned, 0, 0, bytes, sizeof(bytes));
}

/* With the first copy in a context, which makes a stream, and the end of that. */
static int attach_write_detach(void)
{
	struct kvshm_handle block;
	int rc;

	store = unit_attach();
	ck_rc(kvshm_alloc(store, &block), 0);
	rc = kvshm_write(store, &block, 0, 0, bytes, sizeof(bytes));
	ck_rc(kvshm_give_up(store, &block), 0);
	unit_detach(store);
	return rc;
}

static int get_dma_buf(void)
{
	int fd, rc = kvg_attached_dma_buf(store->gpu, 0, &fd);

	if (rc == 0)
		ck_assert_int_eq(close(fd), 0);
	return rc;
}

static int flush(void)
{
	return kvg_attached_flush(store->gpu);
}

START_TEST(copying_and_what_cards_need)
{
	const struct work works[] = {{do_write, nothing}, {do_read, nothing}, {get_dma_buf, nothing}, {flush, nothing}};

	store = gpu_make("cuda:0");
	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(do_write(), 0); /* it is mapped from here on */
	(void)fail_each(&works[_i]);
}
END_TEST

START_TEST(a_first_copy)
{
	const struct work work = {attach_write_detach, nothing};

	unit_detach(gpu_make("cuda:0"));
	ck_assert_uint_gt(fail_each(&work), 8);
}
END_TEST

static int register_both(void)
{
	int rc;

	store = unit_attach();
	rc = kvshm_register_plane(store, 0);
	if (rc == 0)
		rc = kvshm_register_plane(store, 1);
	unit_detach(store);
	return rc;
}

START_TEST(registering_host_memory)
{
	const struct work work = {register_both, nothing};

	unit_detach(unit_planes(2));
	ck_assert_uint_gt(fail_each(&work), 8);
}
END_TEST

int main(void)
{
	const struct unit_loop loops[] = {
		{making_a_store, 2},  {a_segment_that_cannot_be_made, 2}, {mapping_descriptors, 2},
		{mapping_handles, 2}, {copying_and_what_cards_need, 4},	  {NULL, 0},
	};
	const TTest *const tests[] = {registering_host_memory, a_first_copy};

	return unit_run_loops("planes_fail", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
