/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * remote.c: a prefill engine sends the blocks of a prompt to the store of another node, whose decode engine claims them
 * there as if they had been filled on its own node (transfer.c decode). README.md has its function send_prompt(), word
 * for word (tests/cli/readme_programs_run.sh).
 *
 *   remote STORE URL ID      computes what the store lacks of the prompt, and sends all of it
 */
#include <err.h>
#include <errno.h>
#include <kvshm.h>
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

/* Holds a block of the prompt, computed here if nobody has. */
static void hold(kvshm_store *store, size_t i, struct kvshm_handle *block)
{
	const struct kvshm_meta meta = {.length = keys[i].length, .depth = (uint32_t)i};
	enum kvshm_outcome outcome;
	void *bytes;

	must(kvshm_get_or_fill(store, keys[i].bytes, keys[i].length, &outcome, block));
	if (outcome == KVSHM_PENDING)
		must(kvshm_wait(store, block, in_seconds(10)));
	if (outcome != KVSHM_FILL)
		return;
	must(kvshm_address(store, block, 0, &bytes));
	memcpy(bytes, keys[i].bytes, keys[i].length);
	must(kvshm_publish(store, block, &meta));
}

static void send_prompt(kvshm_store *store, const char *url, const char *id)
{
	const uint64_t deadline = in_seconds(10);
	struct kvshm_handle blocks[KEYS];
	struct kvshm_transfer_info info;
	kvshm_transfer *transfer;
	kvshm_peer *peer;

	must(kvshm_connect(store, url, NULL, deadline, &peer));
	for (size_t i = 0; i < KEYS; i++)
		hold(store, i, &blocks[i]);
	must(kvshm_send(peer, id, strlen(id), NULL, blocks, KEYS, &transfer));
	must(kvshm_let_go(store, blocks, KEYS)); /* the transfer has holds of its own */
	must(kvshm_transfer_wait(transfer, deadline));
	must(kvshm_transfer_look(transfer, &info));
	printf("%u sent, %u were there\n", info.sent, info.there);
	must(kvshm_disconnect(peer)); /* the blocks are held over there until an engine has claimed them */
}

int main(int argc, char **argv)
{
	kvshm_store *store;

	if (argc != 4)
		errx(1, "usage: remote STORE URL ID");
	must(kvshm_attach(argv[1], NULL, &store));
	send_prompt(store, argv[2], argv[3]);
	must(kvshm_detach(store));
	return 0;
}
