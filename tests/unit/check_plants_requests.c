/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_plants_requests.c: faults for the check to find, in requests, in the line for room, and in the notes of pins.
 * See check_plants.c.
 */
#include "config.h"

#include "check_scene.h"

#include <inttypes.h>

#include "requests.h"
#include "room.h"
#include "wait.h"

static struct kvs_request *request(uint32_t number)
{
	return &scene.map.requests[number];
}

static uint64_t request_word(uint32_t number)
{
	return atomic_load(&request(number)->word);
}

/* ---- Plants: requests ------------------------------------------------------------------------------------ */

static void put_request(uint32_t number, uint64_t word)
{
	atomic_store(&request(number)->word, word);
	expect("request %u has the word %#" PRIx64 ", which makes no sense", number, word);
}

static void request_of_no_state(void)
{
	put_request(scene.holding, (request_word(scene.holding) & ~UINT64_C(15)) | KVS_REQUEST_STATES);
}

static void complete_and_never_was(void)
{
	put_request(scene.holding, (request_word(scene.holding) & ~UINT64_C(15)) | KVS_REQUEST_COMPLETE);
}

static void open_and_was_complete(void)
{
	put_request(scene.with_room, request_word(scene.with_room) | KVS_REQUEST_COMPLETED);
}

static void give_away(uint32_t owner)
{
	uint64_t word = request_word(scene.holding) & ((UINT64_C(1) << KVS_OWNER_SHIFT) - 1);

	atomic_store(&request(scene.holding)->word, word | (uint64_t)owner << KVS_OWNER_SHIFT);
	expect("request %u is of client %u, whose slot is nobody's", scene.holding, owner);
}

static void request_of_nobody(void)
{
	give_away(6);
}

static void request_beyond_the_clients(void)
{
	give_away(scene.map.g.clients);
}

static void request_that_was_left(void)
{
	atomic_store(&request(7)->word, UINT64_C(1) << KVS_REQUEST_NUMBER_SHIFT | KVS_REQUEST_CLAIMED);
	expect("request 7 is of client 0, whose slot is nobody's");
}

static void put_length(uint32_t length)
{
	atomic_store(&request(scene.holding)->id_length, length);
	expect("request %u has an id of %u bytes", scene.holding, length);
}

static void id_of_no_length(void)
{
	put_length(0);
}

static void id_above_the_longest(void)
{
	put_length(KVS_REQUEST_ID_SIZE + 1);
}

static void byte_of_an_id(void)
{
	atomic_fetch_xor(&request(scene.holding)->id[0], 1);
	expect("request %u is not found by its id", scene.holding);
}

static void hash_of_an_id(void)
{
	atomic_fetch_xor(&scene.map.ids[scene.with_room], 2);
	expect("request %u is not found by its id", scene.with_room);
}

static void id_that_is_open_twice(void)
{
	struct kvs_request *to = request(scene.holding), *from = request(scene.with_room);

	for (unsigned i = 0; i < KVS_REQUEST_ID_WORDS; i++)
		atomic_store(&to->id[i], atomic_load(&from->id[i]));
	atomic_store(&to->id_length, atomic_load(&from->id_length));
	atomic_store(&scene.map.ids[scene.holding], atomic_load(&scene.map.ids[scene.with_room]));
	expect("request %u has the same id as request %u, and both are open", scene.holding, scene.with_room);
}

/* ---- Plants: the line ------------------------------------------------------------------------------------ */

static void put_place(uint64_t number, unsigned state)
{
	uint64_t place = number * KVS_PLACE_ONE | state;

	atomic_store(&scene.map.places[scene.holding], place);
	expect("the place of request %u is %#" PRIx64 ", which makes no sense", scene.holding, place);
}

static void place_of_no_state(void)
{
	put_place(1, KVS_PLACE_EXPIRED + 1);
}

static void place_without_a_number(void)
{
	put_place(0, KVS_PLACE_WAITING);
}

static void place_with_a_number_to_come(void)
{
	put_place(atomic_load(&scene.map.head->line_next) + 1, KVS_PLACE_WAITING);
}

static void place_that_was_left_of_a_number_to_come(void)
{
	put_place(atomic_load(&scene.map.head->line_next) + 1, KVS_PLACE_NONE);
}

static void place_of_a_closed_request(void)
{
	uint64_t number = atomic_fetch_add(&scene.map.head->line_next, 1) + 1;

	atomic_store(&scene.map.places[scene.closed], number * KVS_PLACE_ONE | KVS_PLACE_EXPIRED);
	expect("request %u has a place in the line, though it has ended", scene.closed);
}

static void place_that_is_taken_twice(void)
{
	uint64_t place = atomic_load(&scene.map.places[scene.with_room]);

	ck_assert_int_eq(kvs_place_state(place), KVS_PLACE_GRANTED);
	atomic_store(&scene.map.places[scene.holding], (place & ~(KVS_PLACE_ONE - 1)) | KVS_PLACE_WAITING);
	expect("request %u has the same place in the line as request %u", scene.holding, scene.with_room);
}

/* ---- Plants: notes of pins ------------------------------------------------------------------------------- */

static void put_note(uint32_t slot, uint32_t number, uint64_t note)
{
	atomic_store(&kvs_row_pins(&scene.map, kvs_row(&scene.map, slot))[number], note);
	expect("block %u has a note of pins of client %u, which has none", number, slot);
}

static void note_without_a_pin(void)
{
	put_note(0, scene.held, kvs_note(1, kvs_now()));
}

static void note_of_no_pins(void)
{
	put_note(1, scene.held, kvs_now() << KVS_NOTE_SHIFT);
}

static void note_in_an_idle_row(void)
{
	put_note(0, scene.ready, kvs_note(3, kvs_now()));
}

/* ---- All of them ----------------------------------------------------------------------------------------- */

const struct plant plants_of_requests[] = {
	AT_REST(note, note_in_an_idle_row),
	AT_REST(request_owner, request_that_was_left),
	AT_WORK(note, note_without_a_pin),
	AT_WORK(note, note_of_no_pins),
	AT_WORK(request, request_of_no_state),
	AT_WORK(request, complete_and_never_was),
	AT_WORK(request, open_and_was_complete),
	AT_WORK(request_owner, request_of_nobody),
	AT_WORK(request_owner, request_beyond_the_clients),
	AT_WORK(request_id, id_of_no_length),
	AT_WORK(request_id, id_above_the_longest),
	AT_WORK(request_hidden, byte_of_an_id),
	AT_WORK(request_hidden, hash_of_an_id),
	AT_WORK(request_twice, id_that_is_open_twice),
	AT_WORK(place, place_of_no_state),
	AT_WORK(place, place_without_a_number),
	AT_WORK(place, place_with_a_number_to_come),
	AT_WORK(place, place_that_was_left_of_a_number_to_come),
	AT_WORK(place_left, place_of_a_closed_request),
	AT_WORK(place_twice, place_that_is_taken_twice),
};
const size_t plants_of_requests_count = sizeof(plants_of_requests) / sizeof(plants_of_requests[0]);
