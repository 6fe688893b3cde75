/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * listener.c: the public calls of who listens on behalf of a store. Contracts in kvshm.h.
 *
 * Guarantees: nobody listens where others than this machine can connect without a secret, but for who says so. The
 * store's client is marked as one that does DMA before anything of it is registered with a device (E2). A child of
 * fork() finds no listener, since its memory is wiped there, and touches none of its parent's descriptors.
 */
#include "config.h"

#include <string.h>

#include "client.h"
#include "fault.h"
#include "internal.h"
#include "listener.h"
#include "options.h"
#include "url.h"

static int check(const kvshm_listener *listener)
{
	if (!listener)
		return kvs_routine(EINVAL, "no listener was given (NULL)");
	if (listener->alive != KVR_LISTENING)
		return kvs_routine(ECHILD, "the listener is from before fork(): it is the parent's");
	return 0;
}

/* ---- What the port tells --------------------------------------------------------------------------------------- */

static bool on_accept(void *arg, struct kvr_link *link, const struct kvr_link_user **user, void **user_arg)
{
	kvshm_listener *listener = arg;

	return kvr_peer_accept(&listener->node, listener->transport, link, user, user_arg);
}

/* Its text is kept for the one who works. Connections that are there go on, as far as they can. */
static void on_failed(void *arg, int reason)
{
	kvshm_listener *listener = arg;

	listener->reason = reason;
	memcpy(listener->text, "", 1);
	(void)strncat(listener->text, kvs_fault_text(), sizeof(listener->text) - 1);
}

static const struct kvr_port_user port_user = {.accept = on_accept, .failed = on_failed};

/* ---- Open and close -------------------------------------------------------------------------------------------- */

/* Who has no secret takes blocks from anyone who reaches it. */
static int check_secret(const struct kvr_endpoint *endpoint, const struct kvshm_net_options *options)
{
	if (options->secret || options->open || kvr_url_is_loopback(endpoint))
		return 0;
	return kvs_fault(EACCES, "no secret is set, and other machines can reach that address: anyone could write into "
				 "the store. Give both sides the same key (kvshmd --key-file), or listen on loopback");
}

/* A NIC may go on with what it has when this process is dead already: said before it gets anything. */
static int mark(kvshm_store *store, const struct kvr_transport *transport)
{
	if (!transport->dma)
		return 0;
	return kvs_client_set_dma(&store->map, store->slot);
}

static int open_port(kvshm_listener *listener, kvshm_store *store, const struct kvshm_net_options *options)
{
	struct kvr_link_options link;
	int rc = mark(store, listener->transport);

	if (rc == 0)
		rc = kvr_node_open(&listener->node, store, options);
	if (rc)
		return rc;
	kvr_link_options_of(options, store, &link);
	rc = kvr_node_add_planes(&listener->node);
	if (rc == 0)
		rc = listener->transport->listen(&listener->node.loop, &listener->endpoint, &link,
						 listener->node.memory, &port_user, listener, &listener->port);
	if (rc)
		kvr_node_close(&listener->node);
	return rc;
}

int kvshm_listen(kvshm_store *store, const char *url, const struct kvshm_net_options *options,
		 kvshm_listener **listener)
{
	struct kvshm_net_options defaults;
	const struct kvr_transport *transport;
	struct kvr_endpoint endpoint;
	kvshm_listener *made;
	void *memory;
	int rc = kvl_check(store);

	if (rc == 0 && (!url || !listener))
		rc = kvs_routine(EINVAL, "no URL, or no place for the result, was given (NULL)");
	if (rc == 0)
		rc = kvr_url_read(url, &transport, &endpoint);
	if (rc)
		return rc;
	kvshm_net_defaults(&defaults);
	options = options ? options : &defaults;
	rc = check_secret(&endpoint, options);
	if (rc == 0)
		rc = kvl_memory_take(sizeof(*made), &memory);
	if (rc)
		return rc;
	made = memory;
	made->transport = transport;
	made->endpoint = endpoint;
	rc = open_port(made, store, options);
	if (rc) {
		kvl_memory_give_back(made, sizeof(*made));
		return rc;
	}
	made->alive = KVR_LISTENING;
	*listener = made;
	return 0;
}

int kvshm_listener_close(kvshm_listener *listener)
{
	int rc = check(listener);

	if (rc)
		return rc;
	listener->transport->close_port(listener->port);
	kvr_node_close(&listener->node);
	listener->alive = 0;
	kvl_memory_give_back(listener, sizeof(*listener));
	return 0;
}

/* ---- The rest -------------------------------------------------------------------------------------------------- */

int kvshm_listener_url(kvshm_listener *listener, char *url, size_t size)
{
	int rc = check(listener);

	if (rc)
		return rc;
	if (!url || size < KVR_URL_SIZE)
		return kvs_fault(EINVAL, "no place for a URL: %d bytes are enough for any", KVR_URL_SIZE);
	kvr_url_write(listener->transport, &listener->endpoint, url, size);
	return 0;
}

int kvshm_listener_fd(kvshm_listener *listener, int *fd)
{
	int rc = check(listener);

	if (rc == 0 && !fd)
		rc = kvl_no_place();
	if (rc == 0)
		*fd = listener->node.loop.epoll;
	return rc;
}

int kvshm_listener_work(kvshm_listener *listener, uint64_t deadline)
{
	int rc = check(listener);

	if (rc)
		return rc;
	(void)pthread_mutex_lock(&listener->node.lock);
	kvs_log_put_off();
	rc = listener->reason ? 0 : kvr_node_work(&listener->node, deadline);
	if (listener->reason)
		rc = kvs_fault(-listener->reason, "%s", listener->text);
	(void)pthread_mutex_unlock(&listener->node.lock);
	kvs_log_go_on();
	return rc;
}
