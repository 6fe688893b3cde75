/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_none.c: what a kvshm without RDMA says to those who ask for it.
 */
#include "config.h"

#include "transport.h"

#include <errno.h>

#include "fault.h"

bool kvr_verbs_found(void)
{
	return false;
}

static int without(void)
{
	return kvs_routine(EOPNOTSUPP,
			   "this kvshm was built without RDMA (configure says why): use tcp://, or build it with "
			   "libibverbs and librdmacm");
}

static int refuse_listen(struct kvr_loop *loop, struct kvr_endpoint *endpoint, const struct kvr_link_options *options,
			 struct kvr_memory *memory, const struct kvr_port_user *user, void *arg, struct kvr_port **port)
{
	(void)loop;
	(void)endpoint;
	(void)options;
	(void)memory;
	(void)user;
	(void)arg;
	(void)port;
	return without();
}

static int refuse_connect(struct kvr_loop *loop, const struct kvr_endpoint *endpoint,
			  const struct kvr_link_options *options, struct kvr_memory *memory,
			  const struct kvr_link_user *user, void *arg, struct kvr_link **link)
{
	(void)loop;
	(void)endpoint;
	(void)options;
	(void)memory;
	(void)user;
	(void)arg;
	(void)link;
	return without();
}

/* Without a link or a port nothing else can be called. */
const struct kvr_transport kvr_verbs = {
	.name = "rdma",
	.dma = true,
	.listen = refuse_listen,
	.connect = refuse_connect,
};
