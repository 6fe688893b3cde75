/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd_net.c: a client of kvshmd's own store, which listens for other nodes in a thread of its own. The thread sleeps
 * until one of them, an engine or a deadline has something for it. Where the device, port or address goes away it says
 * so, and listens anew, once a second, until it can: what was complete by then stays claimable meanwhile.
 */
#include "config.h"

#include "kvshmd_net.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "notify.h"
#include "tool.h"

enum { AGAIN_MS = 1000 };

struct net {
	const struct settings *settings;
	struct kvshm_net_options options;
	kvshm_store *store;
	kvshm_listener *listener; /* NULL: it listens to nobody at the moment */
	pthread_t thread;
	int end;       /* readable: the thread is to end */
	char url[128]; /* where it listens: with the port that it got first */
	char why_not[512]; /* what was said last of why it can't */
};

/* What the library says of a URL begins with it. */
static void say_why_not(const struct net *net)
{
	const char *why = kvshm_error();
	size_t length = strlen(net->url);
	bool named = strncmp(why, net->url, length) == 0 && why[length] == ':' && why[length + 1] == ' ';

	tool_say("--listen %s%s%s", named ? "" : net->url, named ? "" : ": ", why);
}

/* Says why, if it can't: once, for as long as that is the reason. */
static bool start_listening(struct net *net)
{
	int rc = kvshm_listen(net->store, net->url, &net->options, &net->listener);

	if (rc) {
		if (strncmp(net->why_not, kvshm_error(), sizeof(net->why_not) - 1) != 0)
			say_why_not(net);
		snprintf(net->why_not, sizeof(net->why_not), "%s", kvshm_error());
		net->listener = NULL;
		return false;
	}
	net->why_not[0] = '\0';
	(void)kvshm_listener_url(net->listener, net->url, sizeof(net->url));
	tool_say("listening at %s", net->url);
	return true;
}

/* Waits for the end, or, where a descriptor is given, for that: true. */
static bool wait_for(const struct net *net, int fd, int timeout)
{
	struct pollfd ready[] = { { .fd = net->end, .events = POLLIN }, { .fd = fd, .events = POLLIN } };

	while (poll(ready, fd < 0 ? 1 : 2, timeout) < 0 && errno == EINTR)
		;
	return !ready[0].revents;
}

/* Does what other nodes ask for, until the end (true) or until it can't any more. */
static bool work(struct net *net)
{
	int fd, rc = kvshm_listener_fd(net->listener, &fd);

	while (rc == 0 || rc == -ETIMEDOUT) {
		rc = kvshm_listener_work(net->listener, 0);
		if ((rc == 0 || rc == -ETIMEDOUT) && !wait_for(net, fd, -1))
			return true;
	}
	tool_say("%s: %s (kvshmd tries it each second)", net->url, kvshm_error());
	notify("STATUS=%s: %s", net->url, kvshm_error());
	return false;
}

static void *run(void *arg)
{
	struct net *net = arg;

	while (!work(net)) {
		kvshm_listener_close(net->listener);
		net->listener = NULL;
		do
			if (!wait_for(net, -1, AGAIN_MS))
				return NULL;
		while (!start_listening(net));
		notify("STATUS=store '%s' is ready, listening at %s", net->settings->store, net->url);
	}
	return NULL;
}

static bool attach(struct net *net)
{
	const struct kvshm_attach_options options = { .dir = net->settings->dir, .name = "kvshmd" };

	if (!kvshm_attach(net->settings->store, &options, &net->store))
		return true;
	net->store = NULL;
	tool_say("--listen: the store can't be attached: %s", kvshm_error());
	return false;
}

/* Gives back all but the thread. */
static void free_net(struct net *net)
{
	if (net->listener)
		kvshm_listener_close(net->listener);
	if (net->store)
		kvshm_detach(net->store);
	if (net->end >= 0)
		close(net->end);
	free(net);
}

static bool start_thread(struct net *net)
{
	int rc = pthread_create(&net->thread, NULL, run, net);

	if (rc)
		tool_say("--listen: no thread: %s", strerror(rc));
	return rc == 0;
}

struct net *net_open(struct settings *settings)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net) {
		tool_say("--listen: no memory");
		return NULL;
	}
	net->settings = settings;
	net->end = eventfd(0, EFD_CLOEXEC);
	snprintf(net->url, sizeof(net->url), "%s", settings->listen);
	if (net->end < 0)
		tool_say("--listen: no descriptor: %s", strerror(errno));
	else if (net_options_apply(&settings->net, &net->options)) {
		if (settings->claim_timeout != UINT64_MAX)
			net->options.claim_timeout = settings->claim_timeout * 1000000000;
		if (settings->fill_timeout != UINT64_MAX)
			net->options.fill_timeout = settings->fill_timeout * 1000000000;
		net->options.open = settings->insecure_listen;
		if (attach(net) && start_listening(net) && start_thread(net)) {
			if (settings->insecure_listen && !settings->net.key_file)
				tool_say("--insecure-listen: anyone who can connect to %s can write into the store",
					 net->url);
			return net;
		}
	}
	free_net(net);
	return NULL;
}

const char *net_url(const struct net *net)
{
	return net->url;
}

void net_tend(struct net *net)
{
	if (net)
		kvshm_request_tend(net->store, net->options.claim_timeout, NULL);
}

void net_close(struct net *net)
{
	const uint64_t one = 1;

	if (!net)
		return;
	if (write(net->end, &one, sizeof(one)) < 0)
		tool_say("--listen: its thread can't be told of the end: %s", strerror(errno));
	pthread_join(net->thread, NULL);
	free_net(net);
}
