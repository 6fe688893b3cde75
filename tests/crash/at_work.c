/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * at_work.c: a client is stopped, and dies, at the instructions of every operation, while others work on the same keys.
 *
 * It stands after each single instruction while another client, this process's, does a call of some kind: nobody waits
 * for it (D4), or this test would never end. The slowest call is reported. (A call after each instruction is more than
 * any lock-free operation can bear: one that has not come to its end in three times its length goes on alone.) Where
 * the victim stalls a grace period, what kvshm-stat shows names it. The operation then comes to its end.
 *
 * After some instructions, chosen by the seed (in long runs all), other processes work on the store for a moment, and
 * are frozen wherever they are then; and its death there is looked into on a copy of the store: once with the others
 * alive, and once with them dead as well (D1).
 *
 * In short runs a deed for both kinds of stores is done in one of them, which the seed chooses.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "others.h"
#include "scene.h"

#define DEATHS 8U  /* about so many of each deed */
#define LONGER 3U  /* so many times the instructions that it takes alone: then it goes on alone, lest it starve */
#define WORK 300000U /* ns, at most, that the others work before each: they would slow every step down */
#define TOLD 10U   /* failures */

struct line {
	uint64_t stops, late, deaths, stalls, named, slowest, failures;
};

struct run {
	struct scene scene;
	struct scene_copy copy;
	struct image image;
	struct others *others;
	struct line line;
	char where[128];
	uint64_t random;
	uint64_t instructions; /* of the deed when it is alone */
};

static void tell(struct run *r, const char *what, const char *why)
{
	const struct scene *s = &r->scene;

	if (r->line.failures++ >= TOLD)
		return;
	step_where(&s->stage->step, r->where);
	(void)printf("FAILED: %s (%s), after instruction %" PRIu64 ", at %s: %s: %s\n", s->deed->name,
		     s->drop ? "drop" : "keep", s->stage->step.count, r->where, what, why);
}

/* ---- Grace periods ---------------------------------------------------------------------------------------- */

/* The epoch of the section that the victim stands in; 0: it is in none. others: is one of them in as old a one? */
static uint64_t section(const struct run *r, bool *others)
{
	const struct kvs_map *map = &r->scene.store.map;
	uint64_t victims = 0, oldest = UINT64_MAX;

	for (uint32_t i = 0; i < map->g.readers; i++) {
		uint32_t owner = atomic_load(&map->readers[i].owner) & ~KVS_READER_RECOVERER;
		uint64_t epoch = atomic_load(&map->readers[i].epoch);

		if (owner && epoch && owner == r->scene.stage->slot + 1)
			victims = epoch;
		else if (owner && epoch && epoch < oldest)
			oldest = epoch;
	}
	*others = oldest <= victims;
	return victims;
}

/* The others are frozen: does the view name the victim, where it is the one that stalls? */
static void look_for_stalls(struct run *r)
{
	struct kvshm_store_info info;
	bool others;
	uint64_t epoch = section(r, &others);
	kvshm_view *view;

	if (!epoch || others || epoch == atomic_load(&r->scene.store.map.head->epoch))
		return;
	r->line.stalls++;
	base_expect(kvshm_view_open(r->scene.name, NULL, &view), 0);
	base_expect(kvshm_view_store(view, &info), 0);
	kvshm_view_close(view);
	if (info.readers_stalling && info.slowest_client == r->scene.stage->slot && info.slowest_epoch == epoch)
		r->line.named++;
	else
		tell(r, "stalls a grace period", "and is not named");
}

/* ---- Deaths ----------------------------------------------------------------------------------------------- */

static void judge(struct run *r, const struct inquest *asked, const char *what)
{
	char why[256];

	image_let_live(&r->copy.store, asked->living);
	image_put(&r->image, &r->scene.store, &r->copy.store);
	if (!inquest(asked, &r->copy.store, &r->image, why))
		tell(r, what, why);
}

/* Keys that the others work on may be anything, but whole or absent. */
static void die_here(struct run *r)
{
	struct inquest one = r->scene.asked, all = { .may_change = UINT64_MAX };

	others_thaw(r->others);
	base_rest(base_random(&r->random) % WORK);
	others_freeze(r->others);
	look_for_stalls(r);
	(void)image_take(&r->scene.store, &r->image);
	one.living |= others_slots(r->others);
	one.may_change |= ~UINT64_C(0x1f);
	one.one_step = false;
	one.crowded = true;
	judge(r, &one, "died");
	judge(r, &all, "died with all others");
	r->line.deaths += 2;
}

/* ---- Runs ------------------------------------------------------------------------------------------------- */

static bool chosen(struct run *r)
{
	return base_long() || base_random(&r->random) % r->instructions < DEATHS;
}

/* How many instructions it is, and what keys there are. */
static void look_before(struct run *r, const struct deed *deed)
{
	struct scene *s = &r->scene;

	scene_begin(s, deed);
	image_new(&s->store, &r->image);
	scene_look(s, &r->copy, &r->image);
	while (step_one(&s->stage->step))
		;
	r->instructions = s->stage->step.count;
	step_kill(&s->stage->step);
	scene_end(s);
}

static void work(struct run *r, const struct deed *deed)
{
	struct scene *s = &r->scene;
	char why[256];

	scene_begin(s, deed);
	others_start(r->others, s->name, s->stage, base_random(&r->random));
	others_freeze(r->others);
	do {
		others_call(r->others);
		r->line.stops++;
		if (chosen(r))
			die_here(r);
	} while (step_one(&s->stage->step) && s->stage->step.count < LONGER * r->instructions);
	r->line.late += s->stage->step.count >= LONGER * r->instructions;
	step_finish(&s->stage->step);
	others_thaw(r->others);
	others_end(r->others);
	(void)image_take(&s->store, &r->image);
	step_kill(&s->stage->step);
	s->asked.may_change |= ~UINT64_C(0x1f);
	s->asked.one_step = false;
	if (!inquest(&s->asked, &s->store, &r->image, why))
		tell(r, "was killed at the end", why);
	scene_end(s);
}

static void print(const char *name, const char *where, const struct line *line)
{
	(void)printf("| %-32s %s %8" PRIu64 " %5" PRIu64 " %8" PRIu64 " %7" PRIu64 " %7" PRIu64, name, where,
		     line->stops, line->late, line->deaths, line->stalls, line->named);
	(void)printf(" %12.3f %8" PRIu64 "\n", (double)line->slowest / 1e6, line->failures);
}

/* Is this deed's turn in a store of that kind? */
static bool has(const struct deed *deed, bool drop, uint64_t *turns)
{
	bool turn = base_random(turns) % 2;

	return scene_has(deed, drop) && (base_long() || deed->where != DEEDS_EVERYWHERE || turn == drop);
}

static void try(struct run *r, const struct deed *deed, struct line *sum)
{
	r->line = (struct line){ 0 };
	look_before(r, deed);
	work(r, deed);
	image_free(&r->image);
	r->line.slowest = atomic_load(&r->others->notes[OTHERS].slowest);
	print(deed->name, r->scene.drop ? "drop" : "keep", &r->line);
	sum->stops += r->line.stops;
	sum->late += r->line.late;
	sum->deaths += r->line.deaths;
	sum->stalls += r->line.stalls;
	sum->named += r->line.named;
	sum->failures += r->line.failures;
	if (sum->slowest < r->line.slowest)
		sum->slowest = r->line.slowest;
}

static void try_all(bool drop, struct line *sum)
{
	struct run run = { .random = base_stream(drop), .others = others_new() };
	uint64_t turns = base_stream(2); /* the same for both */
	const struct deed *deed;

	scene_new(&run.scene, base_store(drop ? "drop" : "keep"), drop);
	scene_copy_new(&run.copy, base_store(drop ? "copy-drop" : "copy-keep"), drop);
	for (unsigned i = 0; (deed = deeds_one(i)); i++)
		if (has(deed, drop, &turns))
			try(&run, deed, sum);
	scene_copy_end(&run.copy);
}

int main(void)
{
	struct line sum = { 0 };

	base_begin();
	if (!step_possible())
		base_skip("ptrace(2) is not possible here");
	(void)printf("| %-32s %s %8s %5s %8s %7s %7s %12s %8s\n", "operation", "    ", "stops", "late", "deaths",
		     "stalls", "named", "slowest (ms)", "failures");
	try_all(false, &sum);
	try_all(true, &sum);
	print("all", "    ", &sum);
	base_check(sum.failures == 0);
	base_check(sum.named > 0);
	return base_pass();
}
