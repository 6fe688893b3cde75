/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs_lost: links over RDMA whose queue pair, port or device fails, in each way that these can tell of, or that
 * do not come about: both ends are told, with a reason and what to do; nothing is left; and there is a next link.
 */
#include "config.h"

#include "verbs_scene.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "fault.h"

static void hears(const struct end *end, int reason, const char *words)
{
	ck_assert_uint_eq(end->downs, 1);
	ck_assert_msg(end->reason == reason && strstr(end->text, words), "%d %s: not %d ... %s ...", end->reason,
		      end->text, reason, words);
}

/* The same port and memory. */
static void next_link_works(void)
{
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups && ends_b.link);
	scene_works();
}

/* ---- Queue pairs */

static const struct {
	enum ibv_wc_status status;
	int reason;
	const char *words;
} statuses[] = {
	{IBV_WC_LOC_LEN_ERR, -EPROTO, "longer than 8192 bytes"},
	{IBV_WC_LOC_PROT_ERR, -EFAULT, "memory went away"},
	{IBV_WC_LOC_ACCESS_ERR, -EFAULT, "never registered"},
	{IBV_WC_REM_ACCESS_ERR, -EACCES, "outside of what was granted"},
	{IBV_WC_RETRY_EXC_ERR, -ETIMEDOUT, "is that node up"},
	{IBV_WC_RNR_RETRY_EXC_ERR, -EPROTO, "no buffers for messages"},
	{IBV_WC_WR_FLUSH_ERR, -EACCES, "wrote where it may not"},
	{IBV_WC_LOC_QP_OP_ERR, -EIO, "local QP operation error (vendor's number 77)"},
	{IBV_WC_MW_BIND_ERR, -EIO, "memory management operation error"},
	{IBV_WC_REM_OP_ERR, -EIO, "remote operation error"},
	{IBV_WC_REM_INV_REQ_ERR, -EIO, "remote invalid request error"},
	{IBV_WC_FATAL_ERR, -EIO, "fatal error"},
	{IBV_WC_GENERAL_ERR, -EIO, "general error"},
};
#define STATUSES ((int)(sizeof(statuses) / sizeof(statuses[0])))

START_TEST(a_queue_pair_in_error_ends_its_link_with_the_reason)
{
	scene_begin();
	scene_connect();
	(void)ends_expose(&ends_a, 0, 4096); /* goes with the link */
	fake_ends(scene_qp(&ends_a), statuses[_i].status);
	ends_until(ends_a.downs && ends_b.downs);
	hears(&ends_a, statuses[_i].reason, statuses[_i].words);
	hears(&ends_b, -ECONNRESET, "closed by the other side");
	next_link_works();
	scene_end();
}
END_TEST

START_TEST(iwarp_tells_nothing_of_why)
{
	scene_begin();
	fake.iwarp = fake.no_windows = true;
	scene_connect();
	fake_ends(scene_qp(&ends_a), IBV_WC_WR_FLUSH_ERR);
	ends_until(ends_a.downs && ends_b.downs);
	hears(&ends_a, -ECONNRESET, "or one of them wrote where it may not");
	scene_end();
}
END_TEST

START_TEST(E3_a_write_outside_of_its_window_ends_both)
{
	struct kvr_window *window;

	scene_begin();
	scene_connect();
	window = ends_expose(&ends_b, 0, 4096);
	memset(ends_b.plane, 0, 8192);
	memset(ends_a.plane, 9, 8192);
	ends_rc(ends_write_to(&ends_a, 0, window->address + 4096, window->rkey, 1), 0);
	ends_rc(ends_send(&ends_a, 1, 64, 1), 0); /* or nobody asks for the write's end */
	ends_until(ends_a.downs && ends_b.downs);
	hears(&ends_a, -EACCES, "has refused a write");
	hears(&ends_b, -EACCES, "wrote where it may not");
	ends_is_all(ends_b.plane, 8192, 0);
	next_link_works();
	scene_end();
}
END_TEST

/* ---- What devices tell */

static const struct {
	enum ibv_event_type event;
	int reason;
	const char *words;
	bool of_queue_pair, alone; /* alone: only a is told */
} events[] = {
	{IBV_EVENT_QP_FATAL, -EIO, "connect again", true, true},
	{IBV_EVENT_QP_REQ_ERR, -EIO, "connect again", true, true},
	{IBV_EVENT_QP_ACCESS_ERR, -EACCES, "wrote where it may not", true, true},
	{IBV_EVENT_CQ_ERR, -ENODEV, "kernel's log", false, false},
	{IBV_EVENT_DEVICE_FATAL, -ENODEV, "its driver loaded anew", false, false},
	{IBV_EVENT_PORT_ERR, -ENETDOWN, "look at its cable", false, false},
};
#define EVENTS ((int)(sizeof(events) / sizeof(events[0])))

START_TEST(what_a_device_tells_ends_links_with_the_reason)
{
	scene_begin();
	scene_connect();
	fake_async(0, events[_i].event, events[_i].of_queue_pair ? scene_qp(&ends_a) : NULL);
	ends_until(ends_a.downs && ends_b.downs);
	hears(&ends_a, events[_i].reason, events[_i].words);
	if (events[_i].alone)
		hears(&ends_b, -ECONNRESET, "closed by the other side");
	else
		hears(&ends_b, events[_i].reason, events[_i].words);
	next_link_works();
	scene_end();
}
END_TEST

START_TEST(what_does_not_matter_is_passed_over)
{
	static const enum ibv_event_type harmless[] = {IBV_EVENT_PORT_ACTIVE, IBV_EVENT_GID_CHANGE,
						       IBV_EVENT_LID_CHANGE, IBV_EVENT_CLIENT_REREGISTER};

	scene_begin();
	scene_connect();
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		fake_async(0, harmless[i], NULL);
	fake_async(0, IBV_EVENT_COMM_EST, scene_qp(&ends_b));
	scene_works();
	scene_renew(&ends_a);
	ends_until(ends_b.downs);
	fake_async(0, IBV_EVENT_PORT_ERR, NULL); /* nobody uses it at the moment */
	next_link_works();
	scene_end();
}
END_TEST

/* ---- Devices that go */

static void lose(void)
{
	fake_remove(0);
	ends_until(ends_a.downs && ends_b.downs);
	ck_assert(ends_a.reason == -ENODEV && ends_b.reason == -ENODEV);
}

START_TEST(a_device_that_is_removed_is_let_go_of_and_serves_again_when_it_is_back)
{
	scene_begin();
	ends_port_is_safe = false;
	fake.says_no_fatal = _i;
	scene_connect();
	lose();
	ends_until(ends_port_reason);
	ck_assert_int_eq(ends_port_reason, -ENODEV);
	ck_assert_ptr_nonnull(strstr(ends_port_text, "was removed: put it back"));
	kvr_verbs.close_port(ends_port);
	ends_port = NULL;
	while (kvr_loop_run(&ends_loop, 0) == 0)
		;
	/* Neither this process nor librdmacm has it any more: else its driver could not go. */
	ck_assert_uint_eq(fake.objects, 0);
	ck_assert(!fake.kept[0]);
	ends_rc(ends_listen(), -ENODEV);
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "no RDMA device has that address"));
	fake_restore(0);
	ends_rc(ends_listen(), 0);
	next_link_works();
	scene_end();
}
END_TEST

static void next_link_works_over(unsigned device)
{
	fake_address(device, AF_INET, &ends_at.any);
	ends_at.four.sin_port = htons(7471);
	next_link_works();
}

static void listen_at_all(void)
{
	scene_begin();
	ends_use("rdma://0.0.0.0:7471");
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	next_link_works_over(0);
}

/* Who listens at any address is not told, and goes on. */
START_TEST(a_port_of_all_devices_outlives_each)
{
	listen_at_all();
	lose();
	ck_assert(!fake.kept[0]);
	fake_restore(0);
	next_link_works();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	fake_remove(0); /* while no link uses it */
	fake_restore(0);
	next_link_works();
	scene_end();
}
END_TEST

/* The device tells before it is gone, and no end is there to be told by librdmacm. */
START_TEST(a_device_that_says_first_that_it_is_lost_is_let_go_of_by_the_next_link_over_another_one)
{
	listen_at_all();
	fake_async(0, IBV_EVENT_DEVICE_FATAL, NULL);
	ends_until(ends_a.downs && ends_b.downs);
	fake_remove(0);
	ck_assert(fake.kept[0]);
	next_link_works_over(1);
	ck_assert(!fake.kept[0]);
	scene_end();
}
END_TEST

START_TEST(devices_that_are_all_removed_are_let_go_of_when_one_is_back)
{
	listen_at_all();
	fake.says_no_fatal = true;
	fake_remove(1);
	lose();
	while (kvr_loop_run(&ends_loop, 0) == 0)
		;
	ck_assert(fake.kept[0]); /* librdmacm does not look */
	fake_restore(1);
	next_link_works_over(1);
	ck_assert(!fake.kept[0]);
	scene_end();
}
END_TEST

/* ---- Links that do not come about */

static const struct {
	enum rdma_cm_event_type event;
	int status, reason;
	const char *words;
} connecting[] = {
	{RDMA_CM_EVENT_ADDR_ERROR, -ENODEV, -EHOSTUNREACH, "its address can't be resolved (No such device)"},
	{RDMA_CM_EVENT_ROUTE_ERROR, -EINVAL, -EHOSTUNREACH, "no route (Invalid argument)"},
	{RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, -ETIMEDOUT, "no answer"},
	{RDMA_CM_EVENT_CONNECT_ERROR, 22, -EHOSTUNREACH, "connecting failed"},
	{RDMA_CM_EVENT_REJECTED, 8, -ECONNREFUSED, "does kvshmd listen there"},
	{RDMA_CM_EVENT_DEVICE_REMOVAL, 0, -ENODEV, "put it back, or name another one"},
};
#define CONNECTING ((int)(sizeof(connecting) / sizeof(connecting[0])))

START_TEST(who_can_not_connect_is_told_why)
{
	scene_begin();
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	fake.deaf = true;
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	while (kvr_loop_run(&ends_loop, 0) == 0)
		;
	fake_tell(ends_a.link->id, connecting[_i].event, connecting[_i].status);
	ends_until(ends_a.downs);
	hears(&ends_a, connecting[_i].reason, connecting[_i].words);
	fake.deaf = false;
	next_link_works();
	scene_end();
}
END_TEST

START_TEST(who_gets_no_answer_waits_as_long_as_it_may)
{
	scene_begin();
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	fake.deaf = true;
	ends_options.timeout = 20000000;
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.downs);
	hears(&ends_a, -ETIMEDOUT, "did not come about in 20 ms");
	scene_end();
}
END_TEST

/* ---- Memory that may not be locked */

static const int limit_errors[] = {ENOMEM, EPERM, EAGAIN};
#define LIMIT_ERRORS ((int)(sizeof(limit_errors) / sizeof(limit_errors[0])))

START_TEST(a_limit_of_locked_memory_is_named)
{
	static char more[65536] __attribute__((aligned(4096)));

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){1234567, 1234567}), 0);
	scene_begin();
	fake.error = limit_errors[_i];
	scene_connect();
	fake.calls = 0;
	fake.fail_at = 3; /* behind the list's, and the key's, own */
	ends_rc(kvr_memory_add(ends_a.memory, more, sizeof(more), false), -ENOMEM);
	ck_assert_str_eq(fake.failed, "ibv_reg_mr");
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "register memory, 65536 bytes, with fake0"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "may lock 1234567 bytes (RLIMIT_MEMLOCK)"));
	ck_assert_ptr_nonnull(strstr(kvs_fault_text(), "`ulimit -l unlimited`"));
	scene_works(); /* what was there goes on */
	scene_end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		iwarp_tells_nothing_of_why,
		E3_a_write_outside_of_its_window_ends_both,
		what_does_not_matter_is_passed_over,
		a_port_of_all_devices_outlives_each,
		a_device_that_says_first_that_it_is_lost_is_let_go_of_by_the_next_link_over_another_one,
		devices_that_are_all_removed_are_let_go_of_when_one_is_back,
		who_gets_no_answer_waits_as_long_as_it_may,
	};
	const struct unit_loop loops[] = {
		{a_queue_pair_in_error_ends_its_link_with_the_reason, STATUSES},
		{what_a_device_tells_ends_links_with_the_reason, EVENTS},
		{who_can_not_connect_is_told_why, CONNECTING},
		{a_device_that_is_removed_is_let_go_of_and_serves_again_when_it_is_back, 2},
		{a_limit_of_locked_memory_is_named, LIMIT_ERRORS},
		{NULL, 0},
	};

	return unit_run_loops("rdma_verbs_lost", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
