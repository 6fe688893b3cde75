/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room.h: room that is reserved before it is needed: real blocks, gathered whole or not at all, in order of arrival.
 *
 * Guarantees: R11 to R13. Each request has one place in the line. The place that waits with the lowest number is the
 * first: its owner alone gathers blocks, as ROOM(place), so that two parts of rooms never wait for each other; fills
 * that have no room reserved are refused while somebody waits. A place has a deadline that anyone enforces: so one that
 * is stopped holds up nobody beyond it, and one that is dead nobody beyond its recovery. Once a place is neither
 * waiting nor granted, its blocks are anyone's to free.
 *
 * Place word:  63..3 number in the line, never 0 and never used again    2..0 state
 *
 *   state     means                          leaves by                                             a death here leaves
 *   NONE      no place                       owner: WAITING, with a new number
 *   WAITING   in the line                    owner: GRANTED, NONE; anyone, after its deadline:     recovery: NONE
 *                                            EXPIRED
 *   GRANTED   has its blocks                 owner: NONE                                           recovery: NONE
 *   EXPIRED   lost it; its owner will see    owner: NONE                                           recovery: NONE
 *
 * Any word is borne (F1): a place that no request has, or of no state, is taken away by who meets it; and what its
 * owner goes by it keeps for itself (struct kvs_room).
 *
 * (tests/model/line.pml)
 */
#ifndef KVS_ROOM_H
#define KVS_ROOM_H

#include "map.h"

enum kvs_place_state { KVS_PLACE_NONE = 0, KVS_PLACE_WAITING, KVS_PLACE_GRANTED, KVS_PLACE_EXPIRED };

static inline enum kvs_place_state kvs_place_state(uint64_t place)
{
	return (enum kvs_place_state)(place & 7);
}

#define KVS_PLACE_ONE UINT64_C(8) /* from one number to the next */

/* [place: look] Sequentially consistent: behind the look at a block's word, or the own CAS to ROOM. */
static inline uint64_t kvs_room_place(const struct kvs_map *map, uint32_t slot)
{
	return atomic_load_explicit(&map->places[slot], memory_order_seq_cst);
}

/* What an owner keeps of its room, in its own memory; used by one thread at a time. */
struct kvs_room {
	uint32_t *blocks; /* those that it has, of any number; the caller's memory, for `wanted` of them */
	uint32_t count, wanted;
	uint32_t slot;	/* of the request */
	uint64_t place; /* the word that it last gave its place; 0: none */
	uint64_t deadline;
};

/* Takes a place in the line, which must have none: room->blocks, wanted and slot are set. */
void kvs_room_join(const struct kvs_actor *actor, struct kvs_room *room, uint64_t deadline);

/* Gathers what it can if it is first: 0: it is granted; -EAGAIN: not yet; -ETIMEDOUT: its deadline has passed, and it
 * has no place any more; -EUCLEAN: its place was taken away, or expired early, which makes no sense. thorough: blocks
 * are evicted and dead clients recovered for it, which costs a walk over the store where there is nothing. Outside of a
 * section. */
int kvs_room_gather(const struct kvs_actor *actor, struct kvs_room *room, bool thorough);

/* Sleeps until there may be something to gather, or until the time. The bells were listened to before the look that
 * came to nothing. False as in kvs_wait_word(). */
struct kvs_room_bells {
	uint32_t own, room;
};
struct kvs_room_bells kvs_room_listen(const struct kvs_map *map, uint32_t slot);
bool kvs_room_sleep(const struct kvs_actor *actor, uint32_t slot, const struct kvs_room_bells *bells, uint64_t until);

/* Wakes a place's owner: it may be the first now, or its request is over. */
void kvs_room_wake(const struct kvs_map *map, uint32_t slot);

/* Gives back the place, and all blocks. */
void kvs_room_leave(const struct kvs_actor *actor, struct kvs_room *room);

/* Takes a block out of a granted room: it is OWNED by the actor. False: there is none left. */
bool kvs_room_draw(const struct kvs_actor *actor, struct kvs_room *room, uint32_t *block);

/* Gives one block back, if there is one. */
void kvs_room_spare(const struct kvs_actor *actor, struct kvs_room *room);

/* The first of those that wait, or KVS_NONE. Takes places away whose deadline has passed. */
uint32_t kvs_room_first(const struct kvs_actor *actor);

/* Does anybody wait? For who would fill without room: looks only where somebody may. */
bool kvs_room_refused(const struct kvs_actor *actor);

/* A block has become idle: tells the first of the line, if there is one. */
void kvs_room_tell(const struct kvs_map *map);

/* A block in ROOM was met: frees it if its place is over. */
void kvs_room_heal(const struct kvs_actor *actor, uint32_t number);

/* Takes a dead or leaving client's place away, from exactly that word. Its blocks are freed by who walks them. */
void kvs_room_abandon(const struct kvs_actor *actor, uint32_t slot, uint64_t place);

#endif
