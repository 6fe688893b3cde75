/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * processes.c: what threads.c does, over processes: each attaches for itself, so that holds lie in several rows and
 * lookups meet removers of other processes. The invariants are measured in memory that all share.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "load.h"

#define PROCESSES 4U
#define BLOCKS 24U
#define KEYS 40U
#define IDLERS (64U - PROCESSES / 2)

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
static void crowd(const char *name, kvshm **idle, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		base_expect(kvshm_attach(name, NULL, &idle[i]), 0);
}

static void run(const char *name, unsigned idlers, unsigned ms)
{
	struct load_books *books = base_shared(sizeof(*books));
	_Atomic unsigned *attached = base_shared(sizeof(*attached));
	kvshm *idle[IDLERS];
	struct job jobs[PROCESSES];
	pid_t pids[PROCESSES];
	uint64_t end = base_phase(ms);

	books->keys = KEYS;
	books->planes = 2;
	books->one_thread = true;
	for (unsigned i = 0; i < PROCESSES; i++) {
		if (i == PROCESSES / 2)
			crowd(name, idle, idlers);
		jobs[i] = (struct job){ .books = books, .attached = attached, .name = name, .number = i };
		pids[i] = base_fork(work, &jobs[i]);
		while (atomic_load(attached) <= i)
			(void)sched_yield();
	}
	while (base_now() < end)
		base_rest(BASE_MS);
	atomic_store(&books->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++)
		base_check(base_reap(pids[i]) == 0);
	for (unsigned i = 0; i < idlers; i++)
		base_expect(kvshm_detach(idle[i]), 0);
	load_report(books);
	base_judge(name, BLOCKS);
}

static void try(enum kvshm_retain retain, int fence, unsigned idlers, const char *what)
{
	struct kvshm_create_options options;
	const char *name = base_store(what);
	kvshm_owner *owner;
	int rc;

	load_options(&options, BLOCKS, 2, retain);
	options.fence = fence;
	options.clients = 64 + idlers;
	rc = kvshm_create(name, &options, &owner);
	if (rc == -EOPNOTSUPP) {
		(void)printf("%s: left out: %s\n", what, kvshm_error());
		return;
	}
	base_expect(rc, 0);
	(void)printf("%s: %u processes, %u keys, %u blocks\n", what, PROCESSES, KEYS, BLOCKS);
	run(name, idlers, 800);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	try(KVSHM_KEEP, 0, 0, "keep");
	try(KVSHM_DROP, 0, 0, "drop");
	try(KVSHM_KEEP, 1, 0, "keep-fence");
	try(KVSHM_DROP, 0, IDLERS, "drop-crowd");
	return base_pass();
}
