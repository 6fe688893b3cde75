/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_scheduler.c: the scheduler of an engine with workers. It takes requests, several at once, holds their blocks,
 * and sends the tickets to the workers (replay_mail.h); a request is done when every worker has answered for every
 * block. What is to be sent is kept as bits of the items, so a worker that is started in the place of a dead one is
 * asked for the dead one's half-done items by setting those bits again.
 */
#include "config.h"

#include "replay_scheduler.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	LOOK_EVERY = 100, /* ms, at whether the replay is to stop, and what nobody has claimed */
	LINE_EVERY = 10,  /* ms, at the line */
};

/* ---- Letters that go out --------------------------------------------------------------------------------- */

static int send_letter(struct scheduler *scheduler, unsigned plane, enum letter_kind kind)
{
	struct letter *letter = &scheduler->letter;

	letter->scheduler = scheduler->life;
	letter->worker = scheduler->lives[plane];
	letter->kind = kind;
	return replay_mail_send(scheduler->mail[plane][MAIL_SCHEDULER], letter);
}

/* Sends a worker those items that it is not told of yet: fills, or the others. */
static int send_items(struct scheduler *scheduler, struct request *request, unsigned plane, bool fills)
{
	struct letter *letter = &scheduler->letter;
	uint32_t bit = UINT32_C(1) << plane;
	size_t i = 0;
	int rc = 0;

	letter->round = request->dealt.round;
	while (!rc && i < request->count) {
		size_t first = i;

		for (letter->count = 0; i < request->count && letter->count < LETTER_ITEMS; i++) {
			const struct item *item = &request->items[i];

			if (item->unsent & bit && (item->asked == ASKED_FILL) == fills)
				letter->items[letter->count++] = (struct letter_item){
					item->ticket, request->dealt.ids[request->first + i], (uint32_t)i, RESULT_NONE
				};
		}
		if (letter->count)
			rc = send_letter(scheduler, plane, fills ? LETTER_FILL : LETTER_HOLD);
		for (; !rc && first < i; first++)
			if ((request->items[first].asked == ASKED_FILL) == fills)
				request->items[first].unsent &= ~bit;
	}
	return rc;
}

static int send_request(struct scheduler *scheduler, struct request *request, unsigned plane)
{
	uint32_t bit = UINT32_C(1) << plane;
	int rc;

	if (!(request->unsent & bit) || (request->phase != PHASE_WORKING && request->phase != PHASE_ENDING))
		return 0;
	scheduler->letter.slot = (uint32_t)(request - scheduler->requests);
	if (request->phase == PHASE_ENDING) {
		scheduler->letter.count = 0;
		rc = send_letter(scheduler, plane, LETTER_END);
	} else {
		rc = send_items(scheduler, request, plane, true);
		if (!rc)
			rc = send_items(scheduler, request, plane, false);
	}
	if (!rc)
		request->unsent &= ~bit;
	return rc;
}

/* Sends a worker all that it is not told of yet, as long as there is room. */
static int send_to(struct scheduler *scheduler, unsigned plane)
{
	uint32_t bit = UINT32_C(1) << plane;
	int rc = 0;

	if (scheduler->unmet & bit) {
		scheduler->letter.count = 0;
		rc = send_letter(scheduler, plane, LETTER_HELLO);
		if (!rc)
			scheduler->unmet &= ~bit;
	}
	for (uint64_t age = scheduler->lives[plane] ? ages(scheduler) : 0; !rc && age; age--)
		rc = send_request(scheduler, request_of_age(scheduler, age), plane);
	scheduler->full &= ~bit;
	if (rc == -EAGAIN) {
		scheduler->full |= bit;
		rc = 0;
	}
	return rc;
}

/* ---- Letters that come in -------------------------------------------------------------------------------- */

/* A worker says who it is. If it is another than before, that one is dead: what it held is gone, and what it has not
 * answered is asked of this one. */
static void meet(struct scheduler *scheduler, unsigned plane, const struct letter *letter)
{
	uint32_t bit = UINT32_C(1) << plane;

	if (letter->scheduler != scheduler->life)
		scheduler->unmet |= bit;
	if (letter->worker == scheduler->lives[plane])
		return;
	scheduler->lives[plane] = letter->worker;
	for (uint64_t age = ages(scheduler); age; age--) {
		struct request *request = request_of_age(scheduler, age);

		if (request->phase == PHASE_ENDING && request->awaited & bit) {
			request->unsent &= ~bit;
			request->awaited &= ~bit;
			phases_ended(scheduler, request);
		}
		for (size_t i = 0; request->phase == PHASE_WORKING && i < request->count; i++)
			if (request->items[i].awaited & bit) {
				request->items[i].unsent |= bit;
				request->unsent |= bit;
			}
	}
}

static int read_answers(struct scheduler *scheduler, struct request *request, unsigned plane)
{
	const struct letter *letter = &scheduler->letter;
	int rc = 0;

	for (size_t i = 0; !rc && i < letter->count; i++)
		rc = items_answer(scheduler, request, &letter->items[i], plane);
	return phases_went(scheduler, request, rc);
}

static int read_letter(struct scheduler *scheduler, unsigned plane)
{
	const struct letter *letter = &scheduler->letter;
	struct request *request = &scheduler->requests[letter->slot];
	uint32_t bit = UINT32_C(1) << plane;

	if (letter->kind == LETTER_HELLO)
		meet(scheduler, plane, letter);
	if (letter->scheduler != scheduler->life || letter->worker != scheduler->lives[plane])
		return 0;
	scheduler->idle = 0;
	if (letter->kind == LETTER_HOLD)
		return read_answers(scheduler, request, plane);
	if (letter->kind == LETTER_END && request->phase == PHASE_ENDING && request->awaited & bit) {
		request->awaited &= ~bit;
		phases_ended(scheduler, request);
	}
	return 0;
}

/* Reads all letters of a worker. -EPIPE: the parent has hung up. */
static int read_letters(struct scheduler *scheduler, unsigned plane)
{
	int rc;

	while (!(rc = replay_mail_receive(scheduler->mail[plane][MAIL_SCHEDULER], &scheduler->letter))) {
		rc = read_letter(scheduler, plane);
		if (rc)
			return rc;
	}
	return rc == -EAGAIN ? 0 : rc;
}

/* Sleeps until there is a letter, or room for one, or something new on the board or in the line, or a time has come;
 * then reads all letters. */
static int read_mail(struct scheduler *scheduler, int ms)
{
	unsigned planes = scheduler->client.job->geometry.planes;
	struct pollfd ends[KVSHM_PLANES_MAX + 2];
	int rc;

	for (unsigned plane = 0; plane < planes; plane++) {
		short room = scheduler->full >> plane & 1 ? POLLOUT : 0;

		ends[plane] = (struct pollfd){ scheduler->mail[plane][MAIL_SCHEDULER], (short)(POLLIN | room), 0 };
	}
	ends[planes] = (struct pollfd){ scheduler->client.bell, POLLIN, 0 };
	ends[planes + 1] = (struct pollfd){ ms == LINE_EVERY ? scheduler->line : -1, POLLIN, 0 };
	if (!poll(ends, planes + 2, ms))
		scheduler->idle += ms;
	rc = client_listen(&scheduler->client, -1, 0);
	for (unsigned plane = 0; !rc && plane < planes; plane++)
		if (ends[plane].revents & (POLLIN | POLLHUP))
			rc = read_letters(scheduler, plane);
	if (!rc && scheduler->idle >= CLIENT_PATIENCE)
		rc = client_fail_waiting(&scheduler->client, "half a minute's wait for a worker, or a decoder");
	return rc;
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

static bool all_is_done(const struct scheduler *scheduler)
{
	for (uint64_t age = ages(scheduler); age; age--)
		if (request_of_age(scheduler, age)->phase != PHASE_FREE)
			return false;
	return scheduler->no_more;
}

/* How many ms to sleep: not at all if something may be begun. */
static int how_long(const struct scheduler *scheduler)
{
	const struct request *next = &scheduler->requests[scheduler->next];
	const struct request *request = phases_starved(scheduler);

	if (request)
		return request->phase == PHASE_LINE ? LINE_EVERY : 0;
	if (!scheduler->no_more && next->phase == PHASE_FREE &&
	    handover_state(handover_look(next->stored.handover)) == HANDOVER_FREE)
		return 0;
	return LOOK_EVERY;
}

static int work(struct scheduler *scheduler)
{
	const struct replay_job *job = scheduler->client.job;
	int rc = 0;

	while (!rc) {
		rc = phases_look_at_all(scheduler);
		if (!rc)
			rc = phases_advance(scheduler);
		for (unsigned plane = 0; !rc && plane < job->geometry.planes; plane++)
			rc = send_to(scheduler, plane);
		for (uint64_t age = ages(scheduler); !rc && age; age--) {
			struct request *request = request_of_age(scheduler, age);

			rc = items_publish(scheduler, request);
			if (rc)
				rc = phases_went(scheduler, request, rc);
		}
		if (rc || all_is_done(scheduler))
			break;
		rc = read_mail(scheduler, how_long(scheduler));
	}
	replay_tally_store(scheduler->client.place, &scheduler->client.tally);
	return rc == -EPIPE ? 0 : rc;
}

static int live(struct scheduler *scheduler)
{
	char name[KVSHM_CLIENT_NAME_MAX + 1];
	int rc;

	snprintf(name, sizeof(name), "replay-scheduler-%" PRIu32, scheduler->engine);
	rc = client_attach(&scheduler->client, name);
	if (rc)
		return rc == -EINTR ? 0 : rc;
	return client_detach(&scheduler->client, work(scheduler));
}

static bool make_room(struct scheduler *scheduler)
{
	const struct replay_job *job = scheduler->client.job;
	size_t longest = job->trace.longest;

	scheduler->requests = calloc(job->in_flight, sizeof(*scheduler->requests));
	scheduler->keys = calloc(longest + 1, sizeof(*scheduler->keys)); /* + 1: a trace may have no ids at all */
	scheduler->names = calloc(longest + 1, sizeof(*scheduler->names));
	scheduler->holds = calloc(longest + 1, sizeof(*scheduler->holds));
	scheduler->filling = calloc(job->geometry.blocks, sizeof(*scheduler->filling));
	if (!scheduler->requests || !scheduler->keys || !scheduler->names || !scheduler->holds || !scheduler->filling)
		return false;
	for (uint32_t i = 0; i < job->in_flight; i++)
		scheduler->requests[i].stored.handover = client_handover(&scheduler->client, scheduler->engine, i);
	for (size_t i = 0; i < longest; i++)
		scheduler->names[i] = (struct kvshm_key){ scheduler->keys[i], REPLAY_KEY_SIZE };
	return true;
}

static void free_room(struct scheduler *scheduler)
{
	for (uint32_t i = 0; scheduler->requests && i < scheduler->client.job->in_flight; i++) {
		free(scheduler->requests[i].items);
		free(scheduler->requests[i].answers);
	}
	free(scheduler->requests);
	free(scheduler->keys);
	free(scheduler->names);
	free(scheduler->holds);
	free(scheduler->filling);
}

int replay_scheduler(const struct replay_job *job, uint32_t engine, uint32_t life, uint64_t seed)
{
	const uint32_t planes = job->geometry.planes;
	struct scheduler scheduler = { .engine = engine, .life = life, .line = -1 };
	int rc;

	client_begin(&scheduler.client, job, engine * replay_team(job), seed);
	scheduler.client.bell = job->mail.pairs[replay_pair(job, engine, replay_team(job) - 1)][MAIL_SCHEDULER];
	scheduler.mail = (const int(*)[2])job->mail.pairs + replay_pair(job, engine, 1);
	scheduler.all = planes == 32 ? UINT32_MAX : (UINT32_C(1) << planes) - 1;
	scheduler.unmet = scheduler.all;
	rc = make_room(&scheduler) ? live(&scheduler) : client_fail_memory(&scheduler.client);
	free_room(&scheduler);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
