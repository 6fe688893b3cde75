/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_items.c: what a scheduler does with the blocks of a request: match and hold the prefix, get or fill the rest
 * as shared fills, publish its own part of them, and judge each block once all workers have answered.
 *
 * The scheduler holds a block from before its ticket is sent until every worker has answered for it. So whatever it
 * knows to be whole must have been held by every worker, through any death (R26): one that was refused the ticket, or
 * was told that the fill came to nothing while another read the block, has missed a hit. (A fill that came to nothing
 * before the scheduler published its part is held by nobody: there, a refused ticket is none.)
 */
#include "config.h"

#include "replay_scheduler.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	ASK_BATCH = 32,
	MISSES_SAID = 5, /* of all schedulers */
};

static const struct kvshm_handle no_hold = { .kind = KVSHM_NONE };

/* The room for a request of so many ids does for every shorter one: a piece has no more items than the store blocks. */
int items_make_room(struct scheduler *scheduler, struct request *request)
{
	size_t ids = request->dealt.count, blocks = scheduler->client.job->geometry.blocks;

	if (request->room < ids) {
		void *items = reallocarray(request->items, ids < blocks ? ids : blocks, sizeof(*request->items));
		void *answers;

		if (!items)
			return client_fail_memory(&scheduler->client);
		request->items = items;
		answers = reallocarray(request->answers, ids, sizeof(*request->answers));
		if (!answers)
			return client_fail_memory(&scheduler->client);
		request->answers = answers;
		request->room = ids;
	}
	if (ids)
		memset(request->answers, ANSWER_NONE, ids);
	return 0;
}

/* ---- Asking ---------------------------------------------------------------------------------------------- */

static void count_holds(struct scheduler *scheduler, size_t holds, size_t fills)
{
	scheduler->client.holds += (uint32_t)holds;
	scheduler->client.fills += (uint32_t)fills;
	client_show_holds(&scheduler->client);
}

/* A block is held: every worker is to be told of it. */
static int tell_all(struct scheduler *scheduler, struct request *request, size_t i, enum asked asked,
		    const struct kvshm_handle *hold)
{
	struct item *item = &request->items[i];
	int rc = kvshm_get_ticket(scheduler->client.store, hold, &item->ticket);

	item->hold = *hold;
	item->asked = asked;
	item->unsent = item->awaited = request->unsent = scheduler->all;
	item->read = item->canceled = item->stale = false;
	request->unpublished += asked == ASKED_FILL;
	client_note_answer(&request->answers[request->first + i], asked != ASKED_FILL);
	return rc ? client_fail(&scheduler->client, "a held block has no ticket", rc) : 0;
}

static void make_keys(struct scheduler *scheduler, const struct request *request)
{
	for (size_t i = 0; i < request->count; i++)
		replay_key(request->dealt.ids[request->first + i], request->dealt.round, scheduler->keys[i]);
}

/* Holds the ready prefix. Workers are told of it when there is room for the rest. */
static int match(struct scheduler *scheduler, struct request *request)
{
	enum kvshm_next next;
	int rc;

	make_keys(scheduler, request);
	rc = kvshm_request_match(scheduler->client.store, &request->stored.request, scheduler->names, request->count,
				 scheduler->holds, &request->ready, &next);
	if (rc)
		return rc == -ECANCELED ? rc : client_fail(&scheduler->client, "a prefix can't be matched", rc);
	count_holds(scheduler, request->ready, 0);
	for (size_t i = 0; i < request->ready; i++) {
		request->items[i].hold = scheduler->holds[i];
		client_note_answer(&request->answers[request->first + i], true);
	}
	return 0;
}

static int reserve(struct scheduler *scheduler, struct request *request)
{
	const uint64_t *ids = request->dealt.ids + request->first;
	uint32_t all, held;
	int rc = request_count_blocks(&scheduler->client, ids, request->count, &all);

	if (!rc)
		rc = request_count_blocks(&scheduler->client, ids, request->ready, &held);
	return rc ? rc : request_reserve(&scheduler->client, &request->stored, all - held);
}

int items_begin(struct scheduler *scheduler, struct request *request)
{
	size_t left = request->dealt.count - request->first;
	size_t length = replay_piece_length(scheduler->client.job, request->dealt.count);
	int rc;

	request->count = request->open = left < length ? left : length;
	request->unpublished = request->ready = 0;
	for (size_t i = 0; i < request->count; i++)
		request->items[i] = (struct item){ .hold = no_hold };
	rc = request_open(&scheduler->client, &request->stored, &request->dealt, request->first, request->count,
			  request->attempt);
	if (!rc)
		rc = match(scheduler, request);
	if (!rc)
		rc = request_reach(&scheduler->client, &request->stored, ABORT_MATCHED);
	return rc ? rc : reserve(scheduler, request);
}

int items_give_way(struct scheduler *scheduler, struct request *request)
{
	size_t ready = request->ready;
	int rc;

	for (size_t i = 0; i < ready; i++) {
		scheduler->holds[i] = request->items[i].hold;
		request->items[i].hold = no_hold;
	}
	request->ready = 0;
	count_holds(scheduler, -ready, 0);
	rc = request_give_way(&scheduler->client, &request->stored, scheduler->holds, ready);
	return rc ? rc : reserve(scheduler, request);
}

/* A fill that another engine has begun. What is pending because this engine fills it (in this request, which names the
 * key twice, or in another) is no wait for others. */
static bool is_own_fill(const struct scheduler *scheduler, const struct kvshm_handle *hold)
{
	return scheduler->filling[hold->block] == hold->life;
}

/* Gets or fills some blocks. -ENOSPC: for one of them there is no room. */
static int get_or_fill(struct scheduler *scheduler, struct request *request, size_t first, size_t count)
{
	static const enum asked asked[] = {
		[KVSHM_READY] = ASKED_READY,
		[KVSHM_PENDING] = ASKED_PENDING,
		[KVSHM_FILL] = ASKED_FILL,
	};
	enum kvshm_outcome outcomes[ASK_BATCH];
	struct kvshm_handle holds[ASK_BATCH];
	int results[ASK_BATCH];
	bool no_room = false;
	int rc = kvshm_request_get_or_fill_shared_batch(scheduler->client.store, &request->stored.request,
							scheduler->names + first, count, outcomes, holds, results);

	if (rc)
		return rc == -ECANCELED ? rc : client_fail(&scheduler->client, "keys can't be asked for", rc);
	for (size_t i = 0; !rc && i < count; i++) {
		no_room |= results[i] == -ENOSPC;
		if (results[i] == -ENOSPC)
			continue;
		if (results[i])
			return client_fail(&scheduler->client, "a key can't be asked for", results[i]);
		count_holds(scheduler, 1, outcomes[i] == KVSHM_FILL);
		if (outcomes[i] == KVSHM_FILL)
			scheduler->filling[holds[i].block] = holds[i].life;
		scheduler->client.tally.waited += outcomes[i] == KVSHM_PENDING && !is_own_fill(scheduler, &holds[i]);
		rc = tell_all(scheduler, request, first + i, asked[outcomes[i]], &holds[i]);
	}
	return !rc && no_room ? -ENOSPC : rc;
}

int items_ask(struct scheduler *scheduler, struct request *request)
{
	int rc = request_reach(&scheduler->client, &request->stored, ABORT_RESERVED);

	if (!rc && !request->ready)
		rc = match(scheduler, request); /* what has become ready while it was in line */
	make_keys(scheduler, request);
	for (size_t i = 0; !rc && i < request->ready; i++)
		rc = tell_all(scheduler, request, i, ASKED_READY, &request->items[i].hold);
	for (size_t i = request->ready; !rc && i < request->count; i += ASK_BATCH)
		rc = get_or_fill(scheduler, request, i,
				 request->count - i < ASK_BATCH ? request->count - i : ASK_BATCH);
	return rc;
}

/* -ECANCELED of a publish: the fill has failed in another part, or the request was aborted. */
static int publish_one(struct scheduler *scheduler, struct request *request, size_t i)
{
	struct client *client = &scheduler->client;
	struct item *item = &request->items[i];
	uint8_t key[REPLAY_KEY_SIZE];
	struct kvshm_meta meta;
	int rc;

	replay_key(request->dealt.ids[request->first + i], request->dealt.round, key);
	meta = client_meta(client->job, key, request->first + i);
	rc = kvshm_publish(client->store, &item->hold, &meta);
	if (rc && rc != -ECANCELED)
		return client_fail(client, "a fill can't be published", rc);
	count_holds(scheduler, -(size_t)!!rc, -(size_t)1);
	request->unpublished--;
	return 0;
}

int items_publish(struct scheduler *scheduler, struct request *request)
{
	size_t half = request->unpublished / 2;
	int rc = 0;

	if (!request->unpublished)
		return 0;
	for (size_t i = 0; !rc && request->unpublished && i < request->count; i++) {
		if (request->items[i].hold.kind != KVSHM_WRITER)
			continue;
		rc = publish_one(scheduler, request, i);
		if (!rc && request->unpublished == half)
			rc = request_reach(&scheduler->client, &request->stored, ABORT_FILLING);
	}
	return rc;
}

void items_forget(struct scheduler *scheduler, struct request *request)
{
	for (size_t i = 0; i < request->count; i++) {
		struct item *item = &request->items[i];

		count_holds(scheduler, -(size_t)(item->hold.kind != KVSHM_NONE),
			    -(size_t)(item->hold.kind == KVSHM_WRITER));
		item->hold = no_hold;
		item->unsent = item->awaited = 0;
	}
	request->count = 0;
	request->unpublished = 0;
	request->unsent = 0;
}

/* ---- Judging --------------------------------------------------------------------------------------------- */

static void say_missed(const struct scheduler *scheduler, const struct item *item, const char *what)
{
	if (atomic_fetch_add(&scheduler->client.job->board->missed, 1) < MISSES_SAID)
		tool_say("a hit was none at a worker: its scheduler holds block %" PRIu32 ", life %" PRIu64 ", but %s",
			 item->hold.block, item->hold.life, what);
}

/* Is the block whole, as the scheduler sees it? What its request holds can't be waited for alone: so by a ref. */
static int look(struct scheduler *scheduler, const struct item *item, bool *whole)
{
	struct client *client = &scheduler->client;
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;
	int rc = item->hold.kind == KVSHM_NONE ? -ECANCELED
					       : kvshm_hold(client->store, &item->ticket, &outcome, &ref);

	if (!rc)
		rc = kvshm_wait(client->store, &ref, 0);
	*whole = !rc;
	if (!rc)
		rc = kvshm_release(client->store, &ref);
	return rc && rc != -ECANCELED ? client_fail(client, "a block that all have answered for is not ready", rc) : 0;
}

static void finish(struct request *request, struct item *item)
{
	item->done = true;
	request->open--;
}

/* Asks once more for a block whose fill came to nothing. */
static int ask_again(struct scheduler *scheduler, struct request *request, size_t i, const uint8_t *key)
{
	struct item *item = &request->items[i];
	int rc;

	scheduler->client.tally.asked_again++;
	count_holds(scheduler, -(size_t)(item->hold.kind != KVSHM_NONE), 0);
	rc = kvshm_request_release(scheduler->client.store, &request->stored.request, &item->hold, 1);
	if (rc)
		return rc == -ECANCELED ? rc : client_fail(&scheduler->client, "a hold can't be released", rc);
	memcpy(scheduler->keys[i], key, REPLAY_KEY_SIZE);
	return get_or_fill(scheduler, request, i, 1);
}

/* All workers have answered. What one of them could not hold is not asked for again: it is a fault that would come
 * again. An aborted request has no hits. */
static int judge(struct scheduler *scheduler, struct request *request, size_t i)
{
	struct client *client = &scheduler->client;
	struct item *item = &request->items[i];
	uint8_t key[REPLAY_KEY_SIZE];
	bool whole, intact;
	int rc = request_look(client, &request->stored);

	if (rc)
		return rc;
	if (item->stale && item->hold.kind != KVSHM_NONE) {
		say_missed(scheduler, item, "a worker's ticket was refused");
		finish(request, item);
		return 0;
	}
	rc = look(scheduler, item, &whole);
	if (rc)
		return rc;
	if (item->canceled && (whole || item->read))
		say_missed(scheduler, item, "a worker was told that its fill came to nothing");
	else if (item->read && !whole)
		say_missed(scheduler, item, "only some workers found it whole");
	replay_key(request->dealt.ids[request->first + i], request->dealt.round, key);
	if (!whole)
		return ask_again(scheduler, request, i, key);
	finish(request, item);
	client->tally.filled += item->asked == ASKED_FILL;
	return client_check_meta(client, &item->hold, key, &intact);
}

int items_answer(struct scheduler *scheduler, struct request *request, const struct letter_item *answer, unsigned plane)
{
	struct item *item = &request->items[answer->position];
	uint32_t bit = UINT32_C(1) << plane;

	if (request->phase != PHASE_WORKING || !(item->awaited & bit))
		return 0;
	item->awaited &= ~bit;
	item->read |= answer->result == RESULT_READ;
	item->canceled |= answer->result == RESULT_CANCELED;
	item->stale |= answer->result == RESULT_STALE;
	return item->awaited ? 0 : judge(scheduler, request, answer->position);
}
