/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remove: how keys and blocks end: removed by name, or with their last hold (C1, C2).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <pthread.h>

#include "epoch.h"
#include "remove.h"

static kvshm_store *drop_store(uint32_t blocks)
{
	struct kvshm_create_options options = unit_options(blocks);

	options.retain = KVSHM_DROP;
	return unit_make(&options);
}

START_TEST(C2_removed_key_lives_until_last_hold)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), theirs, pin;

	ck_rc(unit_get(other, 1, &theirs), 0);
	ck_rc(kvshm_pin(other, &theirs, &pin), 0);
	ck_rc(unit_remove(other, 1), 0);
	ck_assert(!unit_has(store, 1)); /* missing at once */
	ck_assert_int_eq(unit_state(store, ref.block), KVS_DOOMED);
	for (uint64_t i = 0; i < 100; i++)
		unit_put(store, 1000 + i);
	unit_verify(store, &ref, 1);
	unit_verify(other, &theirs, 1);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_rc(kvshm_release(other, &theirs), 0);
	ck_assert_int_eq(unit_state(store, pin.block), KVS_DOOMED); /* a pin is a hold */
	unit_verify(other, &pin, 1);
	theirs = pin;
	ck_rc(kvshm_unpin(other, &pin), 0);
	ck_assert_int_eq(unit_state(store, theirs.block), KVS_LIMBO);
}
END_TEST

/* Is the block in a chain? */
static bool linked(const kvshm_store *store, uint32_t number)
{
	for (uint32_t i = 0; i < store->map.g.buckets; i++)
		for (uint32_t link = atomic_load(&store->map.buckets[i]); link & ~KVS_LINK_MARK;
		     link = atomic_load(&kvs_block(&store->map, kvs_link_block(link))->next))
			if (kvs_link_block(link) == number)
				return true;
	return false;
}

START_TEST(C2_a_removed_block_is_out_of_its_chain_at_once_though_it_is_held)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0);

	ck_assert(linked(store, ref.block));
	ck_rc(unit_remove(store, 1), 0);
	ck_assert_int_eq(unit_state(store, ref.block), KVS_DOOMED);
	ck_assert(!linked(store, ref.block));
}
END_TEST

START_TEST(C2_a_removed_key_can_be_filled_anew_at_once)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle old = unit_fill(store, 1, 0), new, newer;

	ck_rc(unit_remove(store, 1), 0);
	new = unit_begin(store, 1);
	ck_assert_uint_ne(new.block, old.block);
	unit_write(store, &new, 4711);
	unit_verify(store, &old, 1);
	ck_rc(kvshm_publish(store, &new, NULL), 0);
	ck_rc(unit_remove(store, 1), 0); /* the new one this time */
	newer = unit_fill(store, 1, 0);
	unit_verify(store, &old, 1);
	unit_verify(store, &new, 4711);
	unit_verify(store, &newer, 1);
	ck_rc(kvshm_release(store, &old), 0);
	ck_assert(unit_has(store, 1)); /* the old one's end is not the new one's */
}
END_TEST

START_TEST(C2_removing_what_is_not_there_is_ENOENT)
{
	kvshm_store *store = unit_store(16);

	ck_rc(unit_remove(store, 1), -ENOENT);
	unit_put(store, 1);
	ck_rc(unit_remove(store, 1), 0);
	ck_rc(unit_remove(store, 1), -ENOENT);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_removals), 1);
}
END_TEST

START_TEST(C2_a_removed_key_that_nobody_holds_is_room_at_once)
{
	kvshm_store *store = unit_store(1);

	for (uint64_t i = 0; i < 10; i++) {
		unit_put(store, i);
		ck_rc(unit_remove(store, i), 0);
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 10);
}
END_TEST

START_TEST(C1_the_last_release_in_a_drop_store_frees_the_block_once)
{
	kvshm_store *store = drop_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), theirs, pin;
	uint32_t block = ref.block;

	ck_rc(unit_get(other, 1, &theirs), 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_rc(kvshm_release(other, &theirs), 0);
	ck_assert_int_eq(unit_state(store, block), KVS_READY); /* the pin */
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 0);
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_assert_int_eq(unit_state(store, block), KVS_LIMBO);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 1);
	ck_assert(!unit_has(store, 1));
}
END_TEST

START_TEST(C1_the_last_release_in_a_keep_store_keeps_the_block)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0);
	uint32_t block = ref.block;

	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_int_eq(unit_state(store, block), KVS_READY);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(C1_a_drop_block_is_freed_whoever_releases_last)
{
	for (int first = 0; first < 2; first++) {
		kvshm_store *store = first ? unit_attach() : drop_store(16), *other = unit_attach();
		struct kvshm_handle ref = unit_fill(store, 1, 0), theirs;

		ck_rc(unit_get(other, 1, &theirs), 0);
		ck_rc(kvshm_release(first ? store : other, first ? &ref : &theirs), 0);
		ck_assert(unit_has(store, 1));
		ck_rc(kvshm_release(first ? other : store, first ? &theirs : &ref), 0);
		ck_assert(!unit_has(store, 1));
	}
}
END_TEST

START_TEST(C1_a_lookup_that_lets_go_again_frees_too)
{
	kvshm_store *store = drop_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0);
	uint32_t block = ref.block;

	ck_assert(unit_has(other, 1)); /* gets, and releases: not the last */
	ck_assert_int_eq(unit_state(store, block), KVS_READY);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_int_eq(unit_state(store, block), KVS_LIMBO);
}
END_TEST

/* Two clients release the last two holds of a drop block at the same time, many times. */
static pthread_barrier_t barrier;
#define ROUNDS 2000

struct releaser {
	kvshm_store *store;
	struct kvshm_handle holds[ROUNDS];
};

static void *release_all(void *arg)
{
	struct releaser *releaser = arg;

	for (int i = 0; i < ROUNDS; i++) {
		(void)pthread_barrier_wait(&barrier);
		ck_rc(kvshm_release(releaser->store, &releaser->holds[i]), 0);
		(void)pthread_barrier_wait(&barrier);
	}
	return NULL;
}

START_TEST(C1_two_who_release_last_at_the_same_time_free_once)
{
	static struct releaser one, two;
	pthread_t threads[2];
	uint32_t block;

	one.store = drop_store(16);
	two.store = unit_attach();
	(void)pthread_barrier_init(&barrier, NULL, 3);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, release_all, &one), 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, release_all, &two), 0);
	for (int i = 0; i < ROUNDS; i++) {
		one.holds[i] = unit_fill(one.store, 1, 0);
		ck_rc(unit_get(two.store, 1, &two.holds[i]), 0);
		block = one.holds[i].block;
		(void)pthread_barrier_wait(&barrier);
		(void)pthread_barrier_wait(&barrier);
		ck_assert_int_eq(unit_state(one.store, block), KVS_LIMBO);
	}
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	ck_assert_uint_eq(unit_counter(one.store, KVS_COUNT_frees), ROUNDS);
}
END_TEST

START_TEST(B1_an_attempt_to_remove_what_is_held_is_taken_back)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0);
	struct kvs_actor actor = unit_actor_of(other);

	kvs_enter(&actor);
	ck_assert(!kvs_remove_try(&actor, ref.block, KVS_REMOVE_EVICT));
	kvs_leave(&actor);
	ck_assert_int_eq(unit_state(store, ref.block), KVS_READY);
	ck_assert(unit_has(other, 1));
	ck_rc(kvshm_release(store, &ref), 0);
}
END_TEST

START_TEST(B1_a_lookup_takes_a_block_back_from_a_remover_that_stands_still)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0), again;
	struct kvs_block *block = kvs_block(&store->map, ref.block);
	uint64_t word;

	ck_rc(kvshm_release(store, &ref), 0);
	word = kvs_word_next(atomic_load(&block->word), KVS_REM_READY, 5); /* of a client that is dead, or stopped */
	atomic_store(&block->word, word);
	ck_rc(unit_get(store, 1, &again), 0);
	ck_assert_int_eq(unit_state(store, again.block), KVS_READY);
	unit_verify(store, &again, 1);
	ck_assert(!atomic_compare_exchange_strong(&block->word, &word, kvs_word_next(word, KVS_DOOMED, 0)));
	ck_rc(kvshm_release(store, &again), 0);
}
END_TEST

START_TEST(D4_an_unfinished_removal_is_taken_over)
{
	static const enum kvs_state states[] = {KVS_REM_READY, KVS_DOOMED, KVS_REM_DOOMED};
	kvshm_store *store = unit_store(1);

	for (unsigned i = 0; i < 3; i++) {
		_Atomic uint64_t *word = &kvs_block(&store->map, 0)->word;

		unit_put(store, i);
		atomic_store(word, kvs_word_next(atomic_load(word), states[i], 5));
		unit_put(store, 100 + i); /* needs the one block there is */
		ck_assert(!unit_has(store, i));
	}
	ck_assert_uint_ge(unit_counter(store, KVS_COUNT_takeovers), 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		C2_removed_key_lives_until_last_hold,
		C2_a_removed_block_is_out_of_its_chain_at_once_though_it_is_held,
		C2_a_removed_key_can_be_filled_anew_at_once,
		C2_removing_what_is_not_there_is_ENOENT,
		C2_a_removed_key_that_nobody_holds_is_room_at_once,
		C1_the_last_release_in_a_drop_store_frees_the_block_once,
		C1_the_last_release_in_a_keep_store_keeps_the_block,
		C1_a_drop_block_is_freed_whoever_releases_last,
		C1_a_lookup_that_lets_go_again_frees_too,
		C1_two_who_release_last_at_the_same_time_free_once,
		B1_an_attempt_to_remove_what_is_held_is_taken_back,
		B1_a_lookup_takes_a_block_back_from_a_remover_that_stands_still,
		D4_an_unfinished_removal_is_taken_over,
	};

	return unit_run("remove", tests, sizeof(tests) / sizeof(tests[0]));
}
