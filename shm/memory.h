/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * memory.h: getting the memory of a store that is being made: first reserved, so that no access to it can fail later
 * (SIGBUS); then, if that is asked for, populated: zeroed and present, by several threads.
 */
#ifndef KVS_MEMORY_H
#define KVS_MEMORY_H

#include <stdint.h>

#define KVS_POPULATE_MAX 256 /* threads */

enum kvs_phase { KVS_RESERVING = 0, KVS_POPULATING = 1 };

/* Told now and then how far it is; other than 0 ends it. */
typedef int kvs_progress_fn(int phase, uint64_t done, uint64_t total, void *arg);

/* An open file that nobody else has yet, and where it is mapped. */
struct kvs_memory {
	int file;
	char *base;
	uint64_t mapped; /* bytes */
	uint64_t bytes;	 /* of these, to be got: the rest is reserved as it is needed, on the same node */
	uint64_t page; /* the size of its huge pages; 0 if it has ordinary ones */
};

struct kvs_memory_options {
	const char *dir;
	int32_t node;	  /* KVS_NODE_ANY unless told */
	unsigned threads; /* that populate, the calling one included; 0: reserve only */
	kvs_progress_fn *progress;
	void *arg;
};

/* Gets the memory of all of them. Its threads have ended when it returns, and take no signals. -ECANCELED if progress
 * ended it; -ENOSPC, -ENOMEM and others without the memory. */
int kvs_memory_get(const struct kvs_memory *files, uint32_t count, const struct kvs_memory_options *options);

#endif
