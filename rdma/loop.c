/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * loop.c: an epoll instance, with a timerfd in it for the alarm and for calls that are due. Guarantees: see loop.h.
 */
#include "config.h"

#include "loop.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fault.h"
#include "wait.h"

#define BATCH 64	   /* descriptors that one run calls: the others are ready in the next one still */
#define NEVER UINT64_MAX   /* no alarm is set */
#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

/* The timer goes off at once while calls are due, else at the alarm's time. */
static void set_timer(const struct kvr_loop *loop)
{
	uint64_t when = loop->calls ? 1 : loop->alarm;
	struct itimerspec spec = { .it_value = { 0, 0 } };

	if (when != NEVER) {
		when = when ? when : 1; /* 0 would stop it */
		spec.it_value.tv_sec = (time_t)(when / SECOND);
		spec.it_value.tv_nsec = (long)(when % SECOND);
	}
	(void)timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

int kvr_loop_open(struct kvr_loop *loop, void (*on_alarm)(void *arg), void *arg)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	int error;

	*loop = (struct kvr_loop){ .alarm = NEVER, .on_alarm = on_alarm, .arg = arg };
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
		return kvs_fault(errno, "no epoll instance for remote transfers: %s", strerror(errno));
	loop->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer >= 0 && epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timer, &event) == 0)
		return 0;
	error = errno;
	if (loop->timer >= 0)
		(void)close(loop->timer);
	(void)close(loop->epoll);
	return kvs_fault(error, "no timer for remote transfers: %s", strerror(error));
}

void kvr_loop_close(struct kvr_loop *loop)
{
	(void)close(loop->timer);
	(void)close(loop->epoll);
}

int kvr_loop_add(struct kvr_loop *loop, struct kvr_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) == 0)
		return 0;
	return kvs_fault(errno, "a descriptor can't be watched: %s%s", strerror(errno),
			 errno == ENOSPC ? " (the limit is fs.epoll.max_user_watches)" : "");
}

void kvr_loop_change(struct kvr_loop *loop, struct kvr_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	(void)epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

void kvr_loop_remove(struct kvr_loop *loop, struct kvr_watch *watch)
{
	(void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = 0; i < loop->batched; i++)
		if (loop->batch[i] == watch)
			loop->batch[i] = NULL;
}

void kvr_loop_wake_at(struct kvr_loop *loop, uint64_t when)
{
	if (when >= loop->alarm)
		return;
	loop->alarm = when;
	if (!loop->calls)
		set_timer(loop);
}

void kvr_loop_call(struct kvr_loop *loop, struct kvr_call *call)
{
	struct kvr_call **at = &loop->calls;
	bool first = !loop->calls;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		return;
	call->next = NULL;
	*at = call;
	if (first)
		set_timer(loop);
}

static bool take_off(struct kvr_call **list, const struct kvr_call *call)
{
	while (*list && *list != call)
		list = &(*list)->next;
	if (!*list)
		return false;
	*list = call->next;
	return true;
}

void kvr_loop_uncall(struct kvr_loop *loop, struct kvr_call *call)
{
	if (!take_off(&loop->now, call) && take_off(&loop->calls, call) && !loop->calls)
		set_timer(loop);
}

/* The timer went off. Calls that are made by calls are due in the next run: so a run ends. */
static void on_time(struct kvr_loop *loop)
{
	bool alarm = loop->alarm <= kvs_now();
	uint64_t times;

	(void)!read(loop->timer, &times, sizeof(times));
	loop->now = loop->calls;
	loop->calls = NULL;
	if (alarm)
		loop->alarm = NEVER;
	set_timer(loop);
	while (loop->now) {
		struct kvr_call *call = loop->now;

		loop->now = call->next;
		call->fn(call);
	}
	if (alarm && loop->on_alarm)
		loop->on_alarm(loop->arg);
}

/* In ms, rounded up: who waits for a time is not called before it. */
static int time_left(uint64_t deadline)
{
	uint64_t now = kvs_now(), left;

	if (deadline == UINT64_MAX)
		return -1;
	if (deadline <= now)
		return 0;
	left = (deadline - now + MS - 1) / MS;
	return left > 1000000 ? 1000000 : (int)left;
}

int kvr_loop_run(struct kvr_loop *loop, uint64_t deadline)
{
	struct epoll_event events[BATCH];
	struct kvr_watch *batch[BATCH];
	bool time = false;
	int count;

	do
		count = epoll_wait(loop->epoll, events, BATCH, deadline ? time_left(deadline) : 0);
	while ((count < 0 && errno == EINTR) || (count == 0 && deadline && kvs_now() < deadline));
	if (count < 0)
		return kvs_fault(errno, "remote transfers can't wait: epoll_wait: %s", strerror(errno));
	if (count == 0)
		return kvs_routine(ETIMEDOUT, "nothing happened until the deadline");
	for (int i = 0; i < count; i++) {
		batch[i] = events[i].data.ptr;
		time = time || !batch[i];
	}
	loop->batch = batch;
	loop->batched = count;
	for (int i = 0; i < count; i++)
		if (batch[i])
			batch[i]->ready(batch[i], events[i].events);
	loop->batch = NULL;
	loop->batched = 0;
	if (time)
		on_time(loop);
	return 0;
}
