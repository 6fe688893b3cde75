/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room.c: see room.h, and tests/model/line.pml.
 */
#include "config.h"

#include "room.h"

#include <errno.h>

#include "alloc.h"
#include "wait.h"

/* ---- The line ---------------------------------------------------------------------------------------------- */

/* Moves a place on from exactly that word. [place: move] */
static bool move(const struct kvs_map *map, uint32_t slot, uint64_t place, enum kvs_place_state state)
{
	uint64_t next = (place & ~(KVS_PLACE_ONE - 1)) | (uint64_t)state;

	return atomic_compare_exchange_strong_explicit(&map->places[slot], &place, next, memory_order_seq_cst,
						       memory_order_relaxed);
}

/* [bell: ring] Behind what has changed. */
static void ring(_Atomic uint32_t *bell)
{
	atomic_fetch_add_explicit(bell, 1, memory_order_seq_cst);
	kvs_wait_wake_count(bell);
}

static void ring_for_room(const struct kvs_map *map)
{
	ring(&map->head->room_bell);
	kvs_wait_ring(map);
}

void kvs_room_wake(const struct kvs_map *map, uint32_t slot)
{
	ring(&map->requests[slot].bell);
	ring_for_room(map); /* the first of the line sleeps on this one */
}

/* A place that waits: is it past its deadline? Its owner may be stopped: whoever sees it takes the place away, and frees
 * what it had gathered; also if it is not the first, since it may have been. (The deadline is of this place, or the CAS
 * fails; relaxed, since the place's word released it.) */
static bool expired(const struct kvs_map *map, uint32_t slot, uint64_t place, uint64_t now)
{
	if (now < atomic_load_explicit(&map->requests[slot].deadline, memory_order_relaxed))
		return false;
	if (move(map, slot, place, KVS_PLACE_EXPIRED)) {
		for (uint32_t i = 0; i < map->g.blocks; i++)
			kvs_room_heal(map, i);
		kvs_room_wake(map, slot);
	}
	return true;
}

uint32_t kvs_room_first(const struct kvs_map *map)
{
	uint64_t now = 0, first = 0;
	uint32_t slot = KVS_NONE;

	for (uint32_t i = 0; i < map->g.requests; i++) {
		uint64_t place = kvs_room_place(map, i);

		if (kvs_place_state(place) != KVS_PLACE_WAITING)
			continue;
		if (!now)
			now = kvs_now();
		if (expired(map, i, place, now) || (slot != KVS_NONE && place > first))
			continue;
		slot = i;
		first = place;
	}
	return slot;
}

/* Nobody waits, it seems: the hint goes, unless somebody has come in between; who freed a block meanwhile told nobody.
 * False: somebody has. */
static bool drop_line(const struct kvs_map *map)
{
	/* [line: drop] */
	atomic_store_explicit(&map->head->line, 0, memory_order_seq_cst);
	if (kvs_room_first(map) == KVS_NONE)
		return true;
	atomic_store_explicit(&map->head->line, 1, memory_order_seq_cst);
	kvs_room_tell(map);
	return false;
}

/* The first of the line is told that it is. */
static void tell_first(const struct kvs_map *map)
{
	uint32_t slot = kvs_room_first(map);

	if (slot != KVS_NONE)
		kvs_room_wake(map, slot);
	else if (atomic_load_explicit(&map->head->line, memory_order_seq_cst)) /* [line: idle] */
		(void)drop_line(map);
}

bool kvs_room_refused(const struct kvs_map *map)
{
	/* Relaxed: who waits sets it again at each of its looks, and until then is overtaken by one block. */
	if (!atomic_load_explicit(&map->head->line, memory_order_relaxed))
		return false;
	return kvs_room_first(map) != KVS_NONE || !drop_line(map);
}

void kvs_room_tell(const struct kvs_map *map)
{
	/* [line: idle] Behind the word of the block. */
	if (atomic_load_explicit(&map->head->line, memory_order_seq_cst))
		ring_for_room(map);
}

/* ---- Blocks in ROOM ---------------------------------------------------------------------------------------- */

/* Moves a block that is in ROOM of that slot on: to OWNED; or to FREE at once, since nobody else ever saw it.
 * [reuse: leave] */
static bool take(const struct kvs_map *map, uint32_t slot, uint32_t number, enum kvs_state state, uint64_t owner)
{
	_Atomic uint64_t *at = &kvs_block(map, number)->word;
	uint64_t word = atomic_load_explicit(at, memory_order_seq_cst);

	return kvs_word_state(word) == KVS_ROOM && kvs_word_owner(word) == slot &&
	       atomic_compare_exchange_strong_explicit(at, &word, kvs_word_next(word, state, owner),
						       memory_order_seq_cst, memory_order_relaxed);
}

/* The caller tells who waits. */
static void put_back(const struct kvs_map *map, struct kvs_room *room)
{
	uint32_t number = room->blocks[--room->count];

	if (take(map, room->slot, number, KVS_FREE, 0))
		kvs_alloc_idle_of_many(map, number);
}

static void put_all_back(const struct kvs_map *map, struct kvs_room *room)
{
	while (room->count)
		put_back(map, room);
}

void kvs_room_heal(const struct kvs_map *map, uint32_t number)
{
	_Atomic uint64_t *at = &kvs_block(map, number)->word;
	/* [place: look] The word first, then the place: a block that is gathered for the place's next turn has another
	 * word then. */
	uint64_t word = atomic_load_explicit(at, memory_order_seq_cst);
	uint32_t slot = kvs_word_owner(word);

	if (kvs_word_state(word) != KVS_ROOM)
		return;
	if (slot < map->g.requests)
		switch (kvs_place_state(kvs_room_place(map, slot))) {
		case KVS_PLACE_WAITING:
		case KVS_PLACE_GRANTED:
			return;
		default:
			break;
		}
	if (atomic_compare_exchange_strong_explicit(at, &word, kvs_word_next(word, KVS_FREE, 0), memory_order_seq_cst,
						    memory_order_relaxed))
		kvs_alloc_idle(map, number);
}

/* ---- An owner's place -------------------------------------------------------------------------------------- */

void kvs_room_join(const struct kvs_actor *actor, struct kvs_room *room, uint64_t deadline)
{
	const struct kvs_map *map = actor->map;
	struct kvs_request *request = &map->requests[room->slot];
	/* Relaxed: only that numbers differ, and go up, counts. */
	uint64_t number = atomic_fetch_add_explicit(&map->head->line_next, 1, memory_order_relaxed) + 1;

	/* Relaxed: the place's word releases them. */
	atomic_store_explicit(&request->deadline, deadline, memory_order_relaxed);
	atomic_store_explicit(&request->wanted, room->wanted, memory_order_relaxed);
	room->count = 0;
	room->place = number * KVS_PLACE_ONE | KVS_PLACE_WAITING;
	atomic_store_explicit(&map->places[room->slot], room->place, memory_order_seq_cst); /* [place: move] */
}

/* The place is gone: it was taken away. */
static int lost(const struct kvs_map *map, struct kvs_room *room)
{
	put_all_back(map, room);
	room->place = 0;
	/* Only its owner takes a place that has expired to NONE, and its recoverer: [place: move]. Relaxed: for people. */
	atomic_store_explicit(&map->places[room->slot], 0, memory_order_seq_cst);
	atomic_store_explicit(&map->requests[room->slot].wanted, 0, memory_order_relaxed);
	tell_first(map);
	return -ETIMEDOUT;
}

static int grant(const struct kvs_actor *actor, struct kvs_room *room)
{
	const struct kvs_map *map = actor->map;

	if (!move(map, room->slot, room->place, KVS_PLACE_GRANTED))
		return lost(map, room);
	room->place = (room->place & ~(KVS_PLACE_ONE - 1)) | KVS_PLACE_GRANTED;
	atomic_store_explicit(&map->requests[room->slot].wanted, 0, memory_order_relaxed); /* for people */
	tell_first(map);
	return 0;
}

int kvs_room_gather(const struct kvs_actor *actor, struct kvs_room *room, bool thorough)
{
	const struct kvs_map *map = actor->map;
	int rc = 0;

	/* [line: wait] Before the looks at what is idle: which begin with hints, that are relaxed. Hence the fence. */
	atomic_store_explicit(&map->head->line, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	if (kvs_room_first(map) != room->slot) {
		/* Another has a lower number, who came later: two parts of rooms must not wait for each other. */
		if (room->count) {
			put_all_back(map, room);
			kvs_room_tell(map);
		}
		return kvs_room_place(map, room->slot) == room->place ? -EAGAIN : lost(map, room);
	}
	while (rc == 0 && room->count < room->wanted) {
		uint32_t number;

		rc = kvs_alloc_room(actor, room->slot, room->wanted - room->count, thorough, &number);
		if (rc == 0)
			room->blocks[room->count++] = number;
		/* Behind the CAS to ROOM: who took the place away in between may have walked past it. */
		if (kvs_room_place(map, room->slot) != room->place)
			return lost(map, room);
	}
	if (rc == 0)
		rc = grant(actor, room);
	return rc == -ENOSPC ? -EAGAIN : rc;
}

/* [bell: listen] Before the look that comes to nothing. */
struct kvs_room_bells kvs_room_listen(const struct kvs_map *map, uint32_t slot)
{
	return (struct kvs_room_bells){
		.own = atomic_load_explicit(&map->requests[slot].bell, memory_order_seq_cst),
		.room = atomic_load_explicit(&map->head->room_bell, memory_order_seq_cst),
	};
}

bool kvs_room_sleep(const struct kvs_map *map, uint32_t slot, const struct kvs_room_bells *bells, uint64_t until)
{
	if (kvs_room_first(map) == slot)
		return kvs_wait_count(&map->head->room_bell, bells->room, until);
	return kvs_wait_count(&map->requests[slot].bell, bells->own, until);
}

void kvs_room_leave(const struct kvs_actor *actor, struct kvs_room *room)
{
	const struct kvs_map *map = actor->map;
	bool waited = kvs_place_state(room->place) == KVS_PLACE_WAITING;

	if (!room->place)
		return;
	(void)lost(map, room);
	if (waited)
		kvs_room_wake(map, room->slot); /* another thread of the owner's may sleep there */
}

bool kvs_room_draw(const struct kvs_actor *actor, struct kvs_room *room, uint32_t *block)
{
	while (kvs_place_state(room->place) == KVS_PLACE_GRANTED && room->count) {
		*block = room->blocks[--room->count];
		if (take(actor->map, room->slot, *block, KVS_OWNED, actor->self))
			return true;
	}
	return false;
}

void kvs_room_spare(const struct kvs_actor *actor, struct kvs_room *room)
{
	if (kvs_place_state(room->place) != KVS_PLACE_GRANTED || !room->count)
		return;
	put_back(actor->map, room);
	kvs_room_tell(actor->map);
}

void kvs_room_abandon(const struct kvs_map *map, uint32_t slot, uint64_t place)
{
	if (kvs_place_state(place) != KVS_PLACE_NONE && move(map, slot, place, KVS_PLACE_NONE))
		tell_first(map);
}
