/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real.h: what the programs share that run on a real GPU: whether there is one, a GPU as a process uses it, with the
 * kernels of the tests, an engine that fills and checks blocks by them, an owner, and how much memory the GPU has left.
 * They know nothing of the stand-in but that it is one (then they are small), and run with it as with any driver.
 *
 * Guarantees: the main process never loads the driver, so that its children may. What a call of the driver's returns
 * is looked at; a failure ends the test.
 */
#ifndef REAL_H
#define REAL_H

#include "../torture/base.h"
#include "driver.h"

/* ---- The driver ---------------------------------------------------------------------------------------------- */

/* What engines call beyond driver.h. */
#define REAL_FUNCTIONS(FUNCTION)                                                                               \
	FUNCTION(context_create, "cuCtxCreate_v2", (kvg_context *context, unsigned flags, kvg_device device)) \
	FUNCTION(context_destroy, "cuCtxDestroy_v2", (kvg_context context))                                    \
	FUNCTION(memory_info, "cuMemGetInfo_v2", (size_t *available, size_t *total))                         \
	FUNCTION(event_synchronize, "cuEventSynchronize", (kvg_event event))                                   \
	FUNCTION(event_elapsed, "cuEventElapsedTime", (float *ms, kvg_event from, kvg_event to))

enum { REAL_EVENT_TIMED = 0 };

#define REAL_MEMBER(member, name, parameters) kvg_result(*member) parameters;
struct real_driver {
	REAL_FUNCTIONS(REAL_MEMBER)
};
#undef REAL_MEMBER

/* Fails unless a call of the driver's succeeded. */
#define real_cu(call) real_cu_at(__FILE__, __LINE__, #call, (call))
void real_cu_at(const char *file, int line, const char *what, kvg_result result);

/* A GPU as a process has it: device 0, its primary context or one of the process's own, which is current. */
struct real_gpu {
	const struct kvg_driver *driver;
	struct real_driver more;
	kvg_device device;
	kvg_context context;
	bool own; /* the context is */
	kvg_stream stream;
	kvg_module module;
	kvg_function fill, check, spin;
	kvg_pointer wrong; /* words that test_check() found not to be as they should */
};

void real_gpu_open(struct real_gpu *gpu, bool own);
void real_gpu_close(struct real_gpu *gpu);

/* Kernels on the stream: see real_kernels.h. */
void real_fill(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value);
void real_check(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value);
void real_spin(const struct real_gpu *gpu, kvg_pointer at, size_t bytes, uint32_t value, uint64_t ns);
void real_wait(const struct real_gpu *gpu);
/* Waits, and fails if a check has found a wrong word. */
void real_expect_right(const struct real_gpu *gpu, const char *what);

/* ---- The machine --------------------------------------------------------------------------------------------- */

struct real_machine {
	char device[96], driver[48]; /* for people */
	bool standin;
};

/* Begins the program (base_begin()); ends it where there is no GPU, with the reason. */
void real_begin(struct real_machine *machine);

/* Bytes that the GPU has left, as a process that has come for that sees it. */
size_t real_available(void);
/* Waits until as much is left as was before, but for what a driver keeps for a while; fails if it never is. */
void real_expect_available(const struct real_machine *machine, size_t before);

/* ---- A store, its owner, its engines --------------------------------------------------------------------------- */

/* In memory that all processes share. */
struct real_store {
	const char *name;
	enum kvshm_export gpu_export;
	uint32_t blocks, planes, block_size;
	int replace_dead, adopt; /* how the next owner comes by it */
	_Atomic unsigned owned;	 /* by how many owners so far */
	_Atomic bool owner_ends; /* the next thing that an owner does is to destroy the store */
};

struct real_store *real_store(const char *what, enum kvshm_export gpu_export, uint32_t blocks, uint32_t block_size);
/* Starts an owner, of whom there is none, and waits until it has the store. */
pid_t real_own(struct real_store *store);
/* Lets it destroy the store. */
void real_disown(struct real_store *store, pid_t owner);

struct real_engine {
	struct real_gpu gpu;
	const struct real_store *of;
	kvshm_store *store;
	kvg_pointer planes[KVSHM_PLANES_MAX]; /* 0: not mapped yet */
};

void real_engine_attach(struct real_engine *engine, const struct real_store *of);
void real_engine_map(struct real_engine *engine);
/* Detaches; the GPU stays open. */
void real_engine_detach(struct real_engine *engine);

/* What a key's words begin with in a plane: no two are the same. */
uint32_t real_value(uint64_t key, unsigned plane);
/* Kernels on the stream that write, or check, all planes of a block. */
void real_fill_block(const struct real_engine *engine, const struct kvshm_handle *held, uint64_t key);
void real_check_block(const struct real_engine *engine, const struct kvshm_handle *held, uint64_t key);

/* Asks for keys, fills those that are its own to fill, by kernels, publishes these on the stream, waits for the others,
 * checks all of them by kernels, and lets go of them on the stream. Counts those that it filled, and those that it got.
 * Keys of which somebody who died was the filler, and those for which there was no room, come first in keys afterwards;
 * how many these are is returned. */
#define REAL_KEYS 32U
unsigned real_use_keys(const struct real_engine *engine, uint64_t *keys, unsigned count, uint64_t *filled,
		       uint64_t *got);

#endif
