/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_sending.c: the transfers of a remote replay. Each offers all its blocks at once; what is granted is written
 * and committed as memory becomes free, in order. One that found no room over there, an earlier attempt still open, or
 * its connection lost, is tried again with a higher attempt number, for as long as the replay has patience: what has
 * arrived before is there, then. Guarantees: bytes stay until they have arrived, or their transfer has ended.
 */
#include "config.h"

#include "replay_random.h"
#include "replay_remote.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	COMMIT_BATCH = 64,   /* blocks that are committed at a time */
	PAUSE_MS = 50,	     /* before another attempt */
	ABORT_KINDS = 3,
};

static bool fail(const char *what)
{
	tool_say("%s: %s", what, kvshm_error());
	return false;
}

bool replay_sendings_make(struct replay_remote *remote)
{
	const struct replay_job *job = remote->job;
	size_t longest = job->trace.longest ? job->trace.longest : 1;
	bool good;

	remote->sendings = calloc(job->in_flight, sizeof(*remote->sendings));
	remote->offers = calloc(longest, sizeof(*remote->offers));
	remote->keys = calloc(longest, sizeof(*remote->keys));
	good = remote->sendings && remote->offers && remote->keys;
	for (uint32_t i = 0; good && i < job->in_flight; i++) {
		remote->sendings[i].slots = calloc(longest, sizeof(uint32_t));
		remote->sendings[i].granted = calloc(longest, sizeof(uint32_t));
		good = remote->sendings[i].slots && remote->sendings[i].granted;
	}
	if (!good)
		tool_say("no memory for %" PRIu32 " requests in flight: use a smaller --in-flight", job->in_flight);
	return good;
}

void replay_sendings_free(struct replay_remote *remote)
{
	for (uint32_t i = 0; remote->sendings && i < remote->job->in_flight; i++) {
		free(remote->sendings[i].slots);
		free(remote->sendings[i].granted);
	}
	free(remote->sendings);
	free(remote->offers);
	free(remote->keys);
}

/* ---- What is to be sent ---------------------------------------------------------------------------------- */

/* Which requests are aborted, and where, follows from their numbers. */
static enum replay_abort_at choose_abort(const struct replay_job *job, uint64_t number)
{
	uint64_t random = REPLAY_ABORT_SEED + number;

	if (replay_random_below(&random, 100) >= job->abort)
		return ABORT_NEVER;
	return (enum replay_abort_at)(ABORT_AT_ONCE + replay_random_below(&random, ABORT_KINDS));
}

static void make_due(const struct replay_job *job, struct replay_sending *sending, size_t first)
{
	size_t piece = replay_piece_length(job, sending->dealt.count), left = sending->dealt.count - first;

	sending->state = SENDING_DUE;
	sending->first = first;
	sending->count = left < piece ? left : piece;
	sending->attempt = 0;
	sending->at = 0;
	sending->patience = replay_now() + CLIENT_PATIENCE * REPLAY_MS;
}

/* Takes the next request of the trace. */
static void deal(struct replay_remote *remote, struct replay_sending *sending)
{
	struct dealt dealt = client_request(remote->job, remote->number);

	if (remote->interrupted || (remote->job->duration ? replay_now() >= remote->ends : dealt.round))
		return;
	remote->number++;
	sending->dealt = dealt;
	sending->abort_at = choose_abort(remote->job, dealt.number);
	make_due(remote->job, sending, 0);
}

/* Another attempt, unless one has tried for long enough. */
static bool try_again(struct replay_remote *remote, struct replay_sending *sending, uint64_t *counter)
{
	uint64_t now = replay_now();

	if (remote->interrupted) {
		sending->state = SENDING_IDLE;
		return true;
	}
	if (now >= sending->patience)
		return fail("a request can't be sent, however often it is tried");
	(*counter)++;
	sending->state = SENDING_DUE;
	sending->attempt++;
	sending->at = now + PAUSE_MS * REPLAY_MS;
	return true;
}

/* ---- The beginning of a transfer ------------------------------------------------------------------------- */

static bool abort_now(struct replay_sending *sending)
{
	sending->aborting = true;
	return !kvshm_transfer_abort(sending->transfer) || fail("a transfer can't be aborted");
}

static int offer(struct replay_remote *remote, struct replay_sending *sending)
{
	const struct replay_job *job = remote->job;

	for (size_t i = 0; i < sending->count; i++) {
		replay_key(sending->dealt.ids[sending->first + i], sending->dealt.round, remote->keys[i]);
		remote->offers[i].key = (struct kvshm_key){ remote->keys[i], REPLAY_KEY_SIZE };
		remote->offers[i].meta = client_meta(job, remote->keys[i], sending->first + i);
		sending->slots[i] = REPLAY_NO_SLOT;
	}
	return sending->count ? kvshm_transfer_offer(sending->transfer, 0, remote->offers, sending->count) : 0;
}

static bool open_it(struct replay_remote *remote, struct replay_sending *sending)
{
	struct kvshm_transfer_options options;
	char id[KVSHM_REQUEST_ID_MAX];
	size_t length = client_request_id(remote->job, sending->dealt.number, sending->first, id);
	int rc;

	kvshm_transfer_defaults(&options);
	options.attempt = sending->attempt;
	options.user = sending;
	rc = kvshm_transfer_open(remote->peer, id, length, (uint32_t)sending->count, &options, &sending->transfer);
	if (rc == -ENOTCONN)
		remote->lost = true;
	if (rc)
		return rc == -ENOTCONN || fail("a transfer can't be opened");
	sending->state = SENDING_UNDER_WAY;
	sending->aborting = false;
	sending->grants = sending->next = 0;
	rc = offer(remote, sending);
	if (rc && rc != -ENOTCONN) /* of a lost one the end is told */
		return fail("blocks can't be offered");
	return sending->abort_at != ABORT_AT_ONCE || abort_now(sending);
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

static void free_slot(struct replay_remote *remote, struct replay_sending *sending, uint32_t position)
{
	if (sending->slots[position] == REPLAY_NO_SLOT)
		return;
	remote->buffer.free[remote->buffer.free_count++] = sending->slots[position];
	sending->slots[position] = REPLAY_NO_SLOT;
}

/* Makes a block's bytes, and has them written. */
static int write_block(struct replay_remote *remote, struct replay_sending *sending, uint32_t position)
{
	const struct kvshm_geometry *geometry = &remote->job->geometry;
	uint32_t slot = remote->buffer.free[--remote->buffer.free_count];
	uint8_t *bytes = remote->buffer.bytes + slot * remote->buffer.block;
	uint8_t key[REPLAY_KEY_SIZE];
	int rc = 0;

	sending->slots[position] = slot;
	replay_key(sending->dealt.ids[sending->first + position], sending->dealt.round, key);
	for (unsigned plane = 0; !rc && plane < geometry->planes; plane++, bytes += geometry->block_size) {
		replay_write(bytes, geometry->block_size, key, plane);
		rc = kvshm_transfer_write(sending->transfer, position, plane, 0, bytes, geometry->block_size);
	}
	return rc;
}

/* A transfer that has just ended, or whose connection is lost, takes nothing more: its end is told. */
static bool is_over(int rc)
{
	return rc == -ENOTCONN || rc == -ECANCELED;
}

/* Writes and commits some of what is granted. */
static bool write_some(struct replay_remote *remote, struct replay_sending *sending)
{
	const uint32_t *positions = sending->granted + sending->next;
	uint32_t count = 0;
	int rc = 0;

	while (!rc && count < COMMIT_BATCH && sending->next < sending->grants && remote->buffer.free_count) {
		rc = write_block(remote, sending, sending->granted[sending->next++]);
		count += !rc;
	}
	if (!rc)
		rc = kvshm_transfer_commit(sending->transfer, positions, count);
	if (rc && !is_over(rc))
		return fail("a block can't be written");
	if (is_over(rc))
		sending->next = sending->grants;
	return sending->abort_at != ABORT_COMMITTED || abort_now(sending);
}

bool replay_sendings_work(struct replay_remote *remote, uint32_t *busy, uint64_t *next)
{
	bool good = true;
	uint64_t now = replay_now();

	*busy = 0;
	*next = UINT64_MAX;
	for (uint32_t i = 0; good && i < remote->job->in_flight; i++) {
		struct replay_sending *sending = &remote->sendings[i];

		if (sending->state == SENDING_IDLE)
			deal(remote, sending);
		if (sending->state == SENDING_DUE && sending->at <= now && !remote->lost)
			good = open_it(remote, sending);
		while (good && sending->state == SENDING_UNDER_WAY && !sending->aborting &&
		       sending->next < sending->grants && remote->buffer.free_count)
			good = write_some(remote, sending);
		*busy += sending->state != SENDING_IDLE;
		if (sending->state == SENDING_DUE && sending->at < *next)
			*next = sending->at;
	}
	return good;
}

/* ---- The end of a transfer ------------------------------------------------------------------------------- */

static void count_blocks(struct replay_remote *remote, const struct kvshm_transfer_info *info)
{
	remote->tally.there += info->there;
	remote->tally.sent += info->sent;
	remote->tally.refused += info->refused;
	remote->tally.bytes += info->bytes;
}

static void finish(struct replay_remote *remote, struct replay_sending *sending)
{
	size_t end = sending->first + sending->count;

	remote->tally.completed++;
	if (end < sending->dealt.count) {
		make_due(remote->job, sending, end);
		return;
	}
	remote->tally.requests++;
	remote->tally.block_refs += sending->dealt.count;
	sending->state = SENDING_IDLE;
}

/* What becomes of a request whose transfer has ended without being complete. */
static bool judge(struct replay_remote *remote, struct replay_sending *sending, int result)
{
	struct kvshm_peer_info info;
	int rc = kvshm_peer_get_info(remote->peer, &info);

	if (rc)
		return fail("the connection says nothing of itself");
	if (sending->aborting || (result == -ECANCELED && info.connected)) {
		remote->tally.aborted += sending->aborting;
		remote->tally.cancelled += !sending->aborting;
		sending->state = SENDING_IDLE;
		return true;
	}
	if (!info.connected)
		return try_again(remote, sending, &remote->tally.again_lost);
	if (result == -ETIMEDOUT)
		return try_again(remote, sending, &remote->tally.again_room);
	if (result == -EEXIST || result == -ENFILE)
		return try_again(remote, sending, &remote->tally.again_open);
	tool_say("request %" PRIu64 " was not sent: %s", sending->dealt.number, strerror(-result));
	return false;
}

static bool end(struct replay_remote *remote, struct replay_sending *sending, int result)
{
	struct kvshm_transfer_info info;
	int rc = kvshm_transfer_look(sending->transfer, &info);

	if (!rc)
		count_blocks(remote, &info);
	for (size_t i = 0; i < sending->count; i++)
		free_slot(remote, sending, (uint32_t)i);
	if (rc || kvshm_transfer_close(sending->transfer))
		return fail("a transfer can't be closed");
	sending->transfer = NULL;
	if (result)
		return judge(remote, sending, result);
	finish(remote, sending);
	return true;
}

bool replay_sending_event(struct replay_remote *remote, const struct kvshm_event *event)
{
	struct replay_sending *sending = event->user;

	if (event->position == KVSHM_WHOLE_TRANSFER)
		return end(remote, sending, event->result);
	if (event->sending == KVSHM_SENDING_GRANTED) {
		sending->granted[sending->grants++] = event->position;
		return sending->abort_at != ABORT_GRANTED || sending->aborting || abort_now(sending);
	}
	if (event->sending == KVSHM_SENDING_REFUSED)
		tool_say("block %" PRIu32 " of request %" PRIu64 " was refused: %s", event->position,
			 sending->dealt.number, strerror(-event->result));
	if (event->sending >= KVSHM_SENDING_SENT)
		free_slot(remote, sending, event->position);
	return true;
}

bool replay_sendings_abort(struct replay_remote *remote)
{
	bool good = true;

	for (uint32_t i = 0; good && i < remote->job->in_flight; i++) {
		struct replay_sending *sending = &remote->sendings[i];

		if (sending->state == SENDING_DUE)
			sending->state = SENDING_IDLE;
		if (sending->state == SENDING_UNDER_WAY && !sending->aborting)
			good = abort_now(sending);
	}
	return good;
}
