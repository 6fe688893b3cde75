/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_scene.c: two ends of a link. See rdma_scene.h.
 */
#include "config.h"

#include "rdma_scene.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wait.h"

static struct scene scene;

/* ---- What ends are told */

static void on_up(void *arg)
{
	struct scene_end *end = arg;

	end->ups++;
	if (end->on_up)
		end->on_up(end);
}

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	struct scene_end *end = arg;
	struct kvr_message message;

	end->messages++;
	if (kvr_read(bytes, size, &message) == 0 && message.type == KVR_PING)
		end->last_time = message.time;
	if (end->on_message)
		end->on_message(end, bytes, size);
}

static void on_room(void *arg)
{
	struct scene_end *end = arg;

	end->rooms++;
	if (end->on_room)
		end->on_room(end);
}

static void on_sent(void *arg, uint64_t cookie)
{
	struct scene_end *end = arg;

	ck_assert_uint_lt(end->sents, SCENE_COOKIES);
	end->cookies[end->sents++] = cookie;
	if (end->on_sent)
		end->on_sent(end);
}

static void on_withdrawn(void *arg, struct kvr_window *window)
{
	struct scene_end *end = arg;

	end->withdrawals++;
	end->withdrawn = window;
	if (end->on_withdrawn)
		end->on_withdrawn(end);
}

static void on_down(void *arg, int reason)
{
	struct scene_end *end = arg;

	end->downs++;
	end->reason = reason;
	(void)snprintf(end->text, sizeof(end->text), "%s", kvshm_error());
	if (end->on_down)
		end->on_down(end);
}

static const struct kvr_link_user link_user = {
	.up = on_up,
	.message = on_message,
	.room = on_room,
	.sent = on_sent,
	.withdrawn = on_withdrawn,
	.down = on_down,
};

const struct kvr_link_user *scene_user(void)
{
	return &link_user;
}

static bool on_accept(void *arg, struct kvr_link *link, const struct kvr_link_user **user, void **user_arg)
{
	struct scene *at = arg;

	at->accepted++;
	if (at->refuse)
		return false;
	at->ends[1].link = link;
	*user = &link_user;
	*user_arg = &at->ends[1];
	return true;
}

static void on_failed(void *arg, int reason)
{
	struct scene *at = arg;

	(void)reason;
	at->failures++;
}

static const struct kvr_port_user port_user = { .accept = on_accept, .failed = on_failed };

/* ---- Making it */

struct kvr_link_options scene_options(void)
{
	return (struct kvr_link_options){ .gid_index = -1, .traffic_class = -1, .numa_node = -1,
					  .timeout = UINT64_C(10000000000) };
}

static void make_end(struct scene_end *end)
{
	memset(end, 0, sizeof(*end));
	ck_rc(kvr_loop_open(&end->loop, NULL, NULL), 0);
	ck_rc(kvr_memory_open(&end->memory), 0);
	end->bytes = mmap(NULL, SCENE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(end->bytes, MAP_FAILED);
	ck_rc(kvr_memory_add(end->memory, end->bytes, SCENE_BYTES, true), 0);
}

static void end_end(struct scene_end *end)
{
	if (end->link)
		kvr_tcp.close(end->link);
	end->link = NULL;
	kvr_memory_close(end->memory);
	kvr_loop_close(&end->loop);
	ck_assert_int_eq(munmap(end->bytes, SCENE_BYTES), 0);
}

struct scene *scene_open(void)
{
	struct kvr_link_options options = scene_options();
	const struct kvr_transport *transport;

	memset(&scene, 0, sizeof(scene));
	for (int i = 0; i < 2; i++)
		make_end(&scene.ends[i]);
	ck_rc(kvr_url_read("tcp://127.0.0.1:0", &transport, &scene.endpoint), 0);
	ck_rc(transport->listen(&scene.ends[1].loop, &scene.endpoint, &options, scene.ends[1].memory, &port_user,
				&scene, &scene.port), 0);
	return &scene;
}

void scene_connect(struct scene *at)
{
	struct kvr_link_options options = scene_options();
	struct scene_end *end = &at->ends[0];

	ck_rc(kvr_tcp.connect(&end->loop, &at->endpoint, &options, end->memory, &link_user, end, &end->link), 0);
}

struct scene *scene_link(void)
{
	struct scene *at = scene_open();

	scene_connect(at);
	scene_until(at, at->ends[0].ups && at->ends[1].link);
	return at;
}

int scene_socket(struct scene *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	ck_assert_int_eq(connect(fd, &at->endpoint.any, at->endpoint.length), 0);
	scene_until(at, at->accepted);
	return fd;
}

void scene_close(struct scene *at)
{
	for (int i = 0; i < 2; i++)
		if (at->ends[i].link)
			kvr_tcp.close(at->ends[i].link);
	at->ends[0].link = at->ends[1].link = NULL;
	if (at->port)
		kvr_tcp.close_port(at->port);
	for (int i = 0; i < 2; i++)
		end_end(&at->ends[i]);
}

/* ---- Running it */

bool scene_turn(struct scene *at, uint64_t until)
{
	struct pollfd fds[2] = { { .fd = at->ends[0].loop.epoll, .events = POLLIN },
				 { .fd = at->ends[1].loop.epoll, .events = POLLIN } };
	uint64_t now = kvs_now();

	if (now >= until || poll(fds, 2, (int)((until - now) / 1000000 + 1)) <= 0)
		return false;
	for (int i = 0; i < 2; i++)
		if (fds[i].revents)
			(void)kvr_loop_run(&at->ends[i].loop, 0);
	return true;
}

void scene_run(struct scene *at, int end)
{
	bool more = true;

	while (more) {
		more = false;
		for (int i = 0; i < 2; i++)
			if (end < 0 || end == i)
				more = kvr_loop_run(&at->ends[i].loop, 0) == 0 || more;
	}
}

int scene_send(struct scene_end *end, uint64_t time, uint64_t cookie)
{
	struct kvr_out out;

	kvr_write_ping(&out, KVR_PING, time);
	return kvr_tcp.send(end->link, out.bytes, out.size, cookie);
}

struct kvr_window *scene_expose(struct scene_end *end, uint64_t at, uint64_t length)
{
	struct kvr_window *window;

	ck_rc(kvr_tcp.expose(end->link, end->bytes + at, length, end, &window), 0);
	ck_assert_ptr_eq(window->user, end);
	ck_assert_uint_eq(window->length, length);
	return window;
}

int scene_write(struct scene_end *end, uint64_t from, uint64_t to, uint64_t length, uint32_t rkey)
{
	struct kvr_write write = { .from = end->bytes + from, .to = to, .length = length, .rkey = rkey };

	return kvr_tcp.write(end->link, &write);
}
