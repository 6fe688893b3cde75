/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * counters.h: the numbers of the counters that counters.def declares, and of those of a connection (peers.def).
 */
#ifndef KVS_COUNTERS_H
#define KVS_COUNTERS_H

enum kvs_counter {
#define KVS_COUNTER(name, help) KVS_COUNT_##name,
#include "counters.def"
#undef KVS_COUNTER
	KVS_COUNTERS
};

enum kvs_peer_counter {
#define KVS_PEER(name, help) KVS_PEER_##name,
#include "peers.def"
#undef KVS_PEER
	KVS_PEER_COUNTERS
};

#endif
