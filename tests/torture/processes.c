/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * processes.c: what threads.c does, over processes: each attaches for itself, so that holds lie in several rows and
 * lookups meet removers of other processes. The invariants are measured in memory that all share. In the brief trials
 * nothing is held longer than it takes to verify it, so that holds are taken where others look whether there are any.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "load.h"

#define PROCESSES 4U
#define IDLERS (64U - PROCESSES / 2)

static const struct trial {
	const char *what;
	enum kvshm_retain retain;
	int fence;
	unsigned keys, blocks;
	bool brief;
	unsigned idlers; /* attachments that do nothing */
} trials[] = {
	{ "keep", KVSHM_KEEP, 0, 40, 24, false, 0 },
	{ "drop", KVSHM_DROP, 0, 40, 24, false, 0 },
	{ "keep-fence", KVSHM_KEEP, 1, 40, 24, false, 0 },
	{ "drop-crowd", KVSHM_DROP, 0, 40, 24, false, IDLERS },
	{ "keep-brief", KVSHM_KEEP, 1, 4, 3, true, 0 },
	{ "drop-brief", KVSHM_DROP, 1, 2, 8, true, 0 },
};

struct job {
	struct load_books *books;
	_Atomic unsigned *attached;
	const char *name;
	unsigned number;
};

static void work(void *arg)
{
	const struct job *job = arg;
	struct load_worker w = {
		.books = job->books, .random = base_stream(100 + job->number), .id = job->number + 1
	};

	base_expect(kvshm_attach(job->name, NULL, &w.store), 0);
	atomic_fetch_add(job->attached, 1);
	while (!atomic_load_explicit(&w.books->stop, memory_order_relaxed))
		if (!load_step(&w))
			base_fail("the store was destroyed: %s", kvshm_error());
	load_end(&w);
	base_expect(kvshm_detach(w.store), 0);
}

/* Attaches so many times that clients that attach afterwards share bits of the holders with those before. */
static void crowd(const char *name, kvshm_store **idle, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		base_expect(kvshm_attach(name, NULL, &idle[i]), 0);
}

static void run(const struct trial *trial, const char *name)
{
	struct load_books *books = base_shared(sizeof(*books));
	_Atomic unsigned *attached = base_shared(sizeof(*attached));
	kvshm_store *idle[IDLERS];
	struct job jobs[PROCESSES];
	pid_t pids[PROCESSES];
	uint64_t end;

	books->keys = trial->keys;
	books->planes = LOAD_PLANES;
	books->one_thread = true;
	books->brief = trial->brief;
	for (unsigned i = 0; i < PROCESSES; i++) {
		if (i == PROCESSES / 2)
			crowd(name, idle, trial->idlers);
		jobs[i] = (struct job){ .books = books, .attached = attached, .name = name, .number = i };
		pids[i] = base_fork(work, &jobs[i]);
		while (atomic_load(attached) <= i)
			(void)sched_yield();
	}
	end = base_phase(600);
	while (base_now() < end)
		base_rest(BASE_MS);
	atomic_store(&books->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++)
		base_check(base_reap(pids[i]) == 0);
	for (unsigned i = 0; i < trial->idlers; i++)
		base_expect(kvshm_detach(idle[i]), 0);
	load_report(books);
	base_judge(name, trial->blocks);
}

static void try(const struct trial *trial)
{
	struct kvshm_create_options options;
	const char *name = base_store(trial->what);
	kvshm_owner *owner;
	int rc;

	load_options(&options, trial->blocks, LOAD_PLANES, trial->retain);
	options.fence = trial->fence;
	options.clients = 64 + trial->idlers;
	rc = kvshm_create(name, &options, &owner);
	if (rc == -EOPNOTSUPP) {
		(void)printf("%s: left out: %s\n", trial->what, kvshm_error());
		return;
	}
	base_expect(rc, 0);
	(void)printf("%s: %u processes, %u keys, %u blocks\n", trial->what, PROCESSES, trial->keys, trial->blocks);
	run(trial, name);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	for (unsigned i = 0; i < sizeof(trials) / sizeof(trials[0]); i++)
		try(&trials[i]);
	return base_pass();
}
