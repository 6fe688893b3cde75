/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_plants_index.c: faults for the check to find, in the counts and in the index. See check_plants.c.
 */
#include "config.h"

#include "check_scene.h"

#include <string.h>

#include "client.h"
#include "epoch.h"
#include "hold.h"
#include "index.h"
#include "part.h"

/* ---- Plants: counts -------------------------------------------------------------------------------------- */

static void hold_without_a_bit(void)
{
	atomic_store(&block(scene.held)->holders, kvs_holder_bit(1));
	expect("block %u is held by client 0, which its bitmap does not name", scene.held);
}

static void bit_of_no_client(void)
{
	atomic_fetch_or(&block(scene.ready)->holders, UINT64_C(1) << scene.map.g.clients);
	expect("block %u (READY) has a bitmap that names clients that there can't be", scene.ready);
}

static void hold_of_a_free_block(void)
{
	put_counts(1, scene.unused, KVS_ENTRY_REF);
	expect("block %u is FREE, and held by client 1 nonetheless", scene.unused);
}

static void hold_of_a_block_in_grace(void)
{
	put_counts(1, scene.limbo, KVS_ENTRY_PIN);
	expect("block %u is LIMBO, and held by client 1 nonetheless", scene.limbo);
}

static void hold_of_anothers_block(void)
{
	put_counts(1, scene.owned, KVS_ENTRY_REF);
	expect("block %u is OWNED, and held by client 1 nonetheless", scene.owned);
}

static void more_writers_than_refs(void)
{
	put_counts(1, scene.shared, KVS_ENTRY_REF + 2 * KVS_ENTRY_WRITER);
	expect("block %u has more writers than refs of client 1", scene.shared);
}

static void more_writers_than_refs_and_a_claim(void)
{
	put_counts(1, scene.held, KVS_ENTRY_REF + 3 * KVS_ENTRY_WRITER);
	expect("block %u has more writers than refs of client 1", scene.held);
}

static void counts_for_a_life_to_come(void)
{
	atomic_store(entry(1, scene.ready), (life(scene.ready) + 1) << 32 | KVS_ENTRY_REF);
	expect("block %u has counts of client 1 for a life that has not begun", scene.ready);
}

static void no_counts_for_a_life_to_come(void)
{
	atomic_store(entry(0, scene.limbo), (life(scene.limbo) + 1) << 32);
	expect("block %u has counts of client 0 for a life that has not begun", scene.limbo);
}

static void counts_in_an_idle_row(void)
{
	put_counts(0, scene.ready, KVS_ENTRY_REF);
	expect("block %u has counts in the row of slot 0, which is nobody's", scene.ready);
}

static void counts_of_another_life_in_an_idle_row(void)
{
	atomic_store(entry(0, scene.ready), (life(scene.ready) - 1) << 32 | KVS_ENTRY_WRITER);
	expect("block %u has counts in the row of slot 0, which is nobody's", scene.ready);
}

static void counts_in_an_empty_row(void)
{
	ck_assert_uint_eq(atomic_load(&scene.map.clients[4].word), KVS_SLOT_EMPTY);
	put_counts(4, scene.ready, KVS_ENTRY_PIN);
	expect("block %u has counts in the row of slot 4, which is nobody's", scene.ready);
}

/* ---- Plants: the index ----------------------------------------------------------------------------------- */

static void link_to_no_block(void)
{
	atomic_store(&block(scene.ready)->next, kvs_link_to(scene.map.g.blocks));
	expect("bucket %u leads to block %u, which does not exist", bucket_of(scene.ready), scene.map.g.blocks);
}

static void bucket_to_no_block(void)
{
	uint32_t empty = empty_bucket();

	atomic_store(&scene.map.buckets[empty], kvs_link_to(1U << 29));
	expect("bucket %u leads to block %u, which does not exist", empty, 1U << 29);
}

static void link_to_itself(void)
{
	atomic_store(&block(scene.ready)->next, kvs_link_to(scene.ready));
	expect("block %u (READY) is linked twice, lastly in bucket %u", scene.ready, bucket_of(scene.ready));
}

static void chains_that_meet(void)
{
	uint32_t one = bucket_of(scene.ready) < bucket_of(scene.second) ? scene.ready : scene.second,
		 other = scene.ready + scene.second - one;

	atomic_store(&block(other)->next, kvs_link_to(one));
	expect("block %u (READY) is linked twice, lastly in bucket %u", one, bucket_of(other));
}

static void block_in_anothers_bucket(void)
{
	uint32_t empty = empty_bucket();

	cut(scene.ready);
	atomic_store(&scene.map.buckets[empty], kvs_link_to(scene.ready));
	expect("block %u (READY) is linked in bucket %u, which is not its key's", scene.ready, empty);
}

static void byte_of_a_key(void)
{
	expect("block %u (READY) is linked in bucket %u, which is not its key's", scene.ready, bucket_of(scene.ready));
	spoil(scene.ready, &block(scene.ready)->key[3]);
}

static void byte_of_a_keys_tail(void)
{
	expect("block %u (READY) is linked in bucket %u, which is not its key's", scene.tailed,
	       bucket_of(scene.tailed));
	spoil(scene.tailed, kvs_key_tail(&scene.map, scene.tailed) + 7);
}

static void linked_nonetheless(const char *state)
{
	expect("block %u is %s, and linked in bucket %u nonetheless", scene.ready, state, bucket_of(scene.ready));
}

static void free_and_linked(void)
{
	put_state(scene.ready, KVS_FREE, 0);
	linked_nonetheless("FREE");
}

static void grace_and_linked(void)
{
	put_state(scene.ready, KVS_LIMBO, KVS_EPOCH_FIRST);
	linked_nonetheless("LIMBO");
}

static void owned_and_linked(void)
{
	put_state(scene.ready, KVS_OWNED, 1);
	linked_nonetheless("OWNED");
}

static void let_go_and_linked(void)
{
	put_state(scene.ready, KVS_REM_DOOMED, 1);
	expect("block %u is REMOVING from DOOMED by client 1, which is not at it", scene.ready);
	linked_nonetheless("REMOVING from DOOMED");
}

static void ready_and_marked(void)
{
	atomic_fetch_or(&block(scene.ready)->next, KVS_LINK_MARK);
	expect("block %u is READY, and its link is marked nonetheless", scene.ready);
}

static void filling_and_marked(void)
{
	atomic_fetch_or(&block(scene.filling)->next, KVS_LINK_MARK);
	expect("block %u is FILLING, and its link is marked nonetheless", scene.filling);
}

static void mark_on_a_bucket(void)
{
	atomic_fetch_or(&scene.map.buckets[bucket_of(scene.ready)], KVS_LINK_MARK);
	expect("bucket %u is marked", bucket_of(scene.ready));
}

static void mark_on_an_empty_bucket(void)
{
	uint32_t empty = empty_bucket();

	atomic_store(&scene.map.buckets[empty], KVS_LINK_MARK);
	expect("bucket %u is marked", empty);
}

static void doomed_and_linked(void)
{
	link_first(scene.doomed);
	expect("block %u is DOOMED, and nobody takes it out of bucket %u", scene.doomed, bucket_of(scene.doomed));
}

static void in_no_chain(uint32_t number, const char *state)
{
	cut(number);
	expect("block %u is %s, and in no chain: no lookup finds it", number, state);
}

static void ready_in_no_chain(void)
{
	in_no_chain(scene.ready, "READY");
}

static void removed_in_no_chain(void)
{
	put_state(scene.ready, KVS_REM_READY, 0);
	expect("block %u is REMOVING from READY by client 0, which is not at it", scene.ready);
	in_no_chain(scene.ready, "REMOVING from READY");
}

static void joined_fill_in_no_chain(void)
{
	in_no_chain(scene.shared, "FILLING");
}

static void published_fill_in_no_chain(void)
{
	atomic_store(&scene.map.infos[scene.shared].claimed, 0);
	atomic_store(&scene.map.infos[scene.shared].written, KVS_PART_FILLER);
	in_no_chain(scene.shared, "FILLING");
}

static void key_that_is_there_twice(void)
{
	memcpy(block(scene.limbo)->key, block(scene.ready)->key, UNIT_KEY);
	put_state(scene.limbo, KVS_READY, 0);
	link_first(scene.limbo);
	expect("block %u (READY) has the same key as block %u, and both can be found", scene.ready, scene.limbo);
}

static void long_key_that_is_there_twice(void)
{
	memcpy(block(scene.limbo)->key, block(scene.tailed)->key, KVS_KEY_HEAD);
	memcpy(kvs_key_tail(&scene.map, scene.limbo), kvs_key_tail(&scene.map, scene.tailed), 8);
	block(scene.limbo)->key_length = block(scene.tailed)->key_length;
	put_state(scene.limbo, KVS_READY, 0);
	link_first(scene.limbo);
	expect("block %u (READY) has the same key as block %u, and both can be found", scene.tailed, scene.limbo);
}

/* ---- All of them ----------------------------------------------------------------------------------------- */

const struct plant plants_of_index[] = {
	AT_REST(bits, bit_of_no_client),
	AT_REST(idle_row, counts_in_an_idle_row),
	AT_REST(idle_row, counts_of_another_life_in_an_idle_row),
	AT_REST(idle_row, counts_in_an_empty_row),
	AT_REST(chain_end, link_to_no_block),
	AT_REST(chain_end, bucket_to_no_block),
	AT_REST(chain_twice, link_to_itself),
	AT_REST(chain_twice, chains_that_meet),
	AT_REST(chain_bucket, block_in_anothers_bucket),
	AT_REST(chain_bucket, byte_of_a_key),
	AT_REST(chain_bucket, byte_of_a_keys_tail),
	AT_REST(chain_state, free_and_linked),
	AT_REST(chain_state, grace_and_linked),
	AT_REST(marked, ready_and_marked),
	AT_REST(bucket_marked, mark_on_a_bucket),
	AT_REST(bucket_marked, mark_on_an_empty_bucket),
	AT_REST(not_linked, ready_in_no_chain),
	AT_REST(key_twice, key_that_is_there_twice),
	AT_REST(key_twice, long_key_that_is_there_twice),
	AT_WORK(no_bit, hold_without_a_bit),
	AT_WORK(held_free, hold_of_a_free_block),
	AT_WORK(held_free, hold_of_a_block_in_grace),
	AT_WORK(held_free, hold_of_anothers_block),
	AT_WORK(writers, more_writers_than_refs),
	AT_WORK(writers, more_writers_than_refs_and_a_claim),
	AT_WORK(entry_ahead, counts_for_a_life_to_come),
	AT_WORK(entry_ahead, no_counts_for_a_life_to_come),
	AT_WORK(chain_state, owned_and_linked),
	AT_WORK(chain_state, let_go_and_linked),
	AT_WORK(marked, filling_and_marked),
	AT_WORK(still_linked, doomed_and_linked),
	AT_WORK(not_linked, removed_in_no_chain),
	AT_WORK(not_linked, joined_fill_in_no_chain),
	AT_WORK(not_linked, published_fill_in_no_chain),
};
const size_t plants_of_index_count = sizeof(plants_of_index) / sizeof(plants_of_index[0]);
