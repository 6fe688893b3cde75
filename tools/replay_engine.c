/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_engine.c: one engine, which works on all planes by itself. It takes requests in turn and holds the blocks of
 * the last ones, as an engine does that decodes several requests at once, all in one thread.
 *
 * Where there is no room, the request's fills are given up and its holds let go of before the engine sleeps. If it gets
 * no further then, it lets go of an older request each time, too: an engine that sleeps holds nothing in the end, and
 * sleeps are random and become longer. So engines can't starve each other for ever.
 */
#include "config.h"

#include "replay_engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- A request ------------------------------------------------------------------------------------------- */

/* Lets go of a request, and counts it. */
static int end_request(struct engine *engine, struct request *request)
{
	int rc = engine_let_go(engine, request);

	if (rc || !request->replayed)
		return rc;
	client_count_request(&engine->client, request->ids, request->hits);
	request->replayed = false;
	return 0;
}

/* Ends the oldest request in flight, if there is one besides the last taken. */
static int end_oldest(struct engine *engine)
{
	uint64_t in_flight = engine->client.job->in_flight;

	for (uint64_t age = in_flight < engine->taken ? in_flight : engine->taken; age > 1; age--) {
		struct request *request = &engine->requests[(engine->taken - age) % in_flight];

		if (request->replayed)
			return end_request(engine, request);
	}
	return 0;
}

/* Replays a piece as soon as there is room for it. */
static int insist(struct engine *engine, const struct piece *piece)
{
	for (unsigned tries = 0;; tries++) {
		int rc = engine_replay_piece(engine, piece);
		int ended;

		if (!rc)
			return 0;
		ended = engine_let_go(engine, piece->request);
		if (!ended && rc == -ENOSPC && tries)
			ended = end_oldest(engine);
		if (ended || rc != -ENOSPC)
			return ended ? ended : rc;
		if (client_stopping(&engine->client))
			return -EINTR;
		if (tries == CLIENT_SLEEPS)
			return client_fail_waiting(&engine->client, "no room for half a minute: others hold too much");
		client_sleep(client_pause(&engine->client, tries));
	}
}

static int replay_request(struct engine *engine, struct request *request, size_t ids)
{
	size_t length = replay_piece_length(engine->client.job, ids);
	int rc = 0;

	if (request->room < length) {
		void *grown = reallocarray(request->handles, length, sizeof(*request->handles));

		if (!grown)
			return -ENOMEM;
		request->handles = grown;
		request->room = length;
	}
	memset(engine->answers, ANSWER_NONE, ids);
	for (size_t first = 0; !rc && first < ids; first += length) {
		const struct piece piece = { request, first, ids - first < length ? ids - first : length };

		rc = engine_let_go(engine, request);
		if (!rc)
			rc = insist(engine, &piece);
	}
	request->replayed = !rc;
	request->ids = ids;
	request->hits = client_hits(engine->answers, ids);
	return rc;
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
	rc = end_request(engine, request);
	if (rc)
		return rc;
	engine->taken++;
	for (size_t i = 0; i < dealt.count; i++)
		replay_key(dealt.ids[i], dealt.round, engine->keys[i]);
	return replay_request(engine, request, dealt.count);
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

static bool make_room(struct engine *engine)
{
	size_t longest = engine->client.job->trace.longest;

	engine->requests = calloc(engine->client.job->in_flight, sizeof(*engine->requests));
	engine->keys = calloc(longest + 1, sizeof(*engine->keys)); /* + 1: a trace may have no ids at all */
	engine->names = calloc(longest + 1, sizeof(*engine->names));
	engine->steps = calloc(longest + 1, sizeof(*engine->steps));
	engine->answers = calloc(longest + 1, sizeof(*engine->answers));
	if (!engine->requests || !engine->keys || !engine->names || !engine->steps || !engine->answers)
		return false;
	for (size_t i = 0; i < longest; i++)
		engine->names[i] = (struct kvshm_key){ engine->keys[i], REPLAY_KEY_SIZE };
	return true;
}

static void free_room(struct engine *engine)
{
	for (uint32_t i = 0; engine->requests && i < engine->client.job->in_flight; i++)
		free(engine->requests[i].handles);
	free(engine->requests);
	free(engine->keys);
	free(engine->names);
	free(engine->steps);
	free(engine->answers);
}

static int work(struct engine *engine)
{
	bool more = true;
	int rc = 0;

	while (!rc && more)
		rc = take_request(engine, &more);
	for (uint32_t i = 0; i < engine->client.job->in_flight; i++) {
		int ended = end_request(engine, &engine->requests[i]);

		rc = rc && rc != -EINTR ? rc : ended;
	}
	replay_tally_store(engine->client.place, &engine->client.tally);
	return rc;
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

	client_begin(&engine.client, job, number, seed);
	if (make_room(&engine))
		rc = live(&engine, number);
	if (rc == -ENOMEM)
		client_fail_memory(&engine.client);
	free_room(&engine);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
