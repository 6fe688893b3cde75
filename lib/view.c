/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view.c: looking at stores without attaching them. Contracts in kvshm.h. Relaxed: what is looked at are copies.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "lock.h"
#include "view.h"

static const struct {
	const char *name, *help;
} counters[] = {
#define KVS_COUNTER(name, help) {#name, help},
#include "counters.def"
#undef KVS_COUNTER
}, histograms[] = {
#define KVS_HISTOGRAM(name, help) {#name, help},
#include "histograms.def"
#undef KVS_HISTOGRAM
};

_Static_assert(KVSHM_HISTOGRAM_BUCKETS == KVS_HISTOGRAM_BUCKETS, "all buckets are shown");

int kvshm_view_open(const char *name, const char *dir, kvshm_view **view)
{
	struct kvshm_view *v;
	int rc;

	if (!view)
		return kvl_no_view();
	v = kvs_inspect_memory(sizeof(*v)); /* aligned, for the head's sake */
	if (!v)
		return kvs_fault(ENOMEM, "no memory");
	memset(v, 0, sizeof(*v));
	rc = kvs_inspect_open(name, dir, &v->inner);
	if (rc) {
		free(v);
		return rc;
	}
	(void)snprintf(v->name, sizeof(v->name), "%s", name);
	*view = v;
	return 0;
}

void kvshm_view_close(kvshm_view *view)
{
	if (!view)
		return;
	kvs_inspect_close(&view->inner);
	free(view);
}

static void describe(const struct kvshm_view *view, struct kvshm_store_info *info)
{
	const struct kvs_head *head = &view->inner.head;
	const struct kvs_geometry *g = &view->inner.g;

	memset(info, 0, sizeof(*info));
	info->geometry = (struct kvshm_geometry){
		.block_size = g->block_size,
		.incarnation = g->incarnation,
		.blocks = g->blocks,
		.planes = g->planes,
		.key_max = g->key_max,
		.clients = g->clients,
		.requests = g->requests,
		.retain = g->drop ? KVSHM_DROP : KVSHM_KEEP,
	};
	memcpy(info->name, view->name, sizeof(info->name));
	(void)snprintf(info->label, sizeof(info->label), "%s", head->label);
	(void)snprintf(info->maker, sizeof(info->maker), "%.*s", (int)sizeof(head->maker) - 1, head->maker);
	info->segment_size = g->size;
	info->epoch = atomic_load_explicit(&head->epoch, memory_order_relaxed);
	info->created = head->created;
	info->layout = head->layout;
	info->readers = g->readers;
	info->owner_pid = atomic_load_explicit(&head->owner_pid, memory_order_relaxed);
	info->destroyed = !kvs_store_is_open(atomic_load_explicit(&head->state, memory_order_relaxed));
	info->fence = g->fence != 0;
	info->numa_node = head->plane_node;
	info->memory = (enum kvshm_memory)head->planes.memory;
	info->gpu_export = (enum kvshm_export)head->planes.export;
	info->huge_page = info->memory == KVSHM_MEMORY_HOST ? head->planes.page : 0;
	info->clears = atomic_load_explicit(&head->floor, memory_order_relaxed) >> KVS_CLEARS_SHIFT;
}

static int describe_clients(const struct kvshm_view *view, struct kvshm_store_info *info)
{
	struct kvs_slot_view *slots;
	int rc = kvs_inspect_slots(&view->inner, &slots);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < view->inner.g.clients; i++) {
		info->clients_alive += slots[i].alive;
		info->clients_dead += slots[i].live && !slots[i].alive;
	}
	free(slots);
	return 0;
}

static void describe_readers(const struct kvs_readers_view *readers, struct kvshm_store_info *info)
{
	info->readers_used = readers->used;
	info->readers_stalling = readers->stalling;
	info->slowest_reader = readers->slowest;
	info->slowest_client = readers->slowest_client;
	info->slowest_epoch = readers->slowest_epoch;
}

int kvshm_view_store(kvshm_view *view, struct kvshm_store_info *info)
{
	struct kvs_readers_view readers;
	struct kvshm_store_info found;
	struct stat st;
	int alive;
	int rc;

	if (!view || !info)
		return kvl_no_view();
	rc = kvs_inspect_refresh(&view->inner);
	if (rc == 0)
		rc = kvs_inspect_readers(&view->inner, &readers);
	if (rc)
		return rc;
	describe(view, &found);
	describe_readers(&readers, &found);
	rc = describe_clients(view, &found);
	if (rc)
		return rc;
	alive = kvs_lock_alive(view->inner.file, KVS_LOCK_OWNER);
	if (alive < 0)
		return alive;
	if (fstat(view->inner.file, &st))
		return kvs_fault(errno, "cannot look at %s: %s", view->inner.path, strerror(errno));
	found.owner_alive = alive;
	found.mode = st.st_mode & 07777;
	found.group = st.st_gid;
	found.unlinked = st.st_nlink == 0;
	*info = found;
	return 0;
}

int kvshm_view_usage(kvshm_view *view, struct kvshm_usage *usage)
{
	struct kvs_slot_view *slots;
	struct kvs_survey survey;
	int rc;

	if (!view || !usage)
		return kvl_no_view();
	rc = kvs_inspect_refresh(&view->inner); /* for the clear count */
	if (rc == 0)
		rc = kvs_inspect_slots(&view->inner, &slots);
	if (rc)
		return rc;
	rc = kvs_inspect_survey(&view->inner, slots, &survey);
	free(slots);
	if (rc)
		return rc;
	*usage = (struct kvshm_usage){
		.free = survey.states[KVS_FREE],
		.owned = survey.states[KVS_OWNED],
		.room = survey.states[KVS_ROOM],
		.filling = survey.states[KVS_FILLING],
		.ready = survey.states[KVS_READY],
		.removing = survey.states[KVS_REM_READY] + survey.states[KVS_REM_DOOMED],
		.doomed = survey.states[KVS_DOOMED],
		.grace = survey.states[KVS_LIMBO],
		.unknown = survey.unknown,
		.held = survey.held,
		.pinned = survey.pinned,
		.cleared = survey.cleared,
		.evictable = survey.evictable,
		.refs = survey.refs,
		.pins = survey.pins,
	};
	return 0;
}

static void describe_client(uint32_t slot, const struct kvs_slot_view *from, struct kvshm_client_info *to)
{
	memset(to, 0, sizeof(*to));
	to->slot = slot;
	to->pid = from->pid;
	(void)snprintf(to->name, sizeof(to->name), "%s", from->name);
	to->attached = from->attached;
	to->alive = from->alive;
	to->recovering = from->recovering;
	to->dma = from->dma != KVS_DMA_NONE;
	to->waiting = from->waits ? 1 + from->elsewhere : 0;
	to->refs = from->refs;
	to->pins = from->pins;
	to->blocks = from->blocks;
	to->fills = from->fills;
	to->parts = from->parts;
	to->owned = from->owned;
	to->planes = from->planes;
}

int kvshm_view_clients(kvshm_view *view, int (*fn)(const struct kvshm_client_info *client, void *arg), void *arg)
{
	struct kvs_slot_view *slots;
	struct kvs_survey survey;
	int rc;

	if (!view || !fn)
		return kvl_no_view();
	rc = kvs_inspect_slots(&view->inner, &slots);
	if (rc)
		return rc;
	rc = kvs_inspect_survey(&view->inner, slots, &survey);
	for (uint32_t i = 0; rc == 0 && i < view->inner.g.clients; i++) {
		struct kvshm_client_info client;

		if (!slots[i].live)
			continue;
		describe_client(i, &slots[i], &client);
		rc = fn(&client, arg);
	}
	free(slots);
	return rc;
}

/* What the reader slots have counted, and the owner, which has none; without a view, nothing. */
static int read_counted(kvshm_view *view, struct kvs_readers_view *readers)
{
	uint64_t overdue = 0;
	int rc;

	memset(readers, 0, sizeof(*readers));
	if (!view)
		return 0;
	rc = kvs_inspect_readers(&view->inner, readers);
	if (rc == 0)
		rc = kvs_inspect_read(&view->inner, offsetof(struct kvs_head, pins_overdue), &overdue, sizeof(overdue));
	readers->counters[KVS_COUNT_pins_overdue] += overdue;
	return rc;
}

int kvshm_view_counters(kvshm_view *view, int (*fn)(const struct kvshm_counter *counter, void *arg), void *arg)
{
	struct kvs_readers_view readers;
	int rc;

	if (!fn)
		return kvl_no_view();
	rc = read_counted(view, &readers);
	for (unsigned i = 0; rc == 0 && i < KVS_COUNTERS; i++) {
		struct kvshm_counter counter = {
			.name = counters[i].name, .help = counters[i].help, .value = readers.counters[i]};

		rc = fn(&counter, arg);
	}
	return rc;
}

int kvshm_view_histograms(kvshm_view *view, int (*fn)(const struct kvshm_histogram *histogram, void *arg), void *arg)
{
	struct kvs_readers_view readers;
	int rc;

	if (!fn)
		return kvl_no_view();
	rc = read_counted(view, &readers);
	for (unsigned i = 0; rc == 0 && i < KVS_HISTOGRAMS; i++) {
		struct kvshm_histogram histogram = {.name = histograms[i].name,
						    .help = histograms[i].help,
						    .sum = readers.times[i][KVS_HISTOGRAM_SUM]};

		for (unsigned b = 0; b < KVS_HISTOGRAM_BUCKETS; b++) {
			histogram.bucket[b] = readers.times[i][b];
			histogram.count += readers.times[i][b];
		}
		rc = fn(&histogram, arg);
	}
	return rc;
}

struct told {
	void (*fn)(const char *finding, void *arg);
	void *arg;
};

static void tell(enum kvs_finding_kind kind, const char *text, void *arg)
{
	const struct told *told = arg;

	(void)kind;
	if (told->fn)
		told->fn(text, told->arg);
}

int kvshm_view_check(kvshm_view *view, void (*fn)(const char *finding, void *arg), void *arg,
		     struct kvshm_check_result *result)
{
	struct told told = {fn, arg};
	struct kvs_check_result inner;
	int rc;

	if (!view || !result)
		return kvl_no_view();
	rc = kvs_inspect_refresh(&view->inner);
	if (rc == 0)
		rc = kvs_check(&view->inner, tell, &told, &inner);
	if (rc)
		return rc;
	inner.unsound += kvs_check_planes(&view->inner, view->name, fn, arg);
	*result = (struct kvshm_check_result){.unsound = inner.unsound,
					      .pending = inner.pending,
					      .leaked = inner.leaked,
					      .quiescent = inner.quiescent};
	return 0;
}
