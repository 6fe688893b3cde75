/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_columns.c: from structs to a sink, by the tables of fields: all fields of a struct, or the columns of a row that
 * --columns chose.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Choosing -------------------------------------------------------------------------------------------- */

static void add(struct stat_columns *columns, const struct stat_field *field, size_t part)
{
	if (columns->count == STAT_COLUMNS_MAX)
		tool_bad_use("--columns: more than %d columns", STAT_COLUMNS_MAX);
	columns->of[columns->count].field = field;
	columns->of[columns->count++].part = part;
}

__attribute__((noreturn)) static void refuse(const struct stat_table *table, const char *name, size_t length)
{
	char known[1024] = "";
	size_t used = 0;

	for (size_t p = 0; p < STAT_PARTS_MAX; p++)
		for (size_t i = 0; i < table->parts[p].count && used < sizeof(known); i++)
			used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
						 table->parts[p].fields[i].name);
	tool_bad_use("--columns '%.*s': there is no such column of %s; there are %s", (int)length, name,
		     table->section, known);
}

static void add_named(struct stat_columns *columns, const struct stat_table *table, const char *name, size_t length)
{
	for (size_t p = 0; p < STAT_PARTS_MAX; p++) {
		for (size_t i = 0; i < table->parts[p].count; i++) {
			const struct stat_field *field = &table->parts[p].fields[i];

			if (strlen(field->name) == length && !memcmp(field->name, name, length)) {
				add(columns, field, p);
				return;
			}
		}
	}
	refuse(table, name, length);
}

void stat_columns_choose(const struct stat_table *table, const char *text, bool list, struct stat_columns *columns)
{
	columns->count = 0;
	for (size_t p = 0; !text && p < STAT_PARTS_MAX; p++)
		for (size_t i = 0; i < table->parts[p].count; i++)
			if (table->parts[p].fields[i].when == STAT_SHOWN ||
			    (list && table->parts[p].fields[i].when == STAT_LISTED))
				add(columns, &table->parts[p].fields[i], p);
	while (text) {
		size_t length = strcspn(text, ",");

		add_named(columns, table, text, length);
		text = text[length] ? text + length + 1 : NULL;
	}
}

void stat_columns_all(const struct stat_table *table, struct stat_columns *columns)
{
	columns->count = 0;
	for (size_t p = 0; p < STAT_PARTS_MAX; p++)
		for (size_t i = 0; i < table->parts[p].count; i++)
			if (table->parts[p].fields[i].when != STAT_LISTED)
				add(columns, &table->parts[p].fields[i], p);
}

bool stat_columns_use(const struct stat_columns *columns, size_t part)
{
	for (size_t i = 0; i < columns->count; i++)
		if (columns->of[i].part == part)
			return true;
	return false;
}

bool stat_columns_use_member(const struct stat_columns *columns, size_t offset, size_t size)
{
	for (size_t i = 0; i < columns->count; i++)
		if (columns->of[i].field->offset - offset < size)
			return true;
	return false;
}

void stat_columns_help(const struct stat_table *table)
{
	printf("\nColumns of %s (*: shown unless told):\n", table->option);
	for (size_t p = 0; p < STAT_PARTS_MAX; p++) {
		for (size_t i = 0; i < table->parts[p].count; i++) {
			const struct stat_field *field = &table->parts[p].fields[i];

			printf("  %c %-20s  %s\n", field->when == STAT_SHOWN ? '*' : ' ', field->name, field->help);
		}
	}
}

/* ---- Showing --------------------------------------------------------------------------------------------- */

/* A number of 4 or 8 bytes; pids and times keep their sign. */
static uint64_t read_number(const struct stat_field *field, const char *from)
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

static void read_member(const struct stat_field *field, const char *from, struct stat_value *value)
{
	switch (field->kind) {
	case STAT_TEXT:
		value->text = from;
		break;
	case STAT_MAYBE:
		value->kind = STAT_TEXT;
		value->text = *from ? from : NULL;
		break;
	case STAT_RATE:
		memcpy(&value->real, from, sizeof(value->real));
		break;
	case STAT_HISTOGRAM:
		value->histogram = (const void *)from;
		break;
	case STAT_RETAIN:
		value->kind = STAT_TEXT;
		value->text = read_number(field, from) == KVSHM_KEEP ? "keep" : "drop";
		break;
	case STAT_SLOT:
		value->number = read_number(field, from);
		if (value->number == KVSHM_NO_SLOT)
			value->kind = STAT_NONE;
		break;
	default:
		value->number = read_number(field, from);
		break;
	}
}

static void show(struct stat_sink *sink, const struct stat_field *field, const void *from, enum stat_known known)
{
	struct stat_value value = {
		.name = field->name, .help = field->help, .kind = field->kind, .metric = field->metric,
	};

	if (from && field->needs >= known)
		read_member(field, (const char *)from + field->offset, &value);
	else
		value.kind = STAT_NONE;
	sink->value(sink, &value);
}

void stat_row(struct stat_sink *sink, const struct stat_columns *columns, const void *const *from,
	      enum stat_known known)
{
	sink->row(sink);
	for (size_t i = 0; i < columns->count; i++)
		show(sink, columns->of[i].field, from[columns->of[i].part], known);
	sink->end_row(sink);
}

void stat_fields(struct stat_sink *sink, const struct stat_part *part, const void *from, enum stat_known known)
{
	for (size_t i = 0; i < part->count; i++)
		show(sink, &part->fields[i], from, known);
}
