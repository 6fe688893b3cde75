/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs_store: what a node sends to another over RDMA while every call of libibverbs, librdmacm and the system
 * fails in its turn, on either side: who sends, or the log, is told why; the receiving store is sound, and nothing that
 * was under way is left in it; its listener goes on; and what is sent next comes whole.
 */
#include "config.h"

#include "pair.h"
#include "verbs_scene.h"
#include "verbs_turns.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define BLOCKS 32U
#define COUNT 6U

/* ---- What is sent, and what comes of it */

static char text[1024];
static uint32_t refused;

static bool heard(int rc)
{
	if (rc)
		(void)snprintf(text, sizeof(text), "%s", kvshm_error());
	return rc == 0;
}

static int send_by(kvshm_peer *peer, const char *id)
{
	struct kvshm_handle held[COUNT];
	kvshm_transfer *transfer;
	int results[COUNT], rc;

	for (unsigned i = 0; i < COUNT; i++)
		ck_rc(unit_get(pair_here, i + 1, &held[i]), 0);
	rc = kvshm_send(peer, id, strlen(id), NULL, held, COUNT, &transfer);
	(void)heard(rc);
	ck_rc(kvshm_release_batch(pair_here, held, COUNT, results), 0);
	if (rc)
		return rc;
	rc = kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON));
	(void)heard(rc);
	refused = pair_look(transfer).refused;
	ck_rc(kvshm_transfer_close(transfer), 0);
	return rc;
}

/* Connects, sends, and goes. */
static bool exchange(const char *id)
{
	kvshm_peer *peer;
	bool done;

	if (!heard(kvshm_connect(pair_here, "rdma://10.77.0.1:7471", NULL, unit_in_ms(UNIT_SOON), &peer)))
		return false;
	done = send_by(peer, id) == 0;
	(void)kvshm_disconnect(peer);
	return done;
}

static bool is_complete(const char *id)
{
	struct kvshm_request_info info;
	struct kvshm_request request;

	return kvshm_request_find(pair_there, id, strlen(id), &request) == 0 &&
	       kvshm_request_get_info(pair_there, &request, &info) == 0 && info.state == KVSHM_REQUEST_COMPLETE;
}

/* What had come whole before it failed is there, and an engine may have it; of all else nothing is left. */
static void settle(const char *id)
{
	const uint64_t deadline = unit_in_ms(UNIT_SOON);

	while (!pair_is_idle()) {
		ck_assert_uint_lt(unit_in_ms(0), deadline);
		if (is_complete(id))
			pair_claim(id, 1, COUNT);
		(void)sched_yield();
	}
}

static bool goes_on_when_it_fails(unsigned n)
{
	char id[32], next[32];
	bool done;

	(void)snprintf(id, sizeof(id), "request %u", n);
	(void)snprintf(next, sizeof(next), "behind %u", n);
	text[0] = scene_log[0] = '\0';
	refused = 0;
	fake.calls = 0;
	fake.failed = NULL;
	fake.fail_at = n;
	done = exchange(id);
	fake_calm();
	if (done)
		ck_assert(is_complete(id));
	else
		ck_assert_msg(scene_says(text) || scene_says(scene_log) ||
				      (refused && strstr(text, "a block was refused")),
			      "nobody tells why: %s; they say: %s; %s", fake.failed, text, scene_log);
	settle(id);
	ck_assert_msg(exchange(next), "%s: and what comes next fails: %s", fake.failed, text);
	ck_assert(is_complete(next));
	settle(next);
	return fake.failed;
}

START_TEST(whatever_fails_the_store_is_unharmed_and_the_next_transfer_comes)
{
	unsigned n = 1;

	scene_begin();
	turns_go_on();
	pair_url = "rdma://10.77.0.1:7471";
	pair_begin(BLOCKS, 2, KVSHM_DROP);
	pair_disconnect(pair_peer);
	for (unsigned i = 0; i < COUNT; i++)
		unit_put(pair_here, i + 1);
	while (goes_on_when_it_fails(n))
		n++;
	ck_assert_uint_gt(n, 100);
	pair_end();
	ck_assert_uint_eq(fake.objects, 0);
	turns_rest();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		whatever_fails_the_store_is_unharmed_and_the_next_transfer_comes,
	};

	return unit_run("rdma_verbs_store", tests, sizeof(tests) / sizeof(tests[0]));
}
