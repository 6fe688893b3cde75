/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * process.h: has another process ended? Asked of clients that do DMA: their locks fall before the last of their devices
 * is closed, so the process itself is looked at (pidfd_open(2)).
 *
 * Guarantees: ended is said only of a process whose whole thread group has ended: a leader that has exited alone is not
 * enough, nor is a process of the same number in another pid namespace. What can't be seen is unknown, never ended.
 */
#ifndef KVS_PROCESS_H
#define KVS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* What tells a process from all others of a boot. */
struct kvs_process {
	int32_t pid;	  /* in its own pid namespace */
	uint64_t started; /* clock ticks since boot, as its time namespace has it: of the number's users one only */
	uint64_t home;	  /* these two namespaces, by their inodes: pids below, times above; 0: not known */
};

enum kvs_process_state { KVS_PROCESS_GOES_ON, KVS_PROCESS_ENDED, KVS_PROCESS_UNKNOWN };

/* The calling process. -EOPNOTSUPP if its end could not be seen: /proc does not say what it is to, or pidfd_open(2) is
 * not there, or forbidden. (As far as can be told from here: who looks may be forbidden more.) */
int kvs_process_self(struct kvs_process *self);

/* Of none that kvs_process_self() told of (no pid, no home: nonsense) it says ended. */
enum kvs_process_state kvs_process_look(const struct kvs_process *process);

/* Is it of other namespaces than the caller? Then its number may be another process's here, and its end is not seen. */
bool kvs_process_is_elsewhere(uint64_t home);

#endif
