/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * two_deaths.c: recovery that dies itself, or stands still (D2).
 *
 * First, a recoverer (the store's owner, who has no slot) dies after each single instruction of its recovery of a
 * client that died in a deed: the next one recovers both, and all is as after one death. The seed chooses the deeds,
 * and the deaths in them; in long runs it is each death in each deed that left a store of its own.
 *
 * Then, a recoverer is stopped after instructions that change the store (in long runs all), and after others of the
 * seed's, while another recovers, and a new client comes, who gets the dead one's slot if it is free, and takes holds.
 * When the stopped one goes on, it touches nothing of the new client's.
 *
 * Of some the same death once more, as that of a client that did DMA, and whose process has not ended yet: a recoverer
 * dies in its first step, which gives up what waits for nothing; or behind that, when the process has ended, in its
 * second (E2).
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "recover.h"
#include "scene.h"

#define SHARE 16U /* one deed in so many */
#define MORE 4U	 /* stops at steps that the seed chooses */
#define TOLD 10U /* failures */
#define STORES 256U

struct sum {
	uint64_t deaths, instructions, stores, failures; /* first ones; the recoverers' instructions; what they left */
	uint64_t stops, same_slot; /* of these, how often the new client got the dead one's slot */
	uint64_t waits; /* recoveries that had to wait for the end of a process */
};

struct run {
	struct scene scene;
	struct scene_copy first;	  /* what the deed's death left, where the recoverer dies */
	struct scene_copy second;	  /* what that left */
	struct image images[STORES]; /* what deaths in the deed left */
	unsigned count;
	struct image left;
	struct step *step; /* the recoverer's */
	char where[128];   /* it is */
	uint64_t random;
	struct sum sum;
	bool all;
	bool dma; /* the dead one did DMA, and its process has not ended yet */
};

static void tell(struct run *r, const char *what, const char *why)
{
	if (r->sum.failures++ >= TOLD)
		return;
	(void)printf("FAILED: death in %s (%s); the recoverer %s after instruction %" PRIu64 ", at %s: %s\n",
		     r->scene.deed->name, r->scene.drop ? "drop" : "keep", what, r->step->count, r->where, why);
}

/* ---- First deaths ----------------------------------------------------------------------------------------- */

/* Keeps every different store that a death in the deed leaves. */
static void collect(struct run *r, const struct deed *deed)
{
	struct scene *s = &r->scene;
	bool more = true;

	scene_begin(s, deed);
	r->count = 0;
	image_new(&s->store, &r->left);
	scene_look(s, &r->first, &r->left);
	image_forget(&r->left);
	while (more && r->count < STORES) {
		if (image_take(&s->store, &r->left)) {
			image_new(&s->store, &r->images[r->count]);
			(void)image_take(&s->store, &r->images[r->count++]);
		}
		more = step_one(&s->stage->step);
	}
	base_check(!more);
	step_kill(&s->stage->step);
}

static void forget(struct run *r)
{
	for (unsigned i = 0; i < r->count; i++)
		image_free(&r->images[i]);
	image_free(&r->left);
	scene_end(&r->scene);
}

/* ---- The recoverer ---------------------------------------------------------------------------------------- */

static void be_recoverer(void *arg)
{
	struct run *r = arg;
	kvshm_owner *owner;

	base_expect(kvshm_adopt(r->first.store.name, NULL, &owner), 0);
	step_enter(r->step);
	base_expect(kvshm_owner_recover(owner, NULL), 0);
	step_leave(r->step);
}

/* Makes the store that a death left, and a recoverer that is about to begin. */
static void set_out(struct run *r, const struct image *image)
{
	image_put(image, &r->scene.store, &r->first.store);
	image_let_live(&r->first.store, r->scene.asked.living);
	step_start(r->step, be_recoverer, r);
}

/* ---- The dead one's process ------------------------------------------------------------------------------- */

/* From now on it did DMA, and its process goes on, which is this one. */
static void let_go_on(const struct run *r, struct image *image)
{
	struct kvs_client *client = image_client(image, &r->first.store.map.g, r->scene.stage->slot);
	struct kvs_process self;

	base_expect(kvs_process_self(&self), 0);
	atomic_store(&client->pid, self.pid);
	atomic_store(&client->started, self.started);
	atomic_store(&client->home, self.home);
	atomic_store(&client->dma, KVS_DMA_DOES);
}

/* It ends: whoever has its number is another, who began later. */
static void end_process(struct kvs_client *client)
{
	atomic_fetch_sub(&client->started, 1);
}

/* It ends, at once or behind another recoverer's first step. */
static void end_it(const struct run *r, struct scene_copy *copy)
{
	if (!r->dma)
		return;
	if (r->sum.stores / 2 % 2)
		base_check(kvs_recover_dead(&copy->store.map) >= 0);
	end_process(&copy->store.map.clients[r->scene.stage->slot]);
}

/* ---- It dies ---------------------------------------------------------------------------------------------- */

static void die_here(struct run *r)
{
	char why[256];

	if (!image_take(&r->first.store, &r->left))
		return;
	r->sum.stores++;
	r->scene.asked.outside = r->sum.stores % 2;
	step_where(r->step, r->where);
	image_put(&r->left, &r->first.store, &r->second.store);
	end_it(r, &r->second);
	if (!inquest(&r->scene.asked, &r->second.store, &r->left, why))
		tell(r, "died", why);
}

static void die_everywhere(struct run *r, const struct image *image)
{
	set_out(r, image);
	r->sum.deaths++;
	image_forget(&r->left);
	do
		die_here(r);
	while (step_one(r->step));
	r->sum.instructions += r->step->count;
	step_kill(r->step);
}

/* A death that left the image, as one of a client that did DMA: in both steps of the recovery. */
static void die_in_both_steps(struct run *r, struct image *image)
{
	const struct kvs_geometry *g = &r->first.store.map.g;
	struct kvs_client *client;

	let_go_on(r, image);
	r->dma = true;
	die_everywhere(r, image);
	r->dma = false;
	set_out(r, image);
	step_finish(r->step);
	(void)image_take(&r->first.store, image);
	step_kill(r->step);
	client = image_client(image, g, r->scene.stage->slot);
	if (atomic_load(&client->dma) != KVS_DMA_WAITS)
		return; /* it had left before it died */
	r->sum.waits++;
	end_process(client);
	die_everywhere(r, image);
}

/* ---- It stands still -------------------------------------------------------------------------------------- */

/* One who comes while the recoverer stands. */
struct newcomer {
	struct load_books books;
	struct load_worker work;
	struct kvshm_handle ref, pin, fill, owned;
	uint32_t slot;
};

/* There may be no room for a fill, or a block: what is in its grace period stays there while the recoverer stands. */
static void move_in(const struct run *r, struct newcomer *n)
{
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(INQUEST_FRESH + 1, bytes);
	struct kvshm_geometry geometry;
	enum kvshm_outcome outcome;
	int rc;

	memset(n, 0, sizeof(*n));
	n->books.planes = DEEDS_PLANES;
	n->books.kills = n->books.brief = true;
	n->work = (struct load_worker){ .books = &n->books, .random = 3, .id = 3 };
	base_expect(kvshm_attach(r->first.store.name, NULL, &n->work.store), 0);
	base_expect(kvshm_get_geometry(n->work.store, &geometry), 0);
	n->slot = geometry.slot;
	rc = kvshm_get_or_fill(n->work.store, bytes, length, &outcome, &n->fill);
	base_check(rc == -ENOSPC || (rc == 0 && outcome == KVSHM_FILL));
	rc = kvshm_alloc(n->work.store, &n->owned);
	base_check(rc == -ENOSPC || rc == 0);
	base_expect(kvshm_hold(n->work.store, &r->scene.stage->tickets[TICKET_DOOMED], &outcome, &n->ref), 0);
	base_expect(kvshm_pin(n->work.store, &n->ref, &n->pin), 0);
}

/* Each hold must be there, to the last. */
static bool move_out(struct run *r, struct newcomer *n)
{
	int results[4];

	results[0] = n->fill.kind ? kvshm_publish(n->work.store, &n->fill, NULL) : 0;
	results[1] = n->owned.kind ? kvshm_give_up(n->work.store, &n->owned) : 0;
	results[2] = kvshm_release(n->work.store, &n->ref);
	results[3] = kvshm_unpin(n->work.store, &n->pin);
	base_expect(kvshm_detach(n->work.store), 0);
	for (unsigned i = 0; i < 4; i++)
		if (results[i]) {
			char why[64];

			(void)snprintf(why, sizeof(why), "a new client's hold: %d", results[i]);
			tell(r, "stood, and went on", why);
			return false;
		}
	return true;
}

/* The recoverer stops after so many instructions. */
static void stop_after(struct run *r, const struct image *image, uint64_t steps, uint32_t dead)
{
	struct newcomer newcomer;
	bool moved_out;
	char why[256];

	set_out(r, image);
	if (!step_many(r->step, steps)) {
		step_kill(r->step);
		return;
	}
	step_where(r->step, r->where);
	move_in(r, &newcomer);
	r->sum.stops++;
	r->sum.same_slot += newcomer.slot == dead;
	step_finish(r->step);
	(void)image_take(&r->first.store, &r->left);
	moved_out = move_out(r, &newcomer);
	step_kill(r->step);
	if (moved_out && !inquest(&r->scene.asked, &r->first.store, &r->left, why))
		tell(r, "stood, went on, and died", why);
}

/* After which instructions the recovery changes the store. */
static unsigned changes(struct run *r, const struct image *image, uint64_t at[STORES], uint64_t *steps)
{
	unsigned count = 0;

	set_out(r, image);
	(void)image_take(&r->first.store, &r->left);
	while (step_one(r->step))
		if (image_take(&r->first.store, &r->left)) {
			base_check(count < STORES);
			at[count++] = r->step->count;
		}
	*steps = r->step->count;
	step_kill(r->step);
	return count;
}

static void stop_everywhere(struct run *r, const struct image *image)
{
	uint32_t dead = r->scene.stage->slot;
	uint64_t at[STORES], steps;
	unsigned count = changes(r, image, at, &steps);

	for (unsigned i = 0; i < count; i++)
		if (r->all || base_below(&r->random, 8) == 0)
			stop_after(r, image, at[i], dead);
	for (unsigned i = 0; i < MORE; i++)
		stop_after(r, image, base_random(&r->random) % steps, dead);
}

/* ---- Runs ------------------------------------------------------------------------------------------------- */

static void try(struct run *r, const struct deed *deed)
{
	unsigned chosen;

	collect(r, deed);
	chosen = base_below(&r->random, r->count);
	for (unsigned i = 0; i < r->count; i++)
		if (r->all || i == chosen)
			die_everywhere(r, &r->images[i]);
	if (r->all || base_below(&r->random, 4) == 0)
		stop_everywhere(r, &r->images[chosen]);
	if (r->scene.stage->slot != KVSHM_NO_SLOT && (!r->sum.waits || base_below(&r->random, 8) == 0))
		die_in_both_steps(r, &r->images[chosen]);
	forget(r);
}

static void try_all(bool drop, struct sum *sum)
{
	struct run *r = calloc(1, sizeof(*r));
	const struct deed *deed;

	base_check(r);
	r->step = base_shared(sizeof(*r->step));
	r->random = base_stream(drop);
	r->all = base_long();
	r->sum = *sum;
	scene_new(&r->scene, base_store(drop ? "drop" : "keep"), drop);
	scene_copy_new(&r->first, base_store(drop ? "first-drop" : "first-keep"), drop);
	scene_copy_new(&r->second, base_store(drop ? "second-drop" : "second-keep"), drop);
	base_expect(kvshm_disown(r->first.owner), 0); /* the recoverers own it, one after the other */
	image_let_live(&r->second.store, 1);
	for (unsigned i = 0; (deed = deeds_one(i)); i++)
		if (scene_has(deed, drop) && (r->all || base_below(&r->random, SHARE) == 0))
			try(r, deed);
	base_expect(kvshm_adopt(r->first.store.name, NULL, &r->first.owner), 0);
	scene_copy_end(&r->first);
	scene_copy_end(&r->second);
	*sum = r->sum;
	free(r);
}

int main(void)
{
	struct sum sum = { 0 };

	base_begin();
	if (!step_possible())
		base_skip("ptrace(2) is not possible here");
	try_all(false, &sum);
	try_all(true, &sum);
	(void)printf("| %" PRIu64 " deaths of clients; their recoverers died after each of %" PRIu64 " instructions, "
		     "and left %" PRIu64 " different stores\n", sum.deaths, sum.instructions, sum.stores);
	(void)printf("| recoverers stood still %" PRIu64 " times; the new client got the dead one's slot %" PRIu64
		     " times\n", sum.stops, sum.same_slot);
	(void)printf("| %" PRIu64 " recoveries of clients that did DMA waited for the end of their processes\n",
		     sum.waits);
	(void)printf("| %" PRIu64 " failures\n", sum.failures);
	base_check(sum.same_slot > 0 || !base_long()); /* in a short run the seed may have none */
	base_check(sum.waits > 0);
	base_check(sum.failures == 0);
	return base_pass();
}
