/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * every_instruction.c: a client dies after each single instruction of every operation (D1). It is stepped through the
 * operation once. After each step its death there is looked into: on a copy of the store, in which it is dead and the
 * survivor alive. An instruction that changes nothing of the store leaves what the one before it left, so only what
 * is new is copied. Real deaths at steps chosen by the seed confirm that the copy is no other than the store.
 *
 * It prints a table: operation, instructions, deaths (one for each), of these the different stores that they left;
 * real kills; failures.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "scene.h"

#define KILLS 2U /* real ones of each deed; in long runs ten times as many */
#define TOLD 3U	 /* failures of each deed */

struct line {
	uint64_t instructions, deaths, stores, kills, failures;
};

struct run {
	struct scene scene;
	struct scene_copy copy;
	struct image image;
	struct line line;
	char where[128];
	uint64_t random;
};

static void judge(struct run *r, struct image_store *store, const char *how)
{
	struct scene *s = &r->scene;
	char why[256];

	s->asked.outside = !s->asked.outside;
	if (inquest(&s->asked, store, &r->image, why) || r->line.failures++ >= TOLD)
		return;
	(void)printf("FAILED: %s (%s), %s after instruction %" PRIu64 ", at %s: %s\n", s->deed->name,
		     s->drop ? "drop" : "keep", how, s->stage->step.count, r->where, why);
}

/* Looks at what a death now would leave, if that is new. */
static void die_here(struct run *r)
{
	r->line.deaths++;
	if (!image_take(&r->scene.store, &r->image))
		return;
	r->line.stores++;
	step_where(&r->scene.stage->step, r->where);
	image_put(&r->image, &r->scene.store, &r->copy.store);
	judge(r, &r->copy.store, "died");
}

static void step_through(struct run *r, const struct deed *deed)
{
	struct scene *s = &r->scene;

	scene_begin(s, deed);
	image_new(&s->store, &r->image);
	scene_look(s, &r->copy, &r->image);
	image_forget(&r->image);
	do
		die_here(r);
	while (step_one(&s->stage->step));
	step_finish(&s->stage->step);
	die_here(r);
	r->line.instructions = s->stage->step.count;
	if (s->stage->rc != deed->rc)
		base_fail("%s came to %d, not %d", deed->name, s->stage->rc, deed->rc);
	step_kill(&s->stage->step);
	scene_end(s);
}

static void kill_somewhere(struct run *r, const struct deed *deed)
{
	struct scene *s = &r->scene;

	scene_begin(s, deed);
	(void)step_many(&s->stage->step, base_random(&r->random) % (r->line.instructions + 1));
	(void)image_take(&s->store, &r->image);
	step_where(&s->stage->step, r->where);
	step_kill(&s->stage->step);
	r->line.kills++;
	judge(r, &s->store, "was killed");
	scene_end(s);
}

static void print(const char *name, const char *where, const struct line *line)
{
	(void)printf("| %-32s %s %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n", name, where,
		     line->instructions, line->deaths, line->stores, line->kills, line->failures);
}

/* One deed in one kind of store. */
static void try(struct run *r, const struct deed *deed, struct line *sum)
{
	unsigned kills = base_long() ? 10 * KILLS : KILLS;

	r->line = (struct line){ 0 };
	step_through(r, deed);
	for (unsigned i = 0; i < kills; i++)
		kill_somewhere(r, deed);
	image_free(&r->image);
	print(deed->name, r->scene.drop ? "drop" : "keep", &r->line);
	sum->instructions += r->line.instructions;
	sum->deaths += r->line.deaths;
	sum->stores += r->line.stores;
	sum->kills += r->line.kills;
	sum->failures += r->line.failures;
}

static void try_all(bool drop, struct line *sum)
{
	struct run run = { .random = base_stream(drop) };
	const struct deed *deed;

	scene_new(&run.scene, base_store(drop ? "drop" : "keep"), drop);
	scene_copy_new(&run.copy, base_store(drop ? "copy-drop" : "copy-keep"), drop);
	for (unsigned i = 0; (deed = deeds_one(i)); i++)
		if (scene_has(deed, drop))
			try(&run, deed, sum);
	scene_copy_end(&run.copy);
}

int main(void)
{
	struct line sum = { 0 };

	base_begin();
	if (!step_possible())
		base_skip("ptrace(2) is not possible here");
	(void)printf("| %-32s %s %8s %8s %8s %8s %8s\n", "operation", "    ", "instrs", "deaths", "stores", "kills",
		     "failures");
	try_all(false, &sum);
	try_all(true, &sum);
	print("all", "    ", &sum);
	base_check(sum.failures == 0);
	return base_pass();
}
