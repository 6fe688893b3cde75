/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * word: packing and unpacking of block words, row entries and index links.
 */
#include "config.h"

#include "fixture.h"

START_TEST(block_word_keeps_state_owner_and_step_apart)
{
	uint64_t word = 0;

	for (unsigned owner = 0; owner < KVS_OWNER_COUNT; owner += 5)
		for (int state = KVS_FREE; state < KVS_STATES; state++) {
			uint64_t next = kvs_word_next(word, (enum kvs_state)state, owner);

			ck_assert_int_eq(kvs_word_state(next), state);
			ck_assert_uint_eq(kvs_word_owner(next), owner);
			ck_assert_uint_eq((next << 12 >> 16), ((word << 12 >> 16) + 1));
			word = next;
		}
}
END_TEST

START_TEST(block_word_owner_is_an_epoch_modulo_its_field)
{
	uint64_t word = kvs_word_next(0, KVS_LIMBO, 3 * KVS_OWNER_COUNT + 7);

	ck_assert_uint_eq(kvs_word_owner(word), 7);
	ck_assert_int_eq(kvs_word_state(word), KVS_LIMBO);
}
END_TEST

START_TEST(block_word_step_wraps_into_nothing_else)
{
	uint64_t last = UINT64_C(0xfff) << 52 | ((UINT64_C(1) << 48) - 1) << 4 | KVS_READY;
	uint64_t next = kvs_word_next(last, KVS_DOOMED, 0);

	ck_assert_uint_eq(next, KVS_DOOMED); /* step 0, owner 0 */
}
END_TEST

START_TEST(block_word_changes_its_futex_half_at_every_step)
{
	uint64_t word = kvs_word_next(0, KVS_FILLING, 3);

	for (int i = 0; i < 1000; i++) {
		uint64_t next = kvs_word_next(word, KVS_FILLING, 3);

		ck_assert_uint_ne((uint32_t)next, (uint32_t)word);
		word = next;
	}
}
END_TEST

START_TEST(limbo_is_aged_from_three_epochs_on_by_difference_never_by_order)
{
	/* Around the wrap of the owner's field, and far from it. */
	for (uint64_t epoch = KVS_OWNER_COUNT - 4; epoch < KVS_OWNER_COUNT + 4; epoch++) {
		uint64_t word = kvs_word_next(0, KVS_LIMBO, epoch);

		ck_assert(!kvs_word_aged(word, epoch));
		ck_assert(!kvs_word_aged(word, epoch + 1));
		ck_assert(!kvs_word_aged(word, epoch + 2));
		ck_assert(kvs_word_aged(word, epoch + 3));
		ck_assert(kvs_word_aged(word, epoch + 1000));
		ck_assert(!kvs_word_aged(word, epoch + KVS_OWNER_COUNT)); /* later than needed, never earlier */
	}
}
END_TEST

START_TEST(row_entry_keeps_its_three_counts_apart)
{
	uint64_t life = UINT64_C(0x123456789), entry = life << 32;

	entry += KVS_ENTRY_REFS + KVS_ENTRY_PINS + KVS_ENTRY_WRITERS; /* all at their most */
	ck_assert_uint_eq(kvs_entry_life(entry), 0x23456789);
	ck_assert_uint_eq(kvs_entry_refs(kvs_entry_counts(entry, life)), 65535);
	ck_assert_uint_eq(kvs_entry_pins(kvs_entry_counts(entry, life)), 4095);
	entry -= KVS_ENTRY_PINS;
	ck_assert_uint_eq(kvs_entry_refs(kvs_entry_counts(entry, life)), 65535);
	ck_assert_uint_eq(kvs_entry_pins(kvs_entry_counts(entry, life)), 0);
	ck_assert_uint_eq(kvs_entry_counts(entry, life) & KVS_ENTRY_WRITERS, 15);
}
END_TEST

START_TEST(row_entry_of_another_life_counts_as_zero)
{
	uint64_t entry = UINT64_C(7) << 32 | KVS_ENTRY_REF;

	ck_assert_uint_eq(kvs_entry_counts(entry, 7), KVS_ENTRY_REF);
	ck_assert_uint_eq(kvs_entry_counts(entry, 6), 0);
	ck_assert_uint_eq(kvs_entry_counts(entry, 8), 0);
}
END_TEST

START_TEST(index_link_leads_to_its_block_and_the_end_to_none)
{
	const uint32_t blocks[] = {0, 1, 2, 63, 64, KVS_BLOCKS_MAX - 1};

	for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		uint32_t link = kvs_link_to(blocks[i]);

		ck_assert_uint_ne(link, KVS_LINK_END);
		ck_assert_uint_eq(link & KVS_LINK_MARK, 0);
		ck_assert_uint_eq(kvs_link_block(link), blocks[i]);
		ck_assert_uint_eq(kvs_link_block(link | KVS_LINK_MARK), blocks[i]);
	}
	ck_assert_uint_ge(kvs_link_block(KVS_LINK_END), KVS_BLOCKS_MAX);
}
END_TEST

START_TEST(a_life_carries_the_clear_count_and_goes_on_counting)
{
	ck_assert_uint_eq(kvs_life_next(0, 0), 1);
	ck_assert_uint_eq(kvs_life_next(7, 3 * KVS_CLEARS_ONE), 3 * KVS_CLEARS_ONE + 8);
	ck_assert_uint_eq(kvs_life_next(3 * KVS_CLEARS_ONE + 8, 4 * KVS_CLEARS_ONE), 4 * KVS_CLEARS_ONE + 9);
	ck_assert_uint_eq(kvs_life_next(7, KVS_CLEARS_ONE + 12345), KVS_CLEARS_ONE + 8); /* F1: a floor of nonsense */
	ck_assert_uint_eq(kvs_life_next(KVS_CLEARS_ONE - 1, 0), 0); /* the count turns, and stays out of the clears */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		block_word_keeps_state_owner_and_step_apart,
		block_word_owner_is_an_epoch_modulo_its_field,
		block_word_step_wraps_into_nothing_else,
		block_word_changes_its_futex_half_at_every_step,
		limbo_is_aged_from_three_epochs_on_by_difference_never_by_order,
		row_entry_keeps_its_three_counts_apart,
		row_entry_of_another_life_counts_as_zero,
		index_link_leads_to_its_block_and_the_end_to_none,
		a_life_carries_the_clear_count_and_goes_on_counting,
	};

	return unit_run("word", tests, sizeof(tests) / sizeof(tests[0]));
}
