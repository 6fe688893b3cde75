/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * contexts.c: contexts, each thread's stack of them, and what is left when they end. A context is never freed: who
 * still has its address learns that it is destroyed.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "inner.h"

enum { STACK = 64 };

static struct CUctx_st *contexts;
static unsigned abandoned;
static _Thread_local struct {
	unsigned depth;
	kvg_context contexts[STACK];
} stack;

kvg_result si_usable(kvg_context context)
{
	return context->alive ? atomic_load(&context->ruin) : KVG_CONTEXT_IS_DESTROYED;
}

kvg_result si_current(kvg_context *context)
{
	if (!stack.depth || !stack.contexts[stack.depth - 1])
		return KVG_INVALID_CONTEXT;
	*context = stack.contexts[stack.depth - 1];
	return si_usable(*context);
}

static struct CUctx_st *make(int device, bool primary)
{
	struct CUctx_st *context = calloc(1, sizeof(*context));

	if (!context)
		return NULL;
	context->device = device;
	context->primary = primary;
	pthread_mutex_init(&context->functions, NULL);
	context->next = contexts;
	contexts = context;
	return context;
}

static bool is_context(kvg_context context)
{
	const struct CUctx_st *other;

	for (other = contexts; other; other = other->next)
		if (other == context)
			return true;
	return false;
}

static struct CUctx_st *primary_of(int device)
{
	struct CUctx_st *context;

	for (context = contexts; context; context = context->next)
		if (context->primary && context->device == device)
			return context;
	return make(device, true);
}

static void begin(struct CUctx_st *context)
{
	context->alive = true;
	atomic_store(&context->ruin, KVG_SUCCESS);
	context->stream = NULL;
}

/* In a ruined context nothing could be given back. */
static void end(struct CUctx_st *context)
{
	unsigned count = si_streams_abandon(context) + si_events_abandon(context) + si_modules_abandon(context) +
			 si_ranges_abandon(context);

	if (atomic_load(&context->ruin) == KVG_SUCCESS)
		abandoned += count;
	context->alive = false;
}

void si_ruin(kvg_context context, kvg_result result)
{
	atomic_store(&context->ruin, result);
	si_streams_drop(context);
}

unsigned si_context_leaks(bool primary)
{
	const struct CUctx_st *context;
	unsigned count = 0;

	for (context = contexts; context; context = context->next)
		if (context->primary == primary && context->alive)
			count += primary ? context->references : 1;
	return count;
}

SI_PUBLIC kvg_result cu_primary_retain(kvg_context *result, kvg_device device)
{
	kvg_result failure = si_enter(SI_primary_retain);
	struct CUctx_st *context;

	if (failure != KVG_SUCCESS)
		return failure;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	context = primary_of(si_device_of(device));
	if (!context)
		return si_leave(KVG_OUT_OF_MEMORY);
	if (!context->references++)
		begin(context);
	*result = context;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_primary_release(kvg_device device)
{
	kvg_result failure = si_enter(SI_primary_release);
	struct CUctx_st *context;

	if (failure != KVG_SUCCESS)
		return failure;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	context = primary_of(si_device_of(device));
	if (!context || !context->references)
		return si_leave(KVG_INVALID_CONTEXT);
	if (!--context->references)
		end(context);
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_create(kvg_context *result, unsigned flags, kvg_device device)
{
	kvg_result failure = si_enter(SI_context_create);
	struct CUctx_st *context;

	(void)flags;
	if (failure != KVG_SUCCESS)
		return failure;
	if (si_device_of(device) < 0)
		return si_leave(KVG_INVALID_DEVICE);
	if (stack.depth == STACK)
		return si_leave(KVG_INVALID_VALUE);
	context = make(si_device_of(device), false);
	if (!context)
		return si_leave(KVG_OUT_OF_MEMORY);
	begin(context);
	stack.contexts[stack.depth++] = context;
	*result = context;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_destroy(kvg_context context)
{
	kvg_result failure = si_enter(SI_context_destroy);

	if (failure != KVG_SUCCESS)
		return failure;
	if (!is_context(context) || context->primary || !context->alive)
		return si_leave(KVG_INVALID_CONTEXT);
	end(context);
	if (stack.depth && stack.contexts[stack.depth - 1] == context)
		stack.depth--;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_current(kvg_context *context)
{
	kvg_result failure = si_enter(SI_context_current);

	if (failure != KVG_SUCCESS)
		return failure;
	*context = stack.depth ? stack.contexts[stack.depth - 1] : NULL;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_push(kvg_context context)
{
	kvg_result failure = si_enter(SI_context_push);

	if (failure != KVG_SUCCESS)
		return failure;
	if (!is_context(context) || stack.depth == STACK)
		return si_leave(KVG_INVALID_VALUE);
	if (!context->alive)
		return si_leave(KVG_CONTEXT_IS_DESTROYED);
	stack.contexts[stack.depth++] = context;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_pop(kvg_context *context)
{
	kvg_result failure = si_enter(SI_context_pop);

	if (failure != KVG_SUCCESS)
		return failure;
	if (!stack.depth)
		return si_leave(KVG_INVALID_CONTEXT);
	stack.depth--;
	if (context)
		*context = stack.contexts[stack.depth];
	return si_leave(KVG_SUCCESS);
}

/* Takes the place of the one on top; NULL takes that away. */
SI_PUBLIC kvg_result cu_context_set(kvg_context context)
{
	kvg_result failure = si_enter(SI_context_set);

	if (failure != KVG_SUCCESS)
		return failure;
	if (context && (!is_context(context) || !context->alive))
		return si_leave(KVG_INVALID_CONTEXT);
	stack.depth -= stack.depth > 0;
	if (context)
		stack.contexts[stack.depth++] = context;
	return si_leave(KVG_SUCCESS);
}

SI_PUBLIC kvg_result cu_context_device(kvg_device *device)
{
	kvg_result failure = si_enter(SI_context_device);
	kvg_context context;

	if (failure != KVG_SUCCESS)
		return failure;
	failure = si_current(&context);
	if (failure == KVG_SUCCESS)
		*device = si_ordinal_of(context->device);
	return si_leave(failure);
}

/* ---- What tests ask ----------------------------------------------------------------------------------------- */

SI_PUBLIC void standin_ruin(kvg_context context, kvg_result result)
{
	si_ruin(context, result);
}

SI_PUBLIC unsigned standin_context_depth(void)
{
	return stack.depth;
}

SI_PUBLIC kvg_context standin_context_at(unsigned place)
{
	return place < stack.depth ? stack.contexts[place] : NULL;
}

SI_PUBLIC unsigned standin_context_references(int ordinal)
{
	const struct CUctx_st *context;
	unsigned count = 0;

	pthread_mutex_lock(&si_lock);
	for (context = contexts; context; context = context->next)
		if (context->primary && context->device == si_device_of(ordinal))
			count = context->references;
	pthread_mutex_unlock(&si_lock);
	return count;
}

SI_PUBLIC unsigned standin_leaks(struct standin_leaks *leaks)
{
	struct standin_leaks here;

	pthread_mutex_lock(&si_lock);
	here = (struct standin_leaks){
		.references = si_context_leaks(true),
		.contexts = si_context_leaks(false),
		.handles = si_handles_count(),
		.reservations = si_reservations_count(),
		.maps = si_ranges_count(SI_MAP),
		.allocations = si_ranges_count(SI_ALLOCATION),
		.opened = si_ranges_count(SI_OPENED),
		.registered = si_ranges_count(SI_REGISTERED),
		.pinned = si_ranges_count(SI_PINNED),
		.streams = si_streams_count(),
		.events = si_events_count(),
		.modules = si_modules_count(),
		.abandoned = abandoned,
	};
	pthread_mutex_unlock(&si_lock);
	if (leaks)
		*leaks = here;
	return here.references + here.contexts + here.handles + here.reservations + here.maps + here.allocations +
	       here.opened + here.registered + here.pinned + here.streams + here.events + here.modules + here.abandoned;
}

SI_PUBLIC const char *standin_leaks_text(void)
{
	static _Thread_local char text[400];
	static const char *const names[] = {"references to primary contexts",
					    "contexts",
					    "handles",
					    "reservations",
					    "maps",
					    "allocations",
					    "opened memories",
					    "registered ranges",
					    "pinned ranges",
					    "streams",
					    "events",
					    "modules",
					    "abandoned objects"};
	unsigned counts[sizeof(names) / sizeof(*names)], i;
	struct standin_leaks leaks;
	size_t length = 0;

	_Static_assert(sizeof(struct standin_leaks) == sizeof(counts), "every count has a name");
	if (!standin_leaks(&leaks))
		return "nothing";
	memcpy(counts, &leaks, sizeof(counts));
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (counts[i])
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%u %s", length ? ", " : "",
						   counts[i], names[i]);
	return text;
}
