/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * poll.c: a descriptor for engines that live in an event loop. Contracts in kvshm.h.
 *
 * It is an epoll instance of two: an inotify instance that watches the attributes of the segment's file, which every
 * waker touches where somebody listens (shm/wait.h); and a timer that is set when a call says "not yet", since a death
 * is announced by nobody, and a waker may die before it tells. Both are this process's, so that nothing of them is left
 * when it dies. Where no inotify instance is to be had (fs.inotify.max_user_instances), the timer alone is, which goes
 * off every 10 ms: then what would have been told at once is seen so much later. A child of fork() keeps none of them:
 * else an event loop of the parent's that has the descriptor would have it beyond its end.
 */
#include "config.h"

#include <string.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "internal.h"
#include "kept.h"
#include "recover.h"
#include "wait.h"

/* -1: there is none to be had. */
static int watch(const struct kvs_map *map)
{
	char path[64];
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", map->fd);
	if (inotify_add_watch(fd, path, IN_ATTRIB) >= 0)
		return fd;
	(void)close(fd);
	return -1;
}

static bool add(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void kvl_poll_init(kvshm_store *store)
{
	/* Its own: a child of fork() finds none that another thread of its parent's had. */
	(void)pthread_mutex_init(&store->poll.making, NULL);
	atomic_init(&store->poll.fd, -1);
}

static void close_all(int epoll, int timer, int watch_fd)
{
	if (watch_fd >= 0)
		(void)close(watch_fd);
	if (timer >= 0)
		(void)close(timer);
	if (epoll >= 0)
		(void)close(epoll);
}

/* No lock is worth that a child that is forked in between has them, too: they only wake it. */
static int keep(const int fds[3])
{
	int rc = kvs_kept_begin(3);

	if (rc)
		return rc;
	for (unsigned i = 0; i < 3; i++)
		if (fds[i] >= 0)
			kvs_kept_add(fds[i]);
	kvs_kept_end();
	return 0;
}

static int make(kvshm_store *store)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), timer = -1, error, rc;

	if (epoll >= 0)
		timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (timer < 0 || !add(epoll, timer)) {
		error = errno;
		close_all(epoll, timer, -1);
		return kvs_fault(error, "no descriptor to wait on: %s", strerror(error));
	}
	store->poll.watch = watch(&store->map);
	if (store->poll.watch >= 0 && !add(epoll, store->poll.watch)) {
		(void)close(store->poll.watch);
		store->poll.watch = -1;
	}
	store->poll.timer = timer;
	rc = keep((const int[]){epoll, timer, store->poll.watch});
	if (rc) {
		close_all(epoll, timer, store->poll.watch);
		return rc;
	}
	if (store->poll.watch >= 0)
		kvs_wait_listen(&store->map, store->slot);
	/* [poll: make] */
	atomic_store_explicit(&store->poll.fd, epoll, memory_order_release);
	return 0;
}

/* [poll: find] */
static int poll_fd(kvshm_store *store)
{
	return atomic_load_explicit(&store->poll.fd, memory_order_acquire);
}

int kvshm_poll_fd(kvshm_store *store, int *fd)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0 && !fd)
		rc = kvl_no_place();
	if (rc)
		return rc;
	(void)pthread_mutex_lock(&store->poll.making);
	if (poll_fd(store) < 0)
		rc = make(store);
	(void)pthread_mutex_unlock(&store->poll.making);
	if (rc == 0) {
		*fd = poll_fd(store);
		kvl_poll_later(store); /* what was waited for before is looked at once more */
	}
	return rc;
}

static void set_timer(const kvshm_store *store)
{
	struct itimerspec slice = {.it_value.tv_nsec = (long)KVS_WAIT_SLICE};

	if (store->poll.watch < 0) /* nobody else tells of an end that is asked for */
		slice.it_interval = slice.it_value;
	(void)timerfd_settime(store->poll.timer, 0, &slice, NULL);
}

/* A timer that is set already stays: setting it anew would put off what another call is to be told, or, where it has
 * gone off and nobody has seen it yet, take that back. */
void kvl_poll_later(kvshm_store *store)
{
	/* [timer: set] */
	if (poll_fd(store) >= 0 && !atomic_exchange_explicit(&store->poll.set, 1, memory_order_seq_cst))
		set_timer(store);
}

/* One read takes all that there is, or nearly: what is left, or comes meanwhile, is told again. So nobody who rings
 * without end keeps this call. */
static void drain(int fd)
{
	char some[1024];

	if (fd >= 0 && read(fd, some, sizeof(some)) < 0)
		return; /* nothing was there */
}

int kvshm_poll_clear(kvshm_store *store)
{
	struct kvs_actor actor;
	uint64_t now, swept;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (poll_fd(store) < 0)
		return kvs_routine(EINVAL, "the store has no descriptor yet (kvshm_poll_fd)");
	drain(store->poll.watch);
	/* [timer: clear] Another thread may set it between the two, and the drain take that: it is set once more. */
	atomic_store_explicit(&store->poll.set, 0, memory_order_seq_cst);
	drain(store->poll.timer);
	/* [timer: clear] */
	if (atomic_load_explicit(&store->poll.set, memory_order_seq_cst))
		set_timer(store);
	if (store->poll.watch >= 0) /* a recoverer may have died before it set this right: see shm/wait.c */
		kvs_wait_listen(&store->map, store->slot);
	now = kvs_now();
	/* Relaxed: one of several threads does it; or two, which harms nobody. */
	swept = atomic_load_explicit(&store->poll.swept, memory_order_relaxed);
	if (now - swept < KVS_WAIT_SLICE)
		return 0;
	atomic_store_explicit(&store->poll.swept, now, memory_order_relaxed);
	rc = kvs_recover_dead(&store->map);
	return rc < 0 ? rc : 0;
}

void kvl_poll_close(kvshm_store *store)
{
	int fd = poll_fd(store);

	if (fd >= 0) {
		if (store->poll.watch >= 0)
			kvs_kept_close(store->poll.watch);
		kvs_kept_close(store->poll.timer);
		kvs_kept_close(fd);
	}
	(void)pthread_mutex_destroy(&store->poll.making);
}
