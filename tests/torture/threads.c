/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * threads.c: threads of one attachment work on few keys of a small store, in keep and in drop, with membarrier and
 * with fences; and on a few keys that are let go of as soon as they are taken, so that blocks are used again as soon as
 * can be, while their tickets are still about. What is measured: see load.h (A2, B1 to B3, C1, C2, R01, R05 to R07,
 * R24, R26 to R28). At the end all counts are zero and every block is accounted for. ThreadSanitizer sees this
 * program's races.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "load.h"

#define THREADS 4U
#define BLOCKS 24U
#define KEYS 40U

struct thread {
	struct load_worker worker;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct load_worker *w = arg;

	while (!atomic_load_explicit(&w->books->stop, memory_order_relaxed))
		if (!load_step(w))
			base_fail("the store was destroyed: %s", kvshm_error());
	load_end(w);
	return NULL;
}

static void run(const char *name, kvshm_store *store, struct load_books *books, unsigned blocks, unsigned ms)
{
	struct thread threads[THREADS];
	uint64_t end = base_phase(ms);

	books->planes = LOAD_PLANES;
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].worker = (struct load_worker){
			.store = store, .books = books, .random = base_stream(i), .id = i + 1
		};
		base_check(pthread_create(&threads[i].thread, NULL, work, &threads[i].worker) == 0);
	}
	while (base_now() < end) {
		unsigned recovered;

		base_expect(kvshm_recover(store, &recovered), 0);
		base_check(recovered == 0); /* all are alive */
		base_rest(BASE_MS);
	}
	atomic_store(&books->stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		base_check(pthread_join(threads[i].thread, NULL) == 0);
	load_report(books);
	base_judge(name, blocks);
}

static void try(enum kvshm_retain retain, int fence, unsigned keys, unsigned blocks, const char *what)
{
	struct load_books *books = base_shared(sizeof(*books));
	struct kvshm_create_options options;
	const char *name = base_store(what);
	kvshm_owner *owner;
	kvshm_store *store;
	int rc;

	load_options(&options, blocks, LOAD_PLANES, retain);
	options.fence = fence;
	rc = kvshm_create(name, &options, &owner);
	if (rc == -EOPNOTSUPP) {
		(void)printf("%s: left out: %s\n", what, kvshm_error());
		return;
	}
	base_expect(rc, 0);
	base_expect(kvshm_attach(name, NULL, &store), 0);
	(void)printf("%s: %u threads, %u keys, %u blocks\n", what, THREADS, keys, blocks);
	books->keys = keys;
	books->brief = keys < KEYS;
	run(name, store, books, blocks, 600);
	base_expect(kvshm_detach(store), 0);
	base_judge(name, blocks);
	base_expect(kvshm_destroy(owner), 0);
	base_check(base_files(name) == 0);
}

int main(void)
{
	base_begin();
	try(KVSHM_KEEP, 0, KEYS, BLOCKS, "keep");
	try(KVSHM_DROP, 0, KEYS, BLOCKS, "drop");
	try(KVSHM_KEEP, 1, KEYS, BLOCKS, "keep-fence");
	try(KVSHM_DROP, 1, KEYS, BLOCKS, "drop-fence");
	try(KVSHM_KEEP, 1, 4, 3, "keep-brief");
	try(KVSHM_DROP, 1, 2, BLOCKS, "drop-brief");
	return base_pass();
}
