/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_engine.c: one engine. It takes requests in turn and holds the blocks of the last ones, as an engine does that
 * decodes several requests at once, all in one thread.
 *
 * Where there is no room, the request's fills are given up and its holds let go of before the engine sleeps. If it gets
 * no further then, it lets go of an older request each time, too: an engine that sleeps holds nothing in the end, and
 * sleeps are random and become longer. So engines can't starve each other for ever.
 */
#include "config.h"

#include "replay_engine.h"
#include "replay_random.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SLEEP_SHIFT_MIN = 15, /* without room: 2^15 ns at first, ... */
	SLEEP_SHIFT_MAX = 24, /* ... at most 2^24 ns, half of it random */
	SLEEPS = 2400,	      /* half a minute of them */
	ATTACH_SLEEPS = 80,   /* about a second of them: a dead engine's client slot must be back by then */
};

int engine_fail(const struct engine *engine, const char *what, int error)
{
	if (!atomic_exchange(&engine->job->board->failed, true))
		tool_say("%s: %s", what, kvshm_error());
	return error;
}

int engine_fail_waiting(const struct engine *engine, const char *what)
{
	if (!atomic_exchange(&engine->job->board->failed, true))
		tool_say("%s; kvshm-stat --store %s --clients shows who holds what", what, engine->job->store);
	return -ETIMEDOUT;
}

/* Sleeps, longer from try to try, and never as long as another engine. */
static void back_off(struct engine *engine, unsigned tries)
{
	unsigned shift = tries < SLEEP_SHIFT_MAX - SLEEP_SHIFT_MIN ? SLEEP_SHIFT_MIN + tries : SLEEP_SHIFT_MAX;
	uint64_t half = UINT64_C(1) << (shift - 1);
	struct timespec pause = { .tv_nsec = (long)(half + replay_random_below(&engine->random, half)) };

	nanosleep(&pause, NULL);
}

/* ---- A request ------------------------------------------------------------------------------------------- */

/* Lets go of a request, and counts it. */
static int end_request(struct engine *engine, struct request *request)
{
	int rc = engine_let_go(engine, request);

	if (rc || !request->replayed)
		return rc;
	engine->tally.requests++;
	engine->tally.block_refs += request->ids;
	engine->tally.hits += request->hits;
	replay_tally_store(engine->place, &engine->tally);
	request->replayed = false;
	return 0;
}

/* Ends the oldest request in flight, if there is one besides the last taken. */
static int end_oldest(struct engine *engine)
{
	uint64_t in_flight = engine->job->in_flight;

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
		if (engine_stopping(engine))
			return -EINTR;
		if (tries == SLEEPS)
			return engine_fail_waiting(engine, "no room for half a minute: others hold too much");
		back_off(engine, tries);
	}
}

/* How many blocks to take at a time. A request that is longer than the store can't be held whole. */
static size_t piece_length(const struct engine *engine, size_t ids)
{
	size_t share = engine->job->geometry.blocks / engine->job->procs;

	if (ids <= engine->job->geometry.blocks)
		return ids;
	return share ? share : 1;
}

static int replay_request(struct engine *engine, struct request *request, size_t ids)
{
	size_t length = piece_length(engine, ids);
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
	request->hits = 0;
	for (size_t i = 0; i < ids; i++)
		request->hits += engine->answers[i] == ANSWER_HIT;
	return rc;
}

/* Takes the next request and replays it. Sets *more to false when there is none. */
static int take_request(struct engine *engine, bool *more)
{
	const struct replay_job *job = engine->job;
	const struct replay_trace *trace = &job->trace;
	struct request *request = &engine->requests[engine->taken % job->in_flight];
	uint64_t dealt = atomic_fetch_add(&job->board->next, 1);
	uint64_t round = dealt / trace->request_count;
	size_t begin, ids;
	int rc;

	*more = !engine_stopping(engine) && (job->duration || !round);
	if (!*more)
		return 0;
	rc = end_request(engine, request);
	if (rc)
		return rc;
	engine->taken++;
	begin = replay_trace_begin(trace, dealt % trace->request_count);
	ids = trace->ends[dealt % trace->request_count] - begin;
	for (size_t i = 0; i < ids; i++)
		replay_key(trace->ids[begin + i], round, engine->keys[i]);
	return replay_request(engine, request, ids);
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

/* -EINTR: the replay is to stop. */
static int attach(struct engine *engine, unsigned number)
{
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	const struct kvshm_attach_options options = { .dir = engine->job->dir, .name = name };
	int rc;

	snprintf(name, sizeof(name), "replay-engine-%u", number);
	for (unsigned tries = 0;; tries++) {
		rc = kvshm_attach(engine->job->store, &options, &engine->store);
		if (rc != -EUSERS || tries == ATTACH_SLEEPS || engine_stopping(engine))
			break;
		back_off(engine, tries);
	}
	if (rc == -EUSERS && engine_stopping(engine))
		return -EINTR;
	return rc ? engine_fail(engine, "an engine can't attach", rc) : 0;
}

static bool make_room(struct engine *engine)
{
	size_t longest = engine->job->trace.longest;

	engine->requests = calloc(engine->job->in_flight, sizeof(*engine->requests));
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
	for (uint32_t i = 0; engine->requests && i < engine->job->in_flight; i++)
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
	for (uint32_t i = 0; i < engine->job->in_flight; i++) {
		int ended = end_request(engine, &engine->requests[i]);

		rc = rc && rc != -EINTR ? rc : ended;
	}
	replay_tally_store(engine->place, &engine->tally);
	return rc;
}

static int live(struct engine *engine, unsigned number)
{
	int rc = attach(engine, number);
	int detached;

	if (rc)
		return rc == -EINTR ? 0 : rc;
	rc = work(engine);
	detached = kvshm_detach(engine->store);
	if (!rc && detached)
		rc = engine_fail(engine, "an engine can't detach", detached);
	return rc;
}

int replay_engine(const struct replay_job *job, unsigned number, uint64_t seed)
{
	struct engine engine = { .job = job, .place = &job->board->places[number], .random = seed };
	int rc = -ENOMEM;

	engine.tally = replay_tally_load(engine.place);
	if (make_room(&engine))
		rc = live(&engine, number);
	if (rc == -ENOMEM && !atomic_exchange(&job->board->failed, true))
		tool_say("no memory for an engine: use a smaller --in-flight, or a trace with shorter requests");
	free_room(&engine);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
