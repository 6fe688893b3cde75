/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_trace.h: the requests that kvshm-replay replays, as two flat arrays. They are filled once, before any engine
 * is forked, and only read afterwards, so that all engines share the same pages.
 */
#ifndef REPLAY_TRACE_H
#define REPLAY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replay_trace {
	uint64_t *ids;	 /* the hash ids of all requests, one after the other */
	size_t *ends;	 /* request r has the ids from ends[r - 1] (0 for the first) up to ends[r] */
	size_t id_count;
	size_t request_count;
	size_t longest;	 /* ids of the longest request */
	size_t id_room, request_room;
};

/* A request's first id; it goes on to trace->ends[request]. */
static inline size_t replay_trace_begin(const struct replay_trace *trace, size_t request)
{
	return request ? trace->ends[request - 1] : 0;
}

/* Adds an id to the request that is being built, and ends that request. They end the program where there is no memory
 * left. */
void replay_trace_id(struct replay_trace *trace, uint64_t id);
void replay_trace_end(struct replay_trace *trace);

/* Reads a trace in Mooncake's format (JSON lines with hash_ids) from a file, or from standard input for "-". False,
 * with a message that names the line: it can't be read, or a line is broken. */
bool replay_trace_read(struct replay_trace *trace, const char *path);

/* Makes a workload of `requests` requests: sessions of several turns, each a longer prefix than the one before, under
 * system prompts that sessions share. The same seed gives the same requests. */
void replay_trace_generate(struct replay_trace *trace, uint64_t requests, uint64_t seed);

void replay_trace_free(struct replay_trace *trace);

#endif /* REPLAY_TRACE_H */
