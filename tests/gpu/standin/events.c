/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * events.c: an event is how many items a stream had been given when it was recorded; and when the stream got there.
 */
#include "config.h"
#include <stdlib.h>
#include <time.h>
#include "inner.h"

struct CUevent_st {
	struct CUevent_st *next;
	kvg_context context;
	bool timed;
	struct CUstream_st *stream; /* NULL: never recorded */
	unsigned long given;
	_Atomic uint64_t *reached; /* one of times */
};

enum { TIMES = 4096 };

static struct CUevent_st *events;

/* An event may be gone when its stream gets there: the time has a place of its own, which is not used again soon. */
static _Atomic uint64_t times[TIMES];
static unsigned next_time;

static struct CUevent_st **place_of(kvg_event event)
{
	struct CUevent_st **place;

	for (place = &events; *place && *place != event; place = &(*place)->next)
		;
	return place;
}

unsigned si_events_count(void)
{
	const struct CUevent_st *event;
	unsigned count = 0;

	for (event = events; event; event = event->next)
		count++;
	return count;
}

unsigned si_events_abandon(kvg_context context)
{
	struct CUevent_st **place, *event;
	unsigned count = 0;

	for (place = &events; (event = *place);) {
		if (event->context != context) {
			place = &event->next;
			continue;
		}
		*place = event->next;
		free(event);
		count++;
	}
	return count;
}

SI_PUBLIC kvg_result cu_event_create(kvg_event *result, unsigned flags)
{
	kvg_result failure = si_enter(SI_event_create);
	struct CUevent_st *event;
	kvg_context context;

	if (failure != KVG_SUCCESS)
		return failure;
	failure = si_current(&context);
	if (failure == KVG_SUCCESS && (flags & ~3u))
		failure = KVG_INVALID_VALUE;
	if (failure != KVG_SUCCESS)
		return si_leave(failure);
	event = calloc(1, sizeof(*event));
	if (!event)
		return si_leave(KVG_OUT_OF_MEMORY);
	event->context = context;
	event->timed = !(flags & KVG_EVENT_DISABLE_TIMING);
	event->next = events;
	events = event;
	*result = event;
	return si_leave(KVG_SUCCESS);
}

/* It is an item, so that a stream that is held stands before it. */
static kvg_result run_record(struct CUstream_st *stream, void *argument)
{
	_Atomic uint64_t *const *reached = argument;
	struct timespec now;

	(void)stream;
	clock_gettime(CLOCK_MONOTONIC, &now);
	atomic_store(*reached, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	return KVG_SUCCESS;
}

SI_PUBLIC kvg_result cu_event_record(kvg_event event, kvg_stream handle)
{
	kvg_result result = si_enter(SI_event_record);
	_Atomic uint64_t *reached = &times[next_time++ % TIMES];
	struct CUstream_st *stream;

	if (result != KVG_SUCCESS)
		return result;
	result = si_stream_of(handle, &stream);
	if (result == KVG_SUCCESS && (!*place_of(event) || event->context != si_stream_context(stream)))
		result = KVG_INVALID_HANDLE;
	if (result == KVG_SUCCESS)
		result = si_capture_refuses(stream, "cuEventRecord()");
	if (result == KVG_SUCCESS)
		result = si_stream_push(stream, run_record, &reached, sizeof(reached), false);
	if (result != KVG_SUCCESS)
		return si_leave(result);
	event->stream = stream;
	event->given = si_stream_given(stream);
	event->reached = reached;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_event_query(kvg_event event)
{
	kvg_result result = si_enter(SI_event_query);

	if (result != KVG_SUCCESS)
		return result;
	if (!*place_of(event))
		return si_leave(KVG_INVALID_HANDLE);
	result = si_usable(event->context);
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS && event->stream && !si_stream_has_done(event->stream, event->given))
		result = KVG_NOT_READY;
	return si_leave(result);
}

SI_PUBLIC kvg_result cu_event_synchronize(kvg_event event)
{
	kvg_result result = si_enter(SI_event_synchronize);
	struct CUstream_st *stream = NULL;
	unsigned long given = 0;

	if (result != KVG_SUCCESS)
		return result;
	result = *place_of(event) ? si_usable(event->context) : KVG_INVALID_HANDLE;
	if (result == KVG_SUCCESS)
		result = si_capture_forbids();
	if (result == KVG_SUCCESS) {
		stream = event->stream;
		given = event->given;
	}
	si_leave(result);
	return stream ? si_stream_await(stream, given) : result;
}

SI_PUBLIC kvg_result cu_event_elapsed(float *ms, kvg_event from, kvg_event to)
{
	kvg_result result = si_enter(SI_event_elapsed);

	if (result != KVG_SUCCESS)
		return result;
	if (!*place_of(from) || !*place_of(to) || !from->timed || !to->timed || !from->stream || !to->stream)
		return si_leave(KVG_INVALID_HANDLE);
	if (!si_stream_has_done(from->stream, from->given) || !si_stream_has_done(to->stream, to->given))
		return si_leave(KVG_NOT_READY);
	*ms = (float)((double)(atomic_load(to->reached) - atomic_load(from->reached)) / 1e6);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_event_destroy(kvg_event event)
{
	kvg_result result = si_enter(SI_event_destroy);
	struct CUevent_st **place;

	if (result != KVG_SUCCESS)
		return result;
	place = place_of(event);
	if (!*place)
		return si_leave(KVG_INVALID_HANDLE);
	*place = event->next;
	free(event);
	return si_leave(KVG_SUCCESS);
}
