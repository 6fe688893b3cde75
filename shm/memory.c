/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * memory.c: reserving and populating. See memory.h.
 *
 * tmpfs: fallocate(2) takes the pages, and populating zeroes them and puts them into the page tables. hugetlbfs:
 * mapping the file has reserved its pages already; fallocate() would zero them, one thread for all, and ignore the
 * mapping's NUMA policy. So these files are populated first, where the kernel can say that it failed
 * (MADV_POPULATE_WRITE); fallocate() finds nothing left to do, or does it all on older kernels.
 *
 * The calling thread works as the others do, in pieces, and tells the progress in between: nothing has to be waited
 * for, and a wish to end is heard at the next piece.
 */
#include "config.h"

#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "numa.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PIECE (UINT64_C(32) << 20) /* some milliseconds of work; a huge page where that is more */

struct work {
	const struct kvs_memory *files;
	uint32_t count;
	const struct kvs_memory_options *options;
	uint64_t total;		 /* bytes, over all files */
	_Atomic uint64_t next;	 /* the next piece's number */
	_Atomic uint64_t done;	 /* bytes */
	_Atomic int error;	 /* the first one; also ends the work */
	pthread_t caller;
};

static bool tell(const struct kvs_memory_options *o, enum kvs_phase phase, uint64_t done, uint64_t total)
{
	return !o->progress || o->progress(phase, done, total, o->arg) == 0;
}

static int was_cancelled(void)
{
	return kvs_fault(ECANCELED, "making the store was called off by the caller");
}

static int no_memory(const struct kvs_memory_options *o, int error, uint64_t bytes)
{
	if (error == EOPNOTSUPP)
		return kvs_fault(EOPNOTSUPP, "%s can't reserve memory (fallocate): use a tmpfs for stores", o->dir);
	return kvs_fault(error, "cannot reserve %llu bytes in %s: %s; make the store smaller",
			 (unsigned long long)bytes, o->dir, strerror(error));
}

static uint64_t piece_of(const struct kvs_memory *file)
{
	return file->page > PIECE ? file->page : PIECE;
}

static int reserve(const struct kvs_memory *file, const struct kvs_memory_options *o, uint64_t *done, uint64_t total)
{
	const uint64_t piece = piece_of(file);

	for (uint64_t at = 0; at < file->bytes; at += piece) {
		uint64_t bytes = file->bytes - at < piece ? file->bytes - at : piece;
		int error = kvs_files_reserve(file->file, at, bytes);

		if (error)
			return no_memory(o, error, file->bytes);
		*done += bytes;
		if (!tell(o, KVS_RESERVING, *done, total))
			return was_cancelled();
	}
	return 0;
}

/* Kernels without MADV_POPULATE_WRITE: a write to each page, of what is there. Reserved memory can't fail. */
static void touch(char *base, uint64_t bytes)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t at = 0; at < bytes; at += page) {
		volatile char *byte = base + at;
		char kept = *byte;

		*byte = kept;
	}
}

static int populate_piece(const struct kvs_memory *file, uint64_t at, uint64_t bytes)
{
	if (madvise(file->base + at, bytes, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return errno;
	if (!file->page)
		touch(file->base + at, bytes);
	return file->page ? EINVAL : 0;
}

static uint64_t pieces_of(const struct kvs_memory *file)
{
	return (file->bytes + piece_of(file) - 1) / piece_of(file);
}

/* One thread's part: takes pieces until there are none. */
static void *work(void *arg)
{
	struct work *w = arg;
	bool caller = pthread_equal(pthread_self(), w->caller);

	while (!atomic_load(&w->error)) {
		uint64_t number = atomic_fetch_add(&w->next, 1), at, bytes;
		const struct kvs_memory *file = w->files;
		int error, none = 0;

		while (file < w->files + w->count && number >= pieces_of(file))
			number -= pieces_of(file++);
		if (file == w->files + w->count)
			break;
		at = number * piece_of(file);
		bytes = file->bytes - at < piece_of(file) ? file->bytes - at : piece_of(file);
		error = populate_piece(file, at, bytes);
		bytes += atomic_fetch_add(&w->done, bytes);
		if (!error && caller && !tell(w->options, KVS_POPULATING, bytes, w->total))
			error = ECANCELED;
		if (error)
			(void)atomic_compare_exchange_strong(&w->error, &none, error);
	}
	return NULL;
}

/* Runs work() in so many threads, this one included; with fewer where the system has no more. */
static void run(struct work *w, unsigned threads)
{
	pthread_t helpers[KVS_POPULATE_MAX];
	sigset_t all, before;
	unsigned started = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the helpers inherit it: signals stay the caller's */
	while (started + 1 < threads && started < KVS_POPULATE_MAX &&
	       pthread_create(&helpers[started], NULL, work, w) == 0)
		started++;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)work(w);
	while (started)
		(void)pthread_join(helpers[--started], NULL);
}

/* Populates files; 0 or an errno, which is not negative. */
static int populate(const struct kvs_memory *files, uint32_t count, const struct kvs_memory_options *o)
{
	struct work w = {.files = files, .count = count, .options = o, .caller = pthread_self()};
	unsigned threads = o->threads ? o->threads : 1;
	uint64_t pieces = 0;

	for (uint32_t i = 0; i < count; i++) {
		pieces += pieces_of(&files[i]);
		w.total += files[i].bytes;
	}
	run(&w, threads < pieces ? threads : (unsigned)pieces);
	return atomic_load(&w.error);
}

/* Files of huge pages, which stand together. */
static int get_huge(const struct kvs_memory *files, uint32_t count, const struct kvs_memory_options *o)
{
	int error = populate(files, count, o);

	if (error == ECANCELED)
		return was_cancelled();
	if (error == EINVAL && o->node == KVS_NODE_ANY)
		return 0; /* an old kernel: fallocate() will */
	if (error == EINVAL)
		return kvs_fault(EOPNOTSUPP, "huge pages of one NUMA node need Linux 5.14 (MADV_POPULATE_WRITE)");
	if (error)
		return kvs_fault(ENOMEM, "cannot get %llu bytes of huge pages in %s: %s (is there a lower limit for "
					 "this cgroup, hugetlb.*, or this NUMA node?)",
				 (unsigned long long)(count * files->bytes), o->dir, strerror(error));
	return 0;
}

int kvs_memory_get(const struct kvs_memory *files, uint32_t count, const struct kvs_memory_options *options)
{
	uint64_t done = 0, total = 0;
	uint32_t huge = 0;
	int rc = 0, error;

	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		rc = kvs_numa_bind(files[i].base, files[i].mapped, options->node);
		total += files[i].bytes;
		huge += files[i].page != 0;
	}
	if (rc == 0 && huge)
		rc = get_huge(files, huge, options);
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = reserve(&files[i], options, &done, total);
	if (rc || !options->threads)
		return rc;
	error = populate(files + huge, count - huge, options);
	if (error == ECANCELED)
		return was_cancelled();
	return error ? kvs_fault(error, "cannot populate the store's memory: %s", strerror(error)) : 0;
}
