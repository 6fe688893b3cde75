/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_loop: who is called by a loop, when, and who is not any more.
 */
#include "config.h"

#include "fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include "loop.h"
#include "wait.h"

static struct kvr_loop loop;
static unsigned alarms;

static void on_alarm(void *arg)
{
	ck_assert_ptr_eq(arg, &loop);
	alarms++;
}

static void open_loop(void)
{
	ck_rc(kvr_loop_open(&loop, on_alarm, &loop), 0);
}

static bool is_readable(void)
{
	struct pollfd fd = { .fd = loop.epoll, .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

/* Two pipes' ends, which remove each other when one is called. */
struct pair {
	struct kvr_watch watch;
	struct pair *other;
	unsigned called;
	int in;
};

static void remove_other(struct kvr_watch *watch, uint32_t events)
{
	struct pair *pair = KVR_OWNER(struct pair, watch, watch);

	ck_assert_uint_eq(events & EPOLLIN, EPOLLIN);
	pair->called++;
	if (pair->other)
		kvr_loop_remove(&loop, &pair->other->watch);
}

static void open_pair(struct pair *pair, struct pair *other)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	*pair = (struct pair){ .watch = { .ready = remove_other, .fd = fds[0] }, .other = other, .in = fds[1] };
	ck_rc(kvr_loop_add(&loop, &pair->watch, EPOLLIN), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
}

static void close_pair(struct pair *pair)
{
	(void)close(pair->watch.fd);
	(void)close(pair->in);
}

START_TEST(a_watch_that_was_removed_is_not_called_even_if_it_was_ready)
{
	struct pair pairs[2];

	open_loop();
	open_pair(&pairs[0], &pairs[1]);
	open_pair(&pairs[1], &pairs[0]);
	ck_assert(is_readable());
	ck_rc(kvr_loop_run(&loop, 0), 0);
	ck_assert_uint_eq(pairs[0].called + pairs[1].called, 1);
	for (int i = 0; i < 2; i++)
		close_pair(&pairs[i]);
	kvr_loop_close(&loop);
}
END_TEST

START_TEST(a_watch_is_called_as_long_as_it_is_ready_and_for_what_it_waits_for)
{
	struct pair pair;

	open_loop();
	open_pair(&pair, NULL);
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_assert_uint_eq(pair.called, 2);
	kvr_loop_change(&loop, &pair.watch, 0);
	ck_assert(!is_readable());
	ck_rc(kvr_loop_run(&loop, 0), -ETIMEDOUT);
	kvr_loop_change(&loop, &pair.watch, EPOLLIN);
	ck_rc(kvr_loop_run(&loop, 0), 0);
	ck_assert_uint_eq(pair.called, 3);
	close_pair(&pair);
	kvr_loop_close(&loop);
}
END_TEST

START_TEST(the_alarm_goes_off_once_at_the_earliest_of_its_times)
{
	uint64_t begin = kvs_now();

	open_loop();
	kvr_loop_wake_at(&loop, begin + UINT64_C(3600) * 1000000000);
	kvr_loop_wake_at(&loop, begin + 20000000);
	kvr_loop_wake_at(&loop, begin + UINT64_C(7200) * 1000000000);
	ck_assert(!is_readable());
	ck_rc(kvr_loop_run(&loop, 0), -ETIMEDOUT);
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_assert_uint_eq(alarms, 1);
	ck_assert_uint_ge(kvs_now(), begin + 20000000);
	ck_rc(kvr_loop_run(&loop, unit_in_ms(1)), -ETIMEDOUT);
	kvr_loop_wake_at(&loop, 0); /* long past */
	ck_assert(is_readable());
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_assert_uint_eq(alarms, 2);
	ck_assert(!is_readable());
	kvr_loop_close(&loop);
}
END_TEST

/* ---- Calls */

struct counted {
	struct kvr_call call;
	unsigned called;
	struct counted *again, *never; /* asks for one, takes one back */
};

static void count(struct kvr_call *call)
{
	struct counted *at = KVR_OWNER(struct counted, call, call);

	at->called++;
	if (at->again)
		kvr_loop_call(&loop, &at->again->call);
	if (at->never)
		kvr_loop_uncall(&loop, &at->never->call);
}

START_TEST(a_call_comes_with_the_next_run_once)
{
	struct counted one = { .call.fn = count };

	open_loop();
	kvr_loop_wake_at(&loop, kvs_now() + UINT64_C(3600) * 1000000000);
	kvr_loop_call(&loop, &one.call);
	kvr_loop_call(&loop, &one.call);
	ck_assert_uint_eq(one.called, 0);
	ck_assert(is_readable());
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_assert_uint_eq(one.called, 1);
	ck_rc(kvr_loop_run(&loop, 0), -ETIMEDOUT);
	one.again = &one; /* one that asks for itself does not keep the run from its end */
	kvr_loop_call(&loop, &one.call);
	for (unsigned i = 2; i < 5; i++) {
		ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
		ck_assert_uint_eq(one.called, i);
	}
	kvr_loop_uncall(&loop, &one.call);
	ck_assert(!is_readable());
	ck_assert_uint_eq(alarms, 0);
	kvr_loop_close(&loop);
}
END_TEST

START_TEST(a_call_that_was_taken_back_does_not_come)
{
	struct counted one = { .call.fn = count }, other = { .call.fn = count }, third = { .call.fn = count };

	open_loop();
	one.never = &other;
	kvr_loop_call(&loop, &one.call);
	kvr_loop_call(&loop, &other.call);
	kvr_loop_call(&loop, &third.call);
	ck_rc(kvr_loop_run(&loop, UINT64_MAX), 0);
	ck_assert_uint_eq(one.called, 1);
	ck_assert_uint_eq(other.called, 0);
	ck_assert_uint_eq(third.called, 1);
	kvr_loop_uncall(&loop, &other.call);
	kvr_loop_close(&loop);
}
END_TEST

static unsigned signals;

static void on_signal(int signal)
{
	(void)signal;
	signals++;
}

START_TEST(signals_do_not_end_a_run)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval every = { .it_interval = { 0, 2000 }, .it_value = { 0, 2000 } };
	struct itimerval none = { .it_value = { 0, 0 } };
	uint64_t until = unit_in_ms(30);

	open_loop();
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
	ck_rc(kvr_loop_run(&loop, until), -ETIMEDOUT);
	ck_assert_uint_ge(kvs_now(), until);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
	ck_assert_uint_gt(signals, 0);
	kvr_loop_close(&loop);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_watch_that_was_removed_is_not_called_even_if_it_was_ready,
		a_watch_is_called_as_long_as_it_is_ready_and_for_what_it_waits_for,
		the_alarm_goes_off_once_at_the_earliest_of_its_times,
		a_call_comes_with_the_next_run_once,
		a_call_that_was_taken_back_does_not_come,
		signals_do_not_end_a_run,
	};

	return unit_run("rdma_loop", tests, sizeof(tests) / sizeof(tests[0]));
}
