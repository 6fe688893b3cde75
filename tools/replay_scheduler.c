/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_scheduler.c: the scheduler of an engine with workers. It takes requests, several at once, holds their blocks,
 * and sends the tickets to the workers (replay_mail.h); a request is done when every worker has answered for every
 * block. What is to be sent is kept as bits of the items, so a worker that is started in the place of a dead one is
 * asked for the dead one's half-done items by setting those bits again.
 *
 * Where there is no room, the request lets go of all that it has, here and at the workers, before it waits for its next
 * try; no new request is taken meanwhile, and from the second try on an older one is ended each time. What is being
 * worked on needs nothing more but workers, and these write before they wait: so it ends, and engines wait for each
 * other neither for room nor for fills in a circle. Waits are random and become longer, as those of an engine without
 * workers.
 */
#include "config.h"

#include "replay_scheduler.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	LOOK_EVERY = 100,     /* ms, at whether the replay is to stop */
	STOP_PATIENCE = 1000, /* ms without an answer, after which what is being worked on is let go */
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

	if (!(request->unsent & bit))
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

static struct request *request_of_age(const struct scheduler *scheduler, uint64_t age)
{
	return &scheduler->requests[(scheduler->taken - age) % scheduler->client.job->in_flight];
}

/* How many of the ring's places have ever been taken. */
static uint64_t ages(const struct scheduler *scheduler)
{
	uint64_t in_flight = scheduler->client.job->in_flight;

	return in_flight < scheduler->taken ? in_flight : scheduler->taken;
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

/* ---- The phases of a request ----------------------------------------------------------------------------- */

/* Lets go of all that a request holds, here now and by letter at the workers. */
static int end_request(struct scheduler *scheduler, struct request *request, enum phase next)
{
	int rc = items_let_go(scheduler, request);

	request->phase = PHASE_ENDING;
	request->next = next;
	request->unsent = request->awaited = scheduler->all;
	return rc;
}

/* All workers have let go. */
static void ended(struct scheduler *scheduler, struct request *request)
{
	request->phase = request->next;
	if (request->phase == PHASE_FREE && request->first == request->dealt.count)
		client_count_request(&scheduler->client, request->dealt.count,
				     client_hits(request->answers, request->dealt.count));
}

/* Ends the oldest request that is only held. */
static int end_oldest(struct scheduler *scheduler)
{
	for (uint64_t age = ages(scheduler); age; age--) {
		struct request *request = request_of_age(scheduler, age);

		if (request->phase == PHASE_HELD)
			return end_request(scheduler, request, PHASE_FREE);
	}
	return 0;
}

/* There was no room for a request. */
static int starve(struct scheduler *scheduler, struct request *request)
{
	if (request->tries == CLIENT_SLEEPS)
		return client_fail_waiting(&scheduler->client, "no room for half a minute: others hold too much");
	request->again = replay_now() + client_pause(&scheduler->client, request->tries);
	return request->tries++ ? end_oldest(scheduler) : 0;
}

/* Goes on where a piece is done: with the next one, for which this one has to go, or by holding what there is. */
static int go_on(struct scheduler *scheduler, struct request *request)
{
	if (request->phase != PHASE_WORKING || request->open)
		return 0;
	request->first += request->count;
	request->tries = 0;
	request->again = 0;
	if (request->first < request->dealt.count)
		return end_request(scheduler, request, PHASE_WAITING);
	request->phase = PHASE_HELD;
	return 0;
}

static int begin(struct scheduler *scheduler, struct request *request)
{
	int rc = items_ask(scheduler, request);

	scheduler->idle = 0;
	if (rc)
		return rc == -ENOSPC ? starve(scheduler, request) : rc;
	request->phase = PHASE_WORKING;
	return go_on(scheduler, request);
}

/* Takes the next request, if its place is free. */
static int take(struct scheduler *scheduler)
{
	struct request *request = &scheduler->requests[scheduler->next];
	int rc;

	if (request->phase == PHASE_HELD)
		return end_request(scheduler, request, PHASE_FREE);
	if (request->phase != PHASE_FREE)
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
	request->tries = 0;
	request->again = 0;
	return rc ? rc : begin(scheduler, request);
}

/* The oldest request that waits for its next try. */
static struct request *starved(const struct scheduler *scheduler)
{
	for (uint64_t age = ages(scheduler); age; age--)
		if (request_of_age(scheduler, age)->phase == PHASE_WAITING)
			return request_of_age(scheduler, age);
	return NULL;
}

/* Begins what can be begun. When nothing more is to be taken, ends what is done; when the replay is to stop, also what
 * has not begun, or does not go on. */
static int advance(struct scheduler *scheduler)
{
	struct request *request = starved(scheduler);
	bool stopping = client_stopping(&scheduler->client), stuck = stopping && scheduler->idle >= STOP_PATIENCE;
	int rc = 0;

	scheduler->no_more |= stopping;
	if (request && !stopping)
		return request->again <= replay_now() ? begin(scheduler, request) : 0;
	if (!scheduler->no_more)
		return take(scheduler);
	for (uint64_t age = ages(scheduler); !rc && age; age--) {
		request = request_of_age(scheduler, age);
		if (request->phase == PHASE_HELD || (request->phase == PHASE_WORKING && stuck))
			rc = end_request(scheduler, request, PHASE_FREE);
		else if (request->phase == PHASE_WAITING && stopping)
			request->phase = PHASE_FREE;
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
			if (!request->awaited)
				ended(scheduler, request);
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
	bool no_room = false;
	int rc = 0;

	for (size_t i = 0; !rc && i < letter->count; i++) {
		rc = items_answer(scheduler, request, &letter->items[i], plane);
		no_room |= rc == -ENOSPC;
		if (rc == -ENOSPC)
			rc = 0;
	}
	if (!rc && no_room) {
		rc = end_request(scheduler, request, PHASE_WAITING);
		return rc ? rc : starve(scheduler, request);
	}
	return rc ? rc : go_on(scheduler, request);
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
		if (!request->awaited)
			ended(scheduler, request);
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

/* Sleeps until there is a letter, or room for one, or a time has come; then reads all letters. */
static int read_mail(struct scheduler *scheduler, int ms)
{
	unsigned planes = scheduler->client.job->geometry.planes;
	struct pollfd ends[KVSHM_PLANES_MAX];
	int rc = 0;

	for (unsigned plane = 0; plane < planes; plane++) {
		short room = scheduler->full >> plane & 1 ? POLLOUT : 0;

		ends[plane] = (struct pollfd){ scheduler->mail[plane][MAIL_SCHEDULER], (short)(POLLIN | room), 0 };
	}
	if (!poll(ends, planes, ms))
		scheduler->idle += ms;
	for (unsigned plane = 0; !rc && plane < planes; plane++)
		if (ends[plane].revents & (POLLIN | POLLHUP))
			rc = read_letters(scheduler, plane);
	if (!rc && scheduler->idle >= CLIENT_PATIENCE)
		rc = client_fail_waiting(&scheduler->client, "half a minute's wait for a worker");
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

/* How many ms to sleep: not at all if another request may be begun. */
static int how_long(const struct scheduler *scheduler)
{
	const struct request *next = &scheduler->requests[scheduler->next];
	const struct request *request = starved(scheduler);
	uint64_t now = replay_now();

	if (request && request->again < now + LOOK_EVERY * REPLAY_MS)
		return request->again > now ? (int)((request->again - now + REPLAY_MS - 1) / REPLAY_MS) : 0;
	if (!request && !scheduler->no_more && (next->phase == PHASE_FREE || next->phase == PHASE_HELD))
		return 0;
	return LOOK_EVERY;
}

static int work(struct scheduler *scheduler)
{
	const struct replay_job *job = scheduler->client.job;
	int rc = 0;

	while (!rc) {
		rc = advance(scheduler);
		for (unsigned plane = 0; !rc && plane < job->geometry.planes; plane++)
			rc = send_to(scheduler, plane);
		for (uint64_t age = ages(scheduler); !rc && age; age--)
			rc = items_publish(scheduler, request_of_age(scheduler, age));
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
	struct scheduler scheduler = { .engine = engine, .life = life };
	int rc;

	client_begin(&scheduler.client, job, engine * replay_team(job), seed);
	scheduler.mail = (const int(*)[2])job->mail.pairs + (size_t)engine * planes;
	scheduler.all = planes == 32 ? UINT32_MAX : (UINT32_C(1) << planes) - 1;
	scheduler.unmet = scheduler.all;
	rc = make_room(&scheduler) ? live(&scheduler) : client_fail_memory(&scheduler.client);
	free_room(&scheduler);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
