/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real_exchange.c: engine processes exchange blocks in GPU memory, over two planes on one GPU, by both exports. All ask
 * for the same keys at the same time, and whoever is to fill one writes it by a kernel, and publishes it on the stream
 * behind that; the others get it and check each word by a kernel, and let go of it on the stream behind that. There are
 * hardly more blocks than keys of one round: one that were let go of too early would be written by another, for the
 * next round, while it is checked.
 */
#include "config.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "real.h"

#define ENGINES 4U
#define BLOCKS 40U

struct scene {
	struct real_store *store;
	unsigned rounds;
	_Atomic unsigned arrived; /* at a round's beginning, all together */
	_Atomic uint64_t filled[ENGINES], got[ENGINES];
};

struct role {
	struct scene *scene;
	unsigned number;
};

/* Each begins with keys of its own. */
static void play_round(const struct role *role, const struct real_engine *engine, unsigned round)
{
	uint64_t keys[REAL_KEYS], filled = 0, got = 0, end = base_now() + BASE_NEVER;
	unsigned left = REAL_KEYS;

	for (unsigned i = 0; i < REAL_KEYS; i++)
		keys[i] = (uint64_t)round * REAL_KEYS + (i + role->number * (REAL_KEYS / ENGINES)) % REAL_KEYS;
	while (left) {
		left = real_use_keys(engine, keys, left, &filled, &got);
		if (left)
			real_wait(&engine->gpu); /* room comes when streams get to what was let go of */
		base_check(base_now() < end);
	}
	atomic_fetch_add(&role->scene->filled[role->number], filled);
	atomic_fetch_add(&role->scene->got[role->number], got);
}

static void work(void *arg)
{
	const struct role *role = arg;
	struct scene *scene = role->scene;
	struct real_engine engine;

	/* Half of them as PyTorch does, with the primary context. */
	real_gpu_open(&engine.gpu, role->number % 2);
	real_engine_attach(&engine, scene->store);
	real_engine_map(&engine);
	for (unsigned round = 0; round < scene->rounds; round++) {
		atomic_fetch_add(&scene->arrived, 1);
		while (atomic_load(&scene->arrived) < (round + 1) * ENGINES)
			(void)sched_yield();
		play_round(role, &engine, round);
	}
	real_expect_right(&engine.gpu, "exchanged blocks");
	real_engine_detach(&engine);
	real_gpu_close(&engine.gpu);
}

static void judge(const struct scene *scene)
{
	uint64_t keys = (uint64_t)scene->rounds * REAL_KEYS, filled = 0;

	for (unsigned i = 0; i < ENGINES; i++) {
		(void)printf("engine %u filled %" PRIu64 " blocks, and checked %" PRIu64 " of others'\n", i,
			     scene->filled[i], scene->got[i]);
		filled += scene->filled[i];
		base_check(scene->got[i] > 0 && scene->filled[i] + scene->got[i] == keys);
	}
	/* A key that was evicted before the last engine came is filled again. */
	base_check(filled >= keys);
	base_judge(scene->store->name, scene->store->blocks);
}

static void exchange(const struct real_machine *machine, const char *what, enum kvshm_export gpu_export)
{
	size_t before = real_available();
	struct scene *scene = base_shared(sizeof(*scene));
	struct role roles[ENGINES];
	pid_t pids[ENGINES], owner;

	scene->store = real_store(what, gpu_export, BLOCKS, machine->standin ? 8U << 10 : 4U << 20);
	scene->rounds = machine->standin ? 16 : 128;
	owner = real_own(scene->store);
	for (unsigned i = 0; i < ENGINES; i++) {
		roles[i] = (struct role){.scene = scene, .number = i};
		pids[i] = base_fork(work, &roles[i]);
	}
	for (unsigned i = 0; i < ENGINES; i++)
		base_check(base_reap(pids[i]) == 0);
	judge(scene);
	real_disown(scene->store, owner);
	real_expect_available(machine, before);
}

int main(void)
{
	struct real_machine machine;

	real_begin(&machine);
	exchange(&machine, "fd", KVSHM_EXPORT_FD);
	exchange(&machine, "ipc", KVSHM_EXPORT_IPC);
	return base_pass();
}
