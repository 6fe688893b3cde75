/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * evict: which blocks make room, in which order, and which never do (R21). The order is looked up in the segment, since
 * asking for a key uses it.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "evict.h"

#define BLOCKS 64

/* Is that hold's life still readable? */
static bool there(const kvshm_store *store, const struct kvshm_handle *was)
{
	return atomic_load(&kvs_block(&store->map, was->block)->life) == was->life &&
	       unit_state(store, was->block) == KVS_READY;
}

/* Fills count keys as one sequence, and holds them all. */
static void fill_sequence(kvshm_store *store, uint64_t first, uint32_t count, struct kvshm_handle *holds)
{
	for (uint32_t i = 0; i < count; i++)
		holds[i] = unit_fill(store, first + i, i);
}

static void release_all(kvshm_store *store, const struct kvshm_handle *holds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct kvshm_handle ref = holds[i];

		ck_rc(kvshm_release(store, &ref), 0);
	}
}

START_TEST(R21_the_suffix_of_a_sequence_goes_before_its_prefix)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle sequence[BLOCKS];

	fill_sequence(store, 0, BLOCKS, sequence);
	release_all(store, sequence, BLOCKS);
	for (uint32_t left = BLOCKS; left-- > 0;) {
		unit_put(store, 1000 + left);
		for (uint32_t i = 0; i < BLOCKS; i++)
			ck_assert_msg(there(store, &sequence[i]) == (i < left),
				      "%u of the sequence should be left, %u is %s", left, i,
				      there(store, &sequence[i]) ? "there" : "gone");
	}
}
END_TEST

START_TEST(R21_the_prefix_goes_last_whatever_the_order_of_release)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle sequence[BLOCKS];

	fill_sequence(store, 0, BLOCKS, sequence);
	for (uint32_t i = 0; i < BLOCKS; i += 2)
		release_all(store, &sequence[i], 1);
	for (uint32_t i = BLOCKS; i-- > 0;)
		if (i % 2)
			release_all(store, &sequence[i], 1);
	for (uint32_t left = BLOCKS; left-- > 0;) {
		unit_put(store, 1000 + left);
		ck_assert(!there(store, &sequence[left]));
		if (left)
			ck_assert(there(store, &sequence[0]));
	}
}
END_TEST

START_TEST(R21_what_was_used_longest_ago_goes_first)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle old[BLOCKS / 2], young[BLOCKS / 2];

	fill_sequence(store, 0, BLOCKS / 2, old);
	fill_sequence(store, 100, BLOCKS / 2, young);
	release_all(store, young, BLOCKS / 2);
	release_all(store, old, BLOCKS / 2);
	unit_put(store, 1000); /* a fill is a generation here: the next uses are later */
	for (uint32_t i = 0; i < BLOCKS / 2 - 1; i++)
		ck_assert(
			unit_has(store, i)); /* used now: the prefix of the older sequence, which is the younger use */
	for (uint32_t n = 0; n < BLOCKS / 2 - 1; n++) {
		unit_put(store, 2000 + n);
		for (uint32_t i = 0; i < BLOCKS / 2 - 1; i++)
			ck_assert_msg(there(store, &old[i]), "key %u went at the %u. fill", i, n);
	}
	for (uint32_t i = 0; i < BLOCKS / 2; i++)
		ck_assert_msg(!there(store, &young[i]) || i == 0, "key %u", 100 + i);
}
END_TEST

START_TEST(R21_what_was_touched_goes_after_what_was_not)
{
	kvshm_store *store = unit_store(BLOCKS);
	struct kvshm_handle was[BLOCKS];
	uint8_t key[UNIT_KEY];

	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct kvshm_handle ref = was[i] = unit_fill(store, i, 0);

		ck_rc(kvshm_release(store, &ref), 0);
	}
	for (uint64_t i = 0; i < BLOCKS; i += 2) { /* the older ones among them */
		unit_key(i, key);
		ck_rc(kvshm_touch(store, key, sizeof(key)), 0);
		ck_assert_uint_eq(unit_refs(store, &was[i]), 0); /* without holding it */
	}
	for (uint32_t i = 0; i < BLOCKS / 2 - 1; i++) /* the youngest was released in the generation of the touches */
		unit_put(store, 1000 + i);
	for (uint32_t i = 0; i < BLOCKS - 1; i++)
		ck_assert_msg(there(store, &was[i]) == (i % 2 == 0), "key %u", i);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_touches), BLOCKS / 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_hits), 0);
}
END_TEST

START_TEST(touch_of_what_is_not_ready_says_so)
{
	kvshm_store *store = unit_store(BLOCKS);
	uint8_t key[UNIT_KEY];
	struct kvshm_handle fill = unit_begin(store, 1), ref;

	unit_key(1, key);
	ck_rc(kvshm_touch(store, key, sizeof(key)), -EAGAIN);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_touch(store, key, sizeof(key)), 0);
	ck_rc(unit_remove(store, 1), 0); /* it is held, and out of sight */
	ck_rc(kvshm_touch(store, key, sizeof(key)), -ENOENT);
	ref = unit_begin(store, 1); /* the old block and the new fill */
	ck_rc(kvshm_touch(store, key, sizeof(key)), -EAGAIN);
	ck_rc(kvshm_publish(store, &ref, NULL), 0);
	ck_rc(kvshm_touch(store, key, sizeof(key)), 0);
	ck_rc(kvshm_touch(store, NULL, 32), -EINVAL);
	ck_rc(kvshm_touch(store, key, 0), -EINVAL);
	ck_rc(kvshm_touch(store, key, 65), -EINVAL);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_touches), 2);
}
END_TEST

START_TEST(R21_what_is_held_or_pinned_is_never_evicted)
{
	kvshm_store *store = unit_store(BLOCKS);
	kvshm_store *other = unit_attach();
	struct kvshm_handle refs[20], pins[20], pin;

	for (uint32_t i = 0; i < 20; i++) {
		refs[i] = unit_fill(i % 2 ? store : other, i, 1000);
		pins[i] = unit_fill(store, 100 + i, 1000);
		ck_rc(kvshm_pin(store, &pins[i], &pin), 0);
		ck_rc(kvshm_release(store, &pins[i]), 0);
		pins[i] = pin;
	}
	for (uint64_t n = 0; n < 1000; n++)
		unit_put(store, 1000 + n);
	for (uint32_t i = 0; i < 20; i++) {
		unit_verify(i % 2 ? store : other, &refs[i], i);
		unit_verify(store, &pins[i], 100 + i);
		ck_assert(unit_has(store, i));
		ck_assert(unit_has(store, 100 + i));
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 1000 - (BLOCKS - 40));
}
END_TEST

START_TEST(R21_a_drop_store_short_of_room_evicts_nothing_that_is_held)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	struct kvshm_handle holds[BLOCKS];
	enum kvshm_outcome outcome;
	struct kvshm_handle more;
	kvshm_store *store;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	fill_sequence(store, 0, BLOCKS, holds);
	ck_rc(unit_ask(store, 1000, &outcome, &more), -ENOSPC);
	for (uint32_t i = 0; i < BLOCKS; i++)
		unit_verify(store, &holds[i], i);
	release_all(store, &holds[7], 1);
	unit_put(store, 1000);
}
END_TEST

START_TEST(a_store_whose_keys_fit_evicts_none)
{
	struct kvshm_create_options options = unit_options(5000);
	kvshm_store *store;

	options.block_size = 512;
	options.size = UINT64_C(5000) * 512;
	store = unit_make(&options);
	for (int round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 5000; i++)
			if (round == 0)
				unit_put(store, i);
			else
				ck_assert(unit_has(store, i));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 0);
}
END_TEST

/* What a block of the next test is like; the order of kvs_evict() is by age, then depth, then number. */
struct one {
	uint32_t number, age, depth;
};

static int compare(const void *left, const void *right)
{
	const struct one *a = left, *b = right;

	if (a->age != b->age)
		return a->age > b->age ? -1 : 1;
	if (a->depth != b->depth)
		return a->depth > b->depth ? -1 : 1;
	return a->number < b->number ? -1 : 1;
}

/* Blocks that are READY and linked in nothing, with stamps and depths by chance. */
static void make_ready(struct kvs_map *map, struct one *all, unsigned *seed)
{
	atomic_store(&map->head->generation, 10); /* stamps wrap around below it */
	for (uint32_t i = 0; i < map->g.blocks; i++) {
		struct kvs_block *block = kvs_block(map, i);

		all[i] = (struct one){
			.number = i, .age = (unsigned)rand_r(seed) % 100, .depth = (unsigned)rand_r(seed) % 4};
		block->key_length = 32;
		atomic_store(&block->word, kvs_word_next(0, KVS_READY, 0));
		atomic_store(&block->stamp, (uint8_t)(10 - all[i].age));
		atomic_store(&map->infos[i].depth, all[i].depth);
	}
}

START_TEST(R21_the_oldest_go_and_of_equally_old_ones_the_deepest)
{
	unsigned seed = (unsigned)time(NULL), first = seed;
	struct kvs_map *map = unit_memory(1000);
	struct kvs_actor actor = unit_actor(map, 0);
	static struct one all[1000];

	printf("# seed %u\n", first);
	make_ready(map, all, &seed);
	qsort(all, 1000, sizeof(all[0]), compare);
	for (uint32_t gone = 0; gone + 100 <= 1000; gone += 100) {
		ck_assert_uint_eq(kvs_evict(&actor, 100), 100);
		for (uint32_t i = 0; i < 1000; i++) {
			enum kvs_state state = kvs_word_state(atomic_load(&kvs_block(map, all[i].number)->word));

			ck_assert_msg(state == (i < gone + 100 ? KVS_LIMBO : KVS_READY), "seed %u: %u. of age %u",
				      first, i, all[i].age);
		}
	}
}
END_TEST

START_TEST(the_eviction_hand_heals_what_deaths_have_left)
{
	struct kvs_map *map = unit_memory(BLOCKS);
	struct kvs_actor actor = unit_actor(map, 0);
	static const enum kvs_state left[] = {KVS_DOOMED, KVS_REM_DOOMED, KVS_REM_READY};

	for (uint32_t i = 0; i < 3; i++) {
		kvs_block(map, i)->key_length = 32;
		atomic_store(&kvs_block(map, i)->word, kvs_word_next(0, left[i], 3)); /* of a client that is gone */
	}
	ck_assert_uint_eq(kvs_evict(&actor, BLOCKS), 3);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(kvs_word_state(atomic_load(&kvs_block(map, i)->word)), KVS_LIMBO);
	ck_assert_uint_eq(atomic_load(&map->hints[0]), UINT64_MAX); /* of the free ones too */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R21_the_suffix_of_a_sequence_goes_before_its_prefix,
		R21_the_prefix_goes_last_whatever_the_order_of_release,
		R21_what_was_used_longest_ago_goes_first,
		R21_what_was_touched_goes_after_what_was_not,
		touch_of_what_is_not_ready_says_so,
		R21_what_is_held_or_pinned_is_never_evicted,
		R21_a_drop_store_short_of_room_evicts_nothing_that_is_held,
		a_store_whose_keys_fit_evicts_none,
		R21_the_oldest_go_and_of_equally_old_ones_the_deepest,
		the_eviction_hand_heals_what_deaths_have_left,
	};

	return unit_run("evict", tests, sizeof(tests) / sizeof(tests[0]));
}
