/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_remote.c: a replay to another node's store: makes the connection, and sleeps until something happens on it.
 * A connection that is lost is made again, as long as the replay has patience, and what was in flight is sent again.
 * Guarantees: however it ends, what was under way is aborted.
 */
#include "config.h"

#include "replay_remote.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	EVENTS = 256,
	CONNECT_EVERY_MS = 100, /* while the other side can't be reached */
};

static bool fail(const char *what)
{
	tool_say("%s: %s", what, kvshm_error());
	return false;
}

/* ---- The connection -------------------------------------------------------------------------------------- */

static int connect_once(struct replay_remote *remote)
{
	return kvshm_connect(NULL, remote->url, &remote->options, replay_now() + remote->options.timeout,
			     &remote->peer);
}

/* Has the signal come that ends the replay? Sleeps for it. */
static bool signal_comes(struct replay_remote *remote, int ms)
{
	struct pollfd end = { .fd = remote->signals, .events = POLLIN };
	struct signalfd_siginfo info;

	if (poll(&end, 1, ms) == 1 && read(remote->signals, &info, sizeof(info)) == sizeof(info))
		remote->interrupted = (int)info.ssi_signo;
	return remote->interrupted;
}

static bool register_buffer(struct replay_remote *remote)
{
	return !kvshm_peer_register(remote->peer, remote->buffer.bytes, remote->buffer.size) ||
	       fail("memory can't be registered");
}

/* Who is there again is the same store, or one that took its place: with the same sizes. */
static bool reconnect(struct replay_remote *remote)
{
	uint64_t patience = replay_now() + CLIENT_PATIENCE * REPLAY_MS;
	size_t count;
	int rc;

	(void)kvshm_peer_work(remote->peer, 0, NULL, 0, &count); /* says why */
	tool_say("connecting again: %s", kvshm_error());
	if (kvshm_disconnect(remote->peer))
		return fail("the connection can't be closed");
	remote->peer = NULL;
	while ((rc = connect_once(remote)) && replay_now() < patience) {
		if (signal_comes(remote, CONNECT_EVERY_MS))
			return true;
	}
	if (rc)
		return fail("the connection is lost, and can't be made again");
	remote->lost = false;
	remote->tally.reconnected++;
	return register_buffer(remote);
}

/* ---- The loop -------------------------------------------------------------------------------------------- */

static int ms_until(uint64_t time)
{
	uint64_t now = replay_now();

	if (time == UINT64_MAX)
		return -1;
	return time > now ? (int)((time - now) / REPLAY_MS) + 1 : 0;
}

/* Sleeps until something has happened, or so late. */
static bool sleep_until(struct replay_remote *remote, uint64_t time)
{
	struct pollfd ends[2] = { { .fd = remote->signals, .events = POLLIN }, { .events = POLLIN } };
	int rc = kvshm_peer_fd(remote->peer, &ends[1].fd);

	if (rc)
		return fail("the connection has no descriptor");
	(void)poll(ends, 2, ms_until(time));
	if (ends[0].revents && signal_comes(remote, 0))
		return replay_sendings_abort(remote);
	return true;
}

/* All that has happened. */
static bool take_events(struct replay_remote *remote)
{
	struct kvshm_event events[EVENTS];
	size_t count;
	bool good = true;
	int rc;

	do {
		rc = kvshm_peer_work(remote->peer, 0, events, EVENTS, &count);
		for (size_t i = 0; good && !rc && i < count; i++)
			good = replay_sending_event(remote, &events[i]);
	} while (good && !rc);
	if (rc == -ENOTCONN)
		remote->lost = true;
	return good && (rc == -ETIMEDOUT || rc == -ENOTCONN || fail("the connection"));
}

static bool loop(struct replay_remote *remote)
{
	uint64_t next;
	uint32_t busy;
	bool good;

	do {
		good = replay_sendings_work(remote, &busy, &next);
		if (good && busy && !remote->lost)
			good = sleep_until(remote, next);
		if (good && busy)
			good = take_events(remote);
		if (good && busy && remote->lost)
			good = remote->interrupted ? replay_sendings_abort(remote) : reconnect(remote);
	} while (good && busy && !(remote->lost && remote->interrupted));
	return good;
}

/* ---- A life ---------------------------------------------------------------------------------------------- */

/* Whether the store over there takes what is to be sent. */
static bool fits(struct replay_remote *remote, struct replay_job *job, uint64_t block_size)
{
	struct kvshm_peer_info info;

	if (kvshm_peer_get_info(remote->peer, &info))
		return fail("the connection says nothing of itself");
	job->geometry = info.geometry;
	if (block_size && block_size != info.geometry.block_size) {
		tool_say("--block-size %" PRIu64 ": store '%s' at %s has %" PRIu64 "; leave the option out", block_size,
			 info.store, remote->url, info.geometry.block_size);
		return false;
	}
	if (info.geometry.key_max < REPLAY_KEY_SIZE) {
		tool_say("store '%s' at %s takes keys of up to %" PRIu32 " bytes: a replay needs one that takes %d",
			 info.store, remote->url, info.geometry.key_max, REPLAY_KEY_SIZE);
		return false;
	}
	return true;
}

static bool send_all(struct replay_remote *remote)
{
	uint64_t began = replay_now();
	bool good;

	if (!replay_buffer_make(&remote->buffer, remote->job))
		return false;
	remote->ends = began + remote->job->duration;
	good = replay_sendings_make(remote) && register_buffer(remote) && loop(remote);
	remote->seconds = (double)(replay_now() - began) / (1000.0 * (double)REPLAY_MS);
	return good;
}

/* The buffer goes last: until the connection is closed its bytes may be on their way. */
static bool close_all(struct replay_remote *remote)
{
	bool good = !remote->peer || !kvshm_disconnect(remote->peer) || fail("the connection can't be closed");

	replay_sendings_free(remote);
	if (remote->buffer.bytes)
		replay_buffer_free(&remote->buffer);
	close(remote->signals);
	return good;
}

int replay_remote(struct replay_job *job, const char *url, struct net_settings *net, uint64_t block_size, bool json)
{
	struct replay_remote remote = { .job = job, .url = url };
	sigset_t ends;
	bool good;

	if (!net_options_apply(net, &remote.options))
		return EXIT_FAILURE;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	remote.signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (remote.signals < 0) {
		tool_say("signalfd: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	good = !connect_once(&remote) || fail("no connection");
	good = good && fits(&remote, job, block_size) && send_all(&remote);
	good = close_all(&remote) && good;
	if (!good || !replay_remote_print(&remote, json))
		return EXIT_FAILURE;
	return remote.interrupted ? 128 + remote.interrupted : EXIT_SUCCESS;
}
