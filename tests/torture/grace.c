/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * grace.c: grace periods. Readers meet blocks in sections, through the index or by number, and look again and again
 * whether what they met is still the same life of the same block while reusers of other processes remove and fill as
 * fast as they can. A block that was met may go to LIMBO meanwhile, which shows that the test has teeth; it may not
 * become another life of itself before the section ends (shm/epoch.h). With membarriers and with fences.
 *
 * Measured: for each section how far its block had gone when it ended, and how far the epoch.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#include "epoch.h"
#include "index.h"
#include "internal.h"
#include "load.h"

#define READERS 2U
#define REUSERS 2U
#define BLOCKS 8U
#define KEYS 24U
#define LOOKS 400U /* in one section, at most */
#define EPOCHS 4U

struct books {
	_Atomic bool stop;
	_Atomic uint64_t sections, reused, by_number;
	_Atomic uint64_t ended_in[KVS_STATES];
	_Atomic uint64_t epochs[EPOCHS]; /* by how much the epoch went on in sections that met a block */
	_Atomic uint64_t fills, no_room;
};

struct job {
	struct books *books;
	const char *name;
	unsigned number;
};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void start(const struct job *job, kvshm_store **store, struct kvs_actor *actor)
{
	base_expect(kvshm_attach(job->name, NULL, store), 0);
	base_check(kvl_begin(*store, actor) == 0);
}

/* In a section: a block that it may look at, or KVS_NONE. Through the index it may be in any state; by number only one
 * that is surely in use counts. */
static uint32_t meet(const struct kvs_actor *actor, uint64_t *random, bool by_number)
{
	unsigned char key[KVSHM_KEY_MAX];
	struct kvs_walk walk = { .key = key };
	uint32_t block;

	if (by_number) {
		block = base_below(random, BLOCKS);
		switch (kvs_word_state(atomic_load(&kvs_block(actor->map, block)->word))) {
		case KVS_READY:
		case KVS_REM_READY:
		case KVS_DOOMED:
		case KVS_REM_DOOMED:
			return block;
		default:
			return KVS_NONE;
		}
	}
	walk.length = (uint32_t)load_key(base_below(random, KEYS), key);
	walk.hash = kvs_index_hash(actor->map, key, walk.length);
	kvs_index_start(actor->map, &walk);
	block = kvs_index_next(actor, &walk);
	base_check(block != KVS_WALK_NONSENSE);
	return block;
}

/* A section that met a block: is it the same life until the end? */
static void watch(const struct job *job, const struct kvs_actor *actor, uint32_t number, uint64_t *random)
{
	struct kvs_block *block = kvs_block(actor->map, number);
	uint64_t life = atomic_load(&block->life);
	unsigned looks = base_below(random, LOOKS), rest = base_below(random, 4 * LOOKS);
	uint64_t first = atomic_load(&actor->map->head->epoch), gone;
	enum kvs_state state;

	for (unsigned i = 0; i < looks; i++) {
		if (i == rest)
			(void)sched_yield();
		state = kvs_word_state(atomic_load(&block->word));
		if (atomic_load(&block->life) != life || state == KVS_FREE || state == KVS_OWNED)
			count(&job->books->reused);
	}
	state = kvs_word_state(atomic_load(&block->word));
	gone = atomic_load(&actor->map->head->epoch) - first;
	count(&job->books->ended_in[state]);
	count(&job->books->epochs[gone < EPOCHS ? gone : EPOCHS - 1]);
	count(&job->books->sections);
}

static void look(void *arg)
{
	const struct job *job = arg;
	uint64_t random = base_stream(job->number);
	struct kvs_actor actor;
	kvshm_store *store;

	start(job, &store, &actor);
	while (!atomic_load_explicit(&job->books->stop, memory_order_relaxed)) {
		bool by_number = base_below(&random, 2);
		uint32_t block;

		kvs_enter(&actor);
		block = meet(&actor, &random, by_number);
		if (block != KVS_NONE) {
			watch(job, &actor, block, &random);
			if (by_number)
				count(&job->books->by_number);
		}
		kvs_leave(&actor);
	}
	base_expect(kvshm_detach(store), 0);
}

/* Fills keys that are not there; their blocks are evicted for others, or removed. */
static void reuse(void *arg)
{
	const struct job *job = arg;
	uint64_t random = base_stream(100 + job->number);
	struct kvs_actor actor;
	kvshm_store *store;

	start(job, &store, &actor);
	while (!atomic_load_explicit(&job->books->stop, memory_order_relaxed)) {
		unsigned char key[KVSHM_KEY_MAX];
		size_t length = load_key(base_below(&random, KEYS), key);
		enum kvshm_outcome outcome;
		struct kvshm_handle handle;
		int rc = kvshm_get_or_fill(store, key, length, &outcome, &handle);

		if (rc == -ENOSPC) {
			count(&job->books->no_room);
			(void)sched_yield();
			continue;
		}
		base_expect(rc, 0);
		if (outcome == KVSHM_FILL) {
			count(&job->books->fills);
			rc = kvshm_publish(store, &handle, NULL);
			base_check(rc == 0 || rc == -ECANCELED);
			if (rc)
				continue;
		}
		base_expect(kvshm_release(store, &handle), 0);
		if (base_below(&random, 4))
			continue; /* it is evicted for another */
		rc = kvshm_remove(store, key, length);
		base_check(rc == 0 || rc == -ENOENT);
	}
	base_expect(kvshm_detach(store), 0);
}

static void report(struct books *books)
{
	static const char *const names[KVS_STATES] = {
		"free", "owned", "room", "filling", "ready", "removing from ready", "doomed",
		"removing from doomed", "limbo"
	};

	(void)printf("%" PRIu64 " sections met a block, %" PRIu64 " of them by number; %" PRIu64 " fills, %" PRIu64
		     " times no room; when they ended it was\n", books->sections, books->by_number, books->fills,
		     books->no_room);
	for (unsigned i = 0; i < KVS_STATES; i++)
		if (books->ended_in[i])
			(void)printf("    %-22s %10" PRIu64 "\n", names[i], books->ended_in[i]);
	(void)printf("the epoch went on meanwhile by");
	for (unsigned i = 0; i < EPOCHS; i++)
		(void)printf(" %u: %" PRIu64, i, books->epochs[i]);
	(void)printf("\nreused inside a section: %" PRIu64 "\n", books->reused);
	base_check(books->reused == 0);
	base_check(books->sections > 0 && books->fills > 0 && books->ended_in[KVS_LIMBO] > 0);
	/* A section lets the epoch go on once: that of its own to the next. */
	base_check(books->epochs[2] == 0 && books->epochs[3] == 0);
}

static void try(int fence, const char *what)
{
	struct books *books = base_shared(sizeof(*books));
	struct kvshm_create_options options;
	const char *name = base_store(what);
	struct job jobs[READERS + REUSERS];
	pid_t pids[READERS + REUSERS];
	kvshm_owner *owner;
	int rc;

	load_options(&options, BLOCKS, 1, KVSHM_KEEP);
	options.fence = fence;
	rc = kvshm_create(name, &options, &owner);
	if (rc == -EOPNOTSUPP) {
		(void)printf("%s: left out: %s\n", what, kvshm_error());
		return;
	}
	base_expect(rc, 0);
	(void)printf("%s: %u readers, %u reusers, %u blocks, %u keys\n", what, READERS, REUSERS, BLOCKS, KEYS);
	for (unsigned i = 0; i < READERS + REUSERS; i++) {
		jobs[i] = (struct job){ .books = books, .name = name, .number = i };
		pids[i] = base_fork(i < READERS ? look : reuse, &jobs[i]);
	}
	for (uint64_t end = base_phase(1500); base_now() < end || !atomic_load(&books->ended_in[KVS_LIMBO]);)
		base_rest(BASE_MS);
	atomic_store(&books->stop, true);
	for (unsigned i = 0; i < READERS + REUSERS; i++)
		base_check(base_reap(pids[i]) == 0);
	report(books);
	base_judge(name, BLOCKS);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	try(0, "membarrier");
	try(1, "fence");
	return base_pass();
}
