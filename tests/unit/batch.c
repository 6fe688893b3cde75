/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * batch: each item has its own result, the one that its single call would have given, and none touches another (R24).
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 100U /* more than three of the groups that are fetched together */

static uint8_t bytes[MANY][UNIT_KEY];
static struct kvshm_key keys[MANY];
static struct kvshm_handle handles[MANY], others[MANY];
static enum kvshm_outcome outcomes[MANY];
static enum kvshm_published published[MANY];
static struct kvshm_ticket tickets[MANY];
static struct kvshm_meta metas[MANY];
static void *addresses[MANY];
static int results[MANY];

/* Keys 0 to MANY - 1, and arrays in which all is to be set. */
static void prepare(void)
{
	for (uint64_t i = 0; i < MANY; i++) {
		unit_key(i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
		handles[i] = others[i] = (struct kvshm_handle){.life = 12345, .block = 67, .kind = 77};
		outcomes[i] = (enum kvshm_outcome)55;
		published[i] = (enum kvshm_published)55;
		results[i] = 99;
	}
}

static kvshm_store *store_with_all_keys(void)
{
	kvshm_store *store = unit_store(2 * MANY);

	prepare();
	for (uint64_t i = 0; i < MANY; i++)
		unit_put(store, i);
	return store;
}

static void all_are(int wanted)
{
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_msg(results[i] == wanted, "item %u: %d, not %d", i, results[i], wanted);
}

static void release_all(kvshm_store *store, struct kvshm_handle *refs)
{
	ck_rc(kvshm_release_batch(store, refs, MANY, results), 0);
	all_are(0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(refs[i].kind, KVSHM_NONE);
}

START_TEST(R24_every_call_does_many_items)
{
	kvshm_store *store = unit_store(2 * MANY), *other = unit_attach();

	prepare();
	ck_rc(kvshm_get_or_fill_batch(store, keys, MANY, outcomes, handles, results), 0);
	all_are(0);
	ck_rc(kvshm_get_ticket_batch(store, handles, MANY, tickets, results), 0);
	all_are(0);
	ck_rc(kvshm_address_batch(store, handles, 0, MANY, addresses, results), 0);
	all_are(0);
	for (uint64_t i = 0; i < MANY; i++) {
		void *address;

		ck_assert_int_eq(outcomes[i], KVSHM_FILL);
		ck_rc(kvshm_address(store, &handles[i], 0, &address), 0);
		ck_assert_ptr_eq(address, addresses[i]);
		unit_write(store, &handles[i], i);
		metas[i] = (struct kvshm_meta){.length = i, .depth = (uint32_t)i + 1};
	}
	ck_rc(kvshm_hold_batch(other, tickets, MANY, outcomes, others, results), 0);
	all_are(0);
	ck_rc(kvshm_wait_batch(other, others, MANY, 0, results), 0);
	all_are(-ETIMEDOUT);
	ck_rc(kvshm_publish_batch(store, handles, metas, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_wait_batch(other, others, MANY, unit_in_ms(60000), results), 0);
	all_are(0);
	memset(metas, 1, sizeof(metas));
	ck_rc(kvshm_get_meta_batch(other, others, MANY, metas, results), 0);
	all_are(0);
	for (uint64_t i = 0; i < MANY; i++) {
		ck_assert_int_eq(outcomes[i], KVSHM_PENDING);
		unit_verify(other, &others[i], i);
		ck_assert(metas[i].length == i && metas[i].depth == i + 1);
	}
	release_all(store, handles);
	ck_rc(kvshm_pin_batch(other, others, MANY, handles, results), 0);
	all_are(0);
	release_all(other, others);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(unit_pins(store, &handles[i]), 1);
	ck_rc(kvshm_unpin_batch(other, handles, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_get_batch(store, keys, MANY, handles, results), 0);
	all_are(0);
	release_all(store, handles);
	ck_rc(kvshm_touch_batch(store, keys, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_remove_batch(store, keys, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_remove_batch(store, keys, MANY, results), 0);
	all_are(-ENOENT);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_removals), MANY);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_touches), MANY);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_tickets), MANY);
}
END_TEST

START_TEST(R24_blocks_without_keys_in_batches)
{
	kvshm_store *store = unit_store(2 * MANY), *other = unit_attach();

	prepare();
	ck_rc(kvshm_alloc_batch(store, MANY, handles, results), 0);
	all_are(0);
	for (uint64_t i = 0; i < MANY; i++) {
		unit_write(store, &handles[i], i);
		metas[i] = (struct kvshm_meta){.length = i};
	}
	for (uint64_t i = 0; i < MANY; i += 2)
		unit_put(other, i); /* these are there already */
	ck_rc(kvshm_publish_as_batch(store, handles, keys, metas, MANY, published, results), 0);
	all_are(0);
	for (uint64_t i = 0; i < MANY; i++) {
		ck_assert_int_eq(published[i], i % 2 ? KVSHM_PUBLISHED : KVSHM_DUPLICATE);
		unit_verify(store, &handles[i], i);
	}
	ck_rc(kvshm_get_meta_batch(store, handles, MANY, metas, results), 0);
	for (uint64_t i = 0; i < MANY; i++)
		ck_assert_uint_eq(metas[i].length, i % 2 ? i : 4096);
	release_all(store, handles);
	ck_rc(kvshm_alloc_batch(store, MANY, handles, results), 0);
	all_are(0);
	memcpy(others, handles, sizeof(others));
	ck_rc(kvshm_give_up_batch(store, handles, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_give_up_batch(store, others, MANY, results), 0);
	all_are(-EBADF);
	ck_assert_uint_eq(unit_count(store, KVS_OWNED), 0);
}
END_TEST

START_TEST(R24_R27_shared_fills_in_batches)
{
	struct kvshm_create_options options = unit_options(2 * MANY);
	struct kvshm_handle parts[2][MANY];
	kvshm_store *store, *other;

	options.planes = 2;
	store = unit_make(&options);
	other = unit_attach();
	prepare();
	ck_rc(kvshm_get_or_fill_shared_batch(store, keys, MANY, outcomes, handles, results), 0);
	all_are(0);
	ck_rc(kvshm_get_ticket_batch(store, handles, MANY, tickets, results), 0);
	for (unsigned plane = 0; plane < 2; plane++) {
		ck_rc(kvshm_join_batch(other, tickets, plane, MANY, parts[plane], results), 0);
		all_are(0);
		for (uint64_t i = 0; i < MANY; i++) {
			ck_assert(parts[plane][i].kind == KVSHM_PART && parts[plane][i].plane == plane);
			unit_write_plane(other, &parts[plane][i], i, plane);
		}
		ck_rc(kvshm_join_batch(store, tickets, plane, MANY, others, results), 0);
		all_are(-EBUSY);
		ck_assert_uint_eq(others[MANY - 1].kind, KVSHM_NONE);
	}
	ck_rc(kvshm_publish_batch(store, handles, NULL, MANY, results), 0);
	all_are(0);
	ck_rc(kvshm_publish_batch(other, parts[0], NULL, MANY, results), 0);
	all_are(0);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), 0);
	ck_rc(kvshm_give_up_batch(other, parts[1], 1, results), 0);
	ck_rc(kvshm_publish_batch(other, parts[1], NULL, MANY, results), 0);
	ck_assert_int_eq(results[0], -EBADF); /* that was given up */
	for (unsigned i = 1; i < MANY; i++)
		ck_assert_int_eq(results[i], 0);
	ck_rc(kvshm_wait_batch(store, handles, MANY, UINT64_MAX, results), 0);
	ck_assert_int_eq(results[0], -ECANCELED);
	for (uint64_t i = 1; i < MANY; i++) {
		ck_assert_int_eq(results[i], 0);
		unit_verify(store, &handles[i], i);
	}
	ck_rc(kvshm_release_batch(other, parts[0], 1, results), 0); /* it keeps the doomed one */
}
END_TEST

START_TEST(R24_one_bad_key_fails_no_other_and_none_is_lost)
{
	static const uint8_t long_key[65];
	kvshm_store *store = unit_store(2 * MANY);

	prepare();
	for (uint64_t i = 0; i < MANY; i++) {
		if (i % 5 == 1)
			keys[i].bytes = NULL;
		if (i % 5 == 2)
			keys[i] = (struct kvshm_key){long_key, 65};
		if (i % 5 == 3)
			keys[i].length = 0;
		if (i % 5 == 4) /* missing, and the rest is there */
			continue;
		if (i % 5 == 0)
			unit_put(store, i);
	}
	keys[96] = (struct kvshm_key){NULL, 0}; /* one that is not asked for is no key of a batch */
	ck_rc(kvshm_get_batch(store, keys, MANY, handles, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(results[i], i % 5 == 0 ? 0 : i % 5 == 4 ? -ENOENT : -EINVAL);
		ck_assert_uint_eq(handles[i].kind, i % 5 == 0 ? KVSHM_REF : KVSHM_NONE);
		if (i % 5 == 0)
			ck_rc(kvshm_release(store, &handles[i]), 0);
	}
	ck_rc(kvshm_get_or_fill_batch(store, keys, MANY, outcomes, handles, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(results[i], i % 5 == 0 || i % 5 == 4 ? 0 : -EINVAL);
		ck_assert_uint_eq(handles[i].kind, i % 5 == 0	? KVSHM_REF
						   : i % 5 == 4 ? KVSHM_WRITER
								: KVSHM_NONE);
		if (i % 5 == 4)
			ck_rc(kvshm_publish(store, &handles[i], NULL), 0);
	}
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "a key of 0 bytes")); /* the last one that failed: 98 */
	ck_rc(kvshm_touch_batch(store, keys, MANY, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 5 == 0 || i % 5 == 4 ? 0 : -EINVAL);
	ck_rc(kvshm_remove_batch(store, keys, MANY, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 5 == 0 || i % 5 == 4 ? 0 : -EINVAL);
}
END_TEST

START_TEST(R24_bad_handles_and_tickets_fail_no_other)
{
	kvshm_store *store = store_with_all_keys();

	ck_rc(kvshm_get_batch(store, keys, MANY, handles, results), 0);
	ck_rc(kvshm_get_ticket_batch(store, handles, MANY, tickets, results), 0);
	for (unsigned i = 0; i < MANY; i += 3) {
		ck_rc(kvshm_release(store, &handles[i]), 0);
		handles[i].block = UINT32_MAX - i; /* nor is it a block */
		memset(&tickets[i], 0xff, sizeof(tickets[i]));
	}
	ck_rc(kvshm_pin_batch(store, handles, MANY, others, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(results[i], i % 3 ? 0 : -EBADF);
		ck_assert_uint_eq(others[i].kind, i % 3 ? KVSHM_PIN : KVSHM_NONE);
	}
	ck_rc(kvshm_unpin_batch(store, others, MANY, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 3 ? 0 : -EBADF);
	memset(others, 1, sizeof(others));
	ck_rc(kvshm_hold_batch(store, tickets, MANY, outcomes, others, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(results[i], i % 3 ? 0 : -ENOENT);
		ck_assert_uint_eq(others[i].kind, i % 3 ? KVSHM_REF : KVSHM_NONE);
		ck_assert_int_eq(outcomes[i], i % 3 ? KVSHM_READY : (enum kvshm_outcome)55);
	}
	memset(tickets, 0, sizeof(tickets));
	ck_rc(kvshm_get_ticket_batch(store, handles, MANY, tickets, results), 0);
	ck_rc(kvshm_address_batch(store, handles, 0, MANY, addresses, results), 0);
	ck_rc(kvshm_get_meta_batch(store, handles, MANY, metas, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 3 ? 0 : -EBADF);
	ck_rc(kvshm_address_batch(store, handles, 1, MANY, addresses, results), 0); /* there is no plane 1 */
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 3 ? -EINVAL : -EBADF);
	ck_rc(kvshm_release_batch(store, handles, MANY, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 3 ? 0 : -EBADF);
	ck_rc(kvshm_release_batch(store, handles, MANY, results), 0);
	all_are(-EBADF); /* R04: a second time ends nothing */
	for (unsigned i = 1; i < MANY; i += 3)
		ck_assert_uint_eq(unit_refs(store, &others[i]), 1);
}
END_TEST

/* What every batch says to these arrays; the calls differ in which they have. */
static void arrays_of(kvshm_store *store, bool have, size_t count, int wanted)
{
	struct kvshm_handle *h = have ? handles : NULL;
	int *r = have ? results : NULL;

	ck_rc(kvshm_get_batch(store, have ? keys : NULL, count, h, r), wanted);
	ck_rc(kvshm_get_or_fill_batch(store, have ? keys : NULL, count, have ? outcomes : NULL, h, r), wanted);
	ck_rc(kvshm_get_or_fill_shared_batch(store, have ? keys : NULL, count, have ? outcomes : NULL, h, r), wanted);
	ck_rc(kvshm_remove_batch(store, have ? keys : NULL, count, r), wanted);
	ck_rc(kvshm_touch_batch(store, have ? keys : NULL, count, r), wanted);
	ck_rc(kvshm_publish_batch(store, h, NULL, count, r), wanted);
	ck_rc(kvshm_publish_as_batch(store, h, have ? keys : NULL, NULL, count, have ? published : NULL, r), wanted);
	ck_rc(kvshm_give_up_batch(store, h, count, r), wanted);
	ck_rc(kvshm_wait_batch(store, h, count, 0, r), wanted);
	ck_rc(kvshm_release_batch(store, h, count, r), wanted);
	ck_rc(kvshm_pin_batch(store, h, count, have ? others : NULL, r), wanted);
	ck_rc(kvshm_unpin_batch(store, h, count, r), wanted);
	ck_rc(kvshm_get_meta_batch(store, h, count, have ? metas : NULL, r), wanted);
	ck_rc(kvshm_address_batch(store, h, 0, count, have ? addresses : NULL, r), wanted);
	ck_rc(kvshm_alloc_batch(store, count, h, r), wanted);
	ck_rc(kvshm_get_ticket_batch(store, h, count, have ? tickets : NULL, r), wanted);
	ck_rc(kvshm_hold_batch(store, have ? tickets : NULL, count, have ? outcomes : NULL, h, r), wanted);
	ck_rc(kvshm_join_batch(store, have ? tickets : NULL, 0, count, h, r), wanted);
}

START_TEST(a_batch_of_nothing_needs_no_arrays_and_does_nothing)
{
	kvshm_store *store = unit_store(4);

	prepare();
	arrays_of(store, false, 0, 0);
	arrays_of(store, true, 0, 0);
	all_are(99);
	ck_assert_uint_eq(handles[0].life, 12345);
}
END_TEST

START_TEST(a_batch_without_its_arrays_is_EINVAL_and_does_nothing)
{
	kvshm_store *store = unit_store(4);

	prepare();
	arrays_of(store, false, 1, -EINVAL);
	/* Each array by itself. */
	ck_rc(kvshm_get_batch(store, NULL, 1, handles, results), -EINVAL);
	ck_rc(kvshm_get_batch(store, keys, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_get_batch(store, keys, 1, handles, NULL), -EINVAL);
	ck_rc(kvshm_get_or_fill_batch(store, keys, 1, NULL, handles, results), -EINVAL);
	ck_rc(kvshm_get_or_fill_batch(store, keys, 1, outcomes, NULL, results), -EINVAL);
	ck_rc(kvshm_get_or_fill_shared_batch(store, keys, 1, NULL, handles, results), -EINVAL);
	ck_rc(kvshm_get_or_fill_shared_batch(store, keys, 1, outcomes, NULL, results), -EINVAL);
	ck_rc(kvshm_publish_as_batch(store, NULL, keys, NULL, 1, published, results), -EINVAL);
	ck_rc(kvshm_publish_as_batch(store, handles, NULL, NULL, 1, published, results), -EINVAL);
	ck_rc(kvshm_publish_as_batch(store, handles, keys, NULL, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_pin_batch(store, NULL, 1, others, results), -EINVAL);
	ck_rc(kvshm_pin_batch(store, handles, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_get_meta_batch(store, NULL, 1, metas, results), -EINVAL);
	ck_rc(kvshm_get_meta_batch(store, handles, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_address_batch(store, NULL, 0, 1, addresses, results), -EINVAL);
	ck_rc(kvshm_address_batch(store, handles, 0, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_get_ticket_batch(store, NULL, 1, tickets, results), -EINVAL);
	ck_rc(kvshm_get_ticket_batch(store, handles, 1, NULL, results), -EINVAL);
	ck_rc(kvshm_hold_batch(store, NULL, 1, outcomes, handles, results), -EINVAL);
	ck_rc(kvshm_hold_batch(store, tickets, 1, NULL, handles, results), -EINVAL);
	ck_rc(kvshm_hold_batch(store, tickets, 1, outcomes, NULL, results), -EINVAL);
	ck_rc(kvshm_join_batch(store, NULL, 0, 1, handles, results), -EINVAL);
	ck_rc(kvshm_join_batch(store, tickets, 0, 1, NULL, results), -EINVAL);
	all_are(99);
	ck_assert_uint_eq(handles[0].life, 12345);
	ck_assert_uint_eq(unit_count(store, KVS_FREE), 4);
}
END_TEST

START_TEST(B3_a_key_twice_in_a_batch_is_filled_once_and_held_twice)
{
	kvshm_store *store = unit_store(8);

	prepare();
	keys[1] = keys[2] = keys[0];
	ck_rc(kvshm_get_or_fill_batch(store, keys, 3, outcomes, handles, results), 0);
	ck_assert(results[0] == 0 && results[1] == 0 && results[2] == 0);
	ck_assert(outcomes[0] == KVSHM_FILL && outcomes[1] == KVSHM_PENDING && outcomes[2] == KVSHM_PENDING);
	ck_assert_uint_eq(unit_refs(store, &handles[0]), 3);
	unit_write(store, &handles[0], 0);
	ck_rc(kvshm_publish(store, &handles[0], NULL), 0);
	ck_rc(kvshm_get_batch(store, keys, 3, others, results), 0);
	ck_assert_uint_eq(unit_refs(store, &handles[0]), 6);
	ck_rc(kvshm_remove_batch(store, keys, 3, results), 0);
	ck_assert(results[0] == 0 && results[1] == -ENOENT && results[2] == -ENOENT);
	handles[1] = handles[0]; /* one hold, three times in a batch of which it has two more */
	handles[2] = handles[0];
	ck_rc(kvshm_release_batch(store, handles, 3, results), 0);
	ck_assert_uint_eq(unit_refs(store, &others[0]), 3);
	unit_verify(store, &others[0], 0);
}
END_TEST

START_TEST(R24_a_store_that_gets_full_in_the_middle_of_a_batch)
{
	kvshm_store *store = unit_store(40), *other = unit_attach();

	prepare();
	for (uint64_t i = 50; i < 60; i++)
		others[i] = unit_fill(other, i, 0); /* ten that are there, and stay */
	ck_rc(kvshm_get_or_fill_batch(store, keys, MANY, outcomes, handles, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		bool there = i >= 50 && i < 60;

		ck_assert_int_eq(results[i], i < 30 || there ? 0 : -ENOSPC);
		ck_assert_uint_eq(handles[i].kind, i < 30 ? KVSHM_WRITER : there ? KVSHM_REF : KVSHM_NONE);
		ck_assert_int_eq(outcomes[i], i < 30	? KVSHM_FILL
					      : there	? KVSHM_READY
							: (enum kvshm_outcome)55);
	}
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "no room"));
	ck_rc(kvshm_give_up_batch(store, handles, 30, results), 0);
	memset(handles, 1, sizeof(handles));
	ck_rc(kvshm_alloc_batch(store, MANY, handles, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(results[i], i < 30 ? 0 : -ENOSPC);
		ck_assert_uint_eq(handles[i].kind, i < 30 ? KVSHM_OWNED : KVSHM_NONE);
	}
}
END_TEST

START_TEST(R24_publish_of_mixed_handles_says_of_each_what_came_of_it)
{
	kvshm_store *store = unit_store(2 * MANY);

	prepare();
	ck_rc(kvshm_get_or_fill_batch(store, keys, MANY, outcomes, handles, results), 0);
	memset(metas, 0, sizeof(metas));
	for (uint64_t i = 0; i < MANY; i++) {
		if (i % 4 == 1)
			ck_rc(unit_remove(store, i), 0); /* canceled */
		if (i % 4 == 2)
			metas[i].length = 4097; /* refused, and still a fill */
		if (i % 4 == 3)
			handles[i].life++; /* no handle of this life */
	}
	ck_rc(kvshm_publish_batch(store, handles, metas, MANY, results), 0);
	for (unsigned i = 0; i < MANY; i++) {
		static const int wanted[4] = {0, -ECANCELED, -EINVAL, -EBADF};
		static const enum kvshm_kind kinds[4] = {KVSHM_REF, KVSHM_NONE, KVSHM_WRITER, KVSHM_WRITER};

		ck_assert_int_eq(results[i], wanted[i % 4]);
		ck_assert_uint_eq(handles[i].kind, kinds[i % 4]);
		handles[i].life -= i % 4 == 3;
	}
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_fills), MANY / 4);
	ck_rc(kvshm_publish_batch(store, handles, NULL, MANY, results), 0); /* metas NULL: none for any */
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i % 4 < 2 ? -EBADF : 0);
}
END_TEST

/* All of them until the one deadline: not each until its own. */
START_TEST(R17_a_batch_of_waits_ends_at_its_deadline)
{
	kvshm_store *store = unit_store(2 * MANY), *other = unit_attach();
	uint64_t deadline, soon;

	prepare();
	ck_rc(kvshm_get_or_fill_batch(store, keys, MANY, outcomes, handles, results), 0);
	ck_rc(kvshm_get_or_fill_batch(other, keys, MANY, outcomes, others, results), 0);
	ck_rc(kvshm_publish(store, &handles[MANY - 1], NULL), 0);
	ck_rc(kvshm_give_up(store, &handles[5]), 0);
	deadline = unit_in_ms(20);
	soon = unit_in_ms(UNIT_SOON);
	ck_rc(kvshm_wait_batch(other, others, MANY, deadline, results), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(results[i], i == MANY - 1 ? 0 : i == 5 ? -ECANCELED : -ETIMEDOUT);
	ck_assert_uint_eq(others[5].kind, KVSHM_NONE);
	ck_assert_uint_eq(others[4].kind, KVSHM_REF); /* the hold stays */
	ck_assert_uint_ge(unit_in_ms(0), deadline);
	ck_assert_uint_lt(unit_in_ms(0), soon);
	/* The others have looked once. On a busy machine the first one, too: it was over when it began. */
	ck_assert_uint_le(unit_counter(store, KVS_COUNT_waits), 1);
}
END_TEST

/* ---- The same as single calls ---- */

#define STEPS 300
#define POOL 48U /* keys */

/* A store, its client, and what that holds; two of them go the same way, one in batches. */
struct side {
	kvshm_store *store;
	struct kvshm_handle held[4 * MANY]; /* of any kind */
	size_t count;
	struct kvshm_handle set[MANY];
	int results[MANY];
	int says[MANY]; /* outcome, or what else was said */
};

static struct side sides[2];

enum op { GET, ASK, ASK_SHARED, REMOVE, TOUCH, PUBLISH, GIVE_UP, RELEASE, WAIT, PIN, UNPIN, ALLOC, PUBLISH_AS, OPS };

static bool is_by_key(enum op op)
{
	return op <= TOUCH;
}

/* One item as a single call: on held, a copy in set, or a key. */
static int single(struct side *s, enum op op, size_t i)
{
	const struct kvshm_key *key = &keys[i];
	enum kvshm_outcome outcome = (enum kvshm_outcome)55;
	enum kvshm_published pub = (enum kvshm_published)55;
	int rc = 0;

	switch (op) {
	case GET:
		rc = kvshm_get(s->store, key->bytes, key->length, &s->set[i]);
		break;
	case ASK:
		rc = kvshm_get_or_fill(s->store, key->bytes, key->length, &outcome, &s->set[i]);
		break;
	case ASK_SHARED:
		rc = kvshm_get_or_fill_shared(s->store, key->bytes, key->length, &outcome, &s->set[i]);
		break;
	case REMOVE:
		return kvshm_remove(s->store, key->bytes, key->length);
	case TOUCH:
		return kvshm_touch(s->store, key->bytes, key->length);
	case PUBLISH:
		return kvshm_publish(s->store, &s->set[i], NULL);
	case GIVE_UP:
		return kvshm_give_up(s->store, &s->set[i]);
	case RELEASE:
		return kvshm_release(s->store, &s->set[i]);
	case WAIT:
		return kvshm_wait(s->store, &s->set[i], 0);
	case PIN:
		rc = kvshm_pin(s->store, &s->held[i], &s->set[i]);
		break;
	case UNPIN:
		return kvshm_unpin(s->store, &s->set[i]);
	case ALLOC:
		rc = kvshm_alloc(s->store, &s->set[i]);
		break;
	default:
		rc = kvshm_publish_as(s->store, &s->set[i], key->bytes, key->length, NULL, &pub);
		s->says[i] = (int)pub;
		return rc;
	}
	s->says[i] = (int)outcome;
	if (rc)
		s->set[i].kind = KVSHM_NONE;
	return rc;
}

static void batch(struct side *s, enum op op, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		outcomes[i] = (enum kvshm_outcome)55;
		published[i] = (enum kvshm_published)55;
	}
	switch (op) {
	case GET:
		rc = kvshm_get_batch(s->store, keys, n, s->set, s->results);
		break;
	case ASK:
		rc = kvshm_get_or_fill_batch(s->store, keys, n, outcomes, s->set, s->results);
		break;
	case ASK_SHARED:
		rc = kvshm_get_or_fill_shared_batch(s->store, keys, n, outcomes, s->set, s->results);
		break;
	case REMOVE:
		rc = kvshm_remove_batch(s->store, keys, n, s->results);
		break;
	case TOUCH:
		rc = kvshm_touch_batch(s->store, keys, n, s->results);
		break;
	case PUBLISH:
		rc = kvshm_publish_batch(s->store, s->set, NULL, n, s->results);
		break;
	case GIVE_UP:
		rc = kvshm_give_up_batch(s->store, s->set, n, s->results);
		break;
	case RELEASE:
		rc = kvshm_release_batch(s->store, s->set, n, s->results);
		break;
	case WAIT:
		rc = kvshm_wait_batch(s->store, s->set, n, 0, s->results);
		break;
	case PIN:
		rc = kvshm_pin_batch(s->store, s->held, n, s->set, s->results);
		break;
	case UNPIN:
		rc = kvshm_unpin_batch(s->store, s->set, n, s->results);
		break;
	case ALLOC:
		rc = kvshm_alloc_batch(s->store, n, s->set, s->results);
		break;
	default:
		rc = kvshm_publish_as_batch(s->store, s->set, keys, NULL, n, published, s->results);
		break;
	}
	ck_rc(rc, 0);
	for (size_t i = 0; i < n; i++)
		s->says[i] = op == PUBLISH_AS ? (int)published[i] : (int)outcomes[i];
}

/* What a call takes is new; what it changes is put back where it was. */
static bool takes(enum op op)
{
	return op == GET || op == ASK || op == ASK_SHARED || op == PIN || op == ALLOC;
}

static void keep(struct side *s, enum op op, size_t n)
{
	size_t left = 0;

	if (!takes(op) && !is_by_key(op))
		memcpy(s->held, s->set, n * sizeof(s->set[0]));
	for (size_t i = 0; takes(op) && i < n; i++)
		if (s->set[i].kind && s->count < (size_t)3 * MANY)
			s->held[s->count++] = s->set[i];
		else if (s->set[i].kind == KVSHM_REF)
			ck_rc(kvshm_release(s->store, &s->set[i]), 0);
		else if (s->set[i].kind == KVSHM_PIN)
			ck_rc(kvshm_unpin(s->store, &s->set[i]), 0);
		else if (s->set[i].kind)
			ck_rc(kvshm_give_up(s->store, &s->set[i]), 0);
	for (size_t i = 0; i < s->count; i++)
		if (s->held[i].kind)
			s->held[left++] = s->held[i];
	s->count = left;
}

/* Both sides have the same holds, in the same order: they are mixed in the same way. */
static void shuffle(unsigned *seed)
{
	for (size_t i = sides[0].count; i > 1; i--) {
		size_t j = (size_t)rand_r(seed) % i;

		for (unsigned side = 0; side < 2; side++) {
			struct kvshm_handle held_over = sides[side].held[i - 1];

			sides[side].held[i - 1] = sides[side].held[j];
			sides[side].held[j] = held_over;
		}
	}
}

static void one_step(unsigned *seed, unsigned number)
{
	enum op op = (enum op)(rand_r(seed) % OPS);
	size_t n = (size_t)rand_r(seed) % (MANY + 1);

	shuffle(seed);
	if (!is_by_key(op) && op != ALLOC && n > sides[0].count)
		n = sides[0].count;
	for (size_t i = 0; i < n; i++) {
		unit_key((uint64_t)rand_r(seed) % POOL, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], rand_r(seed) % 20 ? UNIT_KEY : 0};
	}
	for (unsigned side = 0; side < 2; side++) {
		memset(sides[side].set, 0, sizeof(sides[side].set));
		if (!takes(op) && !is_by_key(op))
			memcpy(sides[side].set, sides[side].held, n * sizeof(sides[side].set[0]));
	}
	for (size_t i = 0; i < n; i++) {
		sides[1].says[i] = 55;
		sides[1].results[i] = single(&sides[1], op, i);
	}
	batch(&sides[0], op, n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(sides[0].results[i] == sides[1].results[i],
			      "step %u, call %d, item %zu of %zu: %d, not %d", number, (int)op, i, n,
			      sides[0].results[i], sides[1].results[i]);
		ck_assert_int_eq(sides[0].says[i], sides[1].says[i]);
		ck_assert_uint_eq(sides[0].set[i].kind, sides[1].set[i].kind);
	}
	keep(&sides[0], op, n);
	keep(&sides[1], op, n);
	ck_assert_uint_eq(sides[0].count, sides[1].count);
}

START_TEST(R24_a_batch_is_its_single_calls)
{
	static const enum kvs_counter same[] = {KVS_COUNT_hits, KVS_COUNT_misses, KVS_COUNT_dedups, KVS_COUNT_fills,
						KVS_COUNT_give_ups, KVS_COUNT_removals, KVS_COUNT_touches};
	struct kvshm_create_options options = unit_options(600);
	unsigned seed = (unsigned)time(NULL);
	char name[KVSHM_NAME_MAX + 1];
	kvshm_owner *second;

	printf("# seed %u\n", seed);
	options.block_size = 512;
	options.size = UINT64_C(512) * 600; /* so that nothing is evicted */
	sides[0].store = unit_make(&options);
	(void)snprintf(name, sizeof(name), "%s-2", unit_name());
	ck_rc(kvshm_create(name, &options, &second), 0);
	ck_rc(kvshm_attach(name, NULL, &sides[1].store), 0);
	for (unsigned i = 0; i < STEPS; i++)
		one_step(&seed, i);
	for (unsigned i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		ck_assert_uint_eq(unit_counter(sides[0].store, same[i]), unit_counter(sides[1].store, same[i]));
	ck_rc(kvshm_detach(sides[1].store), 0);
	ck_rc(kvshm_destroy(second), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		R24_every_call_does_many_items,
		R24_blocks_without_keys_in_batches,
		R24_R27_shared_fills_in_batches,
		R24_one_bad_key_fails_no_other_and_none_is_lost,
		R24_bad_handles_and_tickets_fail_no_other,
		a_batch_of_nothing_needs_no_arrays_and_does_nothing,
		a_batch_without_its_arrays_is_EINVAL_and_does_nothing,
		B3_a_key_twice_in_a_batch_is_filled_once_and_held_twice,
		R24_a_store_that_gets_full_in_the_middle_of_a_batch,
		R24_publish_of_mixed_handles_says_of_each_what_came_of_it,
		R17_a_batch_of_waits_ends_at_its_deadline,
		R24_a_batch_is_its_single_calls,
	};

	return unit_run("batch", tests, sizeof(tests) / sizeof(tests[0]));
}
