/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * clear_link: a store is cleared, or the like, between two steps of a fill's beginning: the block has its key and is
 * FILLING, and is not linked yet. The linker puts this file's function in front of the one that links, so that the
 * other client's step comes exactly there.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>

#include "index.h"
#include "table.h"

bool __real_kvs_index_link(const struct kvs_map *map, uint32_t number, uint64_t hash, uint32_t head);
bool __wrap_kvs_index_link(const struct kvs_map *map, uint32_t number, uint64_t hash, uint32_t head);

static kvshm_store *clears_before_the_link;

bool __wrap_kvs_index_link(const struct kvs_map *map, uint32_t number, uint64_t hash, uint32_t head)
{
	kvshm_store *other = clears_before_the_link;

	clears_before_the_link = NULL;
	if (other)
		ck_rc(kvshm_clear(other), 0);
	return __real_kvs_index_link(map, number, hash, head);
}

static bool is_linked(const struct kvs_map *map, uint64_t hash, uint32_t number)
{
	uint32_t link = atomic_load(kvs_index_bucket(map, hash));

	while (link & ~KVS_LINK_MARK && kvs_link_block(link) != number)
		link = atomic_load(&kvs_block(map, kvs_link_block(link))->next);
	return link & ~KVS_LINK_MARK;
}

START_TEST(R28_a_block_doomed_before_its_link_is_in_no_chain_once_its_filler_goes_on)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvs_found mine, found;
	uint8_t key[UNIT_KEY];
	uint64_t hash;

	unit_key(1, key);
	hash = kvs_index_hash(&store->map, key, sizeof(key));
	ck_rc(kvs_table_alloc(&actor, false, &mine), 0);
	clears_before_the_link = other;
	ck_assert_int_eq(kvs_table_link(&actor, key, sizeof(key), hash, &mine, &found), KVS_GONE);
	ck_assert_int_eq(unit_state(store, mine.block), KVS_DOOMED);
	/* Else a remover that looked for the link before it was there would let the block go with it. */
	ck_assert(!is_linked(&store->map, hash, mine.block));
	ck_rc(kvs_hold_release(&actor, mine.block, mine.life, KVS_ENTRY_REF, KVS_ENTRY_REFS), 0);
}
END_TEST

START_TEST(R28_a_fill_cleared_before_its_link_is_canceled_and_the_key_can_be_filled)
{
	kvshm_store *store = unit_store(8), *other = unit_attach();
	struct kvshm_handle fill;

	clears_before_the_link = other;
	fill = unit_begin(store, 1);
	unit_put(other, 1);
	ck_rc(kvshm_publish(store, &fill, NULL), -ECANCELED);
	ck_assert(unit_has(store, 1));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R28_a_block_doomed_before_its_link_is_in_no_chain_once_its_filler_goes_on,
		R28_a_fill_cleared_before_its_link_is_canceled_and_the_key_can_be_filled,
	};

	return unit_run("clear_link", tests, sizeof(tests) / sizeof(tests[0]));
}
