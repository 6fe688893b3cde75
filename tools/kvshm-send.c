/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshm-send: sends blocks of a store to another node's store, or gets them from there, by their keys. Prints a line
 * for each key: what became of it. Each has its own result: what is missing or refused does not keep back the others.
 */
#include "config.h"

#include "send_settings.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SOME_LACK = 2 }; /* exit status: not all keys are where they should be */

static uint64_t in_ms(uint64_t ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + ms * 1000000;
}

/* ---- Sending */

/* Of those that are held here, and that the other store can have: one that it refuses would end the request of the
 * others. Their order is that of the transfer's positions. */
static size_t hold(kvshm_store *store, kvshm_peer *peer, struct send_keys *keys, struct kvshm_handle *held,
		   size_t *from)
{
	struct kvshm_peer_info info;
	size_t count = 0;

	if (kvshm_peer_get_info(peer, &info) ||
	    kvshm_get_batch(store, keys->keys, keys->count, keys->refs, keys->results)) {
		tool_say("%s", kvshm_error());
		return SIZE_MAX;
	}
	for (size_t i = 0; i < keys->count; i++)
		if (keys->results[i] == 0 && keys->keys[i].length > info.geometry.key_max) {
			printf("refused %s (keys of the store there have up to %" PRIu32 " bytes)\n", keys->names[i],
			       info.geometry.key_max);
		} else if (keys->results[i] == 0) {
			held[count] = keys->refs[i];
			from[count++] = i;
		} else {
			printf("%s %s\n", keys->results[i] == -EAGAIN ? "filling" : "missing", keys->names[i]);
		}
	return count;
}

static void tell(const struct send_keys *keys, const size_t *from, const struct kvshm_event *event, bool *lacks)
{
	const char *name = event->position == KVSHM_WHOLE_TRANSFER ? NULL : keys->names[from[event->position]];

	if (!name)
		return;
	if (event->sending == KVSHM_SENDING_SENT)
		printf("sent %s\n", name);
	else if (event->sending == KVSHM_SENDING_THERE)
		printf("there %s\n", name);
	else if (event->sending == KVSHM_SENDING_REFUSED) {
		printf("refused %s (%s)\n", name, strerror(-event->result));
		*lacks = true;
	}
}

/* Until the end of the transfer is told: its result. */
static int follow(kvshm_peer *peer, const struct send_keys *keys, const size_t *from, bool *lacks)
{
	struct kvshm_event events[16];
	size_t count;
	int rc;

	for (;;) {
		rc = kvshm_peer_work(peer, UINT64_MAX, events, 16, &count);
		if (rc)
			return rc;
		for (size_t i = 0; i < count; i++) {
			tell(keys, from, &events[i], lacks);
			if (events[i].position == KVSHM_WHOLE_TRANSFER)
				return events[i].result;
		}
	}
}

static void set_options(const struct send_settings *settings, struct kvshm_transfer_options *options)
{
	kvshm_transfer_defaults(options);
	options->attempt = (uint32_t)settings->attempt;
	options->room_timeout = settings->room_timeout * 1000000;
}

static int send_held(kvshm_peer *peer, const struct send_settings *settings, const struct kvshm_handle *held,
		     size_t count, const struct send_keys *keys, const size_t *from, bool *lacks)
{
	struct kvshm_transfer_options options;
	kvshm_transfer *transfer;
	int rc;

	set_options(settings, &options);
	rc = kvshm_send(peer, settings->id, settings->id ? strlen(settings->id) : 0, &options, held, count, &transfer);
	if (rc) {
		tool_say("%s", kvshm_error());
		return rc;
	}
	rc = follow(peer, keys, from, lacks);
	if (rc == -ECANCELED && *lacks)
		return 0; /* told already: some were refused */
	if (rc && kvshm_transfer_wait(transfer, 0))
		tool_say("%s", kvshm_error());
	return rc;
}

/* The exit status. */
static int send_keys(kvshm_store *store, kvshm_peer *peer, const struct send_settings *settings, struct send_keys *keys)
{
	struct kvshm_handle *held = calloc(keys->count, sizeof(*held));
	size_t *from = calloc(keys->count, sizeof(*from));
	size_t count = held && from ? hold(store, peer, keys, held, from) : SIZE_MAX;
	bool lacks = count < keys->count;
	int rc = count == SIZE_MAX ? -1 : 0;

	if (count && count != SIZE_MAX)
		rc = send_held(peer, settings, held, count, keys, from, &lacks);
	kvshm_let_go(store, keys->refs, keys->count);
	free(held);
	free(from);
	return rc ? EXIT_FAILURE : lacks ? SOME_LACK : EXIT_SUCCESS;
}

/* ---- Getting */

static int tell_got(kvshm_store *store, kvshm_transfer *transfer, struct send_keys *keys)
{
	struct kvshm_transfer_info info;
	int rc = kvshm_transfer_look(transfer, &info), status = EXIT_SUCCESS;

	if (rc == 0)
		rc = kvshm_request_claim(store, &info.request, keys->keys, keys->count, keys->refs, keys->results);
	if (rc) {
		tool_say("%s", kvshm_error());
		return EXIT_FAILURE;
	}
	kvshm_request_end(store, &info.request);
	for (size_t i = 0; i < keys->count; i++) {
		printf("%s %s\n", keys->results[i] ? "missing" : "here", keys->names[i]);
		if (keys->results[i])
			status = SOME_LACK;
	}
	kvshm_let_go(store, keys->refs, keys->count);
	return status;
}

/* A key that can be no store's is missing, alone, as others are that no store has. True: there is one. */
static bool leave_out_impossible(struct send_keys *keys)
{
	size_t all = keys->count, count = 0;

	for (size_t i = 0; i < all; i++) {
		if (keys->keys[i].length == 0 || keys->keys[i].length > KVSHM_KEY_MAX) {
			printf("missing %s\n", keys->names[i]);
			continue;
		}
		keys->keys[count] = keys->keys[i];
		keys->names[count++] = keys->names[i];
	}
	keys->count = count;
	return count < all;
}

static int get_keys(kvshm_store *store, kvshm_peer *peer, const struct send_settings *settings, struct send_keys *keys)
{
	const bool lacks = leave_out_impossible(keys);
	struct kvshm_transfer_options options;
	kvshm_transfer *transfer;
	int status;

	if (keys->count == 0)
		return SOME_LACK;
	set_options(settings, &options);
	if (kvshm_want(peer, settings->id, settings->id ? strlen(settings->id) : 0, &options, keys->keys, keys->count,
		       &transfer) || kvshm_transfer_wait(transfer, UINT64_MAX)) {
		tool_say("%s", kvshm_error());
		return EXIT_FAILURE;
	}
	status = tell_got(store, transfer, keys);
	return status == EXIT_SUCCESS && lacks ? SOME_LACK : status;
}

/* ---- Both */

static int exchange(kvshm_store *store, struct send_settings *settings, struct send_keys *keys)
{
	struct kvshm_net_options options;
	kvshm_peer *peer;
	int status;

	if (!net_options_apply(&settings->net, &options))
		return EXIT_FAILURE;
	if (kvshm_connect(store, settings->to ? settings->to : settings->from, &options,
			  in_ms(settings->net.timeout), &peer)) {
		tool_say("%s", kvshm_error());
		return EXIT_FAILURE;
	}
	status = settings->to ? send_keys(store, peer, settings, keys) : get_keys(store, peer, settings, keys);
	if (kvshm_disconnect(peer)) {
		tool_say("%s", kvshm_error());
		status = EXIT_FAILURE;
	}
	return status;
}

int main(int argc, char **argv)
{
	struct kvshm_attach_options options = { 0 };
	struct send_settings settings;
	struct send_keys keys;
	kvshm_store *store;
	int first, status;

	first = send_settings_read(argc, argv, &settings);
	send_keys_read(argv + first, (size_t)(argc - first), settings.hex, &keys);
	options.dir = settings.dir;
	kvshm_set_log(tool_log, NULL);
	if (kvshm_attach(settings.store, &options, &store)) {
		tool_say("%s", kvshm_error());
		send_keys_free(&keys);
		return EXIT_FAILURE;
	}
	status = exchange(store, &settings, &keys);
	kvshm_detach(store);
	send_keys_free(&keys);
	return tool_flush() ? status : EXIT_FAILURE;
}
