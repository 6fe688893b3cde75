/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share.c: how an owner gives the planes' descriptors away, and how a client gets them. See share.h; what a new owner
 * does is in share_ask.c.
 */
#include "config.h"

#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"
#include "lock.h"
#include "share_parts.h"
#include "wait.h"

#define FETCH_TIME UINT64_C(5000000000)
#define MOMENT 2000000 /* ns, from one look for an owner who comes to the next */
#define AT_ONCE 64     /* so many are served by one call: an owner has other work, too */

struct kvg_share {
	struct kvg_share *next;
	const struct kvs_map *map;
	struct kvg_listener listener;
	pthread_mutex_t working;
	int told; /* that it had no descriptor left: once */
	int fds[KVS_PLANES_MAX];
};

/* ---- The owner -------------------------------------------------------------------------------------------- */

/* Those of this process, whose clients need not wait for what another of its threads, or they themselves, would have to
 * give. Changed, and read, between kvs_kept_begin() and kvs_kept_end(); empty in a child of fork(), which owns none. */
static struct kvg_share *shares;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void after_fork_in_child(void)
{
	shares = NULL;
}

static void watch_fork(void)
{
	once_error = pthread_atfork(NULL, NULL, after_fork_in_child);
}

int kvg_share_open(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		   const int *fds, struct kvg_share **share)
{
	struct kvg_share *made;
	int rc;

	(void)pthread_once(&once, watch_fork);
	if (once_error)
		return kvs_fault(once_error, "cannot register a fork handler: %s", strerror(once_error));
	made = calloc(1, sizeof(*made));
	if (!made)
		return kvs_fault(ENOMEM, "no memory");
	made->map = map;
	memcpy(made->fds, fds, map->g.planes * sizeof(*fds));
	rc = kvg_listen(&made->listener, dir, name, KVS_SOCKET_GIVES, map, access);
	if (rc)
		goto free_memory;
	rc = kvs_kept_begin(0);
	if (rc)
		goto end_listening;
	made->next = shares;
	shares = made;
	kvs_kept_end();
	(void)pthread_mutex_init(&made->working, NULL);
	*share = made;
	return 0;

end_listening:
	kvg_listen_end(&made->listener);
free_memory:
	free(made);
	return rc;
}

int kvg_share_fd(const struct kvg_share *share)
{
	return share->listener.fd;
}

/* To the next one. False: nobody waits. */
static bool give(struct kvg_share *share)
{
	int fd;
	int rc = kvg_accept(&share->listener, &fd);

	if ((rc == -EMFILE || rc == -ENFILE) && !share->told++)
		kvs_log(KVS_LOG_WARNING,
			"clients of the store could not be given its planes: %s (ulimit -n, or what has so "
			"many files open)",
			strerror(-rc));
	if (rc)
		return false;
	(void)kvg_send(fd, share->map, share->fds); /* who does not get it comes again, until its time is over */
	kvs_kept_close(fd);
	return true;
}

void kvg_share_work(struct kvg_share *share)
{
	if (pthread_mutex_trylock(&share->working)) /* another thread is at it */
		return;
	for (int i = 0; i < AT_ONCE && give(share); i++)
		;
	(void)pthread_mutex_unlock(&share->working);
}

static void forget(const struct kvg_share *share)
{
	struct kvg_share **at = &shares;

	while (*at && *at != share)
		at = &(*at)->next;
	if (*at)
		*at = share->next;
}

void kvg_share_close(struct kvg_share *share)
{
	if (!share)
		return;
	if (kvs_kept_begin(0) == 0) { /* it can't fail: it did not for kvg_share_open() */
		forget(share);
		kvs_kept_end();
	}
	kvg_listen_end(&share->listener);
	(void)pthread_mutex_destroy(&share->working);
	free(share);
}

/* ---- A client --------------------------------------------------------------------------------------------- */

/* Copies of an owner's own. */
static int copy(const struct kvg_share *share, int fds[KVS_PLANES_MAX])
{
	for (uint32_t i = 0; i < share->map->g.planes; i++) {
		fds[i] = fcntl(share->fds[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		if (fds[i] < 0) {
			int error = errno;

			while (i)
				(void)close(fds[--i]);
			return kvs_fault(error, "no descriptor for the planes: %s", strerror(error));
		}
	}
	for (uint32_t i = 0; i < share->map->g.planes; i++)
		kvs_kept_add(fds[i]);
	return 0;
}

/* From an owner in this process. -ENOENT, without a text: it is in another. */
static int fetch_here(const struct kvs_map *map, int fds[KVS_PLANES_MAX])
{
	const struct kvg_share *share;
	int rc = kvs_kept_begin(KVS_PLANES_MAX);

	if (rc)
		return rc;
	share = shares;
	while (share && share->map->g.incarnation != map->g.incarnation)
		share = share->next;
	rc = share ? copy(share, fds) : -ENOENT;
	kvs_kept_end();
	return rc;
}

static int timed_out(const struct kvs_map *map)
{
	/* Relaxed: for people. */
	int pid = (int)atomic_load_explicit(&map->head->owner_pid, memory_order_relaxed);

	return kvs_fault(ETIMEDOUT,
			 "the owner of the store (process %d) lives, and has not handed out the planes' memory: "
			 "continue it if it is stopped; if it still waits for clients (kvshmd --adopt), let one "
			 "of them make a call",
			 pid);
}

/* Waits until there is something to read, or the other end has gone; or until that time. */
static void await(int fd, uint64_t until)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t now = kvs_now();

	/* A signal ends it, too: then it is looked once more. */
	(void)poll(&ready, 1, now < until ? (int)((until - now) / 1000000) + 1 : 0);
}

/* Comes and waits once. -EAGAIN, without a text: nobody gives, or it went before it gave. */
static int fetch_once(const struct kvg_place *place, const struct kvs_map *map, int fds[KVS_PLANES_MAX], uint64_t until)
{
	int fd;
	int rc = kvg_connect(place, map, &fd);

	if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -EAGAIN || rc == -EINTR)
		return -EAGAIN;
	if (rc)
		return kvs_fault(-rc, "cannot ask the owner of the store for its planes: %s%s", strerror(-rc),
				 rc == -EMFILE  ? " (ulimit -n)"
				 : rc == -EPERM ? " (another user listens beside the segment, who may not open it: "
						  "remove that socket, kvshmd.NAME)"
						: "");
	while ((rc = kvg_receive(fd, map, fds)) == -EAGAIN && kvs_now() < until)
		await(fd, until);
	kvs_kept_close(fd);
	if (rc == -EAGAIN)
		return timed_out(map);
	if (rc == -EPROTO)
		return kvs_fault(EPROTO, "what listens beside the store's segment is no kvshm of this version: end it");
	if (rc == -ESTALE)
		return kvs_fault(ESTALE, "the store was replaced meanwhile: attach the new one");
	return rc == -ENODATA ? -EAGAIN : rc;
}

/* Nobody has given: may it be that somebody will? */
static int look_for_owner(const struct kvs_map *map, uint64_t until)
{
	const struct timespec moment = {.tv_nsec = MOMENT};
	int alive = kvs_lock_alive(map->probe, KVS_LOCK_OWNER);

	if (alive < 0)
		return alive;
	if (!kvs_store_is_open(atomic_load(&map->head->state)))
		return kvs_fault(ESTALE, "the store was destroyed meanwhile: attach the new one, if there is one");
	if (!alive)
		return kvs_fault(EOWNERDEAD,
				 "the owner of the store is dead, and nobody hands out the planes' memory: adopt "
				 "the store (kvshmd --adopt), while clients are attached that have it");
	if (kvs_now() >= until)
		return timed_out(map);
	(void)nanosleep(&moment, NULL);
	return 0;
}

int kvg_share_fetch_for(const char *dir, const char *name, const struct kvs_map *map, int fds[KVS_PLANES_MAX],
			uint64_t time)
{
	uint64_t until = kvs_now() + time;
	struct kvg_place place;
	int rc = fetch_here(map, fds);

	if (rc != -ENOENT)
		return rc;
	rc = kvg_place_open(&place, dir, name, KVS_SOCKET_GIVES);
	if (rc)
		return rc;
	do {
		rc = fetch_once(&place, map, fds, until);
	} while (rc == -EAGAIN && (rc = look_for_owner(map, until)) == 0);
	kvg_place_close(&place);
	return rc;
}

int kvg_share_fetch(const char *dir, const char *name, const struct kvs_map *map, int fds[KVS_PLANES_MAX])
{
	return kvg_share_fetch_for(dir, name, map, fds, FETCH_TIME);
}
