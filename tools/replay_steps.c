/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_steps.c: what an engine does for a request's keys: match and hold the prefix; reserve room for the rest; get
 * or fill it; write and publish what is ours to fill; compare what was ready; wait for what others fill, which
 * completes the request; compare that, too. All own fills are published before the first wait, and what has to be
 * filled after a wait is published at once, so engines can't wait for each other in a circle.
 */
#include "config.h"

#include "replay_engine.h"

#include <errno.h>
#include <string.h>

enum {
	WAIT_SLICE = 100, /* ms of one wait for others' fills */
	WAIT_SLICES = CLIENT_PATIENCE / WAIT_SLICE,
};

/* ---- Room ------------------------------------------------------------------------------------------------ */

/* Holds the ready prefix. */
static int match(struct engine *engine, const struct piece *piece, size_t *ready)
{
	struct client *client = &engine->client;
	enum kvshm_next next;
	int rc = kvshm_request_match(client->store, &piece->request->stored.request, engine->names + piece->first,
				     piece->count, engine->handles + piece->first, ready, &next);

	if (rc)
		return rc == -ECANCELED ? rc : client_fail(client, "a prefix can't be matched", rc);
	engine_holds(engine, piece->request, *ready);
	for (size_t i = piece->first; i < piece->first + *ready; i++) {
		engine->steps[i] = STEP_READ;
		client_note_answer(&engine->answers[i], true);
	}
	return 0;
}

/* How many blocks a piece needs besides those of its first `ready` keys. */
static int count_missing(struct engine *engine, const struct piece *piece, size_t ready, uint32_t *blocks)
{
	const uint64_t *ids = piece->dealt->ids + piece->first;
	uint32_t held = 0;
	int rc = request_count_blocks(&engine->client, ids, piece->count, blocks);

	if (!rc && ready)
		rc = request_count_blocks(&engine->client, ids, ready, &held);
	*blocks -= held;
	return rc;
}

static int reserve(struct engine *engine, const struct piece *piece, size_t ready)
{
	uint32_t blocks;
	int rc = count_missing(engine, piece, ready, &blocks);

	return rc ? rc : request_reserve(&engine->client, &piece->request->stored, blocks);
}

/* Lets go of the prefix, and waits in line for room for all. */
static int wait_without(struct engine *engine, const struct piece *piece, size_t *ready)
{
	struct request *request = piece->request;
	int rc = request_give_way(&engine->client, &request->stored, engine->handles + piece->first, *ready);

	engine_holds(engine, request, -*ready);
	memset(engine->steps + piece->first, STEP_ASK, *ready);
	if (!rc)
		rc = reserve(engine, piece, 0);
	if (rc == -EINPROGRESS)
		rc = engine_wait_for_room(engine, request, UINT64_MAX);
	return rc ? rc : match(engine, piece, ready);
}

/* Holds the ready prefix, and has room for the rest. Who has to wait keeps the prefix for a while only. */
static int find_room(struct engine *engine, const struct piece *piece, size_t *ready)
{
	struct client *client = &engine->client;
	struct stored *stored = &piece->request->stored;
	int rc = match(engine, piece, ready);

	if (!rc)
		rc = request_reach(client, stored, ABORT_MATCHED);
	if (!rc)
		rc = reserve(engine, piece, *ready);
	if (rc == -EINPROGRESS) {
		rc = request_reach(client, stored, ABORT_IN_LINE);
		if (!rc)
			rc = engine_wait_for_room(engine, piece->request,
						  *ready ? replay_now() + REQUEST_HOLD_IN_LINE : UINT64_MAX);
	}
	if (rc == -EINPROGRESS)
		rc = wait_without(engine, piece, ready);
	return rc ? rc : request_reach(client, stored, ABORT_RESERVED);
}

/* ---- The steps of a key ---------------------------------------------------------------------------------- */

/* Takes note of what a key that was asked for is. */
static int take(struct engine *engine, const struct piece *piece, size_t i)
{
	static const enum step next[] = {
		[KVSHM_READY] = STEP_READ,
		[KVSHM_PENDING] = STEP_WAIT,
		[KVSHM_FILL] = STEP_FILL,
	};
	bool fill = engine->outcomes[i] == KVSHM_FILL;
	int rc = engine->results[i];

	if (rc)
		return rc == -ENOSPC ? rc : client_fail(&engine->client, "a key can't be asked for", rc);
	engine->steps[i] = next[engine->outcomes[i]];
	engine->client.fills += fill;
	engine_holds(engine, piece->request, 1);
	client_note_answer(&engine->answers[i], !fill);
	return 0;
}

/* Asks for some keys that are not held. All that is held is known, also where one of them has no room: -ENOSPC. */
static int ask(struct engine *engine, const struct piece *piece, size_t first, size_t count)
{
	struct client *client = &engine->client;
	bool no_room = false;
	int rc = kvshm_request_get_or_fill_batch(client->store, &piece->request->stored.request, engine->names + first,
						 count, engine->outcomes + first, engine->handles + first,
						 engine->results + first);

	if (rc)
		return rc == -ECANCELED ? rc : client_fail(client, "keys can't be asked for", rc);
	for (size_t i = first; i < first + count; i++) {
		rc = take(engine, piece, i);
		if (rc && rc != -ENOSPC)
			return rc;
		no_room |= rc == -ENOSPC;
	}
	return no_room ? -ENOSPC : 0;
}

/* -ECANCELED of a publish: the key was removed, or the request was aborted. Asking again tells. */
static int publish(struct engine *engine, const struct piece *piece, size_t i)
{
	struct client *client = &engine->client;
	struct kvshm_meta meta = client_meta(client->job, engine->keys[i], i);
	int rc = kvshm_publish(client->store, &engine->handles[i], &meta);

	if (rc && rc != -ECANCELED)
		return client_fail(client, "a block can't be published", rc);
	client->fills--;
	client->tally.filled += !rc;
	engine->steps[i] = rc ? STEP_ASK : STEP_DONE;
	engine_holds(engine, piece->request, -(size_t)!!rc);
	return rc ? ask(engine, piece, i, 1) : 0;
}

static int fill(struct engine *engine, const struct piece *piece, size_t i)
{
	const struct client *client = &engine->client;
	int rc = 0;

	while (!rc && engine->steps[i] == STEP_FILL) {
		for (unsigned plane = 0; !rc && plane < client->job->geometry.planes; plane++)
			rc = client_write(client, &engine->handles[i], plane, engine->keys[i]);
		if (!rc)
			rc = publish(engine, piece, i);
	}
	return rc;
}

/* Fills what is ours to fill, in the order of the keys. */
static int fill_all(struct engine *engine, const struct piece *piece, size_t ready)
{
	size_t fills = engine->client.fills, filled = 0;
	int rc = 0;

	for (size_t i = piece->first + ready; !rc && i < piece->first + piece->count; i++) {
		if (engine->steps[i] != STEP_FILL)
			continue;
		if (filled++ == fills / 2)
			rc = request_reach(&engine->client, &piece->request->stored, ABORT_FILLING);
		if (!rc)
			rc = fill(engine, piece, i);
	}
	return rc;
}

/* Counts those that others are filling. What this request itself has filled, where it names an id twice, is ready. */
static void count_waits(struct engine *engine, const struct piece *piece)
{
	struct kvshm_meta meta;

	for (size_t i = piece->first; i < piece->first + piece->count; i++)
		engine->client.tally.waited +=
			engine->steps[i] == STEP_WAIT &&
			kvshm_get_meta(engine->client.store, &engine->handles[i], &meta) == -EAGAIN;
}

/* One of the blocks that were waited for has come to nothing: the request does not hold it any more. */
static int ask_again(struct engine *engine, const struct piece *piece)
{
	int rc = 0;

	for (size_t i = piece->first; !rc && i < piece->first + piece->count; i++) {
		if (engine->steps[i] != STEP_WAIT)
			continue;
		engine_holds(engine, piece->request, -(size_t)1);
		rc = ask(engine, piece, i, 1);
		if (!rc)
			rc = fill(engine, piece, i);
	}
	return rc;
}

/* Waits until all blocks are ready. -EINTR: the replay is to stop. */
static int complete(struct engine *engine, const struct piece *piece)
{
	struct client *client = &engine->client;
	struct stored *stored = &piece->request->stored;
	unsigned slices = 0;
	int rc = request_complete(client, stored, 0);

	if (rc == -ETIMEDOUT)
		count_waits(engine, piece);
	while (rc == -ETIMEDOUT || rc == -EAGAIN) {
		if (client_stopping(client))
			return -EINTR;
		if (slices++ == WAIT_SLICES)
			return client_fail_waiting(client, "half a minute's wait for a block that another fills");
		rc = rc == -EAGAIN ? ask_again(engine, piece) : 0;
		if (!rc)
			rc = request_complete(client, stored, replay_now() + WAIT_SLICE * REPLAY_MS);
	}
	return rc;
}

/* Compares what others have published, of the keys at that step. */
static int read_back(struct engine *engine, const struct piece *piece, enum step step)
{
	const struct client *client = &engine->client;
	int rc = 0;

	for (size_t i = piece->first; !rc && i < piece->first + piece->count; i++)
		if (engine->steps[i] == step)
			rc = client_check_block(client, &engine->handles[i], engine->keys[i]);
	return rc;
}

/* ---- A piece of a request -------------------------------------------------------------------------------- */

/* The request is complete. Whoever else ends it now has it: the decoder. What it holds stays until the engine's next
 * call with it. */
static int completed(struct engine *engine, const struct piece *piece)
{
	struct stored *stored = &piece->request->stored;
	int rc = request_reach(&engine->client, stored, ABORT_COMPLETE);

	if (rc)
		return rc == -ECANCELED && !stored->aborted ? 0 : rc;
	return read_back(engine, piece, STEP_WAIT);
}

int engine_replay_piece(struct engine *engine, const struct piece *piece)
{
	size_t ready;
	int rc;

	memset(engine->steps + piece->first, STEP_ASK, piece->count);
	rc = find_room(engine, piece, &ready);
	if (!rc)
		rc = ask(engine, piece, piece->first + ready, piece->count - ready);
	if (!rc)
		rc = fill_all(engine, piece, ready);
	if (!rc)
		rc = read_back(engine, piece, STEP_READ);
	if (!rc)
		rc = complete(engine, piece);
	return rc ? rc : completed(engine, piece);
}
