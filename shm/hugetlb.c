/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hugetlb.c: looking for file systems of huge pages, and counting free pages. See hugetlb.h.
 */
#include "config.h"

#include "hugetlb.h"

#include <linux/magic.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "machine.h"

int kvs_huge_each(int (*fn)(const char *dir, uint64_t page, void *arg), void *arg)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char strings[4 * KVS_PATH_SIZE];
	struct mntent entry;
	struct statfs fs;
	int rc = 0;

	while (mounts && rc == 0 && getmntent_r(mounts, &entry, strings, sizeof(strings)))
		/* statfs() also passes over a mount that another one covers. */
		if (strcmp(entry.mnt_type, "hugetlbfs") == 0 && statfs(entry.mnt_dir, &fs) == 0 &&
		    fs.f_type == HUGETLBFS_MAGIC)
			rc = fn(entry.mnt_dir, (uint64_t)fs.f_bsize, arg);
	if (mounts)
		(void)endmntent(mounts);
	return rc;
}

struct search {
	uint64_t page, device;
	bool refused;
	char *dir;
};

static int try_to_use(const char *dir, uint64_t page, void *arg)
{
	struct search *search = arg;

	if (page != search->page)
		return 0;
	if (access(dir, W_OK | X_OK)) {
		search->refused = true;
		return 0;
	}
	return snprintf(search->dir, KVS_PATH_SIZE, "%s", dir) < KVS_PATH_SIZE;
}

int kvs_huge_choose(char dir[KVS_PATH_SIZE], uint64_t *page)
{
	struct search search = {.dir = dir};
	uint64_t kib;

	*dir = '\0';
	if (!kvs_machine_field("/proc/meminfo", "Hugepagesize", &kib))
		return kvs_fault(ENOENT, "this kernel has no huge pages: make the store without --hugepages");
	search.page = kib * 1024;
	if (kvs_huge_each(try_to_use, &search) == 0 && search.refused)
		return kvs_fault(EACCES, "no permission to make files in the hugetlbfs: mount one with "
					 "-o uid=USER,mode=0700, or run as root");
	if (!*dir)
		return kvs_fault(ENOENT,
				 "no hugetlbfs with pages of %llu KiB is mounted: mount -t hugetlbfs none "
				 "/dev/hugepages",
				 (unsigned long long)kib);
	*page = search.page;
	return 0;
}

static int is_device(const char *dir, uint64_t page, void *arg)
{
	struct search *search = arg;
	struct stat st;

	(void)page;
	return stat(dir, &st) == 0 && st.st_dev == search->device &&
	       snprintf(search->dir, KVS_PATH_SIZE, "%s", dir) < KVS_PATH_SIZE;
}

int kvs_huge_find(uint64_t device, char dir[KVS_PATH_SIZE])
{
	struct search search = {.device = device, .dir = dir};

	*dir = '\0';
	if (kvs_huge_each(is_device, &search))
		return 0;
	return kvs_fault(ENODEV, "the hugetlbfs with the store's planes is not mounted here: mount the one that its "
				 "maker has (in containers, the host's)");
}

static uint64_t pool(uint64_t page, const char *name)
{
	uint64_t number = 0;
	char path[256];

	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		       (unsigned long long)page / 1024, name);
	(void)kvs_machine_number(path, &number);
	return number;
}

int kvs_huge_room(const char *dir, uint64_t page, uint64_t bytes)
{
	uint64_t needed = bytes / page, reserved = pool(page, "resv_hugepages");
	uint64_t surplus = pool(page, "surplus_hugepages"), over = pool(page, "nr_overcommit_hugepages");
	uint64_t available = pool(page, "free_hugepages") + (over > surplus ? over - surplus : 0);
	unsigned long long kib = page / 1024;
	struct statfs fs;

	available -= reserved < available ? reserved : available;
	if (needed > available)
		return kvs_fault(ENOMEM,
				 "the store needs %llu huge pages of %llu KiB, %llu are free: "
				 "echo %llu >/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
				 (unsigned long long)needed, kib, (unsigned long long)available,
				 (unsigned long long)(pool(page, "nr_hugepages") + needed - available), kib);
	if (statfs(dir, &fs) == 0 && fs.f_blocks && needed > (uint64_t)fs.f_bavail)
		return kvs_fault(ENOSPC,
				 "the store needs %llu huge pages of %llu KiB, but %s is mounted with a size that "
				 "leaves %llu: mount -o remount,size=...",
				 (unsigned long long)needed, kib, dir, (unsigned long long)fs.f_bavail);
	return 0;
}
