/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs.c: links over RDMA, as transport.h's table has them. README.md says who posts and who polls.
 *
 * One reliable-connected queue pair for each link. Messages are sends into buffers that the other side has posted;
 * their headers give buffers back (credits). Writes are RDMA writes from registered memory.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "fault.h"
#include "verbs.h"

static int not_up(const struct kvr_link *link)
{
	if (link->reason)
		return kvs_fault(ENOTCONN, "%s", link->text);
	if (link->state == KVR_LINK_DOWN || (link->state != KVR_LINK_UP && !link->accepted))
		return kvs_routine(ENOTCONN, "the link is not up");
	return 0;
}

static int send_message(struct kvr_link *link, uint8_t *bytes, size_t size, uint64_t cookie)
{
	int rc = not_up(link);

	if (rc)
		return rc;
	if (!kvr_qp_may_send(link, (enum kvr_type)kvr_get16(bytes + 4))) {
		link->refused_message = true;
		return kvs_routine(EAGAIN, "as many messages as may be are on their way: wait for room");
	}
	return kvr_qp_send(link, bytes, size, cookie);
}

static int write_bytes(struct kvr_link *link, const struct kvr_write *write)
{
	const struct kvr_part *part;
	int rc = not_up(link);

	if (rc)
		return rc;
	part = kvr_memory_find(link->memory, write->from, write->length);
	if (!part)
		return kvs_fault(EFAULT, "%llu bytes at %p are in no memory that was registered",
				 (unsigned long long)write->length, write->from);
	return kvr_qp_write(link, write, kvr_key_find(part, link->device)->mr->lkey);
}

/* What fails is told from the loop, to which this is a turn's last word. */
static void flush(struct kvr_link *link)
{
	int rc = link->state == KVR_LINK_UP ? kvr_qp_flush(link) : 0;

	if (rc)
		(void)kvr_link_fail_later(link, rc);
}

static int expose(struct kvr_link *link, void *address, uint64_t length, void *user, struct kvr_window **window)
{
	int rc = not_up(link);

	return rc ? rc : kvr_window_expose(link, address, length, user, window);
}

static int connect_to(struct kvr_loop *loop, const struct kvr_endpoint *endpoint,
		      const struct kvr_link_options *options, struct kvr_memory *memory,
		      const struct kvr_link_user *user, void *arg, struct kvr_link **link)
{
	struct kvr_link *made;
	int rc = kvr_link_make(loop, memory, options, &made);

	if (rc)
		return rc;
	made->user = user;
	made->arg = arg;
	rc = kvr_connection_begin(made, endpoint);
	if (rc) {
		kvr_link_close(made);
		return rc;
	}
	*link = made;
	return 0;
}

static void describe(const struct kvr_link *link, struct kvr_link_info *info)
{
	char gid[32] = "";

	*info = link->info;
	if (link->gid_index >= 0)
		(void)snprintf(gid, sizeof(gid), " gid %d", link->gid_index);
	if (link->device_name[0])
		(void)snprintf(info->device, sizeof(info->device), "%.31s port %u%s", link->device_name, link->port,
			       gid);
}

const struct kvr_transport kvr_verbs = {
	.name = "rdma",
	.dma = true,
	.listen = kvr_port_listen,
	.close_port = kvr_port_close,
	.connect = connect_to,
	.send = send_message,
	.write = write_bytes,
	.flush = flush,
	.expose = expose,
	.withdraw = kvr_window_withdraw,
	.close = kvr_link_close,
	.describe = describe,
};
