/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * net_options.h: the options of tools that connect to other nodes, or listen: the shared key, the RDMA device, and how
 * long the other side may be silent. They stand in the tool's table as NET_OPTIONS(&its struct net_settings).
 */
#ifndef KVSHM_NET_OPTIONS_H
#define KVSHM_NET_OPTIONS_H

#include "tool.h"

#define NET_SECRET_MAX 4096 /* the library's limit */
#define NET_UNSET UINT64_MAX

/* What the command line said. Begin with NET_SETTINGS. */
struct net_settings {
	const char *key_file, *device;
	uint64_t device_port, gid_index, traffic_class; /* NET_UNSET: not said */
	uint64_t timeout;				/* ms; 0: not said, until net_options_apply() */
	char secret[NET_SECRET_MAX];
	size_t secret_length;
};

#define NET_SETTINGS { .device_port = 0, .gid_index = NET_UNSET, .traffic_class = NET_UNSET }

#define NET_OPTIONS(net) \
	{ .name = "key-file", .argument = "FILE", .kind = TOOL_TEXT, .to.text = &(net)->key_file, \
	  .help = "a key that both nodes share, 16 to 4,096 bytes: each proves that it has it" }, \
	{ .name = "device", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &(net)->device, \
	  .help = "RDMA device; the one that the address has, unless told" }, \
	{ .name = "device-port", .argument = "N", .kind = TOOL_NUMBER, .to.number = &(net)->device_port, .min = 1, \
	  .max = 255, .help = "port of the device; any that is active, unless told" }, \
	{ .name = "gid-index", .argument = "N", .kind = TOOL_NUMBER, .to.number = &(net)->gid_index, .max = 255, \
	  .help = "index in the port's table of addresses; the address's own, unless told" }, \
	{ .name = "traffic-class", .argument = "N", .kind = TOOL_NUMBER, .to.number = &(net)->traffic_class, \
	  .max = 255, .help = "traffic class of the IP header; the system's, unless told" }, \
	{ .name = "timeout", .argument = "MS", .kind = TOOL_NUMBER, .to.number = &(net)->timeout, .min = 100, \
	  .max = 3600000, .help = "how long the other node may be silent; 10000 unless told" }

/* What the library is to use: reads the file of the key. False, with a message: it can't be read, is too short or too
 * long, or may be read by everyone. *options points into *net. */
bool net_options_apply(struct net_settings *net, struct kvshm_net_options *options);

/* The first of them that was given; NULL: none. For tools that can do without other nodes. */
const char *net_options_given(const struct net_settings *net);

#endif /* KVSHM_NET_OPTIONS_H */
