/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * transfer.c: a prefill engine leaves the blocks of a prompt to a decode engine, by a request. README.md has its
 * functions prefill() and decode(), word for word (tests/cli/readme_programs_run.sh).
 *
 *   transfer prefill STORE ID      opens the request, fills its blocks, and ends when its end was asked for
 *   transfer decode STORE ID       waits for it, claims its blocks, and asks for its end
 */
#include <err.h>
#include <errno.h>
#include <kvshm.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KEYS 3

static const struct kvshm_key keys[KEYS] = {{"tokens 0-15", 11}, {"tokens 0-31", 11}, {"tokens 0-47", 11}};

static void must(int rc)
{
	if (rc)
		errx(1, "%s", kvshm_error());
}

/* A deadline. */
static uint64_t in_seconds(unsigned seconds)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)(now.tv_sec + seconds) * 1000000000 + (uint64_t)now.tv_nsec;
}

static void compute(kvshm_store *store, size_t i, struct kvshm_handle *block)
{
	const struct kvshm_meta meta = {.length = keys[i].length, .depth = (uint32_t)i};
	void *bytes;

	must(kvshm_address(store, block, 0, &bytes));
	memcpy(bytes, keys[i].bytes, keys[i].length);
	must(kvshm_publish(store, block, &meta));
}

static void use(kvshm_store *store, size_t i, const struct kvshm_handle *block)
{
	void *bytes;

	must(kvshm_address(store, block, 0, &bytes));
	printf("%.*s\n", (int)keys[i].length, (const char *)bytes);
}

static void prefill(kvshm_store *store, const char *id)
{
	struct kvshm_handle blocks[KEYS];
	enum kvshm_outcome outcomes[KEYS];
	struct kvshm_request request;
	struct pollfd event = {.events = POLLIN};
	unsigned ended = 0;
	int rc, results[KEYS];

	must(kvshm_request_open(store, id, strlen(id), 0, KEYS, &request));
	must(kvshm_request_reserve(store, &request, KEYS, in_seconds(10)));
	do {
		must(kvshm_request_get_or_fill_batch(store, &request, keys, KEYS, outcomes, blocks, results));
		for (size_t i = 0; i < KEYS; i++) {
			must(results[i]);
			if (outcomes[i] == KVSHM_FILL)
				compute(store, i, &blocks[i]);
		}
		rc = kvshm_request_complete(store, &request, in_seconds(10));
	} while (rc == -EAGAIN); /* another engine was to fill one of the blocks, and has died */
	must(rc);
	must(kvshm_poll_fd(store, &event.fd));
	while (!ended) { /* the blocks stay until decode() has asked for the end, or a minute unclaimed */
		(void)poll(&event, 1, 1000);
		must(kvshm_poll_clear(store));
		must(kvshm_request_tend(store, UINT64_C(60000000000), &ended));
	}
}

static void decode(kvshm_store *store, const char *id)
{
	const uint64_t deadline = in_seconds(10);
	struct kvshm_handle blocks[KEYS];
	struct kvshm_request request;
	int rc, results[KEYS];

	while ((rc = kvshm_request_find(store, id, strlen(id), &request)) == -ENOENT && in_seconds(0) < deadline)
		(void)poll(NULL, 0, 1); /* prefill() has not opened it yet */
	must(rc);
	must(kvshm_request_wait(store, &request, deadline));
	must(kvshm_request_claim(store, &request, keys, KEYS, blocks, results));
	must(kvshm_request_end(store, &request)); /* prefill() lets go; what was claimed stays */
	for (size_t i = 0; i < KEYS; i++) {
		must(results[i]);
		use(store, i, &blocks[i]);
	}
	must(kvshm_release_batch(store, blocks, KEYS, results));
}

int main(int argc, char **argv)
{
	kvshm_store *store;

	if (argc != 4)
		errx(1, "transfer prefill|decode STORE ID");
	must(kvshm_attach(argv[2], NULL, &store));
	if (strcmp(argv[1], "prefill") == 0)
		prefill(store, argv[3]);
	else
		decode(store, argv[3]);
	must(kvshm_detach(store));
	return 0;
}
