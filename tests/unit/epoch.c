/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * epoch: sections, grace periods, reader slots. What a section may reach is not reused while it goes on.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

#include "alloc.h"
#include "epoch.h"

static uint64_t epoch_of(const struct kvs_map *map)
{
	return atomic_load(&map->head->epoch);
}

START_TEST(the_epoch_advances_when_nobody_reads)
{
	struct kvs_actor actor = unit_actor(unit_memory(64), 0);

	for (uint64_t i = 1; i <= 100; i++) {
		ck_assert(kvs_epoch_advance(&actor));
		ck_assert_uint_eq(epoch_of(actor.map), KVS_EPOCH_FIRST + i);
	}
}
END_TEST

START_TEST(a_reader_of_the_present_epoch_lets_it_advance_once_one_of_an_earlier_stalls_it)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor looker = unit_actor(map, 0), reader = unit_actor(map, 1);

	kvs_enter(&reader);
	ck_assert(kvs_epoch_advance(&looker));
	for (int i = 0; i < 3; i++)
		ck_assert(!kvs_epoch_advance(&looker));
	ck_assert_uint_eq(epoch_of(map), KVS_EPOCH_FIRST + 1);
	ck_assert_uint_eq(atomic_load(&looker.reader->counters[KVS_COUNT_grace_stalls]), 3);
	kvs_leave(&reader);
	ck_assert(kvs_epoch_advance(&looker));
	ck_assert_uint_eq(epoch_of(map), KVS_EPOCH_FIRST + 2);
}
END_TEST

START_TEST(every_one_of_many_readers_can_stall_the_epoch)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor looker = unit_actor(map, 0), readers[40];

	for (unsigned i = 0; i < 40; i++)
		readers[i] = unit_actor(map, 1 + i % 3);
	for (unsigned i = 0; i < 40; i++) {
		kvs_enter(&readers[i]);
		ck_assert(kvs_epoch_advance(&looker));
		ck_assert(!kvs_epoch_advance(&looker));
		kvs_leave(&readers[i]);
		ck_assert(kvs_epoch_advance(&looker));
	}
}
END_TEST

START_TEST(a_quiet_look_sees_every_reader_whatever_its_epoch)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor looker = unit_actor(map, 0), readers[20];

	ck_assert(kvs_epoch_quiet(&looker));
	for (unsigned i = 0; i < 20; i++)
		readers[i] = unit_actor(map, 1 + i % 3);
	for (unsigned i = 0; i < 20; i++) {
		kvs_enter(&readers[i]);
		ck_assert(!kvs_epoch_quiet(&looker));
		(void)kvs_epoch_advance(&looker);
		ck_assert(!kvs_epoch_quiet(&looker));
		kvs_leave(&readers[i]);
		ck_assert(kvs_epoch_quiet(&looker));
	}
}
END_TEST

/* Puts a block into LIMBO at the present epoch, and takes all other blocks away. */
static void only_limbo(struct kvs_map *map, uint32_t number)
{
	for (uint32_t i = 0; i < map->g.blocks; i++)
		atomic_store(&kvs_block(map, i)->word, kvs_word_next(0, KVS_OWNED, 3));
	atomic_store(&kvs_block(map, number)->word, kvs_word_next(0, KVS_LIMBO, epoch_of(map)));
	kvs_alloc_idle(map, number);
}

START_TEST(B1_a_block_in_limbo_is_not_reused_before_three_advances)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor actor = unit_actor(map, 0), reader = unit_actor(map, 1);
	uint32_t block;

	/* kvs_alloc() would advance the epoch itself: a reader, always of the present epoch, lets it do so but once. */
	only_limbo(map, 17);
	for (int advances = 0; advances < KVS_GRACE; advances++) {
		uint64_t epoch = epoch_of(map);

		kvs_enter(&reader);
		if (advances < KVS_GRACE - 1)
			ck_assert_int_eq(kvs_alloc(&actor, &block), -ENOSPC);
		else
			ck_assert_int_eq(kvs_alloc(&actor, &block), 0);
		ck_assert_uint_eq(epoch_of(map), epoch + 1);
		kvs_leave(&reader);
	}
	ck_assert_uint_eq(block, 17);
	ck_assert_int_eq(kvs_word_state(atomic_load(&kvs_block(map, 17)->word)), KVS_OWNED);
}
END_TEST

START_TEST(no_room_for_want_of_a_grace_period_is_counted_apart)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor actor = unit_actor(map, 0), reader = unit_actor(map, 1);
	uint32_t block;

	only_limbo(map, 0);
	kvs_enter(&reader);
	ck_assert_int_eq(kvs_alloc(&actor, &block), -ENOSPC);
	ck_assert_uint_eq(atomic_load(&actor.reader->counters[KVS_COUNT_no_room_grace]), 1);
	kvs_leave(&reader);
	ck_assert_int_eq(kvs_alloc(&actor, &block), 0);
	ck_assert_int_eq(kvs_alloc(&actor, &block), -ENOSPC); /* nothing is left at all: another kind of no room */
	ck_assert_uint_eq(atomic_load(&actor.reader->counters[KVS_COUNT_no_room]), 2);
	ck_assert_uint_eq(atomic_load(&actor.reader->counters[KVS_COUNT_no_room_grace]), 1);
}
END_TEST

START_TEST(reader_slots_end_and_come_back)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor actors[4 * KVS_READERS_PER_CLIENT];
	struct kvs_reader *more;

	ck_assert_uint_eq(map->g.readers, sizeof(actors) / sizeof(actors[0]));
	for (unsigned i = 0; i < map->g.readers; i++)
		actors[i] = unit_actor(map, i % 4);
	ck_rc(kvs_reader_take(map, 1, &more), -EUSERS);
	kvs_count(&actors[33], KVS_COUNT_hits);
	kvs_enter(&actors[33]);
	kvs_reader_give_back(actors[33].reader);
	ck_assert(kvs_epoch_advance(&actors[0]));
	ck_assert(kvs_epoch_advance(&actors[0])); /* given back within a section: it stalls nothing */
	ck_rc(kvs_reader_take(map, 1, &more), 0);
	ck_assert_ptr_eq(more, actors[33].reader);
	ck_assert_uint_eq(atomic_load(&more->counters[KVS_COUNT_hits]), 1); /* counts outlast who counted */
}
END_TEST

START_TEST(F1_wild_words_of_the_head_do_not_lead_out_of_the_segment)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor actor = unit_actor(map, 0);
	uint32_t block;

	atomic_store(&map->head->readers_top, UINT32_MAX);
	atomic_store(&map->head->free_hand, UINT64_MAX);
	atomic_store(&map->head->evict_hand, UINT64_MAX);
	atomic_store(&map->head->ticks, UINT64_MAX);
	atomic_store(&map->head->idle, INT64_MIN);
	atomic_store(&map->hints[0], UINT64_MAX);
	for (unsigned i = 0; i < 64; i++)
		ck_rc(kvs_alloc(&actor, &block), 0);
	ck_assert_int_eq(kvs_alloc(&actor, &block), -ENOSPC);
}
END_TEST

START_TEST(F1_a_wild_number_of_readers_is_not_walked_to)
{
	struct kvs_map *map = unit_memory(64);
	struct kvs_actor actor = unit_actor(map, 0);

	/* Behind the readers all is zero, to the guard. */
	atomic_store(&map->head->readers_top, UINT32_MAX);
	ck_assert(kvs_epoch_advance(&actor));
	ck_assert(kvs_epoch_quiet(&actor));
}
END_TEST

START_TEST(lost_hints_are_mended_by_the_search)
{
	struct kvs_map *map = unit_memory(200);
	struct kvs_actor actor = unit_actor(map, 0);
	uint32_t block;
	uint64_t word;

	/* No hint is set in fresh memory, and no block counts as idle; yet all 200 are free. */
	for (unsigned i = 0; i < 200; i++)
		ck_rc(kvs_alloc(&actor, &block), 0);
	ck_assert_int_eq(kvs_alloc(&actor, &block), -ENOSPC);
	word = atomic_load(&kvs_block(actor.map, 123)->word);
	atomic_store(&kvs_block(actor.map, 123)->word, kvs_word_next(word, KVS_FREE, 0));
	kvs_alloc_idle(actor.map, 123);
	ck_rc(kvs_alloc(&actor, &block), 0);
	ck_assert_uint_eq(block, 123);
}
END_TEST

START_TEST(membarrier_mode_registers_and_works_between_processes)
{
	kvshm_store *store = unit_store(64);
	kvshm_store *other = unit_attach();
	struct kvs_actor looker = unit_actor_of(store), reader = unit_actor_of(other);

	ck_assert_uint_eq(store->map.g.fence, 0);
	kvs_enter(&reader);
	ck_assert(kvs_epoch_advance(&looker));
	ck_assert(!kvs_epoch_advance(&looker));
	kvs_leave(&reader);
	ck_assert(kvs_epoch_advance(&looker));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		the_epoch_advances_when_nobody_reads,
		a_reader_of_the_present_epoch_lets_it_advance_once_one_of_an_earlier_stalls_it,
		every_one_of_many_readers_can_stall_the_epoch,
		a_quiet_look_sees_every_reader_whatever_its_epoch,
		B1_a_block_in_limbo_is_not_reused_before_three_advances,
		no_room_for_want_of_a_grace_period_is_counted_apart,
		reader_slots_end_and_come_back,
		F1_wild_words_of_the_head_do_not_lead_out_of_the_segment,
		F1_a_wild_number_of_readers_is_not_walked_to,
		lost_hints_are_mended_by_the_search,
		membarrier_mode_registers_and_works_between_processes,
	};

	return unit_run("epoch", tests, sizeof(tests) / sizeof(tests[0]));
}
