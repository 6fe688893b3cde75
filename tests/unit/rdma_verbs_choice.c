/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs_choice: which of two RDMA devices a link uses, by its route or by options, what is said where options
 * can't be had, and links over devices that can do less than others.
 */
#include "config.h"

#include "verbs_scene.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"

static void uses(const struct end *end, const char *device)
{
	struct kvr_link_info info = ends_info(end);

	ck_assert_msg(strcmp(info.device, device) == 0, "%s, not %s", info.device, device);
}

/* Both are listened at, and one of them is connected to. */
static void listen_at_all(const char *url)
{
	ends_use(url);
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
}

static void connect_to(unsigned device, int family)
{
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	fake_address(device, family, &ends_at.any);
	ends_at.four.sin_port = htons(7471); /* both families have it there */
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs || (ends_a.ups && ends_b.link));
}

START_TEST(the_address_decides_of_either_family)
{
	scene_begin();
	listen_at_all("rdma://0.0.0.0:7471");
	connect_to(0, AF_INET);
	uses(&ends_a, "fake0 port 1 gid 1");
	connect_to(1, AF_INET);
	uses(&ends_a, "fake1 port 1 gid 1");
	uses(&ends_b, "fake1 port 1 gid 1");
	scene_works();
	ck_assert_str_eq(ends_info(&ends_a).remote, "10.77.0.2:7471");
	scene_end();
	listen_at_all("rdma://[::]:7471");
	connect_to(1, AF_INET6);
	uses(&ends_a, "fake1 port 1 gid 2");
	ck_assert_str_eq(ends_info(&ends_a).remote, "[fd00:77::2]:7471");
	scene_works();
	scene_end();
}
END_TEST

static const int families[] = {AF_INET, AF_INET6};

START_TEST(a_device_that_is_named_is_taken)
{
	scene_begin();
	listen_at_all(families[_i] == AF_INET ? "rdma://0.0.0.0:7471" : "rdma://[::]:7471");
	ends_options.device = "fake1";
	ends_options.device_port = 1;
	ends_options.gid_index = families[_i] == AF_INET ? 0 : 2;
	ends_options.traffic_class = 104;
	connect_to(0, families[_i]);
	uses(&ends_a, families[_i] == AF_INET ? "fake1 port 1 gid 0" : "fake1 port 1 gid 2");
	uses(&ends_b, families[_i] == AF_INET ? "fake0 port 1 gid 1" : "fake0 port 1 gid 2");
	ck_assert_uint_eq(fake.traffic_class, 104);
	scene_works();
	scene_end();
}
END_TEST

START_TEST(who_listens_at_any_address_of_a_device_has_no_other)
{
	scene_begin();
	ends_options.device = "fake1";
	listen_at_all("rdma://0.0.0.0:7471");
	ck_assert_uint_eq(ntohl(ends_at.four.sin_addr.s_addr), 0x0a4d0002);
	ck_assert_uint_eq(ntohs(ends_at.four.sin_port), 7471);
	ends_options.device = NULL;
	connect_to(1, AF_INET);
	uses(&ends_b, "fake1 port 1 gid 1");
	scene_end();
}
END_TEST

static const struct {
	const char *device;
	uint32_t port;
	int32_t gid;
	bool down;
	int reason;
	const char *words;
} wrong[] = {
	{"fake7", 0, -1, false, -ENODEV, "no RDMA device fake7: there are: fake0 fake1"},
	{"fake1", 0, -1, true, -ENETDOWN, "fake1 has no active port"},
	{"fake1", 2, -1, false, -EADDRNOTAVAIL, "leads to fake0, not to fake1"},
	{NULL, 2, -1, false, -EADDRNOTAVAIL, "leads to port 1 of fake0, not to port 2"},
	{NULL, 0, 9, false, -ENOENT, "port 1 of fake0 has no GID 9"},
	{NULL, 0, 2, false, -EADDRNOTAVAIL, "GID 2 of fake0 is not the address that is used"},
	{NULL, 0, 3, false, -EADDRNOTAVAIL, "GID 3 of fake0 is not the address that is used"},
};
#define WRONG ((int)(sizeof(wrong) / sizeof(wrong[0])))

START_TEST(what_can_not_be_had_is_named)
{
	int rc;

	scene_begin();
	listen_at_all("rdma://0.0.0.0:7471");
	ends_options.device = wrong[_i].device;
	ends_options.device_port = wrong[_i].port;
	ends_options.gid_index = wrong[_i].gid;
	fake.down[1] = wrong[_i].down;
	fake_address(0, AF_INET, &ends_at.any);
	ends_at.four.sin_port = htons(7471);
	rc = ends_begin(&ends_a, &ends_at);
	if (rc == 0) {
		ends_until(ends_a.downs);
		rc = ends_a.reason;
	} else {
		(void)snprintf(ends_a.text, sizeof(ends_a.text), "%s", kvs_fault_text());
	}
	ck_assert_msg(rc == wrong[_i].reason && strstr(ends_a.text, wrong[_i].words), "%d %s: not %d ... %s", rc,
		      ends_a.text, wrong[_i].reason, wrong[_i].words);
	scene_end();
}
END_TEST

START_TEST(a_machine_has_RDMA_where_a_port_is_active)
{
	scene_begin();
	ck_assert(kvr_verbs_found());
	fake.down[0] = true;
	ck_assert(kvr_verbs_found());
	fake.down[1] = true;
	ck_assert(!kvr_verbs_found());
	fake.fail_at = ++fake.calls;
	fake.gone[0] = fake.gone[1] = true;
	ck_assert(!kvr_verbs_found());
	ck_assert_uint_eq(fake.objects, 0);
}
END_TEST

/* ---- The nearest one */

static struct ifaddrs interfaces[2];
static struct sockaddr_storage addresses[2], masks[2];

int __wrap_getifaddrs(struct ifaddrs **list);
int __wrap_getifaddrs(struct ifaddrs **list)
{
	for (unsigned i = 0; i < 2; i++) {
		struct sockaddr_in *mask = (void *)&masks[i];

		fake_address(i, AF_INET, (void *)&addresses[i]);
		*mask = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xffffff00)};
		interfaces[i] = (struct ifaddrs){.ifa_next = i ? NULL : &interfaces[1],
						 .ifa_addr = (void *)&addresses[i],
						 .ifa_netmask = (void *)mask};
	}
	*list = interfaces;
	fake.objects++;
	return 0;
}

void __wrap_freeifaddrs(struct ifaddrs *list);
void __wrap_freeifaddrs(struct ifaddrs *list)
{
	ck_assert_ptr_eq(list, interfaces);
	fake.objects--;
}

/* Node 0 is near to itself; how far node 1 is nobody says where there is none. */
static void put_device(unsigned number, int node, const char *directory)
{
	struct ibv_device *device = fake_device(number);
	char path[512];
	FILE *file;

	(void)snprintf(device->ibdev_path, sizeof(device->ibdev_path), "%s/%u", directory, number);
	ck_assert_int_eq(mkdir(device->ibdev_path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/%u/device", directory, number);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/%u/device/numa_node", directory, number);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_gt(fprintf(file, "%d\n", node), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static void take_device(unsigned number, const char *directory)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%u/device/numa_node", directory, number);
	ck_assert_int_eq(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/%u/device", directory, number);
	ck_assert_int_eq(rmdir(path), 0);
	(void)snprintf(path, sizeof(path), "%s/%u", directory, number);
	ck_assert_int_eq(rmdir(path), 0);
}

START_TEST(the_device_nearest_to_the_memory_is_taken)
{
	const char *tmp = getenv("TMPDIR");
	char directory[256];

	if (access("/sys/devices/system/node/node0/distance", R_OK) ||
	    !access("/sys/devices/system/node/node1", F_OK)) {
		unit_skip("the_device_nearest_to_the_memory_is_taken", "the test is for a machine of one NUMA node");
		return;
	}
	(void)snprintf(directory, sizeof(directory), "%s/choice-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	scene_begin();
	put_device(0, 1, directory);
	put_device(1, 0, directory);
	listen_at_all("rdma://0.0.0.0:7471");
	connect_to(0, AF_INET);
	uses(&ends_a, "fake0 port 1 gid 1"); /* the route's: nobody says where the memory is */
	ends_options.numa_node = 0;
	connect_to(0, AF_INET);
	uses(&ends_a, "fake1 port 1 gid 1");
	fake.down[1] = true;
	connect_to(0, AF_INET);
	uses(&ends_a, "fake0 port 1 gid 1");
	scene_end();
	for (unsigned i = 0; i < 2; i++)
		take_device(i, directory);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* ---- Devices that can do less */

START_TEST(links_work_over_devices_that_can_do_less)
{
	scene_begin();
	fake.no_inline = _i == 0;
	fake.no_windows = _i == 1;
	fake.iwarp = _i == 1;
	fake.wide_windows = _i == 2;
	fake.queue_max = _i == 3 ? 160 : fake.queue_max; /* the least that will do */
	scene_connect();
	ck_assert_uint_eq(ends_info(&ends_b).flags, _i == 1 ? KVR_LINK_NO_WINDOWS : 0);
	for (unsigned i = 0; i < 300; i++) /* more than a window has keys */
		scene_works();
	scene_end();
}
END_TEST

START_TEST(a_device_whose_queues_are_too_short_is_told_of)
{
	scene_begin();
	ends_open();
	scene_renew(&ends_a);
	fake.queue_max = _i ? fake.queue_max : 159;
	fake.completions_max = _i ? 100 : fake.completions_max;
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs);
	ends_rc(ends_a.reason, -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(ends_a.text, _i ? "queues of 100 entries, and 448 are needed"
						     : "send queues of 159 requests, and 160 are needed"));
	scene_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		the_address_decides_of_either_family,
		who_listens_at_any_address_of_a_device_has_no_other,
		a_machine_has_RDMA_where_a_port_is_active,
		the_device_nearest_to_the_memory_is_taken,
	};
	const struct unit_loop loops[] = {
		{a_device_that_is_named_is_taken, 2},
		{what_can_not_be_had_is_named, WRONG},
		{links_work_over_devices_that_can_do_less, 4},
		{a_device_whose_queues_are_too_short_is_told_of, 2},
		{NULL, 0},
	};

	return unit_run_loops("rdma_verbs_choice", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
