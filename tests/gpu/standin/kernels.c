/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kernels.c: what the kernels do that the stand-in knows by their names, in C: kvshm's own, and those of tests. Each
 * reaches what a device may reach; what it may not is KVG_ILLEGAL_ADDRESS, which ruins the context.
 */
#include "config.h"
#include <sched.h>
#include <string.h>
#include <time.h>
#include "inner.h"

static char *at(struct CUstream_st *stream, uint64_t address, size_t bytes)
{
	return si_at((uintptr_t)address, bytes, si_stream_context(stream)->device, true);
}

struct piece {
	uint64_t to, from, bytes;
};

/* kvshm_copy_pieces(pieces, count) */
static kvg_result copy_pieces(struct CUstream_st *stream, const uint64_t *parameters)
{
	uint32_t count = (uint32_t)parameters[1], i;
	const struct piece *pieces = (void *)at(stream, parameters[0], count * sizeof(*pieces));
	kvg_result result = pieces ? KVG_SUCCESS : KVG_ILLEGAL_ADDRESS;

	for (i = 0; result == KVG_SUCCESS && i < count; i++)
		result = si_copy(stream, pieces[i].to, pieces[i].from, pieces[i].bytes, true);
	return result;
}

/* test_fill(address, bytes, value): words of 32 bits, each value + its number */
static kvg_result fill(struct CUstream_st *stream, const uint64_t *parameters)
{
	uint32_t *words = (void *)at(stream, parameters[0], parameters[1]);
	size_t count = parameters[1] / sizeof(*words), i;

	if (!words)
		return KVG_ILLEGAL_ADDRESS;
	for (i = 0; i < count; i++) {
		if (i == count / 2)
			si_stream_inside(stream);
		words[i] = (uint32_t)parameters[2] + (uint32_t)i;
	}
	return KVG_SUCCESS;
}

/* test_check(address, bytes, value, wrong): adds to *wrong the words that are not as test_fill() writes them */
static kvg_result check(struct CUstream_st *stream, const uint64_t *parameters)
{
	const uint32_t *words = (void *)at(stream, parameters[0], parameters[1]);
	uint32_t *wrong = (void *)at(stream, parameters[3], sizeof(*wrong));
	size_t count = parameters[1] / sizeof(*words), i;

	if (!words || !wrong)
		return KVG_ILLEGAL_ADDRESS;
	for (i = 0; i < count; i++)
		*wrong += words[i] != (uint32_t)parameters[2] + (uint32_t)i;
	return KVG_SUCCESS;
}

/* test_spin(address, bytes, value, ns): writes what test_fill() does, again and again, until ns have passed */
static kvg_result spin(struct CUstream_st *stream, const uint64_t *parameters)
{
	struct timespec begin, now;
	uint64_t passed;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		kvg_result result = parameters[1] ? fill(stream, parameters) : KVG_SUCCESS;

		if (result != KVG_SUCCESS)
			return result;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
		passed = (uint64_t)(now.tv_sec - begin.tv_sec) * 1000000000 + (uint64_t)now.tv_nsec -
			 (uint64_t)begin.tv_nsec;
	} while (passed < parameters[3]);
	return KVG_SUCCESS;
}

static const struct si_kernel kernels[] = {
	{"kvshm_copy_pieces", 2, {8, 4}, copy_pieces},
	{"test_fill", 3, {8, 8, 4}, fill},
	{"test_check", 4, {8, 8, 4, 8}, check},
	{"test_spin", 4, {8, 8, 4, 8}, spin},
};

const struct si_kernel *si_kernel(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(kernels) / sizeof(*kernels); i++)
		if (strcmp(kernels[i].name, name) == 0)
			return &kernels[i];
	si_die("a kernel %s is launched, and kernels.c has none", name);
}
