/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * parts: a block that several processes fill is whole in all planes, or absent (R27): whoever ends last makes it ready,
 * and whoever fails, leaves or dies before that dooms it.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "hold.h"
#include "part.h"
#include "table.h"

#define PLANES 3U

/* Nobody finds the key, nobody is told that it is there, and its waiter is told when it waits. */
static void is_given_up(kvshm_store *store, struct kvshm_handle *waiter)
{
	struct kvshm_handle ref;

	ck_rc(unit_get(store, 1, &ref), -ENOENT);
	ck_rc(kvshm_wait(store, waiter, UINT64_MAX), -ECANCELED);
	ck_assert_uint_eq(waiter->kind, KVSHM_NONE);
}

/* The key can be filled anew, in a block of its own, and nothing of the old fill is left once all have let go. */
static void can_be_filled_anew(kvshm_store *store)
{
	struct kvshm_handle fill = unit_begin_shared(store, 1);
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	for (unsigned plane = 0; plane < store->map.g.planes; plane++) {
		struct kvshm_handle part = unit_part(store, &ticket, plane);

		unit_end_part(store, &part, 1);
		ck_rc(kvshm_release(store, &part), 0);
	}
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	unit_verify(store, &fill, 1);
	ck_rc(kvshm_release(store, &fill), 0);
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED) + unit_count(store, KVS_FILLING), 0);
}

/* ---- The ends of all parts, in every order ---- */

/* A filler, a writer of each plane, a waiter: clients of their own. */
struct group {
	kvshm_store *filler, *writers[PLANES], *waiter;
	struct kvshm_handle fill, parts[PLANES], pending;
	struct kvshm_ticket ticket;
};

static struct group begin_group(void)
{
	struct group g = {.filler = unit_planes(PLANES)};

	g.fill = unit_begin_shared(g.filler, 1);
	g.ticket = unit_ticket(g.filler, &g.fill);
	for (unsigned i = 0; i < PLANES; i++) {
		g.writers[i] = unit_attach();
		g.parts[i] = unit_part(g.writers[i], &g.ticket, i);
	}
	g.waiter = unit_attach();
	g.pending = unit_pending(g.waiter, 1);
	return g;
}

/* Ends what number says: a plane's part, or the filler's. */
static void end_one(struct group *g, unsigned number)
{
	const struct kvshm_meta meta = {.length = 99, .depth = 7, .opaque = "whole"};

	if (number < PLANES) {
		unit_end_part(g->writers[number], &g->parts[number], 1);
		return;
	}
	ck_rc(kvshm_publish(g->filler, &g->fill, &meta), 0);
	ck_assert_uint_eq(g->fill.kind, KVSHM_REF);
}

static void release_group(struct group *g)
{
	for (unsigned i = 0; i < PLANES; i++)
		if (g->parts[i].kind == KVSHM_REF)
			ck_rc(kvshm_release(g->writers[i], &g->parts[i]), 0);
	if (g->fill.kind == KVSHM_REF)
		ck_rc(kvshm_release(g->filler, &g->fill), 0);
	if (g->pending.kind == KVSHM_REF)
		ck_rc(kvshm_release(g->waiter, &g->pending), 0);
}

static void ends_in_order(struct group *g, const unsigned order[PLANES + 1])
{
	struct kvshm_handle ref;
	struct kvshm_meta meta;

	for (unsigned i = 0; i <= PLANES; i++) {
		ck_rc(unit_get(g->waiter, 1, &ref), -EAGAIN); /* R20 */
		ck_rc(kvshm_wait(g->waiter, &g->pending, 0), -ETIMEDOUT);
		ck_rc(kvshm_get_meta(g->waiter, &g->pending, &meta), -EAGAIN);
		end_one(g, order[i]);
	}
	ck_rc(unit_get(g->waiter, 1, &ref), 0); /* before anyone has waited */
	unit_verify(g->waiter, &ref, 1);
	ck_rc(kvshm_wait(g->waiter, &g->pending, UINT64_MAX), 0);
	ck_rc(kvshm_get_meta(g->waiter, &ref, &meta), 0);
	ck_assert(meta.length == 99 && meta.depth == 7 && strcmp((const char *)meta.opaque, "whole") == 0);
	ck_rc(kvshm_release(g->waiter, &ref), 0);
}

/* Calls fn with each order of the PLANES + 1 ends. */
static void in_every_order(void (*fn)(const unsigned order[PLANES + 1]))
{
	for (unsigned code = 0; code < 24; code++) {
		unsigned order[PLANES + 1] = {0, 1, 2, 3}, digits[PLANES] = {code % 4, code / 4 % 3, code / 12};

		for (unsigned i = 0; i < PLANES; i++) {
			unsigned held_over = order[i];

			order[i] = order[i + digits[i]];
			order[i + digits[i]] = held_over;
		}
		fn(order);
	}
}

static struct group group; /* of which the orders are tried one after the other */

static void begin_again(void)
{
	if (!group.filler) {
		group = begin_group();
		return;
	}
	ck_rc(unit_remove(group.filler, 1), 0);
	group.fill = unit_begin_shared(group.filler, 1);
	group.ticket = unit_ticket(group.filler, &group.fill);
	for (unsigned i = 0; i < PLANES; i++)
		group.parts[i] = unit_part(group.writers[i], &group.ticket, i);
	group.pending = unit_pending(group.waiter, 1);
}

static void try_order(const unsigned order[PLANES + 1])
{
	uint64_t fills = group.filler ? unit_counter(group.filler, KVS_COUNT_fills) : 0;

	begin_again();
	ends_in_order(&group, order);
	release_group(&group);
	ck_assert_uint_eq(unit_counter(group.filler, KVS_COUNT_fills), fills + 1);
}

START_TEST(R27_whoever_ends_last_makes_the_block_ready)
{
	in_every_order(try_order);
	ck_assert_uint_eq(unit_counter(group.filler, KVS_COUNT_fills), 24);
	ck_assert_uint_eq(unit_counter(group.filler, KVS_COUNT_parts), (uint64_t)24 * PLANES);
	ck_assert_uint_eq(unit_counter(group.filler, KVS_COUNT_give_ups), 0);
}
END_TEST

/* The first of the order fails, when the others have ended or not: so each fails at each place. */
static void try_failure(const unsigned order[PLANES + 1])
{
	uint64_t give_ups = group.filler ? unit_counter(group.filler, KVS_COUNT_give_ups) : 0;
	struct kvshm_handle ref;

	for (unsigned at = 0; at <= PLANES; at++) {
		if (group.filler && unit_get(group.filler, 1, &ref) == 0)
			ck_rc(kvshm_release(group.filler, &ref), 0);
		else if (group.filler)
			unit_put(group.filler, 1); /* for begin_again() to remove */
		begin_again();
		for (unsigned i = 0; i < at; i++)
			end_one(&group, order[i + 1 <= PLANES ? i + 1 : 0]);
		if (order[0] < PLANES)
			ck_rc(kvshm_give_up(group.writers[order[0]], &group.parts[order[0]]), 0);
		else
			ck_rc(kvshm_give_up(group.filler, &group.fill), 0);
		ck_assert_uint_eq(order[0] < PLANES ? group.parts[order[0]].kind : group.fill.kind, KVSHM_NONE);
		is_given_up(group.waiter, &group.pending);
		for (unsigned i = at; i < PLANES; i++) { /* those who come later are told, and hold nothing */
			unsigned late = order[i + 1];
			kvshm_store *client = late < PLANES ? group.writers[late] : group.filler;
			struct kvshm_handle *handle = late < PLANES ? &group.parts[late] : &group.fill;

			ck_rc(kvshm_publish(client, handle, NULL), -ECANCELED);
			ck_assert_uint_eq(handle->kind, KVSHM_NONE);
		}
		release_group(&group);
		ck_assert_uint_eq(unit_counter(group.filler, KVS_COUNT_give_ups), ++give_ups);
		ck_assert_uint_eq(unit_count(group.filler, KVS_DOOMED), 0);
	}
}

START_TEST(R27_a_part_that_fails_gives_up_the_whole_fill_at_any_time)
{
	in_every_order(try_failure);
	can_be_filled_anew(group.filler);
}
END_TEST

/* ---- Deaths ---- */

static struct kvshm_ticket *shared_ticket;

static void write_and_die(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)unit_part(store, shared_ticket, *(unsigned *)arg);
	unit_wait_for_death();
}

/* A child writes plane 2, and dies of it; others end theirs before or after. */
static void writer_dies(bool others_first, bool by_recovery)
{
	kvshm_store *store = unit_planes(PLANES), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), parts[2], waiter;
	unsigned plane = 2;
	struct child child;

	shared_ticket = unit_shared(sizeof(*shared_ticket));
	*shared_ticket = unit_ticket(store, &fill);
	for (unsigned i = 0; i < 2; i++)
		parts[i] = unit_part(other, shared_ticket, i);
	unit_child(&child, write_and_die, &plane);
	unit_await(&child);
	waiter = unit_pending(other, 1);
	for (unsigned i = 0; i < 2 && others_first; i++)
		unit_end_part(other, &parts[i], 1);
	if (others_first)
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(other, &waiter, unit_in_ms(25)), -ETIMEDOUT); /* it lives, and is not robbed */
	unit_kill(&child);
	if (by_recovery)
		ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(kvshm_wait(other, &waiter, unit_in_ms(UNIT_SOON)), -ECANCELED); /* R19: a waiter sees it by itself */
	ck_assert(!unit_has(store, 1));
	for (unsigned i = 0; i < 2 && !others_first; i++)
		ck_rc(kvshm_publish(other, &parts[i], NULL), -ECANCELED);
	for (unsigned i = 0; i < 2 && others_first; i++)
		ck_rc(kvshm_release(other, &parts[i]), 0);
	if (others_first)
		ck_rc(kvshm_wait(store, &fill, UINT64_MAX), -ECANCELED);
	else
		ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 0);
	can_be_filled_anew(store);
}

START_TEST(D3_a_writer_that_dies_first_gives_up_the_fill)
{
	writer_dies(false, false);
}
END_TEST

START_TEST(D3_a_writer_that_dies_when_all_others_have_ended_gives_up_the_fill)
{
	writer_dies(true, false);
}
END_TEST

START_TEST(D1_recovery_of_a_writer_gives_up_the_fill)
{
	writer_dies(false, true);
}
END_TEST

static void end_part_and_die(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle part = unit_part(store, shared_ticket, *(unsigned *)arg);

	unit_end_part(store, &part, 1);
	unit_wait_for_death();
}

START_TEST(D1_a_writer_that_dies_after_its_part_has_ended_leaves_the_fill)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_handle fill = unit_begin_shared(store, 1), part;
	unsigned plane = 1;
	struct child child;

	shared_ticket = unit_shared(sizeof(*shared_ticket));
	*shared_ticket = unit_ticket(store, &fill);
	unit_child(&child, end_part_and_die, &plane);
	unit_await(&child);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	part = unit_part(store, shared_ticket, 0);
	unit_end_part(store, &part, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert(unit_has(store, 1));
	unit_verify(store, &fill, 1);
}
END_TEST

static void fill_shared_and_die(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1);

	*shared_ticket = unit_ticket(store, &fill);
	if (*(bool *)arg)
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
	unit_wait_for_death();
}

static void filler_dies(bool published)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle parts[2], waiter;
	struct child child;

	shared_ticket = unit_shared(sizeof(*shared_ticket));
	unit_child(&child, fill_shared_and_die, &published);
	unit_await(&child);
	for (unsigned i = 0; i < 2; i++)
		parts[i] = unit_part(store, shared_ticket, i);
	waiter = unit_pending(other, 1);
	unit_end_part(store, &parts[0], 1);
	unit_kill(&child);
	ck_rc(kvshm_wait(other, &waiter, unit_in_ms(UNIT_SOON)), -ECANCELED);
	unit_write_plane(store, &parts[1], 1, 1); /* harmless: the block is held */
	ck_rc(kvshm_publish(store, &parts[1], NULL), -ECANCELED);
	ck_rc(kvshm_wait(store, &parts[0], UINT64_MAX), -ECANCELED);
	can_be_filled_anew(store);
}

START_TEST(D3_a_filler_that_dies_gives_up_the_fill_though_others_write)
{
	filler_dies(false);
}
END_TEST

START_TEST(D3_a_filler_that_dies_before_the_parts_have_ended_gives_up_the_fill_it_published)
{
	filler_dies(true);
}
END_TEST

/* ---- Those who leave ---- */

START_TEST(R27_a_filler_that_lets_go_before_the_block_is_ready_gives_it_up)
{
	struct group g = begin_group();

	end_one(&g, PLANES);
	end_one(&g, 0);
	ck_rc(kvshm_release(g.filler, &g.fill), 0);
	is_given_up(g.waiter, &g.pending);
	ck_rc(kvshm_publish(g.writers[1], &g.parts[1], NULL), -ECANCELED);
	ck_rc(kvshm_give_up(g.writers[2], &g.parts[2]), 0);
	release_group(&g);
	ck_assert_uint_eq(unit_counter(g.filler, KVS_COUNT_give_ups), 1);
	can_be_filled_anew(g.filler);
}
END_TEST

START_TEST(a_fillers_pin_is_hold_enough)
{
	struct group g = begin_group();
	struct kvshm_handle pin;

	end_one(&g, PLANES);
	ck_rc(kvshm_pin(g.filler, &g.fill, &pin), 0);
	ck_rc(kvshm_release(g.filler, &g.fill), 0);
	unit_sound(); /* as kvshm-check sees it too */
	for (unsigned i = 0; i < PLANES; i++)
		end_one(&g, i);
	ck_rc(kvshm_wait(g.waiter, &g.pending, 0), 0);
	unit_verify(g.filler, &pin, 1);
	ck_rc(kvshm_unpin(g.filler, &pin), 0);
	release_group(&g);
}
END_TEST

START_TEST(a_fillers_own_part_is_hold_enough)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), mine, theirs;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	mine = unit_part(store, &ticket, 0);
	theirs = unit_part(other, &ticket, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_release(store, &fill), 0);
	unit_end_part(store, &mine, 1);
	unit_end_part(other, &theirs, 1);
	ck_assert(unit_has(other, 1));
	unit_verify(store, &mine, 1);
}
END_TEST

/* Its last hold ends long after: a thread that was stopped between the count and the look finds the block in its next
 * life, filled again by the same client. */
START_TEST(B1_who_looks_late_gives_up_no_fill_of_the_next_life)
{
	kvshm_store *store = unit_store(1);
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_handle old = unit_fill(store, 1, 0), copy = old, fill;

	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_release(store, &old), 0);
	fill = unit_begin(store, 2);
	ck_assert_uint_eq(fill.block, copy.block);
	kvs_enter(&actor);
	kvs_hold_look(&actor, copy.block, copy.life);
	kvs_leave(&actor);
	unit_write(store, &fill, 2);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert(unit_has(store, 2));
}
END_TEST

START_TEST(a_filler_that_detaches_gives_up_the_fill)
{
	struct group g = begin_group();

	end_one(&g, PLANES);
	end_one(&g, 1);
	unit_detach(g.filler);
	is_given_up(g.waiter, &g.pending);
	ck_rc(kvshm_publish(g.writers[0], &g.parts[0], NULL), -ECANCELED);
	ck_assert_uint_eq(unit_counter(g.waiter, KVS_COUNT_give_ups), 1);
	g.fill.kind = KVSHM_NONE;
	ck_rc(kvshm_give_up(g.writers[2], &g.parts[2]), 0);
	release_group(&g);
	can_be_filled_anew(g.waiter);
}
END_TEST

START_TEST(a_writer_that_detaches_gives_up_the_fill)
{
	struct group g = begin_group();

	end_one(&g, PLANES);
	unit_detach(g.writers[1]);
	is_given_up(g.waiter, &g.pending);
	ck_assert_uint_eq(unit_counter(g.waiter, KVS_COUNT_give_ups), 1);
	g.parts[1].kind = KVSHM_NONE;
	ck_rc(kvshm_publish(g.writers[0], &g.parts[0], NULL), -ECANCELED);
	ck_rc(kvshm_give_up(g.writers[2], &g.parts[2]), 0);
	release_group(&g);
	can_be_filled_anew(g.waiter);
}
END_TEST

START_TEST(a_writer_that_detaches_after_its_part_has_ended_leaves_the_fill)
{
	struct group g = begin_group();

	end_one(&g, 1);
	unit_detach(g.writers[1]);
	g.parts[1].kind = KVSHM_NONE;
	end_one(&g, 0);
	end_one(&g, PLANES);
	end_one(&g, 2);
	ck_assert(unit_has(g.waiter, 1));
	unit_verify(g.waiter, &g.pending, 1);
	release_group(&g);
}
END_TEST

START_TEST(R23_a_writer_of_a_fill_that_was_given_up_writes_into_no_other_block)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin_shared(store, 1), late, ref;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	late = unit_part(other, &ticket, 0);
	ck_rc(kvshm_give_up(store, &fill), 0);
	for (uint64_t i = 1; i <= 2UL * store->map.g.blocks; i++)
		unit_put(store, i); /* the key, and as many others as take all room */
	unit_put(store, 1);
	unit_write_plane(other, &late, 99, 0);
	ck_rc(kvshm_publish(other, &late, NULL), -ECANCELED);
	ck_rc(unit_get(store, 1, &ref), 0);
	unit_verify(store, &ref, 1);
}
END_TEST

/* ---- What is said of the block ---- */

START_TEST(joining_a_block_that_is_ready_is_EALREADY_removed_or_not)
{
	struct group g = begin_group();
	struct kvshm_handle part = {.life = 7}, ref;

	for (unsigned i = 0; i <= PLANES; i++)
		end_one(&g, i);
	ck_rc(kvshm_join(g.waiter, &g.ticket, 0, &part), -EALREADY);
	ck_rc(unit_remove(g.waiter, 1), 0);
	ck_rc(kvshm_join(g.waiter, &g.ticket, 0, &part), -EALREADY);
	ref = unit_hold(g.waiter, &g.ticket);
	ck_rc(kvshm_release(g.waiter, &ref), 0);
	release_group(&g);
	ck_rc(kvshm_join(g.waiter, &g.ticket, 0, &part), -ENOENT);
	ck_assert_uint_eq(part.life, 7);
}
END_TEST

START_TEST(R05_a_filler_says_once_what_the_block_is)
{
	struct kvshm_meta meta = {.length = 11, .depth = 1}, other_meta = {.length = 22, .depth = 2};
	struct group g = begin_group();
	struct kvshm_handle copy = g.fill;

	ck_rc(kvshm_publish(g.filler, &g.fill, &meta), 0);
	ck_rc(kvshm_publish(g.filler, &copy, &other_meta), -EBADF);
	ck_rc(kvshm_give_up(g.filler, &copy), -EBADF);
	ck_rc(kvshm_give_up(g.filler, &g.fill), -EBADF); /* it is a ref by now */
	for (unsigned i = 0; i < PLANES; i++)
		end_one(&g, i);
	ck_rc(kvshm_get_meta(g.filler, &g.fill, &meta), 0);
	ck_assert(meta.length == 11 && meta.depth == 1);
	release_group(&g);
}
END_TEST

START_TEST(what_was_said_of_a_fill_that_was_given_up_is_zeros)
{
	static const struct kvshm_meta zeros;
	struct kvshm_meta meta;
	struct group g = begin_group();

	end_one(&g, PLANES);
	ck_rc(kvshm_give_up(g.writers[0], &g.parts[0]), 0);
	memset(&meta, 1, sizeof(meta));
	ck_rc(kvshm_get_meta(g.waiter, &g.pending, &meta), 0);
	ck_assert(meta.length == 0 && meta.depth == 0);
	ck_assert_mem_eq(meta.opaque, zeros.opaque, sizeof(zeros.opaque));
	ck_rc(kvshm_give_up(g.writers[1], &g.parts[1]), 0);
	ck_rc(kvshm_give_up(g.writers[2], &g.parts[2]), 0);
	release_group(&g);
}
END_TEST

START_TEST(C2_a_key_removed_under_its_writers_is_canceled_for_all)
{
	struct group g = begin_group();

	end_one(&g, 0);
	ck_rc(unit_remove(g.waiter, 1), 0);
	for (unsigned i = 1; i < PLANES; i++)
		ck_rc(kvshm_publish(g.writers[i], &g.parts[i], NULL), -ECANCELED);
	ck_rc(kvshm_publish(g.filler, &g.fill, NULL), -ECANCELED);
	is_given_up(g.waiter, &g.pending);
	ck_assert_uint_eq(unit_counter(g.filler, KVS_COUNT_give_ups), 1);
	release_group(&g);
	can_be_filled_anew(g.filler);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R27_whoever_ends_last_makes_the_block_ready,
		R27_a_part_that_fails_gives_up_the_whole_fill_at_any_time,
		D3_a_writer_that_dies_first_gives_up_the_fill,
		D3_a_writer_that_dies_when_all_others_have_ended_gives_up_the_fill,
		D1_recovery_of_a_writer_gives_up_the_fill,
		D1_a_writer_that_dies_after_its_part_has_ended_leaves_the_fill,
		D3_a_filler_that_dies_gives_up_the_fill_though_others_write,
		D3_a_filler_that_dies_before_the_parts_have_ended_gives_up_the_fill_it_published,
		R27_a_filler_that_lets_go_before_the_block_is_ready_gives_it_up,
		a_fillers_pin_is_hold_enough,
		a_fillers_own_part_is_hold_enough,
		B1_who_looks_late_gives_up_no_fill_of_the_next_life,
		a_filler_that_detaches_gives_up_the_fill,
		a_writer_that_detaches_gives_up_the_fill,
		a_writer_that_detaches_after_its_part_has_ended_leaves_the_fill,
		R23_a_writer_of_a_fill_that_was_given_up_writes_into_no_other_block,
		joining_a_block_that_is_ready_is_EALREADY_removed_or_not,
		R05_a_filler_says_once_what_the_block_is,
		what_was_said_of_a_fill_that_was_given_up_is_zeros,
		C2_a_key_removed_under_its_writers_is_canceled_for_all,
	};

	return unit_run("parts", tests, sizeof(tests) / sizeof(tests[0]));
}
