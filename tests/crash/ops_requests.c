/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ops_requests.c: requests of a victim's, and those that it shares with a survivor. See ops.h.
 */
#include "config.h"

#include "ops.h"

#include <errno.h>

#define PATIENCE (BASE_MS / 10)
#define IDS 2U /* few: those who open them meet */

/* Attempts go up, whoever makes them. */
static int open_request(struct load_worker *w, char id, uint32_t blocks, struct kvshm_request *request)
{
	uint32_t attempt = (uint32_t)atomic_fetch_add(&w->books->attempts, 1) + 1;

	return kvshm_request_open(w->store, &id, 1, attempt, blocks, request);
}

/* A call of a request's owner, which others may have ended: did it come to anything? */
static bool done(int rc, int or)
{
	base_check(rc == 0 || rc == -ECANCELED || rc == or);
	return rc == 0;
}

static void end(struct load_worker *w, const struct kvshm_request *request)
{
	int rc = kvshm_request_end(w->store, request);

	base_check(rc == 0 || rc == -EALREADY);
}

/* One more block. False: the request is over, or there is no room. */
static bool fill_one(struct load_worker *w, const struct kvshm_request *request, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	struct load_hold hold = { .key = key };
	enum kvshm_outcome outcome;

	if (!done(kvshm_request_get_or_fill(w->store, request, bytes, length, &outcome, &hold.handle), -ENOSPC))
		return false;
	if (outcome == KVSHM_FILL && base_below(&w->random, 8) == 0)
		ops_let_go(w, &hold);
	else if (outcome == KVSHM_FILL)
		return ops_publish(w, &hold);
	return true;
}

static void match(struct load_worker *w, const struct kvshm_request *request, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	struct kvshm_key one = { bytes, load_key(key, bytes) };
	struct load_hold hold = { .key = key };
	enum kvshm_next next;
	size_t ready;

	if (!done(kvshm_request_match(w->store, request, &one, 1, &hold.handle, &ready, &next), 0) || !ready)
		return;
	load_verify(w, &hold);
	if (base_below(&w->random, 2))
		(void)done(kvshm_request_release(w->store, request, &hold.handle, 1), 0);
}

/* One more block, which the victim holds by itself before. */
static void pin(struct load_worker *w, const struct kvshm_request *request)
{
	struct kvshm_handle lent;
	struct load_hold hold;
	int result;

	if (!ops_take(w, ops_any(w), &hold))
		return;
	if (done(kvshm_request_pin(w->store, request, &hold.handle, 1, &lent, &result), 0))
		base_expect(result, 0);
	ops_let_go(w, &hold);
}

/* Looks how far it is; and lets go of all that it holds, or of nothing. */
static void settle(struct load_worker *w, const struct kvshm_request *request)
{
	uint32_t pending;

	(void)done(kvshm_request_settle(w->store, request, &pending), -EAGAIN);
	if (base_below(&w->random, 4) == 0)
		(void)done(kvshm_request_keep(w->store, request, NULL, 0), 0);
}

void ops_round_request(struct ops_victim *v)
{
	struct load_worker *w = &v->work;
	unsigned blocks = 1 + base_below(&w->random, 4), first = ops_any(w);
	char id = (char)('0' + base_below(&w->random, IDS));
	struct kvshm_request request;
	int rc = open_request(w, id, blocks, &request);

	if (rc == -EEXIST && kvshm_request_find(w->store, &id, 1, &request) == 0)
		end(w, &request);
	base_check(rc == 0 || rc == -EEXIST || rc == -EALREADY);
	if (rc)
		return;
	match(w, &request, first);
	if (base_below(&w->random, 4))
		(void)done(kvshm_request_reserve(w->store, &request, blocks, base_now() + PATIENCE), -ETIMEDOUT);
	for (unsigned i = 0; i < blocks && fill_one(w, &request, (first + i) % OPS_KEYS); i++)
		;
	if (base_below(&w->random, 2))
		pin(w, &request);
	settle(w, &request);
	rc = kvshm_request_complete(w->store, &request, base_now() + PATIENCE);
	base_check(rc == 0 || rc == -ECANCELED || rc == -EINPROGRESS || rc == -EAGAIN || rc == -ETIMEDOUT);
	end(w, &request);
}

/* In line for much, with or without luck. */
void ops_round_room(struct ops_victim *v)
{
	struct load_worker *w = &v->work;
	struct kvshm_request request;
	int rc = open_request(w, 'r', 0, &request);

	base_check(rc == 0 || rc == -EEXIST || rc == -EALREADY);
	if (rc)
		return;
	rc = kvshm_request_queue(w->store, &request, 1 + base_below(&w->random, OPS_BLOCKS), base_now() + PATIENCE);
	while (rc == -EINPROGRESS && base_below(&w->random, 4))
		rc = kvshm_request_wait_room(w->store, &request, base_now() + PATIENCE);
	base_check(rc == 0 || rc == -EINPROGRESS || rc == -ETIMEDOUT || rc == -ECANCELED);
	if (base_below(&w->random, 2))
		(void)done(kvshm_request_unreserve(w->store, &request), 0);
	end(w, &request);
}

/* ---- Shared with the survivor ----------------------------------------------------------------------------- */

void ops_lend(struct load_worker *w, struct ops_stage *stage)
{
	base_expect(open_request(w, 'l', OPS_GIVEN, &stage->request), 0);
	for (unsigned i = 0; i < OPS_GIVEN; i++) {
		unsigned char bytes[KVSHM_KEY_MAX];
		size_t length = load_key(i, bytes);
		struct load_hold hold = { .key = i };
		enum kvshm_outcome outcome;

		base_expect(kvshm_request_get_or_fill(w->store, &stage->request, bytes, length, &outcome, &hold.handle),
			    0);
		base_check(outcome == KVSHM_READY || (outcome == KVSHM_FILL && ops_publish(w, &hold)));
	}
	base_expect(kvshm_request_complete(w->store, &stage->request, 0), 0);
	stage->asked = false;
	stage->lent = true;
}

void ops_take_back(struct load_worker *w, struct ops_stage *stage)
{
	int rc = kvshm_request_end(w->store, &stage->request);

	base_check(rc == 0 || (rc == -EALREADY && atomic_load(&stage->asked)));
	stage->lent = false;
}

/* The survivor holds these keys as long as nobody has asked for the end. */
static void claim(struct load_worker *w, struct ops_stage *stage)
{
	unsigned char bytes[OPS_GIVEN][KVSHM_KEY_MAX] = {{0}};
	struct kvshm_handle refs[OPS_GIVEN];
	struct kvshm_key keys[OPS_GIVEN];
	int results[OPS_GIVEN];

	for (unsigned i = 0; i < OPS_GIVEN; i++)
		keys[i] = (struct kvshm_key){ bytes[i], load_key(i, bytes[i]) };
	if (!done(kvshm_request_claim(w->store, &stage->request, keys, OPS_GIVEN, refs, results), 0)) {
		base_check(atomic_load(&stage->asked));
		return;
	}
	for (unsigned i = 0; i < OPS_GIVEN; i++) {
		struct load_hold hold = { .handle = refs[i], .key = i };

		base_check(results[i] == 0 || results[i] == -ENOENT || results[i] == -EAGAIN); /* removed, cleared */
		if (results[i])
			continue;
		load_verify(w, &hold);
		ops_let_go(w, &hold);
	}
}

void ops_round_claim(struct ops_victim *v)
{
	struct ops_stage *stage = v->stage;
	struct load_worker *w = &v->work;

	if (!stage->lent)
		return;
	if (!done(kvshm_request_wait(w->store, &stage->request, base_now() + PATIENCE), 0))
		base_check(atomic_load(&stage->asked));
	claim(w, stage);
	if (base_below(&w->random, 256))
		return;
	atomic_store(&stage->asked, true);
	end(w, &stage->request);
}

void ops_use_requests(struct load_worker *w)
{
	static const char ids[] = { '0', '1', 'r' };

	for (unsigned i = 0; i < sizeof(ids); i++) {
		struct kvshm_request request;

		base_expect(open_request(w, ids[i], 1, &request), 0);
		base_expect(kvshm_request_end(w->store, &request), 0);
	}
}
