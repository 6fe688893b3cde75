/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_request.c: see replay_request.h.
 */
#include "config.h"

#include "replay_random.h"
#include "replay_request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_SLEEPS = 80 }; /* about a second of them: what dead engines had open must be closed by then */

/* ---- Opening --------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int request_count_blocks(const struct client *client, const uint64_t *ids, size_t count, uint32_t *blocks)
{
	uint64_t *sorted = malloc((count + 1) * sizeof(*sorted)); /* + 1: there may be none */

	if (!sorted)
		return client_fail_memory(client);
	if (count)
		memcpy(sorted, ids, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare);
	*blocks = 0;
	for (size_t i = 0; i < count; i++)
		*blocks += i == 0 || sorted[i] != sorted[i - 1];
	free(sorted);
	return 0;
}

/* Draws whether, where and by whom the request is to be aborted: by its number, so that it is the same each time. */
static enum handover_wish draw_abort(const struct client *client, struct stored *stored, uint64_t number)
{
	uint64_t random = REPLAY_ABORT_SEED;

	random ^= replay_random(&number);
	stored->point = ABORT_NEVER;
	if (replay_random_below(&random, 100) >= client->job->abort)
		return WISH_NONE;
	stored->point = (enum abort_point)replay_random_below(&random, ABORT_NEVER);
	stored->by_decoder = replay_random_below(&random, 2);
	if (!stored->by_decoder || stored->point < ABORT_COMPLETE)
		return WISH_NONE;
	return stored->point == ABORT_COMPLETE ? WISH_ABORT_COMPLETE : WISH_ABORT_CLAIMED;
}

/* [handover] What is relaxed is released by the word. */
static void hand_over(const struct client *client, struct stored *stored, const struct dealt *dealt, size_t first,
		      size_t count)
{
	struct replay_handover *handover = stored->handover;
	uint64_t word = handover_look(handover) / HANDOVER_TURN * HANDOVER_TURN + HANDOVER_TURN + HANDOVER_OPEN;

	atomic_store_explicit(&handover->number, dealt->number, memory_order_relaxed);
	atomic_store_explicit(&handover->first, first, memory_order_relaxed);
	atomic_store_explicit(&handover->count, count, memory_order_relaxed);
	atomic_store_explicit(&handover->wish, draw_abort(client, stored, dealt->number),
			      memory_order_relaxed);
	atomic_store_explicit(&handover->due, false, memory_order_relaxed);
	atomic_store_explicit(&handover->word, word, memory_order_release);
	client_ring(client);
}

int request_open(struct client *client, struct stored *stored, const struct dealt *dealt, size_t first, size_t count,
		 uint32_t attempt)
{
	char id[KVSHM_REQUEST_ID_MAX];
	size_t length = client_request_id(client->job, dealt->number, first, id);
	uint32_t blocks = 0;
	int rc = request_count_blocks(client, dealt->ids + first, count, &blocks);

	for (unsigned tries = 0; !rc; tries++) {
		rc = kvshm_request_open(client->store, id, length, attempt, blocks, &stored->request);
		if (rc != -ENFILE || tries == OPEN_SLEEPS)
			break;
		rc = kvshm_recover(client->store, NULL);
		client_sleep(client_pause(client, tries));
	}
	if (rc)
		return rc == -ENOMEM ? rc : client_fail(client, "a request can't be opened", rc);
	stored->open = true;
	stored->aborted = false;
	stored->queued = 0;
	hand_over(client, stored, dealt, first, count);
	return 0;
}

/* ---- Room ------------------------------------------------------------------------------------------------ */

static void left_line(struct client *client, struct stored *stored)
{
	uint64_t waited = replay_now() - stored->queued;

	if (!stored->queued)
		return;
	stored->queued = 0;
	client->tally.room_wait += waited;
	if (waited > client->tally.room_wait_max)
		client->tally.room_wait_max = waited;
}

/* What a call that asks for room came to. */
static int judge_room(struct client *client, struct stored *stored, int rc)
{
	if (rc == -EINPROGRESS)
		return rc;
	left_line(client, stored);
	client->tally.rooms_timed_out += rc == -ETIMEDOUT;
	if (rc && rc != -ETIMEDOUT && rc != -ECANCELED)
		return client_fail(client, "room can't be reserved", rc);
	return rc;
}

int request_reserve(struct client *client, struct stored *stored, uint32_t blocks)
{
	uint64_t now = replay_now();
	int rc = kvshm_request_queue(client->store, &stored->request, blocks, now + REQUEST_ROOM_DEADLINE);

	if (rc == -EINPROGRESS && !stored->queued) {
		stored->queued = now;
		client->tally.rooms_waited++;
	}
	return judge_room(client, stored, rc);
}

int request_look_for_room(struct client *client, struct stored *stored)
{
	return judge_room(client, stored, kvshm_request_wait_room(client->store, &stored->request, 0));
}

int request_give_way(struct client *client, struct stored *stored, struct kvshm_handle *lent, size_t count)
{
	int rc = kvshm_request_unreserve(client->store, &stored->request);

	if (!rc)
		rc = kvshm_request_release(client->store, &stored->request, lent, count);
	return rc && rc != -ECANCELED ? client_fail(client, "a request can't give way", rc) : rc;
}

/* ---- Ends ------------------------------------------------------------------------------------------------ */

int request_end(struct client *client, struct stored *stored)
{
	int rc = stored->open ? kvshm_request_end(client->store, &stored->request) : 0;

	left_line(client, stored);
	stored->open = false;
	return rc && rc != -EALREADY ? client_fail(client, "a request can't be ended", rc) : 0;
}

/* The owner's abort, unless another has ended it before: -ECANCELED either way. */
static int abort_it(struct client *client, struct stored *stored)
{
	int rc = kvshm_request_end(client->store, &stored->request);

	client->tally.aborted_by_owner += !rc;
	stored->aborted = !rc;
	stored->point = ABORT_NEVER;
	return rc && rc != -EALREADY ? client_fail(client, "a request can't be aborted", rc) : -ECANCELED;
}

int request_reach(struct client *client, struct stored *stored, enum abort_point point)
{
	if (stored->point > point)
		return 0;
	if (!stored->by_decoder)
		return abort_it(client, stored);
	if (stored->point < ABORT_COMPLETE) {
		atomic_store_explicit(&stored->handover->wish, WISH_ABORT, memory_order_release); /* [handover] */
		client_ring(client);
	}
	stored->point = ABORT_NEVER;
	return 0;
}

int request_look(const struct client *client, const struct stored *stored)
{
	int rc = kvshm_request_release(client->store, &stored->request, NULL, 0);

	return rc && rc != -ECANCELED ? client_fail(client, "a request can't be looked at", rc) : rc;
}

int request_complete(struct client *client, struct stored *stored, uint64_t deadline)
{
	int rc = kvshm_request_complete(client->store, &stored->request, deadline);

	client->tally.completed += !rc;
	if (rc && rc != -ETIMEDOUT && rc != -EAGAIN && rc != -ECANCELED)
		return client_fail(client, "a request can't be completed", rc);
	return rc;
}

bool request_take_back(const struct stored *stored)
{
	uint64_t word = handover_look(stored->handover);

	while (handover_state(word) == HANDOVER_OPEN || handover_state(word) == HANDOVER_GONE)
		if (handover_move(stored->handover, &word, HANDOVER_FREE))
			return true;
	return false;
}

void request_is_due(const struct client *client, const struct stored *stored)
{
	if (handover_state(handover_look(stored->handover)) == HANDOVER_FREE ||
	    atomic_load_explicit(&stored->handover->due, memory_order_relaxed)) /* written by this process only */
		return;
	atomic_store_explicit(&stored->handover->due, true, memory_order_release); /* [handover] */
	client_ring(client);
}

int request_settle(struct client *client, struct stored *stored, enum handover_state *state)
{
	uint64_t word = handover_look(stored->handover);
	int rc;

	*state = handover_state(word);
	switch (*state) {
	case HANDOVER_FREE:
		return 0;
	case HANDOVER_TAKEN:
		if (!stored->open || stored->point != ABORT_CLAIMED || stored->by_decoder)
			return 0;
		rc = abort_it(client, stored);
		return rc == -ECANCELED ? 0 : rc;
	case HANDOVER_OPEN:
		rc = stored->open ? request_look(client, stored) : 0;
		if (rc != -ECANCELED || !handover_move(stored->handover, &word, HANDOVER_FREE))
			return rc == -ECANCELED ? 0 : rc;
		*state = HANDOVER_GONE;
		return request_end(client, stored);
	case HANDOVER_DONE:
	case HANDOVER_GONE:
		break;
	}
	rc = request_end(client, stored);
	(void)handover_move(stored->handover, &word, HANDOVER_FREE);
	return rc;
}
