/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inner.h: what the files of the stand-in share. Two locks: si_lock, of a call, from si_enter() to si_leave(), for all
 * objects; and si_work, taken inside it or alone, for what is queued on streams. What addresses mean is behind a third
 * (ranges.c): it is held for reading while a copy or a kernel runs, and for writing where a mapping changes, so that
 * nothing is unmapped below one that runs.
 */
#ifndef STANDIN_INNER_H
#define STANDIN_INNER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include "standin.h"

#define SI_PUBLIC __attribute__((visibility("default")))

/* ---- calls.c: what each call begins and ends with ----------------------------------------------------------- */

#define SI_CALL(member, name, parameters) SI_##member,
enum si_call { KVG_FUNCTIONS(SI_CALL, SI_CALL) STANDIN_FUNCTIONS(SI_CALL) SI_CALLS };
#undef SI_CALL

extern pthread_mutex_t si_lock;
extern _Thread_local bool si_in_host_function;

/* The program did what none may: says so, and ends it. */
void si_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* KVG_SUCCESS: the call goes on with si_lock, and ends with si_leave(). */
kvg_result si_enter(enum si_call call);
/* Of a call that needs no cuInit(): without the lock. */
kvg_result si_enter_early(enum si_call call);
kvg_result si_leave(kvg_result result);
/* This process has called cuInit() from now on. */
void si_started(void);
bool si_forked(void);

/* ---- machine.c: what there is, by the environment ----------------------------------------------------------- */

enum { SI_DEVICES = 16, SI_ATTRIBUTES = 256 };

struct si_device {
	char name[64];
	struct kvg_uuid uuid;
	bool mig;
	size_t memory;
	int attributes[SI_ATTRIBUTES]; /* -1: there is no such */
};

struct si_machine {
	char dir[3072];
	int version, count;
	struct si_device devices[SI_DEVICES];
	int visible_count, visible[SI_DEVICES]; /* the device of each ordinal */
	bool guard;
};

const struct si_machine *si_machine(void);
/* The device of an ordinal, its place in the machine; -1: there is none. */
int si_device_of(kvg_device ordinal);
/* -1: this process does not see it. */
int si_ordinal_of(int device);
int si_attribute(int device, int attribute);

/* ---- files.c: the memory of devices ------------------------------------------------------------------------- */

/* A description of a file in the folder: the memory of a device as this process has it. */
struct si_memory {
	unsigned uses; /* handles and mappings of this process */
	int fd, device;
	size_t bytes;
	bool exportable, legacy;
	uint64_t owner, number; /* the process that made it, and which of its memories it is */
};

enum { SI_GRANULARITY = 2 << 20 };

extern uint64_t si_process; /* a random number */

kvg_result si_memory_make(struct si_memory **result, int device, size_t bytes, bool legacy);
/* From a descriptor of any kind, which stays the caller's. */
kvg_result si_memory_of(struct si_memory **result, int fd);
/* Legacy memory of another process. What is opened does not keep it. */
kvg_result si_memory_open(struct si_memory **result, int device, uint64_t owner, uint64_t number);
/* Whether its maker, of legacy memory, has it still. */
bool si_memory_is(const struct si_memory *memory);
/* A descriptor that keeps it, and whose position is offset; -1. */
int si_memory_descriptor(const struct si_memory *memory, size_t offset);
void si_memory_let_go(struct si_memory *memory);

/* ---- contexts.c --------------------------------------------------------------------------------------------- */

struct CUctx_st {
	struct CUctx_st *next;
	int device;
	bool primary, alive;
	unsigned references;
	_Atomic kvg_result ruin;
	struct CUstream_st *stream; /* the default one, once it is used */
	pthread_mutex_t functions;  /* one host function of a context at a time */
};

/* The calling thread's, which is alive and not ruined. */
kvg_result si_current(kvg_context *context);
/* Of an object's. */
kvg_result si_usable(kvg_context context);
void si_ruin(kvg_context context, kvg_result result);
unsigned si_context_leaks(bool primary);

/* ---- ranges.c: what addresses mean -------------------------------------------------------------------------- */

enum si_kind { SI_MAP, SI_ALLOCATION, SI_OPENED, SI_PINNED, SI_REGISTERED, SI_KINDS };

struct si_range {
	struct si_range *next;
	enum si_kind kind;
	uintptr_t at;
	size_t size;
	char *inner; /* where the stand-in has it; NULL: nobody has access yet */
	struct si_memory *memory;
	size_t offset;
	_Atomic uint64_t devices; /* that have access; a bit each */
	kvg_context context;	  /* but for SI_MAP */
	unsigned opened;
};

/* Addresses of devices, which are never given out twice; 0: there are no more. */
uintptr_t si_addresses(size_t size, size_t alignment);
bool si_is_device_address(uintptr_t at);
/* The range that has them all; NULL. With si_lock, or between si_ranges_hold() and si_ranges_go(). */
struct si_range *si_range_of(uintptr_t at, size_t size);
bool si_ranges_overlap(uintptr_t at, size_t size);
struct si_range *si_ranges_first(void);
/* Puts a copy of it into the table. */
kvg_result si_range_add(const struct si_range *from);
/* Makes what its memory has visible at it. */
kvg_result si_range_show(struct si_range *range);
void si_range_remove(struct si_range *range);
/* Those of a context that ends; their number. */
unsigned si_ranges_abandon(kvg_context context);
unsigned si_ranges_count(enum si_kind kind);

void si_ranges_hold(void);
void si_ranges_go(void);
/* Where the stand-in has size bytes at an address, for a kernel of a device, or a copy (which may use any memory of
 * the host's); NULL: it may not. Between the two above. */
char *si_at(uintptr_t at, size_t size, int device, bool kernel);
/* Whether it is memory of the host's that no device can reach by itself. */
bool si_is_pageable(uintptr_t at, size_t size);

/* ---- vmm.c, streams.c, events.c, modules.c ------------------------------------------------------------------ */

unsigned si_handles_count(void);
unsigned si_reservations_count(void);

struct CUstream_st;

/* NULL and the special ones: the default stream of the current context. */
kvg_result si_stream_of(kvg_stream handle, struct CUstream_st **result);
kvg_context si_stream_context(const struct CUstream_st *stream);
unsigned si_streams_count(void);
unsigned si_streams_abandon(kvg_context context);
void si_streams_drop(kvg_context context); /* what is queued: the context is ruined */

/* Work for a stream: run() is called when it gets there, with the copy that was made of the argument. */
typedef kvg_result si_run(struct CUstream_st *stream, void *argument);
kvg_result si_stream_push(struct CUstream_st *stream, si_run *run, const void *argument, size_t bytes,
			  bool device_work);
/* The same, of device work that is not done before someone waits for the stream, or asks for it, or more is put behind
 * it. */
kvg_result si_stream_push_late(struct CUstream_st *stream, si_run *run, const void *argument, size_t bytes);
/* How many items it was given; and whether that many are done. */
unsigned long si_stream_given(struct CUstream_st *stream);
bool si_stream_has_done(struct CUstream_st *stream, unsigned long count);
/* Without si_lock: until it has done all that it was given; KVG_SUCCESS, or what its context is ruined by. */
kvg_result si_stream_drain(struct CUstream_st *stream);
/* The same, until it has done so many. */
kvg_result si_stream_await(struct CUstream_st *stream, unsigned long count);
/* The streams of a context: the next one after stream, or NULL. With si_lock. */
struct CUstream_st *si_stream_next(struct CUstream_st *stream, kvg_context context);
/* In the middle of a copy or a kernel: stands here if a test wants that. */
void si_stream_inside(struct CUstream_st *stream);

/* copies.c: what copies and kernels do, with the ranges held; in the middle it stands if a test wants that. */
kvg_result si_copy(struct CUstream_st *stream, uintptr_t to, uintptr_t from, size_t size, bool kernel);

/* A call that is not allowed while a stream of this process (or of this thread) is captured. */
kvg_result si_capture_forbids(void);
/* Work for a stream. The default stream is in the way of captures of its context; a captured one ends the test. */
kvg_result si_capture_refuses(struct CUstream_st *stream, const char *what);

unsigned si_events_count(void);
unsigned si_events_abandon(kvg_context context);
unsigned si_modules_count(void);
unsigned si_modules_abandon(kvg_context context);

/* ---- kernels.c: those that the stand-in knows --------------------------------------------------------------- */

struct si_kernel {
	const char *name;
	unsigned parameters;
	size_t sizes[4]; /* of each */
	/* Each parameter is 8 bytes, the lower ones used. */
	kvg_result (*run)(struct CUstream_st *stream, const uint64_t *parameters);
};

const struct si_kernel *si_kernel(const char *name);

#endif
