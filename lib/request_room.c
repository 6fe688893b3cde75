/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_room.c: room for a request's fills: taking a place in the line, waiting there, and giving it up. Contracts in
 * kvshm.h. Guarantees: nothing is waited for under the request's lock, so that another thread can cancel or end it.
 * (tests/model/line.pml)
 */
#include "config.h"

#include "recover.h"
#include "request.h"

#include <stdlib.h>

/* The room has come, or the place is gone. */
static void leave_line(const struct kvs_actor *actor, struct kvl_request *own, uint64_t now)
{
	kvs_time(actor->reader, KVS_TIME_room, now - own->queued);
	own->queued = 0;
	if (kvs_place_state(own->room.place) == KVS_PLACE_GRANTED)
		return;
	free(own->room.blocks);
	own->room.blocks = NULL;
}

static int too_late(const struct kvs_actor *actor, struct kvl_request *own, uint64_t now)
{
	kvs_room_leave(actor, &own->room);
	leave_line(actor, own, now);
	kvs_count(actor, KVS_COUNT_rooms_timed_out);
	return kvs_routine(ETIMEDOUT, "there was no room for all blocks of the request by the deadline: nothing is "
				      "held for it");
}

/* One look, locked: 0, -EAGAIN, -ETIMEDOUT, or -EUCLEAN. */
static int look(const struct kvs_actor *actor, struct kvl_request *own, bool thorough)
{
	int rc = kvs_room_gather(actor, &own->room, thorough);
	uint64_t now = kvs_now();

	if (rc == -ETIMEDOUT || (rc == -EAGAIN && now >= own->room.deadline))
		rc = too_late(actor, own, now);
	else if (rc != -EAGAIN)
		leave_line(actor, own, now);
	if (rc == 0)
		kvs_count(actor, KVS_COUNT_rooms);
	if (rc != -EAGAIN)
		kvl_request_tell(own);
	return rc;
}

void kvl_request_give_room_back(const struct kvs_actor *actor, struct kvl_request *own)
{
	if (own->queued) {
		kvs_count(actor, KVS_COUNT_rooms_cancelled);
		kvs_time(actor->reader, KVS_TIME_room, kvs_now() - own->queued);
		own->queued = 0;
	}
	kvs_room_leave(actor, &own->room);
	free(own->room.blocks);
	own->room.blocks = NULL;
}

static int in_line(kvshm_store *store)
{
	kvl_poll_later(store);
	return kvs_routine(EINPROGRESS, "the request waits in line for its room");
}

/* A room that was used up is none any more, nor is a place whose deadline has passed, whoever has seen that. */
static int check_size(const struct kvs_actor *actor, struct kvl_request *own, uint32_t blocks)
{
	uint32_t most = actor->map->g.blocks;
	uint64_t now = kvs_now();

	if (kvs_place_state(own->room.place) == KVS_PLACE_GRANTED && own->room.count == 0)
		kvl_request_give_room_back(actor, own);
	if (own->queued && now >= own->room.deadline)
		(void)too_late(actor, own, now);
	if (blocks > most)
		return kvs_fault(E2BIG, "room for %u blocks: the whole store has %u; ask for less, or make it larger",
				 blocks, most);
	if (own->room.place)
		return kvs_routine(EBUSY, "the request has room, or a place in the line, already "
					  "(kvshm_request_unreserve)");
	return 0;
}

/* Takes a place, locked. Others may take it away from the deadline on, but not before it was looked at once. */
static int join(const struct kvs_actor *actor, struct kvl_request *own, uint32_t blocks, uint64_t deadline)
{
	uint64_t now = kvs_now();
	int rc;

	own->room.blocks = malloc(blocks * sizeof(*own->room.blocks));
	if (!own->room.blocks)
		return kvs_fault(ENOMEM, "no memory for the numbers of %u blocks", blocks);
	own->room.wanted = blocks;
	own->queued = now;
	kvs_room_join(actor, &own->room, deadline < now + KVS_WAIT_SLICE ? now + KVS_WAIT_SLICE : deadline);
	rc = look(actor, own, true);
	if (rc == -EAGAIN)
		kvs_count(actor, KVS_COUNT_rooms_waited);
	return rc;
}

int kvshm_request_queue(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks, uint64_t deadline)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	rc = check_size(&actor, own, blocks);
	if (rc == 0 && blocks)
		rc = join(&actor, own, blocks, deadline);
	kvl_request_leave(own);
	return rc == -EAGAIN ? in_line(store) : rc;
}

/* Whoever waits in the line before this one, has gathered something, or fills what is waited for, may be dead. */
int kvl_request_look_around(kvshm_store *store)
{
	int rc = kvs_map_whole(&store->map);

	if (rc == 0)
		rc = kvl_check(store);
	if (rc == 0)
		rc = kvs_recover_dead(&store->map);
	return rc < 0 ? rc : 0;
}

static int no_place_in_line(const struct kvl_request *own)
{
	if (kvs_place_state(own->room.place) == KVS_PLACE_GRANTED)
		return 0;
	return kvs_routine(EINVAL, "the request has no room, and no place in the line: it was given up in another "
				   "thread, or never asked for");
}

/* One turn of waiting: looks, and if that came to nothing sleeps; -EAGAIN: look again. */
static int turn(kvshm_store *store, const struct kvshm_request *request, uint64_t until, uint64_t *next_look)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	struct kvs_room_bells bells;
	uint64_t now = kvs_now();
	bool there;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	bells = kvs_room_listen(&store->map, request->slot);
	rc = own->queued ? look(&actor, own, now >= *next_look) : no_place_in_line(own);
	kvl_request_leave(own);
	if (rc != -EAGAIN)
		return rc;
	if (now >= *next_look) {
		rc = kvl_request_look_around(store);
		*next_look = kvs_now() + KVS_WAIT_SLICE;
	} else {
		rc = 0;
	}
	if (rc || now >= until)
		return rc ? rc : -EINPROGRESS;
	/* Its end may have been asked for before the bells were listened to. */
	if (kvs_request_over(kvs_request_word(&store->map, request->slot)))
		return -EAGAIN;
	there = kvs_room_sleep(&actor, request->slot, &bells, until < *next_look ? until : *next_look);
	/* Asked before the next turn touches what may be gone. */
	rc = there && kvs_now() < *next_look ? 0 : kvs_map_whole(&store->map);
	return rc ? rc : -EAGAIN;
}

int kvshm_request_wait_room(kvshm_store *store, const struct kvshm_request *request, uint64_t until)
{
	uint64_t next_look = 0;
	int rc;

	do
		rc = turn(store, request, until, &next_look);
	while (rc == -EAGAIN);
	return rc == -EINPROGRESS ? in_line(store) : rc;
}

/* The deadline is past, and the look has come to nothing. */
static int give_up_at_once(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	rc = own->queued ? too_late(&actor, own, kvs_now()) : no_place_in_line(own);
	kvl_request_tell(own);
	kvl_request_leave(own);
	return rc;
}

int kvshm_request_reserve(kvshm_store *store, const struct kvshm_request *request, uint32_t blocks, uint64_t deadline)
{
	int rc = kvshm_request_queue(store, request, blocks, deadline);

	if (rc != -EINPROGRESS)
		return rc;
	if (deadline > kvs_now())
		rc = kvshm_request_wait_room(store, request, deadline);
	/* Its place's own deadline, which is a slice away at least, may not have passed yet. */
	if (rc == -EINPROGRESS)
		rc = give_up_at_once(store, request);
	if (rc == -EINVAL)
		return kvs_routine(ECANCELED, "the room was given up in another thread while it was waited for");
	return rc;
}

int kvshm_request_unreserve(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	kvl_request_give_room_back(&actor, own);
	kvl_request_tell(own);
	kvl_request_leave(own);
	return 0;
}
