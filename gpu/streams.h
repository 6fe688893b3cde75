/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams.h: calls that take effect when a stream gets there, and copies on streams.
 *
 * Guarantees: one thing is put on the stream for a call, whatever it has to do (cuLaunchHostFunc(), a kernel for all
 * small pieces, a copy for each large one). A stream that is being captured is refused before anything is changed. What
 * is on a stream keeps the client from being closed: drain waits until it has been done, or its context has failed; a
 * call of the driver's that comes after that all the same finds nothing.
 */
#ifndef KVG_STREAMS_H
#define KVG_STREAMS_H

#include "attached.h"

/* What is called when the stream gets there, by a thread of the driver's, which must not call the driver: done(arg),
 * once; or lost(arg), once, when it is known that the stream never gets there, by the thread that drains. */
struct kvg_call {
	void (*done)(void *arg);
	void (*lost)(void *arg);
	void *arg;
};

/* Puts it on the stream. plane: whose GPU's primary context it is where neither stream nor thread has one. -EBUSY: it
 * is being captured. */
int kvg_streams_call(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_call *call);

/* A piece of memory to copy, by addresses that the GPU can use. The layout is the kernel's: see copy_kernel.h. */
struct kvg_piece {
	uint64_t to, from, bytes;
};

/* Copies them, on the stream, in no certain order. The list of pieces, not the bytes, is copied before it returns. in:
 * the plane is where they go to. Memory at the other end that the stream's GPU can't reach would ruin the context:
 * where the driver can say so, nothing is copied then.
 *   -EFAULT  it is neither GPU memory nor pinned
 *   -EXDEV   it is another GPU's; or the plane is, or is mapped in another context */
int kvg_streams_copy(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_piece *pieces,
		     size_t count, bool in);

/* Waits for all that is on streams; frees what streams needed. By kvg_attached_close(). */
void kvg_streams_close(struct kvg_attached *attached, const struct kvg_driver *driver);

#endif
