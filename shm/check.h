/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check.h: proves from a segment alone that every invariant holds. Guarantees: a finding is something that no process
 * at work can explain: of a store with living clients it must have been seen, unchanged, in every one of several looks.
 */
#ifndef KVS_CHECK_H
#define KVS_CHECK_H

#include "inspect.h"

struct kvs_check_result {
	uint64_t unsound, pending, leaked;
	bool quiescent;
};

/* Calls fn, which may be NULL, with a line for each finding. */
int kvs_check(struct kvs_view *view, void (*fn)(const char *finding, void *arg), void *arg,
	      struct kvs_check_result *result);

/* Likewise of the files of its planes (those in a hugetlbfs only where that is mounted); returns how many are wrong:
 * gone, another's, or not as large as they were made. A store that has lost its name, or is being destroyed, has none.
 * name is the store's. */
uint64_t kvs_check_planes(struct kvs_view *view, const char *name, void (*fn)(const char *finding, void *arg),
			  void *arg);

#endif
