/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * joins: who may take part in a fill, as the writer of which plane, and what can be done with a part: a plane has one
 * writer, and its part ends once.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

START_TEST(B3_a_plane_has_one_writer)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), part, again = {.life = 7};
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	part = unit_part(other, &ticket, 1);
	ck_assert_uint_eq(part.life, fill.life);
	ck_rc(kvshm_join(other, &ticket, 1, &again), -EBUSY);
	ck_rc(kvshm_join(store, &ticket, 1, &again), -EBUSY);
	ck_assert_uint_eq(again.life, 7);
	ck_assert_uint_eq(unit_refs(store, &fill), 2);
	ck_assert_uint_eq(unit_entry(store, store->slot, fill.block) & KVS_ENTRY_WRITERS, 0);
	ck_assert_uint_eq(unit_entry(store, other->slot, fill.block) & KVS_ENTRY_WRITERS, 1);
	unit_end_part(other, &part, 1);
	ck_rc(kvshm_join(store, &ticket, 1, &again), -EBUSY); /* it is written */
	again = unit_part(store, &ticket, 0);
	ck_rc(kvshm_join(other, &ticket, 2, &part), -EINVAL);
	ck_rc(kvshm_join(other, &ticket, UINT32_MAX, &part), -EINVAL);
	ck_rc(kvshm_give_up(store, &again), 0);
}
END_TEST

START_TEST(a_fill_that_is_not_shared_has_one_writer)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), part = {.life = 7};
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned plane = 0; plane < 2; plane++) {
		ck_rc(kvshm_join(other, &ticket, plane, &part), -EOPNOTSUPP);
		ck_rc(kvshm_join(store, &ticket, plane, &part), -EOPNOTSUPP);
	}
	ck_assert_uint_eq(part.life, 7);
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0); /* ready at once */
	ck_assert(unit_has(other, 1));
	ck_rc(kvshm_join(other, &ticket, 0, &part), -EALREADY);
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
}
END_TEST

START_TEST(who_asks_for_a_shared_fill_of_a_key_that_is_there_or_coming_is_told_so)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), ref;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	unit_key(1, key);
	ck_rc(kvshm_get_or_fill_shared(other, key, sizeof(key), &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_rc(kvshm_release(other, &ref), 0);
	unit_put(store, 2);
	unit_key(2, key);
	ck_rc(kvshm_get_or_fill_shared(other, key, sizeof(key), &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_READY);
	ck_rc(kvshm_get_or_fill_shared(other, NULL, 1, &outcome, &ref), -EINVAL);
	ck_rc(kvshm_get_or_fill_shared(other, key, 65, &outcome, &ref), -EINVAL);
	ck_rc(kvshm_get_or_fill_shared(other, key, 32, NULL, &ref), -EINVAL);
	ck_rc(kvshm_get_or_fill_shared(other, key, 32, &outcome, NULL), -EINVAL);
	ck_rc(kvshm_give_up(store, &fill), 0);
}
END_TEST

START_TEST(B2_15_parts_of_one_client_and_then_EMFILE)
{
	kvshm_store *store = unit_planes(32);
	struct kvshm_handle fill = unit_begin_shared(store, 1), parts[32];
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned i = 0; i < 15; i++)
		parts[i] = unit_part(store, &ticket, i);
	ck_rc(kvshm_join(store, &ticket, 15, &parts[15]), -EMFILE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "15"));
	ck_assert_uint_eq(unit_refs(store, &fill), 16);
	ck_assert_uint_eq(unit_pins(store, &fill), 0); /* nothing has spilled over */
	for (unsigned i = 15; i < 32; i++) {
		unit_end_part(store, &parts[i - 15], 1); /* one ends, and another can begin */
		parts[i] = unit_part(store, &ticket, i);
	}
	for (unsigned i = 17; i < 32; i++)
		unit_end_part(store, &parts[i], 1);
	ck_assert(unit_get(store, 1, &parts[0]) == -EAGAIN);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert(unit_has(store, 1));
	unit_verify(store, &fill, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_parts), 32);
}
END_TEST

START_TEST(A2_32_planes_with_writers_in_three_clients)
{
	kvshm_store *store = unit_planes(32), *clients[3] = {store, unit_attach(), unit_attach()};
	struct kvshm_handle fill = unit_begin_shared(store, 1), parts[32], ref;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned i = 0; i < 32; i++)
		parts[i] = unit_part(clients[i % 3], &ticket, i);
	ck_rc(kvshm_join(store, &ticket, 31, &ref), -EBUSY); /* though all bits are set, as if it were not shared */
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	for (unsigned i = 32; i-- > 0;) {
		ck_rc(unit_get(clients[1], 1, &ref), -EAGAIN);
		unit_end_part(clients[i % 3], &parts[i], 1);
	}
	ck_rc(unit_get(clients[1], 1, &ref), 0);
	unit_verify(clients[1], &ref, 1);
}
END_TEST

START_TEST(a_blocks_parts_begin_anew_in_each_life)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle part = {.life = 7}, fill;
	struct kvshm_ticket ticket;

	for (uint64_t i = 0; i < 4UL * store->map.g.blocks; i++) { /* shared and not, in turns */
		fill = i % 2 ? unit_begin(store, i) : unit_begin_shared(store, i);
		ticket = unit_ticket(store, &fill);
		for (unsigned plane = 0; plane < 2; plane++) {
			if (i % 2) {
				ck_rc(kvshm_join(store, &ticket, plane, &part), -EOPNOTSUPP);
				continue;
			}
			part = unit_part(store, &ticket, plane);
			unit_end_part(store, &part, i);
			ck_rc(kvshm_release(store, &part), 0);
		}
		ck_assert(unit_get(store, i, &part) == -EAGAIN);
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
		ck_rc(kvshm_release(store, &fill), 0);
		ck_assert(unit_has(store, i));
	}
}
END_TEST

START_TEST(a_part_takes_no_meta_and_is_neither_released_nor_waited_for)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle fill = unit_begin_shared(store, 1), part, pin;
	struct kvshm_ticket ticket = unit_ticket(store, &fill), same;
	const struct kvshm_meta meta = {.length = 1};

	part = unit_part(store, &ticket, 1);
	ck_rc(kvshm_publish(store, &part, &meta), -EINVAL);
	ck_rc(kvshm_release(store, &part), -EBUSY);
	ck_rc(kvshm_unpin(store, &part), -EBADF);
	ck_rc(kvshm_wait(store, &part, 0), -EBADF);
	ck_rc(kvshm_wait(store, &fill, 0), -EBADF);
	ck_assert(part.kind == KVSHM_PART && part.plane == 1);
	same = unit_ticket(store, &part);
	ck_assert_mem_eq(&same, &ticket, sizeof(same));
	ck_rc(kvshm_pin(store, &part, &pin), 0);
	ck_rc(kvshm_unpin(store, &pin), 0);
	part.plane = 5; /* forged */
	ck_rc(kvshm_publish(store, &part, NULL), -EBADF);
	ck_rc(kvshm_give_up(store, &part), -EBADF);
	part.plane = 1;
	unit_end_part(store, &part, 1);
}
END_TEST

START_TEST(R04_a_part_ends_once)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), parts[2], copy;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned i = 0; i < 2; i++)
		parts[i] = unit_part(other, &ticket, i);
	copy = parts[0];
	unit_end_part(other, &parts[0], 1);
	ck_rc(kvshm_publish(other, &copy, NULL), -EBADF);
	ck_rc(kvshm_give_up(other, &copy), -EBADF); /* it would take the other part's end */
	ck_rc(kvshm_give_up(store, &copy), -EBADF); /* and it is no part of this client's */
	ck_assert_uint_eq(unit_entry(store, other->slot, fill.block) & KVS_ENTRY_COUNTS, 2 * KVS_ENTRY_REF + 1);
	copy = parts[1];
	ck_rc(kvshm_publish(store, &copy, NULL), -EBADF); /* another client's, though this one holds the block */
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	unit_end_part(other, &parts[1], 1);
	ck_rc(kvshm_give_up(other, &copy), -EBADF);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_give_up(other, &copy), -EBADF);
	ck_assert(unit_has(store, 1));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_parts), 2);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		B3_a_plane_has_one_writer,
		a_fill_that_is_not_shared_has_one_writer,
		who_asks_for_a_shared_fill_of_a_key_that_is_there_or_coming_is_told_so,
		B2_15_parts_of_one_client_and_then_EMFILE,
		A2_32_planes_with_writers_in_three_clients,
		a_blocks_parts_begin_anew_in_each_life,
		a_part_takes_no_meta_and_is_neither_released_nor_waited_for,
		R04_a_part_ends_once,
	};

	return unit_run("joins", tests, sizeof(tests) / sizeof(tests[0]));
}
