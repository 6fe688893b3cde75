/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * filler_dies.c: many processes ask for a key that is missing: one fills it, the others hold the same block and wait.
 * The filler dies, gives up, or publishes. In the first two cases (D3, R07) all who wait are woken and ask again, and
 * exactly one of them becomes the next filler, in the same ways, until one publishes. Nobody waits longer than a second
 * (R17, R19). (That a call wakes all who wait, where a death leaves them to the end of their slice, is the unit test
 * wait's to judge: what the histograms here show of it is the machine's as much.)
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "../torture/load.h"

#define WAITERS 6U
#define BLOCKS 16U
#define FILLS 16U	  /* of one key, at most, until it is published */

enum fate { FATE_PUBLISH, FATE_GIVE_UP, FATE_DIE, FATES };

static const char *const fate_names[FATES] = { "a publish", "a give-up", "a death" };

/* One key's story, shared. */
struct story {
	struct load_books books;
	_Atomic uint64_t lives[FILLS];	 /* of the blocks that it was to be filled in, in the order of the fillers */
	_Atomic unsigned fillers, pending, ready, deaths;
	_Atomic uint64_t ended; /* when the last fill ended */
	_Atomic int fate;
	struct base_histogram woken[FATES];
};

struct job {
	struct story *story;
	const char *name;
	uint64_t random;
	unsigned key;
};

/* The filler waits until all the others do, and then meets its fate. */
static void fill(const struct job *job, struct load_worker *w, struct load_hold *hold)
{
	struct story *story = job->story;
	unsigned number = atomic_fetch_add(&story->fillers, 1);
	enum fate fate = number < 3 ? (enum fate)base_below(&w->random, FATES) : FATE_PUBLISH;
	struct kvshm_meta meta;

	base_check(number < FILLS);
	atomic_store(&story->lives[number], hold->handle.life << 16 | hold->handle.block);
	load_write(w, hold, &meta);
	while (atomic_load(&story->pending) + atomic_load(&story->deaths) < WAITERS - 1)
		(void)sched_yield();
	base_burn(base_random(&w->random) % BASE_MS); /* most of them sleep by then */
	atomic_store(&story->pending, 0);
	atomic_store(&story->fate, (int)fate);
	if (fate == FATE_DIE)
		atomic_fetch_add(&story->deaths, 1);
	atomic_store(&story->ended, base_now());
	if (fate == FATE_DIE)
		(void)raise(SIGKILL);
	if (fate == FATE_GIVE_UP) {
		base_expect(kvshm_give_up(w->store, &hold->handle), 0);
		return;
	}
	base_expect(kvshm_publish(w->store, &hold->handle, &meta), 0);
}

/* Waits: true if the key is ready, false if it is to be asked for again. */
static bool wait_for(const struct job *job, struct load_worker *w, struct load_hold *hold)
{
	struct story *story = job->story;
	uint64_t now;
	int rc;

	atomic_fetch_add(&story->pending, 1);
	rc = kvshm_wait(w->store, &hold->handle, base_now() + BASE_NEVER);
	now = base_now();
	base_histogram_add(&story->woken[atomic_load(&story->fate)], now - atomic_load(&story->ended));
	if (rc == 0)
		return true;
	base_expect(rc, -ECANCELED);
	base_check(hold->handle.kind == KVSHM_NONE);
	return false;
}

static void ask(void *arg)
{
	const struct job *job = arg;
	struct load_worker w = { .books = &job->story->books, .random = job->random, .id = job->random | 1 };
	struct load_hold hold = { .key = job->key };
	unsigned char bytes[KVSHM_KEY_MAX];
	size_t length = load_key(job->key, bytes);
	enum kvshm_outcome outcome;

	base_expect(kvshm_attach(job->name, NULL, &w.store), 0);
	do {
		int rc = kvshm_get_or_fill(w.store, bytes, length, &outcome, &hold.handle);

		if (rc == -ENOSPC)
			continue; /* what is free waits for a grace period, which a reader without a processor stalls */
		base_expect(rc, 0);
		if (outcome == KVSHM_FILL)
			fill(job, &w, &hold);
	} while (hold.handle.kind != KVSHM_REF || (outcome == KVSHM_PENDING && !wait_for(job, &w, &hold)));
	load_verify(&w, &hold);
	atomic_fetch_add(&job->story->ready, 1);
	base_expect(kvshm_release(w.store, &hold.handle), 0);
	base_expect(kvshm_detach(w.store), 0);
}

/* Each filler had a life of a block to itself. */
static void look_at_lives(const struct story *story)
{
	for (unsigned i = 0; i < story->fillers; i++)
		for (unsigned j = 0; j < i; j++)
			if (story->lives[i] == story->lives[j])
				base_fail("two fillers of one life: %#" PRIx64, story->lives[i]);
}

static void tell(const char *name, struct story *story, unsigned key, uint64_t *random)
{
	struct job jobs[WAITERS];
	pid_t pids[WAITERS];
	unsigned killed = 0;

	story->fillers = story->pending = story->ready = story->deaths = 0;
	for (unsigned i = 0; i < WAITERS; i++) {
		jobs[i] = (struct job){ .story = story, .name = name, .random = base_random(random), .key = key };
		pids[i] = base_fork(ask, &jobs[i]);
	}
	for (unsigned i = 0; i < WAITERS; i++)
		killed += base_reap(pids[i]) == SIGKILL;
	base_check(killed == story->deaths);
	base_check(story->ready == WAITERS - killed);
	base_check(story->fillers >= killed + 1);
	look_at_lives(story);
	load_check(&story->books);
}

/* Has someone been woken from each fate? */
static bool all_met(const struct story *story)
{
	bool all = true;

	for (unsigned i = 0; i < FATES; i++)
		all = all && story->woken[i].count > 0;
	return all;
}

int main(void)
{
	struct story *story = base_shared(sizeof(*story));
	struct kvshm_create_options options;
	uint64_t random, end;
	kvshm_owner *owner;
	unsigned keys = 0;
	const char *name;

	base_begin();
	random = base_stream(0);
	end = base_phase(3000);
	name = base_store("filler");
	story->books.planes = 2;
	story->books.kills = true;
	load_options(&options, BLOCKS, 2, KVSHM_KEEP);
	base_expect(kvshm_create(name, &options, &owner), 0);
	while (base_now() < end || !all_met(story))
		tell(name, story, keys++, &random);
	base_expect(kvshm_owner_recover(owner, NULL), 0);
	base_judge(name, BLOCKS);
	(void)printf("%u keys, %u processes each\n", keys, WAITERS);
	for (unsigned i = 0; i < FATES; i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "from %s until a waiter was woken", fate_names[i]);
		base_histogram_judge(&story->woken[i], text);
	}
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
	return base_pass();
}
