/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * memory: the memory of a new store: populated or only reserved, how far it is, called off, bound to a NUMA node, and
 * refused by the limit of a control group before anything is reserved.
 */
#include "config.h"

#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#define BLOCKS (48 << 20 >> 12) /* planes of 48 MiB: two pieces of work each */

/* How many pages of a plane have bytes that were zeroed or written: reserved ones do not count. */
static unsigned present(const kvshm_store *store, unsigned plane)
{
	static unsigned char pages[BLOCKS];
	unsigned count = 0;

	ck_assert_int_eq(mincore(store->map.planes[plane], (size_t)BLOCKS * 4096, pages), 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		count += pages[i] & 1;
	return count;
}

/* How many threads this process has. One that is emulated has more of them than the test knows of: so tests compare
 * with how many there were before. */
static unsigned threads_now(void)
{
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");
	unsigned threads = 0;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "Threads:", 8) == 0)
			threads = (unsigned)strtoul(line + 8, NULL, 10);
	(void)fclose(file);
	return threads;
}

/* Does MADV_POPULATE_WRITE give memory, where it is taken? A kernel's does; qemu-user takes it and does nothing. */
static bool populates(void)
{
	unsigned char there = 0;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc;

	ck_assert_ptr_ne(page, MAP_FAILED);
	rc = madvise(page, 4096, MADV_POPULATE_WRITE);
	ck_assert_int_eq(mincore(page, 4096, &there), 0);
	(void)munmap(page, 4096);
	return rc || there & 1;
}

struct told {
	unsigned calls, most_threads, call_off_at;
	enum kvshm_phase phase;
	uint64_t done, total;
	pthread_t caller;
};

static int note(enum kvshm_phase phase, uint64_t done, uint64_t total, void *arg)
{
	struct told *told = arg;
	unsigned threads = threads_now();

	ck_assert(pthread_equal(pthread_self(), told->caller));
	ck_assert_msg(phase > told->phase || done >= told->done, "the progress goes back");
	ck_assert_uint_le(done, total);
	if (threads > told->most_threads)
		told->most_threads = threads;
	told->phase = phase;
	told->done = done;
	told->total = total;
	return ++told->calls == told->call_off_at;
}

static struct kvshm_create_options told_options(struct told *told)
{
	struct kvshm_create_options options = unit_options(BLOCKS);

	*told = (struct told){.caller = pthread_self()};
	options.planes = 3;
	options.populate = 2;
	options.progress = note;
	options.progress_arg = told;
	return options;
}

START_TEST(memory_is_populated_by_as_many_threads_as_told)
{
	static const unsigned threads[] = {0, 1, 3, 256};
	const unsigned before = threads_now();

	if (!populates()) {
		unit_skip("memory_is_populated_by_as_many_threads_as_told",
			  "this kernel, or what emulates it, takes MADV_POPULATE_WRITE and does not populate");
		return;
	}
	for (unsigned i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		struct told told;
		struct kvshm_create_options options = told_options(&told);
		kvshm_store *store;

		options.planes = 2;
		options.populate = threads[i];
		store = unit_make(&options);
		for (unsigned plane = 0; plane < 2; plane++)
			ck_assert_uint_eq(present(store, plane), threads[i] ? BLOCKS : 0);
		ck_assert_uint_le(told.most_threads, before + (threads[i] ? threads[i] - 1 : 0));
		ck_assert_uint_eq(threads_now(), before);
		unit_detach(store);
		ck_rc(kvshm_destroy(unit_owner), 0);
	}
	unit_owner = NULL;
}
END_TEST

START_TEST(progress_is_told_in_the_calling_thread_up_to_the_end)
{
	struct told told;
	struct kvshm_create_options options = told_options(&told);

	options.populate = 1;
	(void)unit_make(&options);
	ck_assert_int_eq(told.phase, KVSHM_POPULATING);
	ck_assert_uint_eq(told.done, told.total);
	ck_assert_uint_ge(told.total, 3 * (uint64_t)BLOCKS * 4096);
	ck_assert_uint_ge(told.calls, 14); /* 3 planes of 2 pieces and the segment, twice */
}
END_TEST

START_TEST(a_store_that_is_called_off_at_any_moment_leaves_nothing)
{
	struct told told;
	struct kvshm_create_options options = told_options(&told);
	kvshm_owner *owner;
	struct stat st;
	const unsigned before = threads_now();
	unsigned at = 1;

	for (;; at++) {
		int rc;

		options = told_options(&told);
		told.call_off_at = at;
		rc = kvshm_create(unit_name(), &options, &owner);
		if (rc == 0)
			break;
		ck_assert_int_eq(rc, -ECANCELED);
		ck_assert_uint_eq(told.calls, at); /* nobody goes on asking */
		ck_assert_int_ne(lstat(unit_path(-1), &st), 0);
		ck_assert_int_ne(lstat(unit_path(0), &st), 0);
		ck_assert_uint_eq(threads_now(), before);
	}
	ck_assert_uint_gt(at, populates() ? 8 : 7); /* the files are reserved in 7 steps, and then populated */
	ck_rc(kvshm_destroy(owner), 0);
}
END_TEST

/* Does a thread of this process block a signal? One that has ended by now does. */
static bool blocks(const char *thread, int number)
{
	char path[300], line[128];
	bool blocked = true;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", thread);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "SigBlk:", 7) == 0)
			blocked = strtoull(line + 7, NULL, 16) >> (number - 1) & 1;
	if (file)
		(void)fclose(file);
	return blocked;
}

/* Looks at the helpers: how many were seen, in *arg. */
static int look_at_threads(enum kvshm_phase phase, uint64_t done, uint64_t total, void *arg)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned *seen = arg;

	(void)phase;
	(void)done;
	(void)total;
	ck_assert_ptr_nonnull(tasks);
	for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) {
		if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == getpid())
			continue;
		ck_assert(blocks(entry->d_name, SIGUSR1) && blocks(entry->d_name, SIGTERM));
		++*seen;
	}
	(void)closedir(tasks);
	return 0;
}

START_TEST(signals_stay_the_callers)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	char self[32];
	unsigned seen = 0;

	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	options.populate = 4;
	options.planes = 8;
	options.progress = look_at_threads;
	options.progress_arg = &seen;
	(void)unit_make(&options);
	ck_assert_uint_gt(seen, 0);
	ck_assert(!blocks(self, SIGUSR1));
}
END_TEST

/* What /proc says of the policy of this process's mapping at an address. */
static void policy_at(const void *address, char policy[256])
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[512];

	policy[0] = '\0';
	while (file && fgets(line, sizeof(line), file))
		if (strtoull(line, NULL, 16) == (uintptr_t)address)
			(void)snprintf(policy, 256, "%.255s", line);
	if (file)
		(void)fclose(file);
}

START_TEST(all_memory_is_bound_to_the_node_for_all_who_attach)
{
	struct kvshm_create_options options = unit_options(64);
	char policy[256];
	kvshm_store *store;
	int mode = -1;

	options.numa_node = 0;
	options.planes = 2;
	if (access("/proc/self/numa_maps", R_OK) || access("/sys/devices/system/node/node0", R_OK) ||
	    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0)) {
		unit_skip("all_memory_is_bound_to_the_node_for_all_who_attach",
			  "this kernel has no NUMA, or allows no policy here");
		return;
	}
	store = unit_make(&options);
	unit_put(store, 1);
	for (unsigned plane = 0; plane < 2; plane++) {
		policy_at(store->map.planes[plane], policy);
		ck_assert_msg(strstr(policy, " bind:0 "), "plane %u: %s", plane, policy);
	}
	policy_at(store->map.head, policy);
	ck_assert_msg(strstr(policy, " bind:0 "), "segment: %s", policy);
	/* A client's row is reserved as it attaches. */
	ck_assert_int_eq(syscall(SYS_get_mempolicy, &mode, NULL, 0, kvs_row(&store->map, 7), MPOL_F_ADDR), 0);
	ck_assert_int_eq(mode, MPOL_BIND);
}
END_TEST

START_TEST(a_node_that_is_not_there_or_has_too_little_is_a_clear_error)
{
	struct kvshm_create_options options = unit_options(64);
	kvshm_owner *owner;

	options.numa_node = 1023;
	ck_rc(kvshm_create(unit_name(), &options, &owner), -ENODEV);
	options.numa_node = 1024;
	ck_rc(kvshm_create(unit_name(), &options, &owner), -EINVAL);
	options.numa_node = -2;
	ck_rc(kvshm_create(unit_name(), &options, &owner), -EINVAL);
}
END_TEST

/* ---- Control groups: a tree of files as /proc and /sys/fs/cgroup have them ---------------------------------- */

static const char *tree(void)
{
	static char root[256];
	const char *tmp = getenv("TMPDIR");

	if (!*root) {
		(void)snprintf(root, sizeof(root), "%s/cgroup-XXXXXX", tmp ? tmp : "/tmp");
		ck_assert_ptr_nonnull(mkdtemp(root));
	}
	return root;
}

static void put(const char *name, const char *text)
{
	char path[512], *slash;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s%s", tree(), name);
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	(void)fputs(text, file);
	(void)fclose(file);
}

static void room(uint64_t bytes, const char *refusing_file)
{
	int rc = kvs_cgroup_room(tree(), bytes, "the store");

	ck_assert_msg(rc == (refusing_file ? -ENOMEM : 0), "%llu bytes: %d", (unsigned long long)bytes, rc);
	if (refusing_file)
		ck_assert_msg(strstr(kvs_fault_text(), refusing_file), "no %s in: %s", refusing_file,
			      kvs_fault_text());
}

START_TEST(a_limit_of_cgroup_v2_is_found_wherever_up_the_tree)
{
	put("/proc/self/cgroup", "0::/job.slice/task\n");
	put("/proc/self/mounts", "proc /proc proc rw 0 0\ncgroup2 /cg\\0402 cgroup2 rw,nsdelegate 0 0\n");
	put("/cg 2/job.slice/task/memory.max", "max\n");
	put("/cg 2/job.slice/task/memory.current", "5000\n");
	room(UINT64_MAX / 2, NULL);
	put("/cg 2/job.slice/memory.max", "1000000\n");
	put("/cg 2/job.slice/memory.current", "400000\n");
	room(600000, NULL);
	room(600001, "/cg 2/job.slice/memory.max");
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "1000000"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "400000"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "600001"));
	put("/cg 2/job.slice/memory.stat", "anon 1\nfile 9\ninactive_file 100000\nactive_file 50000\n");
	room(750000, NULL); /* page cache is dropped */
	room(750001, "/cg 2/job.slice/memory.max");
	put("/cg 2/job.slice/task/memory.max", "10000\n");
	room(5000, NULL);
	room(5001, "/cg 2/job.slice/task/memory.max");
}
END_TEST

START_TEST(a_limit_of_cgroup_v1_is_found_in_the_hierarchy_of_memory)
{
	put("/proc/self/cgroup", "9:name=systemd:/x\n5:memory_x,cpu:/x\n4:cpu,memory:/docker/1a2b\n0::/\n");
	put("/proc/self/mounts", "cgroup /cpu cgroup rw,cpuacct 0 0\ncgroup /mem cgroup rw,relatime,cpu,memory 0 0\n");
	put("/mem/memory.limit_in_bytes", "9223372036854771712\n");
	put("/mem/memory.usage_in_bytes", "1000\n");
	room(UINT64_C(1) << 40, NULL);
	/* In a container: the mount shows only the group itself. */
	put("/mem/memory.limit_in_bytes", "2000\n");
	room(1000, NULL);
	room(1001, "/mem/memory.limit_in_bytes");
	put("/mem/1a2b/memory.limit_in_bytes", "1200\n"); /* or what is below one above it */
	put("/mem/1a2b/memory.usage_in_bytes", "900\n");
	room(300, NULL);
	room(301, "/mem/1a2b/memory.limit_in_bytes");
	put("/mem/docker/1a2b/memory.limit_in_bytes", "1500\n");
	put("/mem/docker/1a2b/memory.usage_in_bytes", "700\n");
	put("/mem/docker/1a2b/memory.stat", "inactive_file 600\ntotal_inactive_file 200\n");
	room(1000, NULL);
	room(1001, "/mem/docker/1a2b/memory.limit_in_bytes");
}
END_TEST

START_TEST(without_cgroups_or_with_broken_ones_there_is_no_limit)
{
	room(UINT64_MAX, NULL);
	put("/proc/self/cgroup", "nonsense\n\n0::\n::\n0::/a/../..\n");
	room(UINT64_MAX, NULL);
	put("/proc/self/mounts", "cgroup2 /none cgroup2 rw 0 0\n");
	room(UINT64_MAX, NULL);
	put("/none/memory.max", "\n");
	put("/none/memory.current", "x\n");
	room(UINT64_MAX, NULL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		memory_is_populated_by_as_many_threads_as_told,
		progress_is_told_in_the_calling_thread_up_to_the_end,
		a_store_that_is_called_off_at_any_moment_leaves_nothing,
		signals_stay_the_callers,
		all_memory_is_bound_to_the_node_for_all_who_attach,
		a_node_that_is_not_there_or_has_too_little_is_a_clear_error,
		a_limit_of_cgroup_v2_is_found_wherever_up_the_tree,
		a_limit_of_cgroup_v1_is_found_in_the_hierarchy_of_memory,
		without_cgroups_or_with_broken_ones_there_is_no_limit,
	};

	return unit_run("memory", tests, sizeof(tests) / sizeof(tests[0]));
}
