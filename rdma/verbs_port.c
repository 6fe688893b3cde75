/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_port.c: listening for links, and taking them.
 *
 * Guarantees: a link that can't be made here, for want of memory, say, is refused, and the program's log says why; the
 * port goes on.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "fault.h"
#include "verbs.h"

#define BACKLOG 64

static void refuse(struct kvr_link *link, bool say)
{
	if (say)
		kvs_log(KVS_LOG_WARNING, "%s is refused: %s", kvr_link_name(link), kvs_fault_text());
	(void)rdma_reject(link->id, NULL, 0);
	kvr_link_close(link);
}

/* The id leaves the port's channel for one of the link's own. */
static int move(struct kvr_link *link)
{
	int rc = kvr_connection_channel(&link->channel);

	if (rc)
		return rc;
	if (rdma_migrate_id(link->id, link->channel))
		return kvs_fault(errno, "cannot move its events: %s", strerror(errno));
	link->events = (struct kvr_watch){.ready = kvr_connection_ready, .fd = link->channel->fd};
	rc = kvr_loop_add(link->loop, &link->events, EPOLLIN);
	if (rc)
		link->events.ready = NULL;
	return rc;
}

static int prepare(struct kvr_link *link)
{
	int rc = kvr_connection_prepare(link);

	if (rc == 0)
		rc = kvr_connection_start(link);
	if (rc == 0)
		rc = move(link);
	if (rc == 0)
		rc = kvr_connection_deadline(link);
	return rc;
}

static void answer(struct kvr_link *link)
{
	struct rdma_conn_param parameters = kvr_connection_parameters(link);

	link->state = KVR_LINK_CONNECTING;
	if (rdma_accept(link->id, &parameters))
		(void)kvr_link_fail_later(
			link, kvs_fault(errno, "%s can't be accepted: %s", kvr_link_name(link), strerror(errno)));
}

static void arrived(struct kvr_port *port, struct rdma_cm_id *id)
{
	struct kvr_link *link;
	char from[KVR_TEXT];
	int rc = kvr_link_make(port->loop, port->memory, &port->options, &link);

	if (rc) {
		kvr_link_address(rdma_get_peer_addr(id), from);
		kvs_log(KVS_LOG_WARNING, "the link to %s is refused: %s", from, kvs_fault_text());
		(void)rdma_reject(id, NULL, 0);
		(void)rdma_destroy_id(id);
		return;
	}
	link->id = id;
	link->accepted = true;
	kvr_link_address(rdma_get_peer_addr(id), link->info.remote);
	rc = prepare(link);
	if (rc) {
		refuse(link, true);
		return;
	}
	kvr_link_enter(link);
	if (!port->user->accept(port->arg, link, &link->user, &link->arg))
		refuse(link, false);
	else if (!link->closed)
		answer(link);
	kvr_link_leave(link);
}

static void lost(struct kvr_port *port)
{
	port->removed = true;
	port->user->failed(port->arg,
			   kvs_fault(ENODEV, "the RDMA device that was listened at was removed: put it back, "
					     "and listen again"));
}

static void ready(struct kvr_watch *watch, uint32_t events)
{
	struct kvr_port *port = (struct kvr_port *)(void *)((char *)watch - offsetof(struct kvr_port, events));
	struct rdma_cm_event *event;

	(void)events;
	port->entered++;
	while (!port->closed && rdma_get_cm_event(port->channel, &event) == 0) {
		enum rdma_cm_event_type type = event->event;
		struct rdma_cm_id *id = event->id;

		(void)rdma_ack_cm_event(event);
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST)
			arrived(port, id);
		else if (type == RDMA_CM_EVENT_DEVICE_REMOVAL)
			lost(port);
	}
	if (--port->entered == 0 && port->closed)
		free(port);
}

static void end(struct kvr_port *port)
{
	if (port->events.ready)
		kvr_loop_remove(port->loop, &port->events);
	port->events.ready = NULL;
	if (port->id)
		(void)rdma_destroy_id(port->id);
	if (port->removed)
		kvr_device_let_go();
	if (port->channel)
		kvr_connection_close_channel(port->channel);
}

void kvr_port_close(struct kvr_port *port)
{
	end(port);
	port->closed = true;
	if (!port->entered)
		free(port);
}

/* What it became: the port, if any was asked for. */
static void read_endpoint(const struct kvr_port *port, struct kvr_endpoint *endpoint)
{
	const struct sockaddr *address = rdma_get_local_addr(port->id);

	endpoint->length = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	memcpy(&endpoint->address, address, endpoint->length);
}

/* Where the address is a device's. Whether it reaches a GPU's memory is seen here, by who can mend it, and not when
 * somebody connects. */
static int look_at_device(const struct kvr_port *port)
{
	struct kvr_device *device;
	int rc;

	if (!port->id->verbs)
		return 0;
	rc = kvr_choice_check(port->id, &port->options);
	if (rc == 0 && kvr_memory_in_gpu(port->memory))
		rc = kvr_device_get(port->loop, port->memory, port->id, &device);
	return rc;
}

static int open_port(struct kvr_port *port, struct kvr_endpoint *endpoint)
{
	struct kvr_endpoint at = *endpoint;
	char text[KVR_TEXT];
	int rc = kvr_choice_address(endpoint, true, &port->options, &at);

	if (rc == 0)
		rc = kvr_connection_channel(&port->channel);
	if (rc)
		return rc;
	kvr_link_address(kvr_verbs_sockaddr(&at), text);
	if (rdma_create_id(port->channel, &port->id, port, RDMA_PS_TCP))
		return kvs_fault(errno, "no identifier for a port: %s", strerror(errno));
	rc = kvr_connection_options(port->id, &port->options);
	if (rc)
		return rc;
	if (rdma_bind_addr(port->id, kvr_verbs_address(&at)))
		return kvs_fault(errno, "cannot listen at %s: %s%s", text, strerror(errno),
				 errno == ENODEV || errno == EADDRNOTAVAIL
					 ? ": no RDMA device has that address (`rdma link`, `ip address`)"
				 : errno == EADDRINUSE ? ": another process listens there"
						       : "");
	rc = look_at_device(port);
	if (rc)
		return rc;
	if (rdma_listen(port->id, BACKLOG))
		return kvs_fault(errno, "cannot listen at %s: %s", text, strerror(errno));
	read_endpoint(port, endpoint);
	port->events = (struct kvr_watch){.ready = ready, .fd = port->channel->fd};
	rc = kvr_loop_add(port->loop, &port->events, EPOLLIN);
	if (rc)
		port->events.ready = NULL;
	return rc;
}

int kvr_port_listen(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
		    struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port)
{
	struct kvr_port *made = calloc(1, sizeof(*made));
	int rc;

	if (!made)
		return kvs_fault(ENOMEM, "no memory for a port");
	made->loop = loop;
	made->memory = memory;
	made->options = *options;
	made->user = user;
	made->arg = arg;
	rc = open_port(made, endpoint);
	if (rc) {
		end(made);
		free(made);
		return rc;
	}
	*port = made;
	return 0;
}
