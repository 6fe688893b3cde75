/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load.c: the step of the load, and the calls on one key; and the report. See load.h.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "load_inner.h"

static const char *const event_names[LOAD_EVENTS] = {
	[LOAD_HIT] = "hits", [LOAD_MISS] = "misses", [LOAD_BUSY] = "being filled", [LOAD_PENDING] = "pending",
	[LOAD_FILL] = "fills", [LOAD_NO_ROOM] = "no room", [LOAD_PUBLISHED] = "published", [LOAD_GAVE_UP] = "given up",
	[LOAD_CANCELED] = "cancelled", [LOAD_WAITED] = "waited", [LOAD_TIMED_OUT] = "timed out",
	[LOAD_ASK_AGAIN] = "asked again", [LOAD_MATCHED] = "matches", [LOAD_WINDOW] = "windows",
	[LOAD_PINNED] = "pins", [LOAD_REMOVED] = "removed", [LOAD_TOUCHED] = "touched", [LOAD_CLEARED] = "clears",
	[LOAD_BATCH] = "batches", [LOAD_VERIFIED] = "verified", [LOAD_STALE_HANDLE] = "stale handles refused",
	[LOAD_OWNED] = "blocks without a key", [LOAD_PUBLISHED_AS] = "published as", [LOAD_DUPLICATE] = "duplicates",
	[LOAD_SHARED] = "shared fills", [LOAD_JOINED] = "joined", [LOAD_NOT_JOINED] = "not joined",
	[LOAD_PART] = "parts published", [LOAD_PART_CANCELED] = "parts cancelled",
	[LOAD_PART_GAVE_UP] = "parts given up", [LOAD_WHOLE] = "shared fills awaited",
	[LOAD_BY_TICKET] = "held by ticket", [LOAD_TICKET_HELD] = "tickets of held blocks",
	[LOAD_TICKET_STALE] = "stale tickets", [LOAD_TICKET_CANCELED] = "tickets of cancelled fills",
	[LOAD_REQUEST_OPENED] = "requests", [LOAD_REQUEST_REFUSED] = "refused", [LOAD_ROOM] = "rooms",
	[LOAD_NO_ROOM_RESERVED] = "no room reserved", [LOAD_COMPLETE] = "complete", [LOAD_ENDED] = "ended",
	[LOAD_REQUEST_CANCELED] = "ended by others", [LOAD_CLAIMED] = "claimed", [LOAD_ASKED] = "asked to end",
};

void load_options(struct kvshm_create_options *options, unsigned blocks, unsigned planes, enum kvshm_retain retain)
{
	kvshm_create_defaults(options);
	options->size = blocks * LOAD_BLOCK_SIZE;
	options->block_size = LOAD_BLOCK_SIZE;
	options->planes = planes;
	options->retain = retain;
	options->requests = 64;
}

/* ---- Calls on one key ------------------------------------------------------------------------------------- */

static bool get_or_fill(struct load_worker *w, unsigned key, bool shared)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	uint64_t before = load_before(w);
	struct load_hold hold = { .key = key };
	enum kvshm_outcome outcome;
	int rc = shared ? kvshm_get_or_fill_shared(w->store, bytes, length, &outcome, &hold.handle)
			: kvshm_get_or_fill(w->store, bytes, length, &outcome, &hold.handle);

	if (rc == -ENOSPC) {
		load_note(w, LOAD_NO_ROOM);
		return load_drop_some(w);
	}
	if (rc) {
		if (rc != -ESTALE)
			load_wrong(w, "get or fill", rc, key);
		return rc != -ESTALE;
	}
	load_after(w, before, &hold);
	switch (outcome) {
	case KVSHM_READY:
		load_note(w, LOAD_HIT);
		return load_keep(w, &hold);
	case KVSHM_PENDING:
		return load_pending(w, &hold);
	case KVSHM_FILL:
		return shared ? load_fill_shared(w, &hold) : load_fill(w, &hold);
	}
	load_wrong(w, "the outcome", (int)outcome, key);
	return true;
}

static bool get(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	uint64_t before = load_before(w);
	struct load_hold hold = { .key = key };
	int rc = kvshm_get(w->store, bytes, length, &hold.handle);

	load_after(w, before, &hold);
	switch (rc) {
	case 0:
		load_note(w, LOAD_HIT);
		return load_keep(w, &hold);
	case -ENOENT:
		load_note(w, LOAD_MISS);
		load_missed(w, before, key);
		return true;
	case -EAGAIN:
		load_note(w, LOAD_BUSY);
		load_missed(w, before, key);
		return true;
	case -ESTALE:
		return false;
	default:
		load_wrong(w, "get", rc, key);
		return true;
	}
}

static bool touch(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	uint64_t before = load_before(w);
	int rc = kvshm_touch(w->store, bytes, length);

	if (rc == 0)
		load_note(w, LOAD_TOUCHED);
	else if (rc == -ENOENT || rc == -EAGAIN)
		load_missed(w, before, key);
	else if (rc != -ESTALE)
		load_wrong(w, "touch", rc, key);
	return rc != -ESTALE;
}

static bool remove_key(struct load_worker *w, unsigned key)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(key, bytes);
	int rc = kvshm_remove(w->store, bytes, length);

	if (rc == 0)
		load_note(w, LOAD_REMOVED);
	else if (rc != -ENOENT && rc != -ESTALE)
		load_wrong(w, "remove", rc, key);
	return rc != -ESTALE;
}

/* Counted before it begins, and after it has returned. */
static bool clear(struct load_worker *w)
{
	int rc;

	atomic_fetch_add_explicit(&w->books->clears_begun, 1, memory_order_relaxed);
	rc = kvshm_clear(w->store);
	if (rc == -ESTALE)
		return false;
	if (rc)
		load_wrong(w, "clear", rc, 0);
	else
		atomic_fetch_add_explicit(&w->books->clears_done, 1, memory_order_release);
	load_note(w, LOAD_CLEARED);
	return true;
}

/* ---- The step --------------------------------------------------------------------------------------------- */

/* What there is to do, and how often of a thousand. */
enum act {
	ACT_FILL, ACT_SHARED, ACT_GET, ACT_TOUCH, ACT_MATCH, ACT_WINDOW, ACT_BATCH, ACT_BATCH_OF_OWNED,
	ACT_BATCH_OF_KEYS, ACT_ALLOC, ACT_GO_ON, ACT_TICKET, ACT_PIN, ACT_DROP, ACT_STALE, ACT_REMOVE, ACT_CLEAR,
	ACT_REQUEST, ACT_OTHERS_REQUEST, ACTS
};
static const unsigned shares[ACTS] = {
	[ACT_FILL] = 190, [ACT_SHARED] = 100, [ACT_GET] = 70, [ACT_TOUCH] = 20, [ACT_MATCH] = 40, [ACT_WINDOW] = 30,
	[ACT_BATCH] = 20, [ACT_BATCH_OF_OWNED] = 10, [ACT_BATCH_OF_KEYS] = 10, [ACT_ALLOC] = 40, [ACT_GO_ON] = 90,
	[ACT_TICKET] = 120, [ACT_PIN] = 30, [ACT_DROP] = 50, [ACT_STALE] = 30, [ACT_REMOVE] = 29, [ACT_CLEAR] = 1,
	[ACT_REQUEST] = 100, [ACT_OTHERS_REQUEST] = 20,
};

static enum act any_act(struct load_worker *w)
{
	unsigned at = base_below(&w->random, 1000);
	unsigned act = 0;

	while (act < ACTS - 1 && at >= shares[act])
		at -= shares[act++];
	return (enum act)act;
}

static bool act(struct load_worker *w, enum act what, unsigned key)
{
	switch (what) {
	case ACT_FILL: return get_or_fill(w, key, false);
	case ACT_SHARED: return get_or_fill(w, key, true);
	case ACT_GET: return get(w, key);
	case ACT_TOUCH: return touch(w, key);
	case ACT_MATCH: return load_match(w, key);
	case ACT_WINDOW: return load_match_window(w, key);
	case ACT_BATCH: return load_batch(w, key);
	case ACT_BATCH_OF_OWNED: return load_batch_of_owned(w, key);
	case ACT_BATCH_OF_KEYS: return load_batch_of_keys(w, key & ~1U);
	case ACT_ALLOC: return load_alloc(w, key);
	case ACT_GO_ON: return load_go_on(w);
	case ACT_TICKET: return load_use_ticket(w);
	case ACT_PIN: return load_pin(w);
	case ACT_DROP: return load_drop_some(w);
	case ACT_STALE: return load_try_stale(w);
	case ACT_REMOVE: return remove_key(w, key & ~1U);
	case ACT_CLEAR: return clear(w);
	case ACT_REQUEST: return load_request(w, key);
	case ACT_OTHERS_REQUEST: return load_use_request(w, key);
	case ACTS: break;
	}
	return true;
}

bool load_step(struct load_worker *w)
{
	/* Few keys are asked for often, so that workers meet. */
	unsigned a = base_below(&w->random, w->books->keys), b = base_below(&w->random, w->books->keys);

	while (w->count > LOAD_HOLDS - LOAD_PREFIX)
		if (!load_drop_some(w))
			return false;
	return act(w, any_act(w), a < b ? a : b);
}

void load_end(struct load_worker *w)
{
	bool there = load_close(w) && load_end_request(w);

	while (w->count && there)
		there = load_drop(w, w->count - 1);
}

/* ---- The report ------------------------------------------------------------------------------------------- */

/* What a sum of the books may not show when nobody works any more. */
static void look_at_keys(struct load_books *books)
{
	for (unsigned key = 0; key < books->keys && !books->kills; key++)
		if (books->key[key].fillers & 0xffff || books->key[key].holders & 0xffff)
			base_fail("the test's own books of key %u don't end at zero", key);
}

void load_check(const struct load_books *books)
{
	if (books->torn || books->foreign || books->two_fillers || books->among_readers || books->lost ||
	    books->cleared || books->wrong)
		base_fail("an invariant was violated");
}

void load_report(struct load_books *books)
{
	(void)printf("done:");
	for (unsigned i = 0; i < LOAD_EVENTS; i++)
		(void)printf(" %" PRIu64 " %s%s", books->event[i], event_names[i], i + 1 < LOAD_EVENTS ? "," : "\n");
	(void)printf("readers of a block met by one more:");
	for (unsigned i = 0; i < LOAD_HOLDS; i++)
		(void)printf(" %u: %" PRIu64, i, books->together[i]);
	(void)printf("\n");
	base_histogram_print(&books->waits, "waits");
	(void)printf("torn %" PRIu64 ", foreign %" PRIu64 ", two_fillers %" PRIu64 ", among_readers %" PRIu64
		     ", lost %" PRIu64 ", cleared %" PRIu64 ", wrong %" PRIu64 "\n", books->torn, books->foreign,
		     books->two_fillers, books->among_readers, books->lost, books->cleared, books->wrong);
	load_check(books);
	if (books->event[LOAD_VERIFIED] == 0 || books->event[LOAD_PUBLISHED] == 0)
		base_fail("nothing was done");
	look_at_keys(books);
}
