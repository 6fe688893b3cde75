/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_ends.c: how links over RDMA end when something else does: a process that is killed, with children or without; a
 * port that goes down; memory that may not be locked. And that the end of a link is a fence, with windows or without.
 */
#include "config.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "fault.h"

#define SIZE ((size_t)1 << 20)

/* What both processes see. */
static struct shared {
	struct kvr_window window;
	volatile int listens, has_child;
	char plane[ENDS_PLANE] __attribute__((aligned(4096)));
} * shared;

static void share(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

static void must_be(bool is)
{
	if (!is)
		_exit(1);
}

/* ---- Children ---- */

static pid_t start(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		fn();
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	return pid;
}

static void join(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void grant(void)
{
	while (!ends_b.link || !ends_b.received)
		ends_run(ends_deadline(), "a writer", __LINE__);
	shared->window = *ends_expose_quietly(&ends_b, 0, SIZE);
}

/* ---- Fences ---- */

static void write_and_say(void)
{
	while (!shared->listens)
		(void)usleep(1000);
	ends_open_one(&ends_a);
	memset(ends_a.plane, 1, SIZE);
	must_be(ends_begin(&ends_a, &ends_at) == 0);
	while (!ends_a.ups)
		(void)kvr_loop_run(&ends_loop, ends_deadline());
	must_be(ends_send(&ends_a, 1, 64, 0) == 0);
	while (!ends_a.received)
		(void)kvr_loop_run(&ends_loop, ends_deadline());
	while (!ends_a.downs) {
		(void)ends_write(&ends_a, 0, &shared->window, 0, SIZE);
		ends_poll(UINT64_MAX, "", 0);
	}
}

START_TEST(E2_the_end_of_a_link_is_a_fence)
{
	uint64_t deadline = ends_deadline();
	pid_t writer;

	share();
	writer = start(write_and_say);
	ends_open();
	shared->listens = 1;
	grant();
	ends_must_send(&ends_b, 1);
	while (ends_b.plane[SIZE - 1] != 1)
		ends_poll(deadline, "a write", __LINE__);
	ends_end(&ends_b);
	memset(ends_b.plane, 3, SIZE);
	join(writer); /* it has gone on until its link was lost */
	ends_is_all(ends_b.plane, SIZE, 3);
	ends_close();
}
END_TEST

/* ---- Processes that are killed ---- */

START_TEST(a_killed_peer_is_told_of)
{
	pid_t writer;

	share();
	writer = start(write_and_say);
	ends_open();
	shared->listens = 1;
	grant();
	end(writer);
	ends_until(ends_b.downs);
	ends_rc(ends_b.reason, -ECONNRESET);
	ends_close();
}
END_TEST

/* Receives into what the test sees, and has a child that outlives it and knows nothing of kvshm. */
static void receive_with_a_child(void)
{
	ends_open();
	ends_rc(kvr_memory_add(ends_b.memory, shared->plane, ENDS_PLANE, true), 0);
	shared->listens = 1;
	while (!ends_b.link || !ends_b.received)
		(void)kvr_loop_run(&ends_loop, ends_deadline());
	shared->window = *ends_expose_at(&ends_b, shared->plane, SIZE);
	must_be(ends_send(&ends_b, 1, 64, 0) == 0);
	if (fork() == 0) {
		shared->has_child = getpid();
		for (;;)
			(void)pause();
	}
	for (;;)
		(void)kvr_loop_run(&ends_loop, ends_deadline());
}

/* While the child of the dead one lives. */
START_TEST(E2_nothing_lands_behind_a_death_also_where_a_child_lives_on)
{
	uint64_t deadline = ends_deadline();
	pid_t receiver;

	share();
	receiver = start(receive_with_a_child);
	while (!shared->listens)
		(void)usleep(1000);
	ends_open_one(&ends_a);
	memset(ends_a.plane, 1, SIZE);
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups);
	ends_must_send(&ends_a, 1);
	ends_until(ends_a.received);
	while (shared->plane[SIZE - 1] != 1 || !shared->has_child) {
		(void)ends_write(&ends_a, 0, &shared->window, 0, SIZE);
		ends_poll(deadline, "a write", __LINE__);
	}
	end(receiver);
	memset(shared->plane, 3, SIZE);
	while (!ends_a.downs) {
		(void)ends_write(&ends_a, 0, &shared->window, 0, SIZE);
		ends_poll(deadline, "the writer's end", __LINE__);
	}
	fprintf(stderr, "the writer: %d: %s\n", ends_a.reason, ends_a.text);
	ends_is_all(shared->plane, SIZE, 3);
	ck_assert_int_eq(kill(shared->has_child, SIGKILL), 0);
}
END_TEST

/* ---- Ports ---- */

static void ip(const char *what)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "ip link set %s %s", getenv("KVSHM_TEST_INTERFACE"), what);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

START_TEST(a_port_that_goes_down_takes_its_links_along_and_the_listener_goes_on)
{
	ends_connect();
	ends_tell(&ends_a);
	ip("down");
	ends_until(ends_a.downs && ends_b.downs);
	ends_rc(ends_a.reason, -ENETDOWN);
	ends_rc(ends_b.reason, -ENETDOWN);
	ck_assert_ptr_nonnull(strstr(ends_a.text, "cable"));
	ip("up"); /* first: see rdma/verbs_link.c */
	ends_end(&ends_a);
	ends_end(&ends_b);
	ends_again();
	ends_tell(&ends_a);
	ends_close();
}
END_TEST

/* ---- Memory ---- */

static void limit_locked_memory(rlim_t bytes)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){bytes, bytes}), 0);
	ck_assert_int_eq((int)syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	ck_assert_int_eq((int)syscall(SYS_capset, &header, data), 0);
}

/* The limit first: an open device takes nothing from a process that has changed what it may do. */
START_TEST(a_limit_of_locked_memory_is_named)
{
	char *more;

	limit_locked_memory(2 * ENDS_PLANE + (8 << 20)); /* both planes and the messages' buffers */
	ends_connect();
	more = mmap(NULL, ENDS_PLANE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ends_rc(kvr_memory_add(ends_a.memory, more, ENDS_PLANE, false), -ENOMEM);
	fprintf(stderr, "%s\n", kvs_fault_text());
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "RLIMIT_MEMLOCK"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "41943040"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "16777216"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "ulimit -l unlimited"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "LimitMEMLOCK=infinity"));
	ends_tell(&ends_a); /* what was there goes on */
	ends_close();
}
END_TEST

START_TEST(a_link_without_memory_to_register_is_refused)
{
	ends_open();
	limit_locked_memory(4 << 20);
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs);
	ends_rc(ends_a.reason, -ENOMEM);
	ck_assert_ptr_nonnull(strstr(ends_a.text, "RLIMIT_MEMLOCK"));
	ends_close();
}
END_TEST

/* ---- Choices ---- */

START_TEST(a_device_that_is_not_there_is_named)
{
	ends_open();
	ends_options.device = "none_7";
	ends_rc(ends_begin(&ends_a, &ends_at), -ENODEV);
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "there are"));
	fprintf(stderr, "%s\n", kvs_fault_text());
	ends_close();
}
END_TEST

START_TEST(device_port_gid_and_traffic_class_are_taken)
{
	const char *gid = getenv("KVSHM_TEST_GID");

	ends_options.device = getenv("KVSHM_TEST_DEVICE");
	ends_options.device_port = 1;
	ends_options.gid_index = gid ? (int32_t)strtol(gid, NULL, 10) : -1;
	ends_options.traffic_class = 104;
	ends_options.numa_node = 0;
	ends_connect();
	fprintf(stderr, "%s; %s; %s\n", ends_info(&ends_a).device, ends_info(&ends_a).local, ends_info(&ends_a).remote);
	ends_tell(&ends_a);
	ck_assert_ptr_nonnull(strstr(ends_info(&ends_a).device, ends_options.device));
	ends_close();
}
END_TEST

/* Who listens at any address of a device that is named listens at that one's. */
START_TEST(of_two_devices_the_one_of_the_address_is_taken_unless_one_is_named)
{
	const struct kvr_endpoint first = ends_where();
	const char *other = getenv("KVSHM_TEST_OTHER_DEVICE");
	struct end nobody = {.memory = NULL};

	ck_assert_ptr_nonnull(other);
	ends_use("rdma://0.0.0.0:7471");
	ends_options.device = other;
	ends_connect();
	ck_assert_ptr_nonnull(strstr(ends_info(&ends_a).device, other));
	ck_assert_ptr_nonnull(strstr(ends_info(&ends_b).device, other));
	ends_tell(&ends_a);
	ends_end(&ends_a);
	ends_end(&ends_b);
	ends_options.device = NULL;
	ends_again(); /* to the same address */
	ck_assert_ptr_nonnull(strstr(ends_info(&ends_a).device, other));
	nobody.memory = ends_a.memory;
	ends_rc(ends_begin(&nobody, &first), 0);
	ends_until(nobody.downs);
	ends_rc(nobody.reason, -ECONNREFUSED);
	ends_end(&nobody);
	ends_close();
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		E2_the_end_of_a_link_is_a_fence,
		a_killed_peer_is_told_of,
		E2_nothing_lands_behind_a_death_also_where_a_child_lives_on,
		a_port_that_goes_down_takes_its_links_along_and_the_listener_goes_on,
		a_limit_of_locked_memory_is_named,
		a_link_without_memory_to_register_is_refused,
		a_device_that_is_not_there_is_named,
		device_port_gid_and_traffic_class_are_taken,
		of_two_devices_the_one_of_the_address_is_taken_unless_one_is_named,
	};

	return ends_main("verbs_ends", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
