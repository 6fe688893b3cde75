/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copies.c: many pieces, copied on a stream. See copies.h.
 *
 * The copy engine takes 2 us or so to be told of a piece, whatever its length: where memory of the GPU is copied to
 * memory of the GPU, several MiB have gone in that time; over the bus, 100 KiB. Pieces that are shorter are copied by
 * one kernel, all of them. It reads their list from the host's memory: copied to the GPU first, all would wait for
 * that.
 */
#include "config.h"

#include "copies.h"

#include <stdlib.h>

#include "copy_kernel.h"
#include "fault.h"

/* From where on a piece is the copy engine's. */
#define LARGE_HOST (UINT64_C(128) << 10)
#define LARGE_DEVICE (UINT64_C(4) << 20)
/* What a warp copies at most: longer pieces are cut into parts of this. */
#define PART (UINT64_C(8) << 10)
/* Blocks of the kernel where host memory is at one end: they keep more in flight (16 KiB each) than the bus needs. More
 * would only wait for it, where the engine's own kernels could be. Within the GPU all are wanted. */
#define BLOCKS_HOST 32
/* Parts in a span, small or large: 12 KiB and 384 KiB of pinned memory. */
enum size { SMALL, LARGE };
static const uint32_t sizes[] = {[SMALL] = 512, [LARGE] = 16384};
/* How many of the oldest spans are looked at for one that is free, before another is made. */
#define LOOKS 8

_Static_assert(sizeof(struct kvg_piece) == 24, "the kernel reads descriptors of 24 bytes");

struct kvg_span {
	struct kvg_span *next;
	kvg_event event;
	struct kvg_piece *parts;
	enum size size;
};

/* ---- Spans --------------------------------------------------------------------------------------------------- */

static void free_span(const struct kvg_driver *driver, struct kvg_span *span)
{
	if (driver && span->event)
		(void)driver->event_destroy(span->event);
	if (driver && span->parts)
		(void)driver->host_free(span->parts);
	free(span);
}

static int new_span(const struct kvg_driver *driver, enum size size, struct kvg_span **span)
{
	struct kvg_span *made = calloc(1, sizeof(*made));
	void *parts = NULL;
	kvg_result result;

	if (!made)
		return kvs_fault(ENOMEM, "no memory");
	result =
		driver->host_alloc(&parts, sizes[size] * sizeof(*made->parts), KVG_HOST_PORTABLE | KVG_HOST_DEVICE_MAP);
	made->parts = parts;
	made->size = size;
	if (result == KVG_SUCCESS)
		result = driver->event_create(&made->event, KVG_EVENT_DISABLE_TIMING);
	if (result != KVG_SUCCESS) {
		free_span(driver, made);
		return kvg_fault(driver, result, "get pinned memory for a list of copies");
	}
	*span = made;
	return 0;
}

/* Locked: behind all others. */
static void append(struct kvg_copies *copies, struct kvg_span *span)
{
	struct kvg_spans *spans = &copies->spans[span->size];

	if (!spans->first)
		spans->last = &spans->first;
	span->next = NULL;
	*spans->last = span;
	spans->last = &span->next;
}

/* A span of that size that no stream needs any more; else NULL. Those that one does need go to the end: a stream that
 * stands still does not hide what others have left. A context that has failed says so at the next call. */
static struct kvg_span *find_span(const struct kvg_driver *driver, struct kvg_copies *copies, enum size size)
{
	struct kvg_spans *spans = &copies->spans[size];
	struct kvg_span *found = NULL;

	(void)pthread_mutex_lock(&copies->lock);
	for (unsigned i = 0; i < LOOKS && spans->first && !found; i++) {
		struct kvg_span *span = spans->first;

		spans->first = span->next;
		if (driver->event_query(span->event) == KVG_SUCCESS)
			found = span;
		else
			append(copies, span);
	}
	(void)pthread_mutex_unlock(&copies->lock);
	return found;
}

static int take_span(const struct kvg_driver *driver, struct kvg_copies *copies, enum size size, struct kvg_span **span)
{
	*span = find_span(driver, copies, size);
	return *span ? 0 : new_span(driver, size, span);
}

/* The stream has all that the span is for: it is free again when the stream has got there. */
static int put_behind(const struct kvg_driver *driver, struct kvg_copies *copies, kvg_stream stream,
		      struct kvg_span *span)
{
	kvg_result result = driver->event_record(span->event, stream);

	(void)pthread_mutex_lock(&copies->lock);
	if (result == KVG_SUCCESS) {
		append(copies, span);
	} else {
		span->next = copies->stuck;
		copies->stuck = span;
	}
	(void)pthread_mutex_unlock(&copies->lock);
	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "put an event behind copies on a stream");
}

/* ---- The kernel ---------------------------------------------------------------------------------------------- */

/* Loads it, once for a context; of two threads at the same time, one has done so in vain. Not under the lock: it may
 * wait for what is on the context's streams. */
static int load(const struct kvg_driver *driver, struct kvg_copies *copies, kvg_function *function)
{
	kvg_module module = NULL, spare;
	kvg_result result;

	(void)pthread_mutex_lock(&copies->lock);
	*function = copies->function;
	(void)pthread_mutex_unlock(&copies->lock);
	if (*function)
		return 0;
	result = driver->module_load(&module, kvg_copy_ptx);
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "load the kernel that copies");
	result = driver->module_function(function, module, KVG_COPY_KERNEL);
	if (result != KVG_SUCCESS) {
		(void)driver->module_unload(module);
		return kvg_fault(driver, result, "find the kernel that copies");
	}
	spare = module;
	(void)pthread_mutex_lock(&copies->lock);
	if (!copies->function) {
		copies->module = module;
		copies->function = *function;
		spare = NULL;
	}
	*function = copies->function;
	(void)pthread_mutex_unlock(&copies->lock);
	if (spare)
		(void)driver->module_unload(spare);
	return 0;
}

static int launch(const struct kvg_driver *driver, kvg_function function, kvg_stream stream,
		  const struct kvg_span *span, uint32_t count, bool host)
{
	uint32_t blocks = (count + KVG_COPY_WARPS - 1) / KVG_COPY_WARPS;
	kvg_pointer parts = (uintptr_t)span->parts;
	void *parameters[] = {&parts, &count};
	kvg_result result = driver->launch(function, host && blocks > BLOCKS_HOST ? BLOCKS_HOST : blocks, 1, 1,
					   KVG_COPY_THREADS, 1, 1, 0, stream, parameters, NULL);

	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "put the kernel that copies on a stream");
}

/* ---- A list -------------------------------------------------------------------------------------------------- */

/* Where a list has been followed to. */
struct walk {
	const struct kvg_piece *pieces;
	size_t count, at;
	uint64_t done, large; /* of the piece that it is at; from where on pieces are passed over */
};

/* The next parts of small pieces, at most size; returns how many. */
static uint32_t gather(struct walk *walk, struct kvg_piece *parts, uint32_t size)
{
	uint32_t n = 0;

	while (n < size && walk->at < walk->count) {
		const struct kvg_piece *piece = &walk->pieces[walk->at];
		uint64_t left = piece->bytes < walk->large ? piece->bytes - walk->done : 0;

		if (left)
			parts[n++] = (struct kvg_piece){piece->to + walk->done, piece->from + walk->done,
							left < PART ? left : PART};
		walk->done += PART;
		if (left <= PART) {
			walk->at++;
			walk->done = 0;
		}
	}
	return n;
}

/* How many parts a list has, up to one more than a small span. */
static uint64_t count_parts(const struct walk *walk)
{
	uint64_t parts = 0;

	for (size_t i = 0; i < walk->count && parts <= sizes[SMALL]; i++)
		if (walk->pieces[i].bytes < walk->large)
			parts += (walk->pieces[i].bytes + PART - 1) / PART;
	return parts;
}

static int put_large(const struct kvg_driver *driver, kvg_stream stream, const struct walk *walk)
{
	for (size_t i = 0; i < walk->count; i++) {
		const struct kvg_piece *piece = &walk->pieces[i];
		kvg_result result = KVG_SUCCESS;

		if (piece->bytes >= walk->large)
			result = driver->copy_on(piece->to, piece->from, piece->bytes, stream);
		if (result != KVG_SUCCESS)
			return kvg_fault(driver, result, "put a copy of %llu bytes on a stream",
					 (unsigned long long)piece->bytes);
	}
	return 0;
}

/* All of it, with a span to begin with: each span is put behind what it lists. The first also stands for what the copy
 * engine has. */
static int put_all(const struct kvg_driver *driver, struct kvg_copies *copies, kvg_stream stream, kvg_function function,
		   struct walk *walk, struct kvg_span *span)
{
	enum size size = span->size;
	int rc = put_large(driver, stream, walk), rc_behind;

	do {
		uint32_t n = rc ? 0 : gather(walk, span->parts, sizes[size]);

		if (n)
			rc = launch(driver, function, stream, span, n, walk->large == LARGE_HOST);
		rc_behind = put_behind(driver, copies, stream, span);
		if (rc == 0)
			rc = rc_behind;
		if (rc == 0 && walk->at < walk->count)
			rc = take_span(driver, copies, size, &span);
	} while (rc == 0 && walk->at < walk->count);
	return rc;
}

int kvg_copies_put(const struct kvg_driver *driver, struct kvg_copies *copies, kvg_stream stream,
		   const struct kvg_piece *pieces, size_t count, bool host)
{
	struct walk walk = {.pieces = pieces, .count = count, .large = host ? LARGE_HOST : LARGE_DEVICE};
	uint64_t parts = count_parts(&walk);
	kvg_function function = NULL;
	struct kvg_span *span;
	int rc = parts ? load(driver, copies, &function) : 0;

	if (rc == 0)
		rc = take_span(driver, copies, parts > sizes[SMALL] ? LARGE : SMALL, &span);
	return rc ? rc : put_all(driver, copies, stream, function, &walk, span);
}

/* ---- The end ------------------------------------------------------------------------------------------------- */

static void free_spans(const struct kvg_driver *driver, struct kvg_span *span)
{
	while (span) {
		struct kvg_span *next = span->next;

		free_span(driver, span);
		span = next;
	}
}

/* With what has no event behind it, only all of the context can be waited for. The driver has then refused an event
 * behind what it had taken: it is not known to do so in a context that lives. */
static kvg_result look_at_stuck(const struct kvg_driver *driver, struct kvg_copies *copies)
{
	kvg_result result = copies->stuck ? driver->context_synchronize() : KVG_SUCCESS;

	if (result == KVG_SUCCESS && copies->stuck) {
		free_spans(driver, copies->stuck);
		copies->stuck = NULL;
	}
	return result;
}

kvg_result kvg_copies_look(const struct kvg_driver *driver, struct kvg_copies *copies)
{
	kvg_result result = look_at_stuck(driver, copies);

	for (int size = SMALL; size <= LARGE; size++)
		for (struct kvg_span *span = copies->spans[size].first; span && result == KVG_SUCCESS;
		     span = span->next)
			result = driver->event_query(span->event);
	return result;
}

void kvg_copies_close(const struct kvg_driver *driver, struct kvg_copies *copies)
{
	for (int size = SMALL; size <= LARGE; size++) {
		free_spans(driver, copies->spans[size].first);
		copies->spans[size].first = NULL;
	}
	free_spans(driver, copies->stuck);
	copies->stuck = NULL;
	if (driver && copies->module)
		(void)driver->module_unload(copies->module);
	copies->module = NULL;
	copies->function = NULL;
}
