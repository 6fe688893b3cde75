/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * users.c: looks at every descriptor of every process in /proc, for those that have a segment open and locks on it
 * (/proc/PID/fdinfo/N has a line "lock:" for each). See users.h.
 */
#include "config.h"

#include "users.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lock.h"

#define SHOWN 8 /* clients that are named; the others are counted */

struct look {
	struct stat st; /* the segment */
	char owner[128];
	char clients[768];
	unsigned count; /* clients */
};

long kvs_users_locked_byte(const char *line)
{
	const char *last = strrchr(line, ' ');

	if (strncmp(line, "lock:", 5) != 0 || !last)
		return -1;
	while (last > line && isdigit((unsigned char)last[-1]))
		last--;
	return isdigit((unsigned char)*last) ? strtol(last, NULL, 10) : -1;
}

static void note(struct look *look, const char *pid, bool owner)
{
	size_t used = strlen(look->clients);
	char path[64], comm[32] = "?";
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	file = fopen(path, "re");
	if (file && fgets(comm, sizeof(comm), file))
		comm[strcspn(comm, "\n")] = '\0';
	if (file)
		(void)fclose(file);
	if (owner)
		(void)snprintf(look->owner, sizeof(look->owner), "owner: process %.16s (%s)", pid, comm);
	else if (++look->count <= SHOWN)
		(void)snprintf(look->clients + used, sizeof(look->clients) - used, "%s process %.16s (%s)",
			       used ? "," : "", pid, comm);
}

static void look_at(struct look *look, const char *pid, const char *fd)
{
	char path[64], line[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		long byte = kvs_users_locked_byte(line);

		if (byte >= 0)
			note(look, pid, byte >= (long)KVS_LOCK_OWNER);
	}
	if (file)
		(void)fclose(file);
}

static void look_into(struct look *look, const char *pid)
{
	struct dirent *entry;
	char path[64];
	struct stat st;
	DIR *fds;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	fds = opendir(path);
	while (fds && (entry = readdir(fds)))
		if (isdigit((unsigned char)entry->d_name[0]) && fstatat(dirfd(fds), entry->d_name, &st, 0) == 0 &&
		    st.st_ino == look->st.st_ino && st.st_dev == look->st.st_dev)
			look_at(look, pid, entry->d_name);
	if (fds)
		(void)closedir(fds);
}

void kvs_users(int file, char *text, size_t size)
{
	struct look look = {.owner = ""};
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	char more[32] = "";

	if (fstat(file, &look.st) == 0)
		while (proc && (entry = readdir(proc)))
			if (isdigit((unsigned char)entry->d_name[0]))
				look_into(&look, entry->d_name);
	if (proc)
		(void)closedir(proc);
	if (look.count > SHOWN)
		(void)snprintf(more, sizeof(more), " and %u more", look.count - SHOWN);
	if (!*look.owner && !look.count)
		(void)snprintf(text, size, "processes that can't be seen from here (of another user or container)");
	else
		(void)snprintf(text, size, "%s%s%s%s%s", look.owner, *look.owner && look.count ? "; " : "",
			       look.count ? "clients:" : "", look.clients, more);
}
