/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_fills.c: fills of the load. One that is its filler's alone is done at once. A shared one, a part of one, a block
 * without a key, and a wait may stay open over several steps, so that filler and writers do their parts in any order,
 * while others join, wait, hold by ticket, remove and clear. A part of a key that is never removed is never given up
 * either, so that such a key has no second filler before the first one is through. See load.h.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>

#include "load_inner.h"

/* What came of one step of something open. */
enum went { OVER, GOES_ON, STORE_GONE };

static enum went over(bool store_is_there)
{
	return store_is_there ? OVER : STORE_GONE;
}

/* Every end but -ESTALE and 0: a cancellation is right where the key may be removed, a part be given up, or a clear
 * began. */
static enum went canceled(struct load_worker *w, const struct load_hold *hold, const char *what, int rc)
{
	if (rc == -ESTALE)
		return STORE_GONE;
	if (rc == -EBADF)
		load_violated(w, &w->books->lost, "a fill was lost", hold);
	else if (rc != -ECANCELED || (hold->key % 2 && !w->books->kills && !load_cleared_since(w, hold)))
		load_wrong(w, what, rc, hold->key);
	else if (hold->handle.kind != KVSHM_NONE)
		load_wrong(w, "the handle after a cancellation", (int)hold->handle.kind, hold->key);
	else
		load_note(w, LOAD_CANCELED);
	return OVER;
}

/* Was a fill published that a clear must have cancelled? */
static void look_at_published(struct load_worker *w, const struct load_hold *hold, bool cleared)
{
	if (cleared)
		load_violated(w, &w->books->cleared, "a fill from before the last clear was published", hold);
}

static enum went give_up(struct load_worker *w, struct load_hold *hold, enum load_event event)
{
	int rc;

	load_unpost(w, hold);
	load_fill_ends(w, hold);
	rc = kvshm_give_up(w->store, &hold->handle);
	if (rc)
		return canceled(w, hold, "give up", rc == -ECANCELED ? -EPROTO : rc);
	load_note(w, event);
	return OVER;
}

/* Puts something into the list. */
static bool keep_open(struct load_worker *w, const struct load_open *open)
{
	base_check(w->open_count < LOAD_OPEN);
	w->open[w->open_count++] = *open;
	return true;
}

/* Is there room for one more, beside the one that is being worked on? */
static bool may_stay_open(struct load_worker *w)
{
	return !w->books->brief && w->open_count < LOAD_OPEN - 1 && base_below(&w->random, 2);
}

/* ---- Waiting ---------------------------------------------------------------------------------------------- */

static enum went wait_for(struct load_worker *w, struct load_hold *hold, unsigned patience)
{
	uint64_t begin = base_now();
	int rc;

	hold->done = load_before(w);
	rc = kvshm_wait(w->store, &hold->handle, patience ? begin + patience * BASE_MS : 0);
	if (rc != -ETIMEDOUT || patience)
		base_histogram_add(&w->books->waits, base_now() - begin);
	switch (rc) {
	case 0:
		load_note(w, LOAD_WAITED);
		return over(load_keep(w, hold));
	case -ECANCELED:
		load_note(w, LOAD_ASK_AGAIN);
		if (hold->handle.kind != KVSHM_NONE)
			load_wrong(w, "the handle after a cancelled wait", (int)hold->handle.kind, hold->key);
		load_fill_ends(w, hold);
		load_unpost(w, hold);
		return OVER;
	case -ETIMEDOUT:
		load_note(w, LOAD_TIMED_OUT);
		return GOES_ON;
	case -ESTALE:
		return STORE_GONE;
	default:
		load_wrong(w, "wait", rc, hold->key);
		return OVER;
	}
}

bool load_pending(struct load_worker *w, struct load_hold *hold)
{
	enum went went;

	load_note(w, LOAD_PENDING);
	went = wait_for(w, hold, w->books->brief ? 0 : base_below(&w->random, 4));
	if (went != GOES_ON)
		return went == OVER;
	if (may_stay_open(w))
		return keep_open(w, &(struct load_open){ .hold = *hold, .kind = LOAD_OPEN_AWAITED, .patience = 2 });
	return load_let_go(w, hold);
}

/* ---- A fill of one's own ---------------------------------------------------------------------------------- */

bool load_fill(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_meta meta;
	bool cleared;
	int rc;

	load_note(w, LOAD_FILL);
	load_fill_begins(w, hold);
	load_write(w, hold, &meta);
	if (!w->books->brief && base_below(&w->random, 4) == 0)
		(void)sched_yield(); /* others meet the fill */
	if (base_below(&w->random, 8) == 0)
		return give_up(w, hold, LOAD_GAVE_UP) == OVER;
	load_fill_ends(w, hold);
	cleared = load_surely_cleared_since(w, hold);
	rc = kvshm_publish(w->store, &hold->handle, &meta);
	if (rc)
		return canceled(w, hold, "publish", rc) == OVER;
	look_at_published(w, hold, cleared);
	load_note(w, LOAD_PUBLISHED);
	return load_keep(w, hold);
}

/* ---- Parts ------------------------------------------------------------------------------------------------ */

/* Its plane is written only now: until then it has the bytes of another life, which nobody may meet. */
static enum went end_part(struct load_worker *w, struct load_open *open)
{
	int rc;

	load_write_plane(w, &open->hold, open->hold.handle.plane);
	if (open->hold.key % 2 == 0 && base_below(&w->random, 8) == 0)
		return give_up(w, &open->hold, LOAD_PART_GAVE_UP);
	rc = kvshm_publish(w->store, &open->hold.handle, NULL);
	if (rc == -ECANCELED && open->hold.handle.kind == KVSHM_NONE) {
		load_note(w, LOAD_PART_CANCELED);
		return OVER;
	}
	if (rc)
		return canceled(w, &open->hold, "publish of a part", rc == -ECANCELED ? -EPROTO : rc);
	load_note(w, LOAD_PART);
	open->kind = LOAD_OPEN_AWAITED;
	open->patience = base_below(&w->random, 3);
	return GOES_ON;
}

/* Waits once more for what a part was of, or lets go of it. */
static bool after_part(struct load_worker *w, struct load_open *open)
{
	enum went went = wait_for(w, &open->hold, 0);

	if (went != GOES_ON)
		return went == OVER;
	return may_stay_open(w) ? keep_open(w, open) : load_let_go(w, &open->hold);
}

bool load_join(struct load_worker *w, const struct kvshm_ticket *ticket, unsigned key, bool shared, unsigned plane)
{
	struct load_open open = { .hold.key = key, .ticket = *ticket, .kind = LOAD_OPEN_PART };
	enum went went;
	int rc = kvshm_join(w->store, ticket, plane, &open.hold.handle);

	if (rc == -ESTALE)
		return false;
	if (rc == -EBUSY || rc == -EALREADY || rc == -ENOENT || rc == -ECANCELED) {
		load_note(w, LOAD_NOT_JOINED);
		return true;
	}
	if (rc || !shared || open.hold.handle.plane != plane) {
		load_wrong(w, shared ? "join" : "join of a block that was ready", rc, key);
		return true;
	}
	load_note(w, LOAD_JOINED);
	if (may_stay_open(w))
		return keep_open(w, &open);
	went = end_part(w, &open);
	return went == GOES_ON ? after_part(w, &open) : went == OVER;
}

/* ---- Shared fills ----------------------------------------------------------------------------------------- */

static enum went end_filler(struct load_worker *w, struct load_open *open)
{
	struct kvshm_meta meta;
	bool cleared;
	int rc;

	if (base_below(&w->random, 8) == 0)
		return give_up(w, &open->hold, LOAD_GAVE_UP);
	cleared = load_surely_cleared_since(w, &open->hold);
	load_describe(&open->hold, &meta);
	rc = kvshm_publish(w->store, &open->hold.handle, &meta);
	if (rc) {
		load_fill_ends(w, &open->hold);
		load_unpost(w, &open->hold);
		return canceled(w, &open->hold, "publish of a shared fill", rc);
	}
	look_at_published(w, &open->hold, cleared);
	load_note(w, LOAD_PUBLISHED);
	open->kind = LOAD_OPEN_AWAITED;
	open->filler = true;
	open->patience = 4;
	return GOES_ON;
}

static bool join_own(struct load_worker *w, const struct load_open *open, unsigned plane)
{
	return load_join(w, &open->ticket, open->hold.key, true, plane);
}

/* One of the planes, or what the filler says of the block, in any order. */
static enum went go_on_filling(struct load_worker *w, struct load_open *open)
{
	if (base_below(&w->random, 2))
		return end_filler(w, open);
	return join_own(w, open, base_below(&w->random, w->books->planes)) ? GOES_ON : STORE_GONE;
}

/* The filler writes what no other does, or does not: then it lets go in the end, which gives the fill up. It is through
 * when the block is whole or will never be. */
static enum went go_on_waiting(struct load_worker *w, struct load_open *open)
{
	bool writes = open->filler && base_below(&w->random, 2);
	enum went went;

	for (unsigned plane = 0; writes && plane < w->books->planes; plane++)
		if (!join_own(w, open, plane))
			return STORE_GONE;
	if (open->patience-- == 0)
		return over(load_let_go(w, &open->hold));
	went = wait_for(w, &open->hold, w->books->brief ? 0 : base_below(&w->random, 2));
	if (went != OVER || !open->filler)
		return went;
	load_note(w, LOAD_WHOLE);
	if (open->hold.handle.kind == KVSHM_NONE && open->hold.key % 2 && !w->books->kills &&
	    !load_cleared_since(w, &open->hold))
		load_wrong(w, "the wait for a shared fill that nobody gave up", -ECANCELED, open->hold.key);
	return went;
}

bool load_fill_shared(struct load_worker *w, struct load_hold *hold)
{
	struct load_open open = { .kind = LOAD_OPEN_FILL };
	enum went went = GOES_ON;

	load_note(w, LOAD_SHARED);
	load_fill_begins(w, hold);
	open.hold = *hold;
	if (!load_post(w, &open.hold, true, &open.ticket))
		return false;
	if (may_stay_open(w))
		return keep_open(w, &open);
	while (went == GOES_ON)
		went = open.kind == LOAD_OPEN_FILL ? go_on_filling(w, &open) : go_on_waiting(w, &open);
	return went == OVER;
}

/* ---- Blocks without a key --------------------------------------------------------------------------------- */

static enum went published_as(struct load_worker *w, struct load_hold *hold, uint64_t before,
			      enum kvshm_published published)
{
	load_after(w, before, hold);
	switch (published) {
	case KVSHM_PUBLISHED:
		load_note(w, LOAD_PUBLISHED_AS);
		load_missed(w, before, hold->key);
		return over(load_keep(w, hold));
	case KVSHM_DUPLICATE:
		load_note(w, LOAD_DUPLICATE);
		return over(load_keep(w, hold));
	case KVSHM_DUPLICATE_PENDING:
		return over(load_pending(w, hold));
	}
	load_wrong(w, "what became of a block without a key", (int)published, hold->key);
	return OVER;
}

static enum went end_owned(struct load_worker *w, struct load_hold *hold)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(hold->key, bytes);
	enum kvshm_published published;
	uint64_t before;
	struct kvshm_meta meta;
	bool cleared;
	int rc;

	load_write(w, hold, &meta);
	if (base_below(&w->random, 8) == 0)
		return give_up(w, hold, LOAD_GAVE_UP);
	before = load_before(w);
	cleared = load_surely_cleared_since(w, hold);
	rc = kvshm_publish_as(w->store, &hold->handle, bytes, length, &meta, &published);
	if (rc)
		return canceled(w, hold, "publish as", rc);
	look_at_published(w, hold, cleared && published == KVSHM_PUBLISHED);
	return published_as(w, hold, before, published);
}

bool load_alloc(struct load_worker *w, unsigned key)
{
	uint64_t before = load_before(w);
	struct load_open open = { .hold.key = key, .kind = LOAD_OPEN_OWNED };
	int rc = kvshm_alloc(w->store, &open.hold.handle);

	if (rc == -ENOSPC) {
		load_note(w, LOAD_NO_ROOM);
		return load_drop_some(w);
	}
	if (rc) {
		if (rc != -ESTALE)
			load_wrong(w, "alloc", rc, key);
		return rc != -ESTALE;
	}
	load_after(w, before, &open.hold);
	load_note(w, LOAD_OWNED);
	return may_stay_open(w) ? keep_open(w, &open) : end_owned(w, &open.hold) == OVER;
}

/* ---- What is open ----------------------------------------------------------------------------------------- */

static struct load_open take_out(struct load_worker *w, unsigned at)
{
	struct load_open open = w->open[at];

	w->open[at] = w->open[--w->open_count];
	return open;
}

bool load_go_on(struct load_worker *w)
{
	struct load_open open;
	enum went went = OVER;

	if (w->open_count == 0)
		return true;
	open = take_out(w, base_below(&w->random, w->open_count));
	switch (open.kind) {
	case LOAD_OPEN_FILL:
		went = go_on_filling(w, &open);
		break;
	case LOAD_OPEN_PART:
		went = end_part(w, &open);
		break;
	case LOAD_OPEN_AWAITED:
		went = go_on_waiting(w, &open);
		break;
	case LOAD_OPEN_OWNED:
		went = end_owned(w, &open.hold);
		break;
	}
	return went == GOES_ON ? keep_open(w, &open) : went == OVER;
}

bool load_close(struct load_worker *w)
{
	bool there = true;

	while (w->open_count && there) {
		struct load_open open = take_out(w, w->open_count - 1);
		enum went went = GOES_ON;

		if (open.kind == LOAD_OPEN_PART)
			went = end_part(w, &open);
		else if (open.kind != LOAD_OPEN_AWAITED)
			went = give_up(w, &open.hold, LOAD_GAVE_UP);
		there = went == GOES_ON ? load_let_go(w, &open.hold) : went == OVER;
	}
	return there;
}
