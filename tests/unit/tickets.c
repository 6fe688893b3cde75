/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tickets: a hit at the scheduler is a hit at every worker (R26): whoever has the ticket of a held block holds it,
 * through removal, clearing and death; and a ticket that got old, or never was one, finds nothing and costs nobody a
 * hold.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "part.h"

#define WORKERS 3U
#define KEYS 4U

static void is_stale(kvshm_store *store, const struct kvshm_ticket *ticket)
{
	uint64_t before = unit_counter(store, KVS_COUNT_stale_tickets);
	struct kvshm_handle ref = {.life = 7};
	enum kvshm_outcome outcome = (enum kvshm_outcome)55;

	ck_rc(kvshm_hold(store, ticket, &outcome, &ref), -ENOENT);
	ck_rc(kvshm_join(store, ticket, 0, &ref), -ENOENT);
	ck_assert(ref.life == 7 && outcome == (enum kvshm_outcome)55);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_stale_tickets), before + 2);
}

/* ---- A scheduler, and workers in processes of their own ---- */

struct engine {
	struct kvshm_ticket *tickets; /* of all keys, in shared memory */
	struct child scheduler, workers[WORKERS];
};

static void be_scheduler(void *arg)
{
	const struct engine *engine = arg;
	kvshm_store *store = unit_attach();
	struct kvshm_handle refs[KEYS];

	for (uint64_t i = 0; i < KEYS; i++) {
		refs[i] = unit_fill(store, i, 0);
		engine->tickets[i] = unit_ticket(store, &refs[i]);
	}
	unit_tell_parent();
	unit_await_parent();
	for (unsigned i = 0; i < KEYS; i++)
		ck_rc(kvshm_release(store, &refs[i]), 0);
	ck_rc(kvshm_detach(store), 0);
}

/* Holds by ticket when told, and looks at the bytes when told again. */
static void be_worker(void *arg)
{
	const struct engine *engine = arg;
	kvshm_store *store = unit_attach();
	struct kvshm_handle refs[KEYS];

	unit_await_parent();
	for (unsigned i = 0; i < KEYS; i++)
		refs[i] = unit_hold(store, &engine->tickets[i]);
	unit_tell_parent();
	unit_await_parent();
	for (uint64_t i = 0; i < KEYS; i++) {
		unit_verify(store, &refs[i], i);
		ck_rc(kvshm_release(store, &refs[i]), 0);
	}
	ck_rc(kvshm_detach(store), 0);
}

static struct engine *start_engine(void)
{
	static struct engine the_engine;
	struct engine *engine = &the_engine;

	engine->tickets = unit_shared(KEYS * sizeof(*engine->tickets));
	for (unsigned i = 0; i < WORKERS; i++)
		unit_child(&engine->workers[i], be_worker, engine);
	unit_child(&engine->scheduler, be_scheduler, engine);
	unit_await(&engine->scheduler);
	return engine;
}

static void workers_hold(const struct engine *engine)
{
	for (unsigned i = 0; i < WORKERS; i++)
		unit_tell(&engine->workers[i]);
	for (unsigned i = 0; i < WORKERS; i++)
		unit_await(&engine->workers[i]);
}

static void workers_verify(const struct engine *engine, unsigned first)
{
	for (unsigned i = first; i < WORKERS; i++) {
		unit_tell(&engine->workers[i]);
		unit_join(&engine->workers[i]);
	}
}

/* Other keys take all the room that there is. */
static void thrash(kvshm_store *store)
{
	for (uint64_t i = 0; i < 3 * (uint64_t)store->map.g.blocks; i++) {
		struct kvshm_handle handle;
		enum kvshm_outcome outcome;

		if (unit_ask(store, 1000 + i, &outcome, &handle))
			continue;
		unit_write(store, &handle, 1000 + i);
		ck_rc(kvshm_publish(store, &handle, NULL), 0);
		ck_rc(kvshm_release(store, &handle), 0);
	}
}

static void end_engine(kvshm_store *store, const struct engine *engine, unsigned first)
{
	thrash(store);
	workers_verify(engine, first);
	ck_rc(kvshm_recover(store, NULL), 0);
	for (uint32_t i = 0; i < store->map.g.blocks; i++)
		ck_assert(unit_state(store, i) == KVS_FREE || unit_state(store, i) == KVS_LIMBO ||
			  unit_state(store, i) == KVS_READY);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_tickets), (uint64_t)WORKERS * KEYS);
}

START_TEST(R26_a_hit_at_the_scheduler_is_a_hit_at_every_worker)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();
	uint64_t hits = unit_counter(store, KVS_COUNT_hits);

	thrash(store);
	workers_hold(engine);
	unit_tell(&engine->scheduler); /* it lets go */
	unit_join(&engine->scheduler);
	end_engine(store, engine, 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_hits), hits); /* no second lookup */
}
END_TEST

START_TEST(R26_also_if_the_keys_were_removed_meanwhile)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();

	for (uint64_t i = 0; i < KEYS; i++)
		ck_rc(unit_remove(store, i), 0);
	thrash(store);
	workers_hold(engine);
	unit_tell(&engine->scheduler);
	unit_join(&engine->scheduler);
	for (uint64_t i = 0; i < KEYS; i++)
		ck_assert(!unit_has(store, i));
	end_engine(store, engine, 0);
}
END_TEST

START_TEST(R26_also_if_the_store_was_cleared_meanwhile)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();

	ck_rc(kvshm_clear(store), 0);
	thrash(store);
	workers_hold(engine);
	unit_tell(&engine->scheduler);
	unit_join(&engine->scheduler);
	for (uint64_t i = 0; i < KEYS; i++)
		ck_assert(!unit_has(store, i)); /* R28 */
	end_engine(store, engine, 0);
}
END_TEST

START_TEST(R26_also_if_the_keys_are_filled_anew_meanwhile)
{
	kvshm_store *store = unit_store(2 * KEYS);
	const struct engine *engine = start_engine();

	for (uint64_t i = 0; i < KEYS; i++) {
		struct kvshm_handle fill;

		ck_rc(unit_remove(store, i), 0);
		fill = unit_begin(store, i);
		unit_write(store, &fill, 100 + i); /* other bytes */
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
		ck_rc(kvshm_release(store, &fill), 0);
	}
	workers_hold(engine); /* the bytes that the scheduler has */
	unit_tell(&engine->scheduler);
	unit_join(&engine->scheduler);
	end_engine(store, engine, 0);
}
END_TEST

START_TEST(R26_also_if_the_scheduler_is_killed_once_they_hold)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();

	workers_hold(engine);
	unit_kill(&engine->scheduler);
	ck_rc(kvshm_recover(store, NULL), 0);
	for (uint64_t i = 0; i < KEYS; i++)
		ck_rc(unit_remove(store, i), 0);
	end_engine(store, engine, 0);
}
END_TEST

START_TEST(R26_also_if_another_worker_is_killed)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();

	workers_hold(engine);
	unit_tell(&engine->scheduler);
	unit_join(&engine->scheduler);
	unit_kill(&engine->workers[0]);
	ck_rc(kvshm_recover(store, NULL), 0);
	end_engine(store, engine, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_holds), KEYS);
}
END_TEST

/* The block of a scheduler that has not been recovered yet is held as long. */
START_TEST(R26_a_dead_schedulers_hit_is_one_until_its_recovery)
{
	kvshm_store *store = unit_store(KEYS + 2);
	const struct engine *engine = start_engine();

	unit_kill(&engine->scheduler);
	workers_hold(engine);
	ck_rc(kvshm_recover(store, NULL), 0);
	end_engine(store, engine, 0);
}
END_TEST

/* ---- What keeps a block, and for how long ---- */

START_TEST(B1_a_hold_by_ticket_keeps_the_block_as_any_other)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 1000), held, copy;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);

	held = copy = unit_hold(other, &ticket);
	ck_assert_uint_eq(unit_refs(store, &ref), 2);
	ck_assert(held.block == ref.block && held.life == ref.life);
	ck_rc(kvshm_release(store, &ref), 0);
	thrash(store);
	unit_verify(other, &held, 1);
	ck_assert(unit_has(store, 1));
	ck_rc(kvshm_release(other, &held), 0);
	ck_rc(kvshm_release(other, &copy), -EBADF);
	thrash(store);
	ck_assert(!unit_has(store, 1));
	is_stale(other, &ticket);
}
END_TEST

START_TEST(B1_a_removed_block_lives_until_the_last_hold_by_ticket_ends)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), first, second;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);

	ck_rc(unit_remove(store, 1), 0);
	ck_assert_int_eq(unit_state(store, ref.block), KVS_DOOMED);
	first = unit_hold(other, &ticket);
	ck_rc(kvshm_release(store, &ref), 0);
	second = unit_hold(store, &ticket); /* the other's hold is enough */
	ck_rc(kvshm_release(other, &first), 0);
	thrash(other);
	unit_verify(store, &second, 1);
	ck_rc(kvshm_release(store, &second), 0);
	is_stale(store, &ticket);
	is_stale(other, &ticket);
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED), 0);
}
END_TEST

START_TEST(C1_the_last_hold_by_ticket_frees_a_block_of_a_drop_store)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_handle ref, held;
	struct kvshm_ticket ticket;
	kvshm_store *store, *other;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	other = unit_attach();
	ref = unit_fill(store, 1, 0);
	ticket = unit_ticket(store, &ref);
	held = unit_hold(other, &ticket);
	ck_rc(kvshm_release(store, &ref), 0);
	unit_verify(other, &held, 1); /* R02 */
	ck_rc(kvshm_release(other, &held), 0);
	is_stale(other, &ticket);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 1);
}
END_TEST

START_TEST(R02_what_a_ticket_holder_was_told_of_outlasts_the_first_request)
{
	struct kvshm_create_options options = unit_options(4);
	struct kvshm_handle fill, second, third;
	struct kvshm_ticket ticket;
	kvshm_store *store, *other;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	other = unit_attach();
	fill = unit_fill(store, 1, 0);
	ck_rc(unit_get(other, 1, &second), 0); /* deduplicated for a second request, whose worker is told by ticket */
	ticket = unit_ticket(other, &second);
	ck_rc(kvshm_release(store, &fill), 0);
	third = unit_hold(store, &ticket);
	ck_rc(kvshm_release(other, &second), 0);
	unit_verify(store, &third, 1);
	ck_assert(unit_has(other, 1));
}
END_TEST

START_TEST(R04_a_hold_by_ticket_ends_once)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), held, copy;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);

	held = copy = unit_hold(other, &ticket);
	ck_rc(kvshm_release(other, &held), 0);
	ck_rc(kvshm_release(other, &copy), -EBADF);
	ck_rc(kvshm_wait(other, &copy, 0), -EBADF);
	ck_assert_uint_eq(unit_entry(store, other->slot, ref.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
}
END_TEST

START_TEST(a_ticket_is_the_same_from_every_hold_and_differs_from_life_to_life)
{
	kvshm_store *store = unit_store(1), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref, pin;
	struct kvshm_ticket from_fill = unit_ticket(store, &fill), one;

	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(unit_get(other, 1, &ref), 0);
	ck_rc(kvshm_pin(other, &ref, &pin), 0);
	one = unit_ticket(other, &ref);
	ck_assert_mem_eq(&one, &from_fill, sizeof(one));
	ck_rc(kvshm_release(other, &ref), 0);
	one = unit_ticket(other, &pin);
	ck_assert_mem_eq(&one, &from_fill, sizeof(one));
	ck_rc(kvshm_unpin(other, &pin), 0);
	ck_rc(kvshm_release(store, &fill), 0);
	ref = unit_fill(store, 2, 0);
	one = unit_ticket(store, &ref);
	ck_assert_mem_ne(&one, &from_fill, sizeof(one));
	is_stale(other, &from_fill);
	is_stale(store, &from_fill);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
}
END_TEST

START_TEST(a_ticket_needs_a_hold_and_the_calls_need_a_place)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), none = {.kind = KVSHM_NONE}, held;
	struct kvshm_ticket ticket = unit_ticket(store, &ref), untouched = {{42}};
	enum kvshm_outcome outcome;

	ck_rc(kvshm_get_ticket(other, &ref, &untouched), -EBADF); /* another's hold */
	ck_rc(kvshm_get_ticket(store, &none, &untouched), -EBADF);
	ck_rc(kvshm_get_ticket(store, NULL, &untouched), -EINVAL);
	ck_rc(kvshm_get_ticket(store, &ref, NULL), -EINVAL);
	ck_assert_uint_eq(untouched.bytes[0], 42);
	ck_rc(kvshm_hold(store, NULL, &outcome, &held), -EINVAL);
	ck_rc(kvshm_hold(store, &ticket, NULL, &held), -EINVAL);
	ck_rc(kvshm_hold(store, &ticket, &outcome, NULL), -EINVAL);
	ck_rc(kvshm_join(store, NULL, 0, &held), -EINVAL);
	ck_rc(kvshm_join(store, &ticket, 0, NULL), -EINVAL);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_rc(kvshm_release(store, &ref), 0);
	none = (struct kvshm_handle){.life = held.life, .block = 0, .kind = KVSHM_REF};
	ck_rc(kvshm_get_ticket(store, &none, &untouched), -EBADF); /* it has been released */
}
END_TEST

START_TEST(B2_65535_holds_by_ticket_and_then_EMFILE)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), one;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);
	enum kvshm_outcome outcome;

	for (int i = 0; i < 65535; i++)
		(void)unit_hold(other, &ticket);
	ck_rc(kvshm_hold(other, &ticket, &outcome, &one), -EMFILE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "65,535"));
	ck_rc(kvshm_join(other, &ticket, 0, &one), -EMFILE);
	ck_assert_uint_eq(unit_refs(store, &ref), 65536);
	ck_assert_uint_eq(unit_pins(store, &ref), 0);
	(void)unit_hold(store, &ticket);
}
END_TEST

/* ---- Of a fill ---- */

START_TEST(R07_a_ticket_of_a_fill_is_pending_until_it_is_published)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);
	enum kvshm_outcome outcome;

	ck_rc(kvshm_hold(other, &ticket, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	ck_assert_uint_eq(ref.kind, KVSHM_REF);
	ck_rc(kvshm_wait(other, &ref, 0), -ETIMEDOUT);
	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(other, &ref, UINT64_MAX), 0);
	unit_verify(other, &ref, 1);
}
END_TEST

START_TEST(R20_a_ticket_of_a_fill_that_was_given_up_holds_nothing)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref, again = {.life = 7};
	struct kvshm_ticket ticket = unit_ticket(store, &fill);
	enum kvshm_outcome outcome;

	ck_rc(kvshm_hold(other, &ticket, &outcome, &ref), 0);
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_rc(kvshm_hold(store, &ticket, &outcome, &again), -ECANCELED); /* the other's hold keeps the block */
	ck_rc(kvshm_join(store, &ticket, 0, &again), -ECANCELED);
	ck_assert_uint_eq(again.life, 7);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_stale_tickets), 0);
	ck_rc(kvshm_wait(other, &ref, UINT64_MAX), -ECANCELED);
	is_stale(store, &ticket); /* now it is nobody's */
	ck_assert_uint_eq(unit_count(store, KVS_DOOMED), 0);
}
END_TEST

static struct kvshm_ticket *shared_ticket;

static void fill_name_and_die(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1);

	(void)arg;
	*shared_ticket = unit_ticket(store, &fill);
	unit_wait_for_death();
}

START_TEST(R20_a_ticket_of_a_dead_fillers_block_holds_nothing)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	enum kvshm_outcome outcome;
	struct kvshm_handle ref, again;
	struct child child;

	shared_ticket = unit_shared(sizeof(*shared_ticket));
	unit_child(&child, fill_name_and_die, NULL);
	unit_await(&child);
	ck_rc(kvshm_hold(store, shared_ticket, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(kvshm_hold(other, shared_ticket, &outcome, &again), -ECANCELED);
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), -ECANCELED);
	is_stale(other, shared_ticket);
}
END_TEST

START_TEST(R26_a_fill_removed_when_all_its_bytes_were_there_is_held_by_ticket)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref;
	struct kvshm_ticket ticket = unit_ticket(store, &fill);

	unit_write(store, &fill, 1);
	(void)kvs_part_end(&store->map, fill.block, KVS_PART_FILLER); /* publish has got so far */
	ck_rc(unit_remove(other, 1), 0);
	ref = unit_hold(other, &ticket);
	unit_verify(other, &ref, 1);
	ck_rc(kvshm_wait(other, &ref, 0), 0); /* who waits comes to the same */
	ck_rc(kvshm_release(other, &ref), 0);
	fill.kind = KVSHM_REF;
	ck_rc(kvshm_release(store, &fill), 0);
}
END_TEST

/* ---- Tickets that name nothing ---- */

START_TEST(R26_a_stale_ticket_never_finds_another_key)
{
	kvshm_store *store = unit_store(1), *other = unit_attach();
	struct kvshm_ticket tickets[8];
	struct kvshm_handle ref;

	for (uint64_t i = 0; i < 8; i++) {
		ref = unit_fill(store, i, 0);
		for (uint64_t old = 0; old < i; old++) {
			is_stale(store, &tickets[old]); /* though this client holds the block now */
			is_stale(other, &tickets[old]);
		}
		ck_assert_uint_eq(unit_refs(store, &ref), 1);
		tickets[i] = unit_ticket(store, &ref);
		ck_rc(kvshm_release(store, &ref), 0);
	}
	ck_assert(unit_has(store, 7));
}
END_TEST

/* Between the look at the life and the count, the block has come to its next life, which another thread of this client
 * holds: that thread's count stays. */
START_TEST(B2_a_ticket_that_gets_stale_as_it_is_used_takes_no_hold_of_the_next_life)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle old = unit_fill(store, 1, 0), ref, pin;
	struct kvshm_ticket ticket = unit_ticket(store, &old);
	_Atomic uint64_t *life;
	uint64_t entry;

	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_release(store, &old), 0);
	ref = unit_fill(store, 2, 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	life = &kvs_block(&store->map, ref.block)->life;
	entry = unit_entry(store, store->slot, ref.block);
	atomic_store(life, ref.life - 1); /* as the look saw it */
	is_stale(store, &ticket);
	atomic_store(life, ref.life);
	ck_assert_uint_eq(unit_entry(store, store->slot, ref.block), entry);
	unit_verify(store, &ref, 2);
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_rc(kvshm_release(store, &ref), 0);
}
END_TEST

/* The other way round: what is left of a stale ticket's count does not keep a client from its hold. */
START_TEST(B2_a_count_for_an_earlier_life_is_overwritten)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle ref = unit_fill(store, 1, 0), held;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);
	kvshm_store *other = unit_attach();

	atomic_store(&kvs_row(&store->map, other->slot)[ref.block], (ref.life - 1) << 32 | KVS_ENTRY_REF);
	held = unit_hold(other, &ticket);
	ck_assert_uint_eq(unit_entry(store, other->slot, ref.block), ref.life << 32 | KVS_ENTRY_REF);
	ck_rc(kvshm_release(other, &held), 0);
}
END_TEST

/* The block is on its way out, and stands there. */
static void ticket_while(enum kvs_state state, uint64_t owner, enum kvs_state after)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), held;
	struct kvshm_ticket ticket = unit_ticket(store, &ref);
	_Atomic uint64_t *word = &kvs_block(&store->map, ref.block)->word;
	enum kvshm_outcome outcome;

	if (state == KVS_REM_DOOMED || state == KVS_LIMBO)
		ck_rc(unit_remove(store, 1), 0);
	atomic_store(word, kvs_word_next(atomic_load(word), state, owner));
	if (after == KVS_LIMBO) {
		is_stale(other, &ticket);
		ck_assert_uint_eq(unit_entry(store, other->slot, ref.block) & KVS_ENTRY_COUNTS, 0);
		ck_assert_int_eq(unit_state(store, ref.block), state);
		unit_damaged(); /* a hold of a free block: put there by the test */
		return;
	}
	ck_rc(kvshm_hold(other, &ticket, &outcome, &held), 0);
	ck_assert_int_eq(outcome, KVSHM_READY);
	ck_assert_int_eq(unit_state(store, ref.block), after);
	ck_rc(kvshm_release(store, &ref), 0);
	thrash(store);
	unit_verify(other, &held, 1);
}

START_TEST(B1_a_ticket_takes_a_block_back_from_a_remover_that_stands_still)
{
	ticket_while(KVS_REM_READY, 5, KVS_READY);
}
END_TEST

START_TEST(B1_a_ticket_takes_a_removed_block_back_from_a_remover_that_stands_still)
{
	ticket_while(KVS_REM_DOOMED, 5, KVS_DOOMED);
}
END_TEST

START_TEST(B1_a_ticket_holds_nothing_of_a_block_that_is_gone)
{
	ticket_while(KVS_LIMBO, 0, KVS_LIMBO);
}
END_TEST

START_TEST(B1_a_ticket_holds_nothing_of_a_block_that_has_just_been_taken)
{
	ticket_while(KVS_OWNED, 1, KVS_LIMBO); /* and whose new life has not begun */
}
END_TEST

START_TEST(a_ticket_of_another_store_is_stale)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle ref = unit_fill(store, 1, 0);
	struct kvshm_ticket ticket = unit_ticket(store, &ref);

	unit_detach(store);
	ck_rc(kvshm_destroy(unit_owner), 0);
	store = unit_store(4); /* of the same name and shape */
	ref = unit_fill(store, 1, 0);
	is_stale(store, &ticket);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
}
END_TEST

static uint64_t random64(unsigned *seed)
{
	return (uint64_t)rand_r(seed) << 42 ^ (uint64_t)rand_r(seed) << 21 ^ (uint64_t)rand_r(seed);
}

START_TEST(F1_tickets_of_random_bytes_hold_nothing_and_harm_nothing)
{
	unsigned seed = (unsigned)time(NULL), first = seed;
	kvshm_store *store = unit_store(16);
	struct kvshm_handle refs[8], held;
	struct kvshm_ticket good;
	enum kvshm_outcome outcome;

	for (uint64_t i = 0; i < 8; i++)
		refs[i] = unit_fill(store, i, 0);
	good = unit_ticket(store, &refs[3]);
	printf("# seed %u\n", first);
	for (int i = 0; i < 100000; i++) {
		struct kvshm_ticket ticket = good;
		unsigned at = 4 + (unsigned)rand_r(&seed) % 12; /* another block's number may be a ticket */
		uint64_t bits = random64(&seed);

		if (i % 2) /* wild in all of it; else in one byte */
			for (unsigned n = 0; n < KVSHM_TICKET_SIZE; n += 8)
				memcpy(ticket.bytes + n, &(uint64_t){random64(&seed)}, 8);
		else
			ticket.bytes[at] ^= (uint8_t)(bits % 255 + 1);
		ck_rc(kvshm_hold(store, &ticket, &outcome, &held), -ENOENT);
		ck_rc(kvshm_join(store, &ticket, 0, &held), -ENOENT);
	}
	for (uint32_t block = 0; block < 16; block++) /* every number, with lives that were and will be */
		for (uint64_t life = 0; life < 4; life++) {
			struct kvshm_ticket ticket = good;

			memcpy(ticket.bytes, &block, sizeof(block));
			memcpy(ticket.bytes + 8, &life, sizeof(life));
			if (kvshm_hold(store, &ticket, &outcome, &held) == 0)
				ck_rc(kvshm_release(store, &held), 0);
		}
	for (uint64_t i = 0; i < 8; i++) {
		ck_assert_uint_eq(unit_refs(store, &refs[i]), 1);
		unit_verify(store, &refs[i], i);
	}
	held = unit_hold(store, &good);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R26_a_hit_at_the_scheduler_is_a_hit_at_every_worker,
		R26_also_if_the_keys_were_removed_meanwhile,
		R26_also_if_the_store_was_cleared_meanwhile,
		R26_also_if_the_keys_are_filled_anew_meanwhile,
		R26_also_if_the_scheduler_is_killed_once_they_hold,
		R26_also_if_another_worker_is_killed,
		R26_a_dead_schedulers_hit_is_one_until_its_recovery,
		B1_a_hold_by_ticket_keeps_the_block_as_any_other,
		B1_a_removed_block_lives_until_the_last_hold_by_ticket_ends,
		C1_the_last_hold_by_ticket_frees_a_block_of_a_drop_store,
		R02_what_a_ticket_holder_was_told_of_outlasts_the_first_request,
		R04_a_hold_by_ticket_ends_once,
		a_ticket_is_the_same_from_every_hold_and_differs_from_life_to_life,
		a_ticket_needs_a_hold_and_the_calls_need_a_place,
		B2_65535_holds_by_ticket_and_then_EMFILE,
		R07_a_ticket_of_a_fill_is_pending_until_it_is_published,
		R20_a_ticket_of_a_fill_that_was_given_up_holds_nothing,
		R20_a_ticket_of_a_dead_fillers_block_holds_nothing,
		R26_a_fill_removed_when_all_its_bytes_were_there_is_held_by_ticket,
		R26_a_stale_ticket_never_finds_another_key,
		B2_a_ticket_that_gets_stale_as_it_is_used_takes_no_hold_of_the_next_life,
		B2_a_count_for_an_earlier_life_is_overwritten,
		B1_a_ticket_takes_a_block_back_from_a_remover_that_stands_still,
		B1_a_ticket_takes_a_removed_block_back_from_a_remover_that_stands_still,
		B1_a_ticket_holds_nothing_of_a_block_that_is_gone,
		B1_a_ticket_holds_nothing_of_a_block_that_has_just_been_taken,
		a_ticket_of_another_store_is_stale,
		F1_tickets_of_random_bytes_hold_nothing_and_harm_nothing,
	};

	return unit_run("tickets", tests, sizeof(tests) / sizeof(tests[0]));
}
