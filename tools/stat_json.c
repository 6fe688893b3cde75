/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_json.c: kvshm-stat's document: an object with a member for each section (an object, or an array of objects for
 * rows), and the remarks as an array of strings; of lines, a document each. Numbers are integers, but for durations
 * (seconds) and rates; every yes or no is a boolean; an identity is a string of hexadecimal digits, since JSON's
 * numbers can't carry 64 bits everywhere; what is not there is null.
 *
 * Rows are printed as they come, so that a store of many blocks needs no memory for all of them.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REALS JSON_REAL_PRECISION(12) /* a second in picoseconds: nothing is lost that was measured */

struct json_sink {
	struct stat_sink sink;
	enum stat_shape shape;
	unsigned sections; /* printed so far */
	unsigned rows;	   /* of this section */
	json_t *fields;	   /* the object that gets values now */
	json_t *remarks;
	bool failed;
};

static struct json_sink *of(struct stat_sink *sink)
{
	return (struct json_sink *)(void *)((char *)sink - offsetof(struct json_sink, sink));
}

/* ---- Printing -------------------------------------------------------------------------------------------- */

/* Prints what jansson has made, with its lines moved to the right. A newline is never part of a string there. */
static int print_part(const char *part, size_t size, void *arg)
{
	const int *indent = arg;

	for (size_t i = 0; i < size; i++) {
		if (putchar(part[i]) == EOF)
			return -1;
		if (part[i] == '\n')
			printf("%*s", *indent, "");
	}
	return 0;
}

/* Prints a value, and lets go of it. */
static void print_value(struct json_sink *json, json_t *value, int indent)
{
	if (!value || json_dump_callback(value, print_part, &indent, JSON_INDENT(2) | JSON_ENCODE_ANY | REALS))
		json->failed = true;
	json_decref(value);
}

static void print_name(struct json_sink *json, const char *section)
{
	printf("%s\n  \"%s\": ", json->sections++ ? "," : "{", section);
}

/* ---- Values ---------------------------------------------------------------------------------------------- */

/* Text that is not UTF-8 (anyone may write a label) is shown with '?' for the bytes beyond ASCII. */
static json_t *text_value(const char *text)
{
	json_t *value = json_string(text);
	char *copy;

	if (value)
		return value;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

static json_t *seconds_value(uint64_t ns)
{
	return json_real((double)ns / 1e9);
}

/* The buckets that have any: how many times there are below each end, and above the one before. */
static json_t *histogram_value(const struct kvshm_histogram *histogram)
{
	json_t *buckets = json_array();

	for (unsigned i = 0; i < KVSHM_HISTOGRAM_BUCKETS; i++) {
		bool last = i == KVSHM_HISTOGRAM_BUCKETS - 1;
		json_t *bucket;

		if (!histogram->bucket[i])
			continue;
		bucket = json_pack("{s:o, s:I}", "below", last ? json_null() : seconds_value(UINT64_C(1024) << i),
				   "count", (json_int_t)histogram->bucket[i]);
		if (json_array_append_new(buckets, bucket)) {
			json_decref(buckets);
			return NULL;
		}
	}
	return buckets;
}

static json_t *json_of(const struct stat_value *value)
{
	char hex[17];

	switch (value->kind) {
	case STAT_YESNO:
		return json_boolean(value->number);
	case STAT_HEX:
		snprintf(hex, sizeof(hex), "%016" PRIx64, value->number);
		return json_string(hex);
	case STAT_TEXT:
		return value->text ? text_value(value->text) : json_null();
	case STAT_RATE:
		return json_real(value->real);
	case STAT_SECONDS:
		return seconds_value(value->number);
	case STAT_HISTOGRAM:
		return histogram_value(value->histogram);
	case STAT_NONE:
		return json_null();
	default:
		return json_integer((json_int_t)value->number);
	}
}

/* ---- The sink -------------------------------------------------------------------------------------------- */

static void json_open(struct stat_sink *sink, const char *section, enum stat_shape shape)
{
	struct json_sink *json = of(sink);

	json->shape = shape;
	json->rows = 0;
	if (shape == STAT_LINES)
		return;
	print_name(json, section);
	if (shape == STAT_ROWS)
		putchar('[');
	else
		json->fields = json_object();
}

static void json_row(struct stat_sink *sink)
{
	of(sink)->fields = json_object();
}

static void json_value(struct stat_sink *sink, const struct stat_value *value)
{
	struct json_sink *json = of(sink);

	/* jansson's _new functions take the reference even if they fail, and refuse NULL. */
	if (json_object_set_new(json->fields, value->name, json_of(value)))
		json->failed = true;
}

static void json_end_row(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);

	if (json->shape == STAT_LINES) {
		if (json_dumpf(json->fields, stdout, JSON_COMPACT | REALS) || putchar('\n') == EOF)
			json->failed = true;
		json_decref(json->fields);
		fflush(stdout);
	} else {
		printf("%s\n    ", json->rows++ ? "," : "");
		print_value(json, json->fields, 4);
	}
	json->fields = NULL;
}

static void json_close(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);

	if (json->shape == STAT_ROWS)
		printf("%s]", json->rows ? "\n  " : "");
	else if (json->shape != STAT_LINES)
		print_value(json, json->fields, 2);
	json->fields = NULL;
}

static void json_remark(struct stat_sink *sink, const char *text)
{
	struct json_sink *json = of(sink);

	if (!json->remarks)
		json->remarks = json_array();
	if (json_array_append_new(json->remarks, text_value(text)))
		json->failed = true;
}

static bool json_finish(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);
	bool good;

	if (json->remarks) {
		print_name(json, "remarks");
		print_value(json, json->remarks, 2);
	}
	if (json->sections) /* else nothing could be shown: no document */
		puts("\n}");
	good = tool_flush();
	if (good && json->failed)
		tool_say("no memory for the JSON document");
	good = good && !json->failed;
	free(json);
	return good;
}

struct stat_sink *stat_json_new(void)
{
	struct json_sink *json = malloc(sizeof(*json));

	if (!json)
		return NULL;
	*json = (struct json_sink){
		.sink = { json_open, json_row, json_value, json_end_row, json_close, json_remark, json_finish, NULL },
	};
	return &json->sink;
}
