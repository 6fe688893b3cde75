/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * net_options.c: what the options for other nodes ask of the library; see net_options.h. Guarantees: a key file that
 * everyone may read is refused; a newline at its end, as editors leave it, is no part of the key.
 */
#include "config.h"

#include "net_options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MIN 16 /* the library's limit */

/* Reads the whole file, or one byte more than a key may have. -1: errno says why. */
static ssize_t read_all(int fd, char *bytes, size_t size)
{
	size_t got = 0;
	ssize_t n;

	do {
		n = read(fd, bytes + got, size - got);
		if (n > 0)
			got += (size_t)n;
	} while (n > 0 && got < size);
	return n < 0 ? n : (ssize_t)got;
}

static bool read_key(const char *path, char secret[NET_SECRET_MAX], size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char bytes[NET_SECRET_MAX + 2];
	struct stat st;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st)) {
		tool_say("--key-file '%s': %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	got = read_all(fd, bytes, sizeof(bytes));
	if (got < 0)
		tool_say("--key-file '%s': %s", path, strerror(errno));
	close(fd);
	if (got < 0)
		return false;
	if (S_ISREG(st.st_mode) && (st.st_mode & S_IROTH)) {
		tool_say("--key-file '%s': everyone may read it: chmod o-r '%s', or make a new key", path, path);
		return false;
	}
	if (got && bytes[got - 1] == '\n')
		got--;
	if (got < SECRET_MIN || got > NET_SECRET_MAX) {
		tool_say("--key-file '%s': a key of %d to %d bytes is wanted, such as head -c 32 /dev/urandom | base64 "
			 "makes", path, SECRET_MIN, NET_SECRET_MAX);
		return false;
	}
	memcpy(secret, bytes, (size_t)got);
	*length = (size_t)got;
	explicit_bzero(bytes, sizeof(bytes));
	return true;
}

const char *net_options_given(const struct net_settings *net)
{
	return net->key_file ? "key-file" :
	       net->device ? "device" :
	       net->device_port ? "device-port" :
	       net->gid_index != NET_UNSET ? "gid-index" :
	       net->traffic_class != NET_UNSET ? "traffic-class" :
	       net->timeout ? "timeout" : NULL;
}

bool net_options_apply(struct net_settings *net, struct kvshm_net_options *options)
{
	kvshm_net_defaults(options);
	if (net->key_file) {
		if (!read_key(net->key_file, net->secret, &net->secret_length))
			return false;
		options->secret = net->secret;
		options->secret_length = net->secret_length;
	}
	options->device = net->device;
	options->device_port = (uint32_t)net->device_port;
	if (net->gid_index != NET_UNSET)
		options->gid_index = (int32_t)net->gid_index;
	if (net->traffic_class != NET_UNSET)
		options->traffic_class = (int32_t)net->traffic_class;
	if (net->timeout)
		options->timeout = net->timeout * 1000000;
	net->timeout = options->timeout / 1000000;
	return true;
}
