/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * receiver_unfenced: on links without windows (as iWARP's without type 2) the sender's word counts, and the end of its
 * connection where it says nothing: before either nothing that it was granted is given up (E2, R23). The linker puts
 * this file's function in front of one that is called of each link when it is up, and there it is made such a one.
 */
#include "config.h"

#include "far.h"

#include <errno.h>
#include <string.h>

#define BLOCKS 8U

static const uint64_t one = 1;

void __real_kvr_peer_is_up(struct kvr_peer *peer);
void __wrap_kvr_peer_is_up(struct kvr_peer *peer);

void __wrap_kvr_peer_is_up(struct kvr_peer *peer)
{
	peer->unfenced = true;
	__real_kvr_peer_is_up(peer);
}

START_TEST(blocks_are_there_once_they_are_committed)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 4, 100);
	far_finish(far, 1, 4, 100);
	far_claim(engine, 1, 100, 4);
	far_end(store);
}
END_TEST

START_TEST(R10_a_senders_abort_is_believed)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 4, 100);
	far_abort(far, 1);
	far_ended(far, KVR_ABORTED, 1, 0);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_silent(far);
	far_end(store);
}
END_TEST

static void ask_for_end(kvshm_store *engine)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_find(engine, &one, sizeof(one), &request), 0);
	ck_rc(kvshm_request_end(engine, &request), 0);
}

START_TEST(an_abort_of_the_receivers_waits_for_the_senders_answer)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_handle pending;
	struct far *far = far_connect();

	far_begin(far, 1, &one, 1, 100);
	pending = unit_pending(engine, 100);
	ask_for_end(engine);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_silent(far);
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	far_aborted(far, 1);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	far_silent(far);
	far_end(store);
}
END_TEST

START_TEST(R23_a_sender_that_does_not_answer_loses_its_connection_before_anything_is_given_up)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct kvshm_handle pending;
	struct far *far = far_connect();
	const struct kvr_bye *bye;

	far_begin(far, 1, &one, 1, 100);
	pending = unit_pending(engine, 100);
	ask_for_end(engine);
	far_ended(far, KVR_ABORT, 1, -ECANCELED);
	far_later(1900);
	far_silent(far);
	ck_rc(kvshm_wait(engine, &pending, 0), -ETIMEDOUT);
	far_later(200);
	bye = &far_take(far, KVR_BYE)->bye; /* not the one of a connection that is silent for too long */
	ck_assert_int_eq(bye->result, -ETIMEDOUT);
	ck_assert_ptr_nonnull(memmem(bye->text.bytes, bye->text.length, "no windows", 10));
	far_lost(far, 0);
	far_until(far_state(engine, 1) == KVSHM_REQUEST_CLOSED);
	ck_rc(kvshm_wait(engine, &pending, 0), -ECANCELED);
	far_end(store);
}
END_TEST

START_TEST(R12_a_sender_that_is_lost_leaves_nothing)
{
	kvshm_store *store = far_store(BLOCKS), *engine = unit_attach();
	struct far *far = far_connect();

	far_begin(far, 1, &one, 2, 100);
	far_commit(far, 1, 0, 1, KVR_WHOLE);
	far_cut(far);
	ck_assert_int_eq(far_state(engine, 1), KVSHM_REQUEST_CLOSED);
	far_end(store);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		blocks_are_there_once_they_are_committed,
		R10_a_senders_abort_is_believed,
		an_abort_of_the_receivers_waits_for_the_senders_answer,
		R23_a_sender_that_does_not_answer_loses_its_connection_before_anything_is_given_up,
		R12_a_sender_that_is_lost_leaves_nothing,
	};

	return unit_run("receiver_unfenced", tests, sizeof(tests) / sizeof(tests[0]));
}
