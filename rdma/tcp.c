/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp.c: a link over TCP from its beginning to its end, and the table of functions. tcp.h says how it is made up.
 *
 * Guarantees: those of transport.h. Every function of a user is called from on_socket(), on_timeout() or
 * tell_withdrawn(), all of which the loop calls: a link that its user closes within one is freed when that has
 * returned. Nothing waits.
 */
#include "config.h"

#include "tcp.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"
#include "url.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static void stop_timer(struct kvr_link *link)
{
	if (link->timer.fd < 0)
		return;
	kvr_loop_remove(link->loop, &link->timer);
	(void)close(link->timer.fd);
	link->timer.fd = -1;
}

/* Nothing comes in and nothing goes out from here on. */
static void let_go_of_socket(struct kvr_link *link)
{
	stop_timer(link);
	if (link->watch.fd < 0)
		return;
	kvr_loop_remove(link->loop, &link->watch);
	kvs_kept_close(link->watch.fd);
	link->watch.fd = -1;
}

static void free_withdrawn(struct kvr_link *link)
{
	while (link->withdrawn) {
		struct kvr_tcp_window *window = link->withdrawn;

		link->withdrawn = window->next;
		free(window);
	}
	link->last_withdrawn = &link->withdrawn;
}

static void free_link(struct kvr_link *link)
{
	let_go_of_socket(link);
	kvr_loop_uncall(link->loop, &link->tell);
	free_withdrawn(link);
	kvr_tcp_windows_close(&link->windows);
	kvr_tcp_out_close(&link->out);
	free(link->in.stage);
	free(link);
}

/* Windows stay as memory until the link is closed: their user may look at them still. */
void kvr_tcp_down(struct kvr_link *link, int reason)
{
	if (link->state >= KVR_TCP_DOWN)
		return;
	let_go_of_socket(link);
	kvr_loop_uncall(link->loop, &link->tell);
	link->state = KVR_TCP_DOWN;
	link->user->down(link->arg, reason);
}

/* Behind a user's function. */
static void leave(struct kvr_link *link)
{
	link->busy = false;
	if (link->state == KVR_TCP_CLOSED)
		free_link(link);
}

/* What the socket is watched for follows from what there is to send. */
static void watch(struct kvr_link *link)
{
	uint32_t events = EPOLLIN;

	if (link->state == KVR_TCP_CONNECTING || kvr_tcp_out_pending(&link->out))
		events |= EPOLLOUT;
	if (events != link->events)
		kvr_loop_change(link->loop, &link->watch, events);
	link->events = events;
}

/* ---- Events */

int kvr_tcp_begin(struct kvr_link *link)
{
	struct kvr_endpoint local = { .length = sizeof(local.address) };

	if (getsockname(link->watch.fd, &local.any, &local.length) != 0)
		return kvs_fault(errno, "a connection has no address: %s", strerror(errno));
	kvr_endpoint_write(&local, link->info.local, sizeof(link->info.local));
	kvr_endpoint_write(&link->remote, link->info.remote, sizeof(link->info.remote));
	stop_timer(link);
	link->state = KVR_TCP_UP;
	return 0;
}

static void on_connected(struct kvr_link *link)
{
	char remote[KVR_TEXT];
	socklen_t size = sizeof(int);
	int error = 0, rc = 0;

	if (getsockopt(link->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	if (error) {
		kvr_endpoint_write(&link->remote, remote, sizeof(remote));
		rc = kvs_fault(error, "%s can't be connected to: %s%s", remote, strerror(error),
			       error == ECONNREFUSED ? ": does kvshmd listen there, over tcp?" : "");
	} else {
		rc = kvr_tcp_begin(link);
	}
	if (rc)
		kvr_tcp_down(link, rc);
	else
		link->user->up(link->arg);
}

/* What can't be sent any more ends the link, but first what came before is read: it may say why. */
static void send_more(struct kvr_link *link)
{
	int error;

	kvr_tcp_out_flush(&link->out, link->watch.fd, &link->info.bytes_sent);
	error = link->out.error;
	if (!error)
		return;
	kvr_tcp_receive(link);
	if (link->out.why[0])
		kvr_tcp_down(link, kvs_fault(error, "%s", link->out.why));
	else if (error == EFAULT)
		kvr_tcp_down(link, kvs_fault(EFAULT, "the memory of a write can't be read any more"));
	else
		kvr_tcp_down(link, kvs_fault(error == EPIPE ? ECONNRESET : error, "it was cut: %s",
					     strerror(error)));
}

static void on_socket(struct kvr_watch *at, uint32_t events)
{
	struct kvr_link *link = KVR_OWNER(struct kvr_link, watch, at);

	link->busy = true;
	if (link->state == KVR_TCP_CONNECTING)
		on_connected(link);
	else if (link->state == KVR_TCP_UP && events & ~(uint32_t)EPOLLOUT)
		kvr_tcp_receive(link);
	if (link->state == KVR_TCP_UP)
		send_more(link);
	if (link->state == KVR_TCP_UP)
		watch(link);
	leave(link);
}

static void on_timeout(struct kvr_watch *at, uint32_t events)
{
	struct kvr_link *link = KVR_OWNER(struct kvr_link, timer, at);
	char remote[KVR_TEXT];

	(void)events;
	link->busy = true;
	kvr_endpoint_write(&link->remote, remote, sizeof(remote));
	kvr_tcp_down(link, kvs_fault(ETIMEDOUT, "%s can't be connected to: nobody has answered in time", remote));
	leave(link);
}

static void tell_withdrawn(struct kvr_call *call)
{
	struct kvr_link *link = KVR_OWNER(struct kvr_link, tell, call);

	link->busy = true;
	while (link->withdrawn && link->state == KVR_TCP_UP) {
		struct kvr_tcp_window *window = link->withdrawn;

		link->withdrawn = window->next;
		if (!link->withdrawn)
			link->last_withdrawn = &link->withdrawn;
		link->user->withdrawn(link->arg, &window->window);
		free(window);
	}
	if (link->state == KVR_TCP_UP) /* for what was posted meanwhile */
		watch(link);
	leave(link);
}

/* ---- Sockets */

int kvr_tcp_socket(int family, int *fd)
{
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	*fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd >= 0)
		kvs_kept_add(*fd);
	else
		rc = kvs_fault(errno, "no socket: %s", strerror(errno));
	kvs_kept_end();
	return rc;
}

int kvr_tcp_accept(int port, struct kvr_endpoint *remote, int *fd)
{
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	*fd = accept4(port, &remote->any, &remote->length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (*fd >= 0)
		kvs_kept_add(*fd);
	else
		rc = -errno;
	kvs_kept_end();
	return rc;
}

/* ---- Making a link */

int kvr_tcp_check_options(const struct kvr_link_options *options)
{
	if (options->device)
		return kvs_fault(EINVAL, "connections over tcp have no device: leave %s out, or use rdma://",
				 options->device);
	if (options->device_port)
		return kvs_fault(EINVAL, "connections over tcp have no device: leave its port, %u, out, or use rdma://",
				 options->device_port);
	if (options->gid_index >= 0)
		return kvs_fault(EINVAL, "connections over tcp have no device: leave the index in its table of "
					 "addresses, %d, out, or use rdma://", options->gid_index);
	return 0;
}

int kvr_tcp_set_options(int fd, const struct kvr_endpoint *endpoint, const struct kvr_link_options *options)
{
	int one = 1, class = options->traffic_class;
	unsigned ms = options->timeout / MS > INT_MAX ? INT_MAX : (unsigned)(options->timeout / MS);
	bool six = endpoint->address.ss_family == AF_INET6;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)) != 0)
		return kvs_fault(errno, "a connection's options can't be set: %s", strerror(errno));
	if (class >= 0 && setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, &class,
				     sizeof(class)) != 0)
		return kvs_fault(errno, "the traffic class can't be set to %d: %s", class, strerror(errno));
	return 0;
}

int kvr_tcp_link(struct kvr_loop *loop, int fd, struct kvr_memory *memory, const struct kvr_endpoint *remote,
		 struct kvr_link **link)
{
	struct kvr_link *made = calloc(1, sizeof(*made));
	int rc;

	if (!made) {
		kvs_kept_close(fd);
		return kvs_routine(ENOMEM, "no memory for a connection");
	}
	made->watch = (struct kvr_watch){ .ready = on_socket, .fd = fd };
	made->timer = (struct kvr_watch){ .ready = on_timeout, .fd = -1 };
	made->tell.fn = tell_withdrawn;
	made->loop = loop;
	made->memory = memory;
	made->remote = *remote;
	made->last_withdrawn = &made->withdrawn;
	made->events = EPOLLIN | EPOLLOUT;
	rc = kvr_tcp_windows_open(&made->windows);
	if (rc == 0)
		rc = kvr_tcp_out_open(&made->out);
	if (rc == 0)
		rc = kvr_loop_add(loop, &made->watch, made->events);
	if (rc) {
		free_link(made);
		return rc;
	}
	*link = made;
	return 0;
}

static int start_timer(struct kvr_link *link, uint64_t timeout)
{
	struct itimerspec spec = { .it_value = { (time_t)(timeout / SECOND), (long)(timeout % SECOND) } };
	int rc;

	if (timeout == 0 || timeout == UINT64_MAX)
		return 0;
	link->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (link->timer.fd < 0)
		return kvs_fault(errno, "no timer for a connection: %s", strerror(errno));
	(void)timerfd_settime(link->timer.fd, 0, &spec, NULL);
	rc = kvr_loop_add(link->loop, &link->timer, EPOLLIN);
	if (rc) {
		(void)close(link->timer.fd);
		link->timer.fd = -1;
	}
	return rc;
}

static int open_socket(const struct kvr_endpoint *endpoint, const struct kvr_link_options *options, int *fd)
{
	char remote[KVR_TEXT];
	int rc;

	rc = kvr_tcp_check_options(options);
	if (rc == 0)
		rc = kvr_tcp_socket(endpoint->address.ss_family, fd);
	if (rc)
		return rc;
	rc = kvr_tcp_set_options(*fd, endpoint, options);
	if (rc == 0 && connect(*fd, &endpoint->any, endpoint->length) != 0 && errno != EINPROGRESS) {
		rc = errno;
		kvr_endpoint_write(endpoint, remote, sizeof(remote));
		rc = kvs_fault(rc, "%s can't be connected to: %s", remote, strerror(rc));
	}
	if (rc)
		kvs_kept_close(*fd);
	return rc;
}

static int tcp_connect(struct kvr_loop *loop, const struct kvr_endpoint *endpoint,
		       const struct kvr_link_options *options, struct kvr_memory *memory,
		       const struct kvr_link_user *user, void *arg, struct kvr_link **link)
{
	struct kvr_link *made;
	int fd, rc = open_socket(endpoint, options, &fd);

	if (rc == 0)
		rc = kvr_tcp_link(loop, fd, memory, endpoint, &made);
	if (rc)
		return rc;
	rc = start_timer(made, options->timeout);
	if (rc) {
		free_link(made);
		return rc;
	}
	made->user = user;
	made->arg = arg;
	*link = made;
	return 0;
}

/* ---- What users do */

static int not_up(const struct kvr_link *link)
{
	return link->state == KVR_TCP_UP ? 0 : kvs_routine(ENOTCONN, "the connection is not there (any more)");
}

/* What was posted leaves from the loop: so all that one turn posts leaves together. */
static int posted(struct kvr_link *link, int rc)
{
	if (rc == 0 && !link->busy)
		watch(link);
	return rc;
}

static int tcp_send(struct kvr_link *link, uint8_t *bytes, size_t size, uint64_t cookie)
{
	int rc = not_up(link);

	if (rc == 0 && (size < KVR_HEADER_SIZE || size > KVR_MESSAGE_MAX))
		rc = kvs_fault(EINVAL, "a message of %zu bytes can't be sent", size);
	return rc ? rc : posted(link, kvr_tcp_out_message(&link->out, bytes, size, cookie));
}

static int tcp_write(struct kvr_link *link, const struct kvr_write *write)
{
	const struct kvr_part *part = kvr_memory_find(link->memory, write->from, write->length);
	int rc = not_up(link);

	if (rc == 0 && write->length > KVR_WRITE_MAX)
		rc = kvs_fault(EINVAL, "a write of %llu bytes: it has up to 1 GiB", (unsigned long long)write->length);
	if (rc == 0 && !part)
		rc = kvs_routine(EFAULT, "the bytes to be written are in no memory that was registered");
	return rc ? rc : posted(link, kvr_tcp_out_write(&link->out, write, part));
}

static int tcp_expose(struct kvr_link *link, void *address, uint64_t length, void *user, struct kvr_window **window)
{
	const struct kvr_part *part = kvr_memory_find(link->memory, address, length);
	struct kvr_tcp_window *made;
	int rc = not_up(link);

	if (rc == 0 && (!part || !part->exposed))
		rc = kvs_routine(EFAULT, "a window is to be over memory that was registered for that");
	if (rc == 0)
		rc = kvr_tcp_windows_add(&link->windows, address, length, user, &made);
	if (rc)
		return rc;
	made->gpu = part->gpu ? part : NULL;
	link->info.windows_exposed++;
	*window = &made->window;
	return 0;
}

static void tcp_withdraw(struct kvr_link *link, struct kvr_window *window)
{
	struct kvr_tcp_window *at = (struct kvr_tcp_window *)window;

	if (link->state != KVR_TCP_UP)
		return;
	kvr_tcp_windows_remove(&link->windows, at);
	if (link->in.window == at)
		link->in.window = NULL;
	link->info.windows_withdrawn++;
	at->next = NULL;
	*link->last_withdrawn = at;
	link->last_withdrawn = &at->next;
	kvr_loop_call(link->loop, &link->tell);
}

/* What the socket takes at once still goes: such as a BYE. */
void kvr_tcp_close(struct kvr_link *link)
{
	if (link->state == KVR_TCP_UP)
		kvr_tcp_out_flush(&link->out, link->watch.fd, &link->info.bytes_sent);
	let_go_of_socket(link);
	link->state = KVR_TCP_CLOSED;
	if (!link->busy)
		free_link(link);
}

static void tcp_describe(const struct kvr_link *link, struct kvr_link_info *info)
{
	struct tcp_info tcp;
	socklen_t size = sizeof(tcp);

	*info = link->info;
	memset(&tcp, 0, sizeof(tcp));
	if (link->watch.fd >= 0 && getsockopt(link->watch.fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) == 0)
		info->retries = tcp.tcpi_total_retrans;
}

const struct kvr_transport kvr_tcp = {
	.name = "tcp",
	.listen = kvr_tcp_listen,
	.close_port = kvr_tcp_close_port,
	.connect = tcp_connect,
	.send = tcp_send,
	.write = tcp_write,
	.expose = tcp_expose,
	.withdraw = tcp_withdraw,
	.close = kvr_tcp_close,
	.describe = tcp_describe,
};
