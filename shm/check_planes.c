/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_planes.c: the files of a store's planes: are they there, those that the store was made with, and whole? See
 * check.h. Nothing of their bytes is read.
 */
#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "pool.h"
#include "segment_parts.h"

/* Is it a store that has its name, and that nobody is destroying? A destroyed one loses its planes before its name. */
static bool has_planes(struct kvs_view *view)
{
	struct stat st;

	return kvs_inspect_refresh(view) == 0 && kvs_store_is_open(atomic_load(&view->head.state)) &&
	       fstat(view->file, &st) == 0 && kvs_files_is(view->path, st.st_dev, st.st_ino);
}

/* Counts the planes that are wrong, and tells of them if fn is not NULL. */
static uint64_t judge(const struct kvs_view *view, const char *name, void (*fn)(const char *finding, void *arg),
		      void *arg)
{
	char dir[sizeof(view->path)], text[KVS_PATH_SIZE + 128];
	const char *end = strrchr(view->path, '/');
	uint64_t wrong = 0;

	memcpy(dir, view->path, sizeof(dir));
	dir[end - view->path] = '\0';
	for (uint32_t i = 0; i < kvs_segment_files(&view->g, &view->head.planes); i++) {
		struct kvs_plane plane;

		kvs_segment_plane(&plane, &view->g, &view->head.planes, dir, name, i);
		if (!kvs_pool_host.judge(&plane, text, sizeof(text)))
			continue;
		wrong++;
		if (fn)
			fn(text, arg);
	}
	return wrong;
}

uint64_t kvs_check_planes(struct kvs_view *view, const char *name, void (*fn)(const char *finding, void *arg),
			  void *arg)
{
	/* In this order: what is gone may have gone since the store was destroyed. */
	return judge(view, name, NULL, NULL) && has_planes(view) ? judge(view, name, fn, arg) : 0;
}
