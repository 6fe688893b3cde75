/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * requests.h: requests in the segment: their words, ids and ends. What a request holds is its owner's own list (lib/):
 * the holds themselves are counts in the owner's row, so that its death ends them. The line for room is room.h's.
 *
 * Guarantees: of any number that open one id at the same time, one does; the rest is told. A request ends once. The
 * owner's death aborts it; it is closed when nothing of it is left, and its slot is not claimed before.
 *
 * Request word:  63..52 owner    51..5 number    4 has been complete    3..0 state
 *   The number goes up whenever the slot is claimed; while it stays, states only go forward. So a CAS from the exact
 *   word that was read can't succeed on a later turn. Waiters look at the low half.
 *
 *   state     its owner is                     leaves by                                     what a death here leaves
 *   NONE      nobody                           who opens: CLAIMED
 *   CLAIMED   writing its id, which nobody     owner: OPENING; without a name: OPEN          recovery: NONE
 *             believes yet
 *   OPENING   comparing its id with others'    owner: OPEN; a rival with a lower slot: NONE  recovery: NONE
 *   OPEN      filling it                       owner: COMPLETE, ABORTED; anyone: ENDING      recovery: ABORTED
 *   COMPLETE  holding it                       owner, anyone: ENDING                         recovery: ABORTED
 *   ENDING    asked to let go, or letting go   owner: CLOSED                                 recovery: ABORTED
 *   ABORTED   letting go                       owner: CLOSED                                 recovery: CLOSED
 *   CLOSED    nobody: id and attempt stay      who opens: CLAIMED
 *
 * A request without a name has an id of length 0 and the hash KVS_REQUEST_NAMELESS: no search finds it, and nothing of
 * it is to be remembered, so that its slot is the first to be claimed again.
 *
 * Any word is borne (F1): one that makes no sense (see kvs_request_sound()) is nobody's, and its slot may be claimed.
 */
#ifndef KVS_REQUESTS_H
#define KVS_REQUESTS_H

#include "map.h"

enum kvs_request_state {
	KVS_REQUEST_NONE = 0,
	KVS_REQUEST_CLAIMED,
	KVS_REQUEST_OPENING,
	KVS_REQUEST_OPEN,
	KVS_REQUEST_COMPLETE,
	KVS_REQUEST_ENDING,
	KVS_REQUEST_ABORTED,
	KVS_REQUEST_CLOSED,
	KVS_REQUEST_STATES
};

#define KVS_REQUEST_COMPLETED UINT64_C(16)
#define KVS_REQUEST_NUMBER_SHIFT 5
#define KVS_REQUEST_NUMBERS ((UINT64_C(1) << (KVS_OWNER_SHIFT - KVS_REQUEST_NUMBER_SHIFT)) - 1)

static inline enum kvs_request_state kvs_request_state(uint64_t word)
{
	return (enum kvs_request_state)(word & 15);
}

static inline uint64_t kvs_request_number(uint64_t word)
{
	return word >> KVS_REQUEST_NUMBER_SHIFT & KVS_REQUEST_NUMBERS;
}

/* It has an owner, who has not let go of it yet. */
static inline bool kvs_request_live(uint64_t word)
{
	return kvs_request_state(word) >= KVS_REQUEST_CLAIMED && kvs_request_state(word) <= KVS_REQUEST_ABORTED;
}

/* It may be a request's word: there is such a state, and such an owner. */
static inline bool kvs_request_sound(const struct kvs_map *map, uint64_t word)
{
	return kvs_request_state(word) < KVS_REQUEST_STATES &&
	       (!kvs_request_live(word) || kvs_word_owner(word) < map->g.clients);
}

/* It is open, or being let go of: so that it may have holds and room. */
static inline bool kvs_request_may_hold(const struct kvs_map *map, uint64_t word)
{
	return kvs_request_live(word) && kvs_request_state(word) >= KVS_REQUEST_OPEN && kvs_request_sound(map, word);
}

/* Its end has come, or was asked for. */
static inline bool kvs_request_over(uint64_t word)
{
	return kvs_request_state(word) >= KVS_REQUEST_ENDING;
}

/* The word in another state. */
static inline uint64_t kvs_request_next(uint64_t word, enum kvs_request_state state)
{
	return (word & ~UINT64_C(15)) | (uint64_t)state | (state == KVS_REQUEST_COMPLETE ? KVS_REQUEST_COMPLETED : 0);
}

static inline uint64_t kvs_request_word(const struct kvs_map *map, uint32_t slot)
{
	/* [request: look] Sequentially consistent: who waits looks behind its fall asleep's value; who takes a place,
	 * or holds by a claim, looks behind that; who asks, or lets go, comes before. */
	return atomic_load_explicit(&map->requests[slot].word, memory_order_seq_cst);
}

/* The client slot of a request's owner; relaxed: who acts on it looks at that one's lock. */
static inline uint32_t kvs_request_owner(const struct kvs_map *map, uint32_t slot)
{
	return kvs_word_owner(atomic_load_explicit(&map->requests[slot].word, memory_order_relaxed));
}

struct kvs_request_id {
	const uint8_t *bytes;
	uint32_t length; /* 1 to KVS_REQUEST_ID_SIZE; 0: without a name */
	uint64_t hash;	 /* kvs_request_hash() */
};

#define KVS_REQUEST_NAMELESS 0U /* no id's hash; also that of a slot which had no request yet */

uint64_t kvs_request_hash(const struct kvs_map *map, const uint8_t *bytes, uint32_t length);

/* Opens a request: *slot and *word. -EEXIST: one is open, in *slot. -EALREADY: that attempt, or a later one, was
 * closed. -ENFILE: no slot is left. -EAGAIN: one that has gone since was in the way. */
int kvs_request_open(const struct kvs_actor *actor, const struct kvs_request_id *id, uint32_t attempt,
		     uint32_t expected, uint32_t *slot, uint64_t *word);

/* Finds the last attempt of an id; a live one goes first. False: there is none. */
bool kvs_request_find(const struct kvs_actor *actor, const struct kvs_request_id *id, uint32_t *slot, uint64_t *word);

/* Counts a word that makes no sense, and says so: -EUCLEAN. */
int kvs_request_nonsense(const struct kvs_actor *actor, uint32_t slot);

/* Copies the id out of a request's slot, mapped or copied, as it is now: its length, or 0 if that makes no sense, or
 * there is no name. */
uint32_t kvs_request_read_id(const struct kvs_request *from, uint8_t id[KVS_REQUEST_ID_SIZE]);

/* Does the slot still have the request of that word? Then what was read of it before this is that one's. */
bool kvs_request_same(const struct kvs_map *map, uint32_t slot, uint64_t word);

/* Is the slot's request still that one, and not closed? Then what was read before of its owner was that one's. */
bool kvs_request_still(const struct kvs_map *map, uint32_t slot, uint64_t word);

/* Moves the word on from *word to a state, and wakes who waits for an open one; *word is what it is then, in either
 * case. */
bool kvs_request_move(const struct kvs_map *map, uint32_t slot, uint64_t *word, enum kvs_request_state state);

/* Asks for the end of a request that is another's: 0, -EALREADY, or -EBADF if the slot has no request of that
 * number. */
int kvs_request_ask(const struct kvs_map *map, uint32_t slot, uint64_t number);

/* Counts a claim of a request; false: its slot is another's by now, who must not be taken for claimed. */
bool kvs_request_claim(const struct kvs_map *map, uint32_t slot, uint64_t number);

/* How often it was claimed. Relaxed: as there. */
static inline uint32_t kvs_request_claims(const struct kvs_request *request)
{
	return (uint32_t)atomic_load_explicit(&request->claims, memory_order_relaxed);
}

/* For the actor's client, which is dead or leaves: gives up its places in the line, and aborts its requests; then, once
 * the blocks have been walked, closes them. Both may be repeated, stop, and go on late. */
void kvs_request_abort_all(const struct kvs_actor *actor);
void kvs_request_close_all(const struct kvs_actor *actor);

#endif
