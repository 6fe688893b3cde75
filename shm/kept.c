/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kept.c: the table of descriptors that a child does not keep, and the handlers of fork(). See kept.h.
 *
 * The child of a multi-threaded process may not allocate or free: it only reads the table, which was made larger
 * before.
 */
#include "config.h"

#include "kept.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

static struct {
	int *fds;
	unsigned count, room;
} table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void before_fork(void)
{
	(void)pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
	(void)pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
	for (unsigned i = 0; i < table.count; i++)
		(void)close(table.fds[i]);
	table.count = 0;
	(void)pthread_mutex_unlock(&lock);
}

static void watch_fork(void)
{
	once_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static int make_room(unsigned count)
{
	unsigned room = 2 * (table.count + count);
	int *fds;

	if (table.count + count <= table.room)
		return 0;
	fds = realloc(table.fds, room * sizeof(*fds));
	if (!fds)
		return kvs_fault(ENOMEM, "no memory for the list of descriptors that children must not keep");
	table.fds = fds;
	table.room = room;
	return 0;
}

int kvs_kept_begin(unsigned count)
{
	int rc;

	(void)pthread_once(&once, watch_fork);
	if (once_error)
		return kvs_fault(once_error, "cannot register a fork handler: %s", strerror(once_error));
	(void)pthread_mutex_lock(&lock);
	rc = make_room(count);
	if (rc)
		(void)pthread_mutex_unlock(&lock);
	return rc;
}

void kvs_kept_add(int fd)
{
	table.fds[table.count++] = fd;
}

void kvs_kept_end(void)
{
	(void)pthread_mutex_unlock(&lock);
}

static void drop(int fd)
{
	for (unsigned i = 0; i < table.count; i++)
		if (table.fds[i] == fd) {
			table.fds[i] = table.fds[--table.count];
			return;
		}
}

void kvs_kept_forget(int fd)
{
	(void)pthread_mutex_lock(&lock);
	drop(fd);
	(void)pthread_mutex_unlock(&lock);
}

void kvs_kept_close(int fd)
{
	(void)pthread_mutex_lock(&lock);
	drop(fd);
	(void)close(fd);
	(void)pthread_mutex_unlock(&lock);
}
