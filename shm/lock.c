/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lock.c: the calls on open file description locks (fcntl(2), F_OFD_SETLK). A read lock turns into a write lock,
 * or back, in one step, and is unchanged where that fails.
 */
#include "config.h"

#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

static int set(int fd, uint32_t byte, uint32_t count, short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = count};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return -EAGAIN;
	return kvs_fault(errno, "cannot lock byte %u of the segment: %s", byte, strerror(errno));
}

int kvs_lock_write(int fd, uint32_t byte)
{
	return set(fd, byte, 1, F_WRLCK);
}

int kvs_lock_read(int fd, uint32_t byte)
{
	return set(fd, byte, 1, F_RDLCK);
}

int kvs_lock_drop(int fd, uint32_t byte)
{
	return set(fd, byte, 1, F_UNLCK);
}

int kvs_lock_write_clients(int fd)
{
	return set(fd, 0, KVS_CLIENTS_MAX, F_WRLCK);
}

/* The type of another description's lock that is in the way of one of that type; F_UNLCK: none; or a negative errno. */
static int in_the_way(int fd, uint32_t byte, uint32_t count, short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = count};

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return kvs_fault(errno, "cannot look at byte %u of the segment: %s", byte, strerror(errno));
	return lock.l_type;
}

int kvs_lock_alive(int fd, uint32_t byte)
{
	int found = in_the_way(fd, byte, 1, F_RDLCK);

	return found < 0 ? found : found != F_UNLCK;
}

int kvs_lock_any_client(int fd)
{
	int found = in_the_way(fd, 0, KVS_CLIENTS_MAX, F_RDLCK);

	return found < 0 ? found : found != F_UNLCK;
}

int kvs_lock_recovering(int fd, uint32_t byte)
{
	int found = in_the_way(fd, byte, 1, F_WRLCK);

	return found < 0 ? found : found == F_RDLCK;
}

void kvs_lock_close(int fd)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	(void)fcntl(fd, F_OFD_SETLK, &all);
	(void)close(fd);
}
