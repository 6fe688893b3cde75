/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * pair.c: see pair.h.
 */
#include "config.h"

#include "pair.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BLOCK 4096U
#define CHUNKS 64U

kvshm_store *pair_here, *pair_there;
kvshm_peer *pair_peer;
const char *pair_url = "tcp://127.0.0.1:0";
const char *pair_pool_here, *pair_pool_there;
uint64_t pair_block = BLOCK;

static struct {
	kvshm_owner *owner;
	kvshm_store *daemon;
	kvshm_listener *listener;
	pthread_t thread;
	int stop;
	char url[96], name[KVSHM_NAME_MAX + 1];
	uint8_t *chunks; /* registered with each peer: one of each position and plane of pair_fill() */
	uint32_t planes;
	kvshm_peer *peers[4];
	unsigned peer_count;
} pair;

/* ---- The receiving side */

static void *run(void *arg)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.fd = pair.stop, .events = POLLIN}};

	(void)arg;
	ck_rc(kvshm_listener_fd(pair.listener, &fds[0].fd), 0);
	for (;;) {
		int rc = kvshm_listener_work(pair.listener, 0);

		ck_assert(rc == 0 || rc == -ETIMEDOUT);
		if (rc == -ETIMEDOUT)
			(void)poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
	}
}

void pair_listen(void)
{
	struct kvshm_net_options options;

	kvshm_net_defaults(&options);
	options.open = 1; /* no other machine is there */
	ck_rc(kvshm_listen(pair.daemon, pair.url, &options, &pair.listener), 0);
	ck_rc(kvshm_listener_url(pair.listener, pair.url, sizeof(pair.url)), 0);
	pair.stop = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(pthread_create(&pair.thread, NULL, run, NULL), 0);
}

void pair_stop_listening(void)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write(pair.stop, &one, sizeof(one)), sizeof(one));
	ck_assert_int_eq(pthread_join(pair.thread, NULL), 0);
	(void)close(pair.stop);
	ck_rc(kvshm_listener_close(pair.listener), 0);
}

/* ---- Both */

kvshm_peer *pair_connect(void)
{
	kvshm_peer *peer;

	ck_rc(kvshm_connect(pair_here, pair.url, NULL, unit_in_ms(UNIT_SOON), &peer), 0);
	ck_rc(kvshm_peer_register(peer, pair.chunks, (size_t)CHUNKS * pair.planes * BLOCK), 0);
	pair.peers[pair.peer_count++] = peer;
	return peer;
}

void pair_disconnect(kvshm_peer *peer)
{
	unsigned i = 0;

	while (pair.peers[i] != peer)
		i++;
	pair.peers[i] = pair.peers[--pair.peer_count];
	ck_rc(kvshm_disconnect(peer), 0);
}

void pair_begin(uint32_t blocks, uint32_t planes, enum kvshm_retain retain)
{
	struct kvshm_create_options options = unit_options(blocks);

	options.planes = planes;
	options.retain = retain;
	options.block_size = pair_block;
	options.size = blocks * pair_block;
	options.pool = pair_pool_there;
	pair_there = unit_make(&options);
	pair.daemon = unit_attach();
	(void)snprintf(pair.name, sizeof(pair.name), "%s.here", unit_name());
	options.retain = KVSHM_KEEP;
	options.pool = pair_pool_here;
	ck_rc(kvshm_create(pair.name, &options, &pair.owner), 0);
	ck_rc(kvshm_attach(pair.name, NULL, &pair_here), 0);
	pair.planes = planes;
	pair.chunks = malloc((size_t)CHUNKS * planes * BLOCK);
	(void)snprintf(pair.url, sizeof(pair.url), "%s", pair_url);
	pair_listen();
	pair_peer = pair_connect();
}

static void check_here(void)
{
	struct kvshm_check_result result;
	struct kvshm_usage usage;
	kvshm_view *view;

	ck_rc(kvshm_view_open(pair.name, NULL, &view), 0);
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), 0);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(result.unsound, 0);
	ck_assert_uint_eq(usage.refs, 0);
	ck_assert_uint_eq(usage.pins, 0);
	kvshm_view_close(view);
}

void pair_end(void)
{
	pair_peer = NULL;
	while (pair.peer_count)
		ck_rc(kvshm_disconnect(pair.peers[--pair.peer_count]), 0);
	pair_idle();
	pair_stop_listening();
	check_here();
	ck_rc(kvshm_detach(pair_here), 0);
	ck_rc(kvshm_destroy(pair.owner), 0);
	free(pair.chunks);
}

/* ---- The engine over there */

static struct kvshm_request find(const char *id)
{
	const uint64_t deadline = unit_in_ms(UNIT_SOON);
	struct kvshm_request request;

	while (kvshm_request_find(pair_there, id, strlen(id), &request) == -ENOENT)
		ck_assert_uint_lt(unit_in_ms(0), deadline);
	return request;
}

enum kvshm_request_state pair_state(const char *id)
{
	struct kvshm_request_info info;
	struct kvshm_request request = find(id);

	ck_rc(kvshm_request_get_info(pair_there, &request, &info), 0);
	return info.state;
}

static void verify(kvshm_store *store, const void *key, size_t length, uint64_t number)
{
	struct kvshm_handle ref;

	ck_rc(kvshm_get(store, key, length, &ref), 0);
	unit_verify(store, &ref, number);
	ck_rc(kvshm_release(store, &ref), 0);
}

void pair_verify(kvshm_store *store, uint64_t first, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t key[UNIT_KEY];

		unit_key(first + i, key);
		verify(store, key, sizeof(key), first + i);
	}
}

bool pair_has(kvshm_store *store, uint64_t number)
{
	struct kvshm_handle ref;

	if (unit_get(store, number, &ref))
		return false;
	ck_rc(kvshm_release(store, &ref), 0);
	return true;
}

void pair_claim(const char *id, uint64_t first, size_t count)
{
	struct kvshm_request request = find(id);
	struct kvshm_handle refs[CHUNKS];
	struct kvshm_key keys[CHUNKS];
	uint8_t bytes[CHUNKS][UNIT_KEY];
	int results[CHUNKS];

	ck_rc(kvshm_request_wait(pair_there, &request, unit_in_ms(UNIT_SOON)), 0);
	for (size_t i = 0; i < count; i++) {
		unit_key(first + i, bytes[i]);
		keys[i] = (struct kvshm_key){bytes[i], UNIT_KEY};
	}
	ck_rc(kvshm_request_claim(pair_there, &request, keys, count, refs, results), 0);
	ck_rc(kvshm_request_end(pair_there, &request), 0);
	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(results[i], 0);
		unit_verify(pair_there, &refs[i], first + i);
	}
	ck_rc(kvshm_release_batch(pair_there, refs, count, results), 0);
	while (pair_state(id) != KVSHM_REQUEST_CLOSED)
		(void)sched_yield();
}

bool pair_is_idle(void)
{
	struct kvshm_usage usage;
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	kvshm_view_close(view);
	return !usage.held && !usage.room && !usage.owned && !usage.filling;
}

void pair_idle(void)
{
	const uint64_t deadline = unit_in_ms(UNIT_SOON);

	while (!pair_is_idle()) {
		ck_assert_uint_lt(unit_in_ms(0), deadline);
		(void)sched_yield();
	}
}

/* ---- The sending side */

int pair_wait(kvshm_transfer *transfer)
{
	return kvshm_transfer_wait(transfer, unit_in_ms(UNIT_SOON));
}

struct kvshm_transfer_info pair_look(kvshm_transfer *transfer)
{
	struct kvshm_transfer_info info;

	ck_rc(kvshm_transfer_look(transfer, &info), 0);
	return info;
}

kvshm_transfer *pair_send(const char *id, uint64_t first, size_t count)
{
	struct kvshm_handle held[CHUNKS];
	kvshm_transfer *transfer;
	int results[CHUNKS];

	for (size_t i = 0; i < count; i++)
		ck_rc(unit_get(pair_here, first + i, &held[i]), 0);
	ck_rc(kvshm_send(pair_peer, id, id ? strlen(id) : 0, NULL, held, count, &transfer), 0);
	ck_rc(kvshm_release_batch(pair_here, held, count, results), 0); /* it has its own */
	return transfer;
}

kvshm_transfer *pair_open(kvshm_peer *peer, const char *id, uint64_t first, uint32_t count, uint32_t planes)
{
	struct kvshm_transfer_options options;
	struct kvshm_offer offers[CHUNKS];
	uint8_t keys[CHUNKS][UNIT_KEY];
	kvshm_transfer *transfer;

	kvshm_transfer_defaults(&options);
	options.planes = planes;
	for (uint32_t i = 0; i < count; i++) {
		unit_key(first + i, keys[i]);
		offers[i] = (struct kvshm_offer){.key = {keys[i], UNIT_KEY}, .meta = {.length = BLOCK, .depth = i}};
	}
	ck_rc(kvshm_transfer_open(peer, id, id ? strlen(id) : 0, count, &options, &transfer), 0);
	ck_rc(kvshm_transfer_offer(transfer, 0, offers, count), 0);
	return transfer;
}

static uint32_t in_state(kvshm_transfer *transfer, enum kvshm_sending state)
{
	struct kvshm_transfer_info info = pair_look(transfer);

	switch (state) {
	case KVSHM_SENDING_PENDING:
		return info.pending;
	case KVSHM_SENDING_GRANTED:
		return info.granted;
	case KVSHM_SENDING_SENT:
		return info.sent;
	case KVSHM_SENDING_THERE:
		return info.there;
	default:
		return info.refused;
	}
}

void pair_until(kvshm_peer *peer, kvshm_transfer *transfer, uint32_t count, enum kvshm_sending state)
{
	while (in_state(transfer, state) != count)
		ck_rc(kvshm_peer_work(peer, unit_in_ms(UNIT_SOON), NULL, 0, NULL), 0);
}

void pair_fill(kvshm_transfer *transfer, uint32_t position, uint64_t number, uint32_t planes)
{
	for (unsigned plane = 0; plane < pair.planes; plane++) {
		uint8_t *chunk = pair.chunks + ((size_t)position * pair.planes + plane) * BLOCK;

		if (planes && !(planes & (1U << plane)))
			continue;
		unit_bytes(number, plane, chunk, BLOCK);
		ck_rc(kvshm_transfer_write(transfer, position, plane, 0, chunk, BLOCK), 0);
	}
	ck_rc(kvshm_transfer_commit(transfer, &position, 1), 0);
}
