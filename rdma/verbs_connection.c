/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_connection.c: how a link comes about by librdmacm, and how it hears of its end. README.md has the states.
 *
 * The queue pair is of the device's own context, so this file takes it through its states (rdma_init_qp_attr() says
 * what each needs), and librdmacm only is told its number. Nothing here waits: each step ends with an event.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"
#include "verbs.h"

/* ---- Channels, options ---- */

int kvr_connection_channel(struct rdma_event_channel **channel)
{
	struct rdma_event_channel *made;
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	made = rdma_create_event_channel();
	if (made) {
		(void)fcntl(made->fd, F_SETFL, O_NONBLOCK);
		kvs_kept_add(made->fd);
		*channel = made;
	} else {
		rc = kvs_fault(errno,
			       "cannot use /dev/infiniband/rdma_cm: %s: is there an RDMA device (`rdma link`), are "
			       "the kernel's modules there (modprobe rdma_ucm), and may this process open it?",
			       strerror(errno));
	}
	kvs_kept_end();
	return rc;
}

void kvr_connection_close_channel(struct rdma_event_channel *channel)
{
	kvs_kept_forget(channel->fd);
	rdma_destroy_event_channel(channel);
}

int kvr_connection_options(struct rdma_cm_id *id, const struct kvr_link_options *options)
{
	uint8_t class = (uint8_t)options->traffic_class;

	if (options->traffic_class < 0)
		return 0;
	if (rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &class, sizeof(class)) == 0)
		return 0;
	return kvs_fault(errno, "cannot set the traffic class %d: %s", options->traffic_class, strerror(errno));
}

/* ---- The deadline of connecting ---- */

static void too_late(struct kvr_watch *watch, uint32_t events)
{
	struct kvr_link *link = (struct kvr_link *)(void *)((char *)watch - offsetof(struct kvr_link, timer));

	(void)events;
	kvr_link_enter(link);
	kvr_link_failed(link, kvs_fault(ETIMEDOUT,
					"%s did not come about in %llu ms: is the other side there, and is "
					"kvshm's port open for RDMA?",
					kvr_link_name(link), (unsigned long long)(link->options.timeout / 1000000)));
	kvr_link_leave(link);
}

int kvr_connection_deadline(struct kvr_link *link)
{
	uint64_t ns = link->options.timeout;
	struct itimerspec when = {
		.it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)}};
	int rc;

	link->timer = (struct kvr_watch){.ready = too_late,
					 .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
	if (link->timer.fd < 0)
		return kvs_fault(errno, "no timer for a link: %s", strerror(errno));
	(void)timerfd_settime(link->timer.fd, 0, &when, NULL);
	rc = kvr_loop_add(link->loop, &link->timer, EPOLLIN);
	if (rc) {
		(void)close(link->timer.fd);
		link->timer.fd = -1;
	}
	return rc;
}

void kvr_connection_no_deadline(struct kvr_link *link)
{
	if (link->timer.fd < 0)
		return;
	kvr_loop_remove(link->loop, &link->timer);
	(void)close(link->timer.fd);
	link->timer.fd = -1;
}

/* ---- The queue pair's states ---- */

#define ACK_RETRIES 6 /* 7, the most that there can be, is without end to Soft-RoCE */
#define ACK_TIMEOUT_MIN 14 /* 67 ms; the unit is 4096 ns, times a power of two */
#define ACK_TIMEOUT_MAX 20 /* 4.3 s */

/* So that all retransmissions together take about as long as the other side may be silent. */
static uint8_t ack_timeout(uint64_t timeout)
{
	uint8_t power = ACK_TIMEOUT_MIN;

	while (power < ACK_TIMEOUT_MAX && (UINT64_C(4096) << (power + 1)) * (ACK_RETRIES + 1) <= timeout)
		power++;
	return power;
}

static void adjust(struct kvr_link *link, struct ibv_qp_attr *attr, int mask)
{
	if (mask & IBV_QP_ACCESS_FLAGS)
		attr->qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
	if (mask & IBV_QP_TIMEOUT)
		attr->timeout = ack_timeout(link->options.timeout);
	if (mask & IBV_QP_AV && attr->ah_attr.is_global) {
		if (link->options.gid_index >= 0) /* one address may be there as RoCE v1 and v2 */
			attr->ah_attr.grh.sgid_index = (uint8_t)link->options.gid_index;
		link->gid_index = attr->ah_attr.grh.sgid_index;
	}
}

static int move_to(struct kvr_link *link, enum ibv_qp_state state)
{
	static const char *const names[] = {[IBV_QPS_INIT] = "INIT", [IBV_QPS_RTR] = "RTR", [IBV_QPS_RTS] = "RTS"};
	struct ibv_qp_attr attr = {.qp_state = state};
	int mask = 0, error;

	if (rdma_init_qp_attr(link->id, &attr, &mask))
		return kvs_fault(errno, "%s: no attributes for its queue pair's state %s: %s", kvr_link_name(link),
				 names[state], strerror(errno));
	adjust(link, &attr, mask);
	error = kvr_verbs_error(ibv_modify_qp(link->qp, &attr, mask));
	if (error)
		return kvs_fault(error, "%s: its queue pair can't enter the state %s: %s", kvr_link_name(link),
				 names[state], strerror(error));
	return 0;
}

/* INIT once more: only now librdmacm knows all of its attributes. */
int kvr_connection_start(struct kvr_link *link)
{
	int rc = move_to(link, IBV_QPS_INIT);

	if (rc == 0)
		rc = move_to(link, IBV_QPS_RTR);
	if (rc == 0)
		rc = move_to(link, IBV_QPS_RTS);
	return rc;
}

int kvr_connection_prepare(struct kvr_link *link)
{
	struct kvr_device *device;
	int rc = kvr_choice_check(link->id, &link->options);

	if (rc == 0)
		rc = kvr_device_get(link->loop, link->memory, link->id, &device);
	if (rc)
		return rc;
	kvr_device_link(device, link);
	link->port = link->id->port_num;
	(void)snprintf(link->device_name, sizeof(link->device_name), "%s", device->context->device->name);
	kvr_link_address(rdma_get_local_addr(link->id), link->info.local);
	if (!device->has_windows || device->region_keys)
		link->info.flags |= KVR_LINK_NO_WINDOWS;
	rc = kvr_qp_open(link);
	if (rc == 0)
		rc = move_to(link, IBV_QPS_INIT);
	if (rc == 0)
		rc = kvr_qp_receive(link);
	return rc;
}

/* One read at a time, which nobody does: there are devices that do not take 0. */
struct rdma_conn_param kvr_connection_parameters(const struct kvr_link *link)
{
	return (struct rdma_conn_param){.responder_resources = 1,
					.initiator_depth = 1,
					.retry_count = ACK_RETRIES,
					.rnr_retry_count = 6,
					.qp_num = link->qp->qp_num};
}

/* ---- Steps ---- */

static int resolve_route(struct kvr_link *link)
{
	link->state = KVR_LINK_ROUTE;
	if (rdma_resolve_route(link->id, (int)(link->options.timeout / 1000000)) == 0)
		return 0;
	return kvs_fault(errno, "%s: cannot look for the route: %s", kvr_link_name(link), strerror(errno));
}

static int refused(const struct kvr_link *link)
{
	return kvs_fault(ECONNREFUSED, "%s was refused: does kvshmd listen there? If so, its log says why",
			 kvr_link_name(link));
}

static int ask(struct kvr_link *link)
{
	struct rdma_conn_param parameters;
	int rc = kvr_connection_prepare(link);

	if (rc)
		return rc;
	link->state = KVR_LINK_CONNECTING;
	parameters = kvr_connection_parameters(link);
	if (rdma_connect(link->id, &parameters) == 0)
		return 0;
	if (errno == ECONNREFUSED) /* iWARP's TCP says so at once */
		return refused(link);
	return kvs_fault(errno, "%s: cannot connect: %s", kvr_link_name(link), strerror(errno));
}

/* The answer is there. (iWARP's kernel part has taken these steps itself, and says "established".) */
static int answer(struct kvr_link *link)
{
	int rc = kvr_connection_start(link);

	if (rc)
		return rc;
	if (rdma_establish(link->id))
		return kvs_fault(errno, "%s: cannot be established: %s", kvr_link_name(link), strerror(errno));
	kvr_link_is_up(link);
	return 0;
}

static int established(struct kvr_link *link)
{
	int rc = !link->accepted && link->device->is_iwarp ? kvr_connection_start(link) : 0;

	if (rc == 0)
		kvr_link_is_up(link);
	return rc;
}

static int unreachable(const struct kvr_link *link, int status, const char *what)
{
	int error = status == -ETIMEDOUT ? ETIMEDOUT : EHOSTUNREACH;

	return kvs_fault(error,
			 "%s: %s (%s): is that node up, and is there a route to it over an RDMA device? (ping, `ip "
			 "route get`, `rdma link`)",
			 kvr_link_name(link), what, strerror(status < 0 ? -status : status));
}

/* What came before is told first: the other side may have sent its last words right before. */
static void take_the_last(struct kvr_link *link)
{
	bool more = true;
	int rc = 0;

	while (rc == 0 && more && !link->closed && link->state == KVR_LINK_UP)
		rc = kvr_completion_take(link, &more);
}

static int disconnected(const struct kvr_link *link)
{
	return kvs_fault(ECONNRESET, "%s was closed by the other side, or its process ended", kvr_link_name(link));
}

static int removed(struct kvr_link *link)
{
	link->removed = true;
	if (link->device)
		kvr_device_is_lost(link->device);
	return kvs_fault(ENODEV, "%s: its device was removed: put it back, or name another one", kvr_link_name(link));
}

static int step(struct kvr_link *link, enum rdma_cm_event_type event, int status)
{
	switch (event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		return resolve_route(link);
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		return ask(link);
	case RDMA_CM_EVENT_CONNECT_RESPONSE:
		return answer(link);
	case RDMA_CM_EVENT_ESTABLISHED:
		return established(link);
	case RDMA_CM_EVENT_ADDR_ERROR:
		return unreachable(link, status, "its address can't be resolved");
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return unreachable(link, status, "no route");
	case RDMA_CM_EVENT_UNREACHABLE:
		return unreachable(link, status, "no answer");
	case RDMA_CM_EVENT_CONNECT_ERROR:
		return unreachable(link, status, "connecting failed");
	case RDMA_CM_EVENT_REJECTED:
		return refused(link);
	case RDMA_CM_EVENT_DISCONNECTED:
		return disconnected(link);
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		return removed(link);
	default:
		return 0;
	}
}

/* Takes one event. Its id can only be destroyed when it has been acknowledged. */
static bool next(struct kvr_link *link, enum rdma_cm_event_type *type, int *status)
{
	struct rdma_cm_event *event;

	if (link->closed || link->state == KVR_LINK_DOWN || !link->channel || rdma_get_cm_event(link->channel, &event))
		return false;
	*type = event->event;
	*status = event->status;
	(void)rdma_ack_cm_event(event);
	return true;
}

void kvr_connection_ready(struct kvr_watch *watch, uint32_t events)
{
	struct kvr_link *link = (struct kvr_link *)(void *)((char *)watch - offsetof(struct kvr_link, events));
	enum rdma_cm_event_type type;
	int status, rc;

	(void)events;
	kvr_link_enter(link);
	while (next(link, &type, &status)) {
		if (type == RDMA_CM_EVENT_DISCONNECTED)
			take_the_last(link);
		rc = step(link, type, status);
		if (rc)
			kvr_link_failed(link, rc);
	}
	kvr_link_leave(link);
}

void kvr_connection_look(struct kvr_link *link)
{
	enum rdma_cm_event_type type;
	int status;

	while (next(link, &type, &status))
		if (type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_DEVICE_REMOVAL)
			(void)kvr_link_fail_later(link, step(link, type, status));
}

/* ---- Beginning ---- */

int kvr_connection_begin(struct kvr_link *link, const struct kvr_endpoint *to)
{
	struct kvr_endpoint from = {.length = 0}, there = *to;
	int rc;

	kvr_link_address(kvr_verbs_sockaddr(&there), link->info.remote);
	rc = kvr_choice_address(to, false, &link->options, &from);
	if (rc == 0)
		rc = kvr_connection_channel(&link->channel);
	if (rc)
		return rc;
	if (rdma_create_id(link->channel, &link->id, link, RDMA_PS_TCP))
		return kvs_fault(errno, "%s: no identifier for it: %s", kvr_link_name(link), strerror(errno));
	rc = kvr_connection_options(link->id, &link->options);
	if (rc)
		return rc;
	if (rdma_resolve_addr(link->id, from.length ? kvr_verbs_address(&from) : NULL, kvr_verbs_address(&there),
			      (int)(link->options.timeout / 1000000)))
		return unreachable(link, -errno, "its address can't be resolved");
	link->events = (struct kvr_watch){.ready = kvr_connection_ready, .fd = link->channel->fd};
	rc = kvr_loop_add(link->loop, &link->events, EPOLLIN);
	if (rc) {
		link->events.ready = NULL;
		return rc;
	}
	return kvr_connection_deadline(link);
}
