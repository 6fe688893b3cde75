/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * parts_decided: what becomes of a shared fill is decided once, by its last part or by who lets it fail, whichever is
 * first; whoever stops or dies right behind that is waited for by nobody (D4), and all who hold the block are told the
 * same (R26).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>

#include "part.h"
#include "table.h"

static struct kvshm_ticket *shared_ticket;

static void end_last_part_and_stop(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle part = unit_part(store, shared_ticket, 1);

	(void)arg;
	unit_write_plane(store, &part, 1, 1);
	(void)kvs_part_end(&store->map, part.block, kvs_part_plane(1)); /* and does not come to make it ready */
	unit_wait_for_death();
}

static struct child last_writer;

static kvshm_store *all_parts_whole_but_not_ready(struct kvshm_handle *fill)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle part, ref;

	*fill = unit_begin_shared(store, 1);
	shared_ticket = unit_shared(sizeof(*shared_ticket));
	*shared_ticket = unit_ticket(store, fill);
	part = unit_part(store, shared_ticket, 0);
	unit_end_part(store, &part, 1);
	ck_rc(kvshm_publish(store, fill, NULL), 0);
	unit_child(&last_writer, end_last_part_and_stop, NULL);
	unit_await(&last_writer);
	unit_stop(&last_writer);
	ck_rc(unit_get(store, 1, &ref), -EAGAIN);
	return store;
}

START_TEST(D4_a_waiter_makes_the_block_ready_whose_last_writer_has_stopped)
{
	struct kvshm_handle fill, ref;
	kvshm_store *store = all_parts_whole_but_not_ready(&fill), *other = unit_attach();

	ref = unit_pending(other, 1);
	ck_rc(kvshm_wait(other, &ref, 0), 0); /* deadline 0 looks once */
	ck_assert(unit_has(store, 1));
	unit_verify(other, &ref, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 1);
	unit_kill(&last_writer);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert(unit_has(store, 1)); /* its death changes nothing any more */
	unit_verify(other, &ref, 1);
}
END_TEST

START_TEST(D4_the_writer_that_goes_on_finds_the_block_ready)
{
	struct kvshm_handle fill, ref;
	kvshm_store *store = all_parts_whole_but_not_ready(&fill), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);

	ref = unit_pending(other, 1);
	ck_rc(kvshm_wait(other, &ref, 0), 0);
	kvs_table_finish(&actor, fill.block); /* as the writer does when it goes on */
	ck_assert_int_eq(unit_state(store, fill.block), KVS_READY);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 1);
	unit_kill(&last_writer);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(C2_the_writer_that_goes_on_after_a_removal_brings_no_key_back)
{
	struct kvshm_handle fill;
	kvshm_store *store = all_parts_whole_but_not_ready(&fill);
	struct kvs_actor actor = unit_actor_of(store);

	ck_rc(unit_remove(store, 1), 0);
	kvs_table_finish(&actor, fill.block);
	ck_assert_int_eq(unit_state(store, fill.block), KVS_DOOMED);
	ck_assert(!unit_has(store, 1));
	unit_kill(&last_writer);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

/* One who removes the key, or whose part fails, has got as far as to let the fill fail, and stops. Plane 0 and the
 * filler's part have ended, plane 1 is being written. */
static kvshm_store *failed_but_not_doomed(struct kvshm_handle *fill, struct kvshm_handle *part)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_ticket ticket;
	struct kvshm_handle first;

	*fill = unit_begin_shared(store, 1);
	ticket = unit_ticket(store, fill);
	first = unit_part(store, &ticket, 0);
	unit_end_part(store, &first, 1);
	*part = unit_part(store, &ticket, 1);
	ck_rc(kvshm_publish(store, fill, NULL), 0);
	kvs_part_fail(&store->map, fill->block);
	ck_assert_int_eq(unit_state(store, fill->block), KVS_FILLING);
	return store;
}

START_TEST(R26_a_fill_that_has_failed_is_whole_for_nobody_whoever_ends_its_last_part)
{
	struct kvshm_handle fill, part, early, late;
	kvshm_store *store = failed_but_not_doomed(&fill, &part), *other = unit_attach();

	early = unit_pending(other, 1);
	late = unit_pending(other, 1);
	ck_rc(kvshm_wait(other, &early, 0), -ECANCELED);
	unit_write_plane(store, &part, 1, 1);
	ck_rc(kvshm_publish(store, &part, NULL), -ECANCELED);
	ck_rc(kvshm_wait(other, &late, 0), -ECANCELED);
	ck_assert(!unit_has(store, 1));
}
END_TEST

START_TEST(D3_a_writer_that_ends_the_part_of_a_failed_fill_dooms_it)
{
	struct kvshm_handle fill, part;
	kvshm_store *store = failed_but_not_doomed(&fill, &part);

	unit_write_plane(store, &part, 1, 1);
	ck_rc(kvshm_publish(store, &part, NULL), -ECANCELED);
	ck_assert_int_eq(unit_state(store, fill.block), KVS_DOOMED);
	unit_put(store, 1);
}
END_TEST

START_TEST(D3_a_waiter_dooms_a_failed_fill_and_can_fill_the_key_anew)
{
	struct kvshm_handle fill, part, ref;
	kvshm_store *store = failed_but_not_doomed(&fill, &part), *other = unit_attach();

	ref = unit_pending(other, 1);
	ck_rc(kvshm_wait(other, &ref, 0), -ECANCELED);
	ck_assert_int_eq(unit_state(store, fill.block), KVS_DOOMED);
	unit_put(other, 1);
}
END_TEST

static void die_attached(void *arg)
{
	(void)arg;
	(void)unit_attach();
	unit_wait_for_death();
}

START_TEST(D1_recovery_dooms_a_failed_fill_of_the_living)
{
	struct kvshm_handle fill, part;
	kvshm_store *store = failed_but_not_doomed(&fill, &part);
	struct child child;

	unit_child(&child, die_attached, NULL);
	unit_await(&child);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_int_eq(unit_state(store, fill.block), KVS_DOOMED);
}
END_TEST

START_TEST(R26_what_was_whole_when_its_key_was_removed_is_whole_for_all_who_hold_it)
{
	struct kvshm_handle fill, early, late;
	kvshm_store *store = all_parts_whole_but_not_ready(&fill), *other = unit_attach();

	early = unit_pending(other, 1);
	late = unit_pending(other, 1);
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_wait(other, &early, 0), 0);
	ck_rc(kvshm_wait(other, &late, 0), 0);
	unit_verify(other, &late, 1);
	unit_kill(&last_writer);
	ck_rc(kvshm_recover(store, NULL), 0);
}
END_TEST

START_TEST(D1_a_writer_that_dies_there_before_anyone_looked_gives_up_the_fill)
{
	struct kvshm_handle fill;
	kvshm_store *store = all_parts_whole_but_not_ready(&fill);

	unit_kill(&last_writer);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert(!unit_has(store, 1));
	unit_put(store, 1); /* ask again */
	unit_verify(store, &fill, 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		D4_a_waiter_makes_the_block_ready_whose_last_writer_has_stopped,
		D4_the_writer_that_goes_on_finds_the_block_ready,
		C2_the_writer_that_goes_on_after_a_removal_brings_no_key_back,
		R26_a_fill_that_has_failed_is_whole_for_nobody_whoever_ends_its_last_part,
		D3_a_writer_that_ends_the_part_of_a_failed_fill_dooms_it,
		D3_a_waiter_dooms_a_failed_fill_and_can_fill_the_key_anew,
		D1_recovery_dooms_a_failed_fill_of_the_living,
		R26_what_was_whole_when_its_key_was_removed_is_whole_for_all_who_hold_it,
		D1_a_writer_that_dies_there_before_anyone_looked_gives_up_the_fill,
	};

	return unit_run("parts_decided", tests, sizeof(tests) / sizeof(tests[0]));
}
