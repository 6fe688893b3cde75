/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams: publish, give up and release take effect when a stream gets there: not before, and then at once, for all of
 * a batch by one thing on the stream; and what can't be put there has changed nothing.
 */
#include "config.h"

#include "stream_scene.h"

#include <errno.h>
#include <string.h>

#include "epoch.h"

#define BLOCKS 8U

static void is_same(const struct kvshm_handle *handle, const struct kvshm_handle *before)
{
	ck_assert_uint_eq(handle->life, before->life);
	ck_assert_uint_eq(handle->block, before->block);
	ck_assert_int_eq(handle->kind, before->kind);
	ck_assert_int_eq(handle->request, before->request);
	ck_assert_uint_eq(handle->since, before->since);
}

/* ---- Publish ----------------------------------------------------------------------------------------------- */

START_TEST(publish_takes_effect_when_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handles[3];
	int results[3] = {1, 1, 1};

	engine_begin();
	for (unsigned i = 0; i < 3; i++) {
		handles[i] = unit_begin(store, i);
		unit_write(store, &handles[i], i);
	}
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, handles, NULL, 3, results), 0);
	ck_assert_uint_eq(standin_calls_of("cuLaunchHostFunc"), 1);
	ck_assert_uint_eq(standin_stream_queued(engine_stream), 1);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(results[i], 0);
		ck_assert_int_eq(handles[i].kind, KVSHM_REF);
		engine_is_pending(store, i);
		ck_rc(kvshm_wait(store, &handles[i], 0), -ETIMEDOUT);
		ck_assert_uint_eq(unit_refs(store, &handles[i]), 2);
	}
	engine_finish();
	for (unsigned i = 0; i < 3; i++) {
		ck_rc(kvshm_wait(store, &handles[i], 0), 0);
		unit_verify(store, &handles[i], i);
		ck_assert_uint_eq(unit_refs(store, &handles[i]), 1);
		ck_rc(kvshm_release(store, &handles[i]), 0);
		ck_assert(unit_has(store, i));
	}
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(what_is_said_of_a_block_is_said_when_it_is_published)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handles[2] = {unit_begin(store, 1), unit_begin(store, 2)};
	struct kvshm_meta metas[2] = {{.length = 100, .depth = 7}, {.length = UINT64_MAX}}, meta;
	int results[2];

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, handles, metas, 2, results), 0);
	memset(metas, 0, sizeof(metas)); /* the caller's again */
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EINVAL);
	ck_assert_int_eq(handles[1].kind, KVSHM_WRITER);
	ck_rc(kvshm_get_meta(store, &handles[0], &meta), -EAGAIN);
	engine_finish();
	ck_rc(kvshm_get_meta(store, &handles[0], &meta), 0);
	ck_assert_uint_eq(meta.length, 100);
	ck_assert_uint_eq(meta.depth, 7);
	ck_rc(kvshm_give_up(store, &handles[1]), 0);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_ref_may_go_before_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handle = unit_begin(store, 1);
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_rc(kvshm_release(store, &handle), 0);
	engine_is_pending(store, 1);
	engine_finish();
	ck_assert(unit_has(store, 1));
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_key_that_is_removed_meanwhile_is_told_to_those_who_wait)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handle = unit_begin(store, 1), again;
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_rc(unit_remove(store, 1), 0);
	again = unit_begin(store, 1);
	ck_assert_uint_ne(again.block, handle.block); /* the stream may still write there */
	engine_finish();
	ck_rc(kvshm_wait(store, &handle, 0), -ECANCELED);
	ck_assert_int_eq(handle.kind, KVSHM_NONE);
	ck_rc(kvshm_give_up(store, &again), 0);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_fill_that_was_canceled_before_stays_held_until_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handle = unit_begin(store, 1), ref;
	int result;

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	ck_assert_int_eq(result, 0);
	ref = handle;
	ck_rc(kvshm_wait(store, &handle, 0), -ECANCELED);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	engine_finish();
	ck_assert_uint_eq(unit_refs(store, &ref), 0);
	unit_detach(store);
	engine_end();
}
END_TEST

static void wait_for_1(void *arg)
{
	kvshm_store *store;
	struct kvshm_handle pending;

	(void)arg;
	unit_await_parent();
	store = unit_attach();
	pending = unit_pending(store, 1);
	unit_tell_parent();
	ck_rc(kvshm_wait(store, &pending, unit_in_ms(UNIT_SOON)), 0);
	unit_verify(store, &pending, 1);
	ck_rc(kvshm_release(store, &pending), 0);
	unit_detach(store);
}

START_TEST(who_waits_in_another_process_is_woken)
{
	struct kvshm_handle handle;
	struct child child;
	kvshm_store *store;
	int result;

	unit_child(&child, wait_for_1, NULL);
	store = unit_store(BLOCKS);
	engine_begin();
	handle = unit_begin(store, 1);
	unit_write(store, &handle, 1);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, &handle, NULL, 1, &result), 0);
	unit_tell(&child);
	unit_await(&child);
	standin_stream_go(engine_stream);
	unit_join(&child);
	unit_detach(store);
	engine_end();
}
END_TEST

/* ---- Parts ------------------------------------------------------------------------------------------------- */

START_TEST(parts_are_published_like_fills)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle handles[3] = {unit_begin_shared(store, 1)};
	struct kvshm_ticket ticket = unit_ticket(store, &handles[0]);
	struct kvshm_meta metas[3] = {{.length = 10}, {.length = 10}, {.length = 10}};
	int results[3];

	engine_begin();
	handles[1] = unit_part(store, &ticket, 0);
	handles[2] = unit_part(store, &ticket, 1);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_publish_on(store, engine_stream, handles, metas, 2, results), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EINVAL); /* what a block is its filler says */
	ck_assert_int_eq(handles[1].kind, KVSHM_PART);
	ck_rc(kvshm_publish_on(store, engine_stream, handles + 1, NULL, 2, results + 1), 0);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(results[2], 0);
	ck_assert_int_eq(handles[2].kind, KVSHM_REF);
	ck_assert_int_eq(handles[2].plane, 0);
	standin_stream_step(engine_stream);
	engine_is_pending(store, 1);
	standin_stream_step(engine_stream);
	ck_assert(unit_has(store, 1));
	for (unsigned i = 0; i < 3; i++)
		ck_rc(kvshm_release(store, &handles[i]), 0);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_part_that_is_given_up_ends_the_fill_when_the_stream_gets_there)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle fill = unit_begin_shared(store, 1), part;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);
	int result;

	engine_begin();
	part = unit_part(store, &ticket, 1);
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_give_up_on(store, engine_stream, &part, 1, &result), 0);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(part.kind, KVSHM_NONE);
	ck_assert_int_eq(unit_state(store, fill.block), KVS_FILLING);
	engine_finish();
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	unit_detach(store);
	engine_end();
}
END_TEST

/* ---- Give up, release -------------------------------------------------------------------------------------- */

START_TEST(give_up_takes_effect_when_the_stream_gets_there)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle handles[2] = {unit_begin(store, 1), unit_own(store, 2)};
	uint32_t blocks[2] = {handles[0].block, handles[1].block};
	struct kvshm_handle pending = unit_pending(store, 1);
	int results[2];

	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_give_up_on(store, engine_stream, handles, 2, results), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(results[i], 0);
		ck_assert_int_eq(handles[i].kind, KVSHM_NONE);
	}
	ck_assert_int_eq(unit_state(store, blocks[0]), KVS_FILLING);
	ck_assert_int_eq(unit_state(store, blocks[1]), KVS_OWNED);
	ck_rc(kvshm_wait(store, &pending, 0), -ETIMEDOUT);
	engine_finish();
	ck_rc(kvshm_wait(store, &pending, 0), -ECANCELED);
	ck_assert_int_eq(unit_state(store, blocks[1]), KVS_FREE);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(release_takes_effect_when_the_stream_gets_there)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle refs[2], copy;
	kvshm_store *store;
	int results[2];

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	refs[0] = unit_fill(store, 1, 0);
	refs[1] = unit_fill(store, 2, 0);
	copy = refs[0];
	engine_begin();
	standin_stream_hold(engine_stream);
	ck_rc(kvshm_release_on(store, engine_stream, refs, 2, results), 0);
	ck_assert_uint_eq(standin_calls_of("cuLaunchHostFunc"), 1);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(refs[0].kind, KVSHM_NONE);
	ck_assert_uint_eq(unit_refs(store, &copy), 1);
	ck_assert(unit_has(store, 1));
	engine_finish();
	ck_assert_uint_eq(unit_refs(store, &copy), 0);
	ck_assert(!unit_has(store, 1)); /* the last hold of a drop store's block */
	ck_assert(!unit_has(store, 2));
	unit_detach(store);
	engine_end();
}
END_TEST

/* ---- What is refused --------------------------------------------------------------------------------------- */

START_TEST(what_can_not_be_taken_over_is_told_of_alone)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle handles[4] = {
		unit_begin(store, 1), unit_begin(other, 2), {.kind = KVSHM_NONE}, unit_own(store, 3)};
	struct kvshm_handle ref = unit_fill(store, 4, 0), refs[3] = {ref, handles[0], {.kind = KVSHM_NONE}};
	const struct kvshm_handle theirs = handles[1];
	int results[4];

	engine_begin();
	ck_rc(kvshm_publish_on(store, engine_stream, handles, NULL, 4, results), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EBADF);
	ck_assert_int_eq(results[2], -EBADF);
	ck_assert_int_eq(results[3], -EINVAL); /* it has no key */
	is_same(&handles[1], &theirs);
	ck_assert_int_eq(handles[3].kind, KVSHM_OWNED);
	ck_rc(kvshm_release_on(store, engine_stream, refs, 3, results), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EBUSY);
	ck_assert_int_eq(results[2], -EBADF);
	ck_rc(kvshm_give_up_on(store, engine_stream, &ref, 1, results), 0);
	ck_assert_int_eq(results[0], -EBADF);
	ck_rc(kvshm_publish_on(store, engine_stream, NULL, NULL, 1, results), -EINVAL);
	ck_rc(kvshm_publish_on(store, engine_stream, handles, NULL, 1, NULL), -EINVAL);
	ck_rc(kvshm_publish_on(store, engine_stream, NULL, NULL, 0, NULL), 0);
	engine_finish();
	ck_assert(unit_has(store, 1));
	ck_rc(kvshm_give_up(other, &handles[1]), 0);
	unit_detach(other);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(more_refs_than_a_client_can_have_are_EMFILE)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill = unit_begin(store, 1), pending;
	int result;

	engine_begin();
	for (unsigned i = 1; i < 65535; i++)
		pending = unit_pending(store, 1);
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, &result), 0);
	ck_assert_int_eq(result, -EMFILE);
	ck_assert_int_eq(fill.kind, KVSHM_WRITER);
	ck_rc(kvshm_release(store, &pending), 0);
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, &result), 0);
	ck_assert_int_eq(result, 0);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(a_stream_that_is_captured_is_refused_and_nothing_has_changed)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_fill(store, 2, 0);
	const struct kvshm_handle before[2] = {fill, ref};
	kvg_stream streams[2];
	void *graph;
	int result = 1;

	engine_begin();
	streams[0] = engine_stream;
	streams[1] = NULL; /* which would have to wait for the captured one */
	ck_cu(cu_capture_begin(engine_stream, STANDIN_CAPTURE_GLOBAL));
	for (unsigned i = 0; i < 2; i++) {
		ck_rc(kvshm_publish_on(store, streams[i], &fill, NULL, 1, &result), -EBUSY);
		ck_rc(kvshm_give_up_on(store, streams[i], &fill, 1, &result), -EBUSY);
		ck_rc(kvshm_release_on(store, streams[i], &ref, 1, &result), -EBUSY);
	}
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "captured"));
	is_same(&fill, &before[0]);
	is_same(&ref, &before[1]);
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(standin_captures_spoiled(), 0);
	ck_cu(cu_capture_end(engine_stream, &graph));
	ck_rc(kvshm_publish_on(store, engine_stream, &fill, NULL, 1, &result), 0);
	engine_finish();
	ck_assert(unit_has(store, 1));
	unit_detach(store);
	engine_end();
}
END_TEST

/* Each of the driver's calls in one of ours. */
START_TEST(a_call_of_the_drivers_that_fails_changes_nothing)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill, before;
	kvg_stream stream = NULL;
	unsigned k = 0;
	bool failed;
	int rc, result;

	engine_begin();
	if (_i)
		stream = engine_stream;
	do {
		kvshm_store *client = unit_attach();

		fill = before = unit_begin(client, 1);
		standin_fail_call(++k, KVG_UNKNOWN);
		rc = kvshm_publish_on(client, stream, &fill, NULL, 1, &result);
		failed = standin_failed();
		standin_calm();
		if (rc) {
			ck_assert_int_lt(rc, 0);
			ck_assert_str_ne(kvshm_error(), "");
			is_same(&fill, &before);
			ck_assert_uint_eq(unit_refs(client, &fill), 1);
			ck_rc(kvshm_give_up(client, &fill), 0);
		}
		unit_detach(client);
		ck_assert_uint_eq(standin_context_depth(), 1);
		if (rc == 0) {
			ck_assert(unit_has(store, 1));
			ck_rc(unit_remove(store, 1), 0);
		}
	} while (failed);
	ck_rc(rc, 0);
	ck_assert_uint_ge(k, 6);
	unit_detach(store);
	engine_end();
}
END_TEST

START_TEST(without_a_reader_slot_nothing_is_put_on_a_stream)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fills[2] = {unit_begin(store, 1), unit_begin(store, 2)};
	struct kvs_reader *reader, *last = NULL;
	int result;

	engine_begin();
	while (kvs_reader_take(&store->map, store->slot + 1, &reader) == 0)
		last = reader;
	ck_rc(kvshm_publish_on(store, engine_stream, &fills[0], NULL, 1, &result), -EUSERS);
	ck_assert_int_eq(fills[0].kind, KVSHM_WRITER);
	kvs_reader_give_back(last);
	/* The driver's thread needs none of its own, and so can't be without. */
	ck_rc(kvshm_publish_on(store, engine_stream, fills, NULL, 1, &result), 0);
	engine_finish();
	ck_assert(unit_has(store, 1));
	ck_rc(kvshm_publish_on(store, engine_stream, fills + 1, NULL, 1, &result), 0);
	engine_finish();
	ck_assert(unit_has(store, 2));
	unit_detach(store);
	engine_end();
}
END_TEST

/* ---- Contexts ---------------------------------------------------------------------------------------------- */

START_TEST(the_callers_context_stays_what_it_is)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fills[3];
	kvg_context other, popped;
	kvg_stream mine;
	int result;

	for (unsigned i = 0; i < 3; i++)
		fills[i] = unit_begin(store, i);
	engine_begin();
	ck_cu(cu_context_create(&other, 0, 1));
	ck_cu(cu_stream_create(&mine, 0));
	ck_assert_uint_eq(standin_context_depth(), 2);
	/* Of a context that is not current; the default stream of the one that is. */
	ck_rc(kvshm_publish_on(store, engine_stream, &fills[0], NULL, 1, &result), 0);
	ck_assert_uint_eq(standin_context_depth(), 2);
	ck_assert_ptr_eq(standin_context_at(1), other);
	standin_stream_hold(NULL);
	ck_rc(kvshm_publish_on(store, NULL, &fills[1], NULL, 1, &result), 0);
	ck_assert_uint_eq(standin_stream_queued(NULL), 1);
	standin_stream_go(NULL);
	ck_cu(cu_context_synchronize());
	ck_assert(unit_has(store, 1));
	ck_cu(cu_context_pop(&popped));
	ck_cu(cu_context_pop(&popped));
	/* Without a context: the primary one. */
	ck_rc(kvshm_publish_on(store, NULL, &fills[2], NULL, 1, &result), 0);
	ck_assert_uint_eq(standin_context_depth(), 0);
	ck_assert_uint_eq(standin_context_references(0), 2);
	ck_cu(cu_context_push(other));
	ck_cu(cu_stream_destroy(mine));
	ck_cu(cu_context_pop(&popped));
	unit_detach(store);
	ck_cu(cu_context_destroy(other));
	ck_assert_uint_eq(standin_context_references(0), 1);
	ck_cu(cu_context_push(engine_context));
	store = unit_attach();
	for (unsigned i = 0; i < 3; i++)
		ck_assert(unit_has(store, i));
	unit_detach(store);
	engine_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		publish_takes_effect_when_the_stream_gets_there,
		what_is_said_of_a_block_is_said_when_it_is_published,
		a_ref_may_go_before_the_stream_gets_there,
		a_key_that_is_removed_meanwhile_is_told_to_those_who_wait,
		a_fill_that_was_canceled_before_stays_held_until_the_stream_gets_there,
		who_waits_in_another_process_is_woken,
		parts_are_published_like_fills,
		a_part_that_is_given_up_ends_the_fill_when_the_stream_gets_there,
		give_up_takes_effect_when_the_stream_gets_there,
		release_takes_effect_when_the_stream_gets_there,
		what_can_not_be_taken_over_is_told_of_alone,
		more_refs_than_a_client_can_have_are_EMFILE,
		a_stream_that_is_captured_is_refused_and_nothing_has_changed,
		without_a_reader_slot_nothing_is_put_on_a_stream,
		the_callers_context_stays_what_it_is,
	};
	const struct unit_loop loops[] = {{a_call_of_the_drivers_that_fails_changes_nothing, 2}, {NULL, 0}};

	return unit_run_loops("streams", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
