/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owned: blocks whose key comes later: nobody else reaches them, publish-as ends them in one of three ways, and
 * whatever else ends them gives them back.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "part.h"
#include "table.h"

/* The client has nothing on the block of a handle that has ended, and a copy of it is refused everywhere. */
static void is_void(kvshm_store *store, struct kvshm_handle copy, uint64_t number)
{
	enum kvshm_published published;
	void *address;

	ck_rc(unit_publish_as(store, &copy, number, &published), -EBADF);
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	ck_rc(kvshm_publish(store, &copy, NULL), -EBADF);
	ck_rc(kvshm_address(store, &copy, 0, &address), -EBADF);
	ck_assert_uint_eq(copy.kind, KVSHM_OWNED); /* a handle that is refused stays as it is */
}

START_TEST(A2_an_owned_block_is_found_whole_once_it_has_a_key)
{
	struct kvshm_create_options options = unit_options(16);
	struct kvshm_meta meta = {.length = 77, .depth = 5, .opaque = "the engine's"}, seen;
	enum kvshm_published published;
	struct kvshm_handle owned, ref;
	uint8_t key[UNIT_KEY];
	kvshm_store *store, *other;

	options.planes = 3;
	store = unit_make(&options);
	other = unit_attach();
	owned = unit_own(store, 1);
	unit_key(1, key);
	ck_rc(unit_get(other, 1, &ref), -ENOENT);
	ck_rc(kvshm_publish_as(store, &owned, key, sizeof(key), &meta, &published), 0);
	ck_assert_int_eq(published, KVSHM_PUBLISHED);
	ck_assert_uint_eq(owned.kind, KVSHM_REF);
	ck_rc(unit_get(other, 1, &ref), 0);
	ck_assert_uint_eq(ref.block, owned.block);
	ck_assert_uint_eq(ref.life, owned.life);
	unit_verify(other, &ref, 1);
	ck_rc(kvshm_get_meta(other, &ref, &seen), 0);
	ck_assert(seen.length == 77 && seen.depth == 5);
	ck_assert_mem_eq(seen.opaque, meta.opaque, sizeof(meta.opaque));
	ck_assert_uint_eq(unit_refs(store, &owned), 2);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 1);
	ck_rc(kvshm_release(store, &owned), 0);
}
END_TEST

START_TEST(an_owned_block_published_without_meta_is_a_whole_block)
{
	static const uint8_t zeros[KVSHM_OPAQUE_SIZE];
	kvshm_store *store = unit_store(1);
	struct kvshm_meta meta = {.length = 7, .depth = 9, .opaque = "x"};
	struct kvshm_handle block = unit_begin(store, 1);
	enum kvshm_published published;

	ck_rc(kvshm_publish(store, &block, &meta), 0); /* the block had another meta in its life before */
	ck_rc(kvshm_release(store, &block), 0);
	block = unit_own(store, 2);
	ck_assert_uint_eq(atomic_load(&kvs_block(&store->map, block.block)->key_length), 0); /* nor has it their key */
	ck_assert_uint_eq(store->map.infos[block.block].length, 0);
	ck_rc(unit_publish_as(store, &block, 2, &published), 0);
	ck_rc(kvshm_get_meta(store, &block, &meta), 0);
	ck_assert_uint_eq(meta.length, 4096);
	ck_assert_uint_eq(meta.depth, 0);
	ck_assert_mem_eq(meta.opaque, zeros, sizeof(zeros));
}
END_TEST

START_TEST(R05_publish_as_of_a_key_that_is_there_holds_the_first_and_gives_back_the_second)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle first = unit_fill(other, 1, 3), owned = unit_own(store, 2), copy = owned;
	enum kvshm_published published;
	struct kvshm_meta meta;

	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE);
	ck_assert_uint_eq(owned.kind, KVSHM_REF);
	ck_assert_uint_eq(owned.block, first.block);
	unit_verify(store, &owned, 1); /* the first one's bytes, not ours */
	ck_rc(kvshm_get_meta(store, &owned, &meta), 0);
	ck_assert_uint_eq(meta.depth, 3);
	ck_assert_uint_eq(unit_refs(store, &first), 2);
	is_void(store, copy, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_hits), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fill_races), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 0);
	copy = unit_own(store, 3); /* its room is there again */
	ck_rc(kvshm_give_up(store, &copy), 0);
}
END_TEST

START_TEST(R07_publish_as_of_a_key_that_is_being_filled_is_pending_on_that_fill)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle fill = unit_begin(other, 1), owned = unit_own(store, 2);
	enum kvshm_published published;

	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE_PENDING);
	ck_assert_uint_eq(owned.kind, KVSHM_REF);
	ck_assert_uint_eq(owned.block, fill.block);
	ck_rc(kvshm_wait(store, &owned, 0), -ETIMEDOUT);
	unit_write(other, &fill, 1);
	ck_rc(kvshm_publish(other, &fill, NULL), 0);
	ck_rc(kvshm_wait(store, &owned, UINT64_MAX), 0);
	unit_verify(store, &owned, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_dedups), 1);
}
END_TEST

static void fill_for_ever(void *arg)
{
	(void)arg;
	(void)unit_begin(unit_attach(), 1);
	unit_wait_for_death();
}

START_TEST(D3_publish_as_behind_a_filler_that_dies_is_told_and_publishes_the_next_one)
{
	kvshm_store *store = unit_store(2);
	enum kvshm_published published;
	struct kvshm_handle owned;
	struct child child;

	unit_child(&child, fill_for_ever, NULL);
	unit_await(&child);
	owned = unit_own(store, 1);
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE_PENDING);
	unit_kill(&child);
	ck_rc(kvshm_wait(store, &owned, unit_in_ms(UNIT_SOON)), -ECANCELED);
	ck_assert_uint_eq(owned.kind, KVSHM_NONE);
	owned = unit_own(store, 1);
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_PUBLISHED);
	unit_verify(store, &owned, 1);
}
END_TEST

START_TEST(a_block_without_a_key_that_is_given_up_is_free_at_once)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle owned = unit_own(store, 1), copy = owned;

	ck_assert_int_eq(unit_state(store, owned.block), KVS_OWNED);
	ck_rc(kvshm_give_up(store, &owned), 0);
	ck_assert_uint_eq(owned.kind, KVSHM_NONE);
	ck_assert_int_eq(unit_state(store, copy.block), KVS_FREE);
	ck_assert_uint_eq(unit_entry(store, store->slot, copy.block) & KVS_ENTRY_COUNTS, 0);
	is_void(store, copy, 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 0); /* no fill was */
	ck_assert_int_eq(atomic_load(&store->map.head->idle), 1);
}
END_TEST

START_TEST(B2_a_handle_of_an_earlier_life_ends_nothing_of_this_one)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle first = unit_own(store, 1), copy = first, second;
	enum kvshm_published published;

	ck_rc(kvshm_give_up(store, &first), 0);
	second = unit_own(store, 2);
	ck_assert_uint_eq(second.block, copy.block);
	is_void(store, copy, 1);
	ck_assert_uint_eq(unit_refs(store, &second), 1);
	unit_verify(store, &second, 2);
	ck_rc(unit_publish_as(store, &second, 2, &published), 0);
	is_void(store, copy, 1);
	ck_assert(unit_has(store, 2));
}
END_TEST

START_TEST(B2_a_block_of_another_client_can_neither_be_published_nor_given_up)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle owned = unit_own(store, 1);
	enum kvshm_published published;

	is_void(other, owned, 1);
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	unit_verify(store, &owned, 1);
}
END_TEST

START_TEST(publish_as_takes_no_handle_of_another_kind)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle fill = unit_begin(store, 1), ref = unit_fill(store, 2, 0), pin;
	enum kvshm_published published;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(unit_publish_as(store, &fill, 3, &published), -EBADF);
	ck_rc(unit_publish_as(store, &ref, 3, &published), -EBADF);
	ck_rc(unit_publish_as(store, &pin, 3, &published), -EBADF);
	fill.kind = KVSHM_OWNED; /* forged: the block is none without a key */
	ck_rc(unit_publish_as(store, &fill, 3, &published), -EBADF);
	ck_rc(kvshm_give_up(store, &fill), -EBADF);
	ck_rc(kvshm_publish(store, &fill, NULL), -EBADF);
	fill.kind = KVSHM_WRITER;
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_assert(unit_has(store, 1) && !unit_has(store, 3));
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
}
END_TEST

START_TEST(a_block_without_a_key_is_neither_pinned_nor_named_nor_waited_for)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle owned = unit_own(store, 1), pin = {.life = 7};
	struct kvshm_ticket ticket = {{42}};
	struct kvshm_meta meta;

	ck_rc(kvshm_pin(store, &owned, &pin), -EBUSY);
	ck_rc(kvshm_get_ticket(store, &owned, &ticket), -EBUSY);
	ck_rc(kvshm_release(store, &owned), -EBUSY);
	ck_rc(kvshm_unpin(store, &owned), -EBADF);
	ck_rc(kvshm_wait(store, &owned, 0), -EBADF);
	ck_rc(kvshm_get_meta(store, &owned, &meta), -EAGAIN);
	ck_rc(kvshm_publish(store, &owned, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "kvshm_publish_as"));
	ck_assert_uint_eq(owned.kind, KVSHM_OWNED);
	ck_assert_uint_eq(unit_refs(store, &owned), 1);
	ck_assert_uint_eq(unit_pins(store, &owned), 0);
	ck_assert(pin.life == 7 && ticket.bytes[0] == 42);
	unit_verify(store, &owned, 1);
}
END_TEST

START_TEST(publish_as_checks_what_it_is_given_and_keeps_the_block)
{
	kvshm_store *store = unit_store(1);
	struct kvshm_handle owned = unit_own(store, 1), none = {.kind = KVSHM_NONE};
	struct kvshm_meta meta = {.length = 4097};
	enum kvshm_published published = (enum kvshm_published)55;
	uint8_t key[65] = {1};

	ck_rc(kvshm_alloc(store, NULL), -EINVAL);
	ck_rc(kvshm_publish_as(store, &owned, NULL, 32, NULL, &published), -EINVAL);
	ck_rc(kvshm_publish_as(store, &owned, key, 0, NULL, &published), -EINVAL);
	ck_rc(kvshm_publish_as(store, &owned, key, 65, NULL, &published), -EINVAL);
	ck_rc(kvshm_publish_as(store, &owned, key, 32, &meta, &published), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "4097"));
	ck_rc(kvshm_publish_as(store, &owned, key, 32, NULL, NULL), -EINVAL);
	ck_rc(kvshm_publish_as(store, NULL, key, 32, NULL, &published), -EINVAL);
	ck_rc(kvshm_publish_as(store, &none, key, 32, NULL, &published), -EBADF);
	ck_assert_int_eq(published, 55);
	ck_assert_int_eq(unit_state(store, owned.block), KVS_OWNED);
	ck_rc(kvshm_publish_as(store, &owned, key, 64, NULL, &published), 0);
}
END_TEST

START_TEST(R28_a_block_taken_before_the_store_was_cleared_goes_back)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle owned = unit_own(store, 1), given_up = unit_own(store, 2), copy = owned;
	enum kvshm_published published = (enum kvshm_published)55;

	ck_rc(kvshm_clear(other), 0);
	unit_verify(store, &owned, 1); /* still the caller's alone */
	ck_rc(unit_publish_as(store, &owned, 1, &published), -ECANCELED);
	ck_assert_int_eq(published, 55);
	ck_assert_uint_eq(owned.kind, KVSHM_NONE);
	ck_assert_int_eq(unit_state(store, copy.block), KVS_FREE);
	ck_assert(!unit_has(other, 1));
	is_void(store, copy, 1);
	ck_rc(kvshm_give_up(store, &given_up), 0);
	owned = unit_own(store, 1); /* one taken afterwards counts */
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert(unit_has(other, 1));
}
END_TEST

START_TEST(R28_a_block_linked_when_the_store_is_cleared_is_no_hit)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvs_found mine, found;
	uint8_t key[UNIT_KEY];

	unit_key(1, key);
	ck_rc(kvs_table_alloc(&actor, false, &mine), 0);
	ck_assert_int_eq(kvs_table_link(&actor, key, sizeof(key), kvs_index_hash(&store->map, key, sizeof(key)), &mine,
					&found),
			 KVS_GONE);
	atomic_fetch_add(&store->map.head->floor, KVS_CLEARS_ONE); /* who clears has got so far, and no further */
	kvs_enter(&actor);
	ck_rc(kvs_table_end_part(&actor, mine.block, KVS_PART_FILLER), -ECANCELED);
	kvs_leave(&actor);
	ck_assert(!unit_has(other, 1));
	ck_rc(kvs_hold_release(&actor, mine.block, mine.life, KVS_ENTRY_REF, KVS_ENTRY_REFS), 0);
	ck_assert_int_eq(unit_state(store, mine.block), KVS_LIMBO);
}
END_TEST

/* The same through the call: the handle says that its life is later than it is, so that the first look at the clear
 * count passes, as it would just before the store is cleared. */
START_TEST(R28_publish_as_while_the_store_is_cleared_is_canceled_and_leaves_nothing)
{
	kvshm_store *store = unit_store(2);
	struct kvshm_handle owned = unit_own(store, 1), copy = owned;
	enum kvshm_published published;

	atomic_fetch_add(&store->map.head->floor, KVS_CLEARS_ONE);
	owned.life += KVS_CLEARS_ONE;
	ck_rc(unit_publish_as(store, &owned, 1, &published), -ECANCELED);
	ck_assert_uint_eq(owned.kind, KVSHM_NONE);
	ck_assert_int_eq(unit_state(store, copy.block), KVS_LIMBO);
	ck_assert_uint_eq(unit_entry(store, store->slot, copy.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert(!unit_has(store, 1));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_give_ups), 1);
}
END_TEST

START_TEST(C2_a_key_removed_as_it_is_published_is_canceled)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvs_found mine, found;
	uint8_t key[UNIT_KEY];

	unit_key(1, key);
	ck_rc(kvs_table_alloc(&actor, false, &mine), 0);
	ck_assert_int_eq(kvs_table_link(&actor, key, sizeof(key), kvs_index_hash(&store->map, key, sizeof(key)), &mine,
					&found),
			 KVS_GONE);
	ck_rc(unit_remove(other, 1), 0);
	kvs_enter(&actor);
	ck_rc(kvs_table_end_part(&actor, mine.block, KVS_PART_FILLER), -ECANCELED);
	kvs_leave(&actor);
	ck_assert(!unit_has(other, 1));
	ck_rc(kvs_hold_release(&actor, mine.block, mine.life, KVS_ENTRY_REF, KVS_ENTRY_REFS), 0);
	ck_assert_int_eq(unit_state(store, mine.block), KVS_LIMBO);
}
END_TEST

START_TEST(C2_a_key_published_later_is_removed_at_once_and_its_bytes_stay)
{
	kvshm_store *store = unit_store(2), *other = unit_attach();
	struct kvshm_handle first = unit_own(store, 1), second;
	enum kvshm_published published;

	ck_rc(unit_publish_as(store, &first, 1, &published), 0);
	ck_rc(unit_remove(other, 1), 0);
	ck_assert(!unit_has(store, 1));
	second = unit_own(other, 1); /* filled anew at once */
	ck_rc(unit_publish_as(other, &second, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_PUBLISHED);
	ck_assert_uint_ne(second.block, first.block);
	unit_verify(store, &first, 1);
	ck_rc(kvshm_release(store, &first), 0);
	unit_verify(other, &second, 1);
}
END_TEST

START_TEST(C1_the_last_release_of_a_key_published_later_frees_it_in_a_drop_store)
{
	struct kvshm_create_options options = unit_options(2);
	enum kvshm_published published;
	struct kvshm_handle owned, ref;
	kvshm_store *store, *other;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	other = unit_attach();
	owned = unit_own(store, 1);
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_rc(unit_get(other, 1, &ref), 0);
	ck_rc(kvshm_release(store, &owned), 0);
	unit_verify(other, &ref, 1); /* R02 */
	ck_rc(kvshm_release(other, &ref), 0);
	ck_assert(!unit_has(store, 1));
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_frees), 1);
}
END_TEST

/* R02: the one who was told that the key is there is not the one who filled it. */
START_TEST(R02_a_duplicate_is_held_for_the_one_who_was_told_of_it)
{
	struct kvshm_create_options options = unit_options(2);
	enum kvshm_published published;
	struct kvshm_handle first, second;
	kvshm_store *store, *other;

	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	other = unit_attach();
	first = unit_own(store, 1);
	ck_rc(unit_publish_as(store, &first, 1, &published), 0);
	second = unit_own(other, 1);
	ck_rc(unit_publish_as(other, &second, 1, &published), 0);
	ck_assert_int_eq(published, KVSHM_DUPLICATE);
	ck_rc(kvshm_release(store, &first), 0); /* the first request ends */
	unit_detach(store);
	unit_verify(other, &second, 1);
	ck_assert(unit_has(other, 1));
	ck_rc(kvshm_release(other, &second), 0);
	ck_assert(!unit_has(other, 1));
}
END_TEST

START_TEST(R04_ending_a_request_twice_ends_its_blocks_once)
{
	kvshm_store *store = unit_store(2);
	struct kvshm_handle owned = unit_own(store, 1), finished, aborted;
	enum kvshm_published published;

	aborted = owned;
	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	finished = owned;
	ck_rc(kvshm_give_up(store, &aborted), -EBADF); /* published, then aborted with the handle of before */
	ck_assert_uint_eq(unit_refs(store, &owned), 1);
	ck_rc(kvshm_release(store, &owned), 0);
	ck_rc(kvshm_release(store, &finished), -EBADF);
	ck_assert_uint_eq(unit_entry(store, store->slot, finished.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(B2_detach_gives_back_blocks_without_a_key)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	enum kvshm_published published;
	struct kvshm_handle owned;

	for (uint64_t i = 0; i < 4; i++)
		(void)unit_own(other, i);
	ck_rc(kvshm_alloc(store, &owned), -ENOSPC);
	unit_detach(other);
	ck_assert_uint_eq(unit_count(store, KVS_FREE), 4);
	ck_assert_int_eq(atomic_load(&store->map.head->idle), 4);
	for (uint64_t i = 0; i < 4; i++) {
		owned = unit_own(store, i);
		ck_rc(unit_publish_as(store, &owned, i, &published), 0);
	}
}
END_TEST

static void own_and_die(void *arg)
{
	kvshm_store *store = unit_attach();

	for (uint64_t i = 0; i < *(unsigned *)arg; i++)
		(void)unit_own(store, i);
	unit_wait_for_death();
}

START_TEST(D1_a_killed_client_gives_back_blocks_without_a_key)
{
	kvshm_store *store = unit_store(4);
	struct kvshm_handle mine = unit_own(store, 9);
	unsigned count = 3;
	struct child child;

	unit_child(&child, own_and_die, &count);
	unit_await(&child);
	ck_assert_uint_eq(unit_count(store, KVS_OWNED), 4);
	unit_kill(&child);
	ck_rc(kvshm_recover(store, NULL), 0);
	ck_assert_uint_eq(unit_count(store, KVS_OWNED), 1);
	ck_assert_uint_eq(unit_count(store, KVS_FREE), 3);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_holds), 3);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 0);
	unit_verify(store, &mine, 9); /* nothing of a living one changed */
	ck_rc(kvshm_give_up(store, &mine), 0);
}
END_TEST

START_TEST(R19_a_store_full_of_a_dead_clients_blocks_has_room)
{
	kvshm_store *store = unit_store(4);
	unsigned count = 4;
	struct child child;

	unit_child(&child, own_and_die, &count);
	unit_await(&child);
	unit_kill(&child);
	for (uint64_t i = 0; i < 4; i++)
		(void)unit_own(store, i); /* the first that finds no room recovers it */
}
END_TEST

START_TEST(R21_blocks_without_a_key_are_never_evicted_and_others_are_for_them)
{
	kvshm_store *store = unit_store(4), *other = unit_attach();
	struct kvshm_handle owned[4], one;
	enum kvshm_published published;
	enum kvshm_outcome outcome;

	for (uint64_t i = 0; i < 4; i++)
		unit_put(store, 100 + i);
	for (uint64_t i = 0; i < 4; i++)
		owned[i] = unit_own(store, i);
	one = (struct kvshm_handle){.life = 7};
	ck_rc(kvshm_alloc(store, &one), -ENOSPC);
	ck_rc(unit_ask(other, 5, &outcome, &one), -ENOSPC);
	ck_assert_uint_eq(one.life, 7);
	for (uint64_t i = 0; i < 4; i++) {
		ck_assert(!unit_has(store, 100 + i));
		unit_verify(store, &owned[i], i);
		ck_rc(unit_publish_as(store, &owned[i], i, &published), 0); /* needs no room */
		unit_verify(store, &owned[i], i);
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_evictions), 4);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_no_room), 2);
}
END_TEST

START_TEST(publish_as_of_a_key_with_65535_refs_here_is_EMFILE_and_gives_the_block_back)
{
	kvshm_store *store = unit_store(2);
	struct kvshm_handle ref = unit_fill(store, 1, 0), owned = unit_own(store, 1), one, copy = owned;
	enum kvshm_published published;

	for (int i = 1; i < 65535; i++)
		ck_rc(unit_get(store, 1, &one), 0);
	ck_rc(unit_publish_as(store, &owned, 1, &published), -EMFILE);
	ck_assert_uint_eq(owned.kind, KVSHM_NONE);
	is_void(store, copy, 2);
	ck_assert_uint_eq(unit_refs(store, &ref), 65535);
	(void)unit_own(store, 2);
}
END_TEST

/* Another thread's copy of the handle is on its way to publish it, and stands where it has claimed the block. */
START_TEST(B2_of_two_copies_of_a_handle_one_goes_on)
{
	kvshm_store *store = unit_store(2);
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_handle owned = unit_own(store, 1), copy = owned;
	const struct kvs_found found = {.block = owned.block, .life = owned.life};
	enum kvshm_published published;

	ck_assert(kvs_table_claim(&actor, &found));
	ck_rc(unit_publish_as(store, &copy, 2, &published), -EBADF);
	ck_rc(kvshm_give_up(store, &copy), -EBADF);
	ck_assert_int_eq(unit_state(store, owned.block), KVS_OWNED);
	ck_assert_uint_eq(unit_refs(store, &owned), 1);
	kvs_table_give_back(&actor, &found);
	ck_assert_int_eq(unit_state(store, owned.block), KVS_FREE);
	ck_assert_uint_eq(unit_entry(store, store->slot, found.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert(!kvs_table_claim(&actor, &found));
}
END_TEST

START_TEST(B2_a_claim_leaves_no_count_behind)
{
	kvshm_store *store = unit_store(2);
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_handle owned = unit_own(store, 1);
	const struct kvs_found found = {.block = owned.block, .life = owned.life};
	enum kvshm_published published;

	ck_rc(unit_publish_as(store, &owned, 1, &published), 0);
	ck_assert_uint_eq(unit_entry(store, store->slot, owned.block) & KVS_ENTRY_COUNTS, KVS_ENTRY_REF);
	ck_assert(!kvs_table_claim(&actor, &found)); /* it has been published */
	ck_assert_uint_eq(unit_entry(store, store->slot, owned.block) & KVS_ENTRY_COUNTS, KVS_ENTRY_REF);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		A2_an_owned_block_is_found_whole_once_it_has_a_key,
		an_owned_block_published_without_meta_is_a_whole_block,
		R05_publish_as_of_a_key_that_is_there_holds_the_first_and_gives_back_the_second,
		R07_publish_as_of_a_key_that_is_being_filled_is_pending_on_that_fill,
		D3_publish_as_behind_a_filler_that_dies_is_told_and_publishes_the_next_one,
		a_block_without_a_key_that_is_given_up_is_free_at_once,
		B2_a_handle_of_an_earlier_life_ends_nothing_of_this_one,
		B2_a_block_of_another_client_can_neither_be_published_nor_given_up,
		publish_as_takes_no_handle_of_another_kind,
		a_block_without_a_key_is_neither_pinned_nor_named_nor_waited_for,
		publish_as_checks_what_it_is_given_and_keeps_the_block,
		R28_a_block_taken_before_the_store_was_cleared_goes_back,
		R28_a_block_linked_when_the_store_is_cleared_is_no_hit,
		R28_publish_as_while_the_store_is_cleared_is_canceled_and_leaves_nothing,
		C2_a_key_removed_as_it_is_published_is_canceled,
		C2_a_key_published_later_is_removed_at_once_and_its_bytes_stay,
		C1_the_last_release_of_a_key_published_later_frees_it_in_a_drop_store,
		R02_a_duplicate_is_held_for_the_one_who_was_told_of_it,
		R04_ending_a_request_twice_ends_its_blocks_once,
		B2_detach_gives_back_blocks_without_a_key,
		D1_a_killed_client_gives_back_blocks_without_a_key,
		R19_a_store_full_of_a_dead_clients_blocks_has_room,
		R21_blocks_without_a_key_are_never_evicted_and_others_are_for_them,
		publish_as_of_a_key_with_65535_refs_here_is_EMFILE_and_gives_the_block_back,
		B2_of_two_copies_of_a_handle_one_goes_on,
		B2_a_claim_leaves_no_count_behind,
	};

	return unit_run("owned", tests, sizeof(tests) / sizeof(tests[0]));
}
