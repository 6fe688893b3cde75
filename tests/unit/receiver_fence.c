/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_fence: nothing is published, given up or answered before the windows that it was granted by are withdrawn,
 * however long that takes (E2, E3, R23). The linker puts this file's function in front of the one that withdraws: it
 * does so when the test says.
 */
#include "config.h"

#include "far.h"

#include <errno.h>

#define BLOCKS 8U
#define HELD 16U

static const uint64_t one = 1;

static struct {
	struct kvr_peer *peer;
	struct kvr_window *window;
} held[HELD];
static unsigned count;

void __real_kvr_peer_withdraw(struct kvr_peer *peer, struct kvr_window *window);
void __wrap_kvr_peer_withdraw(struct kvr_peer *peer, struct kvr_window *window);

void __wrap_kvr_peer_withdraw(struct kvr_peer *peer, struct kvr_window *window)
{
	ck_assert_uint_lt(count, HELD);
	held[count].peer = peer;
	held[count++].window = window;
}

static void withdraw(void)
{
	while (count) {
		count--;
		__real_kvr_peer_withdraw(held[count].peer, held[count].window);
	}
}

START_TEST(R23_a_block_is_published_behind_its_windows_withdrawal)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	far_write(far, &far->grants[0], 100);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_silent(far);
	ck_assert_uint_eq(count, 1);
	ck_assert(!far_has(engine, 100));
	withdraw();
	far_ended(far, KVR_DONE, 1, 0);
	far_claim(engine, 1, 100, 1);
	far_end(store);
}
END_TEST

START_TEST(R23_what_is_aborted_is_given_up_behind_its_windows_withdrawal)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();
	struct kvshm_handle pending;

	far_begin(far, 1, &one, 1, 100);
	pending = unit_pending(engine, 100);
	far_abort(far, 1);
	far_silent(far);
	ck_assert_uint_eq(count, 1);
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	withdraw();
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	far_end(store);
}
END_TEST

START_TEST(R23_what_is_given_up_is_so_behind_its_windows_withdrawal_or_its_links_end)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();
	struct kvshm_handle pending;

	far_begin(far, 1, &one, 1, 100);
	pending = unit_pending(engine, 100);
	far_commit(far, 1, 0, 1, KVR_GIVEN_UP);
	far_silent(far);
	ck_assert_uint_eq(count, 1);
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	far_cut(far); /* its windows go with it */
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R23_a_block_is_published_behind_its_windows_withdrawal,
		R23_what_is_aborted_is_given_up_behind_its_windows_withdrawal,
		R23_what_is_given_up_is_so_behind_its_windows_withdrawal_or_its_links_end,
	};

	return unit_run("receiver_fence", tests, sizeof(tests) / sizeof(tests[0]));
}
