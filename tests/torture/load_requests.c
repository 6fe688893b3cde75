/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_requests.c: requests of the load. Each worker has one at most, which stays open over several steps: it matches,
 * reserves room, fills, shrinks, is complete, and ends. What it holds it verifies. Others take any that is posted in
 * the books: they wait for it, claim of its keys, and ask for its end, so that any call of its owner's may find that
 * it is over: then its holds are gone, all at once. See load.h.
 */
#include "config.h"

#include <errno.h>

#include "load_inner.h"

#define IDS 8U /* few, so that those who open them meet */
#define N LOAD_PREFIX

/* A request in one word, as it is posted; 0: none. */
static uint64_t pack(const struct kvshm_request *request)
{
	return request->number << 16 | request->slot;
}

static int unpack(kvshm_store *store, uint64_t posted, struct kvshm_request *request)
{
	struct kvshm_geometry geometry;
	int rc = kvshm_get_geometry(store, &geometry);

	if (rc == 0)
		*request = (struct kvshm_request){ .number = posted >> 16,
						   .slot = posted & 0xffff,
						   .store = (uint32_t)geometry.incarnation };
	return rc;
}

static _Atomic uint64_t *any_post(struct load_worker *w)
{
	return &w->books->requests[base_below(&w->random, LOAD_REQUESTS)];
}

/* ---- The list of its holds -------------------------------------------------------------------------------- */

/* Counts who holds a key ready, where it is known when that ends: not where others ask for a request's end. Its holds
 * go within the owner's next call then, and another may be filling their keys before that has returned. */
static void count_holder(struct load_worker *w, const struct load_hold *hold, int n)
{
	if (!w->books->one_thread)
		load_count_holder(w, hold, n);
}

/* One is let go of, or has gone. */
static void forget_one(struct load_worker *w, unsigned at)
{
	struct load_request *r = &w->request;

	if (r->lent[at].ready)
		count_holder(w, &r->lent[at].hold, -1);
	r->lent[at] = r->lent[--r->count];
}

static void forget_all(struct load_worker *w)
{
	while (w->request.count)
		forget_one(w, w->request.count - 1);
}

static void is_ready(struct load_worker *w, struct load_lent *lent)
{
	if (!lent->ready)
		count_holder(w, &lent->hold, 1);
	lent->ready = true;
	load_verify(w, &lent->hold);
}

/* A hold was lent. Asked for again it is the same one (R01). There is place in the list. */
static void note_lent(struct load_worker *w, const struct load_hold *hold, bool ready)
{
	struct load_request *r = &w->request;
	unsigned i = 0;

	if (hold->handle.kind != KVSHM_LENT)
		load_wrong(w, "the kind of a hold of a request's", (int)hold->handle.kind, hold->key);
	while (i < r->count && (r->lent[i].hold.handle.block != hold->handle.block ||
				r->lent[i].hold.handle.life != hold->handle.life))
		i++;
	if (i == r->count)
		r->lent[r->count++] = (struct load_lent){ .hold = *hold };
	if (ready)
		is_ready(w, &r->lent[i]);
}

/* ---- Its calls -------------------------------------------------------------------------------------------- */

enum went { DONE, FAILED, STORE_GONE };

/* An owner's call has returned. It may always be that another has asked for the end; and it may have come to what is
 * given. */
static enum went judge(struct load_worker *w, const char *what, int rc, int or)
{
	if (rc == 0)
		return DONE;
	if (rc == -ESTALE)
		return STORE_GONE;
	if (rc == -ECANCELED) {
		forget_all(w);
		w->request.open = false;
		load_note(w, LOAD_REQUEST_CANCELED);
	} else if (rc != or) {
		load_wrong(w, what, rc, 0);
	}
	return FAILED;
}

static bool open_one(struct load_worker *w)
{
	struct load_request *r = &w->request;
	char id = (char)('a' + base_below(&w->random, IDS));
	uint32_t attempt = (uint32_t)atomic_fetch_add_explicit(&w->books->attempts, 1, memory_order_relaxed) + 1;
	int rc = kvshm_request_open(w->store, &id, 1, attempt, base_below(&w->random, 3), &r->request);

	if (rc == -ESTALE)
		return false;
	if (rc && rc != -EEXIST && rc != -EALREADY && rc != -ENFILE)
		load_wrong(w, "opening a request", rc, 0);
	load_note(w, rc ? LOAD_REQUEST_REFUSED : LOAD_REQUEST_OPENED);
	r->open = rc == 0;
	r->complete = false;
	r->count = 0;
	if (r->open)
		atomic_store_explicit(any_post(w), pack(&r->request), memory_order_relaxed);
	return true;
}

static bool reserve(struct load_worker *w)
{
	uint64_t deadline = w->books->brief || base_below(&w->random, 4) ? 0 : base_now() + 2 * BASE_MS;
	unsigned blocks = 1 + base_below(&w->random, LOAD_LENT);
	int rc = kvshm_request_reserve(w->store, &w->request.request, blocks, deadline);

	if (rc == -EBUSY)
		rc = kvshm_request_unreserve(w->store, &w->request.request);
	else
		load_note(w, rc ? LOAD_NO_ROOM_RESERVED : LOAD_ROOM);
	return judge(w, "a reservation", rc == -E2BIG ? -ETIMEDOUT : rc, -ETIMEDOUT) != STORE_GONE;
}

static bool match(struct load_worker *w, unsigned first)
{
	unsigned char bytes[N][KVSHM_KEY_MAX] = {{0}};
	uint64_t before = load_before(w);
	struct kvshm_handle lent[N];
	struct kvshm_key keys[N];
	enum kvshm_next next;
	enum went went;
	size_t ready;

	for (unsigned i = 0; i < N; i++)
		keys[i] = (struct kvshm_key){ bytes[i], load_key((first + i) % w->books->keys, bytes[i]) };
	went = judge(w, "a request's match",
		     kvshm_request_match(w->store, &w->request.request, keys, N, lent, &ready, &next), 0);
	for (size_t i = 0; went == DONE && i < ready; i++) {
		struct load_hold hold = { .handle = lent[i], .key = (first + (unsigned)i) % w->books->keys };

		load_after(w, before, &hold);
		note_lent(w, &hold, true);
	}
	return went != STORE_GONE;
}

/* A fill has come to nothing. With it the request may have ended, if others have asked for that: then all is gone. */
static bool look_whether_over(struct load_worker *w)
{
	int rc = kvshm_request_wait(w->store, &w->request.request, 0);

	if (rc != -ECANCELED)
		return rc != -ESTALE;
	load_note(w, LOAD_REQUEST_CANCELED);
	forget_all(w);
	w->request.open = false;
	rc = kvshm_request_end(w->store, &w->request.request);
	if (rc != -EALREADY && rc != -ESTALE)
		load_wrong(w, "the end of a request that is over", rc, 0);
	return rc != -ESTALE;
}

/* A fill of the request's: where it comes to nothing, the key was removed, the store cleared, or the request is
 * over. */
static bool fill(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_meta meta;
	bool cleared;
	int rc;

	load_note(w, LOAD_FILL);
	load_fill_begins(w, hold);
	load_write(w, hold, &meta);
	load_fill_ends(w, hold);
	if (base_below(&w->random, 8) == 0) {
		load_note(w, LOAD_GAVE_UP);
		rc = kvshm_give_up(w->store, &hold->handle);
		if (rc && rc != -ESTALE)
			load_wrong(w, "giving up a request's fill", rc, hold->key);
		return rc != -ESTALE && look_whether_over(w);
	}
	cleared = load_surely_cleared_since(w, hold);
	rc = kvshm_publish(w->store, &hold->handle, &meta);
	if (rc == -ESTALE)
		return false;
	if (rc == -ECANCELED) {
		bool may_be = hold->key % 2 == 0 || w->books->kills || load_cleared_since(w, hold);

		load_note(w, LOAD_CANCELED);
		if (!look_whether_over(w))
			return false;
		if (!may_be && w->request.open)
			load_wrong(w, "publishing a request's fill", rc, hold->key);
		return true;
	}
	if (rc) {
		load_wrong(w, "publishing a request's fill", rc, hold->key);
		return true;
	}
	if (cleared)
		load_violated(w, &w->books->cleared, "a fill from before the last clear was published", hold);
	load_note(w, LOAD_PUBLISHED);
	note_lent(w, hold, true);
	return true;
}

static bool get_or_fill(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	uint64_t before = load_before(w);
	struct load_hold hold = { .key = key };
	enum kvshm_outcome outcome;
	enum went went = judge(w, "a request's get or fill",
			       kvshm_request_get_or_fill(w->store, &w->request.request, bytes, length, &outcome,
							 &hold.handle), -ENOSPC);

	if (went != DONE)
		return went != STORE_GONE;
	load_after(w, before, &hold);
	if (outcome == KVSHM_FILL)
		return fill(w, &hold);
	note_lent(w, &hold, outcome == KVSHM_READY);
	return true;
}

/* Lets some go; all that are not ready, if one of them is gone. */
static bool shrink(struct load_worker *w, bool pending)
{
	struct load_request *r = &w->request;
	enum went went = DONE;

	for (unsigned i = r->count; i-- && went == DONE;) {
		struct kvshm_handle handle = r->lent[i].hold.handle;

		if (pending ? r->lent[i].ready : base_below(&w->random, 2))
			continue;
		if (r->lent[i].ready && !w->books->brief)
			load_verify(w, &r->lent[i].hold);
		forget_one(w, i);
		went = judge(w, "shrinking a request", kvshm_request_release(w->store, &r->request, &handle, 1), 0);
	}
	return went != STORE_GONE;
}

/* The same the other way round: some stay. */
static bool keep(struct load_worker *w)
{
	struct load_request *r = &w->request;
	struct kvshm_handle kept[LOAD_LENT];
	size_t count = 0;

	for (unsigned i = r->count; i--;) {
		if (base_below(&w->random, 2)) {
			kept[count++] = r->lent[i].hold.handle;
			continue;
		}
		if (r->lent[i].ready && !w->books->brief)
			load_verify(w, &r->lent[i].hold);
		forget_one(w, i);
	}
	return judge(w, "what a request keeps", kvshm_request_keep(w->store, &r->request, kept, count), 0) !=
	       STORE_GONE;
}

/* One more hold of what the worker holds by itself. */
static bool pin(struct load_worker *w)
{
	struct load_hold hold;
	enum went went;
	int result;

	if (w->count == 0)
		return true;
	hold = w->holds[base_below(&w->random, w->count)];
	hold.token = 0;
	went = judge(w, "a request's pin", kvshm_request_pin(w->store, &w->request.request, &hold.handle, 1,
							     &hold.handle, &result), 0);
	if (went == DONE && result)
		load_violated(w, &w->books->lost, "a hold can't be pinned for a request", &hold);
	else if (went == DONE)
		note_lent(w, &hold, true);
	return went != STORE_GONE;
}

static void all_are_ready(struct load_worker *w)
{
	for (unsigned i = 0; i < w->request.count; i++)
		is_ready(w, &w->request.lent[i]);
}

/* How far is it? What can't become ready any more is told once: all that is not ready is let go of then. */
static bool settle(struct load_worker *w)
{
	uint32_t pending = UINT32_MAX;
	int rc = kvshm_request_settle(w->store, &w->request.request, &pending);

	if (rc == -EAGAIN)
		return shrink(w, true);
	if (judge(w, "settling a request", rc, 0) != DONE)
		return rc != -ESTALE;
	if (pending > LOAD_LENT)
		load_wrong(w, "blocks that are not ready yet", (int)pending, 0);
	if (pending == 0)
		all_are_ready(w);
	return true;
}

static bool complete(struct load_worker *w)
{
	struct load_request *r = &w->request;
	int rc = kvshm_request_complete(w->store, &r->request, w->books->brief ? 0 : base_now() + BASE_MS);

	if (rc == -EAGAIN)
		return shrink(w, true);
	if (rc == -EINPROGRESS)
		return true;
	if (judge(w, "completing a request", rc, -ETIMEDOUT) != DONE)
		return rc != -ESTALE;
	load_note(w, LOAD_COMPLETE);
	r->complete = true;
	all_are_ready(w); /* any of them may have been since it was asked for */
	return true;
}

bool load_end_request(struct load_worker *w)
{
	int rc;

	if (!w->request.open)
		return true;
	for (unsigned i = 0; i < w->request.count && !w->books->brief; i++)
		if (w->request.lent[i].ready)
			load_verify(w, &w->request.lent[i].hold);
	forget_all(w);
	w->request.open = false;
	rc = kvshm_request_end(w->store, &w->request.request);
	if (rc == 0)
		load_note(w, LOAD_ENDED);
	else if (rc != -EALREADY && rc != -ESTALE)
		load_wrong(w, "the end of a request", rc, 0);
	return rc != -ESTALE;
}

/* ---- Others' ---------------------------------------------------------------------------------------------- */

/* What a call with a posted request may come to besides. It may be of another store, which had the name before. */
static bool is_over(const struct load_worker *w, int rc)
{
	return rc == -ESTALE || (rc == -EBADF && w->books->kills);
}

static bool claim(struct load_worker *w, const struct kvshm_request *request, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	struct kvshm_key one = { bytes, load_key(key, bytes) };
	uint64_t before = load_before(w);
	struct load_hold hold = { .key = key };
	int result, rc = kvshm_request_claim(w->store, request, &one, 1, &hold.handle, &result);

	if (rc == 0 && result == 0) {
		load_after(w, before, &hold);
		load_note(w, LOAD_CLAIMED);
		return load_keep(w, &hold);
	}
	if (rc && rc != -ECANCELED && !is_over(w, rc))
		load_wrong(w, "a claim", rc, key);
	else if (rc == 0 && result != -ENOENT && result != -EAGAIN)
		load_wrong(w, "a claim's result", result, key);
	return rc != -ESTALE;
}

bool load_use_request(struct load_worker *w, unsigned key)
{
	uint64_t posted = atomic_load_explicit(any_post(w), memory_order_relaxed);
	struct kvshm_request request;
	int rc;

	if (!posted)
		return true;
	if (unpack(w->store, posted, &request))
		return false;
	if (base_below(&w->random, 4))
		return claim(w, &request, key);
	rc = kvshm_request_wait(w->store, &request, 0);
	if (rc && rc != -ETIMEDOUT && rc != -ECANCELED && !is_over(w, rc))
		load_wrong(w, "waiting for a request", rc, 0);
	if (rc == -ESTALE || base_below(&w->random, 2))
		return rc != -ESTALE;
	if (w->request.open && pack(&w->request.request) == posted)
		return load_end_request(w);
	rc = w->books->one_thread ? kvshm_request_end(w->store, &request) : -EALREADY; /* another thread may be at it */
	if (rc == 0)
		load_note(w, LOAD_ASKED);
	else if (rc != -EALREADY && !is_over(w, rc))
		load_wrong(w, "asking for a request's end", rc, 0);
	return rc != -ESTALE;
}

/* ---- The step --------------------------------------------------------------------------------------------- */

bool load_request(struct load_worker *w, unsigned key)
{
	if (!w->request.open)
		return open_one(w);
	if (w->request.count > LOAD_LENT - N)
		return shrink(w, false);
	switch (base_below(&w->random, w->request.complete ? 9 : 15)) {
	case 0: case 1: return match(w, key);
	case 2: return shrink(w, false);
	case 3: return keep(w);
	case 4: return complete(w);
	case 5: return settle(w);
	case 6: return load_end_request(w);
	case 7: return reserve(w);
	case 8: return pin(w);
	default: return get_or_fill(w, key); /* all of a complete one's are ready: it takes no more that may not be */
	}
}
