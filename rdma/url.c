/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * url.c: URLs of places to listen and to connect to. Guarantees: what is not read is refused, with the part of it that
 * is wrong; nothing is set then. What kvr_url_write() writes kvr_url_read() reads as the same endpoint.
 */
#include "config.h"

#include "url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

#define ADDRESS_SIZE 256 /* the longest name there is has 253 characters */
#define PORT_SIZE 6

/* What a URL has between its marks. */
struct parts {
	char address[ADDRESS_SIZE], port[PORT_SIZE];
	bool numeric; /* it stood in brackets */
};

static const struct kvr_transport *read_scheme(const char **at)
{
	static const struct kvr_transport *const transports[] = { &kvr_tcp, &kvr_verbs };

	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		size_t length = strlen(transports[i]->name);

		if (strncmp(*at, transports[i]->name, length) == 0 && strncmp(*at + length, "://", 3) == 0) {
			*at += length + 3;
			return transports[i];
		}
	}
	return kvr_verbs_found() ? &kvr_verbs : &kvr_tcp;
}

static int read_address(const char *url, const char **at, struct parts *parts)
{
	bool bracket = **at == '[';
	const char *begin = *at + bracket;
	size_t length = strcspn(begin, bracket ? "]" : ":");

	if (strstr(*at, "://") || strchr(*at, '/'))
		return kvs_fault(EINVAL, "%s: it is to be tcp://ADDRESS[:PORT] or rdma://ADDRESS[:PORT]", url);
	if (bracket && begin[length] != ']')
		return kvs_fault(EINVAL, "%s: the ']' behind the IPv6 address is missing", url);
	if (!bracket && strchr(begin + length + (begin[length] == ':'), ':'))
		return kvs_fault(EINVAL, "%s: an IPv6 address stands in brackets", url);
	if (length == 0 || length >= sizeof(parts->address))
		return kvs_fault(EINVAL, "%s: it has no address, or one that is too long", url);
	memcpy(parts->address, begin, length);
	parts->address[length] = '\0';
	parts->numeric = bracket;
	*at = begin + length + bracket;
	return 0;
}

static int read_port(const char *url, const char *at, struct parts *parts)
{
	size_t digits;
	unsigned port = 0;

	if (!*at) {
		(void)snprintf(parts->port, sizeof(parts->port), "%d", KVR_PORT);
		return 0;
	}
	digits = *at == ':' ? strspn(at + 1, "0123456789") : 0;
	for (size_t i = 1; i <= digits && i <= PORT_SIZE; i++)
		port = port * 10 + (unsigned)(at[i] - '0');
	if (digits == 0 || digits >= PORT_SIZE || at[1 + digits] || port > 65535)
		return kvs_fault(EINVAL, "%s: behind the address comes nothing, or ':' and a port from 0 to 65535",
				 url);
	(void)snprintf(parts->port, sizeof(parts->port), "%u", port);
	return 0;
}

static int look_up(const char *url, const struct parts *parts, struct kvr_endpoint *endpoint)
{
	struct addrinfo hints = { .ai_family = parts->numeric ? AF_INET6 : AF_UNSPEC, .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV | (parts->numeric ? AI_NUMERICHOST : 0) };
	struct addrinfo *found;
	int error = getaddrinfo(parts->address, parts->port, &hints, &found);

	if (error)
		return kvs_fault(parts->numeric ? EINVAL : EHOSTUNREACH, "%s: %s: %s", url, parts->address,
				 error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
	memset(endpoint, 0, sizeof(*endpoint));
	memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
	endpoint->length = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int kvr_url_read(const char *url, const struct kvr_transport **transport, struct kvr_endpoint *endpoint)
{
	const struct kvr_transport *which;
	struct parts parts;
	const char *at = url;
	int rc;

	if (!url)
		return kvs_routine(EINVAL, "no URL was given (NULL)");
	which = read_scheme(&at);
	rc = read_address(url, &at, &parts);
	if (rc == 0)
		rc = read_port(url, at, &parts);
	if (rc == 0)
		rc = look_up(url, &parts, endpoint);
	if (rc)
		return rc;
	*transport = which;
	return 0;
}

void kvr_endpoint_write(const struct kvr_endpoint *endpoint, char *text, size_t size)
{
	bool six = endpoint->address.ss_family == AF_INET6;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo(&endpoint->any, endpoint->length, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		(void)snprintf(text, size, "?");
	else
		(void)snprintf(text, size, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}

void kvr_url_write(const struct kvr_transport *transport, const struct kvr_endpoint *endpoint, char *url, size_t size)
{
	int length = snprintf(url, size, "%s://", transport->name);

	if (length > 0 && (size_t)length < size)
		kvr_endpoint_write(endpoint, url + length, size - (size_t)length);
}

bool kvr_url_is_loopback(const struct kvr_endpoint *endpoint)
{
	const struct in6_addr *six = &endpoint->six.sin6_addr;

	if (endpoint->address.ss_family == AF_INET)
		return ntohl(endpoint->four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	if (endpoint->address.ss_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(six))
		return six->s6_addr[12] == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(six);
}
