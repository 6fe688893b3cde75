/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remote: blocks go over TCP between stores of all kinds of memory, and come whole; and when the driver can't copy, who
 * sends is told, and nothing of it is published.
 */
#include "config.h"

#include "pair.h"

#include <errno.h>
#include <string.h>

#include "standin.h"

#define BLOCKS 16U
#define COUNT 6U
#define LONG (UINT64_C(5) << 19) /* a block that goes in several pieces */

/* From here to there. */
static const struct {
	const char *here, *there;
	uint64_t block;
} ways[] = {
	{NULL, "cuda:0,cuda:1", 4096},
	{"cuda:0,cuda:1", NULL, 4096},
	{"cuda:0,cuda:1", "cuda:1,cuda:0", 4096},
	{"cuda:0,cuda:1", "cuda:1,cuda:0", LONG},
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static void begin(int way)
{
	pair_pool_here = ways[way].here;
	pair_pool_there = ways[way].there;
	pair_block = ways[way].block;
	pair_begin(BLOCKS, 2, KVSHM_KEEP);
}

static void end(void)
{
	pair_end();
}

static void put(kvshm_store *store, uint64_t first)
{
	for (unsigned i = 0; i < COUNT; i++)
		unit_put(store, first + i);
}

START_TEST(blocks_are_sent)
{
	kvshm_transfer *transfer;

	begin(_i);
	put(pair_here, 1);
	transfer = pair_send("r", 1, COUNT);
	ck_rc(pair_wait(transfer), 0);
	ck_assert_uint_eq(pair_look(transfer).sent, COUNT);
	pair_claim("r", 1, COUNT);
	end();
}
END_TEST

START_TEST(blocks_are_wanted)
{
	struct kvshm_transfer_info info;
	struct kvshm_key keys[COUNT];
	uint8_t bytes[COUNT][UNIT_KEY];
	kvshm_transfer *transfer;

	begin(_i);
	put(pair_there, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		unit_key(1 + i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
	}
	ck_rc(kvshm_want(pair_peer, "w", 1, NULL, keys, COUNT, &transfer), 0);
	ck_rc(pair_wait(transfer), 0);
	pair_verify(pair_here, 1, COUNT);
	info = pair_look(transfer);
	ck_rc(kvshm_request_end(pair_here, &info.request), 0);
	ck_rc(kvshm_transfer_close(transfer), 0);
	end();
}
END_TEST

/* The receiving side's copies, then the sending side's. */
START_TEST(what_can_not_be_copied_is_told_and_not_published)
{
	kvshm_transfer *transfer;
	int rc;

	begin(_i ? 1 : 0);
	put(pair_here, 1);
	standin_fail("cuMemcpyAsync", 0, KVG_UNKNOWN);
	transfer = pair_send("r", 1, COUNT);
	rc = pair_wait(transfer);
	ck_assert_int_ne(rc, 0);
	ck_assert_int_ne(rc, -ETIMEDOUT);
	ck_assert(!_i || strstr(kvshm_error(), "cannot copy 4096 bytes of plane 0: "));
	standin_calm();
	pair_idle();
	ck_assert(!pair_has(pair_there, 1));
	pair_peer = pair_connect();
	transfer = pair_send("again", 1, COUNT);
	ck_rc(pair_wait(transfer), 0);
	pair_claim("again", 1, COUNT);
	end();
}
END_TEST

int main(void)
{
	const struct unit_loop loops[] = {
		{blocks_are_sent, WAYS},
		{blocks_are_wanted, WAYS},
		{what_can_not_be_copied_is_told_and_not_published, 2},
		{NULL, 0},
	};

	return unit_run_loops("remote", NULL, 0, loops);
}
