/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * client: an engine process for the tests of the tools, led by a script: it attaches STORE, and for each line `COMMAND
 * KEY` on standard input it makes one call and answers with one line. So a script knows what a client holds at any
 * time, without a clock. End of input: it detaches and ends.
 *
 *   begin KEY    get-or-fill: `ready`, `pending` or `fill`
 *   publish KEY  writes the key as text into plane 0 of the block begun, and publishes it: `ok`
 *   read KEY     takes a ref and answers with the text in plane 0
 *   pin KEY      pins the block that begin or read holds: `ok`
 *   release KEY  ends the ref that begin, publish or read left: `ok`
 *   open ID      opens a request of that id: `ok`
 *   take KEY     has the request hold the key, which is filled if it is not there: `ok`
 *   queue N      takes a place in the line for N blocks of room for the request: `ok`, or EINPROGRESS
 *   end ID       ends the request: `ok`
 *   guard SLOT   keeps the lock that a recoverer of that client slot has: `ok`
 *
 * The first line is the answer to attaching: `ok`. A call that fails answers with the name of its error, such as
 * ESTALE.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvshm.h"

enum { HELD_MAX = 64 };

struct held {
	char key[KVSHM_KEY_MAX + 1];
	struct kvshm_handle handle;
};

struct client {
	kvshm_store *store;
	char path[256]; /* of its segment */
	struct held held[HELD_MAX];
	size_t count;
	struct kvshm_request request;
};

static struct kvshm_handle *find(struct client *client, const char *key)
{
	for (size_t i = 0; i < client->count; i++)
		if (!strcmp(client->held[i].key, key))
			return &client->held[i].handle;
	fprintf(stderr, "client: %s is not held\n", key);
	exit(EXIT_FAILURE);
}

/* Where the handle of a hold that is about to be taken goes; it is kept only if it becomes one. */
static struct kvshm_handle *place(struct client *client, const char *key)
{
	struct held *held = &client->held[client->count];

	if (client->count == HELD_MAX) {
		fprintf(stderr, "client: more than %d holds\n", HELD_MAX);
		exit(EXIT_FAILURE);
	}
	snprintf(held->key, sizeof(held->key), "%s", key);
	return &held->handle;
}

static int do_begin(struct client *client, const char *key, const char **answer)
{
	static const char *const outcomes[] = {
		[KVSHM_READY] = "ready", [KVSHM_PENDING] = "pending", [KVSHM_FILL] = "fill",
	};
	enum kvshm_outcome outcome;
	int rc = kvshm_get_or_fill(client->store, key, strlen(key), &outcome, place(client, key));

	if (rc)
		return rc;
	client->count++;
	*answer = outcomes[outcome];
	return 0;
}

static int do_publish(struct client *client, const char *key, const char **answer)
{
	struct kvshm_handle *handle = find(client, key);
	int rc = kvshm_write(client->store, handle, 0, 0, key, strlen(key) + 1);

	(void)answer;
	return rc ? rc : kvshm_publish(client->store, handle, NULL);
}

static int do_read(struct client *client, const char *key, const char **answer)
{
	static char bytes[KVSHM_KEY_MAX + 1];
	struct kvshm_handle *handle = place(client, key);
	int rc = kvshm_get(client->store, key, strlen(key), handle);

	if (rc)
		return rc;
	client->count++;
	*answer = bytes;
	return kvshm_read(client->store, handle, 0, 0, bytes, sizeof(bytes));
}

static int do_pin(struct client *client, const char *key, const char **answer)
{
	struct kvshm_handle pin;

	(void)answer;
	return kvshm_pin(client->store, find(client, key), &pin);
}

/* The request that this client opened last: its commands are about that one. "-": without a name; "+-": with that for
 * a name. */
static int do_open(struct client *client, const char *id, const char **answer)
{
	(void)answer;
	if (!strcmp(id, "-"))
		return kvshm_request_open(client->store, NULL, 0, 0, 1, &client->request);
	if (!strcmp(id, "+-"))
		id++;
	return kvshm_request_open(client->store, id, strlen(id), 1, 1, &client->request);
}

/* A key for the request: filled, if it is not there. */
static int do_take(struct client *client, const char *key, const char **answer)
{
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int rc = kvshm_request_get_or_fill(client->store, &client->request, key, strlen(key), &outcome, &handle);

	(void)answer;
	return rc || outcome != KVSHM_FILL ? rc : kvshm_publish(client->store, &handle, NULL);
}

static int do_queue(struct client *client, const char *blocks, const char **answer)
{
	(void)answer;
	return kvshm_request_queue(client->store, &client->request, (uint32_t)strtoul(blocks, NULL, 10), UINT64_MAX);
}

static int do_end(struct client *client, const char *id, const char **answer)
{
	(void)id;
	(void)answer;
	return kvshm_request_end(client->store, &client->request);
}

static int do_release(struct client *client, const char *key, const char **answer)
{
	(void)answer;
	return kvshm_release(client->store, find(client, key));
}

/* As a recoverer does that is stopped before its end. */
static int do_guard(struct client *client, const char *slot, const char **answer)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int file = open(client->path, O_RDONLY | O_CLOEXEC);

	(void)answer;
	lock.l_start = strtol(slot, NULL, 10);
	return file >= 0 && !fcntl(file, F_OFD_SETLK, &lock) ? 0 : -errno;
}

static const struct command {
	const char *name;
	int (*run)(struct client *client, const char *key, const char **answer);
} commands[] = {
	{ "begin", do_begin }, { "publish", do_publish }, { "read", do_read }, { "pin", do_pin },
	{ "release", do_release }, { "guard", do_guard }, { "open", do_open }, { "take", do_take },
	{ "queue", do_queue }, { "end", do_end },
};

static void say(int rc, const char *answer)
{
	puts(rc ? strerrorname_np(-rc) : answer);
	fflush(stdout);
}

static void obey(struct client *client, char *line)
{
	const char *name = strtok(line, " \n"), *key = strtok(NULL, " \n"), *answer = "ok";
	int rc;

	for (size_t i = 0; name && key && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(commands[i].name, name)) {
			rc = commands[i].run(client, key, &answer);
			say(rc, answer);
			return;
		}
	}
	fprintf(stderr, "client: no command with a key: %s\n", name ? name : "");
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	const struct kvshm_attach_options options = { .name = "client" };
	const char *dir = getenv("KVSHM_DIR");
	struct client client = { 0 };
	char line[512];
	int rc;

	if (argc != 2) {
		fprintf(stderr, "usage: client STORE\n");
		return EXIT_FAILURE;
	}
	snprintf(client.path, sizeof(client.path), "%s/kvshm.%s", dir ? dir : "/dev/shm", argv[1]);
	rc = kvshm_attach(argv[1], &options, &client.store);
	say(rc, "ok");
	if (rc)
		return EXIT_FAILURE;
	while (fgets(line, sizeof(line), stdin))
		obey(&client, line);
	return kvshm_detach(client.store) ? EXIT_FAILURE : EXIT_SUCCESS;
}
