/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wait.h: sleeping on words of the segment, waking those who do, and telling those who listen by a descriptor instead.
 * Deadlines are absolute CLOCK_MONOTONIC times in ns.
 */
#ifndef KVS_WAIT_H
#define KVS_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "map.h"

#define KVS_WAIT_SLICE UINT64_C(10000000) /* ns: at least this often a waiter looks whether those it waits for live */

uint64_t kvs_now(void);

/* Sleeps until the low half of the word, or the count, differs from the one given, somebody wakes, or until the time;
 * or less. False if there is no memory behind it any more: the segment was truncated. */
bool kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until);
bool kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until);

/* Wakes all who wait for it. A waker may die between its change and this call: hence the slices. */
void kvs_wait_wake(_Atomic uint64_t *word);
void kvs_wait_wake_count(_Atomic uint32_t *count);

/* Makes the descriptors readable of all who listen to the store (lib/poll.c), if there may be one: whatever they wait
 * for may have come. They watch the attributes of the segment's file by inotify(7): so nothing of theirs is in the file
 * system, nothing is left when they die, and it works across namespaces. Behind the change. */
void kvs_wait_ring(const struct kvs_map *map);

/* A client listens from here on, before it looks at what it waits for; or listens no more, also a dead one. */
void kvs_wait_listen(const struct kvs_map *map, uint32_t slot);
void kvs_wait_deafen(const struct kvs_map *map, uint32_t slot);

#endif
