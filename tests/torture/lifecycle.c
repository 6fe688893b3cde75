/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lifecycle.c: attaching, detaching, death, stopping and recovery race each other over a few client slots, which are
 * therefore used again and again. Clients come, work, leave or are killed, at any moment of their lives; others are
 * stopped, many of them while they recover a dead one, and go on when its slot may long be another's (D2: models of the
 * design broke there). Who stays attached all the time, and all who come, verify that nothing that they hold is ever
 * taken from them, and that bytes are what they should be (A2, B1, B2, D1, D4). At the end nothing is left.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "load.h"
#include "segment.h"

#define SLOTS 4U /* beside the main process's */
#define SURVIVORS 1U
#define COMERS 5U
#define CHILDREN (SURVIVORS + COMERS)
#define BALLAST 8192U /* blocks that the main process has in its hands, so that a recovery lasts a while */
#define BLOCKS (BALLAST + 128U)
#define KEYS 200U

struct books {
	struct load_books load;
	_Atomic uint64_t attaches, detaches, no_slot;
	_Atomic uint64_t steps[CHILDREN];
};

struct job {
	struct books *books;
	const char *name;
	unsigned number;
	uint64_t random;
};

struct child {
	struct job job;
	pid_t pid;
	bool stopped;
	uint64_t go_on; /* when a stopped one is to go on */
};

struct run {
	struct books *books;
	struct child children[CHILDREN];
	struct kvs_map map; /* to see who recovers */
	uint64_t random, births;
	uint64_t kills, stops, stops_recovering;
};

/* A recovery passes these before it comes to the blocks that are worked on. */
static void load_ballast(kvshm_store *store, struct kvshm_handle *ballast)
{
	for (uint32_t i = 0; i < BALLAST; i++) {
		uint64_t key[] = { i, UINT64_MAX };
		enum kvshm_outcome outcome;

		base_expect(kvshm_get_or_fill(store, key, sizeof(key), &outcome, &ballast[i]), 0);
		base_check(outcome == KVSHM_FILL);
	}
}

static void drop_ballast(kvshm_store *store, struct kvshm_handle *ballast)
{
	for (uint32_t i = 0; i < BALLAST; i++)
		base_expect(kvshm_give_up(store, &ballast[i]), 0);
}

static bool over(const struct job *job)
{
	return atomic_load_explicit(&job->books->load.stop, memory_order_relaxed);
}

/* One tenancy: so many steps, then let go of all, or leave that to the detach. */
static void tenancy(const struct job *job, struct load_worker *w, uint64_t steps)
{
	for (uint64_t i = 0; i < steps && !over(job); i++) {
		base_check(load_step(w));
		atomic_fetch_add_explicit(&job->books->steps[job->number], 1, memory_order_relaxed);
		if (base_below(&w->random, 16) == 0)
			base_expect(kvshm_recover(w->store, NULL), 0);
	}
	if (base_below(&w->random, 2))
		load_end(w);
	w->count = w->open_count = 0;
	w->request.open = false;
}

static void live(void *arg)
{
	const struct job *job = arg;
	struct load_worker w = { .books = &job->books->load, .random = job->random, .id = job->random | 1 };

	while (!over(job)) {
		int rc = kvshm_attach(job->name, NULL, &w.store);

		if (rc == -EUSERS) {
			atomic_fetch_add(&job->books->no_slot, 1);
			continue;
		}
		base_expect(rc, 0);
		atomic_fetch_add(&job->books->attaches, 1);
		tenancy(job, &w, job->number < SURVIVORS ? UINT64_MAX : base_below(&w.random, 200));
		base_expect(kvshm_detach(w.store), 0);
		atomic_fetch_add(&job->books->detaches, 1);
	}
}

static void give_birth(struct run *r, struct child *child)
{
	child->job.random = base_stream(1000 + r->births++);
	child->stopped = false;
	child->pid = base_fork(live, &child->job);
}

static void kill_one(struct run *r, struct child *child)
{
	base_signal(child->pid, SIGKILL);
	base_check(base_reap(child->pid) == SIGKILL);
	r->kills++;
	give_birth(r, child);
}

static void stop_one(struct run *r, struct child *child)
{
	base_signal(child->pid, SIGSTOP);
	child->stopped = true;
	child->go_on = base_now() + base_below(&r->random, 20) * BASE_MS;
	r->stops++;
}

static void go_on(struct child *child)
{
	base_signal(child->pid, SIGCONT);
	child->stopped = false;
}

static unsigned count_stopped(const struct run *r)
{
	unsigned stopped = 0;

	for (unsigned i = 0; i < CHILDREN; i++)
		stopped += r->children[i].stopped;
	return stopped;
}

/* Is somebody recovering a dead client now? Its reader slot carries a flag. */
static bool recovery_goes_on(const struct kvs_map *map)
{
	uint32_t top = atomic_load(&map->head->readers_top);

	for (uint32_t i = 0; i < top && i < map->g.readers; i++)
		if (atomic_load_explicit(&map->readers[i].owner, memory_order_relaxed) & KVS_READER_RECOVERER)
			return true;
	return false;
}

/* A dead one is there to be recovered: all who may be at it are stopped, if they are caught. */
static void stop_recoverers(struct run *r)
{
	uint64_t limit = base_now() + BASE_MS;

	while (!recovery_goes_on(&r->map))
		if (base_now() > limit)
			return;
	for (unsigned i = 0; i < CHILDREN; i++)
		if (!r->children[i].stopped && base_below(&r->random, 3) && count_stopped(r) < CHILDREN - 1)
			stop_one(r, &r->children[i]);
	r->stops_recovering += recovery_goes_on(&r->map);
}

/* The survivor is never killed; it may be stopped as all are. */
static void act(struct run *r)
{
	unsigned what = base_below(&r->random, 8);
	struct child *child = &r->children[base_below(&r->random, CHILDREN)];

	for (unsigned i = 0; i < CHILDREN; i++)
		if (r->children[i].stopped && base_now() > r->children[i].go_on)
			go_on(&r->children[i]);
	if (what < 4 && child->job.number >= SURVIVORS) {
		kill_one(r, child);
		if (what < 2)
			stop_recoverers(r);
	} else if (what < 6 && !child->stopped && count_stopped(r) < CHILDREN - 1) {
		stop_one(r, child);
	} else {
		base_rest(base_random(&r->random) % (2 * BASE_MS));
	}
}

static void run(struct run *r, const char *name, unsigned ms)
{
	uint64_t end = base_phase(ms);

	for (unsigned i = 0; i < CHILDREN; i++) {
		r->children[i].job = (struct job){ .books = r->books, .name = name, .number = i };
		give_birth(r, &r->children[i]);
		/* The survivor first: it needs a slot for good. */
		while (i < SURVIVORS && atomic_load(&r->books->attaches) <= i)
			(void)sched_yield();
	}
	while (base_now() < end)
		act(r);
	atomic_store(&r->books->load.stop, true);
	for (unsigned i = 0; i < CHILDREN; i++) {
		if (r->children[i].stopped)
			go_on(&r->children[i]);
		base_check(base_reap(r->children[i].pid) == 0);
	}
}

static void report(const struct run *r, const char *name, kvshm_owner *owner)
{
	base_expect(kvshm_owner_recover(owner, NULL), 0);
	base_judge(name, BLOCKS);
	(void)printf("%" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64 " times while somebody recovered; %" PRIu64
		     " attaches, %" PRIu64 " detaches, %" PRIu64 " times no slot; %" PRIu64 " recoveries; "
		     "the survivor's steps: %" PRIu64 "\n", r->kills, r->stops, r->stops_recovering, r->books->attaches,
		     r->books->detaches, r->books->no_slot, base_counter(name, "recoveries"),
		     r->books->steps[0]);
	load_report(&r->books->load);
	base_check(r->kills > 0 && r->stops > 0 && base_counter(name, "recoveries") > 0);
}

static void try(enum kvshm_retain retain, const char *what)
{
	struct run r = { .books = base_shared(sizeof(*r.books)), .random = base_stream(retain) };
	struct kvshm_create_options options;
	static struct kvshm_handle ballast[BALLAST];
	const char *name = base_store(what);
	kvshm_owner *owner;
	kvshm_store *store;

	r.books->load.keys = KEYS;
	r.books->load.planes = 2;
	r.books->load.kills = true;
	r.books->load.one_thread = true;
	load_options(&options, BLOCKS, 2, retain);
	options.clients = SLOTS + 1;
	base_expect(kvshm_create(name, &options, &owner), 0);
	base_expect(kvs_segment_open(name, NULL, NULL, &r.map), 0);
	base_expect(kvshm_attach(name, NULL, &store), 0);
	load_ballast(store, ballast);
	(void)printf("%s: %u processes on %u slots\n", what, CHILDREN, SLOTS);
	run(&r, name, 2000);
	drop_ballast(store, ballast);
	base_expect(kvshm_detach(store), 0);
	report(&r, name, owner);
	kvs_map_close(&r.map);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	try(KVSHM_KEEP, "keep");
	try(KVSHM_DROP, "drop");
	return base_pass();
}
