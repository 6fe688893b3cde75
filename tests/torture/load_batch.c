/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_batch.c: matches, and the calls for many items, of the load: each item must come to what its single call may
 * come to. See load.h.
 */
#include "config.h"

#include <errno.h>

#include "load_inner.h"

#define N LOAD_PREFIX

/* Some keys that follow each other. */
struct keys {
	unsigned number[N];
	unsigned char bytes[N][KVSHM_KEY_MAX];
	struct kvshm_key key[N];
};

static void make_keys(const struct load_worker *w, unsigned first, struct keys *keys)
{
	for (unsigned i = 0; i < N; i++) {
		keys->number[i] = (first + i) % w->books->keys;
		keys->key[i] = (struct kvshm_key){ keys->bytes[i], load_key(keys->number[i], keys->bytes[i]) };
	}
}

/* Some keys, each once: there may be fewer of them than of items. */
static unsigned make_different_keys(const struct load_worker *w, unsigned first, struct keys *keys)
{
	make_keys(w, first, keys);
	return w->books->keys < N ? w->books->keys : N;
}

/* A call failed as a whole: is it that the store was destroyed? */
static bool failed(struct load_worker *w, const char *what, int rc, unsigned first)
{
	if (rc != -ESTALE)
		load_wrong(w, what, rc, first);
	return rc != -ESTALE;
}

/* ---- Matches ---------------------------------------------------------------------------------------------- */

/* Takes those that are held into the list, and some out of it. */
static bool take_matched(struct load_worker *w, uint64_t before, const struct keys *keys,
			 const struct kvshm_handle *refs, size_t ready)
{
	bool open = true;
	unsigned taken = 0;

	for (size_t i = 0; i < ready; i++) {
		struct load_hold hold = { .handle = refs[i], .key = keys->number[i] };

		if (refs[i].kind == KVSHM_NONE)
			continue;
		load_after(w, before, &hold);
		load_take(w, &hold);
		load_verify(w, &w->holds[w->count - 1]);
		taken++;
	}
	while (taken-- && open)
		open = load_drop_some(w);
	return open;
}

bool load_match(struct load_worker *w, unsigned first)
{
	uint64_t before = load_before(w);
	struct kvshm_handle refs[N];
	struct keys keys;
	enum kvshm_next next;
	bool asked[N];
	size_t ready;
	int rc;

	make_keys(w, first, &keys);
	for (unsigned i = 0; i < N; i++) {
		asked[i] = base_below(&w->random, 8) != 0;
		if (!asked[i])
			keys.key[i] = (struct kvshm_key){ NULL, 0 };
	}
	rc = kvshm_match(w->store, keys.key, N, refs, &ready, &next);
	if (rc)
		return failed(w, "match", rc, first);
	load_note(w, LOAD_MATCHED);
	if (ready > N || (ready == N) != (next == KVSHM_NEXT_NONE))
		load_wrong(w, "what a match says is next", (int)next, first);
	for (size_t i = 0; i < ready; i++)
		if ((refs[i].kind == KVSHM_REF) != asked[i])
			load_wrong(w, "the kind of a matched ref", (int)refs[i].kind, keys.number[i]);
	if (ready < N && next == KVSHM_NEXT_MISSING)
		load_missed(w, before, keys.number[ready]);
	return take_matched(w, before, &keys, refs, ready);
}

bool load_match_window(struct load_worker *w, unsigned first)
{
	uint64_t before = load_before(w);
	size_t window = 1 + base_below(&w->random, N), ready, begin;
	struct kvshm_handle refs[N];
	struct keys keys;
	enum kvshm_next next;
	int rc;

	make_keys(w, first, &keys);
	rc = kvshm_match_window(w->store, keys.key, N, window, refs, &ready, &next);
	if (rc)
		return failed(w, "match of a window", rc, first);
	load_note(w, LOAD_WINDOW);
	if (ready > N || (ready == N) != (next == KVSHM_NEXT_NONE))
		load_wrong(w, "what a match of a window says is next", (int)next, first);
	begin = ready > window ? ready - window : 0;
	for (size_t i = 0; i < N; i++)
		if ((refs[i].kind == KVSHM_REF) != (i >= begin && i < ready))
			load_wrong(w, "the kind of a ref in a window", (int)refs[i].kind, keys.number[i]);
	if (ready < N && next == KVSHM_NEXT_MISSING)
		load_missed(w, before, keys.number[ready]);
	return take_matched(w, before, &keys, refs, ready);
}

/* ---- Batches ---------------------------------------------------------------------------------------------- */

/* A batch at work: what is held, one after the other, and a call's results. */
struct batch {
	struct load_hold hold[N];
	struct kvshm_handle handle[N];
	int result[N];
	unsigned count;
};

static void load_handles(struct batch *b)
{
	for (unsigned i = 0; i < b->count; i++)
		b->handle[i] = b->hold[i].handle;
}

/* Keeps the items that went well. Others may have been cancelled, if may_cancel; nothing else. */
static bool settle(struct load_worker *w, struct batch *b, const char *what, int rc, bool may_cancel)
{
	unsigned kept = 0;

	if (rc)
		return failed(w, what, rc, 0);
	for (unsigned i = 0; i < b->count; i++) {
		if (b->result[i] == -ESTALE)
			return false;
		if (b->result[i] == 0) {
			b->hold[kept] = b->hold[i];
			b->hold[kept++].handle = b->handle[i];
		} else if (b->result[i] != -ECANCELED || !may_cancel || b->handle[i].kind != KVSHM_NONE) {
			load_wrong(w, what, b->result[i], b->hold[i].key);
		}
	}
	b->count = kept;
	return true;
}

/* Every item must have gone well. */
static bool all_well(struct load_worker *w, const char *what, int rc, const int *results, unsigned count)
{
	if (rc)
		return failed(w, what, rc, 0);
	for (unsigned i = 0; i < count; i++) {
		if (results[i] == -ESTALE)
			return false;
		if (results[i])
			load_wrong(w, what, results[i], i);
	}
	return true;
}

static bool release(struct load_worker *w, struct batch *b)
{
	load_handles(b);
	return all_well(w, "release of a batch", kvshm_release_batch(w->store, b->handle, b->count, b->result),
			b->result, b->count);
}

static bool publish(struct load_worker *w, struct batch *b)
{
	struct kvshm_meta metas[N];

	for (unsigned i = 0; i < b->count; i++)
		load_write(w, &b->hold[i], &metas[i]);
	for (unsigned i = 0; i < b->count; i++)
		load_fill_ends(w, &b->hold[i]);
	load_handles(b);
	return settle(w, b, "publish of a batch",
		      kvshm_publish_batch(w->store, b->handle, metas, b->count, b->result), true);
}

/* Those that are ready in the end stay; the others are let go of. */
static bool wait_for(struct load_worker *w, struct batch *b)
{
	uint64_t before = load_before(w);
	struct batch late = { .count = 0 }, all = *b;
	int rc;

	load_handles(&all);
	rc = kvshm_wait_batch(w->store, all.handle, all.count,
			      w->books->brief ? 0 : base_now() + base_below(&w->random, 2) * BASE_MS, all.result);
	b->count = 0;
	for (unsigned i = 0; rc == 0 && i < all.count; i++) {
		struct batch *to = all.result[i] == -ETIMEDOUT ? &late : b;

		to->hold[to->count] = all.hold[i];
		to->hold[to->count].done = before;
		to->handle[to->count] = all.handle[i];
		to->result[to->count++] = all.result[i];
	}
	return settle(w, b, "wait for a batch", rc, true) && release(w, &late);
}

/* Holds all of a batch once more, by tickets, and then by pins alone; looks at the bytes; and lets go of that. */
static bool hold_again(struct load_worker *w, struct batch *b)
{
	struct kvshm_handle refs[N], pins[N];
	struct kvshm_ticket tickets[N];
	enum kvshm_outcome outcomes[N];
	struct kvshm_meta metas[N];
	void *addresses[N];
	unsigned n = b->count;
	int *results = b->result;

	load_handles(b);
	if (!all_well(w, "tickets", kvshm_get_ticket_batch(w->store, b->handle, n, tickets, results), results, n) ||
	    !all_well(w, "holds by ticket", kvshm_hold_batch(w->store, tickets, n, outcomes, refs, results), results,
		      n) ||
	    !all_well(w, "pins", kvshm_pin_batch(w->store, refs, n, pins, results), results, n) || !release(w, b) ||
	    !all_well(w, "releases", kvshm_release_batch(w->store, refs, n, results), results, n) ||
	    !all_well(w, "meta", kvshm_get_meta_batch(w->store, pins, n, metas, results), results, n) ||
	    !all_well(w, "addresses", kvshm_address_batch(w->store, pins, 0, n, addresses, results), results, n))
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct load_hold hold = b->hold[i];

		hold.handle = pins[i];
		if (outcomes[i] != KVSHM_READY)
			load_violated(w, &w->books->lost, "the ticket of a held block", &hold);
		load_verify(w, &hold);
	}
	return all_well(w, "unpins", kvshm_unpin_batch(w->store, pins, n, results), results, n);
}

/* Sorts what a batch was told: what is held, and what is to be filled. */
static bool sort(struct load_worker *w, const struct batch *asked, const enum kvshm_outcome *outcomes,
		 struct batch *held, struct batch *fills)
{
	for (unsigned i = 0; i < asked->count; i++) {
		struct batch *to = outcomes[i] == KVSHM_FILL ? fills : held;

		if (asked->result[i] == -ESTALE)
			return false;
		if (asked->result[i] == 0) {
			to->hold[to->count] = asked->hold[i];
			to->hold[to->count++].handle = asked->handle[i];
		} else if (asked->result[i] != -ENOSPC || asked->handle[i].kind != KVSHM_NONE) {
			load_wrong(w, "get or fill in a batch", asked->result[i], asked->hold[i].key);
		}
	}
	for (unsigned i = 0; i < fills->count; i++)
		load_fill_begins(w, &fills->hold[i]);
	return true;
}

bool load_batch(struct load_worker *w, unsigned first)
{
	uint64_t before = load_before(w);
	struct batch asked = { .count = 0 }, held = { .count = 0 }, fills = { .count = 0 };
	enum kvshm_outcome outcomes[N] = { KVSHM_READY };
	struct keys keys;
	int rc;

	asked.count = make_different_keys(w, first, &keys);
	rc = kvshm_get_or_fill_batch(w->store, keys.key, asked.count, outcomes, asked.handle, asked.result);
	if (rc)
		return failed(w, "get or fill of a batch", rc, first);
	load_note(w, LOAD_BATCH);
	for (unsigned i = 0; i < asked.count; i++) {
		asked.hold[i].key = keys.number[i];
		load_after(w, before, &asked.hold[i]);
	}
	if (!sort(w, &asked, outcomes, &held, &fills) || !publish(w, &fills))
		return false;
	for (unsigned i = 0; i < fills.count; i++)
		held.hold[held.count++] = fills.hold[i];
	return wait_for(w, &held) && hold_again(w, &held);
}

/* Blocks without a key, published under some or given up, all at once. */
bool load_batch_of_owned(struct load_worker *w, unsigned first)
{
	uint64_t before = load_before(w);
	struct batch b = { .count = 0 };
	struct kvshm_handle handles[N];
	struct kvshm_meta metas[N];
	enum kvshm_published published[N];
	struct keys keys;
	int results[N], rc;
	unsigned n = make_different_keys(w, first, &keys);

	rc = kvshm_alloc_batch(w->store, n, handles, results);
	if (rc)
		return failed(w, "alloc of a batch", rc, first);
	for (unsigned i = 0; i < n; i++) {
		if (results[i] == -ESTALE)
			return false;
		if (results[i] && results[i] != -ENOSPC)
			load_wrong(w, "alloc in a batch", results[i], i);
		if (results[i])
			continue;
		b.hold[b.count] = (struct load_hold){ .handle = handles[i], .key = keys.number[b.count] };
		load_after(w, before, &b.hold[b.count]);
		load_write(w, &b.hold[b.count], &metas[b.count]);
		b.count++;
	}
	load_handles(&b);
	if (base_below(&w->random, 8) == 0)
		return all_well(w, "give-ups", kvshm_give_up_batch(w->store, b.handle, b.count, b.result), b.result,
				b.count);
	rc = kvshm_publish_as_batch(w->store, b.handle, keys.key, metas, b.count, published, b.result);
	return settle(w, &b, "publish as of a batch", rc, true) && wait_for(w, &b) && hold_again(w, &b);
}

bool load_batch_of_keys(struct load_worker *w, unsigned first)
{
	struct keys keys;
	int results[N], rc;
	unsigned what = base_below(&w->random, 8), n = make_different_keys(w, first, &keys);

	if (what)
		rc = kvshm_touch_batch(w->store, keys.key, n, results);
	else
		rc = kvshm_remove_batch(w->store, keys.key, 1, results);
	if (rc)
		return failed(w, "touch or removal of a batch", rc, first);
	for (unsigned i = 0; i < (what ? n : 1); i++) {
		if (results[i] == -ESTALE)
			return false;
		if (results[i] && results[i] != -ENOENT && results[i] != -EAGAIN)
			load_wrong(w, "touch or removal in a batch", results[i], keys.number[i]);
	}
	return true;
}
