/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * options.c: what connections and transfers are unless told, and what their links are to use. Contracts in kvshm.h.
 */
#include "config.h"

#include "internal.h"
#include "options.h"

#define SECOND UINT64_C(1000000000)

void kvshm_net_defaults(struct kvshm_net_options *options)
{
	if (options)
		*options = (struct kvshm_net_options){
			.gid_index = -1,
			.traffic_class = -1,
			.timeout = 10 * SECOND,
			.claim_timeout = 60 * SECOND,
			.fill_timeout = 300 * SECOND,
		};
}

void kvshm_transfer_defaults(struct kvshm_transfer_options *options)
{
	if (options)
		*options = (struct kvshm_transfer_options){ .room_timeout = 30 * SECOND };
}

void kvr_link_options_of(const struct kvshm_net_options *options, const kvshm_store *store,
			 struct kvr_link_options *link)
{
	*link = (struct kvr_link_options){
		.device = options->device,
		.device_port = options->device_port,
		.gid_index = options->gid_index,
		.traffic_class = options->traffic_class,
		.numa_node = store ? store->map.head->plane_node : -1,
		.timeout = options->timeout,
	};
}
