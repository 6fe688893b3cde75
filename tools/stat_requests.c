/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_requests.c: what a view tells of requests and of pins, as rows, and counted. Rows come the oldest first, as the
 * library has them. Closed requests, of which there are soon as many as slots, are only counted.
 */
#include "config.h"

#include "stat.h"

#include <stdio.h>
#include <string.h>

struct walk {
	struct stat_sink *sink;
	const struct stat_columns *columns;
	const char *store;
};

/* An id as it is, where it can be read and is not taken for digits, or for none; else its bytes as 0x and digits. */
static void id_text(const uint8_t *id, size_t length, char text[STAT_ID_SIZE])
{
	bool digits = length >= 2 && id[0] == '0' && id[1] == 'x', none = length == 1 && id[0] == '-';
	bool readable = !digits && !none;

	for (size_t i = 0; i < length; i++)
		readable = readable && id[i] > ' ' && id[i] <= '~';
	if (readable) {
		memcpy(text, id, length);
		text[length] = '\0';
		return;
	}
	memcpy(text, "0x", 2);
	stat_hex(id, length, text + 2);
}

/* ---- Requests -------------------------------------------------------------------------------------------- */

static const char *const states[] = {
	[KVSHM_REQUEST_OPENING] = "opening", [KVSHM_REQUEST_OPEN] = "open",	  [KVSHM_REQUEST_COMPLETE] = "complete",
	[KVSHM_REQUEST_ENDING] = "ending",   [KVSHM_REQUEST_ABORTED] = "aborted", [KVSHM_REQUEST_CLOSED] = "closed",
};

static int show_request(const struct kvshm_request_info *info, void *arg)
{
	const struct walk *walk = arg;
	struct stat_request_row row = { .info = *info };
	const void *from[STAT_PARTS_MAX] = { &row, NULL };

	if (info->state == KVSHM_REQUEST_CLOSED)
		return 0;
	snprintf(row.store, sizeof(row.store), "%s", walk->store);
	snprintf(row.state, sizeof(row.state), "%s", states[info->state]);
	id_text(info->id, info->id_length, row.id);
	stat_row(walk->sink, walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_requests(kvshm_view *view, const char *store, const struct stat_columns *columns,
		       struct stat_sink *sink)
{
	struct walk walk = { .sink = sink, .columns = columns, .store = store };

	return kvshm_view_requests(view, show_request, &walk);
}

/* ---- Pins ------------------------------------------------------------------------------------------------ */

static int show_pins(const struct kvshm_pin_info *info, void *arg)
{
	const struct walk *walk = arg;
	struct stat_pins_row row = { .info = *info, .block = KVSHM_NO_SLOT, .attempt = KVSHM_NO_SLOT };
	const void *from[STAT_PARTS_MAX] = { &row, NULL };

	snprintf(row.store, sizeof(row.store), "%s", walk->store);
	if (info->block == KVSHM_BLOCKS_MAX)
		row.attempt = info->attempt;
	else
		row.block = info->block;
	id_text(info->id, info->id_length, row.id);
	stat_row(walk->sink, walk->columns, from, STAT_ALL);
	return 0;
}

int stat_show_pins(kvshm_view *view, const char *store, const struct stat_columns *columns, struct stat_sink *sink)
{
	struct walk walk = { .sink = sink, .columns = columns, .store = store };

	return kvshm_view_pins(view, show_pins, &walk);
}

/* ---- Counted --------------------------------------------------------------------------------------------- */

static void keep_oldest(uint64_t *oldest, uint64_t age)
{
	if (age > *oldest)
		*oldest = age;
}

static int count_request(const struct kvshm_request_info *info, void *arg)
{
	struct stat_work *work = arg;
	uint64_t *const counts[] = {
		[KVSHM_REQUEST_OPENING] = &work->opening,   [KVSHM_REQUEST_OPEN] = &work->open,
		[KVSHM_REQUEST_COMPLETE] = &work->complete, [KVSHM_REQUEST_ENDING] = &work->ending,
		[KVSHM_REQUEST_ABORTED] = &work->aborted,   [KVSHM_REQUEST_CLOSED] = &work->closed,
	};

	++*counts[info->state];
	work->waiting += info->wanted != 0;
	if (info->state != KVSHM_REQUEST_CLOSED)
		keep_oldest(&work->oldest_request, info->age);
	return 0;
}

static int count_pins(const struct kvshm_pin_info *info, void *arg)
{
	struct stat_work *work = arg;

	keep_oldest(&work->oldest_pin, info->age);
	return 0;
}

int stat_view_work(kvshm_view *view, struct stat_work *work)
{
	int rc;

	*work = (struct stat_work){ 0 };
	rc = kvshm_view_requests(view, count_request, work);
	return rc ? rc : kvshm_view_pins(view, count_pins, work);
}
