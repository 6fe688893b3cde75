/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * judge.c: looking at a store from outside, as the tools do. See base.h.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

static kvshm_view *look_at(const char *name)
{
	kvshm_view *view;

	base_expect(kvshm_view_open(name, NULL, &view), 0);
	return view;
}

void base_usage(const char *name, struct kvshm_usage *usage)
{
	kvshm_view *view = look_at(name);

	base_expect(kvshm_view_usage(view, usage), 0);
	kvshm_view_close(view);
}

struct wanted {
	const char *name;
	uint64_t value;
};

static int match_counter(const struct kvshm_counter *counter, void *arg)
{
	struct wanted *wanted = arg;

	if (strcmp(counter->name, wanted->name) != 0)
		return 0;
	wanted->value = counter->value;
	return 1;
}

uint64_t base_counter(const char *name, const char *counter)
{
	struct wanted wanted = {.name = counter};
	kvshm_view *view = look_at(name);

	base_expect(kvshm_view_counters(view, match_counter, &wanted), 1);
	kvshm_view_close(view);
	return wanted.value;
}

struct clients {
	unsigned alive, dead;
};

static int count_open(const struct kvshm_request_info *request, void *arg)
{
	unsigned *open = arg;

	*open += request->state != KVSHM_REQUEST_CLOSED;
	return 0;
}

static int count_client(const struct kvshm_client_info *client, void *arg)
{
	struct clients *clients = arg;

	if (client->alive)
		clients->alive++;
	else
		clients->dead++;
	return 0;
}

/* Of who is alive, at most one thread is left to use the store: so there are no more reader slots than clients. */
bool base_at_rest(const char *name, unsigned blocks, char why[256])
{
	struct clients clients = {0};
	struct kvshm_store_info store;
	struct kvshm_usage u;
	kvshm_view *view = look_at(name);
	unsigned open = 0;

	base_expect(kvshm_view_usage(view, &u), 0);
	base_expect(kvshm_view_store(view, &store), 0);
	base_expect(kvshm_view_clients(view, count_client, &clients), 0);
	base_expect(kvshm_view_requests(view, count_open, &open), 0);
	kvshm_view_close(view);
	(void)snprintf(why, 256,
		       "%u dead clients; %u readers of %u clients, %u stalling; %u requests; blocks: %" PRIu64
		       " free, %" PRIu64 " owned, %" PRIu64 " room, %" PRIu64 " filling, %" PRIu64 " ready, %" PRIu64
		       " removing, %" PRIu64 " doomed, %" PRIu64 " grace, %" PRIu64 " held, %" PRIu64
		       " cleared; %" PRIu64 " refs, %" PRIu64 " pins",
		       clients.dead, store.readers_used, clients.alive, store.readers_stalling, open, u.free, u.owned,
		       u.room, u.filling, u.ready, u.removing, u.doomed, u.grace, u.held, u.cleared, u.refs, u.pins);
	return clients.dead == 0 && open == 0 && u.free + u.ready + u.grace == blocks && u.held == 0 &&
	       u.cleared == 0 && u.refs == 0 && u.pins == 0 && store.readers_used <= clients.alive &&
	       store.readers_stalling == 0;
}

static void print_finding(const char *finding, void *arg)
{
	(void)arg;
	(void)printf("    %s\n", finding);
}

void base_judge(const char *name, unsigned blocks)
{
	struct kvshm_check_result result;
	char why[256];
	kvshm_view *view;

	if (!base_at_rest(name, blocks, why))
		base_fail("the store is not at rest: %s", why);
	view = look_at(name);
	base_expect(kvshm_view_check(view, print_finding, NULL, &result), 0);
	kvshm_view_close(view);
	(void)printf("judged: %" PRIu64 " unsound, %" PRIu64 " pending, %" PRIu64 " leaked%s\n", result.unsound,
		     result.pending, result.leaked, result.quiescent ? ", nobody attached" : "");
	if (result.unsound || result.pending || result.leaked)
		base_fail("the store is not sound");
}
