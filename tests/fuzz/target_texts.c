/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_texts: any text where the library reads what the kernel says of the machine, and any name where it looks for
 * files of stores.
 *
 * Input: texts with a '|' between: this process's cgroup, its mounts, a cgroup's limit, its use and its memory.stat; a
 * file of names and numbers; a list of nodes; a line of locks; the name of a file. The first five are what files of a
 * tree say, as /proc and /sys/fs/cgroup have them.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "fault.h"
#include "files.h"
#include "layout.h"
#include "machine.h"
#include "target.h"
#include "users.h"

enum text { CGROUP, MOUNTS, LIMIT, USED, CACHE, FIELDS, NODES, LOCK, NAME, TEXTS };

static int files[TEXTS];
static char paths[TEXTS][TARGET_PATH];
static char root[256];

/* ---- The tree: links to files in memory ------------------------------------------------------------------ */

static void path_in_tree(char path[512], const char *name)
{
	(void)snprintf(path, 512, "%s%s", root, name);
}

static const char *const directories[] = {"/proc", "/proc/self", "/cg", "/cg/job", "/cg/job/task"};

static const struct {
	const char *name;
	enum text text;
} links[] = {
	{"/proc/self/cgroup", CGROUP},
	{"/proc/self/mounts", MOUNTS},
	{"/cg/memory.max", LIMIT},
	{"/cg/memory.current", USED},
	{"/cg/memory.stat", CACHE},
	{"/cg/memory.limit_in_bytes", LIMIT},
	{"/cg/memory.usage_in_bytes", USED},
	{"/cg/job/task/memory.max", LIMIT},
	{"/cg/job/task/memory.current", USED},
};

enum { DIRECTORIES = sizeof(directories) / sizeof(directories[0]), LINKS = sizeof(links) / sizeof(links[0]) };

static void remove_tree(void)
{
	char path[512];

	for (unsigned i = 0; i < LINKS; i++) {
		path_in_tree(path, links[i].name);
		(void)unlink(path);
	}
	for (unsigned i = DIRECTORIES; i > 0; i--) {
		path_in_tree(path, directories[i - 1]);
		(void)rmdir(path);
	}
	(void)rmdir(root);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];

	(void)argc;
	(void)argv;
	for (unsigned i = 0; i < TEXTS; i++)
		files[i] = target_file(paths[i]);
	(void)snprintf(root, sizeof(root), "%s/fuzz-XXXXXX", tmp ? tmp : "/tmp");
	target_must(mkdtemp(root));
	(void)atexit(remove_tree);
	for (unsigned i = 0; i < DIRECTORIES; i++) {
		path_in_tree(path, directories[i]);
		target_must(mkdir(path, 0700) == 0);
	}
	for (unsigned i = 0; i < LINKS; i++) {
		path_in_tree(path, links[i].name);
		target_must(symlink(paths[links[i].text], path) == 0);
	}
	return 0;
}

/* ---- Reading --------------------------------------------------------------------------------------------- */

static void ask_for_room(void)
{
	static const uint64_t sizes[] = {0, 4096, UINT64_C(1) << 40, UINT64_MAX};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int rc = kvs_cgroup_room(root, sizes[i], "the store");

		target_must(rc == 0 || (rc == -ENOMEM && strstr(kvs_fault_text(), "cgroup")));
	}
}

static void ask_for_numbers(void)
{
	static const char *const words[] = {"MemFree", "Active(file)", "inactive_file"};
	uint64_t number;

	(void)kvs_machine_number(paths[FIELDS], &number);
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		(void)kvs_machine_field(paths[FIELDS], words[i], &number);
}

static void judge_name(const char *name)
{
	char path[KVS_PATH_SIZE];
	size_t stem = SIZE_MAX;

	if (kvs_files_check_name(name) == 0) {
		target_must(strlen(name) <= KVS_NAME_MAX && !strchr(name, '/') && *name != '.');
		target_must(kvs_files_path(path, "/dev/shm", name, 31) == 0);
	}
	if (kvs_files_plane_name(name, &stem))
		target_must(stem < strlen(name) && name[stem] == '.' && name[stem + 1] == 'p');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = target_text(data, size), *next = all;
	const char *texts[TEXTS];
	long byte;

	for (unsigned i = 0; i < TEXTS; i++) {
		texts[i] = next ? strsep(&next, "|") : "";
		target_fill(files[i], texts[i], strlen(texts[i]));
	}
	ask_for_room();
	ask_for_numbers();
	for (unsigned long node = 0; node < 70; node += 23)
		(void)kvs_machine_in_list(texts[NODES], node);
	byte = kvs_users_locked_byte(texts[LOCK]);
	target_must(byte == -1 || (byte >= 0 && strncmp(texts[LOCK], "lock:", 5) == 0));
	judge_name(texts[NAME]);
	free(all);
	return 0;
}
