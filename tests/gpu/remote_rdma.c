/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remote_rdma: what network cards write to GPU memory is flushed before its block is published, and before it is given
 * up (E1): once for many blocks; and where the flush fails, nothing is published. Over devices that are not there, into
 * the stand-in's memory, with windows and without. The linker puts this file's functions in front of those that flush,
 * publish and give up: what a device has written since the last flush must not be told of.
 */
#include "config.h"

#include "pair.h"
#include "verbs_scene.h"
#include "verbs_turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "attached.h"
#include "standin.h"

#define BLOCKS 32U
#define COUNT 12U

static bool unflushed;
static unsigned flushes, published, given_up;

static void wrote(void)
{
	unflushed = true;
}

int __real_kvg_attached_flush(struct kvg_attached *attached);
int __wrap_kvg_attached_flush(struct kvg_attached *attached);
int __wrap_kvg_attached_flush(struct kvg_attached *attached)
{
	int rc = __real_kvg_attached_flush(attached);

	flushes++;
	if (rc == 0)
		unflushed = false;
	return rc;
}

/* The listener's client alone: the engines' fill with what no device has written. */
static bool is_listener(const kvshm_store *store)
{
	return store != pair_here && store != pair_there;
}

int __real_kvshm_publish(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_meta *meta);
int __wrap_kvshm_publish(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_meta *meta);
int __wrap_kvshm_publish(kvshm_store *store, struct kvshm_handle *handle, const struct kvshm_meta *meta)
{
	if (is_listener(store)) {
		ck_assert(!unflushed);
		published++;
	}
	return __real_kvshm_publish(store, handle, meta);
}

int __real_kvshm_give_up(kvshm_store *store, struct kvshm_handle *handle);
int __wrap_kvshm_give_up(kvshm_store *store, struct kvshm_handle *handle);
int __wrap_kvshm_give_up(kvshm_store *store, struct kvshm_handle *handle)
{
	if (is_listener(store)) {
		ck_assert(!unflushed || standin_failed());
		given_up++;
	}
	return __real_kvshm_give_up(store, handle);
}

static void *look(const void *at, size_t bytes)
{
	return standin_look((uintptr_t)at, bytes);
}

/* ---- What tests share */

/* windows: memory of GPUs can be registered by its address, over which there can be windows. */
static void begin(bool windows)
{
	scene_begin();
	turns_go_on();
	fake.gpu = look;
	fake.wrote = wrote;
	fake.peer_memory = windows;
	pair_url = "rdma://10.77.0.1:7471";
	pair_pool_here = pair_pool_there = "cuda:0,cuda:1";
	pair_begin(BLOCKS, 2, KVSHM_KEEP);
	ck_assert_uint_eq(fake.dma_bufs, windows ? 0 : 4);
	for (unsigned i = 0; i < COUNT; i++)
		unit_put(pair_here, i + 1);
	flushes = 0;
}

static void end(void)
{
	pair_end();
	ck_assert_uint_eq(fake.objects, 0);
	turns_rest();
}

static kvshm_transfer *granted(uint32_t count)
{
	kvshm_transfer *transfer = pair_open(pair_peer, "r", 1, count, 0);

	pair_until(pair_peer, transfer, count, KVSHM_SENDING_GRANTED);
	return transfer;
}

/* Every second block is idle: so each that is granted has windows of its own. */
static void scatter(void)
{
	struct kvshm_key key;
	uint8_t bytes[UNIT_KEY];

	for (unsigned i = 0; i < BLOCKS; i++)
		unit_put(pair_there, 1000 + i);
	for (unsigned i = 0; i < BLOCKS; i += 2) {
		unit_key(1000 + i, bytes);
		key = (struct kvshm_key){bytes, UNIT_KEY};
		ck_rc(kvshm_remove(pair_there, key.bytes, key.length), 0);
	}
}

/* ---- Tests */

START_TEST(E1_a_flush_comes_before_blocks_are_published)
{
	kvshm_transfer *transfer;

	begin(_i);
	transfer = pair_send("r", 1, COUNT);
	ck_rc(pair_wait(transfer), 0);
	ck_assert_uint_eq(published, COUNT);
	ck_assert_uint_ge(flushes, 1);
	ck_assert_uint_ge(standin_flushes(), 2); /* of two GPUs */
	pair_claim("r", 1, COUNT);
	end();
}
END_TEST

START_TEST(one_flush_serves_many_blocks)
{
	kvshm_transfer *transfer;

	begin(_i);
	scatter();
	transfer = pair_send("r", 1, COUNT);
	ck_rc(pair_wait(transfer), 0);
	ck_assert_uint_eq(published, COUNT);
	ck_assert_uint_ge(flushes, 1);
	ck_assert_uint_le(flushes, COUNT / 4);
	pair_claim("r", 1, COUNT);
	end();
}
END_TEST

/* By an abort, and by the end of the connection. */
START_TEST(E1_a_flush_comes_before_blocks_are_given_up)
{
	kvshm_transfer *transfer;
	struct kvshm_handle ref;
	void *bytes;

	begin(_i & 1);
	ck_rc(unit_get(pair_here, 1, &ref), 0);
	ck_rc(kvshm_address(pair_here, &ref, 1, &bytes), 0);
	transfer = granted(3);
	for (unsigned i = 0; i < 3; i++)
		ck_rc(kvshm_transfer_write(transfer, i, 1, 0, bytes, 4096), 0);
	ck_rc(kvshm_peer_work(pair_peer, 0, NULL, 0, NULL), -ETIMEDOUT);
	ck_assert(unflushed);
	if (_i & 2) {
		pair_disconnect(pair_peer);
	} else {
		ck_rc(kvshm_transfer_abort(transfer), 0);
		ck_rc(pair_wait(transfer), -ECANCELED);
	}
	pair_idle();
	ck_assert_uint_eq(given_up, 3);
	ck_assert_uint_ge(flushes, 1);
	ck_rc(kvshm_release(pair_here, &ref), 0);
	end();
}
END_TEST

START_TEST(E1_what_can_not_be_flushed_is_not_published)
{
	kvshm_transfer *transfer;

	begin(_i);
	standin_fail("cuFlushGPUDirectRDMAWrites", 0, KVG_UNKNOWN);
	transfer = pair_send("r", 1, COUNT);
	ck_rc(pair_wait(transfer), -ECANCELED);
	ck_assert_ptr_nonnull(strstr(scene_log, "blocks that came from other nodes are given up: "));
	ck_assert_ptr_nonnull(strstr(scene_log, "CUDA_ERROR_UNKNOWN"));
	pair_idle();
	ck_assert_uint_eq(published, 0);
	ck_assert(!pair_has(pair_there, 1));
	standin_calm();
	unflushed = false;
	transfer = pair_send("again", 1, COUNT);
	ck_rc(pair_wait(transfer), 0);
	pair_claim("again", 1, COUNT);
	end();
}
END_TEST

/* GPUs that order what cards write, for all that may read it. */
START_TEST(nothing_is_flushed_where_that_is_not_needed)
{
	char path[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/ordered", getenv("TMPDIR"));
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(setenv("KVSHM_STANDIN_DIR", path, 1), 0);
	(void)strncat(path, "/devices", sizeof(path) - strlen(path) - 1);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	(void)fprintf(file, "name=A uuid=GPU-0102030405060708090a0b0c0d0e0f10 memory=64M 118=200\n"
			    "name=B uuid=GPU-0102030405060708090a0b0c0d0e0f11 memory=64M 118=200\n");
	(void)fclose(file);
	begin(false);
	ck_rc(pair_wait(pair_send("r", 1, COUNT)), 0);
	ck_assert_uint_eq(published, COUNT);
	ck_assert_uint_eq(standin_flushes(), 0);
	ck_assert_uint_eq(standin_calls_of("cuFlushGPUDirectRDMAWrites"), 0);
	pair_claim("r", 1, COUNT);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		nothing_is_flushed_where_that_is_not_needed,
	};
	const struct unit_loop loops[] = {
		{E1_a_flush_comes_before_blocks_are_published, 2},
		{one_flush_serves_many_blocks, 2},
		{E1_a_flush_comes_before_blocks_are_given_up, 4},
		{E1_what_can_not_be_flushed_is_not_published, 2},
		{NULL, 0},
	};

	return unit_run_loops("remote_rdma", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
