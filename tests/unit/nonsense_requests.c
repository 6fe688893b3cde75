/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * nonsense_requests: wild words in what the segment has of requests, and of room, lead to an error code and a counter;
 * a slot, a block or the line that such a word would keep is given back by who meets it (F1). libcheck ends a test that
 * does not end.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "requests.h"
#include "room.h"

#define BLOCKS 64U

/* A store with so many request slots, in which words are damaged; all of its keys are ready. */
static kvshm_store *store_of(uint32_t requests)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	kvshm_store *store;

	options.requests = requests;
	store = unit_make(&options);
	for (uint64_t i = 0; i < BLOCKS; i++)
		unit_put(store, i);
	unit_damaged();
	return store;
}

static struct kvshm_request open_id(kvshm_store *store, char id)
{
	struct kvshm_request request;

	ck_rc(kvshm_request_open(store, &id, 1, 1, 0, &request), 0);
	return request;
}

static int match(kvshm_store *store, const struct kvshm_request *request, uint64_t first, size_t count)
{
	static uint8_t bytes[BLOCKS][UNIT_KEY];
	struct kvshm_handle lent[BLOCKS];
	struct kvshm_key keys[BLOCKS];
	enum kvshm_next next;
	size_t ready = 0;
	int rc;

	for (size_t i = 0; i < count; i++) {
		unit_key(first + i, bytes[i]);
		keys[i] = (struct kvshm_key){.bytes = bytes[i], .length = UNIT_KEY};
	}
	rc = kvshm_request_match(store, request, keys, count, lent, &ready, &next);
	ck_assert(rc || ready == count);
	return rc;
}

static int fill(kvshm_store *store, const struct kvshm_request *request, uint64_t number, struct kvshm_handle *handle)
{
	enum kvshm_outcome outcome;
	uint8_t key[UNIT_KEY];

	unit_key(number, key);
	return kvshm_request_get_or_fill(store, request, key, sizeof(key), &outcome, handle);
}

static unsigned pins(const kvshm_store *store)
{
	unsigned sum = 0;

	for (uint32_t i = 0; i < BLOCKS; i++)
		sum += kvs_entry_pins(unit_entry(store, store->slot, i));
	return sum;
}

static uint64_t nonsense(const kvshm_store *store)
{
	return unit_counter(store, KVS_COUNT_nonsense);
}

static uint64_t word_of(const kvshm_store *store, const struct kvshm_request *request)
{
	return atomic_load(&store->map.requests[request->slot].word);
}

static void set_word(kvshm_store *store, const struct kvshm_request *request, uint64_t word)
{
	atomic_store(&store->map.requests[request->slot].word, word);
}

static uint64_t with_owner(uint64_t word, uint64_t owner)
{
	return (word & ((UINT64_C(1) << KVS_OWNER_SHIFT) - 1)) | owner << KVS_OWNER_SHIFT;
}

/* ---- Words ------------------------------------------------------------------------------------------------ */

START_TEST(F1_a_request_in_no_state_is_EUCLEAN_and_lets_go_of_what_it_held)
{
	kvshm_store *store = store_of(4), *other = unit_attach();
	struct kvshm_request request = open_id(store, 'a');

	ck_rc(match(store, &request, 0, 8), 0);
	ck_assert_uint_eq(pins(store), 8);
	set_word(store, &request, kvs_request_next(word_of(store, &request), KVS_REQUEST_STATES));
	ck_rc(kvshm_request_wait(other, &request, UINT64_MAX), -EUCLEAN);
	ck_rc(kvshm_request_end(other, &request), -EUCLEAN);
	ck_assert_uint_eq(nonsense(store), 2);
	ck_rc(match(store, &request, 0, 8), -EUCLEAN);
	ck_assert_uint_ge(nonsense(store), 3);
	ck_assert_uint_eq(pins(store), 0);
}
END_TEST

START_TEST(F1_a_request_of_a_client_that_cannot_be_keeps_neither_its_id_nor_its_slot)
{
	kvshm_store *store = store_of(1);
	struct kvshm_request request = open_id(store, 'a'), next;

	set_word(store, &request, with_owner(word_of(store, &request), store->map.g.clients));
	ck_rc(kvshm_request_find(store, "a", 1, &next), -ENOENT);
	ck_assert_uint_eq(nonsense(store), 1);
	ck_rc(kvshm_request_claim(store, &request, NULL, 0, NULL, NULL), -EUCLEAN);
	ck_rc(kvshm_request_open(store, "a", 1, 1, 0, &next), 0);
	ck_assert_uint_gt(nonsense(store), 2);
	ck_assert_uint_eq(next.number, request.number + 1);
	ck_rc(kvshm_request_end(store, &next), 0);
}
END_TEST

START_TEST(F1_a_slot_that_was_taken_from_a_request_leaves_the_next_one_nothing_of_it)
{
	kvshm_store *store = store_of(1);
	struct kvshm_request request = open_id(store, 'a'), next;

	ck_rc(match(store, &request, 10, 40), 0);
	ck_rc(kvshm_request_reserve(store, &request, 4, 0), 0);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 4);
	set_word(store, &request, kvs_request_next(word_of(store, &request), KVS_REQUEST_NONE));
	next = open_id(store, 'b');
	ck_assert_uint_ge(nonsense(store), 1);
	ck_assert_uint_eq(pins(store), 0);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
	ck_rc(match(store, &next, 10, 40), 0);
	ck_assert_uint_eq(pins(store), 40);
	ck_rc(kvshm_request_end(store, &next), 0);
	ck_assert_uint_eq(pins(store), 0);
}
END_TEST

START_TEST(F1_a_request_of_another_number_is_EUCLEAN_for_its_owner)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = open_id(store, 'a');
	unsigned ended = 0;

	ck_rc(match(store, &request, 0, 8), 0);
	set_word(store, &request, word_of(store, &request) + (UINT64_C(1) << KVS_REQUEST_NUMBER_SHIFT));
	ck_rc(kvshm_request_tend(store, 0, &ended), 0);
	ck_assert_uint_eq(ended, 1);
	ck_assert_uint_eq(nonsense(store), 1);
	ck_assert_uint_eq(pins(store), 0);
	request = open_id(store, 'b');
	ck_rc(match(store, &request, 0, 8), 0);
	set_word(store, &request, word_of(store, &request) - (UINT64_C(1) << KVS_REQUEST_NUMBER_SHIFT));
	ck_rc(kvshm_request_end(store, &request), -EUCLEAN);
	ck_assert_uint_eq(nonsense(store), 2);
	ck_assert_uint_eq(pins(store), 0);
}
END_TEST

START_TEST(F1_a_fill_of_a_request_that_was_taken_away_ends_with_EUCLEAN)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = open_id(store, 'a');
	struct kvshm_handle handle;

	ck_rc(fill(store, &request, 100, &handle), 0);
	set_word(store, &request, 0);
	ck_rc(kvshm_publish(store, &handle, NULL), -EUCLEAN);
	ck_assert_uint_eq(handle.kind, KVSHM_NONE);
	ck_assert(!unit_has(store, 100));
	ck_assert_uint_eq(unit_count(store, KVS_FILLING) + unit_count(store, KVS_DOOMED), 0);
}
END_TEST

/* ---- Places ----------------------------------------------------------------------------------------------- */

/* A request that waits in line for room as large as the store. */
static struct kvshm_request wait_in_line(kvshm_store *store, uint64_t deadline)
{
	struct kvshm_request request = open_id(store, 'w');

	ck_rc(match(store, &request, 0, 1), 0);
	ck_rc(kvshm_request_queue(store, &request, BLOCKS, deadline), -EINPROGRESS);
	return request;
}

START_TEST(F1_a_deadline_that_was_damaged_makes_nobody_late)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = wait_in_line(store, unit_in_ms(20));

	atomic_store(&store->map.requests[request.slot].deadline, UINT64_MAX);
	ck_rc(kvshm_request_wait_room(store, &request, UINT64_MAX), -ETIMEDOUT);
	ck_assert_uint_eq(nonsense(store), 1);
}
END_TEST

START_TEST(F1_a_place_that_was_taken_away_or_expired_early_is_EUCLEAN)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = wait_in_line(store, UINT64_MAX);
	_Atomic uint64_t *place = &store->map.places[request.slot];

	atomic_store(place, 0);
	ck_rc(kvshm_request_wait_room(store, &request, UINT64_MAX), -EUCLEAN);
	ck_assert_uint_eq(nonsense(store), 1);
	ck_rc(kvshm_request_wait_room(store, &request, UINT64_MAX), -EINVAL);
	ck_rc(kvshm_request_queue(store, &request, BLOCKS, UINT64_MAX), -EINPROGRESS);
	atomic_store(place, (atomic_load(place) & ~(KVS_PLACE_ONE - 1)) | KVS_PLACE_EXPIRED);
	ck_rc(kvshm_request_wait_room(store, &request, UINT64_MAX), -EUCLEAN);
	ck_assert_uint_eq(nonsense(store), 2);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
}
END_TEST

START_TEST(F1_a_place_that_no_request_has_or_of_no_state_holds_up_nobody)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = open_id(store, 'a');
	const uint32_t nobodys = (request.slot + 1) % 4;

	atomic_store(&store->map.requests[nobodys].deadline, UINT64_MAX);
	atomic_store(&store->map.places[nobodys], KVS_PLACE_ONE | KVS_PLACE_WAITING);
	atomic_store(&store->map.head->line, 1);
	unit_put(store, 100);
	ck_assert_uint_eq(nonsense(store), 1);
	atomic_store(&store->map.places[request.slot], KVS_PLACE_ONE | 7);
	atomic_store(&store->map.head->line, 1);
	unit_put(store, 101);
	ck_assert_uint_eq(nonsense(store), 2);
}
END_TEST

/* ---- Blocks in ROOM --------------------------------------------------------------------------------------- */

/* Makes all blocks ROOM of that place. */
static void put_into_room(kvshm_store *store, uint64_t place)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		_Atomic uint64_t *word = &store->map.blocks[i].word;

		atomic_store(word, kvs_word_next(atomic_load(word), KVS_ROOM, place));
	}
}

START_TEST(F1_blocks_in_room_of_no_place_or_of_no_request_are_found_again)
{
	kvshm_store *store = store_of(4);

	ck_rc(kvshm_clear(store), 0);
	put_into_room(store, 4095);
	unit_put(store, 100);
	ck_assert_uint_ge(nonsense(store), 1);
	put_into_room(store, 1);
	atomic_store(&store->map.places[1], KVS_PLACE_ONE | KVS_PLACE_GRANTED);
	unit_put(store, 101);
	ck_assert_uint_eq(unit_count(store, KVS_ROOM), 0);
}
END_TEST

START_TEST(F1_blocks_that_were_taken_out_of_a_room_are_counted)
{
	kvshm_store *store = store_of(4);
	struct kvshm_request request = open_id(store, 'a');
	struct kvshm_handle handle;

	ck_rc(kvshm_request_reserve(store, &request, 3, 0), 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (unit_state(store, i) == KVS_ROOM)
			atomic_store(&store->map.blocks[i].word, 0);
	ck_rc(fill(store, &request, 100, &handle), 0);
	ck_assert_uint_eq(nonsense(store), 3);
	ck_rc(kvshm_give_up(store, &handle), 0);
	ck_rc(kvshm_request_end(store, &request), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		F1_a_request_in_no_state_is_EUCLEAN_and_lets_go_of_what_it_held,
		F1_a_request_of_a_client_that_cannot_be_keeps_neither_its_id_nor_its_slot,
		F1_a_slot_that_was_taken_from_a_request_leaves_the_next_one_nothing_of_it,
		F1_a_request_of_another_number_is_EUCLEAN_for_its_owner,
		F1_a_fill_of_a_request_that_was_taken_away_ends_with_EUCLEAN,
		F1_a_deadline_that_was_damaged_makes_nobody_late,
		F1_a_place_that_was_taken_away_or_expired_early_is_EUCLEAN,
		F1_a_place_that_no_request_has_or_of_no_state_holds_up_nobody,
		F1_blocks_in_room_of_no_place_or_of_no_request_are_found_again,
		F1_blocks_that_were_taken_out_of_a_room_are_counted,
	};

	return unit_run("nonsense_requests", tests, sizeof(tests) / sizeof(tests[0]));
}
