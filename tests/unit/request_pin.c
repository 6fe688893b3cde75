/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_pin: what a client holds already, by windows, tickets or keys, is put under a request: each block once, and
 * until the request's end, whatever becomes of the holds that it was taken by (R01, R02, R26).
 */
#include "config.h"

#include "request_scene.h"

#include <errno.h>
#include <string.h>

#include "hold.h"

#define BLOCKS 16U
#define WINDOW 3U

START_TEST(R26_what_a_window_match_found_is_held_by_the_request_until_its_end)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle refs[8], lent[WINDOW], again[WINDOW], whole[8];
	enum kvshm_next next;
	const struct kvshm_handle none = {.kind = KVSHM_NONE};
	int results[WINDOW], all[8];
	size_t ready;

	for (uint64_t i = 4; i < 8; i++) /* the first four are missing */
		unit_put(other, i);
	ck_rc(kvshm_match_window(store, scene_keys(0, 8), 8, WINDOW, refs, &ready, &next), 0);
	ck_assert_uint_eq(ready, 8);
	ck_rc(kvshm_request_pin(store, &request, refs + 5, WINDOW, lent, results), 0);
	ck_rc(kvshm_request_pin(store, &request, refs + 5, WINDOW, again, results), 0);
	ck_rc(kvshm_request_pin(store, &request, refs, 8, whole, all), 0); /* as the match has given them */
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_int_eq(all[i], 0);
		ck_assert_mem_eq(&whole[i], i < 5 ? &none : &lent[i - 5], sizeof(whole[i]));
	}
	for (unsigned i = 0; i < WINDOW; i++) {
		ck_assert(results[i] == 0 && lent[i].kind == KVSHM_LENT && lent[i].request == request.slot + 1);
		ck_assert(lent[i].block == refs[5 + i].block && lent[i].life == refs[5 + i].life);
		ck_assert_mem_eq(&again[i], &lent[i], sizeof(lent[i]));
		ck_assert_uint_eq(unit_refs(store, &lent[i]), 1); /* as before */
		ck_assert_uint_eq(unit_pins(store, &lent[i]), 1); /* once */
	}
	ck_rc(kvshm_let_go(store, refs, 8), 0);
	for (uint64_t i = 0; i < UINT64_C(4) * BLOCKS; i++)
		unit_put(other, 1000 + i);
	for (unsigned i = 0; i < WINDOW; i++)
		unit_verify(store, &lent[i], 5 + i);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store) + scene_refs(store), 0);
}
END_TEST

START_TEST(all_kinds_of_holds_can_be_put_under_a_request)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0), second = scene_open(store, 2, 0);
	struct kvshm_handle theirs = unit_fill(other, 2, 0), removed, held[4], lent[4];
	struct kvshm_ticket ticket;
	int results[4];

	held[0] = unit_fill(store, 1, 0);
	ck_rc(kvshm_pin(store, &held[0], &held[1]), 0);
	ticket = unit_ticket(other, &theirs);
	held[2] = unit_hold(store, &ticket);
	held[3] = scene_fill(store, &second, 3); /* lent by another */
	removed = held[2];
	ck_rc(unit_remove(other, 2), 0);
	ck_rc(kvshm_request_pin(store, &request, held, 4, lent, results), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(results[i] == 0 && lent[i].kind == KVSHM_LENT && lent[i].block == held[i].block);
	ck_assert_uint_eq(unit_pins(store, &held[0]), 2); /* its own, and the request's one */
	scene_end(store, &second);
	ck_rc(kvshm_let_go(store, held, 3), 0);
	ck_rc(kvshm_release(other, &theirs), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), 0); /* the removed one is as whole as the others */
	unit_verify(store, &lent[2], 2);
	unit_verify(store, &lent[3], 3);
	ck_assert_uint_eq(unit_state(store, removed.block), KVS_DOOMED);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store) + scene_refs(store), 0);
}
END_TEST

START_TEST(what_is_being_filled_is_waited_for_when_the_request_completes)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle fills[2] = {unit_begin(other, 1), unit_begin(other, 2)}, refs[2], lent[2];
	int results[2];

	for (unsigned i = 0; i < 2; i++)
		refs[i] = unit_pending(store, 1 + i);
	ck_rc(kvshm_request_pin(store, &request, refs, 2, lent, results), 0);
	ck_assert(results[0] == 0 && results[1] == 0);
	ck_rc(kvshm_let_go(store, refs, 2), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	unit_write(other, &fills[0], 1);
	ck_rc(kvshm_publish(other, &fills[0], NULL), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	ck_rc(kvshm_give_up(other, &fills[1]), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -EAGAIN);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	unit_verify(store, &lent[0], 1);
	scene_end(store, &request);
}
END_TEST

START_TEST(a_fill_or_a_part_of_ones_own_is_waited_for_like_any)
{
	kvshm_store *store = unit_planes(1);
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle held[3] = {unit_begin(store, 1), unit_begin_shared(store, 2)}, lent[3];
	struct kvshm_ticket ticket = unit_ticket(store, &held[1]);
	int results[3];

	held[2] = unit_part(store, &ticket, 0);
	ck_rc(kvshm_request_pin(store, &request, held, 3, lent, results), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(results[i] == 0 && lent[i].kind == KVSHM_LENT && lent[i].block == held[i].block);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	for (unsigned i = 1; i < 3; i++)
		ck_rc(kvshm_publish(store, &held[i], NULL), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -ETIMEDOUT);
	ck_rc(kvshm_give_up(store, &held[0]), 0);
	ck_rc(kvshm_request_complete(store, &request, 0), -EAGAIN);
	ck_rc(kvshm_request_complete(store, &request, 0), 0);
	ck_rc(kvshm_let_go(store, held, 3), 0);
	ck_assert_uint_eq(scene_pins(store), 1);
	scene_end(store, &request);
	ck_assert_uint_eq(scene_pins(store) + scene_refs(store), 0);
}
END_TEST

START_TEST(a_ready_block_gives_room_back_once_and_one_that_is_being_filled_when_it_is_done)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle refs[2] = {unit_fill(store, 1, 0)}, fill = unit_begin(other, 2), lent[2];
	_Atomic uint32_t *room = &store->map.requests[request.slot].room;
	int results[2];

	refs[1] = unit_pending(store, 2);
	ck_rc(kvshm_request_reserve(store, &request, 4, unit_in_ms(10000)), 0);
	for (int again = 0; again < 2; again++) {
		ck_rc(kvshm_request_pin(store, &request, refs, 2, lent, results), 0);
		ck_assert_uint_eq(atomic_load(room), 3);
	}
	unit_write(other, &fill, 2);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	for (int again = 0; again < 2; again++) {
		ck_rc(kvshm_request_pin(store, &request, refs, 2, lent, results), 0);
		ck_assert_uint_eq(atomic_load(room), 2);
	}
	scene_end(store, &request);
}
END_TEST

START_TEST(what_is_not_held_has_no_key_or_is_held_too_often_fails_alone)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_request request = scene_open(store, 1, 0);
	struct kvshm_handle held[6], lent[6];
	int results[6];
	_Atomic uint64_t *entry;

	held[0] = unit_fill(store, 1, 0);
	held[1] = unit_fill(other, 2, 0); /* another's */
	held[2] = unit_own(store, 3);
	held[3] = (struct kvshm_handle){.kind = KVSHM_NONE};
	held[4] = unit_fill(store, 4, 0);
	held[5] = unit_fill(store, 5, 0);
	entry = &store->row[held[4].block];
	atomic_fetch_or(entry, KVS_ENTRY_REFS);
	ck_rc(kvshm_request_pin(store, &request, held, 6, lent, results), 0);
	ck_assert(results[0] == 0 && results[5] == 0);
	ck_assert_int_eq(results[1], -EBADF);
	ck_assert_int_eq(results[2], -EBUSY);
	ck_assert_int_eq(results[3], 0); /* passed over */
	ck_assert_int_eq(results[4], -EMFILE);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(lent[i].kind, results[i] || i == 3 ? KVSHM_NONE : KVSHM_LENT);
	atomic_fetch_sub(entry, KVS_ENTRY_REFS - KVS_ENTRY_REF);
	ck_assert_uint_eq(scene_pins(store), 2);
	ck_rc(kvshm_request_pin(other, &request, held, 1, lent, results), -EPERM);
	ck_rc(kvshm_request_pin(store, &request, NULL, 1, lent, results), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "no handles were given"));
	ck_rc(kvshm_request_pin(store, &request, held, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_request_pin(store, &request, held, 1, lent, NULL), -EINVAL);
	ck_rc(kvshm_request_pin(store, &request, NULL, 0, NULL, NULL), 0);
	scene_end(store, &request);
	ck_rc(kvshm_request_pin(store, &request, held, 1, lent, results), -ECANCELED);
	ck_assert_uint_eq(scene_pins(store), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R26_what_a_window_match_found_is_held_by_the_request_until_its_end,
		all_kinds_of_holds_can_be_put_under_a_request,
		what_is_being_filled_is_waited_for_when_the_request_completes,
		a_fill_or_a_part_of_ones_own_is_waited_for_like_any,
		a_ready_block_gives_room_back_once_and_one_that_is_being_filled_when_it_is_done,
		what_is_not_held_has_no_key_or_is_held_too_often_fails_alone,
	};

	return unit_run("request_pin", tests, sizeof(tests) / sizeof(tests[0]));
}
