/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * cgroup.c: finding the cgroup's directory and walking up from it. See cgroup.h.
 *
 * /proc/self/cgroup gives a path below the hierarchy's root, of which a container may see only a part: its mount point
 * may be that path already. So the longest tail of the path that exists below the mount point is taken.
 */
#include "config.h"

#include "cgroup.h"

#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fault.h"
#include "files.h"
#include "machine.h"

/* The two kinds of hierarchy: how to recognise them, and what their files are called. */
struct version {
	const char *type;	  /* of the file system */
	const char *option;	  /* of its mount, and its controller; NULL: there is one hierarchy for all */
	const char *limit, *used; /* files of a cgroup */
	const char *cache[2];	  /* of its memory.stat: page cache that the kernel can drop */
};

static const struct version versions[] = {
	{.type = "cgroup2",
	 .limit = "memory.max",
	 .used = "memory.current",
	 .cache = {"inactive_file", "active_file"}},
	{.type = "cgroup",
	 .option = "memory",
	 .limit = "memory.limit_in_bytes",
	 .used = "memory.usage_in_bytes",
	 .cache = {"total_inactive_file", "total_active_file"}},
};

/* A hierarchy's mount point, and a cgroup's path below it. */
struct place {
	char mount[KVS_PATH_SIZE], path[KVS_PATH_SIZE];
};

static bool find_mount(const char *root, const struct version *version, char mount[KVS_PATH_SIZE])
{
	char path[KVS_PATH_SIZE], strings[4 * KVS_PATH_SIZE];
	struct mntent entry;
	bool found = false;
	FILE *mounts;

	(void)snprintf(path, sizeof(path), "%s/proc/self/mounts", root);
	mounts = setmntent(path, "re");
	while (mounts && !found && getmntent_r(mounts, &entry, strings, sizeof(strings)))
		found = strcmp(entry.mnt_type, version->type) == 0 &&
			(!version->option || hasmntopt(&entry, version->option));
	if (mounts)
		(void)endmntent(mounts);
	return found && snprintf(mount, KVS_PATH_SIZE, "%s%s", root, entry.mnt_dir) < KVS_PATH_SIZE;
}

/* Is a word in the list of controllers, "a,b,c", that ends there? */
static bool in_list(const char *list, const char *end, const char *word)
{
	size_t length = strlen(word);

	while (list < end) {
		size_t part = strcspn(list, ",:");

		if (part == length && strncmp(list, word, length) == 0)
			return true;
		list += part + 1;
	}
	return false;
}

/* The path of a line "0::PATH" (v2) or "7:cpu,memory:PATH" (v1); NULL if it is another hierarchy's. */
static const char *path_of(const char *line, const struct version *version)
{
	const char *controllers = strchr(line, ':');
	const char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return NULL;
	controllers++;
	if (version->option ? !in_list(controllers, path, version->option) : path != controllers)
		return NULL;
	return path + 1;
}

/* The path of this process's cgroup as /proc tells it. */
static bool find_path(const char *root, const struct version *version, char path[KVS_PATH_SIZE])
{
	char name[KVS_PATH_SIZE], line[KVS_PATH_SIZE];
	const char *found = NULL;
	FILE *file;

	(void)snprintf(name, sizeof(name), "%s/proc/self/cgroup", root);
	file = fopen(name, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		found = path_of(line, version);
	}
	if (file)
		(void)fclose(file);
	if (found)
		(void)snprintf(path, KVS_PATH_SIZE, "%s", found);
	return found != NULL;
}

/* Shortens the path from its beginning until it exists below the mount point, at last to nothing. */
static void fit_path(struct place *place)
{
	char full[2 * KVS_PATH_SIZE];
	const char *path = place->path;
	struct stat st;

	for (; *path; path += 1 + strcspn(path + 1, "/")) {
		(void)snprintf(full, sizeof(full), "%s%s", place->mount, path);
		if (!strstr(path, "/..") && stat(full, &st) == 0)
			break;
	}
	memmove(place->path, path, strlen(path) + 1);
}

static int judge(const struct place *place, const struct version *version, uint64_t bytes, const char *what)
{
	char limit_file[3 * KVS_PATH_SIZE], file[3 * KVS_PATH_SIZE];
	uint64_t limit, used;

	(void)snprintf(limit_file, sizeof(limit_file), "%s%s/%s", place->mount, place->path, version->limit);
	(void)snprintf(file, sizeof(file), "%s%s/%s", place->mount, place->path, version->used);
	if (!kvs_machine_number(limit_file, &limit) || !kvs_machine_number(file, &used))
		return 0;
	(void)snprintf(file, sizeof(file), "%s%s/memory.stat", place->mount, place->path);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t cache;

		if (kvs_machine_field(file, version->cache[i], &cache))
			used -= cache < used ? cache : used;
	}
	if (used <= limit && bytes <= limit - used)
		return 0;
	return kvs_fault(ENOMEM,
			 "%s needs %llu bytes of memory, but this cgroup may have %llu (%s), of which %llu are in use: "
			 "make the store smaller, or raise that limit",
			 what, (unsigned long long)bytes, (unsigned long long)limit, limit_file,
			 (unsigned long long)used);
}

int kvs_cgroup_room(const char *root, uint64_t bytes, const char *what)
{
	struct place place;

	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		char *last = place.path;

		if (!find_path(root, &versions[i], place.path) || !find_mount(root, &versions[i], place.mount))
			continue;
		fit_path(&place);
		while (last) {
			int rc = judge(&place, &versions[i], bytes, what);

			if (rc)
				return rc;
			last = strrchr(place.path, '/');
			if (last)
				*last = '\0';
		}
	}
	return 0;
}
