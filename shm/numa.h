/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * numa.h: memory of one NUMA node. The policy is the file's, not the process's: it holds for all who map the file, and
 * for all of its memory that is allocated later.
 */
#ifndef KVS_NUMA_H
#define KVS_NUMA_H

#include <stdint.h>

#define KVS_NODE_ANY (-1)
#define KVS_NODES_MAX 1024

/* Is it a node with memory, and has it so many bytes (in pages of that size; 0: ordinary ones)? 0, -ENODEV, -ENOMEM.
 * More than it has would not be refused by the kernel, but kill someone. */
int kvs_numa_room(int32_t node, uint64_t bytes, uint64_t page, const char *what);

/* Binds a shared mapping of a file, all of it, to the node. */
int kvs_numa_bind(char *base, uint64_t size, int32_t node);

#endif
