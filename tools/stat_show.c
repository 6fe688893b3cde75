/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_show.c: takes what a view tells of a store, adds what follows from it (states as words, ages, keys as digits,
 * quantiles), and gives it to a sink.
 */
#include "config.h"

#include "stat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- Stores ---------------------------------------------------------------------------------------------- */

static int view_store(kvshm_view *view, struct stat_store *store)
{
	int rc = kvshm_view_store(view, &store->info);
	const char *state = "live";

	if (rc)
		return rc;
	if (store->info.destroyed)
		state = "destroyed";
	else if (store->info.unlinked)
		state = "unlinked";
	else if (!store->info.owner_alive)
		state = "dead";
	snprintf(store->state, sizeof(store->state), "%s", state);
	snprintf(store->memory, sizeof(store->memory), "%s", stat_memory_text(store->info.memory));
	*store->gpu_export = '\0';
	if (store->info.memory == KVSHM_MEMORY_CUDA)
		snprintf(store->gpu_export, sizeof(store->gpu_export), "%s",
			 store->info.gpu_export == KVSHM_EXPORT_FD ? "fd" : "ipc");
	return 0;
}

int stat_show_row(kvshm_view *view, const struct stat_columns *columns, struct stat_sink *sink)
{
	struct stat_store store;
	struct kvshm_usage usage;
	const void *from[STAT_PARTS_MAX] = { &store, NULL };
	int rc = view_store(view, &store);

	if (!rc && stat_columns_use(columns, 1)) {
		rc = kvshm_view_usage(view, &usage);
		from[1] = &usage;
	}
	if (!rc)
		stat_row(sink, columns, from, STAT_ALL);
	return rc;
}

/* ---- Stores that can't be viewed ------------------------------------------------------------------------- */

/* What is known of it; STAT_NAME where it is not even clear what it is. -ENOENT: it is not there. */
static int view_head(const char *name, const char *dir, struct stat_head *head, enum stat_known *known)
{
	const char *state = "unreadable";
	int rc = kvshm_view_head(name, dir, &head->info);

	if (rc == -ENOENT)
		return rc;
	*known = rc ? STAT_NAME : STAT_HEAD;
	if (rc)
		snprintf(head->info.name, sizeof(head->info.name), "%s", name);
	else if (head->info.layout != head->info.layout_known)
		state = "other-layout";
	else if (head->info.file_size < head->info.segment_size)
		state = "truncated";
	snprintf(head->state, sizeof(head->state), "%s", state);
	return rc == -EACCES ? 0 : rc;
}

bool stat_show_head(const char *name, const char *dir, struct stat_sink *sink)
{
	struct stat_head head;
	enum stat_known known;

	if (view_head(name, dir, &head, &known))
		return false;
	sink->store = name;
	sink->open(sink, "head", STAT_FIELDS);
	stat_fields(sink, &stat_head_part, &head, known);
	sink->close(sink);
	if (known == STAT_HEAD)
		stat_remark_on_head(sink, dir, &head.info);
	return true;
}

bool stat_show_head_row(const char *name, const char *dir, const struct stat_columns *columns,
			struct stat_sink *sink)
{
	struct stat_store store = { .info.layout = 0 };
	const void *from[STAT_PARTS_MAX] = { &store, NULL };
	struct stat_head head;
	enum stat_known known;

	if (view_head(name, dir, &head, &known))
		return false;
	memcpy(store.state, head.state, sizeof(store.state));
	memcpy(store.info.name, head.info.name, sizeof(store.info.name));
	if (known == STAT_HEAD) {
		memcpy(store.info.maker, head.info.maker, sizeof(store.info.maker));
		store.info.layout = head.info.layout;
		store.info.segment_size = head.info.segment_size;
		store.info.clients_alive = head.info.clients_alive;
		store.info.owner_alive = head.info.owner_alive;
	}
	stat_row(sink, columns, from, known);
	return true;
}

/* ---- Clients --------------------------------------------------------------------------------------------- */

struct client_walk {
	struct stat_sink *sink;
	const struct stat_columns *columns;
	const char *store;
	time_t now;
	uint32_t slowest; /* the slot whose reader is */
	struct stat_notable notable;
};

static void note(struct client_walk *walk, const struct kvshm_client_info *client)
{
	walk->notable.waiting += !client->alive && !client->recovering && !client->waiting;
	walk->notable.pending += client->waiting == 1;
	walk->notable.elsewhere += client->waiting == 2;
	if (client->waiting == 1)
		walk->notable.pended = *client;
	if (client->waiting == 2)
		walk->notable.distant = *client;
	if (client->recovering)
		walk->notable.recovered = *client;
	if (client->slot == walk->slowest)
		walk->notable.slowest = *client;
}

static int show_client(const struct kvshm_client_info *info, void *arg)
{
	struct client_walk *walk = arg;
	struct stat_client client = { .info = *info };
	const void *from[STAT_PARTS_MAX] = { &client, NULL };

	snprintf(client.store, sizeof(client.store), "%s", walk->store);
	stat_planes_text(info->planes, client.planes, sizeof(client.planes));
	if (info->attached < walk->now)
		client.age = (uint64_t)(walk->now - info->attached) * 1000000000;
	stat_row(walk->sink, walk->columns, from, STAT_ALL);
	note(walk, info);
	return 0;
}

int stat_show_clients(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink)
{
	struct client_walk walk = { .sink = sink, .columns = columns, .store = store, .now = time(NULL),
				    .slowest = KVSHM_NO_SLOT };

	return kvshm_view_clients(view, show_client, &walk);
}

/* ---- Blocks ---------------------------------------------------------------------------------------------- */

struct block_walk {
	struct stat_sink *sink;
	const struct stat_columns *columns;
	const char *store;
};

void stat_hex(const uint8_t *bytes, size_t count, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < count; i++) {
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = '\0';
}

static int show_block(const struct kvshm_block_info *info, void *arg)
{
	const struct block_walk *walk = arg;
	struct stat_block block = { .info = *info };
	const void *from[STAT_PARTS_MAX] = { &block, NULL };

	snprintf(block.store, sizeof(block.store), "%s", walk->store);
	snprintf(block.state, sizeof(block.state), "%s", info->state);
	snprintf(block.claimed, sizeof(block.claimed), "%" PRIx32, info->claimed);
	snprintf(block.written, sizeof(block.written), "%" PRIx32, info->written);
	stat_hex(info->key, info->key_length, block.key);
	stat_hex(info->opaque, sizeof(info->opaque), block.opaque);
	stat_row(walk->sink, walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_blocks(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink)
{
	struct block_walk walk = { .sink = sink, .columns = columns, .store = store };

	return kvshm_view_blocks(view, show_block, &walk);
}

/* ---- Counters and histograms ----------------------------------------------------------------------------- */

static int show_counter(const struct kvshm_counter *counter, void *arg)
{
	struct stat_sink *sink = arg;
	const struct stat_value value = {
		.name = counter->name, .help = counter->help, .kind = STAT_COUNTER, .number = counter->value,
	};

	sink->value(sink, &value);
	return 0;
}

/* Bucket i has times from 512 * 2^i ns (the first: from 0) to twice that. */
static double lower_bound(unsigned bucket)
{
	return bucket ? (double)(UINT64_C(512) << bucket) : 0;
}

/* About the time in ns that so much of all times is below: as if those of a bucket were spread evenly over it. The last
 * bucket has no upper end; what falls there gives its lower one. */
static uint64_t quantile(const struct kvshm_histogram *histogram, double part)
{
	double rank = part * (double)histogram->count, below = 0;
	unsigned i;

	for (i = 0; i < KVSHM_HISTOGRAM_BUCKETS - 1; i++) {
		double here = (double)histogram->bucket[i];

		if (here > 0 && below + here >= rank)
			return (uint64_t)(lower_bound(i) + (rank - below) / here *
					  (lower_bound(i + 1) - lower_bound(i)));
		below += here;
	}
	return histogram->count ? (uint64_t)lower_bound(i) : 0;
}

struct histogram_walk {
	struct stat_sink *sink;
	struct stat_columns columns;
};

static int show_histogram(const struct kvshm_histogram *histogram, void *arg)
{
	const struct histogram_walk *walk = arg;
	struct stat_summary summary = {
		.histogram = *histogram,
		.count = histogram->count,
		.mean = histogram->count ? histogram->sum / histogram->count : 0,
		.p50 = quantile(histogram, 0.5), .p90 = quantile(histogram, 0.9), .p99 = quantile(histogram, 0.99),
	};
	const void *from[STAT_PARTS_MAX] = { &summary, NULL };

	snprintf(summary.name, sizeof(summary.name), "%s", histogram->name);
	stat_row(walk->sink, &walk->columns, from, STAT_ALL);
	return 0;
}

/* ---- The whole of a store -------------------------------------------------------------------------------- */

static int show_counted(kvshm_view *view, struct stat_sink *sink)
{
	struct histogram_walk walk = { .sink = sink };
	int rc;

	sink->open(sink, "counters", STAT_EXPLAINED);
	rc = kvshm_view_counters(view, show_counter, sink);
	sink->close(sink);
	if (rc)
		return rc;
	stat_columns_choose(&stat_histograms, NULL, false, &walk.columns);
	sink->open(sink, "histograms", STAT_ROWS);
	rc = kvshm_view_histograms(view, show_histogram, &walk);
	sink->close(sink);
	return rc;
}

int stat_show_store(kvshm_view *view, struct stat_sink *sink)
{
	struct client_walk walk = { .sink = sink, .now = time(NULL) };
	struct stat_columns columns;
	struct kvshm_usage usage;
	struct stat_store store;
	struct stat_work work;
	int rc;

	rc = view_store(view, &store);
	if (!rc)
		rc = kvshm_view_usage(view, &usage);
	if (!rc)
		rc = stat_view_work(view, &work);
	if (rc)
		return rc;
	sink->store = store.info.name;
	sink->open(sink, "store", STAT_FIELDS);
	stat_fields(sink, &stat_store_part, &store, STAT_ALL);
	sink->close(sink);
	rc = stat_show_planes(view, sink);
	if (rc)
		return rc;
	sink->open(sink, "usage", STAT_FIELDS);
	stat_fields(sink, &stat_usage_part, &usage, STAT_ALL);
	sink->close(sink);
	sink->open(sink, "work", STAT_FIELDS);
	stat_fields(sink, &stat_work_part, &work, STAT_ALL);
	sink->close(sink);
	rc = show_counted(view, sink);
	if (rc)
		return rc;
	stat_columns_choose(&stat_clients, NULL, false, &columns);
	walk.columns = &columns;
	walk.store = store.info.name;
	walk.slowest = store.info.slowest_client;
	sink->open(sink, "clients", STAT_ROWS);
	rc = kvshm_view_clients(view, show_client, &walk);
	sink->close(sink);
	if (!rc)
		stat_remark_on_store(sink, &store.info, &usage, &work, &walk.notable);
	sink->store = NULL;
	return rc;
}
