/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fill: what is published, once and whole, and what is not (R05, R15, R20, A2).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "table.h"

static const struct kvshm_meta first = {.length = 1000, .depth = 7, .opaque = "the first filler's words"};
static const struct kvshm_meta second = {.length = 2000, .depth = 8, .opaque = "the second one's"};

static void has_meta(kvshm_store *store, const struct kvshm_handle *held, const struct kvshm_meta *wanted)
{
	struct kvshm_meta meta;

	ck_rc(kvshm_get_meta(store, held, &meta), 0);
	ck_assert_uint_eq(meta.length, wanted->length);
	ck_assert_uint_eq(meta.depth, wanted->depth);
	ck_assert_mem_eq(meta.opaque, wanted->opaque, sizeof(meta.opaque));
}

START_TEST(what_is_published_is_what_others_find)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref;

	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, &first), 0);
	ck_assert_uint_eq(fill.kind, KVSHM_REF); /* the fill's hold has become the filler's ref */
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
	ck_rc(unit_get(other, 1, &ref), 0);
	unit_verify(other, &ref, 1);
	has_meta(other, &ref, &first);
}
END_TEST

START_TEST(no_meta_means_the_whole_block)
{
	const struct kvshm_meta whole = {.length = 4096};
	kvshm_store *store = unit_store(1);
	struct kvshm_handle fill = unit_begin(store, 1);

	ck_rc(kvshm_publish(store, &fill, &first), 0);
	ck_rc(kvshm_release(store, &fill), 0);
	fill = unit_begin(store, 2); /* the same block: nothing of the first key's is left */
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	has_meta(store, &fill, &whole);
}
END_TEST

START_TEST(R15_a_block_that_is_not_full_keeps_its_length)
{
	static const uint64_t lengths[] = {0, 1, 4095, 4096};
	kvshm_store *store = unit_store(16), *other = unit_attach();

	for (uint64_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct kvshm_meta meta = {.length = lengths[i], .depth = UINT32_MAX};
		struct kvshm_handle fill = unit_begin(store, i), ref;

		ck_rc(kvshm_publish(store, &fill, &meta), 0);
		ck_rc(unit_get(other, i, &ref), 0);
		has_meta(other, &ref, &meta);
	}
}
END_TEST

START_TEST(R15_a_length_of_more_than_a_block_is_EINVAL_and_the_fill_goes_on)
{
	struct kvshm_meta meta = {.length = 4097};
	kvshm_store *store = unit_store(16);
	struct kvshm_handle fill = unit_begin(store, 1), ref;

	ck_rc(kvshm_publish(store, &fill, &meta), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "4097"));
	ck_assert_uint_eq(fill.kind, KVSHM_WRITER);
	ck_rc(unit_get(store, 1, &ref), -EAGAIN);
	meta.length = 4096;
	ck_rc(kvshm_publish(store, &fill, &meta), 0);
	has_meta(store, &fill, &meta);
}
END_TEST

START_TEST(R05_a_key_published_twice_keeps_the_first)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill, ref;

	unit_write(store, &fill, 1);
	ck_rc(kvshm_publish(store, &fill, &first), 0);
	ck_rc(unit_get(other, 1, &ref), 0);
	ck_rc(kvshm_publish(store, &fill, &second), -EBADF);
	ck_rc(kvshm_publish(store, &copy, &second), -EBADF); /* as a thread that does not know of it would */
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	has_meta(other, &ref, &first);
	unit_verify(other, &ref, 1);
	ck_assert_uint_eq(unit_refs(store, &ref), 2);
}
END_TEST

START_TEST(R05_the_second_fillers_block_goes_back)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(other);
	struct kvshm_handle fill = unit_begin(store, 1);
	struct kvs_found found;
	uint8_t key[UNIT_KEY];
	uint64_t hash;

	/* It looked the key up before the first filler had linked it, and begins its own fill now. */
	unit_key(1, key);
	hash = kvs_index_hash(&other->map, key, UNIT_KEY);
	ck_assert_int_eq(kvs_table_fill(&actor, key, UNIT_KEY, hash, false, &found), KVS_TAKEN_FILLING);
	ck_assert_uint_eq(found.block, fill.block);
	ck_assert_uint_eq(found.life, fill.life);
	ck_assert_uint_eq(unit_refs(store, &fill), 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fill_races), 1);
	ck_assert_int_eq(unit_state(store, !fill.block), KVS_LIMBO);
	unit_put(store, 2); /* in the block that went back */
	ck_rc(kvshm_publish(store, &fill, &first), 0);
	ck_assert_int_eq(kvs_table_fill(&actor, key, UNIT_KEY, hash, false, &found), KVS_TAKEN);
	ck_assert_uint_eq(found.block, fill.block);
	has_meta(store, &fill, &first);
}
END_TEST

START_TEST(a_client_that_does_not_fill_cannot_publish_or_say_what_the_block_is)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), forged;
	enum kvshm_outcome outcome;

	ck_rc(kvshm_publish(store, &fill, &first), 0);
	ck_rc(unit_ask(other, 1, &outcome, &forged), 0);
	forged.kind = KVSHM_WRITER;
	ck_rc(kvshm_publish(other, &forged, &second), -EBADF);
	ck_rc(kvshm_give_up(other, &forged), -EBADF);
	has_meta(store, &fill, &first);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(R20_a_fill_under_way_is_no_hit)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), ref;
	struct kvshm_meta meta;

	unit_write(store, &fill, 1); /* all bytes are there, but nobody has said so */
	ck_rc(unit_get(store, 1, &ref), -EAGAIN);
	ck_rc(unit_get(other, 1, &ref), -EAGAIN);
	ck_rc(kvshm_get_meta(store, &fill, &meta), -EAGAIN);
	ck_assert_uint_eq(unit_refs(store, &fill), 1); /* who was told so holds nothing */
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(unit_get(other, 1, &ref), 0);
}
END_TEST

START_TEST(R20_a_fill_given_up_is_no_hit_and_can_be_begun_anew)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill, again;

	unit_write(store, &fill, 99);
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_assert_uint_eq(fill.kind, KVSHM_NONE);
	ck_rc(kvshm_publish(store, &copy, NULL), -EBADF); /* too late */
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	ck_assert(!unit_has(other, 1));
	again = unit_begin(other, 1);
	ck_assert(again.block != copy.block || again.life != copy.life);
	unit_write(other, &again, 1);
	ck_rc(kvshm_publish(other, &again, NULL), 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

static void fill_half(void *arg)
{
	kvshm_store *store = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1);
	void *address;

	(void)arg;
	ck_rc(kvshm_address(store, &fill, 0, &address), 0);
	memset(address, 0xee, 2048);
	unit_wait_for_death();
}

START_TEST(R20_a_fill_whose_filler_died_is_never_a_hit)
{
	kvshm_store *store = unit_store(16);
	struct child child;
	struct kvshm_handle ref;

	unit_child(&child, fill_half, NULL);
	unit_await(&child);
	ck_rc(unit_get(store, 1, &ref), -EAGAIN);
	unit_kill(&child);
	ck_rc(unit_get(store, 1, &ref), -EAGAIN);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_rc(unit_get(store, 1, &ref), -ENOENT);
	unit_put(store, 1);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(R20_a_key_removed_while_it_is_filled_is_no_hit_and_publish_says_so)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill;

	ck_rc(unit_remove(other, 1), 0);
	ck_rc(kvshm_publish(store, &fill, &first), -ECANCELED);
	ck_assert_uint_eq(fill.kind, KVSHM_NONE);
	ck_assert_uint_eq(unit_refs(store, &copy), 0); /* the hold has ended */
	ck_rc(kvshm_release(store, &copy), -EBUSY);    /* a fill's handle */
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	ck_assert(!unit_has(store, 1));
	ck_assert_int_eq(unit_state(store, copy.block), KVS_LIMBO);
}
END_TEST

START_TEST(a_fill_whose_key_was_removed_can_be_given_up)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle fill = unit_begin(store, 1), copy = fill;

	ck_rc(unit_remove(store, 1), 0);
	ck_rc(kvshm_give_up(store, &fill), 0);
	ck_assert_uint_eq(unit_refs(store, &copy), 0);
	ck_assert_int_eq(unit_state(store, copy.block), KVS_LIMBO);
}
END_TEST

START_TEST(fills_that_a_client_leaves_at_detach_are_given_up)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(other, 1), ref;
	enum kvshm_outcome outcome;

	ck_rc(unit_ask(store, 1, &outcome, &ref), 0);
	ck_assert_int_eq(outcome, KVSHM_PENDING);
	unit_detach(other);
	ck_rc(kvshm_wait(store, &ref, UINT64_MAX), -ECANCELED);
	unit_put(store, 1);
	ck_assert_uint_eq(unit_refs(store, &fill), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_is_published_is_what_others_find,
		no_meta_means_the_whole_block,
		R15_a_block_that_is_not_full_keeps_its_length,
		R15_a_length_of_more_than_a_block_is_EINVAL_and_the_fill_goes_on,
		R05_a_key_published_twice_keeps_the_first,
		R05_the_second_fillers_block_goes_back,
		a_client_that_does_not_fill_cannot_publish_or_say_what_the_block_is,
		R20_a_fill_under_way_is_no_hit,
		R20_a_fill_given_up_is_no_hit_and_can_be_begun_anew,
		R20_a_fill_whose_filler_died_is_never_a_hit,
		R20_a_key_removed_while_it_is_filled_is_no_hit_and_publish_says_so,
		a_fill_whose_key_was_removed_can_be_given_up,
		fills_that_a_client_leaves_at_detach_are_given_up,
	};

	return unit_run("fill", tests, sizeof(tests) / sizeof(tests[0]));
}
