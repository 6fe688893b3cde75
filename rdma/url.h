/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * url.h: [rdma|tcp]://ADDR[:PORT], as options and calls name a place to listen or to connect to.
 */
#ifndef KVR_URL_H
#define KVR_URL_H

#include "transport.h"

#define KVR_PORT 7471 /* unless told */

/* Reads it: ADDR is an IPv4 address, an IPv6 address in brackets, or a name (looked up: getaddrinfo(3), the first that
 * it gives). Without "rdma://" or "tcp://" it is rdma where there is a device, and tcp where not. -EINVAL with what is
 * wrong, -EHOSTUNREACH: the name is not known. */
int kvr_url_read(const char *url, const struct kvr_transport **transport, struct kvr_endpoint *endpoint);

/* Writes it, for messages and for who asked for port 0; size at least KVR_URL_SIZE. */
#define KVR_URL_SIZE 80
void kvr_url_write(const struct kvr_transport *transport, const struct kvr_endpoint *endpoint, char *url, size_t size);

/* The same without the transport: ADDR:PORT. */
void kvr_endpoint_write(const struct kvr_endpoint *endpoint, char *text, size_t size);

/* Is it an address of this machine that no other can reach? */
bool kvr_url_is_loopback(const struct kvr_endpoint *endpoint);

#endif
