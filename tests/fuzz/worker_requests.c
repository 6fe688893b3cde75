/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker_requests.c: requests: the worker's own, which others open, claim, wait for and end, too; room for them; and
 * the descriptor to wait on. See worker.h.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "worker.h"

#define IDS 24U
#define MANY 8U /* keys of a batch, or of a claim */
#define NS_PER_ATTEMPT UINT64_C(1000000) /* so that most attempts are later ones */

/* ---- What there is ---------------------------------------------------------------------------------------- */

/* Few ids, of any length, so that processes meet. */
static size_t some_id(struct worker *w, unsigned char id[KVSHM_REQUEST_ID_MAX])
{
	unsigned number = worker_below(w, IDS);

	memset(id, (int)number, KVSHM_REQUEST_ID_MAX);
	return 1 + number * 3 % KVSHM_REQUEST_ID_MAX;
}

/* Mostly one of its own; one that it, or another, has told of; now and then one that never was. */
static struct kvshm_request some_request(struct worker *w)
{
	struct kvshm_request request = {.number = 1};
	struct kvshm_geometry geometry;

	if (kvshm_get_geometry(w->store, &geometry) == 0)
		request.store = (uint32_t)geometry.incarnation;
	switch (worker_below(w, 16)) {
	case 0:
		request.number = worker_below(w, 2) ? worker_below(w, 64) : base_random(&w->p->random);
		request.slot = worker_below(w, 2) ? worker_below(w, 32) : worker_below(w, UINT32_MAX);
		return request;
	case 1:
	case 2:
		return w->p->stage->requests[worker_below(w, LIVE_REQUESTS)];
	default:
		return w->opened ? w->requests[worker_below(w, w->opened)] : request;
	}
}

/* What is over is opened anew, mostly: else nearly all calls would be about the past. */
static int note(struct worker *w, const struct kvshm_request *request, int rc)
{
	for (unsigned i = 0; rc == -ECANCELED && i < w->opened; i++)
		if (w->requests[i].slot == request->slot && w->requests[i].number == request->number &&
		    worker_below(w, 4))
			w->requests[i] = w->requests[--w->opened];
	return rc;
}

/* Room for some blocks; for all, or more, now and then. */
static uint32_t some_blocks(struct worker *w)
{
	uint32_t blocks = w->geometry.blocks;

	return worker_below(w, 16) ? worker_below(w, blocks / 8 + 2) : worker_below(w, blocks + 2);
}

static void make_keys(struct worker *w, struct kvshm_key *keys, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		keys[i] = worker_some_key(w, i);
}

static void end(struct worker *w, const struct kvshm_request *request)
{
	live_begin(w->p, LIVE_request_end);
	(void)live_end(w->p, LIVE_request_end, kvshm_request_end(w->store, request));
}

/* ---- Opening, finding, ending ----------------------------------------------------------------------------- */

static void keep(struct worker *w, const struct kvshm_request *request)
{
	unsigned at = w->opened < WORKER_REQUESTS ? w->opened++ : worker_below(w, WORKER_REQUESTS);

	if (w->requests[at].number && worker_below(w, 4))
		end(w, &w->requests[at]);
	w->requests[at] = *request;
	w->p->stage->requests[worker_below(w, LIVE_REQUESTS)] = *request;
}

/* Now and then one without a name. */
int worker_call_request_open(struct worker *w)
{
	bool named = worker_below(w, 8);
	uint32_t attempt = (uint32_t)(worker_below(w, 8) ? base_now() / NS_PER_ATTEMPT : worker_below(w, 8));
	unsigned char id[KVSHM_REQUEST_ID_MAX];
	size_t length = some_id(w, id);
	struct kvshm_request request;
	int rc;

	live_begin(w->p, LIVE_request_open);
	rc = live_end(w->p, LIVE_request_open,
		      named ? kvshm_request_open(w->store, id, length, attempt, worker_below(w, 4), &request)
			    : kvshm_request_open(w->store, NULL, 0, 0, worker_below(w, 4), &request));
	if (rc == 0)
		keep(w, &request);
	return rc;
}

int worker_call_request_find(struct worker *w)
{
	unsigned char id[KVSHM_REQUEST_ID_MAX];
	size_t length = some_id(w, id);
	struct kvshm_request request;
	int rc;

	live_begin(w->p, LIVE_request_find);
	rc = live_end(w->p, LIVE_request_find, kvshm_request_find(w->store, id, length, &request));
	if (rc == 0)
		w->p->stage->requests[worker_below(w, LIVE_REQUESTS)] = request;
	return rc;
}

int worker_call_request_info(struct worker *w)
{
	const struct kvshm_request *request = &w->p->stage->requests[worker_below(w, LIVE_REQUESTS)];
	struct kvshm_request_info info;
	int rc;

	live_begin(w->p, LIVE_request_get_info);
	rc = live_end(w->p, LIVE_request_get_info, kvshm_request_get_info(w->store, request, &info));
	if (rc == 0)
		live_see_request(&info);
	return rc;
}

int worker_call_request_end(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	end(w, &request);
	return 0;
}

int worker_call_request_end_on(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	live_begin(w->p, LIVE_request_end_on);
	return live_end(w->p, LIVE_request_end_on, kvshm_request_end_on(w->store, NULL, &request));
}

int worker_call_request_tend(struct worker *w)
{
	unsigned ended = 0;
	int rc;

	live_begin(w->p, LIVE_request_tend);
	rc = live_end(w->p, LIVE_request_tend,
		      kvshm_request_tend(w->store, worker_below(w, 2) * (5 * BASE_MS), &ended));
	base_check(rc || ended <= KVSHM_REQUESTS_MAX);
	return rc;
}

/* ---- Room ------------------------------------------------------------------------------------------------- */

int worker_call_request_reserve(struct worker *w)
{
	enum live_call call = worker_below(w, 2) ? LIVE_request_reserve : LIVE_request_queue;
	struct kvshm_request request = some_request(w);
	uint32_t blocks = some_blocks(w);
	uint64_t deadline = worker_soon(w);

	int rc;

	live_begin(w->p, call);
	rc = live_end(w->p, call,
		      call == LIVE_request_reserve ? kvshm_request_reserve(w->store, &request, blocks, deadline)
						   : kvshm_request_queue(w->store, &request, blocks, deadline));
	return note(w, &request, rc);
}

int worker_call_request_wait_room(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	live_begin(w->p, LIVE_request_wait_room);
	return live_end(w->p, LIVE_request_wait_room, kvshm_request_wait_room(w->store, &request, worker_soon(w)));
}

int worker_call_request_unreserve(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	live_begin(w->p, LIVE_request_unreserve);
	return live_end(w->p, LIVE_request_unreserve, kvshm_request_unreserve(w->store, &request));
}

/* ---- Holds ------------------------------------------------------------------------------------------------ */

int worker_call_request_match(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	struct kvshm_handle lent[WORKER_MATCHED];
	struct kvshm_key keys[WORKER_MATCHED];
	enum kvshm_next next;
	size_t ready = 0;
	int rc;

	for (unsigned i = 0; i < WORKER_MATCHED; i++)
		keys[i] = worker_make_key(w, i, w->keys[i]);
	live_begin(w->p, LIVE_request_match);
	rc = live_end(w->p, LIVE_request_match,
		      kvshm_request_match(w->store, &request, keys, WORKER_MATCHED, lent, &ready, &next));
	base_check(ready <= WORKER_MATCHED);
	for (size_t i = 0; rc == 0 && i < ready; i++)
		worker_keep(w, &lent[i]);
	return note(w, &request, rc);
}

int worker_call_request_pin(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	struct kvshm_handle held[MANY], lent[MANY];
	int results[MANY], rc;

	for (unsigned i = 0; i < MANY; i++)
		held[i] = worker_some_handle(w);
	live_begin(w->p, LIVE_request_pin);
	rc = live_end(w->p, LIVE_request_pin,
		      kvshm_request_pin(w->store, &request, held, MANY, lent, results));
	for (unsigned i = 0; rc == 0 && i < MANY; i++) {
		live_item(w->p, LIVE_request_pin, results[i]);
		worker_keep(w, &lent[i]);
	}
	return note(w, &request, rc);
}

/* Publishes some of its fills at once; the others are held, like any. */
static void use(struct worker *w, struct kvshm_handle *handle, enum kvshm_outcome outcome)
{
	struct kvshm_meta meta;

	worker_touch_bytes(w, handle);
	if (outcome == KVSHM_FILL && worker_below(w, 4)) {
		worker_describe(w, &meta);
		live_begin(w->p, LIVE_publish);
		(void)live_end(w->p, LIVE_publish, kvshm_publish(w->store, handle, &meta));
	}
	worker_keep(w, handle);
}

int worker_call_request_fill(struct worker *w)
{
	bool shared = worker_below(w, 4) == 0;
	enum live_call call = shared ? LIVE_request_get_or_fill_shared : LIVE_request_get_or_fill;
	struct kvshm_request request = some_request(w);
	struct kvshm_key key = worker_some_key(w, 0);
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int rc;

	live_begin(w->p, call);
	rc = live_end(w->p, call,
		      shared ? kvshm_request_get_or_fill_shared(w->store, &request, key.bytes, key.length, &outcome,
								&handle)
			     : kvshm_request_get_or_fill(w->store, &request, key.bytes, key.length, &outcome, &handle));
	if (rc == 0)
		use(w, &handle, outcome);
	return note(w, &request, rc);
}

int worker_call_request_fill_many(struct worker *w)
{
	bool shared = worker_below(w, 4) == 0;
	enum live_call call = shared ? LIVE_request_get_or_fill_shared_batch : LIVE_request_get_or_fill_batch;
	struct kvshm_request request = some_request(w);
	enum kvshm_outcome outcomes[MANY];
	struct kvshm_handle handles[MANY];
	struct kvshm_key keys[MANY];
	int results[MANY], rc;

	make_keys(w, keys, MANY);
	live_begin(w->p, call);
	rc = live_end(w->p, call,
		      shared ? kvshm_request_get_or_fill_shared_batch(w->store, &request, keys, MANY, outcomes, handles,
								      results)
			     : kvshm_request_get_or_fill_batch(w->store, &request, keys, MANY, outcomes, handles,
							       results));
	for (unsigned i = 0; rc == 0 && i < MANY; i++) {
		live_item(w->p, call, results[i]);
		if (results[i] == 0)
			use(w, &handles[i], outcomes[i]);
	}
	return note(w, &request, rc);
}

static void some_lent(struct worker *w, struct kvshm_handle lent[MANY])
{
	for (unsigned i = 0; i < MANY; i++)
		lent[i] = worker_below(w, 2) ? w->stale[worker_below(w, WORKER_STALE)] : worker_some_handle(w);
}

int worker_call_request_keep(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	struct kvshm_handle keep[MANY];

	some_lent(w, keep);
	live_begin(w->p, LIVE_request_keep);
	return note(w, &request,
		    live_end(w->p, LIVE_request_keep,
			     kvshm_request_keep(w->store, &request, keep, worker_below(w, MANY + 1))));
}

int worker_call_request_release(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	struct kvshm_handle lent[MANY];
	int rc;

	some_lent(w, lent);
	live_begin(w->p, LIVE_request_release);
	rc = live_end(w->p, LIVE_request_release, kvshm_request_release(w->store, &request, lent, MANY));
	return rc;
}

/* ---- Waiting, and claims ---------------------------------------------------------------------------------- */

int worker_call_request_complete(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	live_begin(w->p, LIVE_request_complete);
	return note(w, &request,
		    live_end(w->p, LIVE_request_complete,
			     kvshm_request_complete(w->store, &request, worker_soon(w))));
}

int worker_call_request_settle(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	uint32_t pending;

	live_begin(w->p, LIVE_request_settle);
	return note(w, &request,
		    live_end(w->p, LIVE_request_settle, kvshm_request_settle(w->store, &request, &pending)));
}

int worker_call_request_wait(struct worker *w)
{
	struct kvshm_request request = some_request(w);

	live_begin(w->p, LIVE_request_wait);
	return live_end(w->p, LIVE_request_wait, kvshm_request_wait(w->store, &request, worker_soon(w)));
}

int worker_call_request_claim(struct worker *w)
{
	struct kvshm_request request = some_request(w);
	struct kvshm_handle refs[MANY];
	struct kvshm_key keys[MANY];
	int results[MANY], rc;

	make_keys(w, keys, MANY);
	live_begin(w->p, LIVE_request_claim);
	rc = live_end(w->p, LIVE_request_claim,
		      kvshm_request_claim(w->store, &request, keys, MANY, refs, results));
	for (unsigned i = 0; rc == 0 && i < MANY; i++) {
		live_item(w->p, LIVE_request_claim, results[i]);
		worker_keep(w, &refs[i]);
	}
	return rc;
}

int worker_call_poll(struct worker *w)
{
	int fd = -1, rc = 0;

	if (worker_below(w, 2)) {
		live_begin(w->p, LIVE_poll_fd);
		rc = live_end(w->p, LIVE_poll_fd, kvshm_poll_fd(w->store, &fd));
		base_check(rc || fd >= 0);
	}
	live_begin(w->p, LIVE_poll_clear);
	(void)live_end(w->p, LIVE_poll_clear, kvshm_poll_clear(w->store));
	return rc;
}
