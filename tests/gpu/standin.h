/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * standin.h: the tests' stand-in for the CUDA driver, libcuda.so.1 over memory that processes share, and what a test
 * can ask of it and make it do. It has the functions of gpu/driver.h, and those below that only engines call; each is
 * declared here as cu_MEMBER, so that a test that is linked with it calls them as well.
 *
 * Guarantees: what a process has of a device is given back when nobody has it any more, however processes end: that is
 * looked up where the kernel keeps it. A load or a store of the processor to a device's address faults, as long as
 * KVSHM_STANDIN_GUARD is not 0. What no program may do of the driver's (work for a stream that is being captured,
 * memory that is unmapped while it is registered) ends the test with a message.
 *
 * The environment, read by the first call (README.md says more):
 *   KVSHM_STANDIN_DIR      the folder that is shared by the processes of a test; else $TMPDIR/standin
 *   KVSHM_STANDIN_DEVICES  how many devices there are, unless the folder has a file `devices`; 2
 *   KVSHM_STANDIN_VERSION  what cuDriverGetVersion() says; 13000
 *   KVSHM_STANDIN_WITHOUT  functions that the library does not have: NAME,NAME; read when it is loaded
 *   KVSHM_STANDIN_FAIL     calls that fail: NAME:RESULT (each one) or NAME:RESULT:NTH, with commas between
 *   KVSHM_STANDIN_GUARD    0: devices' addresses can be read and written as any others
 *   CUDA_VISIBLE_DEVICES   as the real one: ordinals, GPU-... or MIG-..., with commas between
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>
#include "driver.h"

/* ---- What engines call beyond driver.h ---------------------------------------------------------------------- */

#define STANDIN_FUNCTIONS(FUNCTION)                                                                            \
	FUNCTION(context_create, "cuCtxCreate_v2", (kvg_context *context, unsigned flags, kvg_device device)) \
	FUNCTION(context_destroy, "cuCtxDestroy_v2", (kvg_context context))                                    \
	FUNCTION(context_set, "cuCtxSetCurrent", (kvg_context context))                                        \
	FUNCTION(copy_in, "cuMemcpyHtoD_v2", (kvg_pointer to, const void *from, size_t size))                  \
	FUNCTION(copy_out, "cuMemcpyDtoH_v2", (void *to, kvg_pointer from, size_t size))                       \
	FUNCTION(stream_query, "cuStreamQuery", (kvg_stream stream))                                           \
	FUNCTION(memory_info, "cuMemGetInfo_v2", (size_t *available, size_t *total))                           \
	FUNCTION(event_synchronize, "cuEventSynchronize", (kvg_event event))                                   \
	FUNCTION(event_elapsed, "cuEventElapsedTime", (float *ms, kvg_event from, kvg_event to))               \
	FUNCTION(capture_begin, "cuStreamBeginCapture_v2", (kvg_stream stream, int mode))                      \
	FUNCTION(capture_end, "cuStreamEndCapture", (kvg_stream stream, void **graph))

enum { STANDIN_CAPTURE_GLOBAL = 0, STANDIN_CAPTURE_OF_THREAD = 1, STANDIN_CAPTURE_RELAXED = 2 };

/* The asm names are those of the library. */
#define STANDIN_DECLARE(member, name, parameters) kvg_result cu_##member parameters __asm__(name);
KVG_FUNCTIONS(STANDIN_DECLARE, STANDIN_DECLARE)
STANDIN_FUNCTIONS(STANDIN_DECLARE)
#undef STANDIN_DECLARE

/* ---- Memory ------------------------------------------------------------------------------------------------- */

/* The bytes of a device that are in use by any process. The device is its place in the machine, whatever this process
 * can see. Can be called by any process, also by one that was forked. */
size_t standin_bytes_used(int device);

/* Where this process can read and write what is at a device's address; NULL where nothing is, or not so much. */
void *standin_look(kvg_pointer at, size_t bytes);

/* ---- Failures ----------------------------------------------------------------------------------------------- */

/* The nth call of that function from now on (1: the next one; 0: every one) returns that result. A function that frees
 * something does so all the same, as the real ones do when they tell of an earlier error. Each function has one such
 * order at a time. */
void standin_fail(const char *name, unsigned nth, kvg_result result);
/* The same of the nth call of any function, but for cuGetErrorName() and cuGetErrorString(). To have every call of some
 * work fail in turn:
 *	for (k = 1;; k++) {
 *		standin_fail_call(k, KVG_UNKNOWN);
 *		work();
 *		if (!standin_failed())
 *			break;
 *	}
 */
void standin_fail_call(unsigned nth, kvg_result result);
/* Nothing is to fail any more. */
void standin_calm(void);
/* The name of the function that failed last, of those that were ordered to since the last order; NULL: none has. */
const char *standin_failed(void);
/* The calls that this process has made, failed ones too, but for the two above. */
unsigned long standin_calls(void);
/* Of that function. */
unsigned long standin_calls_of(const char *name);

/* ---- What is left ------------------------------------------------------------------------------------------- */

/* What this process has that it has not given back. */
struct standin_leaks {
	unsigned references;   /* to primary contexts */
	unsigned contexts;     /* that cuCtxCreate() made */
	unsigned handles;      /* of cuMemCreate() and cuMemImportFromShareableHandle() */
	unsigned reservations; /* of addresses */
	unsigned maps;	       /* of cuMemMap() */
	unsigned allocations;  /* of cuMemAlloc() */
	unsigned opened;       /* of cuIpcOpenMemHandle(): each opening counts */
	unsigned registered;   /* ranges of host memory */
	unsigned pinned;       /* of cuMemHostAlloc() */
	unsigned streams;
	unsigned events;
	unsigned modules;
	unsigned abandoned; /* of the last seven kinds, and opened memory: what went with its context only */
};

/* Returns their sum; leaks may be NULL. */
unsigned standin_leaks(struct standin_leaks *leaks);
/* The same as text, for a message: "2 handles, 1 events", or "nothing". This thread's next call overwrites it. */
const char *standin_leaks_text(void);

/* ---- Contexts ----------------------------------------------------------------------------------------------- */

/* The calling thread's stack of contexts: how many there are, and each; 0 is the lowest. */
unsigned standin_context_depth(void);
kvg_context standin_context_at(unsigned place);
/* How often the primary context of a device, by its ordinal in this process, is retained. */
unsigned standin_context_references(int ordinal);
/* A sticky error: what is queued is dropped, host functions never run, and each call with this context returns it. */
void standin_ruin(kvg_context context, kvg_result result);

/* ---- Streams ------------------------------------------------------------------------------------------------ */

/* Each stream is a thread; NULL is the default stream of the current context. Held, it stops before its next item
 * (copy, kernel, host function, event); held inside, in the middle of its next copy or kernel. */
void standin_stream_hold(kvg_stream handle);
void standin_stream_hold_inside(kvg_stream handle);
void standin_stream_go(kvg_stream handle);
/* Until it stands: held, with something before it, or inside. */
void standin_stream_await_held(kvg_stream handle);
/* One item, of a stream that is held; returns when it is done. */
void standin_stream_step(kvg_stream handle);
/* The items that are queued or under way. */
unsigned standin_stream_queued(kvg_stream handle);
/* Captures that this process has made invalid by calls that the driver does not allow meanwhile. */
unsigned standin_captures_spoiled(void);
/* The blocks of the last kernel that was launched. */
unsigned standin_blocks(void);
/* Asynchronous copies from or to host memory that is neither pinned nor registered: the driver staged them. */
unsigned standin_pageable_copies(void);

/* ---- Remote writes ------------------------------------------------------------------------------------------ */

/* Calls of cuFlushGPUDirectRDMAWrites() that succeeded, of this process. */
unsigned long standin_flushes(void);

#endif
