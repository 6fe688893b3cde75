/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copies.h: what a context has for copies on its streams: the kernel, and the memory that lists of pieces lie in until
 * it has read them.
 *
 * Guarantees: once as many copies as are under way at a time have been made, nothing is allocated any more. No call
 * waits for a stream, but by the driver's own doing where a stream's queue is full, or the kernel is loaded; none is
 * made under the lock that might. Memory that a stream may still read is not used again, and not freed before
 * kvg_copies_close(), which comes when all streams have got there, or never will.
 */
#ifndef KVG_COPIES_H
#define KVG_COPIES_H

#include <pthread.h>
#include <stdbool.h>

#include "driver.h"
#include "streams.h"

struct kvg_span; /* pinned memory for a list, and the event behind what has it */

struct kvg_spans {
	struct kvg_span *first, **last;
};

/* Of one context, which is current in all the calls. Zeroed, but for the lock, is empty. */
struct kvg_copies {
	pthread_mutex_t lock; /* of all below: a leaf */
	kvg_module module;
	kvg_function function;
	struct kvg_spans spans[2]; /* small and large ones, that have been on streams: the oldest first */
	struct kvg_span *stuck;	   /* of which nobody knows when they will be free */
};

/* host: one end of each piece is in host memory. An error that comes late leaves pieces on the stream. */
int kvg_copies_put(const struct kvg_driver *driver, struct kvg_copies *copies, kvg_stream stream,
		   const struct kvg_piece *pieces, size_t count, bool host);

/* KVG_SUCCESS: nothing of it is on a stream any more; KVG_NOT_READY: something is; else what the context has failed
 * with, or why it does not say. By the one thread that is left. */
kvg_result kvg_copies_look(const struct kvg_driver *driver, struct kvg_copies *copies);

/* Frees it all. driver NULL: the context is none any more, and all that was in it has gone with it. */
void kvg_copies_close(const struct kvg_driver *driver, struct kvg_copies *copies);

#endif
