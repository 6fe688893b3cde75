/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp_port.c: where links over TCP come in.
 *
 * Guarantees: a port that can't take a link (no descriptors, no memory) says so in the log, once, and looks again after
 * a while: it does not spin, and those who wait get in when there is room. What is wrong with one link is no matter of
 * the port's.
 */
#include "config.h"

#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"
#include "url.h"

#define SHARE 16		   /* links that one call takes */
#define PAUSE 100000000L	   /* ns */

struct kvr_port {
	struct kvr_watch watch, timer; /* the socket; the pause */
	struct kvr_loop *loop;
	struct kvr_memory *memory;
	const struct kvr_port_user *user;
	void *arg;
	struct kvr_link_options options;
	bool told;	   /* of what keeps it from taking links */
	bool busy, closed; /* by the user, from within a call of the user's */
};

static void free_port(struct kvr_port *port)
{
	if (port->watch.fd >= 0) {
		kvr_loop_remove(port->loop, &port->watch);
		kvs_kept_close(port->watch.fd);
	}
	if (port->timer.fd >= 0) {
		kvr_loop_remove(port->loop, &port->timer);
		(void)close(port->timer.fd);
	}
	free(port);
}

static void leave(struct kvr_port *port)
{
	port->busy = false;
	if (port->closed)
		free_port(port);
}

static void pause_it(struct kvr_port *port, int error)
{
	struct itimerspec spec = { .it_value = { 0, PAUSE } };

	if (!port->told)
		kvs_log(KVS_LOG_WARNING, "connections wait to be taken: %s%s", strerror(error),
			error == EMFILE ? ": raise the limit of open files (ulimit -n, LimitNOFILE=)" : "");
	port->told = true;
	kvr_loop_change(port->loop, &port->watch, 0);
	(void)timerfd_settime(port->timer.fd, 0, &spec, NULL);
}

static void on_timer(struct kvr_watch *at, uint32_t events)
{
	struct kvr_port *port = KVR_OWNER(struct kvr_port, timer, at);
	uint64_t times;

	(void)events;
	(void)!read(port->timer.fd, &times, sizeof(times));
	kvr_loop_change(port->loop, &port->watch, EPOLLIN);
}

/* A connection that was taken from the kernel. */
static void take(struct kvr_port *port, int fd, const struct kvr_endpoint *remote)
{
	struct kvr_link *link;
	int rc = kvr_tcp_set_options(fd, remote, &port->options);

	if (rc)
		kvs_kept_close(fd);
	else
		rc = kvr_tcp_link(port->loop, fd, port->memory, remote, &link);
	if (rc == 0) {
		rc = kvr_tcp_begin(link);
		if (rc || !port->user->accept(port->arg, link, &link->user, &link->arg))
			kvr_tcp_close(link);
	}
	if (rc)
		kvs_log(KVS_LOG_WARNING, "a connection could not be taken: %s", kvs_fault_text());
}

/* Of what accept(2) may say, what is of one connection, which is gone already. */
static bool is_of_one(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM || error == ENOPROTOOPT ||
	       error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH || error == ENETUNREACH ||
	       error == ENETDOWN || error == EOPNOTSUPP || error == ETIMEDOUT || error == ECONNRESET;
}

static bool is_passing(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

static void on_port(struct kvr_watch *at, uint32_t events)
{
	struct kvr_port *port = KVR_OWNER(struct kvr_port, watch, at);
	int error = 0;

	(void)events;
	port->busy = true;
	for (int i = 0; i < SHARE && !port->closed && (!error || is_of_one(error)); i++) {
		struct kvr_endpoint remote = { .length = sizeof(remote.address) };
		int fd;

		error = -kvr_tcp_accept(port->watch.fd, &remote, &fd);
		if (error)
			continue;
		port->told = false;
		take(port, fd, &remote);
	}
	if (!port->closed && is_passing(error)) {
		pause_it(port, error);
	} else if (!port->closed && error && error != EAGAIN && !is_of_one(error)) {
		kvr_loop_change(port->loop, &port->watch, 0);
		port->user->failed(port->arg, kvs_fault(error, "nobody can connect any more: accept: %s",
							strerror(error)));
	}
	leave(port);
}

/* ---- Making one */

static int open_socket(struct kvr_endpoint *endpoint, int *fd)
{
	char local[KVR_TEXT];
	int one = 1, error, rc = kvr_tcp_socket(endpoint->address.ss_family, fd);

	if (rc)
		return rc;
	kvr_endpoint_write(endpoint, local, sizeof(local));
	if (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(*fd, &endpoint->any, endpoint->length) == 0 && listen(*fd, SOMAXCONN) == 0) {
		endpoint->length = sizeof(endpoint->address);
		if (getsockname(*fd, &endpoint->any, &endpoint->length) == 0)
			return 0;
	}
	error = errno;
	kvs_kept_close(*fd);
	return kvs_fault(error, "%s can't be listened on: %s%s", local, strerror(error),
			 error == EADDRINUSE	  ? ": who has it, says ss -ltnp; or choose another port" :
			 error == EADDRNOTAVAIL ? ": it is none of this machine's (ip addr shows them)" : "");
}

static int make(struct kvr_port *port, int fd)
{
	int rc;

	port->watch = (struct kvr_watch){ .ready = on_port, .fd = -1 };
	port->timer = (struct kvr_watch){ .ready = on_timer, .fd = -1 };
	rc = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (rc < 0)
		return kvs_fault(errno, "no timer for a port: %s", strerror(errno));
	port->timer.fd = rc;
	rc = kvr_loop_add(port->loop, &port->timer, EPOLLIN);
	if (rc)
		return rc;
	port->watch.fd = fd;
	rc = kvr_loop_add(port->loop, &port->watch, EPOLLIN);
	if (rc)
		port->watch.fd = -1; /* the caller's still */
	return rc;
}

int kvr_tcp_listen(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
		   struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port)
{
	struct kvr_endpoint bound = *endpoint;
	struct kvr_port *made;
	int fd, rc;

	rc = kvr_tcp_check_options(options);
	if (rc == 0)
		rc = open_socket(&bound, &fd);
	if (rc)
		return rc;
	made = calloc(1, sizeof(*made));
	if (made)
		*made = (struct kvr_port){ .loop = loop, .memory = memory, .user = user, .arg = arg,
					   .options = *options };
	rc = made ? make(made, fd) : kvs_routine(ENOMEM, "no memory for a port");
	if (rc) {
		if (made)
			free_port(made);
		kvs_kept_close(fd);
		return rc;
	}
	*endpoint = bound;
	*port = made;
	return 0;
}

void kvr_tcp_close_port(struct kvr_port *port)
{
	port->closed = true;
	if (!port->busy)
		free_port(port);
}
