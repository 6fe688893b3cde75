/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check.h: proves from a segment alone that every invariant holds. Guarantees: a finding is something that no process
 * at work can explain, be it stopped or dead at any instruction: it must have been seen, unchanged, in every one of
 * several looks. Nothing is mapped or written.
 */
#ifndef KVS_CHECK_H
#define KVS_CHECK_H

#include "inspect.h"

/* What can be found: see findings.def. */
enum kvs_finding_kind {
#define KVS_FINDING(name, lost, text) KVS_FINDING_##name,
#include "findings.def"
#undef KVS_FINDING
	KVS_FINDINGS
};

struct kvs_check_result {
	uint64_t unsound, pending, leaked;
	bool quiescent;
};

/* Calls fn, which may be NULL, with each finding's kind and a line that tells it. */
int kvs_check(struct kvs_view *view, void (*fn)(enum kvs_finding_kind kind, const char *text, void *arg), void *arg,
	      struct kvs_check_result *result);

/* Likewise of the files of its planes (those in a hugetlbfs only where that is mounted); returns how many are wrong:
 * gone, another's, or not as large as they were made. A store that has lost its name, or is being destroyed, has none.
 * name is the store's. */
uint64_t kvs_check_planes(struct kvs_view *view, const char *name, void (*fn)(const char *finding, void *arg),
			  void *arg);

#endif
