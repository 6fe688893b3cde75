/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stopped: nothing waits for a process that stands still, wherever it stands (D4). A child is stopped (SIGSTOP) while
 * it holds all that a client can hold; every call of the others must return.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "epoch.h"
#include "wait.h"

/* Holds a ref of key 1, fills key 2, keeps recovery of its process busy, and stands in a section. */
static void hold_and_stand(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_handle ref;

	(void)arg;
	ck_rc(unit_get(store, 1, &ref), 0);
	(void)unit_begin(store, 2);
	(void)pthread_mutex_lock(&store->map.recovering);
	kvs_enter(&actor);
	unit_wait_for_death();
}

static struct child stopped;

static kvshm_store *store_with_a_stopped_client(uint32_t blocks)
{
	kvshm_store *store = unit_store(blocks);

	unit_put(store, 1);
	unit_child(&stopped, hold_and_stand, NULL);
	unit_await(&stopped);
	unit_stop(&stopped);
	return store;
}

static void end_it(kvshm_store *store)
{
	unit_kill(&stopped);
	ck_rc(kvshm_recover(store, NULL), 0);
}

START_TEST(D4_lookups_fills_and_removals_go_on_beside_a_stopped_client)
{
	kvshm_store *store = store_with_a_stopped_client(64);
	struct kvshm_handle ref;

	ck_assert(unit_has(store, 1));
	for (uint64_t i = 10; i < 40; i++)
		unit_put(store, i);
	ck_rc(unit_remove(store, 1), 0);
	unit_put(store, 1);
	ck_rc(unit_get(store, 2, &ref), -EAGAIN);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert(unit_has(unit_attach(), 1));
	end_it(store);
}
END_TEST

START_TEST(D4_a_wait_for_a_stopped_filler_ends_at_its_deadline)
{
	kvshm_store *store = store_with_a_stopped_client(64);
	uint64_t deadline = unit_in_ms(30), soon = unit_in_ms(UNIT_SOON);
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	ck_rc(unit_ask(store, 2, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_rc(kvshm_wait(store, &ref, deadline), -ETIMEDOUT);
	ck_assert_uint_lt(kvs_now(), soon);
	end_it(store);
}
END_TEST

START_TEST(D4_no_room_beside_a_stopped_reader_is_said_at_once_and_ends_with_it)
{
	kvshm_store *store = store_with_a_stopped_client(8);
	uint64_t soon = unit_in_ms(UNIT_SOON), filled = 10;
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int rc;

	/* All that is evicted waits for the section to end. */
	for (rc = 0; rc == 0; filled++) {
		rc = unit_ask(store, filled, &outcome, &handle);
		if (rc == 0) {
			ck_rc(kvshm_publish(store, &handle, NULL), 0);
			ck_rc(kvshm_release(store, &handle), 0);
		}
	}
	ck_rc(rc, -ENOSPC);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "grace period"));
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_no_room_grace), 1);
	ck_assert_uint_lt(kvs_now(), soon);
	ck_assert(unit_has(store, filled - 2)); /* lookups don't mind */
	unit_kill(&stopped);
	for (uint64_t i = 100; i < 110; i++) /* the failed allocation recovers it */
		unit_put(store, i);
}
END_TEST

START_TEST(D4_detach_and_destroy_do_not_wait_for_a_stopped_client)
{
	kvshm_store *store = store_with_a_stopped_client(8);

	unit_detach(store);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	store = unit_store(8); /* the name is free again */
	unit_put(store, 1);
	unit_kill(&stopped);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		D4_lookups_fills_and_removals_go_on_beside_a_stopped_client,
		D4_a_wait_for_a_stopped_filler_ends_at_its_deadline,
		D4_no_room_beside_a_stopped_reader_is_said_at_once_and_ends_with_it,
		D4_detach_and_destroy_do_not_wait_for_a_stopped_client,
	};

	return unit_run("stopped", tests, sizeof(tests) / sizeof(tests[0]));
}
