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

#include <errno.h>
#include <string.h>

enum {
	WAIT_SLICE = 100, /* ms of one wait for another's fill */
	WAIT_SLICES = CLIENT_PATIENCE / WAIT_SLICE,
};

/* ---- Holds ----------------------------------------------------------------------------------------------- */

int engine_let_go(struct engine *engine, struct request *request)
{
	size_t count = request->count;

	request->count = 0;
	return client_let_go(&engine->client, request->handles, count);
}

/* ---- The steps of a key ---------------------------------------------------------------------------------- */

static int ask(struct engine *engine, const struct piece *piece, size_t i)
{
	static const enum step next[] = {
		[KVSHM_READY] = STEP_READ,
		[KVSHM_PENDING] = STEP_WAIT,
		[KVSHM_FILL] = STEP_FILL,
	};
	size_t position = piece->first + i;
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(engine->client.store, engine->keys[position], REPLAY_KEY_SIZE, &outcome,
				   &piece->request->handles[i]);

	if (rc)
		return rc == -ENOSPC ? rc : client_fail(&engine->client, "a key can't be asked for", rc);
	engine->steps[position] = next[outcome];
	engine->client.holds++;
	engine->client.fills += outcome == KVSHM_FILL;
	client_show_holds(&engine->client);
	client_note_answer(&engine->answers[position], outcome != KVSHM_FILL);
	return 0;
}

static int fill(struct engine *engine, const struct piece *piece, size_t i)
{
	struct client *client = &engine->client;
	struct kvshm_handle *handle = &piece->request->handles[i];
	size_t position = piece->first + i;
	const uint8_t *key = engine->keys[position];
	struct kvshm_meta meta = client_meta(client, key, position);
	int rc;

	for (unsigned plane = 0; plane < client->job->geometry.planes; plane++) {
		rc = client_write(client, handle, plane, key);
		if (rc)
			return rc;
	}
	rc = kvshm_publish(client->store, handle, &meta);
	if (rc && rc != -ECANCELED)
		return client_fail(client, "a block can't be published", rc);
	client->fills--;
	client->holds -= !!rc;
	client_show_holds(client);
	client->tally.filled += !rc;
	engine->steps[position] = rc ? STEP_ASK : STEP_DONE;
	return 0;
}

/* A block that is ready by now is no wait: so is one that this request itself has filled, where it names an id twice.
 * -EINTR: the replay is to stop. */
static int wait_for(struct engine *engine, const struct piece *piece, size_t i)
{
	struct client *client = &engine->client;
	struct kvshm_handle *handle = &piece->request->handles[i];
	size_t position = piece->first + i;
	unsigned slices = 0;
	int rc = kvshm_wait(client->store, handle, 0);

	client->tally.waited += rc == -ETIMEDOUT;
	while (rc == -ETIMEDOUT) {
		if (client_stopping(client))
			return -EINTR;
		if (slices++ == WAIT_SLICES)
			return client_fail_waiting(client, "half a minute's wait for a block that another fills");
		rc = kvshm_wait(client->store, handle, replay_now() + WAIT_SLICE * REPLAY_MS);
	}
	if (rc && rc != -ECANCELED)
		return client_fail(client, "a block can't be waited for", rc);
	client->holds -= !!rc;
	client_show_holds(client);
	engine->steps[position] = rc ? STEP_ASK : STEP_READ;
	return 0;
}

/* Compares all that another has published under the key. */
static int read_back(struct engine *engine, const struct piece *piece, size_t i)
{
	const struct client *client = &engine->client;
	const struct kvshm_handle *handle = &piece->request->handles[i];
	const uint8_t *key = engine->keys[piece->first + i];
	bool intact;
	int rc = client_check_meta(client, handle, key, &intact);

	for (unsigned plane = 0; !rc && intact && plane < client->job->geometry.planes; plane++)
		rc = client_check_plane(client, handle, plane, key, &intact);
	engine->steps[piece->first + i] = STEP_DONE;
	return rc;
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
	int rc = kvshm_match(engine->client.store, engine->names + piece->first, piece->count, piece->request->handles,
			     ready, &next);

	if (rc)
		return client_fail(&engine->client, "a prefix can't be matched", rc);
	engine->client.holds += (uint32_t)*ready;
	client_show_holds(&engine->client);
	for (size_t i = 0; i < *ready; i++) {
		engine->steps[piece->first + i] = STEP_READ;
		client_note_answer(&engine->answers[piece->first + i], true);
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
