/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * list.c: which stores there are, and what can be told of one of any version. Contracts in kvshm.h.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "lock.h"
#include "segment.h"
#include "view.h"

/* Who lives, by the locks on the file. */
static int count_living(int file, struct kvshm_head_info *info)
{
	int alive = kvs_lock_alive(file, KVS_LOCK_OWNER);

	info->owner_alive = alive > 0;
	for (uint32_t i = 0; alive >= 0 && i < KVS_CLIENTS_MAX; i++) {
		alive = kvs_lock_alive(file, i);
		info->clients_alive += alive > 0;
	}
	return alive < 0 ? alive : 0;
}

static int read_info(int file, const char *path, struct kvshm_head_info *info)
{
	struct kvs_head head;
	struct stat st;
	int rc = kvs_segment_read_frozen(file, path, &head);

	if (rc)
		return rc;
	if (fstat(file, &st))
		return kvs_fault(errno, "cannot look at %s: %s", path, strerror(errno));
	(void)snprintf(info->maker, sizeof(info->maker), "%.*s", (int)sizeof(head.maker), head.maker);
	info->layout = head.layout;
	info->layout_known = KVS_LAYOUT;
	info->segment_size = head.size;
	info->file_size = (uint64_t)st.st_size;
	return count_living(file, info);
}

int kvshm_view_head(const char *name, const char *dir, struct kvshm_head_info *info)
{
	struct kvshm_head_info found = {.layout = 0};
	char path[KVS_PATH_SIZE];
	int file = -1;
	int rc;

	if (!info)
		return kvl_no_view();
	rc = kvs_segment_open_file(name, dir, O_RDONLY, &file, path);
	if (rc)
		return rc;
	rc = read_info(file, path, &found);
	(void)close(file);
	if (rc)
		return rc;
	(void)snprintf(found.name, sizeof(found.name), "%s", name);
	*info = found;
	return 0;
}

/* Does a directory's file of that name look like a store's? What can't be read counts, so that it can be said, unless
 * its name is a plane's. */
static bool is_store(const char *name, const char *dir)
{
	char path[KVS_PATH_SIZE];
	struct kvs_head head;
	size_t stem;
	int file = -1;
	int rc = kvs_segment_open_file(name, dir, O_RDONLY, &file, path);

	if (rc == -EACCES)
		return !kvs_files_plane_name(name, &stem);
	if (rc)
		return false;
	rc = kvs_segment_read_frozen(file, path, &head);
	(void)close(file);
	return rc == 0;
}

int kvshm_list(const char *dir, int (*fn)(const char *name, void *arg), void *arg)
{
	static const char prefix[] = "kvshm.";
	struct dirent *entry;
	DIR *stream;
	int rc = 0;

	if (!fn)
		return kvl_no_view();
	dir = kvs_files_dir(dir);
	stream = opendir(dir);
	if (!stream)
		return kvs_fault(errno, "cannot read %s: %s", dir, strerror(errno));
	while (rc == 0 && (entry = readdir(stream))) {
		const char *name = entry->d_name + sizeof(prefix) - 1;

		if (strncmp(entry->d_name, prefix, sizeof(prefix) - 1) == 0 && is_store(name, dir))
			rc = fn(name, arg);
	}
	(void)closedir(stream);
	return rc;
}
