/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner_dies.c: the ends of owners and makers.
 *
 *   - The owner is killed: its clients go on as if nothing had been; another adopts the store, which nobody can do
 *     twice; or it is replaced, and its clients are told (-ESTALE) by every call.
 *   - Makers are killed at random moments of making and destroying a store: the next one makes a whole store under that
 *     name at once, and destroys it without a trace (R30). Adopters likewise.
 *   - Several make a store of one name, or adopt one, at the same time: exactly one of them gets it, whole.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "ops.h"

#define CLIENTS 2U
#define RACERS 3U
#define PLANES 3U

struct scene {
	struct ops_stage stage;
	_Atomic uint64_t steps[CLIENTS];
	_Atomic unsigned ready, decided, won;
	_Atomic bool go;
	_Atomic int error;
};

struct role {
	struct scene *scene;
	const char *name;
	unsigned number;
	int replace_dead;
};

static int make_with(const char *name, int replace_dead, unsigned planes, kvshm_owner **owner)
{
	struct kvshm_create_options options;

	load_options(&options, OPS_BLOCKS, planes, KVSHM_KEEP);
	options.clients = 8;
	options.requests = 8;
	options.replace_dead = replace_dead;
	return kvshm_create(name, &options, owner);
}

static int make(const char *name, int replace_dead, kvshm_owner **owner)
{
	return make_with(name, replace_dead, PLANES, owner);
}

static void until_killed(void)
{
	for (;;)
		base_rest(BASE_SECOND);
}

static void until(_Atomic unsigned *what, unsigned value)
{
	uint64_t end = base_now() + BASE_NEVER;

	while (atomic_load(what) < value) {
		(void)sched_yield();
		base_check(base_now() < end);
	}
}

static void end(pid_t pid)
{
	base_signal(pid, SIGKILL);
	base_check(base_reap(pid) == SIGKILL);
}

/* ---- The owner of a store at work ------------------------------------------------------------------------- */

static void own(void *arg)
{
	const struct role *role = arg;
	kvshm_owner *owner;

	base_expect(make(role->name, 0, &owner), 0);
	atomic_fetch_add(&role->scene->ready, 1);
	until_killed();
}

static void adopt(void *arg)
{
	const struct role *role = arg;
	kvshm_owner *owner;

	base_expect(kvshm_adopt(role->name, NULL, &owner), 0);
	atomic_fetch_add(&role->scene->ready, 1);
	until_killed();
}

static void be_client(void *arg)
{
	const struct role *role = arg;
	struct load_worker w = {
		.books = &role->scene->stage.books, .random = base_stream(20 + role->number), .id = role->number + 1
	};

	base_expect(kvshm_attach(role->name, NULL, &w.store), 0);
	while (load_step(&w))
		atomic_fetch_add(&role->scene->steps[role->number], 1);
	base_expect(kvshm_recover(w.store, NULL), -ESTALE);
	base_expect(kvshm_detach(w.store), 0);
}

/* Every client gets on. */
static void clients_go_on(struct scene *scene)
{
	uint64_t limit = base_now() + BASE_NEVER;

	for (unsigned i = 0; i < CLIENTS; i++) {
		uint64_t steps = atomic_load(&scene->steps[i]) + 100;

		while (atomic_load(&scene->steps[i]) < steps) {
			base_rest(BASE_MS / 10);
			base_check(base_now() < limit);
		}
	}
	load_check(&scene->stage.books);
}

static void at_work(struct scene *scene, const char *name)
{
	struct role role = { .scene = scene, .name = name };
	struct role clients[CLIENTS];
	pid_t pids[CLIENTS], owner;
	kvshm_owner *mine;

	scene->ready = 0;
	owner = base_fork(own, &role);
	until(&scene->ready, 1);
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct role){ .scene = scene, .name = name, .number = i };
		pids[i] = base_fork(be_client, &clients[i]);
	}
	clients_go_on(scene);
	base_expect(make(name, 1, &mine), -EEXIST);
	end(owner);
	clients_go_on(scene);
	base_expect(make(name, 0, &mine), -EOWNERDEAD);
	owner = base_fork(adopt, &role);
	until(&scene->ready, 2);
	base_expect(kvshm_adopt(name, NULL, &mine), -EEXIST);
	clients_go_on(scene);
	end(owner);
	clients_go_on(scene);
	base_expect(make(name, 1, &mine), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		base_check(base_reap(pids[i]) == 0);
	ops_use_all(name, &scene->stage.books);
	base_expect(kvshm_destroy(mine), 0);
	base_check(base_files(name) == 0);
	base_expect(kvshm_attach(name, NULL, &(kvshm_store *){NULL}), -ENOENT);
}

/* ---- Makers and adopters that are killed ------------------------------------------------------------------ */

static void make_and_destroy(void *arg)
{
	const struct role *role = arg;
	struct ops_stage *stage = &role->scene->stage;

	for (;;) {
		uint64_t begin = base_now();
		kvshm_owner *owner;

		atomic_fetch_add(&stage->rounds, 1);
		base_expect(make(role->name, 0, &owner), 0);
		base_expect(kvshm_destroy(owner), 0);
		atomic_store(&stage->round_ns, base_now() - begin);
	}
}

static void adopt_and_disown(void *arg)
{
	const struct role *role = arg;
	struct ops_stage *stage = &role->scene->stage;

	for (;;) {
		uint64_t begin = base_now();
		kvshm_owner *owner;

		atomic_fetch_add(&stage->rounds, 1);
		base_expect(kvshm_adopt(role->name, NULL, &owner), 0);
		base_expect(kvshm_disown(owner), 0);
		atomic_store(&stage->round_ns, base_now() - begin);
	}
}

static void kill_in(struct scene *scene, const char *name, void (*body)(void *), uint64_t *random)
{
	struct role role = { .scene = scene, .name = name };
	pid_t pid;

	atomic_store(&scene->stage.rounds, 0);
	pid = base_fork(body, &role);
	while (atomic_load(&scene->stage.rounds) < 3)
		(void)sched_yield();
	ops_aim(&scene->stage, random);
	end(pid);
}

static void makers_die(struct scene *scene, const char *name, unsigned ms)
{
	uint64_t left[PLANES + 2] = { 0 }, random = base_stream(1), limit = base_phase(ms), turns = 0;

	for (; base_now() < limit || turns < 5; turns++) {
		kvshm_owner *owner;

		kill_in(scene, name, make_and_destroy, &random);
		left[base_files(name)]++;
		/* The dead one's planes go also where the new store has fewer. */
		scene->stage.books.planes = 1 + base_below(&random, PLANES);
		base_expect(make_with(name, 1, scene->stage.books.planes, &owner), 0);
		ops_use_all(name, &scene->stage.books);
		base_expect(kvshm_destroy(owner), 0);
		base_check(base_files(name) == 0);
	}
	scene->stage.books.planes = PLANES;
	(void)printf("%" PRIu64 " makers killed; they left no file %" PRIu64 " times, some %" PRIu64 ", all %" PRIu64
		     "\n", turns, left[0], turns - left[0] - left[PLANES + 1], left[PLANES + 1]);
}

static void adopters_die(struct scene *scene, const char *name, unsigned ms)
{
	uint64_t random = base_stream(2), limit = base_phase(ms), turns = 0;
	kvshm_owner *owner;

	base_expect(make(name, 0, &owner), 0);
	ops_use_all(name, &scene->stage.books);
	base_expect(kvshm_disown(owner), 0);
	for (; base_now() < limit || turns < 5; turns++) {
		kill_in(scene, name, adopt_and_disown, &random);
		base_expect(kvshm_adopt(name, NULL, &owner), 0);
		base_judge(name, OPS_BLOCKS);
		base_expect(kvshm_disown(owner), 0);
	}
	ops_use_all(name, &scene->stage.books);
	base_expect(kvshm_adopt(name, NULL, &owner), 0);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
	(void)printf("%" PRIu64 " adopters killed\n", turns);
}

/* ---- Races ------------------------------------------------------------------------------------------------ */

/* Whoever loses must be told that somebody lives there. The winner destroys the store when it is told to. */
static void race(void *arg)
{
	const struct role *role = arg;
	struct scene *scene = role->scene;
	kvshm_owner *owner;
	int rc;

	atomic_fetch_add(&scene->ready, 1);
	while (!atomic_load(&scene->go))
		;
	rc = role->replace_dead < 0 ? kvshm_adopt(role->name, NULL, &owner) :
				      make(role->name, role->replace_dead, &owner);
	if (rc == 0)
		atomic_fetch_add(&scene->won, 1);
	atomic_fetch_add(&scene->decided, 1);
	if (rc)
		base_expect(rc, -EEXIST);
	until(&scene->decided, RACERS + 1);
	if (rc == 0)
		base_expect(kvshm_destroy(owner), 0);
}

static void run_race(struct scene *scene, const char *name, int replace_dead)
{
	struct role roles[RACERS];
	pid_t pids[RACERS];

	scene->ready = scene->decided = scene->won = 0;
	scene->go = false;
	for (unsigned i = 0; i < RACERS; i++) {
		roles[i] = (struct role){ .scene = scene, .name = name, .number = i, .replace_dead = replace_dead };
		pids[i] = base_fork(race, &roles[i]);
	}
	until(&scene->ready, RACERS);
	atomic_store(&scene->go, true);
	until(&scene->decided, RACERS);
	if (scene->won != 1)
		base_fail("%u of %u got the store", scene->won, RACERS);
	ops_use_all(name, &scene->stage.books);
	atomic_fetch_add(&scene->decided, 1);
	for (unsigned i = 0; i < RACERS; i++)
		base_check(base_reap(pids[i]) == 0);
	base_check(base_files(name) == 0);
}

static void races(struct scene *scene, const char *name, unsigned ms)
{
	uint64_t random = base_stream(3), limit = base_phase(ms), turns = 0;
	kvshm_owner *owner;

	for (; base_now() < limit || turns < 5; turns++) {
		run_race(scene, name, 0);
		kill_in(scene, name, make_and_destroy, &random); /* what it left is in the racers' way */
		run_race(scene, name, 1);
		base_expect(make(name, 0, &owner), 0);
		base_expect(kvshm_disown(owner), 0);
		run_race(scene, name, 1);
		base_expect(make(name, 0, &owner), 0);
		base_expect(kvshm_disown(owner), 0);
		run_race(scene, name, -1);
	}
	(void)printf("%" PRIu64 " races of %u makers or adopters\n", 4 * turns, RACERS);
}

int main(void)
{
	struct scene *scene = base_shared(sizeof(*scene));
	const char *name;
	uint64_t limit;
	unsigned turns = 0;

	base_begin();
	name = base_store("owner");
	scene->stage.books.planes = PLANES;
	scene->stage.books.keys = OPS_KEYS;
	scene->stage.books.kills = true; /* the books know nothing of a new store under the old name */
	for (limit = base_phase(800); base_now() < limit; turns++)
		at_work(scene, name);
	(void)printf("%u stores at work outlived their owners\n", turns);
	makers_die(scene, name, 900);
	adopters_die(scene, name, 400);
	races(scene, name, 800);
	return base_pass();
}
