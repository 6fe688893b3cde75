/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stat_json.c: kvshm-stat's document: an object with a member for each section (an object, or an array of objects for
 * rows), and the remarks as an array of strings. Every number is an integer, every yes or no a boolean; an identity is
 * a string of hexadecimal digits, since JSON's numbers can't carry 64 bits everywhere.
 */
#include "config.h"

#include "stat.h"
#include "tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json_sink {
	struct stat_sink sink;
	json_t *root;
	json_t *section; /* borrowed, as is fields: the root owns all */
	json_t *fields;	 /* the object that gets values now */
	bool failed;
};

static struct json_sink *of(struct stat_sink *sink)
{
	return (struct json_sink *)(void *)((char *)sink - offsetof(struct json_sink, sink));
}

/* jansson's _new functions take the reference even if they fail, and refuse NULL. */
static void set(struct json_sink *json, json_t *object, const char *name, json_t *value)
{
	if (json_object_set_new(object, name, value))
		json->failed = true;
}

static void append(struct json_sink *json, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value))
		json->failed = true;
}

static void json_open(struct stat_sink *sink, const char *section, enum stat_shape shape)
{
	struct json_sink *json = of(sink);

	json->section = shape == STAT_ROWS ? json_array() : json_object();
	json->fields = shape == STAT_ROWS ? NULL : json->section;
	set(json, json->root, section, json->section);
}

static void json_row(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);

	json->fields = json_object();
	append(json, json->section, json->fields);
}

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
		return text_value(value->text);
	default:
		return json_integer((json_int_t)value->number);
	}
}

static void json_value(struct stat_sink *sink, const struct stat_value *value)
{
	struct json_sink *json = of(sink);

	set(json, json->fields, value->name, json_of(value));
}

static void json_close(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);

	json->section = NULL;
	json->fields = NULL;
}

static void json_remark(struct stat_sink *sink, const char *text)
{
	struct json_sink *json = of(sink);
	json_t *remarks = json_object_get(json->root, "remarks");

	if (!remarks) {
		remarks = json_array();
		set(json, json->root, "remarks", remarks);
	}
	append(json, remarks, json_string(text));
}

static bool json_finish(struct stat_sink *sink)
{
	struct json_sink *json = of(sink);
	bool good = !json->failed;

	if (!good)
		tool_say("no memory for the JSON document");
	else if (json_object_size(json->root) && /* nothing could be shown: no document */
		 (json_dumpf(json->root, stdout, JSON_INDENT(2)) || putchar('\n') == EOF))
		good = false; /* tool_flush() says why */
	json_decref(json->root);
	free(json);
	return tool_flush() && good;
}

struct stat_sink *stat_json_new(void)
{
	struct json_sink *json = malloc(sizeof(*json));

	if (!json)
		return NULL;
	*json = (struct json_sink){
		.sink = { json_open, json_row, json_value, json_close, json_remark, json_finish },
		.root = json_object(),
	};
	json->failed = !json->root;
	return &json->sink;
}
