/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_tcp_gpu: links over TCP from and into GPU memory: every byte comes to its place by way of the link's own memory,
 * before the write is acknowledged; none behind its window's end; and what the driver says when it can't is told. The
 * linker puts this file's functions in front of those of gpu/. The planes' addresses can't be used by anyone else.
 */
#include "config.h"

#include "rdma_scene.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "attached.h"
#include "fault.h"
#include "tcp.h"

#define PLANE (UINT64_C(8) << 20)
#define PLANES 2U

/* An end's GPU: the addresses, and where the bytes are. */
static struct gpu {
	char *planes[PLANES];
	uint8_t *bytes;			 /* of all planes, one behind the other */
	unsigned reads, writes, fail_at; /* the number of the one that fails; 0: none */
} gpus[2];

static uint8_t *find(const struct gpu *gpu, uint32_t plane, uint64_t at, uint64_t length)
{
	ck_assert_uint_lt(plane, PLANES);
	ck_assert_uint_le(at + length, PLANE);
	ck_assert_uint_gt(length, 0);
	ck_assert_uint_le(length, KVR_TCP_STAGE);
	return gpu->bytes + plane * PLANE + at;
}

int __wrap_kvg_attached_read(struct kvg_attached *attached, uint32_t plane, uint64_t at, void *to, uint64_t length);
int __wrap_kvg_attached_read(struct kvg_attached *attached, uint32_t plane, uint64_t at, void *to, uint64_t length)
{
	struct gpu *gpu = (void *)attached;

	if (++gpu->reads == gpu->fail_at)
		return kvs_fault(EIO, "cannot copy %llu bytes of plane %u: the GPU is gone", (unsigned long long)length,
				 plane);
	memcpy(to, find(gpu, plane, at, length), length);
	return 0;
}

int __wrap_kvg_attached_write(struct kvg_attached *attached, uint32_t plane, uint64_t at, const void *from,
			      uint64_t length);
int __wrap_kvg_attached_write(struct kvg_attached *attached, uint32_t plane, uint64_t at, const void *from,
			      uint64_t length)
{
	struct gpu *gpu = (void *)attached;

	if (++gpu->writes == gpu->fail_at)
		return kvs_fault(EIO, "cannot copy %llu bytes of plane %u: the GPU is gone", (unsigned long long)length,
				 plane);
	memcpy(find(gpu, plane, at, length), from, length);
	return 0;
}

/* ---- What tests share */

static struct scene *scene;
static struct scene_end *from, *to;

static void add_gpu(struct scene_end *end, struct gpu *gpu)
{
	gpu->bytes = calloc(PLANES, PLANE);
	ck_assert_ptr_nonnull(gpu->bytes);
	for (unsigned i = 0; i < PLANES; i++) {
		gpu->planes[i] = mmap(NULL, PLANE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert_ptr_ne(gpu->planes[i], MAP_FAILED);
		ck_rc(kvr_memory_add_gpu(end->memory, gpu->planes[i], PLANE, (void *)gpu, i), 0);
	}
}

static void begin(void)
{
	scene = scene_link();
	from = &scene->ends[0];
	to = &scene->ends[1];
	add_gpu(from, &gpus[0]);
	add_gpu(to, &gpus[1]);
	for (uint64_t i = 0; i < PLANES * PLANE; i++)
		gpus[0].bytes[i] = (uint8_t)(i * 7 + (i >> 8) * 5 + (i >> 16) * 3 + 1);
}

static void end(void)
{
	scene_close(scene);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned plane = 0; plane < PLANES; plane++)
			ck_assert_int_eq(munmap(gpus[i].planes[plane], PLANE), 0);
		free(gpus[i].bytes);
	}
}

static struct kvr_window *expose(unsigned plane, uint64_t at, uint64_t length)
{
	struct kvr_window *window;

	ck_rc(kvr_tcp.expose(to->link, gpus[1].planes[plane] + at, length, to, &window), 0);
	return window;
}

static void write_from(const void *bytes, const struct kvr_window *window, uint64_t at, uint64_t length)
{
	const struct kvr_write write = {
		.from = bytes, .to = window->address + at, .length = length, .rkey = window->rkey};

	ck_rc(kvr_tcp.write(from->link, &write), 0);
}

/* Returns when the writes before have been acknowledged. */
static void settle(void)
{
	const unsigned before = from->sents;

	ck_rc(scene_send(from, 1, 1), 0);
	scene_until(scene, from->sents > before);
	ck_assert(!from->downs && !to->downs);
}

static bool is_untouched(const uint8_t *bytes, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (bytes[i])
			return false;
	return true;
}

/* ---- Bytes */

static const uint64_t sizes[] = {1, 4096, KVR_TCP_STAGE - 1, KVR_TCP_STAGE, KVR_TCP_STAGE + 1, 3 * KVR_TCP_STAGE + 77};
#define SIZES ((int)(sizeof(sizes) / sizeof(sizes[0])))

/* Between all kinds of memory, from and to odd places. */
START_TEST(every_byte_comes_to_its_place_and_no_other)
{
	const uint64_t size = sizes[_i], at = 4099;
	struct kvr_window *here, *there;
	const uint8_t *sent;

	begin();
	sent = gpus[0].bytes + PLANE + 13;
	memcpy(from->bytes + 13, sent, size);
	there = expose(1, at, size);
	here = scene_expose(to, at, size);
	for (unsigned i = 0; i < 2; i++) {
		write_from(i ? (void *)(from->bytes + 13) : gpus[0].planes[1] + 13, there, 0, size);
		settle();
		ck_assert_mem_eq(gpus[1].bytes + PLANE + at, sent, size);
		ck_assert(is_untouched(gpus[1].bytes, PLANE + at));
		ck_assert(is_untouched(gpus[1].bytes + PLANE + at + size, PLANE - at - size));
		memset(gpus[1].bytes, 0, PLANES * PLANE);
	}
	ck_assert_uint_ge(gpus[1].writes, 2 * ((size - 1) / KVR_TCP_STAGE + 1));
	write_from(gpus[0].planes[1] + 13, here, 0, size);
	settle();
	ck_assert_mem_eq(to->bytes + at, sent, size);
	ck_assert(is_untouched(to->bytes, at));
	ck_assert(is_untouched(to->bytes + at + size, PLANE));
	end();
}
END_TEST

/* Each has the stage in its turn; writes of host memory, and messages, between them. */
START_TEST(writes_and_messages_keep_their_order)
{
	struct kvr_window *windows[PLANES], *host;

	begin();
	host = scene_expose(to, 0, PLANE);
	memset(from->bytes, 'h', PLANE);
	for (unsigned i = 0; i < PLANES; i++)
		windows[i] = expose(i, 0, PLANE);
	for (unsigned i = 0; i < 20; i++) {
		const uint64_t at = i * UINT64_C(300001);

		write_from(gpus[0].planes[i % PLANES] + at, windows[i % PLANES], at, 300001);
		write_from(from->bytes + at, host, at, 17);
		ck_rc(scene_send(from, i, 0), 0);
	}
	settle();
	ck_assert_uint_eq(to->messages, 21);
	for (unsigned i = 0; i < 20; i++) {
		const uint64_t at = i % PLANES * PLANE + i * UINT64_C(300001);

		ck_assert_mem_eq(gpus[1].bytes + at, gpus[0].bytes + at, 300001);
		ck_assert_uint_eq(to->bytes[i * UINT64_C(300001) + 16], 'h');
	}
	end();
}
END_TEST

/* What is sent once more because the socket took only a part is not read once more. */
START_TEST(memory_is_read_once)
{
	const uint64_t size = 6 * KVR_TCP_STAGE;

	begin();
	write_from(gpus[0].planes[0], expose(0, 0, size), 0, size);
	scene_run(scene, 0); /* until the kernel's buffers are full */
	settle();
	ck_assert_mem_eq(gpus[1].bytes, gpus[0].bytes, size);
	ck_assert_uint_eq(gpus[0].reads, 6);
	end();
}
END_TEST

/* ---- Ends */

/* A window that is withdrawn in the middle of a write: what is in the stage goes nowhere, nor does the rest (E3). */
START_TEST(E3_what_is_staged_when_its_window_is_withdrawn_is_dropped)
{
	const uint64_t size = 5 * KVR_TCP_STAGE;
	struct kvr_window *window, *next;
	unsigned writes;

	begin();
	window = expose(0, 0, size);
	write_from(gpus[0].planes[0], window, 0, size);
	do {
		scene_run(scene, 0);
		(void)kvr_loop_run(&to->loop, 0);
	} while (!gpus[1].writes);
	writes = gpus[1].writes;
	ck_assert_uint_lt(writes, 5);
	kvr_tcp.withdraw(to->link, window);
	memset(gpus[1].bytes, 0, PLANE);
	next = expose(0, size, 64);
	write_from(gpus[0].planes[0], next, 0, 64);
	settle();
	ck_assert_uint_eq(to->withdrawals, 1);
	ck_assert(is_untouched(gpus[1].bytes, size));
	ck_assert_mem_eq(gpus[1].bytes + size, gpus[0].bytes, 64);
	ck_assert_uint_eq(gpus[1].writes, writes + 1);
	end();
}
END_TEST

START_TEST(E3_what_goes_beyond_a_window_ends_the_link)
{
	struct kvr_window *window;

	begin();
	window = expose(0, 4096, 4096);
	write_from(gpus[0].planes[0], window, 1, 4096);
	scene_until(scene, from->downs && to->downs);
	ck_assert_int_eq(to->reason, -EACCES);
	ck_assert_uint_eq(gpus[1].writes, 0);
	end();
}
END_TEST

/* It is not acknowledged, and so not committed. */
START_TEST(what_the_driver_can_not_place_ends_the_link)
{
	const uint64_t size = 3 * KVR_TCP_STAGE;

	begin();
	gpus[1].fail_at = (unsigned)_i + 1;
	write_from(gpus[0].planes[0], expose(0, 0, size), 0, size);
	ck_rc(scene_send(from, 1, 1), 0);
	scene_until(scene, from->downs && to->downs);
	ck_assert_int_eq(to->reason, -EIO);
	ck_assert_ptr_nonnull(strstr(to->text, "bytes of plane 0: the GPU is gone"));
	ck_assert_uint_eq(from->sents, 0);
	ck_assert_uint_eq(to->messages, 0);
	end();
}
END_TEST

START_TEST(what_the_driver_can_not_read_ends_the_link)
{
	const uint64_t size = 3 * KVR_TCP_STAGE;

	begin();
	gpus[0].fail_at = (unsigned)_i + 1;
	write_from(gpus[0].planes[0], expose(0, 0, size), 0, size);
	ck_rc(scene_send(from, 1, 1), 0);
	scene_until(scene, from->downs && to->downs);
	ck_assert_int_eq(from->reason, -EIO);
	ck_assert_ptr_nonnull(strstr(from->text, "bytes of plane 0: the GPU is gone"));
	ck_assert_uint_eq(to->messages, 0);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		writes_and_messages_keep_their_order,
		memory_is_read_once,
		E3_what_is_staged_when_its_window_is_withdrawn_is_dropped,
		E3_what_goes_beyond_a_window_ends_the_link,
	};
	const struct unit_loop loops[] = {
		{every_byte_comes_to_its_place_and_no_other, SIZES},
		{what_the_driver_can_not_place_ends_the_link, 3},
		{what_the_driver_can_not_read_ends_the_link, 3},
		{NULL, 0},
	};

	return unit_run_loops("rdma_tcp_gpu", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
