/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * room.c: see room.h, and tests/model/line.pml.
 */
#include "config.h"

#include "room.h"

#include <errno.h>

#include "alloc.h"
#include "fault.h"
#include "requests.h"
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

/* What a slot's place is, which was read as that. One that no request has makes no sense, since a place is left before
 * its request is closed; nor does one of no state: whoever meets it takes it away. (The place first, then the request:
 * the CAS fails if it was left.) */
static uint64_t sound_place(const struct kvs_actor *actor, uint32_t slot, uint64_t place)
{
	const struct kvs_map *map = actor->map;
	enum kvs_place_state state = kvs_place_state(place);

	if (state == KVS_PLACE_NONE || state == KVS_PLACE_EXPIRED)
		return place;
	if (state < KVS_PLACE_EXPIRED && kvs_request_may_hold(map, kvs_request_word(map, slot)))
		return place;
	if (!move(map, slot, place, KVS_PLACE_NONE))
		return kvs_room_place(map, slot);
	kvs_count(actor, KVS_COUNT_nonsense);
	return 0;
}

/* A place that waits: is it past its deadline? Its owner may be stopped: whoever sees it takes the place away; also if
 * it is not the first, since it may have been. (The deadline is of this place, or the CAS fails; relaxed, since the
 * place's word released it.) *taken: by this. */
static bool expired(const struct kvs_map *map, uint32_t slot, uint64_t place, uint64_t now, bool *taken)
{
	if (now < atomic_load_explicit(&map->requests[slot].deadline, memory_order_relaxed))
		return false;
	if (move(map, slot, place, KVS_PLACE_EXPIRED)) {
		*taken = true;
		kvs_room_wake(map, slot);
	}
	return true;
}

uint32_t kvs_room_first(const struct kvs_actor *actor)
{
	const struct kvs_map *map = actor->map;
	uint64_t now = 0, first = 0;
	uint32_t slot = KVS_NONE;
	bool taken = false;

	for (uint32_t i = 0; i < map->g.requests; i++) {
		uint64_t place = kvs_room_place(map, i);

		if (kvs_place_state(place) == KVS_PLACE_NONE)
			continue; /* as almost all are */
		place = sound_place(actor, i, place);
		if (kvs_place_state(place) != KVS_PLACE_WAITING)
			continue;
		if (!now)
			now = kvs_now();
		if (expired(map, i, place, now, &taken) || (slot != KVS_NONE && place > first))
			continue;
		slot = i;
		first = place;
	}
	/* What they had gathered: one walk for all of them. */
	for (uint32_t i = 0; taken && i < map->g.blocks; i++)
		kvs_room_heal(actor, i);
	return slot;
}

/* Is there somebody to be told of what has changed: who has looked for it, may have found nothing, and may sleep? Most
 * rooms are there at the first look, and cost others nothing. [line: idle] Behind the change: a block's word, or a
 * place. */
static bool sleeps(const struct kvs_map *map)
{
	return atomic_load_explicit(&map->head->line, memory_order_seq_cst) == KVS_LINE_SLEEPS;
}

/* Nobody waits, it seems: the hint goes, unless somebody has come in between; who changed something meanwhile told
 * nobody, so the first is told, whoever that is by then. False: somebody has. */
static bool drop_line(const struct kvs_actor *actor)
{
	const struct kvs_map *map = actor->map;
	uint32_t slot;

	/* [line: drop] */
	atomic_store_explicit(&map->head->line, KVS_LINE_EMPTY, memory_order_seq_cst);
	if (kvs_room_first(actor) == KVS_NONE)
		return true;
	atomic_store_explicit(&map->head->line, KVS_LINE_SLEEPS, memory_order_seq_cst);
	slot = kvs_room_first(actor);
	if (slot != KVS_NONE)
		kvs_room_wake(map, slot);
	return false;
}

/* The first of the line is told that it is. */
static void tell_first(const struct kvs_actor *actor)
{
	uint32_t slot;

	if (!sleeps(actor->map))
		return;
	slot = kvs_room_first(actor);
	if (slot != KVS_NONE)
		kvs_room_wake(actor->map, slot);
	else
		(void)drop_line(actor);
}

bool kvs_room_refused(const struct kvs_actor *actor)
{
	/* Relaxed: who waits sets it again at each of its looks, and until then is overtaken by one block. */
	if (!atomic_load_explicit(&actor->map->head->line, memory_order_relaxed))
		return false;
	return kvs_room_first(actor) != KVS_NONE || !drop_line(actor);
}

void kvs_room_tell(const struct kvs_map *map)
{
	if (sleeps(map))
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

/* To FREE at once: nobody else ever saw it. The caller tells who waits. False: it was taken away. */
static bool put_back(const struct kvs_map *map, struct kvs_room *room)
{
	uint32_t number = room->blocks[--room->count];

	if (!take(map, room->slot, number, KVS_FREE, 0))
		return false;
	kvs_alloc_idle_of_many(map, number);
	return true;
}

static void put_all_back(const struct kvs_map *map, struct kvs_room *room)
{
	while (room->count)
		(void)put_back(map, room);
}

void kvs_room_heal(const struct kvs_actor *actor, uint32_t number)
{
	const struct kvs_map *map = actor->map;
	_Atomic uint64_t *at = &kvs_block(map, number)->word;
	/* [place: look] The word first, then the place: a block that is gathered for the place's next turn has another
	 * word then. */
	uint64_t word = atomic_load_explicit(at, memory_order_seq_cst);
	uint32_t slot = kvs_word_owner(word);

	if (kvs_word_state(word) != KVS_ROOM)
		return;
	if (slot < map->g.requests) {
		enum kvs_place_state state = kvs_place_state(sound_place(actor, slot, kvs_room_place(map, slot)));

		if (state == KVS_PLACE_WAITING || state == KVS_PLACE_GRANTED)
			return;
	} else {
		kvs_count(actor, KVS_COUNT_nonsense);
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
	room->deadline = deadline;
	room->place = number * KVS_PLACE_ONE | KVS_PLACE_WAITING;
	atomic_store_explicit(&map->places[room->slot], room->place, memory_order_seq_cst); /* [place: move] */
}

/* Gives back all that it has, and the place. */
static void give_up(const struct kvs_actor *actor, struct kvs_room *room)
{
	const struct kvs_map *map = actor->map;

	put_all_back(map, room);
	room->place = 0;
	/* Only its owner takes a place that has expired to NONE, and its recoverer: [place: move]. Relaxed: for
	 * people. */
	atomic_store_explicit(&map->places[room->slot], 0, memory_order_seq_cst);
	atomic_store_explicit(&map->requests[room->slot].wanted, 0, memory_order_relaxed);
	tell_first(actor);
}

/* The place is gone: it was taken away, as is lawful from its deadline on. */
static int lost(const struct kvs_actor *actor, struct kvs_room *room)
{
	uint64_t expired_place = (room->place & ~(KVS_PLACE_ONE - 1)) | KVS_PLACE_EXPIRED;
	bool lawful = kvs_room_place(actor->map, room->slot) == expired_place && kvs_now() >= room->deadline;

	give_up(actor, room);
	if (lawful)
		return -ETIMEDOUT;
	kvs_count(actor, KVS_COUNT_nonsense);
	return kvs_fault(EUCLEAN, "the place in the line of request %u was taken away: see kvshm-check", room->slot);
}

static int grant(const struct kvs_actor *actor, struct kvs_room *room)
{
	const struct kvs_map *map = actor->map;

	if (!move(map, room->slot, room->place, KVS_PLACE_GRANTED))
		return lost(actor, room);
	room->place = (room->place & ~(KVS_PLACE_ONE - 1)) | KVS_PLACE_GRANTED;
	atomic_store_explicit(&map->requests[room->slot].wanted, 0, memory_order_relaxed); /* for people */
	tell_first(actor);
	return 0;
}

/* The others go by the deadline in the segment. Relaxed: this client's own. */
static void check_deadline(const struct kvs_actor *actor, const struct kvs_room *room)
{
	_Atomic uint64_t *told = &actor->map->requests[room->slot].deadline;

	if (atomic_load_explicit(told, memory_order_relaxed) == room->deadline)
		return;
	atomic_store_explicit(told, room->deadline, memory_order_relaxed);
	kvs_count(actor, KVS_COUNT_nonsense);
}

/* One look, behind the flag of the line: 0, -ENOSPC, -EAGAIN (it is not the first), -ETIMEDOUT, or a fault. The looks
 * at what is idle begin with hints, which are relaxed: hence the fence. [line: wait] */
static int gather(const struct kvs_actor *actor, struct kvs_room *room, bool thorough)
{
	const struct kvs_map *map = actor->map;
	int rc = 0;

	atomic_thread_fence(memory_order_seq_cst); /* [line: wait] */
	if (kvs_room_first(actor) != room->slot) {
		/* Another has a lower number, who came later: two parts of rooms must not wait for each other. */
		if (room->count) {
			put_all_back(map, room);
			kvs_room_tell(map);
		}
		return kvs_room_place(map, room->slot) == room->place ? -EAGAIN : lost(actor, room);
	}
	while (rc == 0 && room->count < room->wanted) {
		uint32_t number;

		rc = kvs_alloc_room(actor, room->slot, room->wanted - room->count, thorough, &number);
		if (rc == 0)
			room->blocks[room->count++] = number;
		/* Behind the CAS to ROOM: who took the place away in between may have walked past it. */
		if (kvs_room_place(map, room->slot) != room->place)
			return lost(actor, room);
	}
	return rc ? rc : grant(actor, room);
}

int kvs_room_gather(const struct kvs_actor *actor, struct kvs_room *room, bool thorough)
{
	_Atomic uint32_t *line = &actor->map->head->line;
	uint32_t was = KVS_LINE_EMPTY;
	int rc;

	check_deadline(actor, room);
	/* [line: wait] Before the looks at what is idle, and who is first. */
	(void)atomic_compare_exchange_strong_explicit(line, &was, KVS_LINE_GATHERS, memory_order_seq_cst,
						      memory_order_seq_cst);
	rc = gather(actor, room, thorough);
	if ((rc == -ENOSPC || rc == -EAGAIN) && was != KVS_LINE_SLEEPS) {
		/* Until now nobody had to tell what has come. [line: wait] So it looks once more. */
		atomic_store_explicit(line, KVS_LINE_SLEEPS, memory_order_seq_cst);
		rc = gather(actor, room, thorough);
	}
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

bool kvs_room_sleep(const struct kvs_actor *actor, uint32_t slot, const struct kvs_room_bells *bells, uint64_t until)
{
	const struct kvs_map *map = actor->map;

	if (kvs_room_first(actor) == slot)
		return kvs_wait_count(&map->head->room_bell, bells->room, until);
	return kvs_wait_count(&map->requests[slot].bell, bells->own, until);
}

void kvs_room_leave(const struct kvs_actor *actor, struct kvs_room *room)
{
	bool waited = kvs_place_state(room->place) == KVS_PLACE_WAITING;

	if (!room->place)
		return;
	give_up(actor, room);
	if (waited)
		kvs_room_wake(actor->map, room->slot); /* another thread of the owner's may sleep there */
}

bool kvs_room_draw(const struct kvs_actor *actor, struct kvs_room *room, uint32_t *block)
{
	while (kvs_place_state(room->place) == KVS_PLACE_GRANTED && room->count) {
		*block = room->blocks[--room->count];
		if (take(actor->map, room->slot, *block, KVS_OWNED, actor->self))
			return true;
		kvs_count(actor, KVS_COUNT_nonsense); /* nobody takes it as long as the place is granted */
	}
	return false;
}

void kvs_room_spare(const struct kvs_actor *actor, struct kvs_room *room)
{
	if (kvs_place_state(room->place) != KVS_PLACE_GRANTED || !room->count)
		return;
	if (!put_back(actor->map, room))
		kvs_count(actor, KVS_COUNT_nonsense);
	kvs_room_tell(actor->map);
}

void kvs_room_abandon(const struct kvs_actor *actor, uint32_t slot, uint64_t place)
{
	if (kvs_place_state(place) != KVS_PLACE_NONE && move(actor->map, slot, place, KVS_PLACE_NONE))
		tell_first(actor);
}
