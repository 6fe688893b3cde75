/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * handles: what is no hold of this client's in this life is -EBADF, and changes nothing (B2); and
 * the call that ends holds of any kind.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "hold.h"

START_TEST(B2_release_twice_is_EBADF)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0), copy = ref;

	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_uint_eq(ref.kind, KVSHM_NONE);
	ck_rc(kvshm_release(store, &ref), -EBADF);
	ck_rc(kvshm_release(store, &copy), -EBADF);
	ck_assert_uint_eq(unit_entry(store, store->slot, copy.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert(unit_has(store, 1));
}
END_TEST

START_TEST(B2_unpin_twice_is_EBADF)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin, copy;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	copy = pin;
	ck_rc(kvshm_unpin(store, &pin), 0);
	ck_rc(kvshm_unpin(store, &pin), -EBADF);
	ck_rc(kvshm_unpin(store, &copy), -EBADF);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(unit_pins(store, &ref), 0);
}
END_TEST

START_TEST(B2_a_hold_of_another_client_cannot_be_released)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), pin, stolen = ref;
	void *address;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_release(other, &stolen), -EBADF);
	stolen = pin;
	ck_rc(kvshm_unpin(other, &stolen), -EBADF);
	ck_rc(kvshm_address(other, &ref, 0, &address), -EBADF);
	ck_rc(kvshm_pin(other, &ref, &stolen), -EBADF);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(unit_pins(store, &ref), 1);
}
END_TEST

/* Every call with a handle that is no hold of the client's. */
static void refused(kvshm_store *store, const struct kvshm_handle *bad)
{
	struct kvshm_handle handle, pin = {.kind = KVSHM_NONE};
	struct kvshm_meta meta;
	void *address;

	handle = *bad;
	ck_rc(kvshm_release(store, &handle),
	      handle.kind >= KVSHM_WRITER && handle.kind <= KVSHM_LENT ? -EBUSY : -EBADF);
	ck_rc(kvshm_unpin(store, &handle), handle.kind == KVSHM_LENT ? -EBUSY : -EBADF);
	ck_rc(kvshm_publish(store, &handle, NULL), -EBADF);
	ck_rc(kvshm_give_up(store, &handle), -EBADF);
	ck_rc(kvshm_wait(store, &handle, 0), -EBADF);
	ck_rc(kvshm_pin(store, &handle, &pin), -EBADF);
	ck_rc(kvshm_get_meta(store, &handle, &meta), -EBADF);
	ck_rc(kvshm_address(store, &handle, 0, &address), -EBADF);
	ck_assert_uint_eq(pin.kind, KVSHM_NONE);
	ck_assert_mem_eq(&handle, bad, sizeof(handle));
}

START_TEST(B2_a_handle_of_an_earlier_life_is_EBADF_though_the_block_is_held_now)
{
	kvshm_store *store = unit_store(1); /* one block: all lives are of it */
	struct kvshm_handle old = unit_fill(store, 1, 0), ref = old, now;

	ck_rc(kvshm_release(store, &ref), 0);
	now = unit_fill(store, 2, 0);
	ck_assert_uint_eq(now.block, old.block);
	ck_assert_uint_eq(now.life, old.life + 1);
	refused(store, &old);
	ck_assert_uint_eq(unit_refs(store, &now), 1);
	unit_verify(store, &now, 2);
	old = now;
	old.life++;
	refused(store, &old);
	ck_assert_uint_eq(unit_refs(store, &now), 1);
}
END_TEST

START_TEST(handles_of_no_block_are_EBADF)
{
	static const uint32_t blocks[] = {16, 17, 1U << 30, UINT32_MAX};
	kvshm_store *store = unit_store(16);

	for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		for (uint32_t kind = KVSHM_NONE; kind <= KVSHM_LENT; kind++) {
			struct kvshm_handle handle = {.life = 1, .block = blocks[i], .kind = (uint8_t)kind};

			refused(store, &handle);
		}
}
END_TEST

START_TEST(handles_of_blocks_that_were_never_held_are_EBADF)
{
	kvshm_store *store = unit_store(16);

	for (uint32_t block = 0; block < 16; block++)
		for (uint64_t life = 0; life < 3; life++)
			for (uint32_t kind = KVSHM_NONE; kind <= KVSHM_LENT; kind++) {
				struct kvshm_handle handle = {.life = life, .block = block, .kind = (uint8_t)kind};

				refused(store, &handle);
			}
}
END_TEST

START_TEST(handles_of_a_kind_that_does_not_exist_are_EBADF_though_the_block_is_held)
{
	static const uint8_t kinds[] = {KVSHM_NONE, 7, 77, UINT8_MAX};
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0);

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct kvshm_handle handle = ref;

		handle.kind = kinds[i];
		refused(store, &handle);
	}
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(unit_pins(store, &ref), 0);
}
END_TEST

START_TEST(kinds_are_not_interchangeable)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0), fill = unit_begin(store, 2), pin;

	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	ck_rc(kvshm_release(store, &pin), -EBADF);
	ck_rc(kvshm_unpin(store, &ref), -EBADF);
	ck_rc(kvshm_wait(store, &pin, 0), -EBADF);
	ck_rc(kvshm_publish(store, &ref, NULL), -EBADF);
	ck_rc(kvshm_give_up(store, &ref), -EBADF);
	ck_rc(kvshm_publish(store, &pin, NULL), -EBADF);
	ck_rc(kvshm_release(store, &fill), -EBUSY);
	ck_rc(kvshm_unpin(store, &fill), -EBADF);
	ck_rc(kvshm_wait(store, &fill, 0), -EBADF);
	ck_assert_uint_eq(unit_refs(store, &ref), 1);
	ck_assert_uint_eq(unit_pins(store, &ref), 1);
	ck_assert_uint_eq(unit_refs(store, &fill), 1);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
}
END_TEST

START_TEST(B2_a_pin_needs_a_hold_at_the_moment_that_it_is_counted)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle ref = unit_fill(store, 1, 0), was = ref;
	struct kvs_actor actor = unit_actor_of(store);

	ck_assert_int_eq(kvs_hold_pin(&actor, was.block, was.life, 0), 0);
	ck_rc(kvshm_unpin(store, &(struct kvshm_handle){.life = was.life, .block = was.block, .kind = KVSHM_PIN}), 0);
	/* Another thread releases between the look at the handle and the count. */
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_int_eq(kvs_hold_pin(&actor, was.block, was.life, 0), -EBADF);
	ck_assert_uint_eq(unit_entry(store, store->slot, was.block) & KVS_ENTRY_COUNTS, 0);
}
END_TEST

START_TEST(no_handle_is_EINVAL)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_handle pin;
	struct kvshm_meta meta;
	void *address;

	ck_rc(kvshm_release(store, NULL), -EINVAL);
	ck_rc(kvshm_unpin(store, NULL), -EINVAL);
	ck_rc(kvshm_publish(store, NULL, NULL), -EINVAL);
	ck_rc(kvshm_give_up(store, NULL), -EINVAL);
	ck_rc(kvshm_wait(store, NULL, 0), -EINVAL);
	ck_rc(kvshm_pin(store, NULL, &pin), -EINVAL);
	ck_rc(kvshm_get_meta(store, NULL, &meta), -EINVAL);
	ck_rc(kvshm_address(store, NULL, 0, &address), -EINVAL);
}
END_TEST

START_TEST(B2_a_ref_of_one_and_a_pin_of_another_are_counted_apart)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle ref = unit_fill(store, 1, 0), theirs, pin;

	ck_rc(unit_get(other, 1, &theirs), 0);
	ck_rc(kvshm_pin(other, &theirs, &pin), 0);
	ck_assert_uint_eq(unit_refs(store, &ref), 2);
	ck_assert_uint_eq(unit_pins(store, &ref), 1);
	ck_rc(kvshm_release(store, &ref), 0);
	ck_assert_uint_eq(unit_refs(store, &pin), 1);
	ck_rc(kvshm_release(other, &theirs), 0);
	ck_assert_uint_eq(unit_refs(store, &pin), 0);
	ck_assert_uint_eq(unit_pins(store, &pin), 1);
	ck_rc(kvshm_unpin(other, &pin), 0);
}
END_TEST

/* A hold of each kind. */
static struct kvshm_request hold_all_kinds(kvshm_store *store, struct kvshm_handle handles[8])
{
	struct kvshm_handle shared = unit_begin_shared(store, 4);
	struct kvshm_ticket ticket = unit_ticket(store, &shared);
	struct kvshm_request request;
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	handles[0] = unit_fill(store, 1, 0);
	ck_rc(kvshm_pin(store, &handles[0], &handles[1]), 0);
	handles[2] = unit_begin(store, 2);
	handles[3] = unit_own(store, 3);
	handles[4] = unit_part(store, &ticket, 1);
	ck_rc(kvshm_publish(store, &shared, NULL), 0);
	handles[5] = shared;
	ck_rc(kvshm_request_open(store, "r", 1, 0, 0, &request), 0);
	unit_key(5, key);
	ck_rc(kvshm_request_get_or_fill(store, &request, key, sizeof(key), &outcome, &handles[6]), 0);
	unit_key(1, key);
	ck_rc(kvshm_request_get_or_fill(store, &request, key, sizeof(key), &outcome, &handles[7]), 0);
	return request;
}

START_TEST(let_go_ends_holds_of_every_kind_and_passes_over_what_is_lent)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_handle handles[8], pending;
	struct kvshm_request request = hold_all_kinds(store, handles);

	pending = unit_pending(other, 4);
	ck_assert_uint_eq(handles[7].kind, KVSHM_LENT);
	for (int again = 0; again < 2; again++) {
		ck_rc(kvshm_let_go(store, handles, 8), 0);
		for (unsigned i = 0; i < 8; i++)
			ck_assert_uint_eq(handles[i].kind, i == 7 ? KVSHM_LENT : KVSHM_NONE);
	}
	ck_assert_uint_eq(unit_refs(store, &handles[7]), 0);
	ck_assert_uint_eq(unit_pins(store, &handles[7]), 1); /* the request's */
	ck_assert_uint_eq(unit_count(store, KVS_FILLING) + unit_count(store, KVS_OWNED), 0);
	ck_rc(kvshm_wait(other, &pending, 0), -ECANCELED);
	for (uint64_t key = 2; key <= 5; key++)
		ck_assert(!unit_has(other, key));
	ck_assert(unit_has(other, 1));
	ck_rc(kvshm_request_end(store, &request), 0);
	ck_assert_uint_eq(unit_pins(store, &handles[7]), 0);
}
END_TEST

START_TEST(B2_let_go_leaves_what_this_client_does_not_hold_and_ends_the_rest)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle theirs[4], mixed[8], last = unit_fill(store, 9, 0), copy = last;

	theirs[0] = unit_fill(other, 1, 0);
	ck_rc(kvshm_pin(other, &theirs[0], &theirs[1]), 0);
	theirs[2] = unit_begin(other, 2);
	theirs[3] = unit_own(other, 3);
	memcpy(mixed, theirs, sizeof(theirs));
	mixed[4] = unit_fill(store, 4, 0);
	mixed[5] = (struct kvshm_handle){.life = 1, .kind = 9};
	mixed[6] = last; /* which ends before */
	mixed[7] = unit_fill(store, 5, 0);
	ck_rc(kvshm_release(store, &copy), 0);
	for (int again = 0; again < 2; again++) {
		ck_rc(kvshm_let_go(store, mixed, 8), -EBADF);
		ck_assert_mem_eq(mixed, theirs, sizeof(theirs));
		ck_assert_uint_eq(mixed[5].kind, 9);
		ck_assert_mem_eq(&mixed[6], &last, sizeof(last));
		ck_assert(mixed[4].kind == KVSHM_NONE && mixed[7].kind == KVSHM_NONE);
	}
	ck_rc(kvshm_let_go(store, &mixed[5], 1), -EBADF);
	ck_rc(kvshm_let_go(store, &mixed[7], 1), 0);
	ck_rc(kvshm_let_go(other, mixed, 4), 0); /* their holder lets go by the same handles */
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(mixed[i].kind, KVSHM_NONE);
	ck_assert_uint_eq(unit_refs(store, &theirs[0]) + unit_pins(store, &theirs[0]), 0);
	ck_assert_uint_eq(unit_count(store, KVS_FILLING) + unit_count(store, KVS_OWNED), 0);
}
END_TEST

START_TEST(let_go_of_nothing_is_0_and_no_handles_are_EINVAL)
{
	kvshm_store *store = unit_store(16);

	ck_rc(kvshm_let_go(store, NULL, 0), 0);
	ck_rc(kvshm_let_go(store, NULL, 1), -EINVAL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		B2_release_twice_is_EBADF,
		B2_unpin_twice_is_EBADF,
		B2_a_hold_of_another_client_cannot_be_released,
		B2_a_handle_of_an_earlier_life_is_EBADF_though_the_block_is_held_now,
		handles_of_no_block_are_EBADF,
		handles_of_blocks_that_were_never_held_are_EBADF,
		handles_of_a_kind_that_does_not_exist_are_EBADF_though_the_block_is_held,
		kinds_are_not_interchangeable,
		B2_a_pin_needs_a_hold_at_the_moment_that_it_is_counted,
		no_handle_is_EINVAL,
		B2_a_ref_of_one_and_a_pin_of_another_are_counted_apart,
		let_go_ends_holds_of_every_kind_and_passes_over_what_is_lent,
		B2_let_go_leaves_what_this_client_does_not_hold_and_ends_the_rest,
		let_go_of_nothing_is_0_and_no_handles_are_EINVAL,
	};

	return unit_run("handles", tests, sizeof(tests) / sizeof(tests[0]));
}
