/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd_net.h: kvshmd --listen: other nodes fill blocks of the store.
 */
#ifndef KVSHM_KVSHMD_NET_H
#define KVSHM_KVSHMD_NET_H

#include "kvshmd.h"

struct net;

/* Attaches the store, listens, and starts the thread that does all that other nodes ask for. NULL, with a message. */
struct net *net_open(struct settings *settings);
/* Where it listens. */
const char *net_url(const struct net *net);
/* Looks for what nobody claims; called every 50 ms. */
void net_tend(struct net *net);
/* Ends the thread and all connections, and detaches: nothing of the store is used by it any more. NULL: nothing. */
void net_close(struct net *net);

#endif /* KVSHM_KVSHMD_NET_H */
