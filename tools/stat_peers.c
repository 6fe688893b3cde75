/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_peers.c: what a view tells of connections to other nodes, as rows; for Prometheus, whole.
 */
#include "config.h"

#include "stat.h"

#include <stdio.h>
#include <time.h>

struct walk {
	struct stat_sink *sink;
	const struct stat_columns *columns;
	const char *store;
	time_t now;
};

static int show_peer(const struct kvshm_peer_view *info, void *arg)
{
	const struct walk *walk = arg;
	struct stat_peer_row row = { .info = *info };
	const void *from[STAT_PARTS_MAX] = { &row, NULL };

	snprintf(row.of, sizeof(row.of), "%s", walk->store);
	snprintf(row.direction, sizeof(row.direction), "%s", info->outgoing ? "out" : "in");
	if (info->since < walk->now)
		row.age = (uint64_t)(walk->now - info->since) * 1000000000;
	stat_row(walk->sink, walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_peers(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink)
{
	struct walk walk = { .sink = sink, .columns = columns, .store = store, .now = time(NULL) };

	return kvshm_view_peers(view, show_peer, &walk);
}

int stat_show_all_of_peers(kvshm_view *view, const char *store, struct stat_sink *sink)
{
	struct stat_columns columns;
	int rc;

	stat_columns_all(&stat_peers, &columns);
	sink->store = store;
	sink->open(sink, stat_peers.section, STAT_ROWS);
	rc = stat_show_peers(view, store, &columns, sink);
	sink->close(sink);
	sink->store = NULL;
	return rc;
}
