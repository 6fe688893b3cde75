/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copies: many pieces are copied between blocks and an engine's memory by one call on a stream, whatever their sizes
 * and places, and nothing else; what is refused has copied nothing; and what streams need for it is used again, and
 * goes.
 */
#include "config.h"

#include "stream_scene.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BLOCKS 8U
#define BLOCK (1U << 20)
#define ALL ((size_t)BLOCKS * BLOCK)
#define PIECES_MAX 6000U

static kvshm_store *store;
static struct kvshm_handle fills[BLOCKS];
static uint8_t *blocks; /* where the plane's bytes can be seen */

/* The engine's memory: where it is for CUDA, and where it can be seen. */
struct memory {
	kvg_pointer at;
	uint8_t *seen;
	bool pinned;
};

/* ---- A store, and memory ----------------------------------------------------------------------------------- */

/* A plane of host memory that is registered, or one of GPU 0's. Each block is being filled. */
static void begin(bool gpu)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_plane_info info;

	options.block_size = BLOCK;
	options.size = ALL;
	options.pool = gpu ? "cuda:0" : NULL;
	store = unit_make(&options);
	engine_begin();
	for (unsigned i = 0; i < BLOCKS; i++)
		fills[i] = unit_begin(store, i);
	if (!gpu)
		ck_rc(kvshm_register_plane(store, 0), 0);
	ck_rc(kvshm_get_plane_info(store, 0, &info), 0);
	blocks = gpu ? standin_look((uintptr_t)info.address, ALL) : info.address;
	ck_assert_ptr_nonnull(blocks);
}

static void end(void)
{
	unit_detach(store);
	engine_end();
}

static struct memory take(bool pinned, size_t size)
{
	struct memory memory = {.pinned = pinned};
	void *at;

	if (pinned) {
		ck_cu(cu_host_alloc(&at, size, KVG_HOST_PORTABLE));
		memory.at = (uintptr_t)at;
		memory.seen = at;
	} else {
		ck_cu(cu_memory_alloc(&memory.at, size));
		memory.seen = standin_look(memory.at, size);
	}
	ck_assert_ptr_nonnull(memory.seen);
	memset(memory.seen, 0, size);
	return memory;
}

static void give_back(const struct memory *memory)
{
	if (memory->pinned)
		ck_cu(cu_host_free(memory->seen));
	else
		ck_cu(cu_memory_free(memory->at));
}

/* A piece of a block, and of memory. */
static struct kvshm_piece piece(unsigned block, uint64_t offset, const struct memory *memory, uint64_t at,
				uint64_t length)
{
	return (struct kvshm_piece){.held = &fills[block],
				    .offset = offset,
				    .memory = (void *)(uintptr_t)(memory->at + at), // NOLINT(performance-no-int-to-ptr)
				    .length = length};
}

/* ---- Any pieces -------------------------------------------------------------------------------------------- */

static uint64_t below(uint64_t limit)
{
	return (uint64_t)random() % limit;
}

static uint64_t any_length(void)
{
	uint64_t kind = below(1000);

	if (kind < 700)
		return 1 + below(100);
	if (kind < 900)
		return 1 + below(UINT64_C(3) * 8192);
	if (kind < 997)
		return 1024 * (1 + below(64)); /* what engines have */
	return 1 + below(BLOCK);
}

/* Pieces that touch, overlap nowhere, and lie anyhow; at most count. A piece of length 0 is among them. */
static size_t any_pieces(struct kvshm_piece *pieces, size_t count, const struct memory *memory)
{
	uint64_t at[BLOCKS] = {0}, there = 0;
	size_t made = 0;

	while (made < count) {
		unsigned block = (unsigned)below(BLOCKS);
		uint64_t gap = below(3) ? 16 * below(4) : below(40), length = any_length();

		there += below(3) ? gap : below(40);
		at[block] += gap;
		if (at[block] + length > BLOCK || there + length > ALL)
			break;
		pieces[made++] = piece(block, at[block], memory, there, length);
		at[block] += length;
		there += length;
	}
	ck_assert_uint_gt(made, 0);
	pieces[made / 2].length = 0;
	return made;
}

static void copy_by_hand(const struct kvshm_piece *pieces, size_t count, const struct memory *memory, uint8_t *there,
			 uint8_t *here, bool in)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *a = there + (size_t)pieces[i].held->block * BLOCK + pieces[i].offset;
		uint8_t *b = here + ((uintptr_t)pieces[i].memory - memory->at);

		memcpy(in ? a : b, in ? b : a, pieces[i].length);
	}
}

/* xorshift64 (Marsaglia, 2003): bytes that repeat nowhere are enough. */
static void fill_anyhow(uint8_t *bytes, size_t size)
{
	static uint64_t word = 88172645463325252;

	for (size_t i = 0; i < size; i += sizeof(word)) {
		word ^= word << 13;
		word ^= word >> 7;
		word ^= word << 17;
		memcpy(bytes + i, &word, sizeof(word));
	}
}

static void equal(const uint8_t *a, const uint8_t *b, unsigned seed, const char *what)
{
	ck_assert_msg(memcmp(a, b, ALL) == 0, "%s: seed %u", what, seed);
}

/* Between a plane of either memory and an engine's of either. */
START_TEST(pieces_of_any_size_and_place_are_copied_and_nothing_else)
{
	struct kvshm_piece *pieces = calloc(PIECES_MAX, sizeof(*pieces));
	uint8_t *wanted = malloc(ALL), *kept = malloc(ALL);
	struct memory memory;
	unsigned seed;

	ck_assert_int_eq(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	begin(_i & 1);
	memory = take(_i & 2, ALL);
	for (unsigned end_seed = seed + 3; seed != end_seed; seed++) {
		size_t count;

		srandom(seed);
		count = any_pieces(pieces, PIECES_MAX, &memory);
		fill_anyhow(blocks, ALL);
		fill_anyhow(memory.seen, ALL);
		memcpy(wanted, blocks, ALL);
		memcpy(kept, memory.seen, ALL);
		copy_by_hand(pieces, count, &memory, wanted, kept, true);
		ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, count), 0);
		engine_finish();
		equal(blocks, wanted, seed, "blocks, in");
		equal(memory.seen, kept, seed, "memory, in");
		fill_anyhow(memory.seen, ALL);
		memcpy(kept, memory.seen, ALL);
		copy_by_hand(pieces, count, &memory, wanted, kept, false);
		ck_rc(kvshm_copy_out(store, engine_stream, 0, pieces, count), 0);
		engine_finish();
		equal(blocks, wanted, seed, "blocks, out");
		equal(memory.seen, kept, seed, "memory, out");
	}
	give_back(&memory);
	free(pieces);
	free(wanted);
	free(kept);
	end();
}
END_TEST

START_TEST(a_copy_takes_effect_when_the_stream_gets_there)
{
	struct kvshm_piece one;
	struct memory memory;

	begin(true);
	memory = take(false, 4096);
	memset(memory.seen, 1, 4096);
	one = piece(0, 0, &memory, 0, 4096);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	one.length = 1; /* the list is the caller's again */
	ck_assert_int_eq(blocks[4095 + (size_t)fills[0].block * BLOCK], 0);
	engine_finish();
	ck_assert_int_eq(blocks[4095 + (size_t)fills[0].block * BLOCK], 1);
	give_back(&memory);
	end();
}
END_TEST

/* ---- How many calls it takes ------------------------------------------------------------------------------- */

/* So many pieces of that length, side by side. */
static struct kvshm_piece *many(const struct memory *memory, size_t count, uint64_t length)
{
	struct kvshm_piece *pieces = calloc(count, sizeof(*pieces));

	for (size_t i = 0; i < count; i++)
		pieces[i] = piece((unsigned)(i % BLOCKS), i / BLOCKS * length, memory, i * length, length);
	return pieces;
}

START_TEST(small_pieces_are_one_kernel_and_large_ones_the_copy_engines)
{
	static const struct {
		size_t count;
		uint64_t length;
		unsigned long kernels, copies;
	} cases[] = {{1, 1, 1, 0},	 {512, 8192, 1, 0},    {513, 8192, 1, 0}, {16384, 100, 1, 0},
		     {16385, 100, 2, 0}, {8, 127 << 10, 1, 0}, {8, BLOCK, 0, 8}};
	struct memory memory;

	begin(_i);
	memory = take(true, ALL);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kvshm_piece *pieces = many(&memory, cases[i].count, cases[i].length);
		unsigned long kernels = standin_calls_of("cuLaunchKernel"), copies = standin_calls_of("cuMemcpyAsync");

		ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, cases[i].count), 0);
		ck_assert_uint_eq(standin_calls_of("cuLaunchKernel") - kernels, cases[i].kernels);
		ck_assert_uint_eq(standin_calls_of("cuMemcpyAsync") - copies, cases[i].copies);
		ck_assert_uint_le(standin_blocks(), 32); /* it leaves the GPU to others */
		free(pieces);
	}
	engine_finish();
	ck_assert_uint_eq(standin_pageable_copies(), 0);
	give_back(&memory);
	end();
}
END_TEST

/* Between memory of the GPU and memory of the GPU pieces of 256 KiB are the kernel's, too. */
START_TEST(within_the_gpu_more_pieces_are_small)
{
	struct kvshm_piece *pieces;
	struct memory memory;

	begin(true);
	memory = take(false, ALL);
	pieces = many(&memory, 32, BLOCK / 4);
	ck_rc(kvshm_copy_out(store, engine_stream, 0, pieces, 32), 0);
	ck_assert_uint_eq(standin_calls_of("cuLaunchKernel"), 1);
	ck_assert_uint_eq(standin_calls_of("cuMemcpyAsync"), 0);
	ck_assert_uint_eq(standin_blocks(), 8 * BLOCK / 8192 / 4);
	engine_finish();
	free(pieces);
	give_back(&memory);
	end();
}
END_TEST

static unsigned long allocations(void)
{
	return standin_calls_of("cuMemHostAlloc") + standin_calls_of("cuEventCreate") +
	       standin_calls_of("cuModuleLoadData");
}

START_TEST(what_a_stream_has_read_is_used_again)
{
	unsigned long before, waits;
	struct kvshm_piece *pieces;
	struct memory memory;

	begin(true);
	memory = take(false, ALL);
	pieces = many(&memory, 1000, 1000);
	standin_stream_hold(engine_stream); /* so many are under way at a time */
	for (unsigned i = 0; i < 20; i++)
		ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, i % 2 ? 1000 : 100), 0);
	engine_finish();
	before = allocations();
	ck_assert_uint_eq(standin_calls_of("cuModuleLoadData"), 1);
	waits = standin_calls_of("cuCtxSynchronize");
	for (unsigned round = 0; round < 5; round++) {
		standin_stream_hold(engine_stream);
		for (unsigned i = 0; i < 20; i++)
			ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, i % 2 ? 1000 : 100), 0);
		engine_finish();
	}
	ck_assert_uint_eq(allocations(), before);
	ck_assert_uint_eq(standin_calls_of("cuCtxSynchronize"), waits);
	free(pieces);
	give_back(&memory);
	end();
}
END_TEST

START_TEST(what_a_stream_has_still_to_read_is_left_alone)
{
	struct kvshm_piece pieces[40];
	struct memory memory;

	begin(true);
	memory = take(false, ALL);
	memset(memory.seen, 7, ALL);
	standin_stream_hold(engine_stream);
	for (unsigned i = 0; i < 40; i++) {
		pieces[i] = piece(0, UINT64_C(1000) * i, &memory, UINT64_C(1000) * i, 1000);
		ck_rc(kvshm_copy_in(store, engine_stream, 0, &pieces[i], 1), 0);
	}
	engine_finish();
	ck_assert_int_eq(memcmp(blocks + (size_t)fills[0].block * BLOCK, memory.seen, 40000), 0);
	give_back(&memory);
	end();
}
END_TEST

/* A stream that stands still is not in the way of what another has done. */
START_TEST(a_stream_that_stands_hides_nothing)
{
	struct kvshm_piece *pieces;
	struct memory memory;
	unsigned long before;
	kvg_stream other;

	begin(true);
	memory = take(false, ALL);
	pieces = many(&memory, 8, 1000);
	ck_cu(cu_stream_create(&other, 0));
	standin_stream_hold(engine_stream);
	for (unsigned i = 0; i < 7; i++)
		ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, 8), 0);
	ck_rc(kvshm_copy_out(store, other, 0, pieces, 8), 0);
	ck_cu(cu_stream_synchronize(other));
	before = allocations();
	for (unsigned i = 0; i < 50; i++) {
		ck_rc(kvshm_copy_out(store, other, 0, pieces, 8), 0);
		ck_cu(cu_stream_synchronize(other));
	}
	ck_assert_uint_eq(allocations(), before);
	ck_cu(cu_stream_destroy(other));
	engine_finish();
	free(pieces);
	give_back(&memory);
	end();
}
END_TEST

/* ---- What is refused --------------------------------------------------------------------------------------- */

/* Three pieces of which the second can't be copied: nothing is put on the stream. */
static void refuse(int in, int out, unsigned plane, const struct kvshm_piece *bad)
{
	const struct memory memory = {.at = (uintptr_t)blocks};
	struct kvshm_piece pieces[3] = {piece(0, 0, &memory, 0, 16), *bad, piece(1, 0, &memory, 0, 16)};
	unsigned long calls = standin_calls();

	ck_rc(kvshm_copy_in(store, engine_stream, plane, pieces, 3), in);
	ck_assert_str_ne(kvshm_error(), "");
	if (out)
		ck_rc(kvshm_copy_out(store, engine_stream, plane, pieces, 3), out);
	ck_assert_uint_eq(standin_calls(), calls);
}

START_TEST(one_piece_that_can_not_be_copied_refuses_all)
{
	struct kvshm_handle none = {.kind = KVSHM_NONE}, ref = fills[0];
	const struct memory memory = {.at = 4096};
	struct kvshm_piece bad;
	kvshm_store *other;

	begin(_i);
	bad = piece(2, 0, &memory, 0, 16);
	bad.held = &none;
	refuse(-EBADF, -EBADF, 0, &bad);
	bad.held = NULL;
	refuse(-EINVAL, -EINVAL, 0, &bad);
	ck_rc(kvshm_publish(store, &fills[2], NULL), 0);
	bad.held = &fills[2]; /* which is a ref now: read only */
	refuse(-EBADF, 0, 0, &bad);
	ck_rc(kvshm_release(store, &fills[2]), 0);
	other = unit_attach();
	ck_rc(unit_get(other, 2, &ref), 0);
	bad.held = &ref; /* another client's */
	refuse(-EBADF, -EBADF, 0, &bad);
	unit_detach(other);
	bad = piece(3, 1, &memory, 0, BLOCK);
	refuse(-EINVAL, -EINVAL, 0, &bad);
	bad = piece(3, UINT64_MAX, &memory, 0, 2);
	refuse(-EINVAL, -EINVAL, 0, &bad);
	bad = piece(3, 0, &memory, 0, 16);
	refuse(-EINVAL, -EINVAL, 1, &bad); /* there is no such plane */
	bad.memory = NULL;
	refuse(-EINVAL, -EINVAL, 0, &bad);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, NULL, 1), -EINVAL);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, NULL, 0), 0);
	end();
}
END_TEST

enum unreached { PAGEABLE, SHARED, FREED, UNPINNED, OTHER_GPU, LONGER, UNREACHED_KINDS };

/* Memory that a kernel of GPU 0's can't reach, 64 KiB of it. */
static struct memory take_unreached(enum unreached kind)
{
	struct memory memory = {.at = 0};
	kvg_context context;

	switch (kind) {
	case PAGEABLE:
		memory.seen = malloc(65536);
		break;
	case SHARED: /* as planes of host memory are */
		memory.seen = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		break;
	case OTHER_GPU:
		ck_cu(cu_context_create(&context, 0, 1));
		memory = take(false, 65536);
		ck_cu(cu_context_pop(&context));
		return memory;
	case LONGER: /* it begins in memory that is pinned, and goes on behind that */
		memory.seen = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		ck_cu(cu_host_register(memory.seen, 32768, KVG_HOST_PORTABLE));
		break;
	default:
		memory = take(kind == UNPINNED, 65536);
		give_back(&memory);
		return memory;
	}
	memory.at = (uintptr_t)memory.seen;
	return memory;
}

/* It would ruin the context: so nothing is copied, and the context goes on. */
START_TEST(memory_that_the_gpu_can_not_reach_refuses_all)
{
	int wanted = _i == OTHER_GPU ? -EXDEV : -EFAULT;
	struct memory memory, good;
	struct kvshm_piece pieces[3];

	begin(true);
	good = take(false, 65536);
	memory = take_unreached((enum unreached)_i);
	pieces[0] = piece(0, 0, &good, 0, 16);
	pieces[1] = piece(1, 0, &memory, 16, 40000);
	pieces[2] = piece(2, 0, &good, 16, 16);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, 3), wanted);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), wanted == -EXDEV ? "GPU 1" : "cuMemHostRegister"));
	ck_rc(kvshm_copy_out(store, engine_stream, 0, pieces, 3), wanted);
	ck_assert_uint_eq(standin_stream_queued(engine_stream), 0);
	pieces[1] = pieces[2];
	ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, 2), 0);
	engine_finish();
	unit_detach(store);
	if (_i == PAGEABLE)
		free(memory.seen);
}
END_TEST

/* Pieces in one range of memory ask for that once. */
START_TEST(the_driver_is_asked_of_a_range_once)
{
	struct kvshm_piece pieces[100];
	struct memory memory = {.at = 0};
	unsigned long before;
	uint8_t *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	begin(true);
	ck_cu(cu_host_register(at, 65536, KVG_HOST_PORTABLE));
	memory.at = (uintptr_t)at;
	before = standin_calls_of("cuPointerGetAttribute");
	for (unsigned i = 0; i < 100; i++)
		pieces[i] = piece(0, UINT64_C(16) * i, &memory, UINT64_C(16) * i, 16);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, pieces, 100), 0);
	ck_assert_uint_le(standin_calls_of("cuPointerGetAttribute"), before + 3);
	engine_finish();
	ck_cu(cu_host_unregister(at));
	ck_assert_int_eq(munmap(at, 65536), 0);
	end();
}
END_TEST

/* A GPU that reaches all that the processor does. */
START_TEST(where_the_gpu_reaches_all_memory_it_is_copied)
{
	char path[4096];
	uint8_t memory[64] = "any";
	struct kvshm_piece one;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/reaches_all", getenv("TMPDIR"));
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(setenv("KVSHM_STANDIN_DIR", path, 1), 0);
	(void)strncat(path, "/devices", sizeof(path) - strlen(path) - 1);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_gt(fprintf(file, "%d=1\n", KVG_ATTRIBUTE_PAGEABLE_ACCESS), 0);
	ck_assert_int_eq(fclose(file), 0);
	begin(true);
	one = (struct kvshm_piece){&fills[0], 0, memory, sizeof(memory)};
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	engine_finish();
	ck_assert_int_eq(memcmp(blocks + (size_t)fills[0].block * BLOCK, memory, sizeof(memory)), 0);
	end();
}
END_TEST

START_TEST(a_part_is_written_in_its_plane_only)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle fill, part;
	struct kvshm_ticket ticket;
	struct kvshm_piece one;
	struct memory memory;

	options.pool = "cuda:0,cuda:0";
	store = unit_make(&options);
	engine_begin();
	memory = take(false, 4096);
	fill = unit_begin_shared(store, 1);
	ticket = unit_ticket(store, &fill);
	part = unit_part(store, &ticket, 1);
	one = (struct kvshm_piece){&part, 0, (void *)(uintptr_t)memory.at, 16}; // NOLINT(performance-no-int-to-ptr)
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), -EBADF);
	ck_rc(kvshm_copy_in(store, engine_stream, 1, &one, 1), 0);
	engine_finish();
	give_back(&memory);
	end();
}
END_TEST

START_TEST(host_memory_that_is_not_registered_is_ENOTSUP)
{
	const struct memory memory = {.at = 4096};
	struct kvshm_piece one;

	store = unit_store(BLOCKS);
	engine_begin();
	fills[0] = unit_begin(store, 0);
	one = piece(0, 0, &memory, 0, 16);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "kvshm_register_plane"));
	end();
}
END_TEST

/* A kernel that reaches for what its GPU can't reach would ruin the context. */
START_TEST(a_stream_of_another_gpu_is_EXDEV)
{
	struct kvshm_piece one;
	struct memory memory;
	kvg_context context;
	kvg_stream stream;

	begin(true);
	memory = take(true, 4096);
	one = piece(0, 0, &memory, 0, 16);
	ck_cu(cu_context_create(&context, 0, 1));
	ck_cu(cu_stream_create(&stream, 0));
	ck_rc(kvshm_copy_in(store, stream, 0, &one, 1), -EXDEV);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	ck_assert_ptr_eq(standin_context_at(1), context);
	ck_cu(cu_stream_synchronize(stream));
	ck_cu(cu_stream_destroy(stream));
	ck_cu(cu_context_pop(&context));
	engine_finish();
	unit_detach(store);
	ck_cu(cu_context_destroy(context));
	give_back(&memory);
	engine_end();
}
END_TEST

START_TEST(a_stream_that_is_captured_is_refused_and_others_are_not_spoiled)
{
	struct kvshm_piece one;
	struct memory memory;
	kvg_stream captured;
	void *graph;

	begin(true);
	memory = take(false, 4096);
	one = piece(0, 0, &memory, 0, 16);
	ck_cu(cu_stream_create(&captured, 0));
	ck_cu(cu_capture_begin(captured, STANDIN_CAPTURE_GLOBAL));
	ck_rc(kvshm_copy_in(store, captured, 0, &one, 1), -EBUSY);
	/* Of another stream: with the kernel to be loaded, memory to be pinned, events to be asked. */
	for (unsigned i = 0; i < 3; i++)
		ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	ck_assert_uint_eq(standin_captures_spoiled(), 0);
	ck_cu(cu_capture_end(captured, &graph));
	engine_finish();
	ck_cu(cu_stream_destroy(captured));
	give_back(&memory);
	end();
}
END_TEST

/* ---- Ends -------------------------------------------------------------------------------------------------- */

/* Each of the driver's calls in one of ours: what was made before is given back in the end. */
START_TEST(a_call_of_the_drivers_that_fails_leaves_nothing)
{
	struct kvshm_piece pieces[3];
	struct memory memory;
	unsigned k = 0;
	bool failed;
	int rc;

	begin(true);
	ck_rc(kvshm_give_up(store, &fills[0]), 0);
	memory = take(false, BLOCK);
	do {
		kvshm_store *client = unit_attach();
		struct kvshm_handle owned;

		ck_rc(kvshm_alloc(client, &owned), 0);
		for (unsigned i = 0; i < 3; i++) {
			pieces[i] = piece(0, 0, &memory, 0, i == 1 ? BLOCK : 100);
			pieces[i].held = &owned;
		}
		standin_fail_call(++k, KVG_UNKNOWN);
		rc = kvshm_copy_in(client, engine_stream, 0, pieces, 3);
		failed = standin_failed();
		standin_calm();
		ck_assert_int_le(rc, 0);
		ck_cu(cu_stream_synchronize(engine_stream));
		ck_assert_uint_eq(standin_context_depth(), 1);
		unit_detach(client);
	} while (failed);
	ck_rc(rc, 0);
	ck_assert_uint_ge(k, 15);
	give_back(&memory);
	end();
}
END_TEST

START_TEST(detaching_waits_for_copies)
{
	struct kvshm_piece one;
	struct memory memory;

	begin(true);
	memory = take(false, BLOCK);
	one = piece(0, 0, &memory, 0, _i ? BLOCK : 1000);
	standin_stream_hold_inside(engine_stream);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	standin_stream_await_held(engine_stream);
	engine_detach_waits(store, NULL);
	give_back(&memory);
	engine_end();
}
END_TEST

START_TEST(a_context_that_has_failed_is_EIO_and_can_be_left)
{
	struct kvshm_piece one;
	struct memory memory;

	begin(true);
	memory = take(false, BLOCK);
	one = piece(0, 0, &memory, 0, 1000);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), 0);
	standin_ruin(engine_context, KVG_ILLEGAL_ADDRESS);
	ck_rc(kvshm_copy_in(store, engine_stream, 0, &one, 1), -EIO);
	unit_detach(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_copy_takes_effect_when_the_stream_gets_there,
		within_the_gpu_more_pieces_are_small,
		what_a_stream_has_read_is_used_again,
		what_a_stream_has_still_to_read_is_left_alone,
		a_stream_that_stands_hides_nothing,
		the_driver_is_asked_of_a_range_once,
		where_the_gpu_reaches_all_memory_it_is_copied,
		a_part_is_written_in_its_plane_only,
		host_memory_that_is_not_registered_is_ENOTSUP,
		a_stream_of_another_gpu_is_EXDEV,
		a_stream_that_is_captured_is_refused_and_others_are_not_spoiled,
		a_call_of_the_drivers_that_fails_leaves_nothing,
		a_context_that_has_failed_is_EIO_and_can_be_left,
	};
	const struct unit_loop loops[] = {
		{pieces_of_any_size_and_place_are_copied_and_nothing_else, 4},
		{small_pieces_are_one_kernel_and_large_ones_the_copy_engines, 2},
		{one_piece_that_can_not_be_copied_refuses_all, 2},
		{memory_that_the_gpu_can_not_reach_refuses_all, UNREACHED_KINDS},
		{detaching_waits_for_copies, 2},
		{NULL, 0},
	};

	return unit_run_loops("copies", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
