/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * recover: what a killed client held is given back, by any survivor, and nothing of a living one changes (D1, D2, R19).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "client.h"
#include "epoch.h"
#include "lock.h"
#include "recover.h"

#define BLOCKS 16U

/* A client that holds something of each kind: refs of keys 1 and 2, a pin of 3, fills of 4 and 5, a section. */
static void hold_all_kinds(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_handle ref, pin;

	(void)arg;
	ck_rc(unit_get(store, 1, &ref), 0);
	ck_rc(unit_get(store, 2, &ref), 0);
	ck_rc(unit_get(store, 3, &ref), 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_release(store, &ref), 0);
	(void)unit_begin(store, 4);
	(void)unit_begin(store, 5);
	kvs_enter(&actor);
	unit_wait_for_death();
}

static kvshm_store *store_with_keys(void)
{
	kvshm_store *store = unit_store(BLOCKS);

	for (uint64_t i = 1; i <= 3; i++)
		unit_put(store, i);
	return store;
}

static void kill_a_holder(void (*hold)(void *))
{
	struct child child;

	unit_child(&child, hold, NULL);
	unit_await(&child);
	unit_kill(&child);
}

/* Nothing of any client's is left. */
static void nothing_held(const kvshm_store *store)
{
	for (uint32_t slot = 0; slot < store->map.g.clients; slot++)
		for (uint32_t block = 0; block < BLOCKS && kvs_client_has_row(&store->map, slot); block++)
			ck_assert_uint_eq(unit_entry(store, slot, block) & KVS_ENTRY_COUNTS, 0);
	for (uint32_t block = 0; block < BLOCKS; block++) {
		enum kvs_state state = unit_state(store, block);

		ck_assert(state == KVS_FREE || state == KVS_LIMBO || state == KVS_READY);
	}
}

START_TEST(D1_killed_client_gives_back_refs_pins_fills)
{
	kvshm_store *store = store_with_keys();
	unsigned recovered = 99;

	kill_a_holder(hold_all_kinds);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 1);
	nothing_held(store);
	for (uint64_t i = 1; i <= 5; i++)
		ck_assert_int_eq(unit_has(store, i), i <= 3);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recoveries), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_holds), 5);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 0);
}
END_TEST

START_TEST(D1_a_death_in_a_section_stalls_no_grace_period_after_recovery)
{
	kvshm_store *store = store_with_keys();
	struct kvs_actor actor = unit_actor_of(store);

	kill_a_holder(hold_all_kinds);
	(void)kvs_epoch_advance(&actor);
	ck_assert(!kvs_epoch_advance(&actor));
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert(kvs_epoch_advance(&actor));
	ck_assert(kvs_epoch_advance(&actor));
}
END_TEST

START_TEST(D1_nothing_of_a_living_client_changes)
{
	kvshm_store *store = store_with_keys(), *other = unit_attach();
	struct kvshm_handle ref, pin, fill, theirs;
	uint64_t before[BLOCKS];

	ck_rc(unit_get(other, 1, &ref), 0);
	ck_rc(kvshm_pin(other, &ref, &pin), 0);
	fill = unit_begin(other, 6);
	unit_write(other, &fill, 6);
	for (uint32_t i = 0; i < BLOCKS; i++)
		before[i] = unit_entry(store, other->slot, i);
	kill_a_holder(hold_all_kinds);
	ck_rc(kvshm_recover(store, NULL), 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(unit_entry(store, other->slot, i), before[i]);
	unit_verify(other, &ref, 1);
	unit_verify(other, &pin, 1);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	ck_rc(unit_get(store, 6, &theirs), 0);
	unit_verify(store, &theirs, 6);
}
END_TEST

static void hold_one_in_a_drop_store(void *arg)
{
	(void)arg;
	(void)unit_fill(unit_attach(), 1, 0);
	unit_wait_for_death();
}

START_TEST(C1_the_last_hold_of_a_drop_block_can_end_by_recovery)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	kvshm_store *store;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	kill_a_holder(hold_one_in_a_drop_store);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert(!unit_has(store, 1));
	nothing_held(store);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 1);
}
END_TEST

static void hold_removed(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle ref;

	(void)arg;
	ck_rc(unit_get(store, 1, &ref), 0);
	ck_rc(unit_remove(store, 1), 0);
	unit_wait_for_death();
}

START_TEST(C2_the_last_hold_of_a_removed_key_can_end_by_recovery)
{
	kvshm_store *store = store_with_keys();

	kill_a_holder(hold_removed);
	ck_rc(kvshm_recover(store, NULL), 0);
	nothing_held(store);
}
END_TEST

static void own_blocks(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	uint32_t block;

	(void)arg;
	for (int i = 0; i < 5; i++)
		ck_rc(kvs_alloc(&actor, &block), 0); /* taken, without a key yet */
	unit_wait_for_death();
}

static void hold_shared(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle ref;

	(void)arg;
	ck_rc(unit_get(store, 1, &ref), 0);
	unit_wait_for_death();
}

/* ---- R19: who looks next recovers. tests/crash/kill_at_points measures that it takes less than a second. ---- */

START_TEST(R19_next_attach_recovers)
{
	kvshm_store *store = store_with_keys(), *more;

	kill_a_holder(hold_all_kinds);
	more = unit_attach();
	nothing_held(store);
	ck_assert_uint_eq(more->slot, 1); /* the dead one's slot, for it is the first that is free */
}
END_TEST

static void hold_everything(void *arg)
{
	kvshm_store *store = unit_attach();

	(void)arg;
	for (uint64_t i = 0; i < BLOCKS; i++)
		(void)unit_fill(store, 100 + i, 0);
	unit_wait_for_death();
}

START_TEST(R19_failed_allocation_recovers)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle fill;
	enum kvshm_outcome outcome;
	struct child child;

	unit_child(&child, hold_everything, NULL);
	unit_await(&child);
	ck_rc(unit_ask(store, 1, &outcome, &fill), -ENOSPC);
	unit_kill(&child);
	unit_put(store, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recoveries), 1);
}
END_TEST

START_TEST(R19_wait_recovers)
{
	kvshm_store *store = store_with_keys();
	struct kvshm_handle ref;
	enum kvshm_outcome outcome;
	struct child child;

	unit_child(&child, hold_all_kinds, NULL);
	unit_await(&child);
	ck_rc(unit_ask(store, 4, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	unit_kill(&child);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(UNIT_SOON)), -ECANCELED);
	nothing_held(store);
	for (uint32_t i = 0; i < store->map.g.readers; i++) /* nor a reader slot, of the dead one or of its recoverer */
		ck_assert_uint_ne(atomic_load(&store->map.readers[i].owner) & ~KVS_READER_RECOVERER, 2);
}
END_TEST

START_TEST(R19_recover_call_recovers)
{
	kvshm_store *store = store_with_keys();
	struct child children[3];
	unsigned recovered;

	for (unsigned i = 0; i < 3; i++) {
		unit_child(&children[i], i ? hold_shared : hold_all_kinds, NULL);
		unit_await(&children[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		unit_kill(&children[i]);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 3);
	nothing_held(store);
}
END_TEST

START_TEST(R19_owner_recovers)
{
	kvshm_store *store = store_with_keys();
	unsigned recovered;

	kill_a_holder(hold_all_kinds);
	ck_rc(kvshm_owner_recover(unit_owner, &recovered), 0);
	ck_assert_uint_eq(recovered, 1);
	nothing_held(store);
	ck_rc(kvshm_owner_recover(unit_owner, NULL), 0);
}
END_TEST

START_TEST(R19_a_store_of_one_slot_is_attached_after_its_clients_death)
{
	struct kvshm_create_options options = unit_options(BLOCKS);

	options.clients = 1;
	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	for (int i = 0; i < 5; i++)
		kill_a_holder(own_blocks);
	nothing_held(unit_attach());
}
END_TEST

/* ---- D2: recoverers that meet, stop, and die ---- */

/* A recoverer that stands still holds a read lock on the dead one's byte. */
static int stopped_recoverer(uint32_t slot)
{
	int file = open(unit_path(-1), O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(file, 0);
	ck_rc(kvs_lock_read(file, slot), 0);
	return file;
}

START_TEST(D2_a_stopped_recoverer_hinders_no_other_and_keeps_the_slot)
{
	kvshm_store *store = store_with_keys(), *more;
	struct kvs_actor actor = unit_actor_of(store);
	unsigned recovered;
	int file;

	kill_a_holder(hold_all_kinds);
	file = stopped_recoverer(1);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 0); /* not finished: the slot stays the dead one's */
	nothing_held(store);
	ck_assert(kvs_epoch_advance(&actor) && kvs_epoch_advance(&actor)); /* nor does its section go on */
	more = unit_attach();
	ck_assert_uint_ne(more->slot, 1); /* no new client moves in while the stopped one may go on */
	unit_put(more, 4);
	(void)close(file);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 1);
	ck_assert_uint_eq(unit_attach()->slot, 1);
}
END_TEST

static pthread_barrier_t *shared_barrier;

static void recover_at_once(void *arg)
{
	kvshm_store *store = unit_attach();
	unsigned *recovered = arg;

	unit_tell_parent();
	unit_await_parent(); /* the victim is dead now */
	(void)pthread_barrier_wait(shared_barrier);
	ck_rc(kvshm_recover(store, recovered), 0);
	unit_tell_parent();
	unit_await_parent();
	ck_rc(kvshm_detach(store), 0);
}

START_TEST(D2_two_recoverers_at_once_give_the_same_result)
{
	unsigned *recovered = unit_shared(2 * sizeof(*recovered)), last;
	struct child victim, recoverers[2];
	kvshm_store *store = store_with_keys();

	shared_barrier = unit_shared_barrier(2);
	for (int round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 2; i++) {
			unit_child(&recoverers[i], recover_at_once, &recovered[i]);
			unit_await(&recoverers[i]);
		}
		unit_child(&victim, hold_all_kinds, NULL);
		unit_await(&victim);
		unit_kill(&victim);
		for (unsigned i = 0; i < 2; i++)
			unit_tell(&recoverers[i]);
		for (unsigned i = 0; i < 2; i++)
			unit_await(&recoverers[i]);
		nothing_held(store);
		/* Each may have found the other still at it: then nobody has finished, and the next one does. */
		ck_rc(kvshm_recover(store, &last), 0);
		ck_assert_uint_eq(recovered[0] + recovered[1] + last, 1);
		for (unsigned i = 0; i < 2; i++) {
			unit_tell(&recoverers[i]);
			unit_join(&recoverers[i]);
		}
		for (uint64_t i = 1; i <= 3; i++)
			ck_assert(unit_has(store, i));
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 20);
}
END_TEST

START_TEST(D2_recovery_that_was_cut_off_anywhere_is_done_by_the_next)
{
	kvshm_store *store = store_with_keys();

	/* A recoverer died after it had taken a reader slot, zeroed an entry, and begun to remove a doomed fill. */
	kill_a_holder(hold_all_kinds);
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (unit_state(store, i) == KVS_FILLING) {
			struct kvs_block *block = kvs_block(&store->map, i);

			atomic_store(&block->word, kvs_word_next(atomic_load(&block->word), KVS_REM_DOOMED, 1));
			atomic_store(&kvs_row(&store->map, 1)[i], 0);
			break;
		}
	ck_rc(kvs_reader_take(&store->map, 2 | KVS_READER_RECOVERER, &(struct kvs_reader *){NULL}), 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	nothing_held(store);
	for (uint32_t i = 0; i < store->map.g.readers; i++)
		ck_assert_uint_ne(atomic_load(&store->map.readers[i].owner) & ~KVS_READER_RECOVERER, 2);
	ck_assert(!unit_has(store, 4));
	ck_assert(!unit_has(store, 5));
}
END_TEST

START_TEST(D2_a_living_client_is_never_recovered)
{
	kvshm_store *store = store_with_keys();
	struct kvshm_handle refs[3];
	unsigned recovered;
	struct child child;

	unit_child(&child, hold_all_kinds, NULL);
	unit_await(&child);
	for (uint64_t i = 0; i < 3; i++)
		ck_rc(unit_get(store, i + 1, &refs[i]), 0);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 0);
	ck_assert_uint_eq(unit_refs(store, &refs[0]), 2);
	ck_assert_uint_eq(unit_pins(store, &refs[2]), 1);
	unit_stop(&child); /* a stopped one lives */
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 0);
	ck_assert_uint_eq(unit_refs(store, &refs[0]), 2);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, 1);
}
END_TEST

START_TEST(D1_blocks_without_a_key_yet_are_given_back)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle all[BLOCKS];

	kill_a_holder(own_blocks);
	ck_rc(kvshm_recover(store, NULL), 0);
	nothing_held(store);
	for (uint64_t i = 0; i < BLOCKS; i++)
		all[i] = unit_fill(store, i, 0);
	ck_assert_uint_eq(unit_refs(store, &all[0]), 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		D1_killed_client_gives_back_refs_pins_fills,
		D1_a_death_in_a_section_stalls_no_grace_period_after_recovery,
		D1_nothing_of_a_living_client_changes,
		D1_blocks_without_a_key_yet_are_given_back,
		C1_the_last_hold_of_a_drop_block_can_end_by_recovery,
		C2_the_last_hold_of_a_removed_key_can_end_by_recovery,
		R19_next_attach_recovers,
		R19_failed_allocation_recovers,
		R19_wait_recovers,
		R19_recover_call_recovers,
		R19_owner_recovers,
		R19_a_store_of_one_slot_is_attached_after_its_clients_death,
		D2_a_stopped_recoverer_hinders_no_other_and_keeps_the_slot,
		D2_two_recoverers_at_once_give_the_same_result,
		D2_recovery_that_was_cut_off_anywhere_is_done_by_the_next,
		D2_a_living_client_is_never_recovered,
	};

	return unit_run("recover", tests, sizeof(tests) / sizeof(tests[0]));
}
