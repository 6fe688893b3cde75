/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_fields.c: what kvshm-stat shows, each value declared once, in the order in which it is shown. To show another
 * member of a struct of kvshm.h, add it to its table here and to kvshm-stat(1). Counters need nothing: the library
 * names them.
 */
#include "config.h"

#include "stat.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct field {
	const char *name;
	size_t offset;
	size_t size;
	enum stat_kind kind;
};

#define FIELD(type, member, what) { #member, offsetof(struct type, member), sizeof(((struct type *)0)->member), what }
#define GEOMETRY(shown, member, what) \
	{ shown, offsetof(struct kvshm_store_info, geometry.member), \
	  sizeof(((struct kvshm_geometry *)0)->member), what }
#define COUNT(fields) (sizeof(fields) / sizeof((fields)[0]))

static const struct field store_fields[] = {
	FIELD(kvshm_store_info, name, STAT_TEXT),
	FIELD(kvshm_store_info, label, STAT_TEXT),
	GEOMETRY("blocks", blocks, STAT_NUMBER),
	GEOMETRY("block_size", block_size, STAT_BYTES),
	GEOMETRY("planes", planes, STAT_NUMBER),
	GEOMETRY("retain", retain, STAT_RETAIN),
	GEOMETRY("key_max", key_max, STAT_NUMBER),
	GEOMETRY("clients_max", clients, STAT_NUMBER),
	GEOMETRY("incarnation", incarnation, STAT_HEX),
	FIELD(kvshm_store_info, owner_pid, STAT_PID),
	FIELD(kvshm_store_info, owner_alive, STAT_YESNO),
	FIELD(kvshm_store_info, destroyed, STAT_YESNO),
	FIELD(kvshm_store_info, unlinked, STAT_YESNO),
	FIELD(kvshm_store_info, created, STAT_TIME),
	FIELD(kvshm_store_info, maker, STAT_TEXT),
	FIELD(kvshm_store_info, layout, STAT_NUMBER),
	FIELD(kvshm_store_info, segment_size, STAT_BYTES),
	FIELD(kvshm_store_info, fence, STAT_YESNO),
	FIELD(kvshm_store_info, epoch, STAT_NUMBER),
	FIELD(kvshm_store_info, readers, STAT_NUMBER),
	FIELD(kvshm_store_info, readers_used, STAT_NUMBER),
	FIELD(kvshm_store_info, readers_stalling, STAT_NUMBER),
};

static const struct field summary_fields[] = {
	GEOMETRY("blocks", blocks, STAT_NUMBER),
	GEOMETRY("block_size", block_size, STAT_BYTES),
	GEOMETRY("planes", planes, STAT_NUMBER),
	FIELD(kvshm_store_info, owner_pid, STAT_PID),
	FIELD(kvshm_store_info, owner_alive, STAT_YESNO),
	FIELD(kvshm_store_info, name, STAT_TEXT),
};

static const struct field usage_fields[] = {
	FIELD(kvshm_usage, free, STAT_NUMBER),
	FIELD(kvshm_usage, owned, STAT_NUMBER),
	FIELD(kvshm_usage, filling, STAT_NUMBER),
	FIELD(kvshm_usage, ready, STAT_NUMBER),
	FIELD(kvshm_usage, removing, STAT_NUMBER),
	FIELD(kvshm_usage, doomed, STAT_NUMBER),
	FIELD(kvshm_usage, grace, STAT_NUMBER),
	FIELD(kvshm_usage, held, STAT_NUMBER),
	FIELD(kvshm_usage, pinned, STAT_NUMBER),
	FIELD(kvshm_usage, evictable, STAT_NUMBER),
	FIELD(kvshm_usage, refs, STAT_NUMBER),
	FIELD(kvshm_usage, pins, STAT_NUMBER),
};

static const struct field client_fields[] = {
	FIELD(kvshm_client_info, slot, STAT_NUMBER),
	FIELD(kvshm_client_info, pid, STAT_PID),
	FIELD(kvshm_client_info, alive, STAT_YESNO),
	FIELD(kvshm_client_info, attached, STAT_TIME),
	FIELD(kvshm_client_info, refs, STAT_NUMBER),
	FIELD(kvshm_client_info, pins, STAT_NUMBER),
	FIELD(kvshm_client_info, blocks, STAT_NUMBER),
	FIELD(kvshm_client_info, fills, STAT_NUMBER),
	FIELD(kvshm_client_info, name, STAT_TEXT),
};

/* ---- From a struct to a sink ----------------------------------------------------------------------------- */

/* A number of 4 or 8 bytes; pids and times keep their sign. */
static uint64_t read_number(const struct field *field, const char *from)
{
	uint64_t wide;
	uint32_t narrow;

	if (field->size == sizeof(wide)) {
		memcpy(&wide, from, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, from, sizeof(narrow));
	return field->kind == STAT_PID ? (uint64_t)(int64_t)(int32_t)narrow : narrow;
}

static const char *retain_name(uint64_t retain)
{
	return retain == KVSHM_KEEP ? "keep" : "drop";
}

static void emit(struct stat_sink *sink, const struct field *fields, size_t count, const void *from)
{
	for (size_t i = 0; i < count; i++) {
		const char *member = (const char *)from + fields[i].offset;
		struct stat_value value = { .name = fields[i].name, .kind = fields[i].kind };

		if (value.kind == STAT_TEXT)
			value.text = member;
		else
			value.number = read_number(&fields[i], member);
		if (value.kind == STAT_RETAIN) {
			value.kind = STAT_TEXT;
			value.text = retain_name(value.number);
		}
		sink->value(sink, &value);
	}
}

static void emit_section(struct stat_sink *sink, const char *name, const struct field *fields, size_t count,
			 const void *from)
{
	sink->open(sink, name, STAT_FIELDS);
	emit(sink, fields, count, from);
	sink->close(sink);
}

static int show_counter(const struct kvshm_counter *counter, void *arg)
{
	struct stat_sink *sink = arg;
	const struct stat_value value = {
		.name = counter->name, .help = counter->help, .kind = STAT_NUMBER, .number = counter->value,
	};

	sink->value(sink, &value);
	return 0;
}

struct client_walk {
	struct stat_sink *sink;
	const char *store;
	unsigned dead;
};

static int show_client(const struct kvshm_client_info *client, void *arg)
{
	struct client_walk *walk = arg;

	walk->sink->row(walk->sink);
	if (walk->store) {
		const struct stat_value store = { .name = "store", .kind = STAT_TEXT, .text = walk->store };

		walk->sink->value(walk->sink, &store);
	}
	emit(walk->sink, client_fields, COUNT(client_fields), client);
	walk->dead += !client->alive;
	return 0;
}

/* ---- What someone should know ---------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void remark(struct stat_sink *sink, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	sink->remark(sink, text);
}

static void remark_on_owner(struct stat_sink *sink, const struct kvshm_store_info *info)
{
	if (info->destroyed)
		remark(sink, "the store was destroyed: its clients get -ESTALE, and should attach its successor");
	else if (info->unlinked)
		remark(sink, "the segment's file has lost its name (logind's RemoveIPC does that): nobody can attach");
	else if (!info->owner_alive)
		remark(sink,
		       "no living process owns the store: 'kvshmd --store %s --adopt' goes on with it (in its --dir)",
		       info->name);
}

static void remark_on_room(struct stat_sink *sink, const struct kvshm_store_info *info,
			   const struct kvshm_usage *usage)
{
	if (!usage->free && !usage->evictable && usage->grace)
		remark(sink, "no room now; blocks that are free once a grace period has passed: %" PRIu64,
		       usage->grace);
	else if (!usage->free && !usage->evictable)
		remark(sink, "no room: every block is held or being filled");
	if (info->readers_stalling)
		remark(sink, "reader slots in a section since an earlier epoch: %" PRIu32 "; while they stay there, "
			     "blocks in grace can't be used again", info->readers_stalling);
}

static void remark_on_clients(struct stat_sink *sink, unsigned dead)
{
	if (dead)
		remark(sink, "dead clients that wait for recovery: %u; kvshmd does it, and any attach", dead);
}

/* ---- What kvshm-stat.c calls ----------------------------------------------------------------------------- */

int stat_show_store(kvshm_view *view, struct stat_sink *sink)
{
	struct client_walk walk = { .sink = sink };
	struct kvshm_store_info info;
	struct kvshm_usage usage;
	int rc;

	rc = kvshm_view_store(view, &info);
	if (!rc)
		rc = kvshm_view_usage(view, &usage);
	if (rc)
		return rc;
	emit_section(sink, "store", store_fields, COUNT(store_fields), &info);
	emit_section(sink, "usage", usage_fields, COUNT(usage_fields), &usage);
	sink->open(sink, "counters", STAT_FIELDS);
	rc = kvshm_view_counters(view, show_counter, sink);
	sink->close(sink);
	if (rc)
		return rc;
	sink->open(sink, "clients", STAT_ROWS);
	rc = kvshm_view_clients(view, show_client, &walk);
	sink->close(sink);
	if (rc)
		return rc;
	remark_on_owner(sink, &info);
	remark_on_room(sink, &info, &usage);
	remark_on_clients(sink, walk.dead);
	return 0;
}

int stat_show_clients(kvshm_view *view, const char *store, struct stat_sink *sink)
{
	struct client_walk walk = { .sink = sink, .store = store };

	return kvshm_view_clients(view, show_client, &walk);
}

int stat_show_summary(kvshm_view *view, struct stat_sink *sink)
{
	struct kvshm_store_info info;
	int rc = kvshm_view_store(view, &info);

	if (rc)
		return rc;
	sink->row(sink);
	emit(sink, summary_fields, COUNT(summary_fields), &info);
	return 0;
}
