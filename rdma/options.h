/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * options.h: what struct kvshm_net_options asks of links, whoever makes them.
 */
#ifndef KVR_OPTIONS_H
#define KVR_OPTIONS_H

#include "kvshm.h"

#include "transport.h"

/* Nearness is to the store's memory, where it is bound to a node; store may be NULL. */
void kvr_link_options_of(const struct kvshm_net_options *options, const kvshm_store *store,
			 struct kvr_link_options *link);

#endif
