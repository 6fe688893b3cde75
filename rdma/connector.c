/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * connector.c: connecting to another node, and the calls with the connection. Contracts in kvshm.h.
 *
 * The planes of its store are registered once, when the device is known, and may be exposed: what is wanted of the
 * other side is written into them, through windows. A client that sends by RDMA is marked as one that does DMA: a NIC
 * may go on reading its blocks, to send them once more, after its lock has fallen (E2).
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "client.h"
#include "connector.h"
#include "internal.h"
#include "options.h"
#include "sender.h"
#include "url.h"
#include "wait.h"

/* ---- How calls begin and end */

int kvr_connector_enter(struct kvshm_peer *peer)
{
	if (!peer)
		return kvs_routine(EINVAL, "no peer was given (NULL)");
	if (peer->alive != KVR_ALIVE)
		return kvs_routine(ECHILD, "the connection is from before fork(): the child makes its own");
	(void)pthread_mutex_lock(&peer->node.lock);
	kvs_log_put_off();
	return 0;
}

static int leave(struct kvshm_peer *peer, int rc)
{
	(void)pthread_mutex_unlock(&peer->node.lock);
	kvs_log_go_on();
	return rc;
}

int kvr_connector_leave(struct kvshm_peer *peer, int rc)
{
	if (peer->tells && peer->peer->sender->telling)
		kvr_loop_call(&peer->node.loop, &peer->more);
	return leave(peer, rc);
}

/* It only makes the loop's descriptor readable. */
static void on_more(struct kvr_call *call)
{
	(void)call;
}

/* ---- Connecting */

static int begin(struct kvshm_peer *p, const char *url, const struct kvshm_net_options *options)
{
	const struct kvr_transport *transport;
	struct kvr_link_options link;
	struct kvr_endpoint endpoint;
	int rc = kvr_url_read(url, &transport, &endpoint);

	if (rc == 0 && p->node.store && transport->dma)
		rc = kvs_client_set_dma(&p->node.store->map, p->node.store->slot);
	if (rc == 0 && p->node.store)
		rc = kvr_node_add_planes(&p->node);
	if (rc)
		return rc;
	kvr_link_options_of(options, p->node.store, &link);
	return kvr_peer_connect(&p->node, transport, &endpoint, &link, &p->peer);
}

/* Why it did not come to be, as the peer's text says. */
static int not_made(const struct kvr_peer *peer, const char *url)
{
	int reason = peer->reason ? peer->reason : -ECONNRESET;

	return kvs_fault(-reason, "%s: %s", url, peer->text[0] ? peer->text : strerror(-reason));
}

static int wait_up(struct kvshm_peer *p, const char *url, uint64_t deadline)
{
	int rc = 0;

	while (p->peer->state != KVR_PEER_UP && p->peer->state != KVR_PEER_DOWN && rc == 0)
		rc = kvr_node_work(&p->node, deadline);
	if (p->peer->state == KVR_PEER_UP)
		return 0;
	if (p->peer->state == KVR_PEER_DOWN)
		return not_made(p->peer, url);
	return rc == -ETIMEDOUT ? kvs_fault(ETIMEDOUT, "%s: no answer until the deadline", url) : rc;
}

static int connect_node(struct kvshm_peer *p, const char *url, const struct kvshm_net_options *options,
			uint64_t deadline)
{
	int rc;

	(void)pthread_mutex_lock(&p->node.lock);
	kvs_log_put_off();
	rc = begin(p, url, options);
	if (rc == 0)
		rc = wait_up(p, url, deadline);
	return leave(p, rc);
}

/* Closing says goodbye, which must not take the text of what went wrong away. */
static int close_node(struct kvshm_peer *p, int rc)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "%s", kvs_fault_text());
	kvr_node_close(&p->node);
	return rc ? kvs_fault(-rc, "%s", text) : 0;
}

int kvshm_connect(kvshm_store *store, const char *url, const struct kvshm_net_options *options, uint64_t deadline,
		  kvshm_peer **peer)
{
	struct kvshm_net_options defaults;
	struct kvshm_peer *p;
	void *memory;
	int rc = store ? kvl_check(store) : 0;

	if (rc)
		return rc;
	if (!url || !peer)
		return kvs_routine(EINVAL, "no URL, or no place for the result was given (NULL)");
	kvshm_net_defaults(&defaults);
	rc = kvl_memory_take(sizeof(*p), &memory);
	if (rc)
		return rc;
	p = memory;
	p->more.fn = on_more;
	if (!options)
		options = &defaults;
	rc = kvr_node_open(&p->node, store, options);
	if (rc == 0) {
		rc = connect_node(p, url, options, deadline);
		if (rc)
			rc = close_node(p, rc);
	}
	if (rc) {
		kvl_memory_give_back(memory, sizeof(*p));
		return rc;
	}
	p->alive = KVR_ALIVE;
	*peer = p;
	return 0;
}

int kvshm_disconnect(kvshm_peer *peer)
{
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	peer->alive = 0;
	(void)pthread_mutex_unlock(&peer->node.lock);
	kvr_node_close(&peer->node);
	kvs_log_go_on();
	kvl_memory_give_back(peer, sizeof(*peer));
	return 0;
}

/* ---- Working */

int kvshm_peer_fd(kvshm_peer *peer, int *fd)
{
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	if (!fd)
		return kvr_connector_leave(peer, kvl_no_place());
	*fd = peer->node.loop.epoll;
	return kvr_connector_leave(peer, 0);
}

/* One turn, which does not sleep where there is something to tell. */
static int work(struct kvshm_peer *peer, uint64_t deadline, struct kvshm_event *events, size_t max, size_t *count)
{
	struct kvr_sender *sender = peer->peer->sender;
	bool waits = !max || !sender->telling;
	int rc = kvr_node_work(&peer->node, waits && peer->peer->state != KVR_PEER_DOWN ? deadline : 0);

	*count = kvr_sender_take_events(sender, events, max);
	if (*count)
		return 0;
	if (peer->peer->state == KVR_PEER_DOWN)
		return kvr_peer_lost(peer->peer);
	return waits || rc != -ETIMEDOUT ? rc : 0;
}

int kvshm_peer_work(kvshm_peer *peer, uint64_t deadline, struct kvshm_event *events, size_t max, size_t *count)
{
	size_t none;
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	if ((max && !events) || (max && !count))
		return kvr_connector_leave(peer, kvl_no_place());
	if (max)
		peer->tells = true;
	rc = work(peer, deadline, events, max, count ? count : &none);
	return max ? kvr_connector_leave(peer, rc) : leave(peer, rc); /* who takes none is not called for them */
}

/* ---- Memory */

int kvshm_peer_register(kvshm_peer *peer, void *address, size_t size)
{
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	if (!address || !size)
		rc = kvs_routine(EINVAL, "no memory was given (NULL, or of no bytes)");
	else
		rc = kvr_memory_add(peer->node.memory, address, size, false);
	return kvr_connector_leave(peer, rc);
}

static bool is_plane(const struct kvr_node *node, const void *address)
{
	for (uint32_t i = 0; node->store && i < node->store->map.g.planes; i++)
		if (node->planes[i] == address)
			return true;
	return false;
}

static int unregister(struct kvshm_peer *peer, void *address)
{
	if (is_plane(&peer->node, address))
		return kvs_routine(ENOENT, "that is a plane of the peer's store, which stays registered");
	for (const struct kvshm_transfer *t = peer->peer->sender->all; t; t = t->next)
		if (kvr_transfer_reads(t, address))
			return kvs_fault(EBUSY, "a write from there is under way, of transfer %u: wait for its end",
					 t->number);
	return kvr_memory_remove(peer->node.memory, address);
}

int kvshm_peer_unregister(kvshm_peer *peer, void *address)
{
	int rc = kvr_connector_enter(peer);

	return rc ? rc : kvr_connector_leave(peer, unregister(peer, address));
}

/* ---- What is known */

static void describe(const struct kvr_peer *peer, struct kvshm_peer_info *info)
{
	struct kvr_link_info link = { .flags = 0 };

	*info = (struct kvshm_peer_info){
		.geometry = peer->geometry,
		.pid = (int32_t)peer->pid,
		.round_trip = peer->round_trip,
		.transfers = peer->sender->under_way,
		.connected = peer->state == KVR_PEER_UP,
	};
	(void)snprintf(info->label, sizeof(info->label), "%s", peer->label);
	(void)snprintf(info->store, sizeof(info->store), "%s", peer->store);
	(void)snprintf(info->node, sizeof(info->node), "%s", peer->name);
	(void)snprintf(info->remote, sizeof(info->remote), "%s", peer->remote);
	if (!peer->link)
		return;
	peer->transport->describe(peer->link, &link);
	(void)snprintf(info->device, sizeof(info->device), "%s", link.device);
	(void)snprintf(info->local, sizeof(info->local), "%s", link.local);
	info->bytes_sent = link.bytes_sent;
	info->bytes_received = link.bytes_received;
}

int kvshm_peer_get_info(kvshm_peer *peer, struct kvshm_peer_info *info)
{
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	if (!info)
		return kvr_connector_leave(peer, kvl_no_place());
	describe(peer->peer, info);
	return kvr_connector_leave(peer, 0);
}
