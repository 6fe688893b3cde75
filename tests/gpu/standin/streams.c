/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams.c: each stream is a thread, which does what it is given in that order. Tests can hold it. A stream is never
 * freed: who still has its address learns that it is destroyed.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "inner.h"

enum { NON_BLOCKING = 1, CAPTURE_INVALIDATED = 901, NOT_CAPTURED = -1 };

struct item {
	struct item *next;
	si_run *run;
	bool device_work;
	uint64_t argument[];
};

struct CUstream_st {
	struct CUstream_st *next;
	kvg_context context;
	bool is_default, blocking, alive;
	int captured; /* the mode, or NOT_CAPTURED */
	bool spoiled;
	pthread_t capturer;
	/* With si_work: */
	struct item *first, **last;
	unsigned long given, done;
	bool late; /* the last item that it was given */
	bool ends, runs, held, held_inside, inside;
	unsigned steps;
};

static struct CUstream_st *streams;
static unsigned spoiled;
static pthread_mutex_t si_work = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* ---- The thread --------------------------------------------------------------------------------------------- */

static void drop(struct CUstream_st *stream)
{
	struct item *item;

	while ((item = stream->first)) {
		stream->first = item->next;
		stream->done++;
		free(item);
	}
	stream->last = &stream->first;
}

static bool may_go_on(const struct CUstream_st *stream)
{
	bool late = stream->late && stream->first && !stream->first->next;

	return stream->ends || (stream->first && !late && (!stream->held || stream->steps));
}

static kvg_result do_item(struct CUstream_st *stream, struct item *item)
{
	kvg_result result;

	if (item->device_work)
		si_ranges_hold();
	result = item->run(stream, item->argument);
	if (item->device_work)
		si_ranges_go();
	return result;
}

static void *work(void *argument)
{
	struct CUstream_st *stream = argument, *other;
	struct item *item;
	kvg_result result;

	pthread_mutex_lock(&si_work);
	for (;;) {
		while (!may_go_on(stream))
			pthread_cond_wait(&changed, &si_work);
		item = stream->first;
		if (!item)
			break;
		stream->first = item->next;
		if (!stream->first)
			stream->last = &stream->first;
		stream->runs = true;
		pthread_mutex_unlock(&si_work);
		result = do_item(stream, item);
		free(item);
		pthread_mutex_lock(&si_work);
		stream->runs = false;
		stream->done++;
		stream->steps -= stream->steps > 0;
		if (result != KVG_SUCCESS && stream->alive) {
			atomic_store(&stream->context->ruin, result);
			for (other = streams; other; other = other->next)
				if (other->context == stream->context)
					drop(other);
		}
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&si_work);
	return NULL;
}

void si_stream_inside(struct CUstream_st *stream)
{
	pthread_mutex_lock(&si_work);
	stream->inside = stream->held_inside;
	pthread_cond_broadcast(&changed);
	while (stream->held_inside)
		pthread_cond_wait(&changed, &si_work);
	stream->inside = false;
	pthread_mutex_unlock(&si_work);
}

/* ---- For the other files ------------------------------------------------------------------------------------ */

static struct CUstream_st *make(kvg_context context, bool is_default, bool blocking)
{
	struct CUstream_st *stream = calloc(1, sizeof(*stream));
	pthread_t thread;

	if (!stream)
		return NULL;
	stream->context = context;
	stream->is_default = is_default;
	stream->blocking = blocking;
	stream->alive = true;
	stream->captured = NOT_CAPTURED;
	stream->last = &stream->first;
	if (pthread_create(&thread, NULL, work, stream)) {
		free(stream);
		return NULL;
	}
	pthread_detach(thread);
	pthread_mutex_lock(&si_work);
	stream->next = streams;
	streams = stream;
	pthread_mutex_unlock(&si_work);
	return stream;
}

kvg_result si_stream_of(kvg_stream handle, struct CUstream_st **result)
{
	struct CUstream_st *stream;
	kvg_result failure;
	kvg_context context;

	if ((uintptr_t)handle <= 2) { /* NULL, and the two special ones, which are no different here */
		failure = si_current(&context);
		if (failure != KVG_SUCCESS)
			return failure;
		if (!context->stream)
			context->stream = make(context, true, true);
		*result = context->stream;
		return *result ? KVG_SUCCESS : KVG_OUT_OF_MEMORY;
	}
	for (stream = streams; stream; stream = stream->next)
		if (stream == handle && stream->alive && !stream->is_default) {
			*result = stream;
			return si_usable(stream->context);
		}
	return KVG_INVALID_HANDLE;
}

kvg_context si_stream_context(const struct CUstream_st *stream)
{
	return stream->context;
}

unsigned si_streams_count(void)
{
	const struct CUstream_st *stream;
	unsigned count = 0;

	for (stream = streams; stream; stream = stream->next)
		count += stream->alive && !stream->is_default;
	return count;
}

unsigned si_streams_abandon(kvg_context context)
{
	struct CUstream_st *stream;
	unsigned count = 0;

	pthread_mutex_lock(&si_work);
	for (stream = streams; stream; stream = stream->next)
		if (stream->context == context && stream->alive) {
			stream->alive = false;
			stream->ends = true;
			drop(stream);
			count += !stream->is_default;
		}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&si_work);
	return count;
}

void si_streams_drop(kvg_context context)
{
	struct CUstream_st *stream;

	pthread_mutex_lock(&si_work);
	for (stream = streams; stream; stream = stream->next)
		if (stream->context == context)
			drop(stream);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&si_work);
}

static kvg_result push(struct CUstream_st *stream, si_run *run, const void *argument, size_t bytes, bool device_work,
		       bool late)
{
	struct item *item = calloc(1, sizeof(*item) + bytes + 1);

	if (!item)
		return KVG_OUT_OF_MEMORY;
	item->run = run;
	item->device_work = device_work;
	if (bytes)
		memcpy(item->argument, argument, bytes);
	pthread_mutex_lock(&si_work);
	*stream->last = item;
	stream->last = &item->next;
	stream->given++;
	stream->late = late;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&si_work);
	return KVG_SUCCESS;
}

kvg_result si_stream_push(struct CUstream_st *stream, si_run *run, const void *argument, size_t bytes, bool device_work)
{
	return push(stream, run, argument, bytes, device_work, false);
}

kvg_result si_stream_push_late(struct CUstream_st *stream, si_run *run, const void *argument, size_t bytes)
{
	return push(stream, run, argument, bytes, true, true);
}

/* With si_work. */
static void hurry(struct CUstream_st *stream)
{
	stream->late = false;
	pthread_cond_broadcast(&changed);
}

unsigned long si_stream_given(struct CUstream_st *stream)
{
	unsigned long given;

	pthread_mutex_lock(&si_work);
	given = stream->given;
	pthread_mutex_unlock(&si_work);
	return given;
}

bool si_stream_has_done(struct CUstream_st *stream, unsigned long count)
{
	bool has;

	pthread_mutex_lock(&si_work);
	hurry(stream);
	has = stream->done >= count;
	pthread_mutex_unlock(&si_work);
	return has;
}

kvg_result si_stream_await(struct CUstream_st *stream, unsigned long count)
{
	pthread_mutex_lock(&si_work);
	hurry(stream);
	while (stream->done < count)
		pthread_cond_wait(&changed, &si_work);
	pthread_mutex_unlock(&si_work);
	return atomic_load(&stream->context->ruin);
}

kvg_result si_stream_drain(struct CUstream_st *stream)
{
	return si_stream_await(stream, si_stream_given(stream));
}

struct CUstream_st *si_stream_next(struct CUstream_st *stream, kvg_context context)
{
	for (stream = stream ? stream->next : streams; stream; stream = stream->next)
		if (stream->context == context && stream->alive)
			return stream;
	return NULL;
}

/* ---- Captures ----------------------------------------------------------------------------------------------- */

static _Thread_local int interaction = STANDIN_CAPTURE_GLOBAL;

/* Is a stream's capture in the way of this thread's calls? */
static bool is_in_the_way(const struct CUstream_st *stream)
{
	if (!stream->alive || stream->captured == NOT_CAPTURED || stream->captured == STANDIN_CAPTURE_RELAXED ||
	    interaction == STANDIN_CAPTURE_RELAXED)
		return false;
	if (pthread_equal(stream->capturer, pthread_self()))
		return true;
	return stream->captured == STANDIN_CAPTURE_GLOBAL && interaction == STANDIN_CAPTURE_GLOBAL;
}

SI_PUBLIC kvg_result cu_capture_mode(int *mode)
{
	kvg_result result = si_enter(SI_capture_mode);
	int before = interaction;

	if (result != KVG_SUCCESS)
		return result;
	if (*mode < STANDIN_CAPTURE_GLOBAL || *mode > STANDIN_CAPTURE_RELAXED)
		return si_leave(KVG_INVALID_VALUE);
	interaction = *mode;
	*mode = before;
	return si_leave(KVG_SUCCESS);
}

static void spoil(struct CUstream_st *stream)
{
	spoiled += !stream->spoiled;
	stream->spoiled = true;
}

kvg_result si_capture_forbids(void)
{
	kvg_result result = KVG_SUCCESS;
	struct CUstream_st *stream;

	for (stream = streams; stream; stream = stream->next) {
		if (!is_in_the_way(stream))
			continue;
		spoil(stream);
		result = KVG_CAPTURE_UNSUPPORTED;
	}
	return result;
}

/* What has all of a context's streams in it, whatever the thread's mode is. */
static kvg_result forbids_in(kvg_context context)
{
	kvg_result result = KVG_SUCCESS;
	struct CUstream_st *stream;

	for (stream = streams; stream; stream = stream->next)
		if (stream->context == context && stream->alive && stream->captured != NOT_CAPTURED) {
			spoil(stream);
			result = KVG_CAPTURE_UNSUPPORTED;
		}
	return result;
}

/* A stream of this context whose work the default stream would have to wait for is being captured. */
static struct CUstream_st *captured_of(kvg_context context)
{
	struct CUstream_st *stream;

	for (stream = streams; stream; stream = stream->next)
		if (stream->context == context && stream->alive && stream->blocking && stream->captured != NOT_CAPTURED)
			return stream;
	return NULL;
}

kvg_result si_capture_refuses(struct CUstream_st *stream, const char *what)
{
	struct CUstream_st *other;

	if (stream->captured != NOT_CAPTURED)
		si_die("%s for a stream that is being captured", what);
	other = stream->is_default ? captured_of(stream->context) : NULL;
	if (!other)
		return KVG_SUCCESS;
	spoil(other);
	return KVG_CAPTURE_IMPLICIT;
}

SI_PUBLIC kvg_result cu_capture_begin(kvg_stream handle, int mode)
{
	kvg_result result = si_enter(SI_capture_begin);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS && stream->is_default)
		result = KVG_CAPTURE_UNSUPPORTED;
	if (result == KVG_SUCCESS &&
	    (stream->captured != NOT_CAPTURED || mode < STANDIN_CAPTURE_GLOBAL || mode > STANDIN_CAPTURE_RELAXED))
		result = KVG_INVALID_VALUE;
	if (result != KVG_SUCCESS)
		return si_leave(result);
	stream->captured = mode;
	stream->spoiled = false;
	stream->capturer = pthread_self();
	return si_leave(KVG_SUCCESS);
}

/* There is nothing in the graph: what would be, ends the test. */
SI_PUBLIC kvg_result cu_capture_end(kvg_stream handle, void **graph)
{
	kvg_result result = si_enter(SI_capture_end);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS && stream->captured == NOT_CAPTURED)
		result = KVG_INVALID_VALUE;
	if (result != KVG_SUCCESS)
		return si_leave(result);
	stream->captured = NOT_CAPTURED;
	*graph = NULL;
	return si_leave(stream->spoiled ? CAPTURE_INVALIDATED : KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_stream_capturing(kvg_stream handle, int *status)
{
	kvg_result result = si_enter(SI_stream_capturing);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS && stream->is_default && captured_of(stream->context))
		result = KVG_CAPTURE_IMPLICIT;
	if (result == KVG_SUCCESS)
		*status = stream->captured == NOT_CAPTURED ? KVG_CAPTURE_NONE : 1 + stream->spoiled;
	return si_leave(result);
}

/* ---- Calls -------------------------------------------------------------------------------------------------- */

SI_PUBLIC kvg_result cu_stream_create(kvg_stream *result, unsigned flags)
{
	kvg_result failure = si_enter(SI_stream_create);
	kvg_context context;

	if (failure != KVG_SUCCESS)
		return failure;
	failure = si_current(&context);
	if (failure == KVG_SUCCESS && flags > NON_BLOCKING)
		failure = KVG_INVALID_VALUE;
	if (failure != KVG_SUCCESS)
		return si_leave(failure);
	*result = make(context, false, !(flags & NON_BLOCKING));
	return si_leave(*result ? KVG_SUCCESS : KVG_OUT_OF_MEMORY);
}

/* What it has been given is done all the same. */
SI_PUBLIC kvg_result cu_stream_destroy(kvg_stream handle)
{
	kvg_result result = si_enter(SI_stream_destroy);
	struct CUstream_st *stream = NULL;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (!stream || stream->is_default)
		return si_leave(KVG_INVALID_HANDLE);
	pthread_mutex_lock(&si_work);
	stream->alive = false;
	stream->ends = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&si_work);
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_stream_context(kvg_stream handle, kvg_context *context)
{
	kvg_result result = si_enter(SI_stream_context);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS)
		*context = stream->context;
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_stream_query(kvg_stream handle)
{
	kvg_result result = si_enter(SI_stream_query);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS && !si_stream_has_done(stream, si_stream_given(stream)))
		result = KVG_NOT_READY;
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_stream_synchronize(kvg_stream handle)
{
	kvg_result result = si_enter(SI_stream_synchronize);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	si_leave(result);
	return result == KVG_SUCCESS ? si_stream_drain(stream) : result;
}

SI_PUBLIC kvg_result cu_context_synchronize(void)
{
	kvg_result result = si_enter(SI_context_synchronize);
	struct CUstream_st *stream = NULL;
	kvg_context context;

	if (result != KVG_SUCCESS)
		return result;
	result = si_current(&context);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS)
		result = forbids_in(context);
	while (result == KVG_SUCCESS && (stream = si_stream_next(stream, context))) {
		pthread_mutex_unlock(&si_lock);
		result = si_stream_drain(stream);
		pthread_mutex_lock(&si_lock);
	}
	return si_leave(result);
}

struct function {
	kvg_host_fn *fn;
	void *arg;
};

/* A driver has one thread for a context's host functions: while one waits, no other runs. */
static kvg_result run_function(struct CUstream_st *stream, void *argument)
{
	const struct function *function = argument;

	pthread_mutex_lock(&stream->context->functions);
	si_in_host_function = true;
	function->fn(function->arg);
	si_in_host_function = false;
	pthread_mutex_unlock(&stream->context->functions);
	return KVG_SUCCESS;
}

SI_PUBLIC kvg_result cu_call_on(kvg_stream handle, kvg_host_fn *fn, void *arg)
{
	kvg_result result = si_enter(SI_call_on);
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS)
		result = si_capture_refuses(stream, "cuLaunchHostFunc()");
	if (result == KVG_SUCCESS)
		result = si_stream_push(stream, run_function, &(struct function){fn, arg}, sizeof(struct function),
					false);
	return si_leave(result);
}

/* ---- What tests ask ----------------------------------------------------------------------------------------- */

/* With si_work, and without si_lock: who waits for a stream that is held inside may have that. */
static struct CUstream_st *begin(kvg_stream handle)
{
	struct CUstream_st *stream;

	if ((uintptr_t)handle <= 2) {
		pthread_mutex_lock(&si_lock);
		if (si_stream_of(NULL, &stream) != KVG_SUCCESS)
			si_die("there is no current context, or it is ruined");
		handle = stream;
		pthread_mutex_unlock(&si_lock);
	}
	pthread_mutex_lock(&si_work);
	for (stream = streams; stream && stream != handle; stream = stream->next)
		;
	if (!stream)
		si_die("there is no such stream");
	return stream;
}

static void end(void)
{
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&si_work);
}

SI_PUBLIC void standin_stream_hold(kvg_stream handle)
{
	begin(handle)->held = true;
	end();
}

SI_PUBLIC void standin_stream_hold_inside(kvg_stream handle)
{
	begin(handle)->held_inside = true;
	end();
}

SI_PUBLIC void standin_stream_go(kvg_stream handle)
{
	struct CUstream_st *stream = begin(handle);

	stream->held = stream->held_inside = false;
	end();
}

SI_PUBLIC void standin_stream_await_held(kvg_stream handle)
{
	struct CUstream_st *stream = begin(handle);

	hurry(stream);
	while (!stream->inside && !(stream->held && stream->first && !stream->runs))
		pthread_cond_wait(&changed, &si_work);
	end();
}

SI_PUBLIC void standin_stream_step(kvg_stream handle)
{
	struct CUstream_st *stream = begin(handle);

	stream->steps++;
	stream->late = false;
	pthread_cond_broadcast(&changed);
	while (stream->steps)
		pthread_cond_wait(&changed, &si_work);
	end();
}

SI_PUBLIC unsigned standin_stream_queued(kvg_stream handle)
{
	const struct CUstream_st *stream = begin(handle);
	unsigned queued = (unsigned)(stream->given - stream->done);

	end();
	return queued;
}

SI_PUBLIC unsigned standin_captures_spoiled(void)
{
	unsigned count;

	pthread_mutex_lock(&si_lock);
	count = spoiled;
	pthread_mutex_unlock(&si_lock);
	return count;
}
