/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * malicious.c: senders that write where they may not, or not any more, into a store whose kvshmd listens: over any
 * transport (E2, E3, R23). Whatever they do, the write ends their connection with a remote access error, the bytes of
 * all blocks stay as they are, and other connections go on. That nothing is held behind is looked at by who runs it.
 *
 * usage: malicious URL STORE [TEST]
 */
#include "config.h"

#include "raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HONEST 0x22 /* bytes of what is committed */
#define ANEW 0x33   /* and of what is filled there behind */

/* At the end of each: one that has done nothing wrong sends a block. */
static void goes_on(struct raw *other)
{
	struct kvr_grant grant = raw_begin(other, 100, NULL, "of the other");
	struct kvshm_handle ref;

	raw_write(other, &grant, 0x77);
	raw_commit(other, 100);
	raw_done(other, 100);
	raw_rc(raw_get("of the other", &ref), 0);
	raw_is_all(ref.block, 0x77);
	raw_rc(kvshm_release(raw_store, &ref), 0);
	raw_others_stay();
	raw_remove("of the other");
}

static void flood(struct raw *raw, const struct kvr_grant *grant)
{
	for (uint32_t i = 0; i < grant->count; i++)
		raw_flood(raw, grant->planes[i].address, grant->planes[i].rkey, RAW_BLOCK);
}

/* The block is someone else's as soon as it can be had: its bytes stay. */
static void fill_anew(struct raw *raw, const struct kvr_grant *grant)
{
	struct kvshm_handle fill;

	raw_until((flood(raw, grant), raw_fill("anew", &fill)));
	ck_assert_uint_eq(fill.block, grant->block);
	raw_set(fill.block, ANEW);
	raw_until((flood(raw, grant), raw_is_all(fill.block, ANEW), raw->down));
	raw_refused(raw);
	raw_publish(&fill);
	raw_is_all(fill.block, ANEW);
	raw_others_stay();
	raw_rc(kvshm_release(raw_store, &fill), 0);
	raw_remove("anew");
}

/* ---- After the end --------------------------------------------------------------------------------------------- */

START_TEST(E2_who_writes_on_after_the_commit_when_the_block_is_published)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");
	struct kvshm_handle ref;

	ck_assert_uint_eq(grant.block, RAW_FREE);
	raw_write(raw, &grant, HONEST);
	raw_commit(raw, 1);
	raw_until(raw_get("key", &ref) == 0);
	raw_until((flood(raw, &grant), raw_is_all(ref.block, HONEST), raw->down));
	raw_refused(raw);
	raw_is_all(ref.block, HONEST);
	raw_rc(kvshm_release(raw_store, &ref), 0);
	raw_remove("key");
	goes_on(other);
}
END_TEST

/* It does not wait for anything: what it writes before the block is published may be there, and nothing behind. */
START_TEST(E2_who_writes_on_after_the_commit_at_once)
{
	static uint8_t seen[RAW_PLANES][RAW_BLOCK];
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");
	struct kvshm_handle ref;

	flood(raw, &grant);
	raw_commit(raw, 1);
	raw_until((flood(raw, &grant), raw_get("key", &ref) == 0));
	for (unsigned i = 0; i < RAW_PLANES; i++)
		memcpy(seen[i], raw_place(ref.block, i), RAW_BLOCK);
	do {
		flood(raw, &grant);
		for (unsigned i = 0; i < RAW_PLANES; i++)
			ck_assert(memcmp(seen[i], raw_place(ref.block, i), RAW_BLOCK) == 0);
	} while (!raw->down);
	raw_refused(raw);
	raw_rc(kvshm_release(raw_store, &ref), 0);
	raw_remove("key");
	goes_on(other);
}
END_TEST

START_TEST(E2_who_writes_on_after_its_own_abort)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");
	struct kvshm_handle ref;

	raw_write(raw, &grant, HONEST);
	raw_abort(raw, 1);
	fill_anew(raw, &grant);
	raw_rc(raw_get("key", &ref), -ENOENT);
	goes_on(other);
}
END_TEST

/* An engine here asks for the request's end: the sender is told, and given the time to drain; then it is fenced. */
START_TEST(E2_who_does_not_drain_when_the_request_is_ended)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, "request", "key");
	struct kvshm_request_info info;
	struct kvshm_request request;
	struct kvshm_handle ref;
	char id[64];

	(void)raw_name("request", id, sizeof(id));
	raw_rc(kvshm_request_find(raw_store, id, strlen(id), &request), 0);
	raw_rc(kvshm_request_end(raw_store, &request), 0);
	raw_until((flood(raw, &grant), raw->first || raw->down));
	(void)raw_take(raw, KVR_ABORT);
	fill_anew(raw, &grant);
	raw_rc(raw_get("key", &ref), -ENOENT);
	raw_until(kvshm_request_get_info(raw_store, &request, &info) || info.state == KVSHM_REQUEST_CLOSED);
	goes_on(other);
}
END_TEST

/* ---- Outside --------------------------------------------------------------------------------------------------- */

/* Writes of `length` bytes, so many from the granted block's beginning. */
static void outside(long offset, uint64_t length, unsigned plane)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");
	struct kvshm_handle fill;

	ck_assert_uint_eq(grant.block, RAW_FREE);
	raw_write(raw, &grant, HONEST);
	raw_flood(raw, grant.planes[plane].address + (uint64_t)offset, grant.planes[plane].rkey, length);
	raw_until((raw_others_stay(), raw->down));
	raw_refused(raw);
	raw_others_stay();
	raw_until(raw_fill("anew", &fill));
	ck_assert_uint_eq(fill.block, RAW_FREE);
	raw_rc(kvshm_give_up(raw_store, &fill), 0);
	goes_on(other);
}

START_TEST(E3_who_writes_the_next_block)
{
	outside(RAW_BLOCK, RAW_BLOCK, 0);
}
END_TEST

START_TEST(E3_who_writes_the_block_before)
{
	outside(-(long)RAW_BLOCK, RAW_BLOCK, 1);
}
END_TEST

START_TEST(E3_who_writes_beyond_the_end_of_its_block)
{
	outside(RAW_BLOCK - 8, 16, 1);
}
END_TEST

START_TEST(E3_who_writes_from_before_its_block)
{
	outside(-8, 16, 0);
}
END_TEST

START_TEST(E3_who_writes_its_block_and_both_neighbours)
{
	outside(-(long)RAW_BLOCK, UINT64_C(3) * RAW_BLOCK, 0);
}
END_TEST

/* Both are granted; each has a window of its own. */
START_TEST(E3_who_writes_one_block_with_the_key_of_another)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant one, two;

	one = raw_begin(raw, 1, NULL, "key");
	raw_free(RAW_FREE / 2);
	two = raw_begin(raw, 2, NULL, "another key");
	ck_assert_uint_eq(two.block, RAW_FREE / 2);
	raw_write(raw, &one, HONEST);
	raw_until((raw_flood(raw, one.planes[0].address, two.planes[0].rkey, RAW_BLOCK),
		   raw_is_all(RAW_FREE, HONEST), raw->down));
	raw_refused(raw);
	raw_is_all(RAW_FREE, HONEST);
	goes_on(other);
}
END_TEST

START_TEST(E3_who_writes_one_plane_with_the_key_of_another)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");

	raw_write(raw, &grant, HONEST);
	raw_until((raw_flood(raw, grant.planes[1].address, grant.planes[0].rkey, RAW_BLOCK),
		   raw_is_all(RAW_FREE, HONEST), raw->down));
	raw_refused(raw);
	raw_is_all(RAW_FREE, HONEST);
	goes_on(other);
}
END_TEST

/* The other one's transfer goes on, and is whole. */
START_TEST(E3_who_writes_with_the_key_of_another_connection)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant grant = raw_begin(other, 1, NULL, "key");
	struct kvshm_handle ref;

	raw_write(other, &grant, HONEST);
	raw_until((flood(raw, &grant), raw_is_all(RAW_FREE, HONEST), raw->down));
	raw_refused(raw);
	raw_commit(other, 1);
	raw_done(other, 1);
	raw_rc(raw_get("key", &ref), 0);
	raw_is_all(ref.block, HONEST);
	raw_rc(kvshm_release(raw_store, &ref), 0);
	raw_remove("key");
	goes_on(other);
}
END_TEST

/* ---- Keys of before -------------------------------------------------------------------------------------------- */

static struct kvr_grant send_and_remove(struct raw *raw)
{
	struct kvr_grant grant = raw_begin(raw, 1, NULL, "key");

	raw_write(raw, &grant, HONEST);
	raw_commit(raw, 1);
	raw_done(raw, 1);
	raw_remove("key");
	return grant;
}

START_TEST(E3_who_writes_with_the_key_of_before_into_what_was_granted_to_another)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant before = send_and_remove(raw), now = raw_begin(other, 1, NULL, "another key");
	struct kvshm_handle ref;

	ck_assert_uint_eq(now.block, before.block);
	raw_write(other, &now, ANEW);
	raw_until((flood(raw, &before), raw_is_all(now.block, ANEW), raw->down));
	raw_refused(raw);
	raw_commit(other, 1);
	raw_done(other, 1);
	raw_rc(raw_get("another key", &ref), 0);
	raw_is_all(ref.block, ANEW);
	raw_rc(kvshm_release(raw_store, &ref), 0);
	raw_remove("another key");
	goes_on(other);
}
END_TEST

START_TEST(E3_who_writes_with_the_key_of_before_into_what_was_granted_to_it_anew)
{
	struct raw *other = raw_connect(), *raw = raw_connect();
	struct kvr_grant before = send_and_remove(raw), now = raw_begin(raw, 2, NULL, "another key");

	ck_assert_uint_eq(now.block, before.block);
	raw_write(raw, &now, ANEW);
	raw_until((flood(raw, &before), raw_is_all(now.block, ANEW), raw->down));
	raw_refused(raw);
	raw_is_all(now.block, ANEW);
	goes_on(other);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		E2_who_writes_on_after_the_commit_when_the_block_is_published,
		E2_who_writes_on_after_the_commit_at_once,
		E2_who_writes_on_after_its_own_abort,
		E2_who_does_not_drain_when_the_request_is_ended,
		E3_who_writes_the_next_block,
		E3_who_writes_the_block_before,
		E3_who_writes_beyond_the_end_of_its_block,
		E3_who_writes_from_before_its_block,
		E3_who_writes_its_block_and_both_neighbours,
		E3_who_writes_one_block_with_the_key_of_another,
		E3_who_writes_one_plane_with_the_key_of_another,
		E3_who_writes_with_the_key_of_another_connection,
		E3_who_writes_with_the_key_of_before_into_what_was_granted_to_another,
		E3_who_writes_with_the_key_of_before_into_what_was_granted_to_it_anew,
	};

	return raw_main("malicious", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
