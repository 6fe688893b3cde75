/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_planes.c: what a view tells of planes: which memory they have, and who has them mapped. For Prometheus each
 * mapping is a row: a list of planes as a client's label would make another series of each change.
 */
#include "config.h"

#include "stat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *stat_memory_text(enum kvshm_memory memory)
{
	return memory == KVSHM_MEMORY_CUDA ? "cuda" : "host";
}

void stat_planes_text(uint32_t mask, char *text, size_t size)
{
	size_t used = 0;
	uint32_t last;

	*text = '\0';
	for (uint32_t first = 0; first < KVSHM_PLANES_MAX && used < size; first++) {
		if (!(mask >> first & 1U))
			continue;
		for (last = first; last + 1 < KVSHM_PLANES_MAX && mask >> (last + 1) & 1U; last++)
			;
		used += (size_t)snprintf(text + used, size - used, "%s%" PRIu32, used ? "," : "", first);
		if (last > first && used < size)
			used += (size_t)snprintf(text + used, size - used, "-%" PRIu32, last);
		first = last;
	}
}

struct walk {
	struct stat_sink *sink;
	struct stat_columns columns;
};

static int show_plane(const struct kvshm_plane_view *info, void *arg)
{
	const struct walk *walk = arg;
	struct stat_plane row = { .info = *info };
	const void *from[STAT_PARTS_MAX] = { &row, NULL };

	snprintf(row.memory, sizeof(row.memory), "%s", stat_memory_text(info->memory));
	stat_row(walk->sink, &walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_planes(kvshm_view *view, struct stat_sink *sink)
{
	struct walk walk = { .sink = sink };
	int rc;

	stat_columns_all(&stat_planes, &walk.columns);
	sink->open(sink, stat_planes.section, STAT_ROWS);
	rc = kvshm_view_planes(view, show_plane, &walk);
	sink->close(sink);
	return rc;
}

static int show_mappings(const struct kvshm_client_info *info, void *arg)
{
	const struct walk *walk = arg;
	struct stat_mapping row = { .info = *info, .mapped = 1 };
	const void *from[STAT_PARTS_MAX] = { &row, NULL };

	for (row.plane = 0; row.plane < KVSHM_PLANES_MAX; row.plane++)
		if (info->planes >> row.plane & 1U)
			stat_row(walk->sink, &walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_mappings(kvshm_view *view, const char *store, struct stat_sink *sink)
{
	struct walk walk = { .sink = sink };
	int rc;

	stat_columns_all(&stat_mappings, &walk.columns);
	sink->store = store;
	sink->open(sink, stat_mappings.section, STAT_ROWS);
	rc = kvshm_view_clients(view, show_mappings, &walk);
	sink->close(sink);
	sink->store = NULL;
	return rc;
}
