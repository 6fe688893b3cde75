/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stream_scene.c: see stream_scene.h.
 */
#include "config.h"

#include "stream_scene.h"

#include <errno.h>
#include <sched.h>

kvg_context engine_context;
kvg_stream engine_stream;

void engine_begin(void)
{
	ck_cu(cu_init(0));
	ck_cu(cu_primary_retain(&engine_context, 0));
	ck_cu(cu_context_push(engine_context));
	ck_cu(cu_stream_create(&engine_stream, 0));
}

void engine_finish(void)
{
	standin_stream_go(engine_stream);
	ck_cu(cu_stream_synchronize(engine_stream));
}

void engine_end(void)
{
	kvg_context context;

	ck_assert_uint_eq(standin_context_depth(), 1);
	engine_finish();
	ck_cu(cu_stream_destroy(engine_stream));
	ck_cu(cu_context_pop(&context));
	ck_assert_ptr_eq(context, engine_context);
	ck_cu(cu_primary_release(0));
	ck_assert_str_eq(standin_leaks_text(), "nothing");
}

void engine_is_pending(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle ref;

	ck_rc(unit_get(store, number, &ref), -EAGAIN);
}

static void *detach(void *store)
{
	unit_detach(store);
	return NULL;
}

void engine_detach_waits(kvshm_store *store, void (*meanwhile)(void))
{
	unsigned long waits = standin_calls_of("cuEventQuery");
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, detach, store), 0);
	while (standin_calls_of("cuEventQuery") == waits)
		ck_assert_int_eq(sched_yield(), 0);
	if (meanwhile)
		meanwhile();
	standin_stream_go(engine_stream);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
