/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_url: URLs of nodes are read as they are meant, written as they are read, and refused with a reason where they
 * are none.
 */
#include "config.h"

#include "fixture.h"

#include <string.h>

#include "url.h"

static void expect(const char *url, const struct kvr_transport *transport, const char *written, bool loopback)
{
	const struct kvr_transport *which = NULL;
	struct kvr_endpoint endpoint;
	char text[KVR_URL_SIZE];

	ck_rc(kvr_url_read(url, &which, &endpoint), 0);
	ck_assert_ptr_eq(which, transport);
	kvr_url_write(which, &endpoint, text, sizeof(text));
	ck_assert_str_eq(text, written);
	ck_assert_int_eq(kvr_url_is_loopback(&endpoint), loopback);
}

START_TEST(URLs_are_read_as_they_are_written)
{
	expect("tcp://127.0.0.1", &kvr_tcp, "tcp://127.0.0.1:7471", true);
	expect("tcp://127.255.0.1:1", &kvr_tcp, "tcp://127.255.0.1:1", true);
	expect("rdma://10.0.0.1:65535", &kvr_verbs, "rdma://10.0.0.1:65535", false);
	expect("tcp://0.0.0.0:0", &kvr_tcp, "tcp://0.0.0.0:0", false);
	expect("tcp://[::1]:80", &kvr_tcp, "tcp://[::1]:80", true);
	expect("tcp://[::ffff:127.0.0.1]:80", &kvr_tcp, "tcp://[::ffff:127.0.0.1]:80", true);
	expect("tcp://[::ffff:10.0.0.1]", &kvr_tcp, "tcp://[::ffff:10.0.0.1]:7471", false);
	expect("rdma://[fd00::1:2]", &kvr_verbs, "rdma://[fd00::1:2]:7471", false);
	expect("10.1.2.3:5", kvr_verbs_found() ? &kvr_verbs : &kvr_tcp,
	       kvr_verbs_found() ? "rdma://10.1.2.3:5" : "tcp://10.1.2.3:5", false);
}
END_TEST

START_TEST(what_is_no_URL_is_refused_and_changes_nothing)
{
	static const char *const bad[] = {
		"", "tcp://", "tcp://:80", "tcp://127.0.0.1:", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:123456",
		"tcp://127.0.0.1:4294967297", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:+1", "tcp://127.0.0.1: 1",
		"tcp://127.0.0.1:1x", "tcp://127.0.0.1/", "tcp://127.0.0.1:80/x", "udp://127.0.0.1", "tcp:/127.0.0.1",
		"tcp://::1", "tcp://[::1", "tcp://[::1]80", "tcp://[]:80", "tcp://[localhost]", "tcp://[127.0.0.1]",
		"tcp://tcp://127.0.0.1", "http://x:1",
	};
	const struct kvr_transport *transport = &kvr_tcp;
	struct kvr_endpoint endpoint = { .length = 77 };
	char name[400];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_rc(kvr_url_read(bad[i], &transport, &endpoint), -EINVAL);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), bad[i]));
	}
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_rc(kvr_url_read(name, &transport, &endpoint), -EINVAL);
	ck_rc(kvr_url_read(NULL, &transport, &endpoint), -EINVAL);
	ck_rc(kvr_url_read("tcp://no.such.host.invalid", &transport, &endpoint), -EHOSTUNREACH);
	ck_assert_ptr_eq(transport, &kvr_tcp);
	ck_assert_uint_eq(endpoint.length, 77);
}
END_TEST

START_TEST(an_IPv6_address_without_brackets_is_told_of_them)
{
	static const char *const bare[] = { "tcp://::1", "tcp://::1:0", "tcp://::", "rdma://fd00::1:2", "::1" };
	const struct kvr_transport *transport;
	struct kvr_endpoint endpoint;

	for (size_t i = 0; i < sizeof(bare) / sizeof(bare[0]); i++) {
		ck_rc(kvr_url_read(bare[i], &transport, &endpoint), -EINVAL);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "stands in brackets"));
	}
	ck_rc(kvr_url_read("tcp://:80", &transport, &endpoint), -EINVAL);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "it has no address"));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		URLs_are_read_as_they_are_written,
		what_is_no_URL_is_refused_and_changes_nothing,
		an_IPv6_address_without_brackets_is_told_of_them,
	};

	return unit_run("rdma_url", tests, sizeof(tests) / sizeof(tests[0]));
}
