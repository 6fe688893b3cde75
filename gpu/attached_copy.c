/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached_copy.c: copies between planes of GPU memory and this process's memory, which are waited for. See attached.h.
 *
 * They are on a stream of the attachment's own in each context, which neither waits for the program's streams nor has
 * these wait, and is in no capture's way. Threads share it without a lock of ours: the driver takes calls of several,
 * their copies would share the bus anyway, and to wait for what was put on it before is to wait for that.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>

#include "attached_map.h"
#include "fault.h"
#include "lock.h"

struct kvg_copy_stream {
	struct kvg_copy_stream *next;
	kvg_context context;
	kvg_stream stream;
};

/* In the context, under the lock. */
static int make_stream(struct kvg_attached *attached, const struct kvg_driver *driver, kvg_context context,
		       kvg_stream *stream)
{
	struct kvg_copy_stream *made = malloc(sizeof(*made));
	kvg_result result;

	if (!made)
		return kvs_fault(ENOMEM, "no memory");
	result = driver->stream_create(stream, KVG_STREAM_NON_BLOCKING);
	if (result != KVG_SUCCESS) {
		free(made);
		return kvg_fault(driver, result, "make a stream for copies");
	}
	*made = (struct kvg_copy_stream){attached->copy_streams, context, *stream};
	attached->copy_streams = made;
	return 0;
}

static int find_stream(struct kvg_attached *attached, const struct kvg_driver *driver, kvg_context context,
		       kvg_stream *stream)
{
	for (const struct kvg_copy_stream *one = attached->copy_streams; one; one = one->next)
		if (one->context == context) {
			*stream = one->stream;
			return 0;
		}
	return make_stream(attached, driver, context, stream);
}

/* A context that is no more has taken its stream along. */
void kvg_attached_copies_close(struct kvg_attached *attached, const struct kvg_driver *driver)
{
	while (attached->copy_streams) {
		struct kvg_copy_stream *one = attached->copy_streams;

		attached->copy_streams = one->next;
		if (kvg_context_push_again(driver, one->context) == KVG_SUCCESS) {
			(void)driver->stream_destroy(one->stream);
			kvg_context_leave(driver);
		}
		free(one);
	}
}

/* ---- Copies ------------------------------------------------------------------------------------------------ */

/* Enters the plane's context, and leaves the lock: a copy waits for its stream. */
static int begin_copy(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver **driver,
		      kvg_stream *stream, kvg_pointer *base)
{
	kvg_context context;
	int rc = kvg_attached_map(attached, plane, base);

	if (rc == 0 && kvg_attached_is_opened(attached) && kvs_lock_alive(attached->map->probe, KVS_LOCK_OWNER) == 0)
		rc = kvg_attached_ownerless(); /* asked at each copy: one that finds no memory ruins the context */
	if (rc == 0)
		rc = kvg_attached_enter(attached, plane, driver, &context);
	if (rc)
		return rc;
	rc = find_stream(attached, *driver, context, stream);
	if (rc)
		kvg_attached_leave(attached, *driver);
	else
		(void)pthread_mutex_unlock(&attached->lock);
	return rc;
}

/* Until the GPU has the bytes, or this process: of memory that is not pinned the driver's call may return before. */
static int copy(const struct kvg_driver *driver, kvg_stream stream, kvg_pointer to, kvg_pointer from, uint64_t length,
		uint32_t plane)
{
	kvg_result result = driver->copy_on(to, from, length, stream);

	if (result == KVG_SUCCESS)
		result = driver->stream_synchronize(stream);
	kvg_context_leave(driver);
	if (result == KVG_SUCCESS)
		return 0;
	return kvg_fault(driver, result, "copy %llu bytes of plane %u", (unsigned long long)length, plane);
}

int kvg_attached_read(struct kvg_attached *attached, uint32_t plane, uint64_t at, void *to, uint64_t length)
{
	const struct kvg_driver *driver;
	kvg_stream stream;
	kvg_pointer base;
	int rc = begin_copy(attached, plane, &driver, &stream, &base);

	return rc ? rc : copy(driver, stream, (uintptr_t)to, base + at, length, plane);
}

int kvg_attached_write(struct kvg_attached *attached, uint32_t plane, uint64_t at, const void *from, uint64_t length)
{
	const struct kvg_driver *driver;
	kvg_stream stream;
	kvg_pointer base;
	int rc = begin_copy(attached, plane, &driver, &stream, &base);

	return rc ? rc : copy(driver, stream, base + at, (uintptr_t)from, length, plane);
}
