/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * requests.c: see requests.h.
 *
 * There is no index of ids: who opens one claims a slot, writes it there, and announces it by making the slot OPENING;
 * then it looks at all slots. Of two at the same time at least one sees the other, and they meet on one word: that
 * of the higher slot, whose owner makes it OPEN and whose rival makes it NONE. (To look first and announce then would
 * let both pass.) A search reads eight bytes for each slot: about a microsecond for a thousand. Who opens one without a
 * name has nothing to compare: it is OPEN at once, with a hash of 0, which is no id's.
 *
 * An id is read as it may be written anew: the word is read before and behind it, and a slot that is only claimed is
 * passed over, which still has the id of its last request. (tests/model/request_open.pml; tests/model/request_end.pml
 * and tests/model/line.pml for the end, and its order against the line.)
 */
#include "config.h"

#include "requests.h"

#include <errno.h>

#include "fault.h"
#include "index.h"
#include "room.h"
#include "wait.h"

uint64_t kvs_request_hash(const struct kvs_map *map, const uint8_t *bytes, uint32_t length)
{
	return kvs_index_hash(map, bytes, length) | 1; /* 0 is none */
}

int kvs_request_nonsense(const struct kvs_actor *actor, uint32_t slot)
{
	kvs_count(actor, KVS_COUNT_nonsense);
	return kvs_fault(EUCLEAN, "the word of request %u makes no sense, or was taken from its owner: see kvshm-check",
			 slot);
}

bool kvs_request_move(const struct kvs_map *map, uint32_t slot, uint64_t *word, enum kvs_request_state state)
{
	uint64_t next = kvs_request_next(*word, state);
	bool waited = kvs_request_state(*word) >= KVS_REQUEST_OPEN && !kvs_request_over(*word);

	/* [request: move] What its owner did comes before what it says; whoever looks finds it, or is woken.
	 * [request-open: announce] [request-open: meet] */
	if (!atomic_compare_exchange_strong_explicit(&map->requests[slot].word, word, next, memory_order_seq_cst,
						     memory_order_seq_cst))
		return false;
	*word = next;
	if (waited) /* nobody sleeps on the word of one that is not open yet, or is over: they were woken by that */
		kvs_wait_wake(&map->requests[slot].word);
	kvs_wait_ring(map);
	return true;
}

/* ---- Ids --------------------------------------------------------------------------------------------------- */

/* Writes an id into a slot that the caller has claimed. [request-id: write] The fence keeps these stores behind the
 * CAS that claimed the slot: who reads any of them finds the word changed, too. What is relaxed is released by the
 * word's next change. */
static void write_id(const struct kvs_map *map, uint32_t slot, const struct kvs_request_id *id)
{
	struct kvs_request *request = &map->requests[slot];
	uint64_t words[KVS_REQUEST_ID_WORDS] = {0};

	if (id->length)
		memcpy(words, id->bytes, id->length);
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < KVS_REQUEST_ID_WORDS; i++)
		atomic_store_explicit(&request->id[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&request->id_length, id->length, memory_order_relaxed);
}

/* [request-id: read] */
bool kvs_request_same(const struct kvs_map *map, uint32_t slot, uint64_t word)
{
	atomic_thread_fence(memory_order_seq_cst);
	/* Relaxed: the fence before it makes it late. */
	return kvs_request_number(atomic_load_explicit(&map->requests[slot].word, memory_order_relaxed)) ==
	       kvs_request_number(word);
}

uint32_t kvs_request_read_id(const struct kvs_request *from, uint8_t id[KVS_REQUEST_ID_SIZE])
{
	uint64_t words[KVS_REQUEST_ID_WORDS];
	uint32_t length;

	/* Relaxed, as told at write_id(). */
	for (unsigned i = 0; i < KVS_REQUEST_ID_WORDS; i++)
		words[i] = atomic_load_explicit(&from->id[i], memory_order_relaxed);
	length = atomic_load_explicit(&from->id_length, memory_order_relaxed);
	if (length > KVS_REQUEST_ID_SIZE)
		return 0;
	memcpy(id, words, length);
	return length;
}

bool kvs_request_still(const struct kvs_map *map, uint32_t slot, uint64_t word)
{
	uint64_t now;

	if (!kvs_request_same(map, slot, word)) /* whose fence keeps all that was read before it */
		return false;
	now = kvs_request_word(map, slot);
	return kvs_request_number(now) == kvs_request_number(word) && kvs_request_live(now);
}

/* May the slot's request be one of that id? Of almost all slots this is all that is looked at. [request-open: look]
 * Behind the own announcement. */
static inline bool may_be_id(const struct kvs_map *map, uint32_t slot, const struct kvs_request_id *id)
{
	return atomic_load_explicit(&map->ids[slot], memory_order_seq_cst) == id->hash;
}

/* Is it one of that id? *word: which, and in what state. */
static bool is_id(const struct kvs_map *map, uint32_t slot, const struct kvs_request_id *id, uint64_t *word)
{
	uint8_t bytes[KVS_REQUEST_ID_SIZE];

	if (!may_be_id(map, slot, id))
		return false;
	*word = kvs_request_word(map, slot);
	if (kvs_request_state(*word) < KVS_REQUEST_OPENING || kvs_request_state(*word) >= KVS_REQUEST_STATES)
		return false;
	return kvs_request_read_id(&map->requests[slot], bytes) == id->length &&
	       kvs_request_same(map, slot, *word) && memcmp(bytes, id->bytes, id->length) == 0;
}

/* Relaxed: the attempt is as old as the id, whose slot is looked at once more. */
static uint32_t attempt_of(const struct kvs_map *map, uint32_t slot)
{
	return atomic_load_explicit(&map->requests[slot].attempt, memory_order_relaxed);
}

bool kvs_request_find(const struct kvs_actor *actor, const struct kvs_request_id *id, uint32_t *slot, uint64_t *word)
{
	const struct kvs_map *map = actor->map;
	bool found = false, live = false;
	uint32_t best = 0;

	for (uint32_t i = 0; i < map->g.requests && !live; i++) {
		uint64_t seen;
		uint32_t attempt;

		if (!is_id(map, i, id, &seen) || kvs_request_state(seen) == KVS_REQUEST_OPENING)
			continue;
		if (!kvs_request_sound(map, seen)) {
			(void)kvs_request_nonsense(actor, i);
			continue;
		}
		attempt = attempt_of(map, i);
		live = kvs_request_live(seen);
		if (!kvs_request_same(map, i, seen) || (!live && found && attempt <= best))
			continue;
		found = true;
		best = attempt;
		*slot = i;
		*word = seen;
	}
	return found;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

/* Claims a slot, from the hand on. nameless: only one whose last request had no name, or that had none yet. Relaxed:
 * the hand, and whether there is a name, are hints. */
static bool claim_from_hand(const struct kvs_actor *actor, bool nameless, uint32_t *slot, uint64_t *word)
{
	const struct kvs_map *map = actor->map;
	uint32_t count = map->g.requests;
	uint64_t hand = atomic_load_explicit(&map->head->request_hand, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = (uint32_t)((hand + i) % count);
		uint64_t was, now;

		if (nameless && atomic_load_explicit(&map->ids[at], memory_order_relaxed) != KVS_REQUEST_NAMELESS)
			continue;
		was = kvs_request_word(map, at);
		if (kvs_request_live(was) && kvs_request_sound(map, was))
			continue;
		if (!kvs_request_sound(map, was))
			(void)kvs_request_nonsense(actor, at);
		now = (uint64_t)actor->self << KVS_OWNER_SHIFT |
		      ((kvs_request_number(was) + 1) & KVS_REQUEST_NUMBERS) << KVS_REQUEST_NUMBER_SHIFT |
		      KVS_REQUEST_CLAIMED;
		/* [request-id: write] */
		if (!atomic_compare_exchange_strong_explicit(&map->requests[at].word, &was, now, memory_order_seq_cst,
							     memory_order_relaxed))
			continue;
		if (!nameless || i == 0)
			atomic_fetch_add_explicit(&map->head->request_hand, i + 1, memory_order_relaxed);
		*slot = at;
		*word = now;
		return true;
	}
	return false;
}

/* Slots with a name to remember are taken in turn, and last, so that closed requests are remembered for long. */
static bool claim(const struct kvs_actor *actor, uint32_t *slot, uint64_t *word)
{
	return claim_from_hand(actor, true, slot, word) || claim_from_hand(actor, false, slot, word);
}

/* What is to be known of a new request. Relaxed, as told in layout.h; the word's next change releases it. */
static void describe(const struct kvs_map *map, uint32_t slot, uint64_t number, uint32_t attempt, uint32_t expected)
{
	struct kvs_request *request = &map->requests[slot];

	atomic_store_explicit(&request->attempt, attempt, memory_order_relaxed);
	atomic_store_explicit(&request->expected, expected, memory_order_relaxed);
	atomic_store_explicit(&request->wanted, 0, memory_order_relaxed);
	atomic_store_explicit(&request->held, 0, memory_order_relaxed);
	atomic_store_explicit(&request->fills, 0, memory_order_relaxed);
	atomic_store_explicit(&request->room, 0, memory_order_relaxed);
	atomic_store_explicit(&request->claims, number << 32, memory_order_relaxed);
	atomic_store_explicit(&request->claimed, 0, memory_order_relaxed);
	atomic_store_explicit(&request->completed, 0, memory_order_relaxed);
	atomic_store_explicit(&request->held_since, 0, memory_order_relaxed);
	atomic_store_explicit(&request->opened, kvs_now(), memory_order_relaxed);
}

/* What the request in another slot means for one that opens its id: 0 nothing, else why it can't. mine: KVS_NONE before
 * a slot was claimed. */
static int meet(const struct kvs_actor *actor, uint32_t other, uint32_t mine, const struct kvs_request_id *id,
		uint32_t attempt)
{
	const struct kvs_map *map = actor->map;
	uint64_t word;

	while (is_id(map, other, id, &word)) {
		if (!kvs_request_sound(map, word)) {
			(void)kvs_request_nonsense(actor, other);
			return 0;
		}
		switch (kvs_request_state(word)) {
		case KVS_REQUEST_OPENING: /* they meet at its word */
			if (mine == KVS_NONE)
				return 0;
			if (other < mine)
				return -EEXIST;
			if (kvs_request_move(map, other, &word, KVS_REQUEST_NONE))
				return 0;
			continue; /* it is open now, or was given up */
		case KVS_REQUEST_CLOSED:
			if (attempt_of(map, other) < attempt)
				return 0;
			if (kvs_request_same(map, other, word))
				return -EALREADY;
			continue;
		default:
			return -EEXIST;
		}
	}
	return 0;
}

static int meet_all(const struct kvs_actor *actor, uint32_t mine, const struct kvs_request_id *id, uint32_t attempt,
		    uint32_t *rival)
{
	int rc = 0;

	for (uint32_t i = 0; i < actor->map->g.requests; i++) {
		if (!may_be_id(actor->map, i, id) || i == mine)
			continue;
		rc = meet(actor, i, mine, id, attempt);
		if (rc == 0)
			continue;
		*rival = i;
		return rc;
	}
	return 0;
}

/* Who has the id, of those that have not given it up: KVS_NONE if that one is gone already. */
static uint32_t find_rival(const struct kvs_map *map, uint32_t mine, const struct kvs_request_id *id)
{
	uint64_t word;

	for (uint32_t i = 0; i < map->g.requests; i++)
		if (i != mine && is_id(map, i, id, &word) && kvs_request_live(word) && kvs_request_sound(map, word))
			return i;
	return KVS_NONE;
}

int kvs_request_open(const struct kvs_actor *actor, const struct kvs_request_id *id, uint32_t attempt,
		     uint32_t expected, uint32_t *slot, uint64_t *word)
{
	const struct kvs_map *map = actor->map;
	bool named = id->hash != KVS_REQUEST_NAMELESS;
	uint32_t mine, rival = 0;
	int rc = named ? meet_all(actor, KVS_NONE, id, attempt, slot) : 0; /* so that a late message takes no slot */

	if (rc)
		return rc;
	if (!claim(actor, &mine, word))
		return -ENFILE;
	write_id(map, mine, id);
	describe(map, mine, kvs_request_number(*word), attempt, expected);
	atomic_store_explicit(&map->ids[mine], id->hash, memory_order_seq_cst); /* [request-open: announce] */
	*slot = mine;
	if (!named)
		return kvs_request_move(map, mine, word, KVS_REQUEST_OPEN) ? 0 : -EAGAIN;
	/* The announcement, before the looks at all others. Only this client's recovery could be in the way. */
	if (!kvs_request_move(map, mine, word, KVS_REQUEST_OPENING))
		return -EAGAIN;
	rc = meet_all(actor, mine, id, attempt, &rival);
	if (rc) {
		(void)kvs_request_move(map, mine, word, KVS_REQUEST_NONE);
	} else if (!kvs_request_move(map, mine, word, KVS_REQUEST_OPEN)) {
		rival = find_rival(map, mine, id);
		rc = rival == KVS_NONE ? -EAGAIN : -EEXIST;
	}
	*slot = rc ? rival : mine;
	return rc;
}

/* ---- Ending ------------------------------------------------------------------------------------------------ */

int kvs_request_ask(const struct kvs_map *map, uint32_t slot, uint64_t number)
{
	uint64_t word = kvs_request_word(map, slot);
	bool asked = false;

	do {
		if (kvs_request_number(word) > number)
			return -EALREADY; /* its slot is another's by now */
		if (kvs_request_number(word) != number || kvs_request_state(word) < KVS_REQUEST_OPEN)
			return -EBADF;
		if (kvs_request_over(word))
			break;
		asked = kvs_request_move(map, slot, &word, KVS_REQUEST_ENDING);
	} while (!asked);
	/* It may sleep in the line, or listen; also where another has asked, who may have died before it told. */
	if (kvs_request_state(word) == KVS_REQUEST_ENDING)
		kvs_room_wake(map, slot);
	return asked ? 0 : -EALREADY;
}

bool kvs_request_claim(const struct kvs_map *map, uint32_t slot, uint64_t number)
{
	_Atomic uint64_t *at = &map->requests[slot].claims;
	uint64_t claims = atomic_load_explicit(at, memory_order_relaxed);

	/* Relaxed: for the owner's look at how long nobody has claimed it, and people. */
	do
		if (claims >> 32 != (uint32_t)number)
			return false;
	while (!atomic_compare_exchange_weak_explicit(at, &claims, number << 32 | (uint32_t)(claims + 1),
						      memory_order_relaxed, memory_order_relaxed));
	atomic_store_explicit(&map->requests[slot].claimed, kvs_now(), memory_order_relaxed);
	return true;
}

/* Is the slot's request one that the actor's client has left? */
static bool mine(const struct kvs_actor *actor, uint32_t slot, uint64_t *word)
{
	*word = kvs_request_word(actor->map, slot);
	return kvs_request_live(*word) && kvs_word_owner(*word) == actor->self;
}

void kvs_request_abort_all(const struct kvs_actor *actor)
{
	uint64_t word;

	for (uint32_t i = 0; i < actor->map->g.requests; i++) {
		/* Before the word: it is of this request, or of an earlier one. */
		uint64_t place = kvs_room_place(actor->map, i);

		if (!mine(actor, i, &word))
			continue;
		kvs_room_abandon(actor, i, place);
		if (kvs_request_state(word) <= KVS_REQUEST_OPENING)
			(void)kvs_request_move(actor->map, i, &word, KVS_REQUEST_NONE);
		while (mine(actor, i, &word) && kvs_request_state(word) > KVS_REQUEST_OPENING &&
		       kvs_request_state(word) != KVS_REQUEST_ABORTED)
			if (kvs_request_move(actor->map, i, &word, KVS_REQUEST_ABORTED))
				kvs_count(actor, KVS_COUNT_requests_aborted);
	}
}

void kvs_request_close_all(const struct kvs_actor *actor)
{
	uint64_t word;

	for (uint32_t i = 0; i < actor->map->g.requests; i++)
		if (mine(actor, i, &word) && kvs_request_state(word) == KVS_REQUEST_ABORTED)
			(void)kvs_request_move(actor->map, i, &word, KVS_REQUEST_CLOSED);
}
