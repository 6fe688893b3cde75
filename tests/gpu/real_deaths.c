/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real_deaths.c: engines with blocks in GPU memory are killed (SIGKILL) again and again, by both exports, while others
 * fill and check the same keys:
 *
 *   - in the middle of a kernel that writes what no key has into blocks that are being filled: if these were given to
 *     others before the kernel has ended with its process, one of them would find a wrong word;
 *   - in the middle of large copies into blocks;
 *   - while they attach; and while they map the planes.
 *
 * And owners are killed: of KVSHM_EXPORT_FD everybody goes on, nobody new can attach, and another process adopts the
 * store; of KVSHM_EXPORT_IPC every call of the others says so (-ESTALE), and the store is replaced.
 *
 * After each loop every block that is ready is checked, nobody dead is left, and the store is sound; in the end the
 * GPU's memory is where it was.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "real.h"

#define SURVIVORS 2U
#define VICTIM_BLOCKS 8U
#define NOBODYS UINT32_C(0x0badf00d) /* what is in no block that is ready, but by chance */

struct scene {
	const struct real_machine *machine;
	struct real_store *store;
	unsigned keys, kills;
	_Atomic unsigned begun; /* victims that are where they are to be killed */
	_Atomic unsigned ready; /* survivors at work */
	_Atomic bool stop;
	_Atomic uint64_t steps[SURVIVORS];
	_Atomic uint64_t killed_at; /* the owner */
	_Atomic uint64_t told[SURVIVORS];
};

struct role {
	struct scene *scene;
	unsigned number;
	uint64_t stream; /* of random numbers */
};

static void open_engine(struct real_engine *engine, const struct role *role)
{
	real_gpu_open(&engine->gpu, role->number % 2);
	real_engine_attach(engine, role->scene->store);
}

/* ---- Those who live on -------------------------------------------------------------------------------------- */

static void use_some_keys(const struct role *role, const struct real_engine *engine, uint64_t *random)
{
	uint64_t keys[REAL_KEYS], filled = 0, got = 0;
	unsigned first = base_below(random, role->scene->keys);

	for (unsigned i = 0; i < REAL_KEYS; i++)
		keys[i] = (first + i) % role->scene->keys;
	(void)real_use_keys(engine, keys, REAL_KEYS, &filled, &got);
	atomic_fetch_add(&role->scene->steps[role->number], filled + got);
}

static void survive(void *arg)
{
	const struct role *role = arg;
	uint64_t random = base_stream(role->stream);
	struct real_engine engine;

	open_engine(&engine, role);
	real_engine_map(&engine);
	atomic_fetch_add(&role->scene->ready, 1);
	while (!atomic_load(&role->scene->stop)) {
		use_some_keys(role, &engine, &random);
		real_wait(&engine.gpu);
	}
	real_expect_right(&engine.gpu, "blocks of those who live on");
	real_engine_detach(&engine);
	real_gpu_close(&engine.gpu);
}

static void start(struct scene *scene, void (*body)(void *), struct role roles[SURVIVORS], pid_t pids[SURVIVORS])
{
	static uint64_t streams = 100;

	atomic_store(&scene->ready, 0);
	atomic_store(&scene->stop, false);
	for (unsigned i = 0; i < SURVIVORS; i++) {
		roles[i] = (struct role){.scene = scene, .number = i, .stream = streams++};
		pids[i] = base_fork(body, &roles[i]);
	}
	while (atomic_load(&scene->ready) < SURVIVORS)
		(void)sched_yield();
}

static void stop(struct scene *scene, const pid_t pids[SURVIVORS])
{
	atomic_store(&scene->stop, true);
	for (unsigned i = 0; i < SURVIVORS; i++)
		base_check(base_reap(pids[i]) == 0);
}

static void survivors_go_on(struct scene *scene)
{
	uint64_t end = base_now() + BASE_NEVER;

	for (unsigned i = 0; i < SURVIVORS; i++) {
		uint64_t steps = atomic_load(&scene->steps[i]) + 2UL * REAL_KEYS;

		while (atomic_load(&scene->steps[i]) < steps) {
			base_rest(BASE_MS / 10);
			base_check(base_now() < end);
		}
	}
}

/* ---- Those who are killed ----------------------------------------------------------------------------------- */

static void at_the_place(const struct role *role)
{
	atomic_fetch_add(&role->scene->begun, 1);
}

/* Blocks to fill, as many as there are of those that were asked for. */
static unsigned begin_fills(const struct role *role, const struct real_engine *engine, uint64_t *random,
			    struct kvshm_handle *fills, uint64_t *keys)
{
	unsigned count = 0;

	for (unsigned i = 0; i < VICTIM_BLOCKS; i++) {
		uint64_t key = base_below(random, role->scene->keys);
		struct kvshm_handle handle;
		enum kvshm_outcome outcome;
		int rc;

		(void)kvshm_remove(engine->store, &key, sizeof(key));
		rc = kvshm_get_or_fill(engine->store, &key, sizeof(key), &outcome, &handle);
		if (rc == -ENOSPC)
			continue;
		base_expect(rc, 0);
		if (outcome != KVSHM_FILL) {
			base_expect(kvshm_release(engine->store, &handle), 0);
			continue;
		}
		fills[count] = handle;
		keys[count++] = key;
	}
	return count;
}

static void publish_and_let_go(const struct real_engine *engine, struct kvshm_handle *fills, unsigned count)
{
	int results[VICTIM_BLOCKS];

	base_expect(kvshm_publish_on(engine->store, engine->gpu.stream, fills, NULL, count, results), 0);
	for (unsigned i = 0; i < count; i++)
		base_expect(results[i], 0);
	base_expect(kvshm_release_on(engine->store, engine->gpu.stream, fills, count, results), 0);
}

static void be_in_a_kernel(void *arg)
{
	const struct role *role = arg;
	uint64_t random = base_stream(role->stream), keys[VICTIM_BLOCKS];
	struct kvshm_handle fills[VICTIM_BLOCKS];
	struct real_engine engine;

	open_engine(&engine, role);
	for (bool first = true;; first = false) {
		unsigned count = begin_fills(role, &engine, &random, fills, keys);

		for (unsigned i = 0; i < count; i++) {
			void *at;

			base_expect(kvshm_address(engine.store, &fills[i], i % 2, &at), 0);
			real_spin(&engine.gpu, (kvg_pointer)(uintptr_t)at, role->scene->store->block_size, NOBODYS,
				  20 * BASE_MS);
			real_fill_block(&engine, &fills[i], keys[i]);
		}
		if (first)
			at_the_place(role);
		publish_and_let_go(&engine, fills, count);
		real_wait(&engine.gpu);
	}
}

/* A buffer in pinned memory has what is to be in a block's plane; each copy of it is cut at a place of its own. */
static void copy_into(const struct real_engine *engine, const struct kvshm_handle *held, uint64_t key, char *buffer)
{
	uint32_t size = engine->of->block_size;

	for (unsigned plane = 0; plane < engine->of->planes; plane++) {
		uint32_t *words = (void *)(buffer + (size_t)plane * size), value = real_value(key, plane);
		struct kvshm_piece pieces[2] = {
			{.held = held, .offset = 0, .memory = words, .length = size / 2},
			{.held = held, .offset = size / 2, .memory = words + size / 8, .length = size - size / 2},
		};

		for (uint32_t i = 0; i < size / sizeof(*words); i++)
			words[i] = value + i;
		base_expect(kvshm_copy_in(engine->store, engine->gpu.stream, plane, pieces, 2), 0);
	}
}

static void be_in_a_copy(void *arg)
{
	const struct role *role = arg;
	uint64_t random = base_stream(role->stream), keys[VICTIM_BLOCKS];
	struct kvshm_handle fills[VICTIM_BLOCKS];
	struct real_engine engine;
	size_t each = (size_t)role->scene->store->planes * role->scene->store->block_size;
	void *buffer;

	open_engine(&engine, role);
	real_cu(engine.gpu.driver->host_alloc(&buffer, VICTIM_BLOCKS * each, KVG_HOST_PORTABLE));
	for (bool first = true;; first = false) {
		unsigned count = begin_fills(role, &engine, &random, fills, keys);

		for (unsigned i = 0; i < count; i++)
			copy_into(&engine, &fills[i], keys[i], (char *)buffer + i * each);
		if (first)
			at_the_place(role);
		publish_and_let_go(&engine, fills, count);
		real_wait(&engine.gpu);
	}
}

static void be_attaching(void *arg)
{
	const struct role *role = arg;
	struct real_engine engine;

	for (;;) {
		at_the_place(role);
		real_engine_attach(&engine, role->scene->store);
		real_engine_detach(&engine);
	}
}

static void be_mapping(void *arg)
{
	const struct role *role = arg;
	struct real_engine engine;

	real_gpu_open(&engine.gpu, role->number % 2);
	for (;;) {
		real_engine_attach(&engine, role->scene->store);
		at_the_place(role);
		real_engine_map(&engine);
		real_engine_detach(&engine);
	}
}

static void kill_one(struct scene *scene, void (*body)(void *), unsigned within_us, uint64_t *random)
{
	static unsigned number;
	struct role role = {.scene = scene, .number = number, .stream = 1000 + number};
	pid_t victim;

	number++;
	atomic_store(&scene->begun, 0);
	victim = base_fork(body, &role);
	while (atomic_load(&scene->begun) == 0)
		(void)sched_yield();
	base_rest(base_below(random, within_us) * UINT64_C(1000));
	base_signal(victim, SIGKILL);
	base_check(base_reap(victim) == SIGKILL);
}

/* ---- The judgement -------------------------------------------------------------------------------------------- */

static void check_all(void *arg)
{
	const struct role *role = arg;
	struct real_engine engine;
	unsigned checked = 0;

	open_engine(&engine, role);
	for (uint64_t key = 0; key < role->scene->keys; key++) {
		struct kvshm_handle ref;
		int result, rc = kvshm_get(engine.store, &key, sizeof(key), &ref);

		if (rc == -ENOENT)
			continue;
		base_expect(rc, 0);
		real_check_block(&engine, &ref, key);
		base_expect(kvshm_release_on(engine.store, engine.gpu.stream, &ref, 1, &result), 0);
		base_expect(result, 0);
		checked++;
	}
	real_expect_right(&engine.gpu, "blocks that are ready");
	real_engine_detach(&engine);
	real_gpu_close(&engine.gpu);
	(void)printf("    %u blocks are ready, and right\n", checked);
}

/* Nobody works on it any more. Whoever is dead is recovered by the owner, once his whole process has ended. */
static void judge(struct scene *scene)
{
	uint64_t end = base_now() + BASE_NEVER;
	struct role role = {.scene = scene};
	char why[256];

	while (!base_at_rest(scene->store->name, scene->store->blocks, why) && base_now() < end)
		base_rest(BASE_MS);
	base_check(base_reap(base_fork(check_all, &role)) == 0);
	base_judge(scene->store->name, scene->store->blocks);
}

/* ---- The loops -------------------------------------------------------------------------------------------------- */

static const struct loop {
	const char *what;
	void (*body)(void *);
	unsigned within_us;
} loops[] = {
	{"in a kernel", be_in_a_kernel, 30000},
	{"in a copy", be_in_a_copy, 1500},
	{"attaching", be_attaching, 3000},
	{"mapping", be_mapping, 5000},
};

static void engines_die(struct scene *scene, const struct loop *loop, uint64_t *random)
{
	struct role roles[SURVIVORS];
	pid_t pids[SURVIVORS];

	start(scene, survive, roles, pids);
	for (unsigned i = 0; i < scene->kills; i++)
		kill_one(scene, loop->body, loop->within_us, random);
	survivors_go_on(scene);
	stop(scene, pids);
	(void)printf("%u engines were killed %s\n", scene->kills, loop->what);
	judge(scene);
}

static void kill_owner(struct scene *scene, pid_t owner)
{
	base_signal(owner, SIGKILL);
	base_check(base_reap(owner) == SIGKILL);
	atomic_store(&scene->killed_at, base_now());
}

static pid_t owners_die(struct scene *scene, pid_t owner)
{
	struct role roles[SURVIVORS];
	pid_t pids[SURVIVORS];

	start(scene, survive, roles, pids);
	scene->store->adopt = 1;
	for (unsigned i = 0; i < scene->kills; i++) {
		kill_owner(scene, owner);
		base_expect(kvshm_attach(scene->store->name, NULL, &(kvshm_store *){NULL}), -EOWNERDEAD);
		survivors_go_on(scene);
		owner = real_own(scene->store);
		survivors_go_on(scene);
	}
	stop(scene, pids);
	(void)printf("%u owners were killed, and the store adopted\n", scene->kills);
	judge(scene);
	return owner;
}

/* Its memory has gone: it is not touched, but every call is to say so. */
static void be_told(void *arg)
{
	const struct role *role = arg;
	uint64_t key = 0;
	struct real_engine engine;
	struct kvshm_handle ref;
	int rc;

	open_engine(&engine, role);
	real_engine_map(&engine);
	atomic_fetch_add(&role->scene->ready, 1);
	do {
		rc = kvshm_get(engine.store, &key, sizeof(key), &ref);
		if (rc == 0)
			rc = kvshm_release(engine.store, &ref);
	} while (rc == 0 || rc == -ENOENT);
	base_expect(rc, -ESTALE);
	atomic_store(&role->scene->told[role->number], base_now());
	base_expect(kvshm_recover(engine.store, NULL), -ESTALE);
	real_engine_detach(&engine);
	real_gpu_close(&engine.gpu);
}

static pid_t owners_die_with_the_memory(struct scene *scene, pid_t owner)
{
	struct base_histogram *times = base_shared(sizeof(*times));
	struct role roles[SURVIVORS];
	pid_t pids[SURVIVORS];

	for (unsigned i = 0; i < scene->kills; i++) {
		start(scene, be_told, roles, pids);
		kill_owner(scene, owner);
		stop(scene, pids);
		for (unsigned n = 0; n < SURVIVORS; n++)
			base_histogram_add(times,
					   scene->told[n] > scene->killed_at ? scene->told[n] - scene->killed_at : 0);
		scene->store->replace_dead = 1;
		owner = real_own(scene->store);
	}
	(void)printf("%u owners were killed, and the store replaced\n", scene->kills);
	base_histogram_judge(times, "from the owner's death until an engine was told");
	start(scene, survive, roles, pids);
	survivors_go_on(scene);
	stop(scene, pids);
	judge(scene);
	return owner;
}

static void deaths(const struct real_machine *machine, const char *what, enum kvshm_export gpu_export)
{
	size_t before = real_available();
	struct scene *scene = base_shared(sizeof(*scene));
	uint64_t random = base_stream(1);
	pid_t owner;

	(void)printf("%s\n", what);
	scene->machine = machine;
	scene->store = machine->standin ? real_store(what, gpu_export, 160, 16U << 10)
					: real_store(what, gpu_export, 256, 2U << 20);
	scene->keys = scene->store->blocks * 5 / 4;
	scene->kills = (machine->standin ? 4 : 12) * (base_long() ? 10 : 1);
	owner = real_own(scene->store);
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
		engines_die(scene, &loops[i], &random);
	owner = gpu_export == KVSHM_EXPORT_FD ? owners_die(scene, owner) : owners_die_with_the_memory(scene, owner);
	real_disown(scene->store, owner);
	real_expect_available(machine, before);
}

int main(void)
{
	struct real_machine machine;

	real_begin(&machine);
	deaths(&machine, "fd", KVSHM_EXPORT_FD);
	deaths(&machine, "ipc", KVSHM_EXPORT_IPC);
	return base_pass();
}
