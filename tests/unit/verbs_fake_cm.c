/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_fake_cm.c: what librdmacm does: identifiers, their events, and connections from one of this process to another.
 * See verbs_fake.h.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verbs_fake.h"
#include "verbs_fake_qp.h"

struct fake_id {
	struct rdma_cm_id ibv;
	struct fake_id *other; /* of a connection, from its request on */
	bool listens, answered;
	uint32_t qp_num;
	unsigned unacknowledged;
	struct fake_id *next;
};

struct fake_event {
	struct rdma_cm_event ibv;
	struct fake_event *next;
};

struct fake_channel {
	struct rdma_event_channel ibv;
	struct fake_event *events; /* the oldest first */
	unsigned ids;
};

static struct fake_id *ids;

static uint16_t port_of(const struct sockaddr *address)
{
	return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static socklen_t length_of(const struct sockaddr *address)
{
	return address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* ---- Channels, and what comes by them */

struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct fake_channel *made;

	if (fake_fails("rdma_create_event_channel"))
		return NULL;
	made = fake_make(sizeof(*made));
	*made = (struct fake_channel){.ibv.fd = fake_descriptor()};
	fake.objects++;
	return &made->ibv;
}

void rdma_destroy_event_channel(struct rdma_event_channel *channel)
{
	struct fake_channel *own = (void *)channel;

	fake_must(!own->ids, "a channel goes before its identifiers");
	fake_must(!own->events, "a channel goes before its events");
	(void)close(channel->fd);
	free(own);
	fake.objects--;
}

static void put_event(struct fake_channel *channel, struct fake_event *event)
{
	struct fake_event **at = &channel->events;

	while (*at)
		at = &(*at)->next;
	event->next = NULL;
	*at = event;
	fake_signal(channel->ibv.fd);
}

static void tell(struct fake_id *id, struct fake_id *listener, enum rdma_cm_event_type type, int status)
{
	struct fake_event *event = fake_make(sizeof(*event));
	struct fake_id *to = listener ? listener : id;

	*event = (struct fake_event){.ibv = {.id = &id->ibv,
					     .listen_id = listener ? &listener->ibv : NULL,
					     .event = type,
					     .status = status}};
	put_event((void *)to->ibv.channel, event);
}

void fake_tell(struct rdma_cm_id *id, enum rdma_cm_event_type type, int status)
{
	tell((void *)id, NULL, type, status);
}

int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
	struct fake_channel *own = (void *)channel;
	struct fake_event *first;

	if (fake_fails("rdma_get_cm_event") || !fake_take_signal(channel->fd))
		return -1;
	first = own->events;
	own->events = first->next;
	((struct fake_id *)(void *)first->ibv.id)->unacknowledged++;
	*event = &first->ibv;
	return 0;
}

int rdma_ack_cm_event(struct rdma_cm_event *event)
{
	((struct fake_id *)(void *)event->id)->unacknowledged--;
	free(event);
	return 0;
}

/* ---- Identifiers */

static struct fake_id *make_id(struct rdma_event_channel *channel, void *user)
{
	struct fake_id *made = fake_make(sizeof(*made));

	made->ibv = (struct rdma_cm_id){.channel = channel, .context = user, .ps = RDMA_PS_TCP};
	((struct fake_channel *)(void *)channel)->ids++;
	made->next = ids;
	ids = made;
	fake.objects++;
	return made;
}

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context, enum rdma_port_space ps)
{
	fake_must(ps == RDMA_PS_TCP, "another port space");
	if (fake_fails("rdma_create_id"))
		return -1;
	*id = &make_id(channel, context)->ibv;
	return 0;
}

static bool of(const struct fake_event *event, const struct fake_id *id)
{
	return event->ibv.id == &id->ibv || event->ibv.listen_id == &id->ibv;
}

static void free_id(struct fake_id *id)
{
	struct fake_id **at = &ids;

	if (id->other) {
		id->other->other = NULL;
		tell(id->other, NULL,
		     id->answered || id->other->answered ? RDMA_CM_EVENT_DISCONNECTED : RDMA_CM_EVENT_REJECTED, 0);
	}
	while (*at != id)
		at = &(*at)->next;
	*at = id->next;
	((struct fake_channel *)(void *)id->ibv.channel)->ids--;
	free(id);
	fake.objects--;
}

/* Connections that nobody has taken are refused. */
static void drop_events(struct fake_id *id, struct fake_channel *channel)
{
	struct fake_event **at = &channel->events;

	while (*at) {
		struct fake_event *event = *at;

		if (!of(event, id)) {
			at = &event->next;
			continue;
		}
		*at = event->next;
		fake_must(fake_take_signal(channel->ibv.fd), "an event without a signal");
		if (event->ibv.listen_id == &id->ibv)
			free_id((void *)event->ibv.id);
		free(event);
	}
}

int rdma_destroy_id(struct rdma_cm_id *id)
{
	struct fake_id *own = (void *)id;

	fake_must(!own->unacknowledged, "an identifier goes before its events were acknowledged");
	drop_events(own, (void *)id->channel);
	free_id(own);
	return 0;
}

int rdma_migrate_id(struct rdma_cm_id *id, struct rdma_event_channel *channel)
{
	struct fake_channel *before = (void *)id->channel, *now = (void *)channel;
	struct fake_event **at = &before->events;

	fake_must(!((struct fake_id *)(void *)id)->unacknowledged, "an identifier moves before its events were "
								   "acknowledged");
	if (fake_fails("rdma_migrate_id"))
		return -1;
	before->ids--;
	now->ids++;
	id->channel = channel;
	while (*at) {
		struct fake_event *event = *at;

		if (event->ibv.id != id) {
			at = &event->next;
			continue;
		}
		*at = event->next;
		fake_must(fake_take_signal(before->ibv.fd), "an event without a signal");
		put_event(now, event);
	}
	return 0;
}

int rdma_set_option(struct rdma_cm_id *id, int level, int optname, void *optval, size_t optlen)
{
	(void)id;
	fake_must(level == RDMA_OPTION_ID && optname == RDMA_OPTION_ID_TOS && optlen == 1, "an option that is not "
											   "known");
	if (fake_fails("rdma_set_option"))
		return -1;
	fake.traffic_class = *(uint8_t *)optval;
	return 0;
}

/* ---- Addresses */

static bool same(const struct sockaddr *one, const struct sockaddr *other)
{
	const struct sockaddr_in *four = (const void *)one, *other_four = (const void *)other;
	const struct sockaddr_in6 *six = (const void *)one, *other_six = (const void *)other;

	if (one->sa_family != other->sa_family)
		return false;
	if (one->sa_family == AF_INET)
		return four->sin_addr.s_addr == other_four->sin_addr.s_addr;
	return memcmp(&six->sin6_addr, &other_six->sin6_addr, sizeof(six->sin6_addr)) == 0;
}

/* Of a device that is there; false: no device has that address. */
static bool device_of(const struct sockaddr *address, unsigned *device)
{
	struct sockaddr_storage own;

	for (unsigned i = 0; i < FAKE_DEVICES; i++) {
		fake_address(i, address->sa_family, (void *)&own);
		if (!fake.gone[i] && same(address, (void *)&own)) {
			*device = i;
			return true;
		}
	}
	return false;
}

static void belongs_to(struct fake_id *id, unsigned device)
{
	id->ibv.verbs = fake_cm_context(device);
	id->ibv.port_num = 1;
	fake.kept[device] = true;
}

static bool has_ids(unsigned device)
{
	for (const struct fake_id *at = ids; at; at = at->next)
		if (at->ibv.verbs == fake_cm_context(device))
			return true;
	return false;
}

/* Closes what is there no more, and is of no use any more; opens all that is there. Where nothing is there it does not
 * look. */
struct ibv_context **rdma_get_devices(int *num_devices)
{
	struct ibv_context **all;
	bool any = false;

	fake_must(!num_devices, "how many");
	for (unsigned i = 0; i < FAKE_DEVICES; i++)
		any = any || !fake.gone[i];
	errno = ENODEV;
	if (!any)
		return NULL;
	all = fake_make(sizeof(struct ibv_context *));
	for (unsigned i = 0; i < FAKE_DEVICES; i++)
		fake.kept[i] = !fake.gone[i] || has_ids(i);
	fake.objects++;
	return all;
}

void rdma_free_devices(struct ibv_context **list)
{
	fake.objects--;
	free(list);
}

int rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *src_addr, struct sockaddr *dst_addr, int timeout_ms)
{
	unsigned device = fake.gone[0] ? 1 : 0; /* as the route says */

	(void)timeout_ms;
	if (fake_fails("rdma_resolve_addr"))
		return -1;
	if (src_addr)
		fake_must(device_of(src_addr, &device), "an address that no device has");
	else
		(void)device_of(dst_addr, &device);
	belongs_to((void *)id, device);
	fake_address(device, dst_addr->sa_family, &id->route.addr.src_addr);
	memcpy(&id->route.addr.dst_addr, dst_addr, length_of(dst_addr));
	fake_tell(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
	return 0;
}

int rdma_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	(void)timeout_ms;
	if (fake_fails("rdma_resolve_route"))
		return -1;
	fake_tell(id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
	return 0;
}

static struct fake_id *listener_at(const struct sockaddr *address)
{
	for (struct fake_id *at = ids; at; at = at->next)
		if (at->listens && port_of(&at->ibv.route.addr.src_addr) == port_of(address))
			return at;
	return NULL;
}

int rdma_bind_addr(struct rdma_cm_id *id, struct sockaddr *addr)
{
	static const struct in6_addr any;
	const struct sockaddr_in6 *six = (void *)addr;
	unsigned device;

	if (fake_fails("rdma_bind_addr"))
		return -1;
	errno = EADDRINUSE;
	if (listener_at(addr))
		return -1;
	errno = ENODEV;
	if (device_of(addr, &device))
		belongs_to((void *)id, device);
	else if (addr->sa_family == AF_INET ? ((struct sockaddr_in *)(void *)addr)->sin_addr.s_addr != 0
					    : memcmp(&six->sin6_addr, &any, sizeof(any)) != 0)
		return -1;
	memcpy(&id->route.addr.src_addr, addr, length_of(addr));
	return 0;
}

int rdma_listen(struct rdma_cm_id *id, int backlog)
{
	(void)backlog;
	if (fake_fails("rdma_listen"))
		return -1;
	((struct fake_id *)(void *)id)->listens = true;
	return 0;
}

/* ---- Connections */

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *conn_param)
{
	struct fake_id *own = (void *)id, *listener = listener_at(&id->route.addr.dst_addr), *child;
	unsigned device = fake_number(id->verbs);

	if (fake_fails("rdma_connect"))
		return -1;
	if (fake.deaf)
		return 0;
	if (!listener) {
		fake_tell(id, RDMA_CM_EVENT_REJECTED, ECONNREFUSED);
		return 0;
	}
	own->qp_num = conn_param->qp_num;
	child = make_id(listener->ibv.channel, listener->ibv.context);
	(void)device_of(&id->route.addr.dst_addr, &device);
	belongs_to(child, device);
	memcpy(&child->ibv.route.addr.dst_addr, &id->route.addr.src_addr, length_of(&id->route.addr.src_addr));
	memcpy(&child->ibv.route.addr.src_addr, &id->route.addr.dst_addr, length_of(&id->route.addr.dst_addr));
	child->other = own;
	own->other = child;
	tell(child, listener, RDMA_CM_EVENT_CONNECT_REQUEST, 0);
	return 0;
}

int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *conn_param)
{
	struct fake_id *own = (void *)id;

	if (fake_fails("rdma_accept"))
		return -1;
	own->qp_num = conn_param->qp_num;
	own->answered = true;
	if (own->other)
		tell(own->other, NULL, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	return 0;
}

int rdma_establish(struct rdma_cm_id *id)
{
	struct fake_id *own = (void *)id;

	if (fake_fails("rdma_establish"))
		return -1;
	own->answered = true;
	if (own->other)
		tell(own->other, NULL, RDMA_CM_EVENT_ESTABLISHED, 0);
	return 0;
}

int rdma_reject(struct rdma_cm_id *id, const void *private_data, uint8_t private_data_len)
{
	struct fake_id *own = (void *)id;

	(void)private_data;
	(void)private_data_len;
	if (own->other) {
		own->other->other = NULL;
		tell(own->other, NULL, RDMA_CM_EVENT_REJECTED, ECONNREFUSED);
	}
	own->other = NULL;
	return 0;
}

int rdma_init_qp_attr(struct rdma_cm_id *id, struct ibv_qp_attr *qp_attr, int *qp_attr_mask)
{
	const struct fake_id *own = (void *)id;

	if (fake_fails("rdma_init_qp_attr"))
		return -1;
	*qp_attr_mask = IBV_QP_STATE;
	if (qp_attr->qp_state == IBV_QPS_INIT)
		*qp_attr_mask |= IBV_QP_ACCESS_FLAGS;
	if (qp_attr->qp_state == IBV_QPS_RTS)
		*qp_attr_mask |= IBV_QP_TIMEOUT;
	if (qp_attr->qp_state != IBV_QPS_RTR)
		return 0;
	*qp_attr_mask |= IBV_QP_AV | IBV_QP_DEST_QPN;
	qp_attr->dest_qp_num = own->other ? own->other->qp_num : 0;
	qp_attr->ah_attr.is_global = 1;
	qp_attr->ah_attr.grh.sgid_index = id->route.addr.src_addr.sa_family == AF_INET ? 1 : 2;
	return 0;
}

/* Nobody is told who listens at any address: the kernel does not, either. */
void fake_cm_remove(unsigned device)
{
	for (struct fake_id *at = ids; at; at = at->next)
		if (at->ibv.verbs == fake_cm_context(device))
			tell(at, NULL, RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
}
