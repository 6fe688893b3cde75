/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * clients: the states of a client's slot, and its row: reserved at attach, given back when nothing reads it any more.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "epoch.h"
#include "lock.h"

static enum kvs_slot_state slot_state(const kvshm_store *store, uint32_t slot)
{
	return kvs_slot_state(atomic_load(&store->map.clients[slot].word));
}

/* A store whose rows are much larger than a page: 256 KiB. */
static kvshm_store *store_of_long_rows(void)
{
	struct kvshm_create_options options = unit_options(16384);

	options.block_size = 512;
	options.size = 16384 * options.block_size;
	return unit_make(&options);
}

static int64_t reserved(void)
{
	struct stat st;

	ck_assert_int_eq(stat(unit_path(-1), &st), 0);
	return (int64_t)st.st_blocks * 512;
}

START_TEST(a_slot_is_empty_then_live_then_idle_then_empty)
{
	kvshm_store *store = unit_store(16), *other;

	ck_assert_int_eq(slot_state(store, 0), KVS_SLOT_LIVE);
	ck_assert_int_eq(slot_state(store, 1), KVS_SLOT_EMPTY);
	other = unit_attach();
	ck_assert_uint_eq(other->slot, 1);
	ck_assert_int_eq(slot_state(store, 1), KVS_SLOT_LIVE);
	ck_assert_int_eq(kvs_lock_alive(store->map.probe, 1), 1);
	unit_detach(other);
	ck_assert_int_eq(slot_state(store, 1), KVS_SLOT_IDLE);
	ck_assert_int_eq(kvs_lock_alive(store->map.probe, 1), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(slot_state(store, 1), KVS_SLOT_EMPTY);
}
END_TEST

START_TEST(rows_are_reserved_at_attach_and_given_back_after_detach)
{
	kvshm_store *store = store_of_long_rows(), *others[4];
	int64_t row = (int64_t)store->map.g.row_size, before = reserved();

	ck_assert_int_eq(row, 262144);
	for (unsigned i = 0; i < 4; i++) {
		others[i] = unit_attach();
		ck_assert_int_eq(reserved(), before + (i + 1) * row);
	}
	for (uint64_t i = 0; i < 1000; i++)
		unit_put(others[i % 4], i);
	for (unsigned i = 0; i < 4; i++)
		unit_detach(others[i]);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(reserved(), before);
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert(unit_has(store, i));
}
END_TEST

static void take_a_row(void *arg)
{
	(void)arg;
	(void)unit_fill(unit_attach(), 1, 0);
	unit_wait_for_death();
}

START_TEST(a_dead_clients_row_is_given_back_too)
{
	kvshm_store *store = store_of_long_rows();
	int64_t before = reserved();
	struct child child;

	unit_child(&child, take_a_row, NULL);
	unit_await(&child);
	ck_assert_int_gt(reserved(), before);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(reserved(), before);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(D4_a_row_is_not_given_back_while_a_section_that_may_read_it_goes_on)
{
	kvshm_store *store = store_of_long_rows(), *reader = unit_attach(), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(reader);
	int64_t before = reserved();

	kvs_enter(&actor);
	unit_detach(other);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(reserved(), before);
	ck_assert_int_eq(slot_state(store, 2), KVS_SLOT_IDLE);
	ck_assert_uint_eq(unit_attach()->slot, 2); /* it can be taken, though */
	kvs_leave(&actor);
}
END_TEST

START_TEST(a_rows_next_client_finds_no_counts_in_it)
{
	kvshm_store *store = unit_store(16), *other;

	for (int round = 0; round < 20; round++) {
		other = unit_attach();
		ck_assert_uint_eq(other->slot, 1);
		for (uint32_t block = 0; block < 16; block++)
			ck_assert_uint_eq(unit_entry(store, 1, block) & KVS_ENTRY_COUNTS, 0);
		for (uint64_t i = 0; i < 5; i++)
			(void)unit_fill(other, (uint64_t)round * 5 + i, 0);
		unit_detach(other);
		if (round % 2)
			ck_rc(kvshm_recover(store, NULL), 0); /* gives the row back: the next one is reserved anew */
	}
}
END_TEST

START_TEST(a_locked_slot_is_passed_over)
{
	kvshm_store *store = unit_store(16);
	int file = open(unit_path(-1), O_RDWR | O_CLOEXEC);

	ck_rc(kvs_lock_write(file, 1), 0); /* someone moves in there, and stands still */
	ck_assert_uint_eq(unit_attach()->slot, 2);
	ck_assert_int_eq(slot_state(store, 1), KVS_SLOT_EMPTY);
	(void)close(file);
	ck_assert_uint_eq(unit_attach()->slot, 1);
}
END_TEST

static void attach_and_wait(void *arg)
{
	unsigned *slot = arg;

	*slot = unit_attach()->slot;
	unit_wait_for_death();
}

START_TEST(D1_a_dead_clients_slot_is_taken_by_nobody_before_recovery)
{
	unsigned *slot = unit_shared(sizeof(*slot));
	kvshm_store *store = unit_store(16);
	struct child child;
	uint32_t taken;

	unit_child(&child, attach_and_wait, slot);
	unit_await(&child);
	unit_kill(&child);
	ck_assert_int_eq(slot_state(store, *slot), KVS_SLOT_LIVE);
	ck_rc(kvs_client_attach(&store->map, "without recovery", &taken), 0);
	ck_assert_uint_ne(taken, *slot);
	kvs_client_leave(&store->map, taken);
	ck_rc(kvs_lock_drop(store->map.fd, taken), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(kvs_client_attach(&store->map, "after it", &taken), 0);
	ck_assert_uint_eq(taken, *slot);
	kvs_client_leave(&store->map, taken);
	ck_rc(kvs_lock_drop(store->map.fd, taken), 0);
}
END_TEST

START_TEST(B1_clients_whose_slots_share_a_bit_are_told_apart)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_handle ref, theirs;
	kvshm_store *store, *shares = NULL;
	uint32_t slot;

	options.clients = 70;
	store = unit_make(&options);
	for (uint32_t i = 1; i < 64; i++) /* slots in between, without a process's worth of mappings each */
		ck_rc(kvs_client_attach(&store->map, "filler", &slot), 0);
	shares = unit_attach();
	ck_assert_uint_eq(shares->slot, 64); /* the bit of slot 0 */
	ref = unit_fill(store, 1, 0);
	ck_rc(unit_get(shares, 1, &theirs), 0);
	ck_rc(kvshm_release(store, &ref), 0);
	for (uint64_t i = 0; i < 40; i++)
		unit_put(store, 100 + i);
	unit_verify(shares, &theirs, 1);
	ck_rc(kvshm_release(shares, &theirs), 0);
	for (uint64_t i = 0; i < 40; i++)
		unit_put(store, 200 + i);
	ck_assert(!unit_has(store, 1));
	for (uint32_t i = 1; i < 64; i++) {
		kvs_client_leave(&store->map, i);
		ck_rc(kvs_lock_drop(store->map.fd, i), 0);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_slot_is_empty_then_live_then_idle_then_empty,
		rows_are_reserved_at_attach_and_given_back_after_detach,
		a_dead_clients_row_is_given_back_too,
		D4_a_row_is_not_given_back_while_a_section_that_may_read_it_goes_on,
		a_rows_next_client_finds_no_counts_in_it,
		a_locked_slot_is_passed_over,
		D1_a_dead_clients_slot_is_taken_by_nobody_before_recovery,
		B1_clients_whose_slots_share_a_bit_are_told_apart,
	};

	return unit_run("clients", tests, sizeof(tests) / sizeof(tests[0]));
}
