/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_engine.c: one engine, which works on all planes by itself, all in one thread. It takes requests in turn, and
 * has the last ones in flight: complete, and read by its decoder as long as no newer request needs their place, or
 * their room.
 *
 * Room is reserved for all blocks of a request that are missing, and whoever waits for it for long holds nothing
 * itself. So engines can't wait for each other for ever: the first in line waits for requests that are complete, or
 * that have all their room. The older ones of an engine that waits are brought to their end, one at a time.
 */
#include "config.h"

#include "replay_engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REST = 10 }; /* ms, until the next look at what nobody announces */

/* ---- Ends ------------------------------------------------------------------------------------------------ */

void engine_holds(struct engine *engine, struct request *request, size_t blocks)
{
	request->held += (uint32_t)blocks;
	engine->client.holds += (uint32_t)blocks;
	client_show_holds(&engine->client);
}

/* Takes note of a request's end, if it has come. */
static int settle(struct engine *engine, struct request *request)
{
	enum handover_state state;
	int rc = request_settle(&engine->client, &request->stored, &state);

	if (rc || (state != HANDOVER_DONE && state != HANDOVER_GONE))
		return rc;
	engine->client.holds -= request->held;
	request->held = 0;
	client_show_holds(&engine->client);
	if (state == HANDOVER_DONE && request->replayed && !request->stored.aborted)
		client_count_request(&engine->client, request->ids, request->hits);
	request->replayed = false;
	return 0;
}

/* Ends what another has asked the end of, and what nobody has claimed in time. */
static int tend(struct engine *engine)
{
	const struct replay_job *job = engine->client.job;
	int rc = kvshm_request_tend(engine->client.store, job->claim_timeout, NULL);

	if (rc)
		return client_fail(&engine->client, "requests can't be tended", rc);
	for (uint32_t i = 0; !rc && i < job->in_flight; i++)
		rc = settle(engine, &engine->requests[i]);
	return rc;
}

/* Sleeps until there may be something new. */
static int rest(struct engine *engine, int other)
{
	int rc = client_listen(&engine->client, other, REST);

	return rc ? rc : tend(engine);
}

static bool is_there(const struct request *request)
{
	return handover_state(handover_look(request->stored.handover)) != HANDOVER_FREE;
}

/* Has the oldest request in flight brought to its end, but not the one that was taken last. */
static void end_oldest(struct engine *engine)
{
	uint64_t in_flight = engine->client.job->in_flight;

	for (uint64_t age = in_flight < engine->taken ? in_flight : engine->taken; age > 1; age--) {
		struct request *request = &engine->requests[(engine->taken - age) % in_flight];

		if (is_there(request)) {
			request_is_due(&engine->client, &request->stored);
			break;
		}
	}
}

/* Waits until the decoder has let go of a request. -EINTR: it has not, and the replay is to stop. */
static int finish(struct engine *engine, struct request *request)
{
	const struct client *client = &engine->client;
	uint64_t begin = replay_now();
	int rc = tend(engine);

	while (!rc && is_there(request)) {
		uint64_t waited = replay_now() - begin;

		if (client_stopping(client) && waited >= CLIENT_STOP_PATIENCE * REPLAY_MS)
			return -EINTR;
		if (waited >= CLIENT_PATIENCE * REPLAY_MS + client->job->claim_timeout)
			return client_fail_waiting(client, "half a minute's wait for a decoder");
		request_is_due(client, &request->stored);
		rc = rest(engine, -1);
	}
	return rc;
}

/* ---- A request ------------------------------------------------------------------------------------------- */

int engine_wait_for_room(struct engine *engine, struct request *request, uint64_t until)
{
	int line;
	int rc = kvshm_poll_fd(engine->client.store, &line);

	if (rc)
		return client_fail(&engine->client, "there is no descriptor to wait on", rc);
	for (;;) {
		rc = kvshm_poll_clear(engine->client.store);
		if (rc)
			return client_fail(&engine->client, "room can't be waited for", rc);
		rc = request_look_for_room(&engine->client, &request->stored);
		if (rc != -EINPROGRESS || replay_now() >= until)
			return rc;
		if (client_stopping(&engine->client))
			return -EINTR;
		end_oldest(engine);
		rc = rest(engine, line);
		if (rc)
			return rc;
	}
}

/* An attempt has come to nothing for want of room. -ECANCELED: its decoder is about to abort it. */
static int take_back(struct engine *engine, struct request *request)
{
	struct client *client = &engine->client;
	int rc;

	client->tally.given_up += client->fills;
	client->fills = 0;
	engine_holds(engine, request, -(size_t)request->held);
	rc = request_end(client, &request->stored);
	return rc || request_take_back(&request->stored) ? rc : -ECANCELED;
}

/* Replays a piece as soon as there is room for it. -ECANCELED: it was aborted. */
static int insist(struct engine *engine, const struct piece *piece)
{
	struct client *client = &engine->client;
	struct stored *stored = &piece->request->stored;
	uint64_t begin = replay_now();

	for (uint32_t attempt = 0;; attempt++) {
		int rc = request_open(client, stored, piece->dealt, piece->first, piece->count, attempt);

		if (!rc)
			rc = engine_replay_piece(engine, piece);
		if (rc == -ECANCELED || rc == -EINTR) {
			int ended = request_end(client, stored);

			client->fills = 0;
			return ended ? ended : rc;
		}
		if (rc != -ETIMEDOUT && rc != -ENOSPC)
			return rc;
		rc = take_back(engine, piece->request);
		if (rc)
			return rc;
		if (client_stopping(client))
			return -EINTR;
		if (replay_now() - begin >= CLIENT_PATIENCE * REPLAY_MS)
			return client_fail_waiting(client, "no room for half a minute: others hold too much");
	}
}

/* Replays a request, in a place that is free. */
static int replay_request(struct engine *engine, struct request *request, const struct dealt *dealt)
{
	size_t length = replay_piece_length(engine->client.job, dealt->count), first = 0;
	int rc;

	for (size_t i = 0; i < dealt->count; i++)
		replay_key(dealt->ids[i], dealt->round, engine->keys[i]);
	memset(engine->answers, ANSWER_NONE, dealt->count);
	do {
		size_t left = dealt->count - first;
		const struct piece piece = { request, dealt, first, left < length ? left : length };

		rc = first ? finish(engine, request) : 0;
		if (!rc)
			rc = insist(engine, &piece);
		first += piece.count;
	} while (!rc && first < dealt->count);
	request->replayed = !rc;
	request->ids = dealt->count;
	request->hits = client_hits(engine->answers, dealt->count);
	return rc == -ECANCELED ? 0 : rc;
}

/* Takes the next request and replays it. Sets *more to false when there is none. */
static int take_request(struct engine *engine, bool *more)
{
	struct request *request = &engine->requests[engine->taken % engine->client.job->in_flight];
	struct dealt dealt;
	int rc;

	*more = client_deal(&engine->client, &dealt);
	if (!*more)
		return 0;
	rc = finish(engine, request);
	if (rc)
		return rc;
	engine->taken++;
	return replay_request(engine, request, &dealt);
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

static bool make_room(struct engine *engine, uint32_t number)
{
	size_t longest = engine->client.job->trace.longest;

	engine->requests = calloc(engine->client.job->in_flight, sizeof(*engine->requests));
	engine->keys = calloc(longest + 1, sizeof(*engine->keys)); /* + 1: a trace may have no ids at all */
	engine->names = calloc(longest + 1, sizeof(*engine->names));
	engine->handles = calloc(longest + 1, sizeof(*engine->handles));
	engine->outcomes = calloc(longest + 1, sizeof(*engine->outcomes));
	engine->results = calloc(longest + 1, sizeof(*engine->results));
	engine->steps = calloc(longest + 1, sizeof(*engine->steps));
	engine->answers = calloc(longest + 1, sizeof(*engine->answers));
	if (!engine->requests || !engine->keys || !engine->names || !engine->handles || !engine->outcomes ||
	    !engine->results || !engine->steps || !engine->answers)
		return false;
	for (uint32_t i = 0; i < engine->client.job->in_flight; i++)
		engine->requests[i].stored.handover = client_handover(&engine->client, number, i);
	for (size_t i = 0; i < longest; i++)
		engine->names[i] = (struct kvshm_key){ engine->keys[i], REPLAY_KEY_SIZE };
	return true;
}

static void free_room(struct engine *engine)
{
	free(engine->requests);
	free(engine->keys);
	free(engine->names);
	free(engine->handles);
	free(engine->outcomes);
	free(engine->results);
	free(engine->steps);
	free(engine->answers);
}

/* Works until there is nothing more to do, then brings what is in flight to its end: all at the same time. */
static int work(struct engine *engine)
{
	const struct replay_job *job = engine->client.job;
	bool more = true;
	int rc = 0;

	while (!rc && more)
		rc = take_request(engine, &more);
	for (uint32_t i = 0; i < job->in_flight; i++)
		request_is_due(&engine->client, &engine->requests[i].stored);
	for (uint32_t i = 0; (!rc || rc == -EINTR) && i < job->in_flight; i++)
		rc = finish(engine, &engine->requests[i]);
	replay_tally_store(engine->client.place, &engine->client.tally);
	return rc == -EINTR || rc == -EPIPE ? 0 : rc;
}

static int live(struct engine *engine, uint32_t number)
{
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	int rc;

	snprintf(name, sizeof(name), "replay-engine-%" PRIu32, number);
	rc = client_attach(&engine->client, name);
	if (rc)
		return rc == -EINTR ? 0 : rc;
	return client_detach(&engine->client, work(engine));
}

int replay_engine(const struct replay_job *job, uint32_t number, uint64_t seed)
{
	struct engine engine = { 0 };
	int rc = -ENOMEM;

	client_begin(&engine.client, job, number * replay_team(job), seed);
	engine.client.bell = job->mail.pairs[replay_pair(job, number, replay_team(job) - 1)][MAIL_SCHEDULER];
	if (make_room(&engine, number))
		rc = live(&engine, number);
	if (rc == -ENOMEM)
		client_fail_memory(&engine.client);
	free_room(&engine);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
