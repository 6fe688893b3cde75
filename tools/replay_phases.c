/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_phases.c: the life of a scheduler's requests, from where they are taken to where nobody has anything of them.
 *
 * Room is reserved for all blocks of a request that are missing. One that waits in line keeps the prefix that it has
 * matched for a while only; no new request is taken meanwhile, and the older ones are brought to their end, one at a
 * time. What is being worked on needs nothing more but workers, and these write before they wait: so it ends, and
 * engines wait for each other neither for room nor for fills in a circle.
 */
#include "config.h"

#include "replay_scheduler.h"

#include <errno.h>

/* ---- Ends ------------------------------------------------------------------------------------------------ */

void phases_ended(struct scheduler *scheduler, struct request *request)
{
	if (request->phase != PHASE_ENDING || request->awaited ||
	    handover_state(handover_look(request->stored.handover)) != HANDOVER_FREE)
		return;
	request->phase = request->next;
	if (request->phase == PHASE_FREE && request->decoded && request->first == request->dealt.count)
		client_count_request(&scheduler->client, request->dealt.count,
				     client_hits(request->answers, request->dealt.count));
}

/* Ends a request in the store, and by letter at the workers. */
static int end_request(struct scheduler *scheduler, struct request *request, enum phase next)
{
	int rc = request_end(&scheduler->client, &request->stored);

	items_forget(scheduler, request);
	request->phase = PHASE_ENDING;
	request->next = next;
	request->unsent = request->awaited = scheduler->all;
	return rc;
}

/* Has the oldest request in flight that is only held brought to its end. */
static void end_oldest(struct scheduler *scheduler)
{
	for (uint64_t age = ages(scheduler); age; age--) {
		struct request *request = request_of_age(scheduler, age);

		if (request->phase == PHASE_HELD || request->phase == PHASE_ENDING) {
			request_is_due(&scheduler->client, &request->stored);
			break;
		}
	}
}

/* An attempt has come to nothing for want of room: there is another, unless the decoder is about to abort it. */
static int try_again(struct scheduler *scheduler, struct request *request)
{
	struct client *client = &scheduler->client;
	int rc;

	for (size_t i = 0; i < request->count; i++)
		client->tally.given_up += request->items[i].asked == ASKED_FILL && !request->items[i].done;
	rc = end_request(scheduler, request, PHASE_WAITING);
	if (!request_take_back(&request->stored))
		request->next = PHASE_FREE;
	request->attempt++;
	if (!rc && replay_now() - request->begun >= CLIENT_PATIENCE * REPLAY_MS)
		return client_fail_waiting(client, "no room for half a minute: others hold too much");
	return rc;
}

static int aborted(struct scheduler *scheduler, struct request *request)
{
	int rc = end_request(scheduler, request, PHASE_FREE);

	(void)request_take_back(&request->stored);
	return rc;
}

/* ---- Work ------------------------------------------------------------------------------------------------ */

/* Where a piece is done, it is complete, and the decoder's. */
static int go_on(struct scheduler *scheduler, struct request *request)
{
	int rc;

	if (request->phase != PHASE_WORKING || request->open)
		return 0;
	rc = request_complete(&scheduler->client, &request->stored, 0);
	if (rc == -EAGAIN || rc == -ETIMEDOUT)
		return client_fail(&scheduler->client, "a request whose blocks are whole is not complete", rc);
	if (rc)
		return rc;
	request->first += request->count;
	request->attempt = 0;
	request->begun = replay_now();
	request->phase = PHASE_HELD;
	if (request->first < request->dealt.count)
		request_is_due(&scheduler->client, &request->stored);
	return request_reach(&scheduler->client, &request->stored, ABORT_COMPLETE);
}

int phases_went(struct scheduler *scheduler, struct request *request, int rc)
{
	if (!rc)
		rc = go_on(scheduler, request);
	switch (rc) {
	case -ECANCELED:
		/* Of one that is complete the decoder may have asked for the end: it has it. */
		return request->phase == PHASE_HELD && !request->stored.aborted ? 0 : aborted(scheduler, request);
	case -ETIMEDOUT:
	case -ENOSPC:
		return try_again(scheduler, request);
	default:
		return rc;
	}
}

static int ask(struct scheduler *scheduler, struct request *request)
{
	request->phase = PHASE_WORKING;
	return items_ask(scheduler, request);
}

static int join_line(struct scheduler *scheduler, struct request *request)
{
	int rc = scheduler->line < 0 ? kvshm_poll_fd(scheduler->client.store, &scheduler->line) : 0;

	if (rc)
		return client_fail(&scheduler->client, "there is no descriptor to wait on", rc);
	request->phase = PHASE_LINE;
	request->give_way = request->ready ? replay_now() + REQUEST_HOLD_IN_LINE : UINT64_MAX;
	return request_reach(&scheduler->client, &request->stored, ABORT_IN_LINE);
}

/* Begins a piece. */
static int begin(struct scheduler *scheduler, struct request *request)
{
	int rc = items_begin(scheduler, request);

	scheduler->idle = 0;
	request->decoded = false;
	if (!rc)
		rc = ask(scheduler, request);
	else if (rc == -EINPROGRESS)
		rc = join_line(scheduler, request);
	return phases_went(scheduler, request, rc);
}

/* Looks whether there is room now. */
static int look_at_line(struct scheduler *scheduler, struct request *request)
{
	int rc = request_look_for_room(&scheduler->client, &request->stored);

	if (rc == -EINPROGRESS && replay_now() >= request->give_way) {
		request->give_way = UINT64_MAX;
		rc = items_give_way(scheduler, request);
	}
	if (rc == -EINPROGRESS) {
		end_oldest(scheduler);
		return 0;
	}
	scheduler->idle = 0;
	return phases_went(scheduler, request, rc ? rc : ask(scheduler, request));
}

/* Looks what has become of a request in the hands of others. */
static int look_at(struct scheduler *scheduler, struct request *request)
{
	enum phase phase = request->phase;
	enum handover_state state;
	int rc;

	if (phase == PHASE_LINE)
		return look_at_line(scheduler, request);
	if (phase == PHASE_WORKING) {
		if (handover_state(handover_look(request->stored.handover)) == HANDOVER_OPEN)
			return 0;
		rc = request_look(&scheduler->client, &request->stored);
		return rc == -ECANCELED ? aborted(scheduler, request) : rc;
	}
	rc = request_settle(&scheduler->client, &request->stored, &state);
	if (rc || (state != HANDOVER_DONE && state != HANDOVER_GONE && phase != PHASE_ENDING))
		return rc;
	if (phase == PHASE_HELD) {
		request->decoded = state == HANDOVER_DONE && !request->stored.aborted;
		rc = end_request(scheduler, request, request->decoded && request->first < request->dealt.count ?
							     PHASE_WAITING : PHASE_FREE);
	}
	phases_ended(scheduler, request);
	return rc;
}

/* ---- What comes next ------------------------------------------------------------------------------------- */

/* Takes the next request, if its place is free. */
static int take(struct scheduler *scheduler)
{
	struct request *request = &scheduler->requests[scheduler->next];
	int rc;

	request_is_due(&scheduler->client, &request->stored);
	if (request->phase != PHASE_FREE || handover_state(handover_look(request->stored.handover)) != HANDOVER_FREE)
		return 0;
	scheduler->no_more = !client_deal(&scheduler->client, &request->dealt);
	if (scheduler->no_more)
		return 0;
	rc = items_make_room(scheduler, request);
	scheduler->taken++;
	if (++scheduler->next == scheduler->client.job->in_flight)
		scheduler->next = 0;
	request->phase = PHASE_WAITING;
	request->first = request->count = 0;
	request->attempt = 0;
	request->begun = replay_now();
	return rc ? rc : begin(scheduler, request);
}

struct request *phases_starved(const struct scheduler *scheduler)
{
	for (uint64_t age = ages(scheduler); age; age--) {
		struct request *request = request_of_age(scheduler, age);

		if (request->phase == PHASE_WAITING || request->phase == PHASE_LINE)
			return request;
	}
	return NULL;
}

/* When nothing more is to be taken, ends what is done; when the replay is to stop, also what has not begun, or does not
 * go on. */
static int end_all(struct scheduler *scheduler, bool stopping)
{
	bool stuck = stopping && scheduler->idle >= CLIENT_STOP_PATIENCE;
	int rc = 0;

	for (uint64_t age = ages(scheduler); !rc && age; age--) {
		struct request *request = request_of_age(scheduler, age);

		if (request->phase == PHASE_HELD)
			request_is_due(&scheduler->client, &request->stored);
		if (request->phase == PHASE_WAITING && stopping)
			request->phase = PHASE_FREE;
		else if ((request->phase == PHASE_LINE && stopping) || (request->phase == PHASE_WORKING && stuck))
			rc = aborted(scheduler, request);
	}
	return rc;
}

int phases_advance(struct scheduler *scheduler)
{
	struct request *request = phases_starved(scheduler);
	bool stopping = client_stopping(&scheduler->client);

	scheduler->no_more |= stopping;
	if (request && !stopping)
		return request->phase == PHASE_WAITING ? begin(scheduler, request) : 0;
	return scheduler->no_more ? end_all(scheduler, stopping) : take(scheduler);
}

int phases_look_at_all(struct scheduler *scheduler)
{
	const struct client *client = &scheduler->client;
	int rc = scheduler->line < 0 ? 0 : kvshm_poll_clear(client->store);

	if (!rc)
		rc = kvshm_request_tend(client->store, client->job->claim_timeout, NULL);
	if (rc)
		return client_fail(client, "requests can't be tended", rc);
	for (uint32_t i = 0; !rc && i < client->job->in_flight; i++)
		rc = look_at(scheduler, &scheduler->requests[i]);
	return rc;
}
