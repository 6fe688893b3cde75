/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_steps.c: what an engine does for a request's keys: match and hold the prefix; get or fill the rest; write and
 * publish what is ours to fill; wait for what others fill; compare all bytes that others wrote. All own fills are
 * published before the first wait, and what has to be filled after a wait is published at once, so engines can't wait
 * for each other in a circle.
 */
#include "config.h"

#include "replay_engine.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define MS UINT64_C(1000000)

enum {
	WAIT_SLICE = 100,    /* ms of one wait for another's fill */
	WAIT_SLICES = 300,
	MISMATCHES_SAID = 5, /* of all engines */
};

/* ---- Holds ----------------------------------------------------------------------------------------------- */

static void show_holds(const struct engine *engine)
{
	atomic_store_explicit(&engine->place->fills, engine->fills, memory_order_relaxed);
	atomic_store_explicit(&engine->place->holds, engine->holds, memory_order_relaxed);
}

static int let_go_of(struct engine *engine, struct kvshm_handle *handle)
{
	bool fill = handle->kind == KVSHM_WRITER;
	int rc;

	if (handle->kind == KVSHM_NONE)
		return 0;
	rc = fill ? kvshm_give_up(engine->store, handle) : kvshm_release(engine->store, handle);
	if (rc)
		return engine_fail(engine, fill ? "a fill can't be given up" : "a block can't be released", rc);
	engine->holds--;
	engine->fills -= fill;
	engine->tally.given_up += fill;
	show_holds(engine);
	return 0;
}

/* The deepest block first: a prefix without its suffix is of use to others, the suffix alone is not. */
int engine_let_go(struct engine *engine, struct request *request)
{
	int rc = 0;

	while (!rc && request->count)
		rc = let_go_of(engine, &request->handles[--request->count]);
	return rc;
}

/* ---- The steps of a key ---------------------------------------------------------------------------------- */

static void note_answer(struct engine *engine, size_t position, bool hit)
{
	if (engine->answers[position] == ANSWER_NONE)
		engine->answers[position] = hit ? ANSWER_HIT : ANSWER_MISS;
}

static int ask(struct engine *engine, const struct piece *piece, size_t i)
{
	static const enum step next[] = {
		[KVSHM_READY] = STEP_READ,
		[KVSHM_PENDING] = STEP_WAIT,
		[KVSHM_FILL] = STEP_FILL,
	};
	size_t position = piece->first + i;
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(engine->store, engine->keys[position], REPLAY_KEY_SIZE, &outcome,
				   &piece->request->handles[i]);

	if (rc)
		return rc == -ENOSPC ? rc : engine_fail(engine, "a key can't be asked for", rc);
	engine->steps[position] = next[outcome];
	engine->holds++;
	engine->fills += outcome == KVSHM_FILL;
	show_holds(engine);
	note_answer(engine, position, outcome != KVSHM_FILL);
	return 0;
}

static int address_of(const struct engine *engine, const struct kvshm_handle *handle, unsigned plane, void **address)
{
	int rc = kvshm_address(engine->store, handle, plane, address);

	return rc ? engine_fail(engine, "a block has no address", rc) : 0;
}

static int fill(struct engine *engine, const struct piece *piece, size_t i)
{
	const struct kvshm_geometry *geometry = &engine->job->geometry;
	struct kvshm_handle *handle = &piece->request->handles[i];
	size_t position = piece->first + i;
	struct kvshm_meta meta = { .length = geometry->block_size, .depth = (uint32_t)position };
	void *bytes;
	int rc;

	for (unsigned plane = 0; plane < geometry->planes; plane++) {
		rc = address_of(engine, handle, plane, &bytes);
		if (rc)
			return rc;
		replay_write(bytes, geometry->block_size, engine->keys[position], plane);
	}
	memcpy(meta.opaque, engine->keys[position], sizeof(meta.opaque));
	rc = kvshm_publish(engine->store, handle, &meta);
	if (rc && rc != -ECANCELED)
		return engine_fail(engine, "a block can't be published", rc);
	engine->fills--;
	engine->holds -= !!rc;
	show_holds(engine);
	engine->tally.filled += !rc;
	engine->steps[position] = rc ? STEP_ASK : STEP_DONE;
	return 0;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 * MS + (uint64_t)time.tv_nsec;
}

/* -EINTR: the replay is to stop. */
static int wait_for(struct engine *engine, const struct piece *piece, size_t i)
{
	size_t position = piece->first + i;
	unsigned slices = 0;
	int rc;

	engine->tally.waited++;
	while ((rc = kvshm_wait(engine->store, &piece->request->handles[i], now() + WAIT_SLICE * MS)) == -ETIMEDOUT) {
		if (engine_stopping(engine))
			return -EINTR;
		if (++slices == WAIT_SLICES)
			return engine_fail_waiting(engine, "half a minute's wait for a block that another fills");
	}
	if (rc && rc != -ECANCELED)
		return engine_fail(engine, "a block can't be waited for", rc);
	engine->holds -= !!rc;
	show_holds(engine);
	engine->steps[position] = rc ? STEP_ASK : STEP_READ;
	return 0;
}

static void say_corrupt(struct engine *engine, const struct kvshm_handle *handle, const char *what)
{
	if (atomic_fetch_add(&engine->job->board->corrupt, 1) < MISMATCHES_SAID)
		tool_say("block %" PRIu32 ", life %" PRIu64 ": %s", handle->block, handle->life, what);
}

/* Compares all that another has published under the key. */
static int read_back(struct engine *engine, const struct piece *piece, size_t i)
{
	const struct kvshm_geometry *geometry = &engine->job->geometry;
	const struct kvshm_handle *handle = &piece->request->handles[i];
	const uint8_t *key = engine->keys[piece->first + i];
	struct kvshm_meta meta;
	void *bytes;
	int rc = kvshm_get_meta(engine->store, handle, &meta);

	if (rc)
		return engine_fail(engine, "a held block says nothing of itself", rc);
	engine->steps[piece->first + i] = STEP_DONE;
	if (meta.length != geometry->block_size || memcmp(meta.opaque, key, sizeof(meta.opaque))) {
		say_corrupt(engine, handle, "length or opaque bytes are not what was published with its key");
		return 0;
	}
	for (unsigned plane = 0; plane < geometry->planes; plane++) {
		rc = address_of(engine, handle, plane, &bytes);
		if (rc)
			return rc;
		if (!replay_intact(bytes, geometry->block_size, key, plane)) {
			say_corrupt(engine, handle, "its bytes are not those of its key");
			return 0;
		}
	}
	return 0;
}

static int take_step(struct engine *engine, const struct piece *piece, size_t i)
{
	switch ((enum step)engine->steps[piece->first + i]) {
	case STEP_ASK:
		return ask(engine, piece, i);
	case STEP_FILL:
		return fill(engine, piece, i);
	case STEP_WAIT:
		return wait_for(engine, piece, i);
	case STEP_READ:
		return read_back(engine, piece, i);
	case STEP_DONE:
		break;
	}
	return 0;
}

/* ---- A piece of a request -------------------------------------------------------------------------------- */

static int match(struct engine *engine, const struct piece *piece, size_t *ready)
{
	enum kvshm_next next;
	int rc = kvshm_match(engine->store, engine->names + piece->first, piece->count, piece->request->handles, ready,
			     &next);

	if (rc)
		return engine_fail(engine, "a prefix can't be matched", rc);
	engine->holds += (uint32_t)*ready;
	show_holds(engine);
	for (size_t i = 0; i < *ready; i++) {
		engine->steps[piece->first + i] = STEP_READ;
		note_answer(engine, piece->first + i, true);
	}
	return 0;
}

int engine_replay_piece(struct engine *engine, const struct piece *piece)
{
	struct request *request = piece->request;
	size_t ready;
	int rc;

	memset(engine->steps + piece->first, STEP_ASK, piece->count);
	for (size_t i = 0; i < piece->count; i++)
		request->handles[i] = (struct kvshm_handle){ .kind = KVSHM_NONE };
	request->count = piece->count;
	rc = match(engine, piece, &ready);
	for (size_t i = ready; !rc && i < piece->count; i++)
		rc = ask(engine, piece, i);
	for (size_t i = ready; !rc && i < piece->count; i++)
		if (engine->steps[piece->first + i] == STEP_FILL)
			rc = fill(engine, piece, i);
	for (size_t i = 0; i < piece->count; i++)
		while (!rc && engine->steps[piece->first + i] != STEP_DONE)
			rc = take_step(engine, piece, i);
	return rc;
}
