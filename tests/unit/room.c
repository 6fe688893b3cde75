/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room: no room is said at once, and ends with what was in the way: a hold, a fill, a grace period.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "epoch.h"

#define BLOCKS 8U

static void no_room(kvshm_store *store, uint64_t number, const char *says)
{
	struct kvshm_handle handle = {.kind = 77};
	enum kvshm_outcome outcome;

	ck_rc(unit_ask(store, number, &outcome, &handle), -ENOSPC);
	ck_assert_msg(strstr(kvshm_error(), says), "no '%s' in: %s", says, kvshm_error());
	ck_assert_uint_eq(handle.kind, 77);
}

START_TEST(R21_with_everything_held_there_is_no_room_until_a_release)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvshm_handle held[BLOCKS], pin;

	for (uint32_t i = 0; i < BLOCKS; i++)
		held[i] = unit_fill(i % 2 ? store : other, i, i);
	no_room(store, 100, "held");
	no_room(other, 100, "held");
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room), 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room_grace), 0);
	ck_rc(kvshm_pin(store, &held[3], &pin), 0);
	ck_rc(kvshm_release(store, &held[3]), 0);
	no_room(store, 100, "held"); /* a pin keeps it too */
	ck_rc(kvshm_unpin(store, &pin), 0);
	unit_put(store, 100);
	ck_assert(!unit_has(store, 3));
	for (uint64_t i = 0; i < BLOCKS; i++)
		ck_assert(i == 3 || unit_has(store, i));
}
END_TEST

START_TEST(with_everything_being_filled_there_is_no_room_until_one_is_given_up)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fills[BLOCKS];

	for (uint32_t i = 0; i < BLOCKS; i++)
		fills[i] = unit_begin(store, i);
	no_room(store, 100, "being filled");
	ck_rc(kvshm_give_up(store, &fills[2]), 0);
	unit_put(store, 100);
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (i != 2)
			ck_rc(kvshm_publish(store, &fills[i], NULL), 0);
}
END_TEST

START_TEST(a_key_that_is_there_is_found_where_there_is_no_room)
{
	kvshm_store *store = unit_store(BLOCKS);
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;

	for (uint32_t i = 0; i < BLOCKS; i++)
		(void)unit_fill(store, i, i);
	no_room(store, 100, "held");
	for (uint32_t i = 0; i < BLOCKS; i++) {
		ck_rc(unit_ask(store, i, &outcome, &ref), 0);
		ck_assert_int_eq(outcome, KVSHM_READY);
	}
}
END_TEST

START_TEST(what_is_free_but_waits_for_a_section_is_ENOSPC_of_its_own_kind_until_it_ends)
{
	kvshm_store *store = unit_store(BLOCKS), *other = unit_attach();
	struct kvs_actor reader = unit_actor_of(other);

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	kvs_enter(&reader);
	no_room(store, 100, "grace period");
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room_grace), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room), 1);
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_grace_stalls), 1);
	kvs_leave(&reader);
	unit_put(store, 100);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room), 1);
}
END_TEST

START_TEST(no_room_evicts_no_more_than_it_needs)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	for (uint64_t i = 1; i <= 20; i++) {
		unit_put(store, 100 + i);
		ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), i);
	}
}
END_TEST

START_TEST(every_block_of_a_store_can_be_held_at_once_in_any_size)
{
	static const uint32_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 1000, 3000};

	for (unsigned n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {
		struct kvshm_create_options options = unit_options(sizes[n]);
		struct kvshm_handle handle;
		kvshm_store *store;

		options.block_size = 512;
		options.size = sizes[n] * options.block_size;
		store = unit_make(&options);
		for (int round = 0; round < 2; round++) {
			for (uint64_t i = 0; i < sizes[n]; i++)
				handle = unit_begin(store, i);
			no_room(store, 100000, "no room");
			ck_rc(kvshm_give_up(store, &handle), 0);
			unit_put(store, 100000);
			unit_detach(store); /* gives everything up */
			store = unit_attach();
		}
		unit_detach(store);
		unit_sound();
		ck_rc(kvshm_destroy(unit_owner), 0);
		unit_owner = NULL;
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R21_with_everything_held_there_is_no_room_until_a_release,
		with_everything_being_filled_there_is_no_room_until_one_is_given_up,
		a_key_that_is_there_is_found_where_there_is_no_room,
		what_is_free_but_waits_for_a_section_is_ENOSPC_of_its_own_kind_until_it_ends,
		no_room_evicts_no_more_than_it_needs,
		every_block_of_a_store_can_be_held_at_once_in_any_size,
	};

	return unit_run("room", tests, sizeof(tests) / sizeof(tests[0]));
}
