/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_trace: any bytes as the trace that kvshm-replay is given: it is refused, or its requests make sense, and are
 * the same when they are written as a trace and read again.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replay_trace.h"
#include "target.h"

static char path[TARGET_PATH];
static int file;

static void must_make_sense(const struct replay_trace *trace)
{
	size_t longest = 0;

	target_must(trace->request_count > 0);
	for (size_t i = 0; i < trace->request_count; i++) {
		size_t begin = replay_trace_begin(trace, i);

		target_must(trace->ends[i] >= begin && trace->ends[i] <= trace->id_count);
		if (trace->ends[i] - begin > longest)
			longest = trace->ends[i] - begin;
	}
	target_must(trace->ends[trace->request_count - 1] == trace->id_count);
	target_must(trace->longest == longest);
	for (size_t i = 0; i < trace->id_count; i++)
		target_must(trace->ids[i] <= INT64_MAX);
}

static void write_trace(const struct replay_trace *trace)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	target_must(out);
	for (size_t i = 0; i < trace->request_count; i++) {
		size_t begin = replay_trace_begin(trace, i);

		fprintf(out, "{\"hash_ids\":[");
		for (size_t id = begin; id < trace->ends[i]; id++)
			fprintf(out, "%s%" PRIu64, id > begin ? "," : "", trace->ids[id]);
		fprintf(out, "]}\n");
	}
	target_must(fclose(out) == 0);
	target_fill(file, text, size);
	free(text);
}

static void must_be_same(const struct replay_trace *a, const struct replay_trace *b)
{
	target_must(a->id_count == b->id_count && a->request_count == b->request_count);
	target_must(!a->id_count || memcmp(a->ids, b->ids, a->id_count * sizeof(*a->ids)) == 0);
	target_must(memcmp(a->ends, b->ends, a->request_count * sizeof(*a->ends)) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	file = target_file(path);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct replay_trace trace = { 0 }, again = { 0 };

	target_fill(file, data, size);
	if (replay_trace_read(&trace, path)) {
		must_make_sense(&trace);
		write_trace(&trace);
		target_must(replay_trace_read(&again, path));
		must_be_same(&trace, &again);
	}
	replay_trace_free(&again);
	replay_trace_free(&trace);
	return 0;
}
