/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real_figures.c: what blocks in GPU memory cost, as two tables, in the form of RESULTS.md.
 *
 *   - Time to attach a store, and to attach it and map its first plane, in a process that has a context already; p50 of
 *     processes that do it once each.
 *   - Scatter and gather: kvshm_copy_in() and kvshm_copy_out() of pieces that lie in no order, in blocks and in an
 *     engine's memory, against one contiguous cuMemcpyAsync() of as many bytes between the same two memories. Timed by
 *     events, in rounds in which both take turns; the median of the rounds' ratios. Once behind other work, which is
 *     how an engine does it: the GPU's time alone counts, and that is what the goals are for. And once on a stream that
 *     is idle, so that the call's own time on the processor counts too.
 *
 * All that is copied is checked, and a wrong byte fails the test; no time does. With the stand-in the rows have another
 * beginning, since its times mean nothing.
 *
 *   real_figures [ROUNDS]
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "real.h"

#define BLOCK (256U << 10)
#define ROUNDS 9U /* unless told */
#define VALUE UINT32_C(0x10000)
#define BUSY_MS 30U /* longer than any call here takes on the processor */

/* What a row begins with: tests/run prints those of "| ". */
static const char *row(const struct real_machine *machine)
{
	return machine->standin ? "no figure: |" : "|";
}

static const uint32_t sizes[] = {4U << 10, 8U << 10, 32U << 10, 256U << 10};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double median(double *numbers, size_t count)
{
	qsort(numbers, count, sizeof(*numbers), by_size);
	return count % 2 ? numbers[count / 2] : (numbers[count / 2 - 1] + numbers[count / 2]) / 2;
}

/* ---- Attaching --------------------------------------------------------------------------------------------------- */

struct attaching {
	struct real_store *store;
	double attach_ms, map_ms;
};

static void attach_once(void *arg)
{
	struct attaching *attaching = arg;
	struct real_engine engine;
	struct kvshm_plane_info info;
	uint64_t begin, attached;

	real_gpu_open(&engine.gpu, false);
	begin = base_now();
	real_engine_attach(&engine, attaching->store);
	attached = base_now();
	base_expect(kvshm_get_plane_info(engine.store, 0, &info), 0);
	attaching->attach_ms = (double)(attached - begin) / 1e6;
	attaching->map_ms = (double)(base_now() - begin) / 1e6;
	real_engine_detach(&engine);
	real_gpu_close(&engine.gpu);
}

static void time_attaching(const struct real_machine *machine, const char *date, struct real_store *store,
			   const char *what)
{
	enum { PROCESSES = 41 };
	struct attaching *attaching = base_shared(sizeof(*attaching));
	double attach_ms[PROCESSES] = {0}, map_ms[PROCESSES] = {0};
	unsigned count = machine->standin ? 5 : PROCESSES;

	attaching->store = store;
	for (unsigned i = 0; i < count; i++) {
		base_check(base_reap(base_fork(attach_once, attaching)) == 0);
		attach_ms[i] = attaching->attach_ms;
		map_ms[i] = attaching->map_ms;
	}
	(void)printf("%s %s, %s, %s | %s, planes of %" PRIu64 " MiB | %.3f | %.3f |\n", row(machine), machine->device,
		     machine->driver, date, what, (uint64_t)store->blocks * store->block_size >> 20,
		     median(attach_ms, count), median(map_ms, count));
}

/* ---- Scatter and gather ------------------------------------------------------------------------------------------ */

struct bench {
	const struct real_machine *machine;
	const char *date;
	unsigned rounds;
	struct real_engine engine;
	struct kvshm_handle *held; /* every block of the store */
	struct kvshm_piece *pieces;
	uint32_t *order; /* which piece of the engine's memory a piece of a block has */
	kvg_pointer at;	 /* the engine's memory: of the GPU, or pinned */
	kvg_event begin, end;
	uint32_t size, count; /* of the pieces */
	bool in, busy;
};

static size_t bytes_of(const struct bench *bench)
{
	return (size_t)bench->engine.of->blocks * BLOCK;
}

static void *pointer_to(kvg_pointer at)
{
	return (void *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr): CUDA's addresses are numbers
}

/* Cuts all blocks into pieces of one size; those, and those of the engine's memory, are in random order. */
static void cut(struct bench *bench, uint32_t size)
{
	uint64_t random = base_stream(size);
	uint32_t each = BLOCK / size;

	bench->size = size;
	bench->count = bench->engine.of->blocks * each;
	for (uint32_t i = 0; i < bench->count; i++) {
		uint32_t place = base_below(&random, i + 1);

		bench->order[i] = bench->order[place];
		bench->order[place] = i;
	}
	for (uint32_t i = 0; i < bench->count; i++)
		bench->pieces[i] = (struct kvshm_piece){
			.held = &bench->held[i / each],
			.offset = (uint64_t)(i % each) * size,
			.length = size,
			.memory = pointer_to(bench->at + (uint64_t)bench->order[i] * size)};
	for (uint32_t i = bench->count - 1; i; i--) {
		uint32_t place = base_below(&random, i + 1);
		struct kvshm_piece piece = bench->pieces[i];

		bench->pieces[i] = bench->pieces[place];
		bench->pieces[place] = piece;
	}
}

static void copy_pieces(const struct bench *bench)
{
	const struct real_engine *engine = &bench->engine;

	if (bench->in)
		base_expect(kvshm_copy_in(engine->store, engine->gpu.stream, 0, bench->pieces, bench->count), 0);
	else
		base_expect(kvshm_copy_out(engine->store, engine->gpu.stream, 0, bench->pieces, bench->count), 0);
}

static void copy_whole(const struct bench *bench)
{
	const struct real_engine *engine = &bench->engine;
	kvg_pointer plane = engine->planes[0];

	real_cu(engine->gpu.driver->copy_on(bench->in ? plane : bench->at, bench->in ? bench->at : plane,
					    bytes_of(bench), engine->gpu.stream));
}

/* ms. */
static double time_of(const struct bench *bench, void (*copy)(const struct bench *))
{
	const struct real_gpu *gpu = &bench->engine.gpu;
	float ms;

	if (bench->busy)
		real_spin(gpu, 0, 0, 0, bench->machine->standin ? BASE_MS : BUSY_MS * BASE_MS);
	real_cu(gpu->driver->event_record(bench->begin, gpu->stream));
	copy(bench);
	real_cu(gpu->driver->event_record(bench->end, gpu->stream));
	real_cu(gpu->more.event_synchronize(bench->end));
	real_cu(gpu->more.event_elapsed(&ms, bench->begin, bench->end));
	return (double)ms;
}

struct result {
	double whole_ms, ratio;
};

static struct result compare(struct bench *bench, bool busy)
{
	double *whole = calloc(bench->rounds, sizeof(*whole)), *ratio = calloc(bench->rounds, sizeof(*ratio));
	struct result result;

	base_check(whole && ratio);
	bench->busy = busy;
	(void)time_of(bench, copy_whole);
	(void)time_of(bench, copy_pieces);
	for (unsigned i = 0; i < bench->rounds; i++) {
		whole[i] = time_of(bench, copy_whole);
		ratio[i] = whole[i] / time_of(bench, copy_pieces);
	}
	result = (struct result){median(whole, bench->rounds), median(ratio, bench->rounds)};
	free(whole);
	free(ratio);
	return result;
}

/* One side gets numbers, is copied, and the other is checked, piece by piece; of pinned memory with a copy of it. */
static void copy_and_check(const struct bench *bench, const char *what)
{
	const struct real_engine *engine = &bench->engine;
	const struct real_gpu *gpu = &engine->gpu;
	kvg_pointer from = bench->in ? bench->at : engine->planes[0], to = bench->in ? engine->planes[0] : bench->at;

	real_fill(gpu, to, bytes_of(bench), ~VALUE);
	real_fill(gpu, from, bytes_of(bench), VALUE);
	copy_pieces(bench);
	for (uint32_t i = 0; i < bench->count; i++) {
		const struct kvshm_piece *piece = &bench->pieces[i];
		kvg_pointer there = (kvg_pointer)(uintptr_t)piece->memory, block;
		uint64_t offset;
		void *address;

		base_expect(kvshm_address(engine->store, piece->held, 0, &address), 0);
		block = (kvg_pointer)(uintptr_t)address + piece->offset;
		offset = bench->in ? there - bench->at : block - engine->planes[0];
		real_check(gpu, bench->in ? block : there, bench->size, VALUE + (uint32_t)(offset / 4));
	}
	real_expect_right(gpu, what);
}

static void print_row(const struct bench *bench, const char *what, struct result busy, struct result idle)
{
	const char *goal = bench->size >= 32U << 10 ? "0.95" : bench->size >= 8U << 10 ? "0.8" : "-";

	(void)printf("%s %s, %s, %s | %s | %u KiB | %.1f | %.2f | %.2f | %s |\n", row(bench->machine),
		     bench->machine->device, bench->machine->driver, bench->date, what, bench->size >> 10,
		     (double)bytes_of(bench) / busy.whole_ms / 1e6, busy.ratio, idle.ratio, goal);
}

static void compare_all(struct bench *bench, const char *in, const char *out)
{
	for (unsigned direction = 0; direction < 2; direction++) {
		bench->in = direction == 0;
		for (size_t i = 0; i < SIZES; i++) {
			const char *what = bench->in ? in : out;

			cut(bench, sizes[i]);
			copy_and_check(bench, what);
			print_row(bench, what, compare(bench, true), compare(bench, false));
		}
	}
}

static void take_all_blocks(struct bench *bench)
{
	const struct real_store *of = bench->engine.of;
	int *results = calloc(of->blocks, sizeof(*results));

	base_check(results != NULL);
	base_expect(kvshm_alloc_batch(bench->engine.store, of->blocks, bench->held, results), 0);
	for (uint32_t i = 0; i < of->blocks; i++)
		base_expect(results[i], 0);
	free(results);
}

static void copy_in_all_ways(void *arg)
{
	struct bench *bench = arg;
	struct real_engine *engine = &bench->engine;
	const struct kvg_driver *driver;
	uint32_t most = engine->of->blocks * (BLOCK / sizes[0]);
	void *pinned;

	real_gpu_open(&engine->gpu, false);
	driver = engine->gpu.driver;
	real_engine_attach(engine, engine->of);
	real_engine_map(engine);
	bench->held = calloc(engine->of->blocks, sizeof(*bench->held));
	bench->pieces = calloc(most, sizeof(*bench->pieces));
	bench->order = calloc(most, sizeof(*bench->order));
	base_check(bench->held && bench->pieces && bench->order);
	take_all_blocks(bench);
	real_cu(driver->event_create(&bench->begin, REAL_EVENT_TIMED));
	real_cu(driver->event_create(&bench->end, REAL_EVENT_TIMED));
	real_cu(driver->memory_alloc(&bench->at, bytes_of(bench)));
	compare_all(bench, "GPU to blocks", "blocks to GPU");
	real_cu(driver->memory_free(bench->at));
	real_cu(driver->host_alloc(&pinned, bytes_of(bench), KVG_HOST_PORTABLE));
	bench->at = (kvg_pointer)(uintptr_t)pinned;
	compare_all(bench, "host to blocks", "blocks to host");
	real_cu(driver->host_free(pinned));
	real_cu(driver->event_destroy(bench->begin));
	real_cu(driver->event_destroy(bench->end));
	real_engine_detach(engine);
	real_gpu_close(&engine->gpu);
}

int main(int argc, char **argv)
{
	struct real_machine machine;
	struct real_store *fd, *ipc;
	struct bench bench = {.machine = &machine};
	pid_t fd_owner, ipc_owner;
	char date[16];
	time_t now = time(NULL);
	size_t before;

	real_begin(&machine);
	before = real_available();
	bench.rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : machine.standin ? 2 : ROUNDS;
	base_check(bench.rounds > 0);
	(void)strftime(date, sizeof(date), "%Y-%m-%d", gmtime(&now));
	bench.date = date;
	fd = real_store("fd", KVSHM_EXPORT_FD, machine.standin ? 4 : 1024, BLOCK);
	ipc = real_store("ipc", KVSHM_EXPORT_IPC, fd->blocks, BLOCK);
	fd_owner = real_own(fd);
	ipc_owner = real_own(ipc);
	(void)printf("%s GPU, driver, date | export | attach, ms | attach and map, ms |\n%s --- | --- | --- | --- |\n",
		     row(&machine), row(&machine));
	time_attaching(&machine, date, fd, "file descriptors");
	time_attaching(&machine, date, ipc, "IPC handles");
	real_disown(ipc, ipc_owner);
	(void)printf("%s GPU, driver, date | copies | pieces of | contiguous, GB/s | ratio, behind other work | "
		     "ratio, stream idle | goal |\n%s --- | --- | --- | --- | --- | --- | --- |\n",
		     row(&machine), row(&machine));
	bench.engine.of = fd;
	base_check(base_reap(base_fork(copy_in_all_ways, &bench)) == 0);
	real_disown(fd, fd_owner);
	real_expect_available(&machine, before);
	return base_pass();
}
