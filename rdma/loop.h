/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * loop.h: the one place where remote transfers wait: a set of descriptors, each with a function that is called when it
 * is ready, one alarm, and calls that are due as soon as the loop runs.
 *
 * Guarantees: functions are called by kvr_loop_run() only, one after the other, in the thread that runs it. A watch
 * that was removed is not called any more, also where it was ready already in the same run. The loop's own descriptor
 * is readable as long as one of them is ready, or the alarm's time has come: so a loop can be part of another one.
 */
#ifndef KVR_LOOP_H
#define KVR_LOOP_H

#include <stddef.h>
#include <stdint.h>

/* What a watch or a call is embedded in. */
#define KVR_OWNER(type, member, at) ((type *)(void *)((char *)(at) - offsetof(type, member)))

/* Embedded in what it belongs to; ready is called with epoll's events (EPOLLIN ...). */
struct kvr_watch {
	void (*ready)(struct kvr_watch *watch, uint32_t events);
	int fd;
};

/* Embedded likewise: something that is to be told, but not from within the call that found it. */
struct kvr_call {
	void (*fn)(struct kvr_call *call);
	struct kvr_call *next; /* the loop's */
};

struct kvr_loop {
	int epoll, timer;
	uint64_t alarm; /* CLOCK_MONOTONIC ns; UINT64_MAX: none is set */
	void (*on_alarm)(void *arg);
	void *arg;
	struct kvr_watch **batch; /* what a run has yet to call */
	int batched;
	struct kvr_call *calls, *now; /* that the next run makes; that this one has yet to make */
};

/* -EMFILE, -ENOMEM. on_alarm is called with arg when the alarm's time has come. */
int kvr_loop_open(struct kvr_loop *loop, void (*on_alarm)(void *arg), void *arg);
void kvr_loop_close(struct kvr_loop *loop);

/* fd and ready are set. events: EPOLLIN, EPOLLOUT. */
int kvr_loop_add(struct kvr_loop *loop, struct kvr_watch *watch, uint32_t events);
void kvr_loop_change(struct kvr_loop *loop, struct kvr_watch *watch, uint32_t events);
void kvr_loop_remove(struct kvr_loop *loop, struct kvr_watch *watch); /* before its fd is closed */

/* The alarm goes off then, unless it is set to something earlier. It is cleared when it goes off. */
void kvr_loop_wake_at(struct kvr_loop *loop, uint64_t when);

/* Has the next run, which begins at once, call it: once, however often it was asked for; behind it, it may be again. */
void kvr_loop_call(struct kvr_loop *loop, struct kvr_call *call);
/* It is not called any more. Of one that is not due, nothing. */
void kvr_loop_uncall(struct kvr_loop *loop, struct kvr_call *call);

/* Waits until something is ready or the deadline has come (0: looks once), and calls what is ready, once each.
 * -ETIMEDOUT: nothing was. Signals do not end it. */
int kvr_loop_run(struct kvr_loop *loop, uint64_t deadline);

#endif
