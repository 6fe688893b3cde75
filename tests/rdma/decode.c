/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * decode.c: decode STORE TRACE: the decode engine of a node that kvshm-replay --remote sends the requests of the trace
 * to. It claims each as soon as it is complete, compares all bytes by its own refs, and asks for its end; of half of
 * them before it reads anything. It ends when something comes on its standard input, or that ends, and nothing more is
 * complete; it prints what it counted, and has failed if anything was corrupt, or missing in a complete request.
 */
#include "config.h"

#include "kvshm.h"
#include "replay_bytes.h"
#include "replay_trace.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOOK_MS = 5,	/* between two looks for complete requests */
	FOUND_MAX = 64, /* at each look */
	SAID = 10,	/* of what is wrong */
};

struct decoder {
	const char *name;
	kvshm_store *store;
	kvshm_view *view;
	struct replay_trace trace;
	struct kvshm_geometry geometry;
	uint8_t (*bytes)[REPLAY_KEY_SIZE];
	struct kvshm_key *keys;
	struct kvshm_handle *refs;
	int *results;
	uint8_t *seen; /* by request of the trace */
	uint64_t decoded, distinct, blocks, cancelled, corrupt, missed;
};

/* What a look has found. */
struct found {
	unsigned count;
	struct one {
		struct kvshm_request request;
		uint64_t number;
		uint32_t blocks;
	} list[FOUND_MAX];
};

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	tool_say("%s: %s", what, kvshm_error());
	exit(EXIT_FAILURE);
}

/* The number behind the slash of a replay's id. */
static bool number_of(const struct kvshm_request_info *info, uint64_t *number)
{
	char id[KVSHM_REQUEST_ID_MAX + 1];
	const char *slash;
	char *end;

	memcpy(id, info->id, info->id_length);
	id[info->id_length] = '\0';
	slash = strchr(id, '/');
	if (!slash)
		return false;
	*number = strtoull(slash + 1, &end, 10);
	return end > slash + 1 && !*end;
}

static int find_complete(const struct kvshm_request_info *info, void *arg)
{
	struct found *found = arg;
	struct one *one = &found->list[found->count];

	if (info->state != KVSHM_REQUEST_COMPLETE || found->count == FOUND_MAX || !number_of(info, &one->number))
		return 0;
	one->request = info->request;
	one->blocks = info->expected;
	found->count++;
	return 0;
}

static void complain(uint64_t *counter, const struct one *one, size_t position, const char *what)
{
	if ((*counter)++ < SAID)
		tool_say("request %" PRIu64 ", block %zu: %s", one->number, position, what);
}

static void check_block(struct decoder *decoder, const struct one *one, size_t i)
{
	const struct kvshm_geometry *geometry = &decoder->geometry;
	struct kvshm_meta meta;
	void *bytes;

	must(kvshm_get_meta(decoder->store, &decoder->refs[i], &meta), "a held block says nothing of itself");
	if (meta.length != geometry->block_size || meta.depth != i ||
	    memcmp(meta.opaque, decoder->bytes[i], sizeof(meta.opaque)) != 0)
		complain(&decoder->corrupt, one, i, "length, depth or opaque bytes are not what was sent");
	for (unsigned plane = 0; plane < geometry->planes; plane++) {
		must(kvshm_address(decoder->store, &decoder->refs[i], plane, &bytes), "a held block has no address");
		if (!replay_intact(bytes, geometry->block_size, decoder->bytes[i], plane))
			complain(&decoder->corrupt, one, i, "its bytes are not those of its key");
	}
}

static void check(struct decoder *decoder, const struct one *one, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (decoder->results[i])
			complain(&decoder->missed, one, i, strerror(-decoder->results[i]));
		else
			check_block(decoder, one, i);
		if (!decoder->results[i])
			must(kvshm_release(decoder->store, &decoder->refs[i]), "a block can't be released");
	}
}

static void ask_for_end(struct decoder *decoder, const struct one *one)
{
	int rc = kvshm_request_end(decoder->store, &one->request);

	if (rc != -EALREADY)
		must(rc, "a request's end can't be asked for");
}

static void decode(struct decoder *decoder, const struct one *one)
{
	const struct replay_trace *trace = &decoder->trace;
	size_t request = one->number % trace->request_count;
	size_t begin = replay_trace_begin(trace, request), count = trace->ends[request] - begin;
	int rc;

	if (count != one->blocks) {
		complain(&decoder->missed, one, one->blocks, "not the number of blocks that the trace has");
		ask_for_end(decoder, one);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		replay_key(trace->ids[begin + i], one->number / trace->request_count, decoder->bytes[i]);
		decoder->keys[i] = (struct kvshm_key){ decoder->bytes[i], REPLAY_KEY_SIZE };
	}
	rc = kvshm_request_claim(decoder->store, &one->request, decoder->keys, count, decoder->refs, decoder->results);
	if (rc == -ECANCELED) {
		decoder->cancelled++;
		return;
	}
	must(rc, "a request can't be claimed");
	if (one->number % 2)
		ask_for_end(decoder, one);
	check(decoder, one, count);
	ask_for_end(decoder, one);
	decoder->decoded++;
	decoder->blocks += count;
	decoder->distinct += !decoder->seen[request];
	decoder->seen[request] = 1;
}

static void work(struct decoder *decoder)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	struct found found = { 0 };
	bool last = false;

	do {
		if (poll(&input, 1, found.count ? 0 : LOOK_MS) > 0)
			last = true;
		found.count = 0;
		must(kvshm_view_requests(decoder->view, find_complete, &found), "the requests can't be seen");
		for (unsigned i = 0; i < found.count; i++)
			decode(decoder, &found.list[i]);
	} while (found.count || !last);
}

static void set_up(struct decoder *decoder)
{
	const struct kvshm_attach_options options = { .name = "decode" };
	size_t longest = decoder->trace.longest ? decoder->trace.longest : 1;

	must(kvshm_attach(decoder->name, &options, &decoder->store), "no store");
	must(kvshm_get_geometry(decoder->store, &decoder->geometry), "no geometry");
	must(kvshm_view_open(decoder->name, NULL, &decoder->view), "no view");
	decoder->bytes = calloc(longest, sizeof(*decoder->bytes));
	decoder->keys = calloc(longest, sizeof(*decoder->keys));
	decoder->refs = calloc(longest, sizeof(*decoder->refs));
	decoder->results = calloc(longest, sizeof(*decoder->results));
	decoder->seen = calloc(decoder->trace.request_count, 1);
	if (!decoder->bytes || !decoder->keys || !decoder->refs || !decoder->results || !decoder->seen) {
		tool_say("no memory");
		exit(EXIT_FAILURE);
	}
}

static void clean_up(struct decoder *decoder)
{
	kvshm_view_close(decoder->view);
	must(kvshm_detach(decoder->store), "can't detach");
	free(decoder->bytes);
	free(decoder->keys);
	free(decoder->refs);
	free(decoder->results);
	free(decoder->seen);
	replay_trace_free(&decoder->trace);
}

int main(int argc, char **argv)
{
	struct decoder decoder = { .name = argv[1] };

	if (argc != 3 || !replay_trace_read(&decoder.trace, argv[2]))
		return EXIT_FAILURE;
	set_up(&decoder);
	work(&decoder);
	clean_up(&decoder);
	printf("decoded %" PRIu64 " distinct %" PRIu64 " blocks %" PRIu64 " cancelled %" PRIu64 " corrupt %" PRIu64
	       " missed %" PRIu64 "\n", decoder.decoded, decoder.distinct, decoder.blocks, decoder.cancelled,
	       decoder.corrupt, decoder.missed);
	return decoder.corrupt || decoder.missed ? EXIT_FAILURE : EXIT_SUCCESS;
}
