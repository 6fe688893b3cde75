/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * numa.c: the one system call, and what /sys says of a node. See numa.h. (libnuma would add a dependency for it.)
 */
#include "config.h"

#include "numa.h"

#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "machine.h"

#define NODES "/sys/devices/system/node"

/* Reads the nodes that have memory, a list such as "0-1,3". */
static bool read_nodes(char *list, size_t size)
{
	FILE *file = fopen(NODES "/has_memory", "re");
	bool found = file && fgets(list, (int)size, file);

	if (file)
		(void)fclose(file);
	if (found)
		list[strcspn(list, "\n")] = '\0';
	return found;
}

/* Bytes of the node that are free, or page cache that the kernel can drop. */
static uint64_t free_bytes(int32_t node, uint64_t page)
{
	static const char *const parts[] = {"MemFree", "Active(file)", "Inactive(file)", "SReclaimable"};
	uint64_t sum = 0, number;
	char path[256];

	if (page) {
		(void)snprintf(path, sizeof(path), NODES "/node%d/hugepages/hugepages-%llukB/free_hugepages", node,
			       (unsigned long long)page / 1024);
		return kvs_machine_number(path, &number) ? number * page : 0;
	}
	(void)snprintf(path, sizeof(path), NODES "/node%d/meminfo", node);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (kvs_machine_field(path, parts[i], &number))
			sum += number * 1024;
	return sum;
}

int kvs_numa_room(int32_t node, uint64_t bytes, uint64_t page, const char *what)
{
	char list[512];
	uint64_t room;

	if (node == KVS_NODE_ANY)
		return 0;
	if (!read_nodes(list, sizeof(list)))
		return kvs_fault(ENODEV, "this kernel knows no NUMA nodes: make the store without --numa");
	if (node < 0 || !kvs_machine_in_list(list, (unsigned long)node))
		return kvs_fault(ENODEV, "there is no NUMA node %d with memory: there are %s", node, list);
	room = free_bytes(node, page);
	if (bytes <= room)
		return 0;
	return kvs_fault(ENOMEM, "%s needs %llu bytes of NUMA node %d, which has %llu %s: make the store smaller", what,
			 (unsigned long long)bytes, node, (unsigned long long)room,
			 page ? "in free huge pages" : "available");
}

int kvs_numa_bind(char *base, uint64_t size, int32_t node)
{
	const unsigned bits = 8 * sizeof(unsigned long);
	unsigned long mask[KVS_NODES_MAX / (8 * sizeof(unsigned long))] = {0};

	if (node == KVS_NODE_ANY)
		return 0;
	mask[(unsigned)node / bits] = 1UL << (unsigned)node % bits;
	if (syscall(SYS_mbind, base, size, MPOL_BIND, mask, (unsigned long)KVS_NODES_MAX + 1, 0) == 0)
		return 0;
	return kvs_fault(errno, "cannot bind the store to NUMA node %d: %s%s", node, strerror(errno),
			 errno == EPERM	   ? " (containers: allow mbind(2), or --cap-add SYS_NICE)"
			 : errno == EINVAL ? " (does the cpuset of this process have that node?)"
					   : "");
}
