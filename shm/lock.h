/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * lock.h: liveness, kept by the kernel. Each client holds a write lock (F_OFD_SETLK) on the byte of the segment's file
 * that has its slot's number; the owner holds one on the byte KVS_LOCK_OWNER. The kernel drops it when the process has
 * ended, whatever its pid namespace, and after its memory has been torn down: nothing of a process that is seen to be
 * dead runs any more. Open file description locks, never POSIX ones: those fall with any close of the file.
 *
 * Which bytes they are is frozen, as the first bytes of the segment are: so any version sees who lives in any other's
 * store. (tests/model/slots.pml)
 */
#ifndef KVS_LOCK_H
#define KVS_LOCK_H

#include <stdint.h>

#include "layout.h"

#define KVS_LOCK_OWNER KVS_CLIENTS_MAX

/* Each returns 0, -EAGAIN if another description's lock is in the way, or another negative errno. */
int kvs_lock_write(int fd, uint32_t byte);
int kvs_lock_read(int fd, uint32_t byte);
int kvs_lock_drop(int fd, uint32_t byte);

/* The write locks of all clients' bytes at once: nobody is attached or recovers, nor can before they fall. */
int kvs_lock_write_clients(int fd);

/* Drops all locks of a description, and closes it: a child that was forked meanwhile has the description too, and would
 * keep them. */
void kvs_lock_close(int fd);

/* Is the holder of a byte's write lock alive? 1, 0 or a negative errno. Asks for a read lock: asking for a write lock
 * would take a recoverer for a living owner. */
int kvs_lock_alive(int fd, uint32_t byte);

/* Does any client live? 1, 0 or a negative errno. Those of this process count as well. */
int kvs_lock_any_client(int fd);

/* Is anyone at the recovery of a byte's dead holder? 1, 0 or a negative errno. Recoverers keep read locks, which only
 * a write lock would meet; what is in the way of that is a living holder's write lock, or a recoverer's read lock, and
 * never both. (The last recoverer has the write lock for its last walk, and looks like a living holder then.) */
int kvs_lock_recovering(int fd, uint32_t byte);

#endif
