/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_trace.c: holds a trace, and reads one. A line that can't be understood ends the reading with a message that
 * names it: a replay of half a trace would give figures that mean nothing.
 */
#include "config.h"

#include "replay_trace.h"
#include "tool.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULT_TEXT 256
#define LINE_MAX_BYTES (UINT64_C(64) << 20) /* what has no newlines is no trace, and is not read to its end */

static void *grow(void *array, size_t *room, size_t size)
{
	size_t wanted = *room ? 2 * *room : 1024;
	void *grown = reallocarray(array, wanted, size);

	if (!grown) {
		tool_say("no memory for the trace: replay a part of it");
		exit(TOOL_BAD_USE);
	}
	*room = wanted;
	return grown;
}

void replay_trace_id(struct replay_trace *trace, uint64_t id)
{
	if (trace->id_count == trace->id_room)
		trace->ids = grow(trace->ids, &trace->id_room, sizeof(*trace->ids));
	trace->ids[trace->id_count++] = id;
}

void replay_trace_end(struct replay_trace *trace)
{
	size_t length = trace->id_count - replay_trace_begin(trace, trace->request_count);

	if (trace->request_count == trace->request_room)
		trace->ends = grow(trace->ends, &trace->request_room, sizeof(*trace->ends));
	trace->ends[trace->request_count++] = trace->id_count;
	if (length > trace->longest)
		trace->longest = length;
}

void replay_trace_free(struct replay_trace *trace)
{
	free(trace->ids);
	free(trace->ends);
	*trace = (struct replay_trace){ 0 };
}

/* ---- Reading --------------------------------------------------------------------------------------------- */

/* Adds a request. False: fault says what is wrong with the array. */
static bool read_ids(struct replay_trace *trace, const json_t *ids, char fault[static FAULT_TEXT])
{
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const json_t *id = json_array_get(ids, i);

		if (!json_is_integer(id) || json_integer_value(id) < 0) {
			snprintf(fault, FAULT_TEXT, "entry %zu of hash_ids is no whole number from 0 up", i + 1);
			return false;
		}
		replay_trace_id(trace, (uint64_t)json_integer_value(id));
	}
	replay_trace_end(trace);
	return true;
}

static bool read_line(struct replay_trace *trace, const char *line, size_t length, char fault[static FAULT_TEXT])
{
	json_error_t error;
	json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	const json_t *ids = json_object_get(object, "hash_ids");
	bool good = false;

	if (!object)
		snprintf(fault, FAULT_TEXT, "no JSON (column %d: %.160s)", error.column, error.text);
	else if (!json_is_object(object))
		snprintf(fault, FAULT_TEXT, "no JSON object");
	else if (!ids)
		snprintf(fault, FAULT_TEXT, "the object has no hash_ids");
	else if (!json_is_array(ids))
		snprintf(fault, FAULT_TEXT, "hash_ids is no array");
	else
		good = read_ids(trace, ids, fault);
	json_decref(object);
	return good;
}

enum line { LINE_GOOD, LINE_NONE, LINE_TOO_LONG };

/* Reads a line, with its newline. LINE_NONE: the end of the file, or an error. */
static enum line next_line(FILE *file, char **line, size_t *room, size_t *length)
{
	int byte;

	*length = 0;
	while ((byte = getc_unlocked(file)) != EOF) {
		if (*length == LINE_MAX_BYTES)
			return LINE_TOO_LONG;
		if (*length == *room)
			*line = grow(*line, room, 1);
		(*line)[(*length)++] = (char)byte;
		if (byte == '\n')
			break;
	}
	return *length && !ferror(file) ? LINE_GOOD : LINE_NONE;
}

static bool is_blank(const char *line, size_t length)
{
	while (length && line[length - 1] && strchr(" \t\r\n", line[length - 1]))
		length--;
	return !length;
}

static bool read_lines(struct replay_trace *trace, FILE *file, const char *name)
{
	char fault[FAULT_TEXT];
	char *line = NULL;
	size_t room = 0, length;
	uint64_t number = 0;
	enum line next;
	bool good = true;

	while (good && (next = next_line(file, &line, &room, &length)) != LINE_NONE) {
		number++;
		if (next == LINE_TOO_LONG) {
			snprintf(fault, sizeof(fault), "longer than %ju MiB", (uintmax_t)(LINE_MAX_BYTES >> 20));
			good = false;
		} else if (!is_blank(line, length)) {
			good = read_line(trace, line, length, fault);
		}
		if (!good)
			tool_say("%s: line %ju: %s; mend or remove the line: each is an object such as "
				 "{\"hash_ids\": [0, 1, 2]}", name, (uintmax_t)number, fault);
	}
	if (good && !feof(file)) {
		tool_say("%s: can't be read after line %ju: %s", name, (uintmax_t)number, strerror(errno));
		good = false;
	}
	free(line);
	return good;
}

bool replay_trace_read(struct replay_trace *trace, const char *path)
{
	bool standard_input = !strcmp(path, "-");
	const char *name = standard_input ? "standard input" : path;
	FILE *file = standard_input ? stdin : fopen(path, "re");
	bool good;

	if (!file) {
		tool_say("%s: can't be opened: %s; name a trace (JSON lines with hash_ids), or use --generate", name,
			 strerror(errno));
		return false;
	}
	good = read_lines(trace, file, name);
	if (!standard_input)
		fclose(file);
	if (good && !trace->request_count) {
		tool_say("%s: no requests in it; name a trace (JSON lines with hash_ids), or use --generate", name);
		good = false;
	}
	return good;
}
