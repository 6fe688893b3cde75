/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_requests.c: requests, and their places in the line for room, each invariant told where it is checked. See
 * check_look.h. Relaxed: what is looked at are copies.
 *
 * The places are read before the requests. A place's number is never used again, and a request's goes up with each turn
 * of its slot: so what has the same words in all looks has lasted from the first to the last of them.
 */
#include "config.h"

#include "check_look.h"
#include "index.h"
#include "requests.h"
#include "room.h"

static uint64_t request_of(const struct kvs_look *look, uint32_t number)
{
	return atomic_load_explicit(&look->requests[number].word, memory_order_relaxed);
}

static uint64_t place_of(const struct kvs_look *look, uint32_t number)
{
	return atomic_load_explicit(&look->places[number], memory_order_relaxed);
}

/* It has announced its id, and nobody else may open that: from here on, until it is closed. */
static bool is_open(uint64_t word)
{
	return kvs_request_live(word) && kvs_request_state(word) >= KVS_REQUEST_OPEN;
}

/* ---- Requests -------------------------------------------------------------------------------------------- */

/* States that exist; one that is complete says so, and says that it has been from there on. */
static bool makes_sense(uint64_t word)
{
	enum kvs_request_state state = kvs_request_state(word);
	bool completed = word & KVS_REQUEST_COMPLETED;

	if (state == KVS_REQUEST_COMPLETE)
		return completed;
	return state < KVS_REQUEST_STATES && (state > KVS_REQUEST_COMPLETE || !completed);
}

/* Its owner is there, or was and waits for recovery, which will close it. */
static void check_request_owner(struct kvs_look *look, uint32_t number)
{
	uint64_t word = request_of(look, number);
	uint32_t owner = kvs_word_owner(word);

	if (owner >= look->g->clients || !look->slots[owner].live)
		kvs_look_find(look, KVS_FINDING_request_owner, number, owner, word);
	else if (!look->slots[owner].alive)
		look->pending++;
}

/* Whoever opens the same id finds it by the hash that lies beside it, which was written before it was announced. One
 * without a name has neither: a length of 0 beside a hash is an id that was lost. */
static void check_id(struct kvs_look *look, uint32_t number)
{
	const struct kvs_request *request = &look->requests[number];
	uint32_t length = atomic_load_explicit(&request->id_length, memory_order_relaxed);
	uint64_t told = atomic_load_explicit(&look->ids[number], memory_order_relaxed);
	uint64_t word = request_of(look, number), hash;

	if (length == 0 && told == KVS_REQUEST_NAMELESS)
		return;
	if (length == 0 || length > KVS_REQUEST_ID_SIZE) {
		kvs_look_find(look, KVS_FINDING_request_id, number, length, word);
		return;
	}
	hash = XXH3_64bits_withSeed((const void *)request->id, length, look->g->seed) | 1; /* as kvs_request_hash() */
	if (told != hash)
		kvs_look_find(look, KVS_FINDING_request_hidden, number, 0, word);
}

static bool same_id(const struct kvs_request *a, const struct kvs_request *b)
{
	uint32_t length = atomic_load_explicit(&a->id_length, memory_order_relaxed);

	return length > 0 && length <= KVS_REQUEST_ID_SIZE &&
	       length == atomic_load_explicit(&b->id_length, memory_order_relaxed) &&
	       memcmp((const void *)a->id, (const void *)b->id, length) == 0;
}

/* Each id is open once. What is seen is the two words together. */
static void check_others(struct kvs_look *look, uint32_t number)
{
	uint64_t word = request_of(look, number);

	for (uint32_t i = 0; i < number; i++) {
		uint64_t other = request_of(look, i);

		if (is_open(other) && same_id(&look->requests[i], &look->requests[number]))
			kvs_look_find(look, KVS_FINDING_request_twice, number, i, word ^ (other << 32 | other >> 32));
	}
}

static void check_request(struct kvs_look *look, uint32_t number)
{
	uint64_t word = request_of(look, number);

	if (!makes_sense(word)) {
		kvs_look_find(look, KVS_FINDING_request, number, 0, word);
		return;
	}
	if (kvs_request_live(word))
		check_request_owner(look, number);
	if (!is_open(word))
		return;
	check_id(look, number);
	check_others(look, number);
}

/* ---- Places in the line ---------------------------------------------------------------------------------- */

static uint64_t number_of(uint64_t place)
{
	return place / KVS_PLACE_ONE;
}

/* Each has a number of its own. */
static void check_other_places(struct kvs_look *look, uint32_t number)
{
	uint64_t place = place_of(look, number);

	for (uint32_t i = 0; i < number; i++)
		if (kvs_place_state(place_of(look, i)) != KVS_PLACE_NONE &&
		    number_of(place_of(look, i)) == number_of(place))
			kvs_look_find(look, KVS_FINDING_place_twice, number, i, place);
}

/* A place is of a state, with a number that was given out; and its request is open, or its owner has not let go of it
 * yet: the place goes before the request is closed. */
static void check_place(struct kvs_look *look, uint32_t number)
{
	uint64_t place = place_of(look, number);
	bool taken = kvs_place_state(place) != KVS_PLACE_NONE;

	if (kvs_place_state(place) > KVS_PLACE_EXPIRED || number_of(place) > look->line_next ||
	    (taken && number_of(place) == 0)) {
		kvs_look_find(look, KVS_FINDING_place, number, 0, place);
		return;
	}
	if (!taken)
		return;
	if (!is_open(request_of(look, number)))
		kvs_look_find(look, KVS_FINDING_place_left, number, 0, place);
	check_other_places(look, number);
}

/* A block in ROOM whose place is over is anyone's to free, who comes by: so nothing is wrong while anyone is there.
 * What is of a dead one's, its recovery frees. */
static void check_room(struct kvs_look *look, uint32_t block)
{
	uint32_t slot = kvs_word_owner(kvs_look_word(look, block));
	uint64_t word;

	if (kvs_look_state(look, block) != KVS_ROOM || slot >= look->g->requests)
		return;
	word = request_of(look, slot);
	if (is_open(word) && kvs_word_owner(word) < look->g->clients)
		look->pending += look->slots[kvs_word_owner(word)].live && !look->slots[kvs_word_owner(word)].alive;
}

void kvs_check_requests(struct kvs_look *look)
{
	for (uint32_t i = 0; i < look->g->requests; i++) {
		check_request(look, i);
		check_place(look, i);
	}
	for (uint32_t i = 0; i < look->g->blocks; i++)
		check_room(look, i);
}
