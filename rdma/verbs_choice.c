/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_choice.c: which device a link or a port uses. librdmacm chooses by address: so a device, a port or a GID index
 * that options name is turned into an address to come from, or to listen at; and what came of it is compared with what
 * was wanted. Of several devices from which the other side can be reached directly, the one nearest to the memory is
 * taken, if options say where that is; else the route decides.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "machine.h"
#include "verbs.h"

#define GIDS_MAX 256
#define FAR 255

/* ---- Devices and their addresses ---- */

static bool is_active(struct ibv_context *context, uint32_t port)
{
	struct ibv_port_attr attr;

	return ibv_query_port(context, (uint8_t)port, &attr) == 0 && attr.state == IBV_PORT_ACTIVE;
}

static bool has_active_port(struct ibv_device *device)
{
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_device_attr attr;
	bool found = false;

	if (!context)
		return false;
	if (ibv_query_device(context, &attr) == 0)
		for (uint32_t port = 1; port <= attr.phys_port_cnt && !found; port++)
			found = is_active(context, port);
	(void)ibv_close_device(context);
	return found;
}

bool kvr_verbs_found(void)
{
	struct ibv_device **all = ibv_get_device_list(NULL);
	bool found = false;

	for (struct ibv_device **at = all; all && *at && !found; at++)
		found = has_active_port(*at);
	if (all)
		ibv_free_device_list(all);
	return found;
}

/* The address that a GID is, if it is one of that family, and not of its link only. */
static bool read_gid(const union ibv_gid *gid, int family, struct kvr_endpoint *endpoint)
{
	void *at = &endpoint->address;
	struct sockaddr_in6 *six = at;
	struct sockaddr_in *four = at;
	struct in6_addr address;

	memcpy(&address, gid->raw, sizeof(address));
	memset(endpoint, 0, sizeof(*endpoint));
	if (IN6_IS_ADDR_V4MAPPED(&address)) {
		four->sin_family = AF_INET;
		memcpy(&four->sin_addr, &address.s6_addr[12], sizeof(four->sin_addr));
		endpoint->length = sizeof(*four);
		return family == AF_INET;
	}
	six->sin6_family = AF_INET6;
	six->sin6_addr = address;
	endpoint->length = sizeof(*six);
	return family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&address);
}

static bool is_wanted(const struct ibv_gid_entry *entry, const struct kvr_link_options *options)
{
	return (!options->device_port || entry->port_num == options->device_port) &&
	       (options->gid_index < 0 || entry->gid_index == (uint32_t)options->gid_index);
}

/* Addresses of that family that a device has, of what options let through; how many. */
static unsigned read_addresses(struct ibv_device *device, const struct kvr_link_options *options, int family,
			       struct kvr_endpoint *endpoints, unsigned room)
{
	struct ibv_gid_entry entries[GIDS_MAX];
	struct ibv_context *context = ibv_open_device(device);
	ssize_t count = context ? ibv_query_gid_table(context, entries, GIDS_MAX, 0) : 0;
	unsigned found = 0;

	for (ssize_t i = 0; i < count && found < room; i++)
		if (entries[i].gid_type != IBV_GID_TYPE_IB && is_wanted(&entries[i], options) &&
		    is_active(context, entries[i].port_num) && read_gid(&entries[i].gid, family, &endpoints[found]))
			found++;
	if (context)
		(void)ibv_close_device(context);
	return found;
}

static struct ibv_device *find(struct ibv_device **all, const char *name)
{
	for (struct ibv_device **at = all; at && *at; at++)
		if (strcmp((*at)->name, name) == 0)
			return *at;
	return NULL;
}

/* "mlx5_0 mlx5_1" */
static void list(struct ibv_device **all, char *text, size_t size)
{
	size_t used = 0;

	(void)snprintf(text, size, "none");
	for (struct ibv_device **at = all; at && *at && used < size; at++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", (*at)->name);
}

/* ---- Distance ---- */

static unsigned distance(const struct ibv_device *device, int32_t node)
{
	char path[512], line[1024], *at = line;
	uint64_t own;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/device/numa_node", device->ibdev_path);
	if (!kvs_machine_number(path, &own))
		return FAR;
	(void)snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", node);
	file = fopen(path, "re");
	line[0] = '\0';
	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		(void)fclose(file);
	}
	for (uint64_t i = 0; i < own; i++)
		(void)strtoul(at, &at, 10);
	own = strtoul(at, NULL, 10);
	return own && own < FAR ? (unsigned)own : FAR;
}

static bool same_network(const struct sockaddr *one, const struct sockaddr *other, const struct sockaddr *mask)
{
	size_t at = one->sa_family == AF_INET ? offsetof(struct sockaddr_in, sin_addr)
					      : offsetof(struct sockaddr_in6, sin6_addr);
	size_t size = one->sa_family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);

	for (size_t i = at; i < at + size; i++)
		if ((((const uint8_t *)one)[i] ^ ((const uint8_t *)other)[i]) & ((const uint8_t *)mask)[i])
			return false;
	return true;
}

static bool same_address(const struct sockaddr *one, const struct sockaddr *other)
{
	static const struct sockaddr_in6 all = {
		.sin6_addr.s6_addr = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};
	static const struct sockaddr_in all4 = {.sin_addr.s_addr = INADDR_BROADCAST};

	return one->sa_family == other->sa_family &&
	       same_network(one, other, one->sa_family == AF_INET ? (const void *)&all4 : (const void *)&all);
}

/* Is `to` in the network that the address `from` of this machine is in? */
static bool is_near(const struct ifaddrs *interfaces, const struct sockaddr *from, const struct sockaddr *to)
{
	for (const struct ifaddrs *at = interfaces; at; at = at->ifa_next)
		if (at->ifa_addr && at->ifa_netmask && same_address(at->ifa_addr, from))
			return same_network(from, to, at->ifa_netmask);
	return false;
}

static void nearest_of(struct ibv_device **all, const struct ifaddrs *interfaces, const struct kvr_endpoint *to,
		       const struct kvr_link_options *options, struct kvr_endpoint *from)
{
	const struct sockaddr *there = kvr_verbs_sockaddr(to);
	unsigned best = FAR + 1, worst = 0;

	for (struct ibv_device **at = all; *at; at++) {
		struct kvr_endpoint endpoints[GIDS_MAX];
		unsigned count = read_addresses(*at, options, there->sa_family, endpoints, GIDS_MAX), far;

		for (unsigned i = 0; i < count; i++) {
			if (!is_near(interfaces, kvr_verbs_sockaddr(&endpoints[i]), there))
				continue;
			far = distance(*at, options->numa_node);
			if (far < best)
				*from = endpoints[i];
			best = far < best ? far : best;
			worst = far > worst ? far : worst;
			break;
		}
	}
	if (best >= worst) /* one, or none is nearer than another: the route decides */
		from->length = 0;
}

static void choose_nearest(const struct kvr_endpoint *to, const struct kvr_link_options *options,
			   struct kvr_endpoint *from)
{
	struct ibv_device **all = ibv_get_device_list(NULL);
	struct ifaddrs *interfaces = NULL;

	from->length = 0;
	if (all && getifaddrs(&interfaces) == 0)
		nearest_of(all, interfaces, to, options, from);
	if (interfaces)
		freeifaddrs(interfaces);
	if (all)
		ibv_free_device_list(all);
}

/* ---- Choosing ---- */

/* An InfiniBand device's GIDs are no addresses, nor are those of some iWARP devices: there the route decides, and
 * kvr_choice_check() says whether it did as it should. */
static int choose_named(const struct kvr_link_options *options, int family, struct kvr_endpoint *from)
{
	struct ibv_device **all = ibv_get_device_list(NULL), *device;
	char names[256];
	int rc = 0;

	if (!all && errno != ENOSYS) /* which says that this kernel has none */
		return kvs_fault(errno, "cannot list RDMA devices: %s", strerror(errno));
	device = find(all, options->device);
	if (!device) {
		list(all, names, sizeof(names));
		rc = kvs_fault(ENODEV, "there is no RDMA device %s: there are: %s", options->device, names);
	} else if (!has_active_port(device)) {
		rc = kvs_fault(ENETDOWN,
			       "%s has no active port: look at its cable, and `rdma link`; `ip link set ... up` "
			       "for its network device",
			       options->device);
	} else if (!read_addresses(device, options, family, from, 1)) {
		from->length = 0;
	}
	if (all)
		ibv_free_device_list(all);
	return rc;
}

static bool is_any(const struct kvr_endpoint *endpoint)
{
	const struct sockaddr *address = kvr_verbs_sockaddr(endpoint);

	if (address->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* Both families have it at the same place. */
static void set_port(struct kvr_endpoint *endpoint, const struct kvr_endpoint *from)
{
	void *to = &endpoint->address;
	const void *of = &from->address;

	((struct sockaddr_in *)to)->sin_port = ((const struct sockaddr_in *)of)->sin_port;
}

int kvr_choice_address(const struct kvr_endpoint *to, bool listens, const struct kvr_link_options *options,
		       struct kvr_endpoint *from)
{
	struct kvr_endpoint chosen = {.length = 0};
	int rc = 0;

	if (listens && !is_any(to))
		return 0; /* *from is that */
	if (options->device)
		rc = choose_named(options, to->address.ss_family, &chosen);
	else if (!listens && options->numa_node >= 0)
		choose_nearest(to, options, &chosen);
	if (rc || !chosen.length)
		return rc;
	if (listens)
		set_port(&chosen, to);
	*from = chosen;
	return 0;
}

static int check_gid(const struct rdma_cm_id *id, int32_t index)
{
	struct kvr_endpoint own;
	struct ibv_gid_entry entry;
	const struct sockaddr *local = &id->route.addr.src_addr;

	if (ibv_query_gid_ex(id->verbs, id->port_num, (uint32_t)index, &entry, 0))
		return kvs_fault(ENOENT,
				 "port %u of %s has no GID %d: show_gids, or rdma_cm's gid_attrs in /sys, list them",
				 id->port_num, id->verbs->device->name, index);
	(void)read_gid(&entry.gid, local->sa_family, &own);
	if (entry.gid_type == IBV_GID_TYPE_IB || same_address(kvr_verbs_sockaddr(&own), local))
		return 0;
	return kvs_fault(EADDRNOTAVAIL,
			 "GID %d of %s is not the address that is used: name the address, or the GID, but "
			 "not both",
			 index, id->verbs->device->name);
}

int kvr_choice_check(const struct rdma_cm_id *id, const struct kvr_link_options *options)
{
	const char *name = id->verbs->device->name;

	if (options->device && strcmp(options->device, name) != 0)
		return kvs_fault(EADDRNOTAVAIL,
				 "the address, or the route, leads to %s, not to %s: name an address of %s", name,
				 options->device, options->device);
	if (options->device_port && id->port_num && options->device_port != id->port_num)
		return kvs_fault(EADDRNOTAVAIL, "the address, or the route, leads to port %u of %s, not to port %u",
				 id->port_num, name, options->device_port);
	return options->gid_index >= 0 && id->port_num ? check_gid(id, options->gid_index) : 0;
}
