/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_link.c: what all links have in common: how their users are called, and how links end.
 *
 * Guarantees: the fence comes first (E2, E3): down() is called, and close() returns, when the queue pair is gone, so
 * that nothing lands and nothing is read any more. A user may close a link in any function that the link calls. What
 * fails in a call of the user's is told from the loop.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "url.h"
#include "verbs.h"

static void end_id(struct kvr_link *link)
{
	if (link->id)
		(void)rdma_destroy_id(link->id); /* tells the other side */
	link->id = NULL;
	if (link->removed)
		kvr_device_let_go();
	if (link->channel)
		kvr_connection_close_channel(link->channel);
	link->channel = NULL;
}

/* The other side is told by close() only, which takes librdmacm's part: a farewell that is sent while the port is down
 * stops Soft-RoCE's queue pair for all such messages for good. */
static void end(struct kvr_link *link)
{
	kvr_qp_fence(link);
	kvr_connection_no_deadline(link);
	if (link->events.ready)
		kvr_loop_remove(link->loop, &link->events);
	link->events.ready = NULL;
	if (link->device)
		kvr_qp_close(link);
	kvr_device_unlink(link);
	kvr_loop_uncall(link->loop, &link->soon);
	link->state = KVR_LINK_DOWN;
}

void kvr_link_enter(struct kvr_link *link)
{
	link->entered++;
}

void kvr_link_leave(struct kvr_link *link)
{
	if (--link->entered == 0 && link->closed)
		free(link);
}

void kvr_link_close(struct kvr_link *link)
{
	kvr_link_enter(link);
	link->closed = true;
	end(link);
	end_id(link);
	kvr_link_leave(link);
}

int kvr_link_reason(const struct kvr_link *link)
{
	return kvs_fault(-link->reason, "%s", link->text);
}

void kvr_link_failed(struct kvr_link *link, int reason)
{
	if (link->state == KVR_LINK_DOWN || link->closed)
		return;
	if (link->reason)
		reason = kvr_link_reason(link);
	end(link);
	link->user->down(link->arg, reason);
}

int kvr_link_fail_later(struct kvr_link *link, int reason)
{
	if (!link->reason) {
		link->reason = reason;
		(void)snprintf(link->text, sizeof(link->text), "%s", kvs_fault_text());
		kvr_link_soon(link);
	}
	return kvs_fault(ENOTCONN, "%s", link->text);
}

void kvr_link_soon(struct kvr_link *link)
{
	if (link->state != KVR_LINK_DOWN && !link->closed)
		kvr_loop_call(link->loop, &link->soon);
}

/* A link that fails took part in what came before: that is told first. */
static void look(struct kvr_call *call)
{
	struct kvr_link *link = (struct kvr_link *)(void *)((char *)call - offsetof(struct kvr_link, soon));
	bool more = false;
	int rc = 0;

	kvr_link_enter(link);
	kvr_window_tell(link);
	if (!link->closed && link->state == KVR_LINK_UP)
		rc = kvr_completion_take(link, &more);
	if (link->reason)
		kvr_link_failed(link, link->reason);
	else if (rc)
		kvr_link_failed(link, rc);
	else if (more)
		kvr_link_soon(link);
	kvr_link_leave(link);
}

void kvr_link_is_up(struct kvr_link *link)
{
	if (link->state != KVR_LINK_CONNECTING)
		return;
	link->state = KVR_LINK_UP;
	kvr_connection_no_deadline(link);
	kvr_link_soon(link); /* what waits is posted */
	if (!link->accepted)
		link->user->up(link->arg);
}

int kvr_link_make(struct kvr_loop *loop, struct kvr_memory *memory, const struct kvr_link_options *options,
		  struct kvr_link **link)
{
	struct kvr_link *made = calloc(1, sizeof(*made));

	if (!made)
		return kvs_fault(ENOMEM, "no memory for a link");
	made->loop = loop;
	made->memory = memory;
	made->options = *options;
	made->gid_index = -1;
	made->timer.fd = -1;
	made->soon.fn = look;
	*link = made;
	return 0;
}

const char *kvr_link_name(const struct kvr_link *link)
{
	static _Thread_local char name[KVR_TEXT + 32];

	(void)snprintf(name, sizeof(name), "the link to %s", link->info.remote);
	return name;
}

void kvr_link_address(const struct sockaddr *address, char text[KVR_TEXT])
{
	struct kvr_endpoint endpoint = {.length = address->sa_family == AF_INET ? sizeof(struct sockaddr_in)
										: sizeof(struct sockaddr_in6)};

	memcpy(&endpoint.address, address, endpoint.length);
	kvr_endpoint_write(&endpoint, text, KVR_TEXT);
}
