/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * cgroup.h: the memory that this process's control group leaves it. What is taken beyond that is not refused by the
 * kernel: it kills. So it is compared first.
 */
#ifndef KVS_CGROUP_H
#define KVS_CGROUP_H

#include <stdint.h>

/* Would so many bytes more stay within every limit on memory of this process's cgroup and those above it (v2, or v1)?
 * 0, or -ENOMEM with the file of the limit, the limit and the use in the text. Page cache counts as free: the kernel
 * drops it. No cgroups, or none that can be read, is no limit. root: where /proc and the cgroups' file systems are
 * looked for; empty but in tests. */
int kvs_cgroup_room(const char *root, uint64_t bytes, const char *what);

#endif
