/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * damaged_messages: 100,000 messages between nodes, of every type, good ones and damaged ones, are read; and are sent,
 * in pieces of any size, to links over TCP that have windows (F2, E2). A message is refused with a reason, or all of it
 * can be looked at. A link goes on, or ends with a reason; and whatever was sent to it, no byte outside of its windows
 * has changed.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../torture/base.h"
#include "bytes.h"
#include "fault.h"
#include "messages.h"
#include "transport.h"
#include "url.h"

#define MESSAGES 100000U
#define TYPES ((unsigned)KVR_DENIED)
#define MEMORY 65536U
#define WINDOWS 4U
#define WINDOW 1000U /* bytes */
#define GUARD 0xa5

static unsigned count; /* of messages that are read, and of those that are sent */

/* What was found, for the last line. */
static struct {
	unsigned read, refused, links, ended, messages, writes;
} found;

/* ---- Messages that are read */

static void look_at(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* so that AddressSanitizer sees who reads on */
	static struct kvr_out out;
	struct kvr_message message;
	int rc;

	base_check(copy);
	memcpy(copy, bytes, size);
	rc = kvr_read(copy, size, &message);
	base_check(rc == 0 || (rc == -EPROTO && *kvs_fault_text()));
	if (rc == 0) {
		messages_rewrite(&message, &out);
		base_expect(kvr_read(out.bytes, out.size, &message), 0);
	}
	found.read += rc == 0;
	found.refused += rc != 0;
	free(copy);
}

static void read_damaged(uint64_t *stream)
{
	static struct kvr_out out;

	for (unsigned i = 0; i < count; i++) {
		size_t size;

		messages_make(stream, (enum kvr_type)(1 + i % TYPES), &out);
		size = out.size;
		messages_damage(stream, out.bytes, &size);
		look_at(out.bytes, size);
	}
}

/* ---- Links that receive them */

/* One link at a time: its end that is tested, and the socket that sends. */
static struct {
	struct kvr_loop loop;
	struct kvr_memory *memory;
	struct kvr_port *port;
	struct kvr_endpoint endpoint;
	struct kvr_link *link;
	struct kvr_window *windows[WINDOWS];
	uint8_t bytes[MEMORY];
	int down; /* why */
} end;

static void on_message(void *arg, const uint8_t *bytes, size_t size)
{
	static struct kvr_out pong;

	(void)arg;
	found.messages++;
	look_at(bytes, size);
	kvr_write_ping(&pong, KVR_PONG, 1);
	(void)kvr_tcp.send(end.link, pong.bytes, pong.size, found.messages); /* refused, when nobody takes them */
}

static void on_cookie(void *arg, uint64_t cookie)
{
	(void)arg;
	base_check(cookie <= found.messages);
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_withdrawn(void *arg, struct kvr_window *window)
{
	(void)arg;
	(void)window;
}

static void on_down(void *arg, int reason)
{
	(void)arg;
	base_check(reason < 0 && *kvs_fault_text());
	end.down = reason;
}

static const struct kvr_link_user user = { .up = on_nothing, .message = on_message, .room = on_nothing,
					   .sent = on_cookie, .withdrawn = on_withdrawn, .down = on_down };

static bool on_accept(void *arg, struct kvr_link *link, const struct kvr_link_user **link_user, void **link_arg)
{
	(void)arg;
	end.link = link;
	*link_user = &user;
	*link_arg = NULL;
	return true;
}

static void on_failed(void *arg, int reason)
{
	(void)arg;
	base_fail("the port is lost: %d", reason);
}

static const struct kvr_port_user port_user = { .accept = on_accept, .failed = on_failed };

static void listen_for_links(void)
{
	const struct kvr_link_options options = { .gid_index = -1, .traffic_class = -1, .numa_node = -1 };
	const struct kvr_transport *transport;

	base_expect(kvr_loop_open(&end.loop, NULL, NULL), 0);
	base_expect(kvr_memory_open(&end.memory), 0);
	base_expect(kvr_memory_add(end.memory, end.bytes, MEMORY, true), 0);
	base_expect(kvr_url_read("tcp://127.0.0.1:0", &transport, &end.endpoint), 0);
	base_expect(transport->listen(&end.loop, &end.endpoint, &options, end.memory, &port_user, NULL, &end.port), 0);
}

static uint64_t window_at(unsigned i)
{
	return (2 * (uint64_t)i + 1) * (MEMORY / (2 * WINDOWS + 1));
}

static void expose(unsigned i)
{
	base_expect(kvr_tcp.expose(end.link, end.bytes + window_at(i), WINDOW, NULL, &end.windows[i]), 0);
}

static int begin_link(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	base_check(fd >= 0 && connect(fd, &end.endpoint.any, end.endpoint.length) == 0);
	base_check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	end.link = NULL;
	end.down = 0;
	while (!end.link)
		(void)kvr_loop_run(&end.loop, UINT64_MAX);
	memset(end.bytes, GUARD, MEMORY);
	for (unsigned i = 0; i < WINDOWS; i++)
		expose(i);
	found.links++;
	return fd;
}

/* Nothing but what lies in windows has changed. */
static void check_memory(void)
{
	uint64_t at = 0;

	for (unsigned i = 0; i <= WINDOWS; i++) {
		uint64_t until = i < WINDOWS ? window_at(i) : MEMORY;

		for (; at < until; at++)
			if (end.bytes[at] != GUARD)
				base_fail("byte %" PRIu64 " has changed, outside of the windows", at);
		at += WINDOW;
	}
}

/* In pieces of any size. What a link that is down takes in any more is no matter. */
static void put(uint64_t *stream, int fd, const uint8_t *bytes, size_t size)
{
	while (size && !end.down) {
		size_t piece = messages_below(stream, 4) ? size : 1 + messages_below(stream, (uint32_t)size);
		ssize_t sent = send(fd, bytes, piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
		} else if (errno != EAGAIN) {
			return;
		}
		(void)kvr_loop_run(&end.loop, 0);
	}
}

/* A write that is mostly one that is allowed, and its bytes. */
static void put_write(uint64_t *stream, int fd)
{
	unsigned i = messages_below(stream, WINDOWS);
	uint64_t from = messages_below(stream, WINDOW), most = WINDOW - from;
	struct kvr_data data = { .to = end.windows[i]->address + from, .rkey = end.windows[i]->rkey };
	static uint8_t bytes[2 * WINDOW];
	struct kvr_out out;
	size_t size;

	data.length = messages_below(stream, (uint32_t)most + 1);
	if (messages_below(stream, 64) == 0)
		data.length += messages_below(stream, WINDOW);
	if (messages_below(stream, 64) == 0)
		data.to -= messages_below(stream, 2 * WINDOW);
	kvr_write_data(&out, &data);
	size = out.size;
	if (messages_below(stream, 64) == 0)
		messages_damage(stream, out.bytes, &size);
	put(stream, fd, out.bytes, size);
	put(stream, fd, bytes, data.length);
	found.writes++;
}

/* One window is withdrawn, at whatever moment of a write, and another opened over the same bytes. */
static void change_window(uint64_t *stream)
{
	unsigned i = messages_below(stream, WINDOWS);

	if (end.down)
		return;
	kvr_tcp.withdraw(end.link, end.windows[i]);
	expose(i);
}

static void put_something(uint64_t *stream, int fd)
{
	static struct kvr_out out;
	uint8_t pongs[4096];
	size_t size;

	if (messages_below(stream, 3) == 0) {
		put_write(stream, fd);
	} else {
		/* Those of the link's own that are made up end it. */
		unsigned types = messages_below(stream, 64) ? (unsigned)KVR_PONG : TYPES;

		messages_make(stream, (enum kvr_type)(1 + messages_below(stream, types)), &out);
		size = out.size;
		if (messages_below(stream, 32) == 0)
			messages_damage(stream, out.bytes, &size);
		put(stream, fd, out.bytes, size);
	}
	if (messages_below(stream, 8) == 0)
		change_window(stream);
	if (messages_below(stream, 2))
		(void)!recv(fd, pongs, sizeof(pongs), MSG_DONTWAIT);
}

static void send_damaged(uint64_t *stream)
{
	for (unsigned i = 0; i < count;) {
		int fd = begin_link();

		while (!end.down && i++ < count && messages_below(stream, 200))
			put_something(stream, fd);
		found.ended += end.down != 0;
		check_memory();
		kvr_tcp.close(end.link);
		(void)close(fd);
		check_memory();
	}
}

int main(void)
{
	uint64_t stream;

	base_begin();
	count = base_long() ? 10 * MESSAGES : MESSAGES;
	stream = base_stream(1);
	read_damaged(&stream);
	base_check(found.read > MESSAGES / 20 && found.refused > MESSAGES / 20);
	listen_for_links();
	send_damaged(&stream);
	kvr_tcp.close_port(end.port);
	kvr_memory_close(end.memory);
	kvr_loop_close(&end.loop);
	printf("%u read, %u refused; %u links, of which %u ended; they took %u messages, and were sent %u writes\n",
	       found.read, found.refused, found.links, found.ended, found.messages, found.writes);
	return base_pass();
}
