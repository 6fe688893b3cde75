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
	int rc = kvshm_ticket(scheduler->client.store, hold, &item->ticket);

	item->hold = *hold;
	item->asked = asked;
	item->unsent = item->awaited = request->unsent = scheduler->all;
	item->read = item->canceled = item->stale = false;
	request->unpublished += asked == ASKED_FILL;
	client_note_answer(&request->answers[request->first + i], asked != ASKED_FILL);
	return rc ? client_fail(&scheduler->client, "a held block has no ticket", rc) : 0;
}

static int match(struct scheduler *scheduler, struct request *request, size_t *ready)
{
	enum kvshm_next next;
	int rc = kvshm_match(scheduler->client.store, scheduler->names, request->count, scheduler->holds, ready, &next);

	if (rc)
		return client_fail(&scheduler->client, "a prefix can't be matched", rc);
	count_holds(scheduler, *ready, 0);
	for (size_t i = 0; !rc && i < *ready; i++)
		rc = tell_all(scheduler, request, i, ASKED_READY, &scheduler->holds[i]);
	return rc;
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
	int rc = kvshm_get_or_fill_shared_batch(scheduler->client.store, scheduler->names + first, count, outcomes,
						holds, results);

	if (rc)
		return client_fail(&scheduler->client, "keys can't be asked for", rc);
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
	size_t left = request->dealt.count - request->first;
	size_t length = replay_piece_length(scheduler->client.job, request->dealt.count);
	size_t ready;
	int rc;

	request->count = request->open = left < length ? left : length;
	request->unpublished = 0;
	for (size_t i = 0; i < request->count; i++) {
		request->items[i] = (struct item){ .hold = no_hold };
		replay_key(request->dealt.ids[request->first + i], request->dealt.round, scheduler->keys[i]);
	}
	rc = match(scheduler, request, &ready);
	for (size_t i = ready; !rc && i < request->count; i += ASK_BATCH)
		rc = get_or_fill(scheduler, request, i,
				 request->count - i < ASK_BATCH ? request->count - i : ASK_BATCH);
	if (rc == -ENOSPC) {
		rc = items_let_go(scheduler, request);
		return rc ? rc : -ENOSPC;
	}
	return rc;
}

int items_publish(struct scheduler *scheduler, struct request *request)
{
	struct client *client = &scheduler->client;

	for (size_t i = 0; request->unpublished && i < request->count; i++) {
		struct item *item = &request->items[i];
		uint8_t key[REPLAY_KEY_SIZE];
		struct kvshm_meta meta;
		int rc;

		if (item->hold.kind != KVSHM_WRITER)
			continue;
		replay_key(request->dealt.ids[request->first + i], request->dealt.round, key);
		meta = client_meta(client, key, request->first + i);
		rc = kvshm_publish(client->store, &item->hold, &meta);
		if (rc && rc != -ECANCELED)
			return client_fail(client, "a fill can't be published", rc);
		client->fills--;
		client->holds -= !!rc;
		client_show_holds(client);
		request->unpublished--;
	}
	return 0;
}

int items_let_go(struct scheduler *scheduler, struct request *request)
{
	int rc = 0;

	for (size_t i = request->count; !rc && i--;) {
		struct item *item = &request->items[i];

		/* of one that is published here, but not in all planes: client_let_go_of() counts the others */
		if (item->asked == ASKED_FILL && item->hold.kind == KVSHM_REF && !item->done)
			scheduler->client.tally.given_up++;
		item->unsent = item->awaited = 0;
		rc = client_let_go_of(&scheduler->client, &item->hold);
	}
	request->unpublished = 0;
	request->unsent = 0;
	return rc;
}

/* ---- Judging --------------------------------------------------------------------------------------------- */

static void say_missed(const struct scheduler *scheduler, const struct item *item, const char *what)
{
	if (atomic_fetch_add(&scheduler->client.job->board->missed, 1) < MISSES_SAID)
		tool_say("a hit was none at a worker: its scheduler holds block %" PRIu32 ", life %" PRIu64 ", but %s",
			 item->hold.block, item->hold.life, what);
}

/* Is the block whole, as the scheduler sees it? Its own hold ends with a fill that came to nothing. */
static int look(struct scheduler *scheduler, struct item *item, bool *whole)
{
	int rc = item->hold.kind == KVSHM_NONE ? -ECANCELED : kvshm_wait(scheduler->client.store, &item->hold, 0);

	*whole = !rc;
	if (!rc)
		return 0;
	if (rc != -ECANCELED)
		return client_fail(&scheduler->client, "a block that all have answered for is not ready", rc);
	return 0;
}

static void finish(struct request *request, struct item *item)
{
	item->done = true;
	request->open--;
}

/* Asks once more for a block whose fill came to nothing. */
static int ask_again(struct scheduler *scheduler, struct request *request, size_t i, const uint8_t *key)
{
	scheduler->client.tally.asked_again++;
	memcpy(scheduler->keys[i], key, REPLAY_KEY_SIZE);
	return get_or_fill(scheduler, request, i, 1);
}

/* All workers have answered. What one of them could not hold is not asked for again: it is a fault that would come
 * again. */
static int judge(struct scheduler *scheduler, struct request *request, size_t i)
{
	struct client *client = &scheduler->client;
	struct item *item = &request->items[i];
	bool held = item->hold.kind != KVSHM_NONE, whole, intact;
	const struct item before = *item;
	uint8_t key[REPLAY_KEY_SIZE];
	int rc;

	if (item->stale && held) {
		say_missed(scheduler, item, "a worker's ticket was refused");
		finish(request, item);
		return 0;
	}
	rc = look(scheduler, item, &whole);
	if (rc)
		return rc;
	if (item->canceled && (whole || item->read))
		say_missed(scheduler, &before, "a worker was told that its fill came to nothing");
	else if (item->read && !whole)
		say_missed(scheduler, &before, "only some workers found it whole");
	replay_key(request->dealt.ids[request->first + i], request->dealt.round, key);
	client->holds -= held && !whole;
	client_show_holds(client);
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
