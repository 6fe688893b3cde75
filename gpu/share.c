/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share.c: the planes' descriptors on their way. See share.h.
 */
#include "config.h"

#include "share.h"

#include "fault.h"

int kvg_share_open(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		   const int *fds, struct kvg_share **share)
{
	(void)dir;
	(void)name;
	(void)map;
	(void)access;
	(void)fds;
	(void)share;
	return kvs_fault(95, "to be done");
}

int kvg_share_fd(const struct kvg_share *share)
{
	(void)share;
	return -1;
}

void kvg_share_work(struct kvg_share *share)
{
	(void)share;
}

void kvg_share_close(struct kvg_share *share)
{
	(void)share;
}

int kvg_share_fetch(const char *dir, const char *name, const struct kvs_map *map, int fds[KVS_PLANES_MAX])
{
	(void)dir;
	(void)name;
	(void)map;
	(void)fds;
	return kvs_fault(95, "to be done");
}

int kvg_share_ask(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		  int fds[KVS_PLANES_MAX])
{
	(void)access;
	return kvg_share_fetch(dir, name, map, fds);
}

void kvg_share_answer(const char *dir, const char *name, const struct kvs_map *map, const int *fds,
		      _Atomic uint32_t *answered)
{
	(void)dir;
	(void)name;
	(void)map;
	(void)fds;
	(void)answered;
}
