/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs_gpu: planes of GPU memory as devices have them: by a dma-buf, or by their addresses; over which of these
 * there can be windows; and what is told when there is no way. The linker puts this file's functions in front of those
 * of gpu/; the memory is a host's, which the devices take for a GPU's.
 */
#include "config.h"

#include "verbs_scene.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attached.h"
#include "fault.h"
#include "kept.h"

#define PLANES 2U
#define SIZE ((size_t)1 << 16)

static char *gpu; /* all planes, one behind the other */
static bool no_dma_buf, no_flush;
static unsigned flushes, opened;

int __wrap_kvg_attached_dma_buf(struct kvg_attached *attached, uint32_t plane, int *fd);
int __wrap_kvg_attached_dma_buf(struct kvg_attached *attached, uint32_t plane, int *fd)
{
	ck_assert_ptr_eq(attached, (void *)gpu);
	ck_assert_uint_lt(plane, PLANES);
	if (no_dma_buf)
		return kvs_fault(EOPNOTSUPP, "the driver is too old for dma-bufs");
	ck_assert_int_eq(kvs_kept_begin(1), 0);
	*fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	kvs_kept_add(*fd);
	kvs_kept_end();
	opened++;
	return 0;
}

int __wrap_kvg_attached_flush(struct kvg_attached *attached);
int __wrap_kvg_attached_flush(struct kvg_attached *attached)
{
	ck_assert_ptr_eq(attached, (void *)gpu);
	if (no_flush)
		return kvs_fault(EOPNOTSUPP, "that GPU can't flush");
	flushes++;
	return 0;
}

static void *look(const void *at, size_t bytes)
{
	uintptr_t base = (uintptr_t)gpu, from = (uintptr_t)at;

	return from >= base && from + bytes <= base + PLANES * SIZE ? (char *)gpu + (from - base) : NULL;
}

static int add(unsigned plane)
{
	return kvr_memory_add_gpu(ends_b.memory, gpu + plane * SIZE, SIZE, (void *)gpu, plane);
}

static void make_gpu(void)
{
	gpu = mmap(NULL, PLANES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(gpu, MAP_FAILED);
	fake.gpu = look;
}

static void add_all(void)
{
	for (unsigned plane = 0; plane < PLANES; plane++)
		ends_rc(add(plane), 0);
}

static void begin(void)
{
	scene_begin();
	make_gpu();
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	add_all();
}

static void end(void)
{
	scene_end();
	ck_assert_uint_eq(fake.dma_bufs, 0);
	ck_assert_int_eq(munmap(gpu, PLANES * SIZE), 0);
}

static void connect_both(void)
{
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups && ends_b.link);
}

/* Writes of a's come to windows over both planes; and what begins behind a window's end comes only where there is no
 * window, but the region's key. */
static void exchange(bool windows)
{
	struct kvr_window *first, *second;

	first = ends_expose_at(&ends_b, gpu + 4096, 4096);
	second = ends_expose_at(&ends_b, gpu + SIZE + 8192, 8192);
	ends_tell(&ends_b);
	memset(ends_a.plane, 9, 8192);
	ends_rc(ends_write(&ends_a, 0, first, 0, 4096), 0);
	ends_rc(ends_write(&ends_a, 0, second, 0, 8192), 0);
	ends_tell(&ends_a);
	ck_assert(!ends_a.downs && !ends_b.downs);
	ends_is_all(gpu, 4096, 0);
	ends_is_all(gpu + 4096, 4096, 9);
	ends_is_all(gpu + SIZE + 8192, 8192, 9);
	ends_rc(ends_write_to(&ends_a, 0, first->address + 4096, first->rkey, 64), 0);
	ends_must_send(&ends_a, ++ends_a.told);
	ends_until(windows ? ends_a.downs && ends_b.downs : ends_b.last == ends_a.told);
	ends_is_all(gpu + 8192, 64, windows ? 0 : 9);
}

/* ---- Ways */

struct way {
	bool no_dma_bufs, dma_buf_windows, peer_memory, no_windows, wide_windows; /* what there is */
	bool windows;								  /* what comes of it */
	unsigned dma_bufs;
};

static const struct way ways[] = {
	{.dma_bufs = PLANES},						/* Linux as it is */
	{.dma_buf_windows = true, .dma_bufs = PLANES, .windows = true}, /* as it may be */
	{.dma_buf_windows = true, .peer_memory = true, .dma_bufs = PLANES, .windows = true},
	{.peer_memory = true, .windows = true}, /* the better fence */
	{.no_dma_bufs = true, .peer_memory = true, .windows = true},
	{.peer_memory = true, .no_windows = true, .dma_bufs = PLANES},
	{.no_dma_bufs = true, .peer_memory = true, .no_windows = true},
	{.wide_windows = true, .dma_bufs = PLANES},
	{.wide_windows = true, .dma_buf_windows = true, .dma_bufs = PLANES, .windows = true},
	{.wide_windows = true, .peer_memory = true, .windows = true},
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

START_TEST(what_windows_can_be_over_is_taken_and_a_dma_buf_first)
{
	const struct way *way = &ways[_i];

	begin();
	fake.no_dma_bufs = way->no_dma_bufs;
	fake.dma_buf_windows = way->dma_buf_windows;
	fake.peer_memory = way->peer_memory;
	fake.no_windows = way->no_windows;
	fake.wide_windows = way->wide_windows;
	connect_both();
	ck_assert_uint_eq(fake.dma_bufs, way->dma_bufs);
	ck_assert_uint_eq(ends_info(&ends_b).flags, way->windows ? 0 : KVR_LINK_NO_WINDOWS);
	exchange(way->windows);
	end();
}
END_TEST

/* Where one plane must do without, a host's plane beside it has its windows; and neither has the other's. */
START_TEST(only_what_has_no_windows_does_without)
{
	struct kvr_window *window;

	begin();
	connect_both();
	for (unsigned i = 0; i < 3; i++) {
		scene_works(); /* with a window of the host's, which is free again then */
		window = ends_expose_at(&ends_b, gpu, 4096);
		ends_tell(&ends_b);
		ends_rc(ends_write(&ends_a, 0, window, 0, 4096), 0);
		ends_tell(&ends_a);
		ends_is_all(gpu, 4096, 5);
		ends_withdraw(&ends_b, window);
		ends_until(ends_b.withdrawn);
		ends_b.withdrawn = 0;
	}
	window = ends_expose(&ends_b, 0, 4096);
	ends_rc(ends_write_to(&ends_a, 0, window->address + 4096, window->rkey, 64), 0);
	ends_must_send(&ends_a, ++ends_a.told);
	ends_until(ends_a.downs && ends_b.downs);
	end();
}
END_TEST

START_TEST(the_driver_makes_no_dma_buf_and_its_addresses_are_taken)
{
	no_dma_buf = true;
	begin();
	fake.peer_memory = true;
	connect_both();
	ck_assert_uint_eq(fake.dma_bufs, 0);
	exchange(true);
	end();
}
END_TEST

/* ---- No way */

static void fails_with(const char *text)
{
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs);
	ck_assert_int_eq(ends_a.reason, -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(scene_log, text));
}

START_TEST(without_a_way_both_reasons_and_what_to_do_are_told)
{
	no_dma_buf = _i;
	begin();
	fake.no_dma_bufs = true;
	fails_with(
		_i ? "cannot register GPU memory with fake0: as a dma-buf: the driver is too old for dma-bufs; "
		     "by its address: Bad address. "
		   : "cannot register GPU memory with fake0: as a dma-buf: Operation not supported; by its address: "
		     "Bad address. Either takes: Linux 5.12 or newer with NVIDIA's open kernel modules; or `modprobe "
		     "nvidia_peermem`. Else use tcp://, or a store in host memory");
	end();
}
END_TEST

/* Who listens at a device's address hears of it at once; at any address, when somebody connects. */
START_TEST(who_listens_is_told_that_there_is_no_way)
{
	scene_begin();
	if (_i)
		ends_use("rdma://0.0.0.0:7471");
	make_gpu();
	fake.no_dma_bufs = true;
	ends_open_both();
	add_all();
	ends_rc(ends_listen(), _i ? 0 : -EOPNOTSUPP);
	if (!_i)
		ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "cannot register GPU memory with fake0: "));
	end();
}
END_TEST

START_TEST(what_can_not_be_flushed_is_not_registered)
{
	no_flush = true;
	begin();
	fails_with("that GPU can't flush");
	ck_assert_uint_eq(opened, 0);
	end();
}
END_TEST

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

/* Whether the device takes the dma-buf or not. */
START_TEST(no_descriptor_is_left)
{
	unsigned before = descriptors();

	begin();
	fake.dma_buf_windows = _i;
	fake.no_dma_bufs = _i == 2;
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs || (ends_a.ups && ends_b.link));
	ck_assert_uint_ge(opened, 1);
	end();
	ck_assert_uint_eq(descriptors(), before);
}
END_TEST

/* ---- Other memory */

START_TEST(what_can_not_be_read_is_not_added)
{
	char *none = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	begin();
	ck_assert_ptr_ne(none, MAP_FAILED);
	ends_rc(kvr_memory_add(ends_a.memory, none, SIZE, false), -EFAULT);
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "Memory of a GPU can't be registered so"));
	end();
	ck_assert_int_eq(munmap(none, SIZE), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		only_what_has_no_windows_does_without,
		the_driver_makes_no_dma_buf_and_its_addresses_are_taken,
		what_can_not_be_flushed_is_not_registered,
		what_can_not_be_read_is_not_added,
	};
	const struct unit_loop loops[] = {
		{what_windows_can_be_over_is_taken_and_a_dma_buf_first, WAYS},
		{without_a_way_both_reasons_and_what_to_do_are_told, 2},
		{who_listens_is_told_that_there_is_no_way, 2},
		{no_descriptor_is_left, 3},
		{NULL, 0},
	};

	return unit_run_loops("rdma_verbs_gpu", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
