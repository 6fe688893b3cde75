/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copies.c: copies, on a stream or waited for. From memory of the host's that no device reaches by itself the driver
 * takes the bytes into memory of its own before it returns, also where the call waits; the device gets them when
 * someone waits for the stream or asks for it, or when more is put behind them. To such memory it waits.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "inner.h"

struct copy {
	uintptr_t to, from;
	size_t size;
};

static atomic_uint pageable_copies;

kvg_result si_copy(struct CUstream_st *stream, uintptr_t to, uintptr_t from, size_t size, bool kernel)
{
	int device = si_stream_context(stream)->device;
	char *there = si_at(to, size, device, kernel);
	const char *here = si_at(from, size, device, kernel);
	size_t half = size / 2;

	if (!there || !here)
		return KVG_ILLEGAL_ADDRESS;
	memcpy(there, here, half);
	si_stream_inside(stream);
	memcpy(there + half, here + half, size - half);
	return KVG_SUCCESS;
}

static kvg_result run_copy(struct CUstream_st *stream, void *argument)
{
	const struct copy *copy = argument;

	return si_copy(stream, copy->to, copy->from, copy->size, false);
}

/* The bytes are behind it. */
static kvg_result run_staged(struct CUstream_st *stream, void *argument)
{
	const struct copy *copy = argument;

	return si_copy(stream, copy->to, (uintptr_t)(copy + 1), copy->size, false);
}

static bool is_possible(const struct copy *copy, int device)
{
	bool is;

	si_ranges_hold();
	is = si_at(copy->to, copy->size, device, false) && si_at(copy->from, copy->size, device, false);
	si_ranges_go();
	return is;
}

static kvg_result push_staged(struct CUstream_st *stream, const struct copy *copy)
{
	struct copy *staged = malloc(sizeof(*copy) + copy->size);
	kvg_result result;

	if (!staged)
		return KVG_OUT_OF_MEMORY;
	*staged = *copy;
	/* Addresses of CUDA's calls are numbers. */
	memcpy(staged + 1, (const void *)copy->from, copy->size); // NOLINT(performance-no-int-to-ptr)
	result = si_stream_push_late(stream, run_staged, staged, sizeof(*copy) + copy->size);
	free(staged);
	return result;
}

/* With si_lock, which it lets go of. */
static kvg_result push(kvg_stream handle, const struct copy *copy, const char *what, bool waits)
{
	bool staged = si_is_pageable(copy->from, copy->size), awaited = si_is_pageable(copy->to, copy->size);
	struct CUstream_st *stream;
	kvg_result result = si_stream_of(handle, &stream);

	if (result == KVG_SUCCESS && waits)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS)
		result = si_capture_refuses(stream, what);
	if (result == KVG_SUCCESS && !is_possible(copy, si_stream_context(stream)->device))
		result = KVG_INVALID_VALUE;
	if (result == KVG_SUCCESS && !waits && (staged || awaited))
		atomic_fetch_add(&pageable_copies, 1);
	if (result == KVG_SUCCESS)
		result = staged ? push_staged(stream, copy)
				: si_stream_push(stream, run_copy, copy, sizeof(*copy), true);
	si_leave(result);
	return result == KVG_SUCCESS && (awaited || (waits && !staged)) ? si_stream_drain(stream) : result;
}

SI_PUBLIC kvg_result cu_copy_in(kvg_pointer to, const void *from, size_t size)
{
	kvg_result result = si_enter(SI_copy_in);

	return result == KVG_SUCCESS ? push(NULL, &(struct copy){to, (uintptr_t)from, size}, "cuMemcpyHtoD()", true)
				     : result;
}

SI_PUBLIC kvg_result cu_copy_out(void *to, kvg_pointer from, size_t size)
{
	kvg_result result = si_enter(SI_copy_out);

	return result == KVG_SUCCESS ? push(NULL, &(struct copy){(uintptr_t)to, from, size}, "cuMemcpyDtoH()", true)
				     : result;
}

SI_PUBLIC kvg_result cu_copy_on(kvg_pointer to, kvg_pointer from, size_t size, kvg_stream stream)
{
	kvg_result result = si_enter(SI_copy_on);

	return result == KVG_SUCCESS ? push(stream, &(struct copy){to, from, size}, "cuMemcpyAsync()", false) : result;
}

SI_PUBLIC unsigned standin_pageable_copies(void)
{
	return atomic_load(&pageable_copies);
}
