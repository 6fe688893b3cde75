/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * node.c: this side of remote transfers: what several connections share, and its turns. Contract in peer.h.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault.h"
#include "internal.h"
#include "peer_turn.h"
#include "receiver.h"
#include "wait.h"

#define GOODBYE_TIME UINT64_C(500000000)
#define TIMEOUT_MIN UINT64_C(100000000)

/* ---- Life ------------------------------------------------------------------------------------------------------ */

static void on_store(struct kvr_watch *watch, uint32_t events)
{
	struct kvr_node *node = (struct kvr_node *)(void *)((char *)watch - offsetof(struct kvr_node, store_watch));

	(void)events;
	node->store_rang = true;
}

/* The alarm only ends a sleep: what is due is looked at in each turn. */
static void on_alarm(void *arg)
{
	(void)arg;
}

/* The store's name, for the other side's people: the library does not keep it, but its file has it. */
static void find_store_name(struct kvr_node *node)
{
	char link[64], path[PATH_MAX];
	const char *name;
	ssize_t length;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", node->store->map.fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return;
	path[length] = 0;
	name = strrchr(path, '/');
	if (name && strncmp(name, "/kvshm.", 7) == 0)
		(void)snprintf(node->store_name, sizeof(node->store_name), "%.*s", (int)strcspn(name + 7, " "),
			       name + 7);
}

int kvr_node_add_planes(struct kvr_node *node)
{
	const struct kvs_map *map = &node->store->map;
	const uint64_t size = map->g.blocks * map->g.block_size;
	int rc = 0;

	for (uint32_t i = 0; i < map->g.planes && rc == 0; i++) {
		rc = kvl_plane(node->store, i, &node->planes[i]);
		if (rc == 0 && map->files.memory == KVS_MEMORY_HOST)
			rc = kvr_memory_add(node->memory, node->planes[i], size, true);
		else if (rc == 0)
			rc = kvr_memory_add_gpu(node->memory, node->planes[i], size, node->store->gpu, i);
	}
	return rc;
}

static int open_store(struct kvr_node *node)
{
	int rc = kvshm_poll_fd(node->store, &node->store_watch.fd);

	if (rc)
		return rc;
	node->store_watch.ready = on_store;
	find_store_name(node);
	rc = kvr_loop_add(&node->loop, &node->store_watch, EPOLLIN);
	return rc ? rc : kvr_receiver_open(node);
}

static void init_locks(struct kvr_node *node)
{
	pthread_condattr_t monotonic;

	(void)pthread_mutex_init(&node->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&node->turned, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
}

/* 0 is for ever; so is what would be over when no clock counts any more. */
static uint64_t or_never(uint64_t timeout)
{
	return timeout > UINT64_MAX / 2 ? 0 : timeout;
}

int kvr_node_open(struct kvr_node *node, kvshm_store *store, const struct kvshm_net_options *options)
{
	int rc;

	memset(node, 0, sizeof(*node));
	node->store = store;
	node->timeout = options->timeout;
	node->claim_timeout = or_never(options->claim_timeout);
	node->fill_timeout = or_never(options->fill_timeout);
	node->receiver_at = UINT64_MAX;
	if (node->timeout < TIMEOUT_MIN || node->timeout / 1000000 > UINT32_MAX)
		return kvs_fault(EINVAL, "a timeout of %llu ns: 100 ms to 49 days are possible",
				 (unsigned long long)node->timeout);
	if (options->secret) {
		rc = kvr_secret_set(&node->secret, options->secret, options->secret_length);
		if (rc)
			return rc;
	}
	node->awake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = node->awake < 0 ? kvs_fault(errno, "no descriptor for remote transfers: %s", strerror(errno))
			     : kvr_loop_open(&node->loop, on_alarm, NULL);
	if (rc)
		goto wipe;
	rc = kvr_memory_open(&node->memory);
	if (rc)
		goto close_loop;
	rc = store ? open_store(node) : 0;
	if (rc)
		goto close_memory;
	init_locks(node);
	return 0;

close_memory:
	kvr_memory_close(node->memory);
close_loop:
	kvr_loop_close(&node->loop);
wipe:
	if (node->awake >= 0)
		(void)close(node->awake);
	kvr_secret_wipe(&node->secret);
	return rc;
}

/* Are there connections that have not gone yet? */
static bool parting(const struct kvr_node *node)
{
	for (const struct kvr_peer *peer = node->peers; peer; peer = peer->next)
		if (peer->state == KVR_PEER_PARTING)
			return true;
	return false;
}

/* Not to who has said nothing yet: whoever waited for that one, until a deadline, is not to wait once more. */
static void say_goodbye(struct kvr_node *node)
{
	const uint64_t deadline = kvs_now() + GOODBYE_TIME;

	for (struct kvr_peer *peer = node->peers; peer; peer = peer->next)
		if (peer->state == KVR_PEER_PROVING || peer->state == KVR_PEER_UP)
			kvr_peer_give_up(peer, kvs_routine(ESHUTDOWN, "it was ended over there, in order"));
	while (parting(node) && kvs_now() < deadline)
		(void)kvr_loop_run(&node->loop, deadline);
}

void kvr_node_close(struct kvr_node *node)
{
	(void)pthread_mutex_lock(&node->lock);
	if (node->store) /* what it tells is not looked at any more, and would end no sleep but the goodbye's */
		kvr_loop_remove(&node->loop, &node->store_watch);
	say_goodbye(node);
	while (node->peers) {
		struct kvr_peer *peer = node->peers;

		node->peers = peer->next;
		kvr_peer_free(peer);
	}
	if (node->receiver)
		kvr_receiver_close(node);
	kvr_memory_close(node->memory);
	kvr_loop_close(&node->loop);
	(void)close(node->awake);
	kvr_secret_wipe(&node->secret);
	(void)pthread_mutex_unlock(&node->lock);
	(void)pthread_mutex_destroy(&node->lock);
	(void)pthread_cond_destroy(&node->turned);
}

/* ---- Turns ----------------------------------------------------------------------------------------------------- */

static uint64_t turn_peers(struct kvr_node *node, uint64_t now)
{
	struct kvr_peer **at = &node->peers;
	uint64_t due = UINT64_MAX;

	while (*at) {
		struct kvr_peer *peer = *at;
		uint64_t next = UINT64_MAX;

		if (kvr_peer_turn(peer, now, &next)) {
			at = &peer->next;
		} else {
			*at = peer->next;
			kvr_peer_free(peer);
		}
		if (next < due)
			due = next;
	}
	return due;
}

/* What follows of what the loop has called. */
static void follow(struct kvr_node *node)
{
	uint64_t now = kvs_now(), due;

	if (node->store_rang) {
		node->store_rang = false;
		(void)kvshm_poll_clear(node->store); /* a store that is lost tells so in the calls that follow */
		node->receiver_at = 0;
	}
	due = turn_peers(node, now);
	if (node->receiver && now >= node->receiver_at) {
		node->receiver_at = UINT64_MAX;
		now = kvr_receiver_work(node, now);
		if (now < node->receiver_at)
			node->receiver_at = now;
	}
	kvr_loop_wake_at(&node->loop, node->receiver_at < due ? node->receiver_at : due);
}

static int milliseconds_until(uint64_t deadline)
{
	uint64_t now = kvs_now(), left;

	if (deadline == UINT64_MAX)
		return -1;
	left = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

void kvr_node_happened(struct kvr_node *node)
{
	const uint64_t one = 1;

	node->happened++;
	if (node->sleeping)
		(void)!write(node->awake, &one, sizeof(one));
}

/* Sleeps on the loop's descriptor, without the lock. True: meanwhile another thread has seen something, which may be
 * what this one waits for: the loop does not tell it twice. */
static bool sleep_until(struct kvr_node *node, uint64_t deadline)
{
	struct pollfd fds[] = {{.fd = node->loop.epoll, .events = POLLIN}, {.fd = node->awake, .events = POLLIN}};
	const uint64_t before = node->happened;
	uint64_t times;

	node->sleeping = true;
	(void)pthread_mutex_unlock(&node->lock);
	(void)poll(fds, 2, milliseconds_until(deadline));
	(void)pthread_mutex_lock(&node->lock);
	node->sleeping = false;
	(void)!read(node->awake, &times, sizeof(times));
	return node->happened != before;
}

/* Waits for the turn of the thread that sleeps. */
static int wait_for_turn(struct kvr_node *node, uint64_t deadline)
{
	const struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000),
				       .tv_nsec = (long)(deadline % 1000000000)};
	int rc = deadline == UINT64_MAX ? pthread_cond_wait(&node->turned, &node->lock)
					: pthread_cond_timedwait(&node->turned, &node->lock, &until);

	return rc == ETIMEDOUT ? -ETIMEDOUT : 0;
}

/* What is ready is heard before silence is judged; what was posted since the last turn goes in any case. */
static int turn(struct kvr_node *node)
{
	int rc = kvr_loop_run(&node->loop, 0);

	follow(node);
	if (rc == 0)
		kvr_node_happened(node);
	return rc;
}

int kvr_node_work(struct kvr_node *node, uint64_t deadline)
{
	bool happened = false;
	int rc = turn(node);

	if (rc == -ETIMEDOUT && node->sleeping && kvs_now() < deadline)
		return wait_for_turn(node, deadline);
	while (rc == -ETIMEDOUT && !happened && kvs_now() < deadline) {
		happened = sleep_until(node, deadline);
		rc = turn(node);
	}
	(void)pthread_cond_broadcast(&node->turned); /* also when it goes: one of those who wait sleeps instead */
	return rc == -ETIMEDOUT && happened ? 0 : rc;
}
