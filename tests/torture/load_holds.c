/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_holds.c: the holds of the load, and the books on who fills and who holds what. See load.h.
 *
 * Of a key that is never removed there is one fill at a time, and none while somebody holds it ready; but a clear ends
 * that. So the books count in eras: the number of clears that have returned. Two that took what they have in one era,
 * while no clear was under way, exclude each other; and what is of an earlier era is not counted any more
 * once somebody counts in a later one.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "load_inner.h"

#define TOLD 5 /* so many violations are told in words */

static uint64_t add(_Atomic uint64_t *counter)
{
	return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void load_note(struct load_worker *w, enum load_event event)
{
	(void)add(&w->books->event[event]);
}

void load_violated(const struct load_worker *w, _Atomic uint64_t *counter, const char *what,
		   const struct load_hold *hold)
{
	if (add(counter) < TOLD)
		(void)printf("VIOLATED: %s: worker %#" PRIx64 ", key %u, block %u, life %#" PRIx64 ", kind %u\n", what,
			     w->id, hold->key, hold->handle.block, hold->handle.life, hold->handle.kind);
}

void load_wrong(const struct load_worker *w, const char *what, int rc, unsigned key)
{
	if (add(&w->books->wrong) < TOLD)
		(void)printf("VIOLATED: %s of key %u: %d (%s)\n", what, key, rc, kvshm_error());
}

/* ---- Eras ------------------------------------------------------------------------------------------------- */

/* Acquire: what has returned is seen to have happened. */
uint64_t load_before(const struct load_worker *w)
{
	return atomic_load_explicit(&w->books->clears_done, memory_order_acquire);
}

static uint64_t begun(const struct load_worker *w)
{
	return atomic_load_explicit(&w->books->clears_begun, memory_order_relaxed);
}

void load_after(const struct load_worker *w, uint64_t before, struct load_hold *hold)
{
	hold->era = hold->done = before;
	hold->stamp = begun(w);
	hold->counted = hold->stamp == hold->era;
}

bool load_cleared_since(const struct load_worker *w, const struct load_hold *hold)
{
	return begun(w) != hold->era;
}

bool load_surely_cleared_since(const struct load_worker *w, const struct load_hold *hold)
{
	return load_before(w) > hold->stamp;
}

#define ERA_SHIFT 16
#define COUNT ((UINT64_C(1) << ERA_SHIFT) - 1)

/* Counts one more, or less, of an era; returns how many there were of it. */
static uint64_t count(_Atomic uint64_t *word, uint64_t era, int n)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed), is;

	do {
		if (was >> ERA_SHIFT > era || (was >> ERA_SHIFT != era && n < 0))
			return 0;
		is = (was >> ERA_SHIFT == era ? was : era << ERA_SHIFT) + (uint64_t)n;
	} while (!atomic_compare_exchange_weak_explicit(word, &was, is, memory_order_relaxed, memory_order_relaxed));
	return was >> ERA_SHIFT == era ? was & COUNT : 0;
}

static uint64_t counted(_Atomic uint64_t *word, uint64_t era)
{
	uint64_t is = atomic_load_explicit(word, memory_order_relaxed);

	return is >> ERA_SHIFT == era ? is & COUNT : 0;
}

/* Counts who holds a key ready: while somebody does, nobody can be told to fill it, unless it was removed. */
void load_count_holder(struct load_worker *w, const struct load_hold *hold, int n)
{
	if (hold->counted)
		(void)count(&w->books->key[hold->key].holders, hold->era, n);
}

void load_fill_begins(struct load_worker *w, struct load_hold *hold)
{
	struct load_books *books = w->books;
	bool exclusive = hold->key % 2 && !books->kills;

	if (!hold->counted)
		return;
	hold->filling = true;
	if (count(&books->key[hold->key].fillers, hold->era, 1) && exclusive)
		load_violated(w, &books->two_fillers, "two fillers of one key", hold);
	if (counted(&books->key[hold->key].holders, hold->era) && exclusive)
		load_violated(w, &books->two_fillers, "a fill of a key that is held ready", hold);
}

void load_fill_ends(struct load_worker *w, struct load_hold *hold)
{
	if (hold->filling)
		(void)count(&w->books->key[hold->key].fillers, hold->era, -1);
	hold->filling = false;
}

void load_missed(struct load_worker *w, uint64_t before, unsigned key)
{
	struct load_hold asked = { .key = key };

	load_after(w, before, &asked);
	if (key % 2 == 0 || !asked.counted)
		return;
	for (unsigned i = 0; i < w->count; i++)
		if (w->holds[i].key == key && w->holds[i].counted && w->holds[i].era == asked.era)
			load_violated(w, &w->books->lost, "a key is missing that is held ready", &w->holds[i]);
}

/* ---- Holds ------------------------------------------------------------------------------------------------ */

/* A handle that was released, perhaps in an earlier life of a block that is held again, is refused and changes nothing.
 * (Unless this client has a hold of its kind on that very life: then it is that one's.) */
bool load_try_stale(struct load_worker *w)
{
	struct load_hold stale = w->stale[base_below(&w->random, LOAD_STALE)];
	bool later = w->books->one_thread, pin = stale.handle.kind == KVSHM_PIN;
	int rc;

	for (unsigned i = 0; i < w->open_count; i++)
		if (w->open[i].hold.handle.block == stale.handle.block)
			return true;
	for (unsigned i = 0; i < w->count; i++) {
		if (w->holds[i].handle.block != stale.handle.block)
			continue;
		if (w->holds[i].handle.life == stale.handle.life)
			return true;
		later = true;
	}
	if (!later || stale.handle.kind == KVSHM_NONE)
		return true;
	rc = pin ? kvshm_unpin(w->store, &stale.handle) : kvshm_release(w->store, &stale.handle);
	if (rc == -EBADF)
		load_note(w, LOAD_STALE_HANDLE);
	else if (rc != -ESTALE)
		load_wrong(w, "release of a released handle", rc, stale.key);
	return rc != -ESTALE;
}

bool load_let_go(struct load_worker *w, struct load_hold *hold)
{
	struct load_hold copy = *hold;
	bool pin = copy.handle.kind == KVSHM_PIN;
	int rc;

	load_unpost(w, hold);
	load_fill_ends(w, hold);
	rc = pin ? kvshm_unpin(w->store, &hold->handle) : kvshm_release(w->store, &hold->handle);
	if (rc == -ESTALE)
		return false;
	if (rc)
		load_violated(w, &w->books->lost, "a hold was lost", &copy);
	w->stale[w->released++ % LOAD_STALE] = copy;
	return true;
}

bool load_drop(struct load_worker *w, unsigned at)
{
	struct load_hold hold = w->holds[at];

	if (!w->books->brief)
		load_verify(w, &hold);
	w->holds[at] = w->holds[--w->count];
	load_count_holder(w, &hold, -1);
	return load_let_go(w, &hold);
}

bool load_drop_some(struct load_worker *w)
{
	return w->count == 0 || load_drop(w, base_below(&w->random, w->count));
}

void load_take(struct load_worker *w, struct load_hold *hold)
{
	load_count_holder(w, hold, 1);
	load_fill_ends(w, hold);
	w->holds[w->count++] = *hold;
}

bool load_keep(struct load_worker *w, struct load_hold *hold)
{
	struct kvshm_ticket ticket;

	load_take(w, hold);
	load_verify(w, &w->holds[w->count - 1]);
	if (base_below(&w->random, 4) == 0 && !load_post(w, &w->holds[w->count - 1], false, &ticket))
		return false;
	return (!w->books->brief && base_below(&w->random, 3) == 0) || load_drop(w, w->count - 1);
}

/* A pin of something held; it outlives the ref, or not. */
bool load_pin(struct load_worker *w)
{
	struct load_hold hold;
	int rc;

	if (w->count == 0)
		return true;
	hold = w->holds[base_below(&w->random, w->count)];
	hold.token = 0;
	rc = kvshm_pin(w->store, &hold.handle, &hold.handle);
	if (rc == -ESTALE)
		return false;
	if (rc == -EBADF)
		load_violated(w, &w->books->lost, "a hold can't be pinned", &hold);
	else if (rc)
		load_wrong(w, "pin", rc, hold.key);
	if (rc)
		return true;
	load_note(w, LOAD_PINNED);
	return load_keep(w, &hold);
}
