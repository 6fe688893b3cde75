/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams_ends: what becomes of calls on streams where the store is detached, or their context fails, and what the log
 * is told; and calls on streams with requests.
 */
#include "config.h"

#include "stream_scene.h"

#include <errno.h>
#include <string.h>

#include "request_scene.h"

#define BLOCKS 8U

/* ---- The log ----------------------------------------------------------------------------------------------- */

static struct {
	unsigned lines;
	char text[1024];
	pthread_t thread;
} logged;

static void keep_line(enum kvshm_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	logged.lines++;
	logged.thread = pthread_self();
	(void)strncpy(logged.text, text, sizeof(logged.text) - 1);
}

START_TEST(what_comes_to_nothing_is_told_by_a_thread_of_the_programs)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle refs[2], fill;
	int results[2];

	engine_begin();
	kvshm_set_log(keep_line, NULL);
	fill = unit_begin(store, 2);
	refs[0] = unit_fill(store, 1, 0);
	refs[1] = refs[0]; /* copies of one hold: the second is none when the stream gets there */
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_release_on(store, engine_stream, refs, 2, results), 0);
	ck_assert_int_eq(results[1], 0);
	engine_finish();
	ck_assert_uint_eq(logged.lines, 0);
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, results), 0);
	ck_assert_uint_eq(logged.lines, 1);
	ck_assert(pthread_equal(logged.thread, pthread_self()));
	ck_assert_ptr_nonnull(strstr(logged.text, "copies"));
	unit_detach(store);
	ck_assert_uint_eq(logged.lines, 1);
	engine_end();
}
END_TEST

/* ---- Detaching --------------------------------------------------------------------------------------------- */

static kvshm_store *other;

static void is_not_there_yet(void)
{
	engine_is_pending(other, 1);
}

static void count_call(void *number)
{
	++*(unsigned *)number;
}

START_TEST(detaching_waits_for_what_is_on_streams)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill = unit_begin(store, 1);
	int result;

	other = unit_attach();
	engine_begin();
	unit_write(store, &fill, 1);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, &result), 0);
	engine_detach_waits(store, is_not_there_yet);
	ck_assert(unit_has(other, 1));
	unit_detach(other);
	engine_end();
}
END_TEST

/* What others have on their streams is not waited for, and what they capture is not spoiled: with a call of ours on a
 * stream, or a copy. */
START_TEST(detaching_leaves_other_streams_alone)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill = unit_begin(store, 1);
	kvg_stream busy, captured;
	unsigned number = 0;
	void *memory, *graph;
	int result;

	other = unit_attach();
	engine_begin();
	ck_cu(cu_stream_create(&busy, 1));
	ck_cu(cu_stream_create(&captured, 1));
	standin_stream_hold(busy);
	ck_cu(cu_call_on(busy, count_call, &number));
	ck_cu(cu_host_alloc(&memory, 16, 0));
	if (_i) {
		ck_rc(kvshm_register_plane(store, 0), 0);
		ck_rc(kvshm_copy_in(store, engine_stream, 0, &(struct kvshm_piece){&fill, 0, memory, 16}, 1), 0);
	}
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, &result), 0);
	ck_cu(cu_capture_begin(captured, STANDIN_CAPTURE_RELAXED));
	engine_detach_waits(store, is_not_there_yet);
	ck_assert(unit_has(other, 1));
	ck_assert_uint_eq(standin_stream_queued(busy), 1);
	ck_assert_uint_eq(standin_captures_spoiled(), 0);
	ck_cu(cu_capture_end(captured, &graph));
	standin_stream_go(busy);
	ck_cu(cu_stream_synchronize(busy));
	ck_assert_uint_eq(number, 1);
	ck_cu(cu_stream_destroy(busy));
	ck_cu(cu_stream_destroy(captured));
	ck_cu(cu_host_free(memory));
	unit_detach(other);
	engine_end();
}
END_TEST

START_TEST(what_a_failed_context_swallows_ends_with_the_client)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handles[2] = {unit_begin(store, 1), unit_begin(store, 2)}, ref = unit_fill(store, 3, 0),
			    fill;
	enum kvshm_outcome outcome;
	int results[2];

	other = unit_attach();
	kvshm_set_log(keep_line, NULL);
	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handles[0], NULL, 1, results), 0);
	ck_rc(kvshm_give_up_on(store, engine_stream, &handles[1], 1, results), 0);
	ck_rc(kvshm_release_on(store, engine_stream, &ref, 1, results), 0);
	standin_ruin(engine_context, KVG_ILLEGAL_ADDRESS);
	ck_rc(kvshm_wait(store, &handles[0], 0), -ETIMEDOUT);
	ck_rc(kvshm_publish_on(store, engine_stream, &handles[0], NULL, 1, results), -EIO);
	ck_assert_uint_eq(logged.lines, 0);
	unit_detach(store);
	ck_assert_uint_eq(logged.lines, 1);
	ck_assert_ptr_nonnull(strstr(logged.text, "3 calls"));
	for (unsigned i = 1; i <= 2; i++) {
		ck_rc(unit_ask(other, i, &outcome, &fill), 0);
		ck_assert_int_eq(outcome, KVSHM_FILL);
		ck_rc(kvshm_give_up(other, &fill), 0);
	}
	ck_assert_uint_eq(unit_refs(other, &ref), 0);
	unit_detach(other);
}
END_TEST

/* One of two contexts fails: what is on the other's streams takes effect. */
START_TEST(what_is_in_another_context_is_done_all_the_same)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handles[2] = {unit_begin(store, 1), unit_begin(store, 2)};
	kvg_context failing;
	kvg_stream stream;
	int result;

	other = unit_attach();
	engine_begin();
	ck_cu(cu_context_create(&failing, 0, 1));
	ck_cu(cu_stream_create(&stream, 0));
	standin_stream_hold(stream);
	ck_rc(kvshm_publish_on(store, stream, &handles[0], NULL, 1, &result), 0);
	ck_rc(kvshm_publish_on(store, engine_stream, &handles[1], NULL, 1, &result), 0);
	standin_ruin(failing, KVG_LAUNCH_FAILED);
	unit_detach(store);
	ck_assert(!unit_has(other, 1));
	ck_assert(unit_has(other, 2));
	unit_detach(other);
}
END_TEST

/* A call may be there before what it is for has been taken over, and after: whichever, it is done once its call has
 * returned, and the stream has been waited for. */
START_TEST(whoever_comes_second_does_the_work)
{
	kvshm_store *store = unit_store(BLOCKS);
	int result;

	engine_begin();
	for (unsigned i = 0; i < 3000; i++) {
		struct kvshm_handle handle = unit_begin(store, 1);

		ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
		ck_cu(cu_stream_synchronize(engine_stream));
		ck_rc(kvshm_wait(store, &handle, 0), 0);
		ck_assert_uint_eq(unit_refs(store, &handle), 1);
		ck_rc(kvshm_release_on(store, engine_stream, &handle, 1, &result), 0);
		ck_rc(unit_remove(store, 1), 0);
	}
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(in_a_destroyed_store_nothing_is_done)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handle = unit_begin(store, 1);
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	engine_finish();
	ck_assert_int_eq(unit_state(store, handle.block), KVS_FILLING);
	unit_detach(store);
	engine_end();
}
END_TEST

/* ---- Requests ---------------------------------------------------------------------------------------------- */

START_TEST(a_requests_fill_is_its_pending_hold_until_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 1);
	struct kvshm_handle handle = scene_begin(store, &request, 1);
	uint32_t pending;
	int result;

	engine_begin();
	unit_write(store, &handle, 1);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(handle.kind, KVSHM_LENT);
	ck_assert_uint_eq(unit_pins(store, &handle), 1);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	ck_rc(kvshm_request_settle(store, &request, &pending), 0);
	ck_assert_uint_eq(pending, 1);
	ck_rc(kvshm_wait(store, &handle, 0), -ETIMEDOUT);
	engine_finish();
	ck_rc(kvshm_wait(store, &handle, 0), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_assert_uint_eq(scene_refs(store), 0);
	ck_assert_uint_eq(scene_pins(store), 1);
	unit_verify(store, &handle, 1);
	scene_end(store, &request);
	scene_nothing_left(store);
	ck_assert(unit_has(store, 1));
	unit_detach(store);
	engine_end();
}
END_TEST

static void *complete(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->rc = kvshm_request_complete(sleeper->store, &sleeper->request, unit_in_ms(UNIT_SOON));
	return NULL;
}

START_TEST(who_completes_a_request_waits_for_the_stream)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct sleeper sleeper = {.store = store, .request = scene_open(store, 1, 1)};
	struct kvshm_handle handle = scene_begin(store, &sleeper.request, 1);
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_assert_int_eq(pthread_create(&sleeper.thread, NULL, complete, &sleeper), 0);
	standin_stream_go(engine_stream);
	ck_assert_int_eq(pthread_join(sleeper.thread, NULL), 0);
	ck_rc(sleeper.rc, 0);
	unit_detach(store);
	engine_end();
}
END_TEST

/* What a stream may still write stays held, whatever becomes of the request. */
START_TEST(a_request_that_ends_meanwhile_gives_its_fills_up)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 2);
	struct kvshm_handle handles[2] = {scene_begin(store, &request, 1), scene_begin(store, &request, 2)};
	const struct kvshm_handle was[2] = {handles[0], handles[1]};
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handles[0], NULL, 1, &result), 0);
	ck_rc(kvshm_give_up_on(store, engine_stream, &handles[1], 1, &result), 0);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(handles[1].kind, KVSHM_NONE);
	ck_assert_int_eq(unit_state(store, was[1].block), KVS_FILLING);
	scene_end(store, &request);
	ck_assert_int_eq(scene_state(store, &request), KVS_REQUEST_CLOSED);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(unit_refs(store, &was[i]), 1);
	engine_finish();
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(unit_refs(store, &was[i]), 0);
		ck_assert(!unit_has(store, i + 1));
	}
	scene_nothing_left(store);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_fill_of_a_request_that_is_over_is_given_up_when_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request request = scene_open(store, 1, 1), found;
	struct kvshm_handle handle = scene_begin(store, &request, 1), was = handle;
	int result;

	other = unit_attach();
	engine_begin();
	found = scene_find(other, 1);
	ck_rc(kvshm_request_end(other, &found), 0);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_eq(handle.kind, KVSHM_NONE);
	ck_assert_uint_eq(unit_refs(store, &was), 1);
	ck_rc(kvshm_publish_on(store, engine_stream, &was, NULL, 1, &result), 0);
	ck_assert_int_eq(result, -EBADF); /* a copy of the handle */
	engine_finish();
	ck_assert_uint_eq(unit_refs(store, &was), 0);
	scene_nothing_left(store);
	unit_detach(other);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_request_ends_when_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_request requests[2] = {scene_open(store, 1, 1), scene_open(store, 2, 1)}, none = requests[0];
	struct kvshm_handle handle = scene_begin(store, &requests[0], 1);
	int result;

	engine_begin();
	(void)scene_fill(store, &requests[1], 2);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_rc(kvshm_request_end_on(store, engine_stream, &requests[i]), 0);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_assert_int_eq(scene_state(store, &requests[0]), KVS_REQUEST_OPEN);
	scene_end(store, &requests[1]); /* it is none the worse */
	engine_finish();
	ck_assert_int_eq(scene_state(store, &requests[0]), KVS_REQUEST_CLOSED);
	ck_assert(unit_has(store, 1)); /* it was published before, on the stream */
	scene_nothing_left(store);
	none.number += 100;
	ck_rc(kvshm_request_end_on(store, engine_stream, &none), -EBADF);
	ck_rc(kvshm_request_end_on(store, engine_stream, NULL), -EINVAL);
	unit_detach(store);
	engine_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_comes_to_nothing_is_told_by_a_thread_of_the_programs,
		detaching_waits_for_what_is_on_streams,
		what_a_failed_context_swallows_ends_with_the_client,
		what_is_in_another_context_is_done_all_the_same,
		whoever_comes_second_does_the_work,
		in_a_destroyed_store_nothing_is_done,
		a_requests_fill_is_its_pending_hold_until_the_stream_gets_there,
		who_completes_a_request_waits_for_the_stream,
		a_request_that_ends_meanwhile_gives_its_fills_up,
		a_fill_of_a_request_that_is_over_is_given_up_when_the_stream_gets_there,
		a_request_ends_when_the_stream_gets_there,
	};
	const struct unit_loop loops[] = {
		{detaching_leaves_other_streams_alone, 2},
		{NULL, 0},
	};

	return unit_run_loops("streams_ends", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
