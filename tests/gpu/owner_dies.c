/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner_dies: the owner of a store in GPU memory is killed. Where the memory goes with it, every call of its clients
 * says so within 100 ms, those too that wait; where it does not, clients go on, and are told if they ask.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wait.h"

#define SOON UINT64_C(100000000) /* ns (R25) */

static void own(void *export)
{
	struct kvshm_create_options options = unit_options(8);

	options.pool = "cuda:0";
	options.gpu_export = *(const enum kvshm_export *)export;
	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	unit_tell_parent();
	for (;;)
		ck_rc(kvshm_owner_recover(unit_owner, NULL), 0);
}

static void start_owner(struct child *owner, enum kvshm_export export)
{
	static enum kvshm_export arg;

	arg = export;
	unit_child(owner, own, &arg);
	unit_await(owner);
}

/* A key that is there, and held. */
static struct kvshm_handle put(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle handle = unit_begin(store, number);
	uint8_t bytes[4096];

	unit_bytes(number, 0, bytes, sizeof(bytes));
	ck_rc(kvshm_write(store, &handle, 0, 0, bytes, sizeof(bytes)), 0);
	ck_rc(kvshm_publish(store, &handle, NULL), 0);
	return handle;
}

static void check(kvshm_store *store, const struct kvshm_handle *held, uint64_t number)
{
	uint8_t bytes[4096], wanted[4096];

	unit_bytes(number, 0, wanted, sizeof(wanted));
	ck_rc(kvshm_read(store, held, 0, 0, bytes, sizeof(bytes)), 0);
	ck_assert(memcmp(bytes, wanted, sizeof(bytes)) == 0);
}

/* What its owner has left. */
static void take_away(kvshm_store *store)
{
	unit_detach(store);
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
}

/* A client that does nothing else sees it by its own calls. How long a busy machine lets it stand still does not count:
 * that is the longest time between two of them. */
START_TEST(R25_every_call_is_ESTALE_within_100_ms_of_the_owners_death)
{
	uint64_t killed, last, longest = 0;
	struct kvshm_handle held;
	struct child owner;
	kvshm_store *store;
	int rc;

	start_owner(&owner, KVSHM_EXPORT_IPC);
	store = unit_attach();
	held = put(store, 1);
	check(store, &held, 1);
	unit_kill(&owner);
	killed = last = kvs_now();
	do {
		uint64_t now;

		rc = kvshm_get_geometry(store, &(struct kvshm_geometry){.blocks = 0});
		now = kvs_now();
		longest = now - last > longest ? now - last : longest;
		last = now;
	} while (rc == 0);
	ck_rc(rc, -ESTALE);
	printf("# seen after %.1f ms; the longest time between two calls was %.1f ms\n", (double)(last - killed) / 1e6,
	       (double)longest / 1e6);
	ck_assert_uint_le(last - killed, SOON + longest);
	unit_all_calls(store, &held, -ESTALE);
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -ESTALE);
	take_away(store);
}
END_TEST

static int wait_for_the_key(kvshm_store *store, struct kvshm_request *request)
{
	struct kvshm_handle ref = unit_pending(store, 1);

	(void)request;
	return kvshm_wait(store, &ref, UINT64_MAX);
}

static int wait_for_the_batch(kvshm_store *store, struct kvshm_request *request)
{
	struct kvshm_handle ref = unit_pending(store, 1);
	int result;

	(void)request;
	ck_rc(kvshm_wait_batch(store, &ref, 1, UINT64_MAX, &result), 0);
	return result;
}

static int wait_for_room(kvshm_store *store, struct kvshm_request *request)
{
	return kvshm_request_reserve(store, request, 8, UINT64_MAX);
}

static int wait_for_completion(kvshm_store *store, struct kvshm_request *request)
{
	struct kvshm_handle lent;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	unit_key(1, key);
	ck_rc(kvshm_request_get_or_fill(store, request, key, sizeof(key), &outcome, &lent), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	return kvshm_request_complete(store, request, UINT64_MAX);
}

static int wait_for_anothers(kvshm_store *store, struct kvshm_request *request)
{
	return kvshm_request_wait(store, request, UINT64_MAX);
}

static int (*const waits[])(kvshm_store *store, struct kvshm_request *request) = {
	wait_for_the_key, wait_for_the_batch, wait_for_room, wait_for_completion, wait_for_anothers,
};
#define WAITS (int)(sizeof(waits) / sizeof(waits[0]))

static void wait_in_vain(void *which)
{
	kvshm_store *store = unit_attach();
	struct kvshm_request request;

	ck_rc(kvshm_request_open(store, "waiter", 6, 0, 0, &request), 0);
	unit_tell_parent();
	ck_rc(waits[*(const int *)which](store, &request), -ESTALE);
	unit_detach(store);
}

/* A client that waits sees it by itself, too. */
START_TEST(R25_who_waits_is_told)
{
	struct child owner, waiter;
	struct kvshm_handle mine;
	kvshm_store *store;
	uint64_t killed;

	start_owner(&owner, KVSHM_EXPORT_IPC);
	store = unit_attach();
	mine = unit_begin(store, 1); /* never published */
	unit_child(&waiter, wait_in_vain, &_i);
	unit_await(&waiter);
	unit_kill(&owner);
	killed = kvs_now();
	unit_join(&waiter);
	printf("# waiter %d: told after %.1f ms\n", _i, (double)(kvs_now() - killed) / 1e6);
	ck_assert_uint_lt(kvs_now() - killed, UNIT_SOON * 1000000);
	ck_rc(kvshm_publish(store, &mine, NULL), -ESTALE);
	take_away(store);
}
END_TEST

START_TEST(clients_go_on_with_memory_that_outlives_the_owner)
{
	struct kvshm_owner_info info;
	struct kvshm_handle held;
	struct child owner;
	kvshm_store *store;

	start_owner(&owner, KVSHM_EXPORT_FD);
	store = unit_attach();
	held = put(store, 1);
	ck_rc(kvshm_get_owner_info(store, &info), 0);
	ck_assert(info.alive && info.pid == owner.pid);
	unit_kill(&owner);
	ck_rc(kvshm_get_owner_info(store, &info), 0);
	ck_assert(!info.alive);
	check(store, &held, 1);
	(void)put(store, 2);
	ck_assert(unit_has(store, 2));
	ck_rc(kvshm_attach(unit_name(), NULL, &store), -EOWNERDEAD);
	take_away(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R25_every_call_is_ESTALE_within_100_ms_of_the_owners_death,
		clients_go_on_with_memory_that_outlives_the_owner,
	};
	const struct unit_loop loops[] = {{R25_who_waits_is_told, WAITS}, {NULL, 0}};

	return unit_run_loops("owner_dies", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
