/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_client.c: what every process of a replay that attaches the store does. Holds and fills are counted where they
 * end and begin, so the board shows what a kill found.
 */
#include "config.h"

#include "replay_client.h"
#include "replay_random.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SLEEP_SHIFT_MIN = 15, /* between tries: 2^15 ns at first, ... */
	SLEEP_SHIFT_MAX = 24, /* ... at most 2^24 ns, half of it random */
	ATTACH_SLEEPS = 80,   /* about a second of them: a dead engine's client slot must be back by then */
	MISMATCHES_SAID = 5,  /* of all processes */
};

void client_begin(struct client *client, const struct replay_job *job, uint32_t place, uint64_t seed)
{
	*client = (struct client){ .job = job, .place = &job->board->places[place], .random = seed, .bell = -1 };
	client->tally = replay_tally_load(client->place);
}

/* ---- Requests -------------------------------------------------------------------------------------------- */

struct dealt client_request(const struct replay_job *job, uint64_t number)
{
	const struct replay_trace *trace = &job->trace;
	size_t request = number % trace->request_count;
	size_t begin = replay_trace_begin(trace, request);

	return (struct dealt){ trace->ids + begin, trace->ends[request] - begin, number,
			       number / trace->request_count };
}

bool client_deal(const struct client *client, struct dealt *dealt)
{
	const struct replay_job *job = client->job;

	*dealt = client_request(job, atomic_fetch_add(&job->board->next, 1));
	return !client_stopping(client) && (job->duration || !dealt->round);
}

size_t client_request_id(const struct replay_job *job, uint64_t number, size_t first,
			 char id[static KVSHM_REQUEST_ID_MAX])
{
	int length = first ? snprintf(id, KVSHM_REQUEST_ID_MAX, "%s/%" PRIu64 "+%zu", job->run, number, first)
			   : snprintf(id, KVSHM_REQUEST_ID_MAX, "%s/%" PRIu64, job->run, number);

	return (size_t)length;
}

size_t client_hits(const uint8_t *answers, size_t ids)
{
	size_t hits = 0;

	for (size_t i = 0; i < ids; i++)
		hits += answers[i] == ANSWER_HIT;
	return hits;
}

void client_count_request(struct client *client, size_t ids, size_t hits)
{
	client->tally.requests++;
	client->tally.block_refs += ids;
	client->tally.hits += hits;
	replay_tally_store(client->place, &client->tally);
}

/* ---- What goes wrong ------------------------------------------------------------------------------------- */

int client_fail(const struct client *client, const char *what, int error)
{
	if (!atomic_exchange(&client->job->board->failed, true))
		tool_say("%s: %s", what, kvshm_error());
	return error;
}

int client_fail_waiting(const struct client *client, const char *what)
{
	if (!atomic_exchange(&client->job->board->failed, true))
		tool_say("%s; kvshm-stat --store %s --clients shows who holds what", what, client->job->store);
	return -ETIMEDOUT;
}

int client_fail_memory(const struct client *client)
{
	if (!atomic_exchange(&client->job->board->failed, true))
		tool_say("no memory for an engine: use a smaller --in-flight, or a trace with shorter requests");
	return -ENOMEM;
}

/* ---- Ringing --------------------------------------------------------------------------------------------- */

/* A socket that is full has been rung at. */
void client_ring(const struct client *client)
{
	static const struct letter ring = { .kind = LETTER_HELLO };

	(void)replay_mail_send(client->bell, &ring);
}

int client_listen(const struct client *client, int other, int ms)
{
	struct pollfd ends[] = { { client->bell, POLLIN, 0 }, { other, POLLIN, 0 } };
	struct letter letter;
	int rc;

	poll(ends, 2, ms);
	while (!(rc = replay_mail_receive(client->bell, &letter)))
		;
	return rc == -EAGAIN ? 0 : rc;
}

/* ---- Sleeping, coming and going -------------------------------------------------------------------------- */

uint64_t client_pause(struct client *client, unsigned tries)
{
	unsigned shift = tries < SLEEP_SHIFT_MAX - SLEEP_SHIFT_MIN ? SLEEP_SHIFT_MIN + tries : SLEEP_SHIFT_MAX;
	uint64_t half = UINT64_C(1) << (shift - 1);

	return half + replay_random_below(&client->random, half);
}

void client_sleep(uint64_t ns)
{
	struct timespec pause = { .tv_nsec = (long)ns };

	nanosleep(&pause, NULL);
}

int client_attach(struct client *client, const char *name)
{
	const struct kvshm_attach_options options = { .dir = client->job->dir, .name = name };
	int rc;

	for (unsigned tries = 0;; tries++) {
		rc = kvshm_attach(client->job->store, &options, &client->store);
		if (rc != -EUSERS || tries == ATTACH_SLEEPS || client_stopping(client))
			break;
		client_sleep(client_pause(client, tries));
	}
	if (rc == -EUSERS && client_stopping(client))
		return -EINTR;
	if (rc)
		return client_fail(client, "an engine can't attach", rc);
	if (client->job->memory == KVSHM_MEMORY_HOST)
		return 0;
	client->staging = aligned_alloc(KVSHM_BLOCK_UNIT, client->job->geometry.block_size);
	return client->staging ? 0 : client_detach(client, client_fail_memory(client));
}

int client_detach(struct client *client, int rc)
{
	int detached = kvshm_detach(client->store);

	free(client->staging);
	return !rc && detached ? client_fail(client, "an engine can't detach", detached) : rc;
}

/* ---- Holds ----------------------------------------------------------------------------------------------- */

void client_show_holds(const struct client *client)
{
	atomic_store_explicit(&client->place->fills, client->fills, memory_order_relaxed);
	atomic_store_explicit(&client->place->holds, client->holds, memory_order_relaxed);
}

int client_let_go_of(struct client *client, struct kvshm_handle *handle)
{
	bool fill = handle->kind == KVSHM_WRITER;
	int rc;

	if (handle->kind == KVSHM_NONE)
		return 0;
	rc = fill ? kvshm_give_up(client->store, handle) : kvshm_release(client->store, handle);
	if (rc)
		return client_fail(client, fill ? "a fill can't be given up" : "a block can't be released", rc);
	client->holds--;
	client->fills -= fill;
	client->tally.given_up += fill;
	client_show_holds(client);
	return 0;
}

int client_let_go(struct client *client, struct kvshm_handle *handles, size_t count)
{
	int rc = 0;

	while (!rc && count)
		rc = client_let_go_of(client, &handles[--count]);
	return rc;
}

/* ---- Bytes ----------------------------------------------------------------------------------------------- */

static int address_of(const struct client *client, const struct kvshm_handle *handle, unsigned plane, void **address)
{
	int rc = kvshm_address(client->store, handle, plane, address);

	return rc ? client_fail(client, "a block has no address", rc) : 0;
}

int client_write(const struct client *client, const struct kvshm_handle *handle, unsigned plane, const uint8_t *key)
{
	uint64_t size = client->job->geometry.block_size;
	void *bytes = client->staging;
	int rc = bytes ? 0 : address_of(client, handle, plane, &bytes);

	if (!rc)
		replay_write(bytes, size, key, plane);
	if (!rc && client->staging)
		rc = kvshm_write(client->store, handle, plane, 0, bytes, size);
	return rc && client->staging ? client_fail(client, "a block can't be written", rc) : rc;
}

struct kvshm_meta client_meta(const struct replay_job *job, const uint8_t *key, size_t position)
{
	struct kvshm_meta meta = { .length = job->geometry.block_size, .depth = (uint32_t)position };

	memcpy(meta.opaque, key, sizeof(meta.opaque));
	return meta;
}

static void say_corrupt(const struct client *client, const struct kvshm_handle *handle, const char *what)
{
	if (atomic_fetch_add(&client->job->board->corrupt, 1) < MISMATCHES_SAID)
		tool_say("block %" PRIu32 ", life %" PRIu64 ": %s", handle->block, handle->life, what);
}

int client_check_meta(const struct client *client, const struct kvshm_handle *handle, const uint8_t *key, bool *intact)
{
	struct kvshm_meta meta;
	int rc = kvshm_get_meta(client->store, handle, &meta);

	if (rc)
		return client_fail(client, "a held block says nothing of itself", rc);
	*intact = meta.length == client->job->geometry.block_size && !memcmp(meta.opaque, key, sizeof(meta.opaque));
	if (!*intact)
		say_corrupt(client, handle, "length or opaque bytes are not what was published with its key");
	return 0;
}

int client_check_plane(const struct client *client, const struct kvshm_handle *handle, unsigned plane,
		       const uint8_t *key, bool *intact)
{
	uint64_t size = client->job->geometry.block_size;
	void *bytes = client->staging;
	int rc = bytes ? kvshm_read(client->store, handle, plane, 0, bytes, size)
		       : address_of(client, handle, plane, &bytes);

	if (rc)
		return client->staging ? client_fail(client, "a block can't be read", rc) : rc;
	*intact = replay_intact(bytes, size, key, plane);
	if (!*intact)
		say_corrupt(client, handle, "its bytes are not those of its key");
	return 0;
}

int client_check_block(const struct client *client, const struct kvshm_handle *handle, const uint8_t *key)
{
	bool intact;
	int rc = client_check_meta(client, handle, key, &intact);

	for (unsigned plane = 0; !rc && intact && plane < client->job->geometry.planes; plane++)
		rc = client_check_plane(client, handle, plane, key, &intact);
	return rc;
}
