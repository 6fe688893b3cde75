/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_turns.c: see verbs_turns.h. The linker puts these functions in front of those that wait.
 */
#include "config.h"

#include "verbs_turns.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void turns_rest(void)
{
	(void)pthread_mutex_unlock(&turn);
}

void turns_go_on(void)
{
	(void)pthread_mutex_lock(&turn);
}

/* There is one more thread, the listener's. */
static void *(*listener)(void *arg);

static void *take_turns(void *arg)
{
	void *result;

	turns_go_on();
	result = listener(arg);
	turns_rest();
	return result;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	listener = start;
	return __real_pthread_create(thread, attr, take_turns, arg);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
	int rc;

	turns_rest();
	rc = __real_pthread_join(thread, result);
	turns_go_on();
	return rc;
}

int __real_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
	int rc;

	turns_rest();
	rc = __real_epoll_wait(epoll, events, count, timeout);
	turns_go_on();
	return rc;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int rc;

	turns_rest();
	rc = __real_poll(fds, count, timeout);
	turns_go_on();
	return rc;
}

int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
	turns_rest();
	(void)__real_sched_yield();
	turns_go_on();
	return 0;
}
