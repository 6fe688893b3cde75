/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner_pins.c: an owner's look at pins that are held for long. Contract in kvshm.h.
 *
 * Guarantees: R18. It only looks, as views do, by pread(2): nothing is taken from anyone. What was told is remembered
 * in the owner's memory, as long as it lasts, by its client and by when it began: so a client that has the slot of an
 * earlier one, or a pin that takes the place of another, is told of anew. A new owner tells all once more.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view.h"
#include "wait.h"

#define REQUEST_TEXT (2 * KVSHM_REQUEST_ID_MAX + 40)

_Static_assert(KVS_LOG_WARNING == KVSHM_LOG_WARNING, "the levels are the same");

/* In what order does not matter. */
static int compare(const void *left, const void *right)
{
	const struct kvl_pins *a = left, *b = right;
	const uint64_t one[] = {a->since, a->number, (uint64_t)a->attached, a->client, a->at};
	const uint64_t other[] = {b->since, b->number, (uint64_t)b->attached, b->client, b->at};

	return memcmp(one, other, sizeof(one));
}

static bool was_told(const struct kvl_overdue *overdue, const struct kvl_pins *pins)
{
	return overdue->count && bsearch(pins, overdue->told, overdue->count, sizeof(*pins), compare);
}

/* A request, as people can read it: its id quoted, or as 0x and hexadecimal digits, and its attempt. */
static void request_text(const struct kvshm_pin_info *info, char text[REQUEST_TEXT])
{
	bool printable = true;

	if (!info->id_length) {
		(void)sprintf(text, "a request without a name");
		return;
	}
	for (size_t i = 0; i < info->id_length; i++)
		printable = printable && info->id[i] > ' ' && info->id[i] <= '~';
	if (printable)
		text += sprintf(text, "request '%.*s'", (int)info->id_length, (const char *)info->id);
	else
		text += sprintf(text, "request 0x");
	for (size_t i = 0; i < info->id_length && !printable; i++)
		text += sprintf(text, "%02x", info->id[i]);
	(void)sprintf(text, ", attempt %u", info->attempt);
}

static void tell(const struct kvshm_pin_info *info)
{
	const char *plural = info->pins == 1 ? "" : "s";
	unsigned long long seconds = info->age / 1000000000;
	char request[REQUEST_TEXT];

	if (info->block != KVSHM_BLOCKS_MAX) {
		kvs_log(KVS_LOG_WARNING,
			"client %u (process %d, %s) has held %u pin%s of block %u, of no request, for %llu s",
			info->client, (int)info->pid, info->name, info->pins, plural, info->block, seconds);
		return;
	}
	request_text(info, request);
	kvs_log(KVS_LOG_WARNING, "client %u (process %d, %s) has held %u pin%s of %s, for %llu s", info->client,
		(int)info->pid, info->name, info->pins, plural, request, seconds);
}

/* Tells those that were not told before; returns how many pins they are. */
static unsigned tell_new(const struct kvl_pins_view *read, const struct kvl_overdue *overdue, uint64_t now)
{
	unsigned pins = 0;

	for (size_t i = 0; i < read->count; i++) {
		struct kvshm_pin_info info;

		if (was_told(overdue, &read->all[i]))
			continue;
		kvl_view_describe_pins(read, &read->all[i], now, &info);
		tell(&info);
		pins += info.pins;
	}
	return pins;
}

/* What is overdue now is what was told; the rest has ended. */
static void remember(struct kvl_overdue *overdue, struct kvl_pins_view *read)
{
	free(overdue->told);
	overdue->told = read->all;
	overdue->count = read->count;
	read->all = NULL;
	if (overdue->count)
		qsort(overdue->told, overdue->count, sizeof(*overdue->told), compare);
}

static int look(kvshm_owner *owner, const struct kvs_view *view, uint64_t timeout, unsigned *pins)
{
	uint64_t now = kvs_now();
	struct kvl_pins_view read;
	int rc;

	(void)pthread_mutex_lock(&owner->overdue.lock);
	kvs_log_put_off();
	rc = kvl_view_read_pins(view, now > timeout ? now - timeout : 0, &read);
	if (rc == 0) {
		*pins = tell_new(&read, &owner->overdue, now);
		remember(&owner->overdue, &read);
		kvl_view_free_pins(&read);
	}
	(void)pthread_mutex_unlock(&owner->overdue.lock);
	kvs_log_go_on();
	return rc;
}

int kvshm_owner_look_at_pins(kvshm_owner *owner, uint64_t timeout, unsigned *overdue)
{
	int rc = kvl_check_owner(owner);
	struct kvs_view *view;
	unsigned pins = 0;

	if (rc)
		return rc;
	view = kvs_inspect_memory(sizeof(*view));
	if (!view)
		return kvs_fault(ENOMEM, "no memory");
	memset(view, 0, sizeof(*view));
	view->file = owner->map.probe;
	view->g = owner->map.g;
	(void)snprintf(view->path, sizeof(view->path), "%s/kvshm.%s", owner->dir, owner->name);
	rc = look(owner, view, timeout, &pins);
	free(view);
	if (rc)
		return rc;
	/* Relaxed: a counter. */
	if (pins)
		atomic_fetch_add_explicit(&owner->map.head->pins_overdue, pins, memory_order_relaxed);
	if (overdue)
		*overdue = pins;
	return 0;
}
