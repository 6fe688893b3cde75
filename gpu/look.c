/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * look.c: what the calls of a store do that is not simply open. See attached.h.
 */
#include "config.h"

#include "attached.h"

#include <errno.h>
#include <time.h>

#include "fault.h"
#include "lock.h"
#include "share.h"

#define PERIOD UINT64_C(50000000) /* ns, from one look at the owner to the next */

/* Without a system call, and 10 ms coarse at the most. */
static uint64_t coarse_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Relaxed: whose turn it is to look, nothing else. */
static int its_turn(struct kvg_attached *attached)
{
	uint64_t now = coarse_now(), looked = atomic_load_explicit(&attached->looked, memory_order_relaxed);

	return now - looked >= PERIOD &&
	       atomic_compare_exchange_strong_explicit(&attached->looked, &looked, now, memory_order_relaxed,
						       memory_order_relaxed);
}

/* An owner has its lock from before its store has a name until its process is gone, and with it the memory: one who has
 * it later never had that. Whoever sees it first tells all others, those too who wait, by the store's state. */
static int watch(struct kvg_attached *attached)
{
	uint32_t state = KVS_STORE_OPEN | KVS_STORE_WATCHED;

	if (!its_turn(attached) || kvs_lock_alive(attached->map->probe, KVS_LOCK_OWNER) != 0)
		return 0;
	(void)atomic_compare_exchange_strong(&attached->map->head->state, &state, KVS_STORE_DESTROYED);
	return kvs_routine(ESTALE,
			   "the owner of the store is dead, and its GPU memory has gone with it: detach, and attach "
			   "the new one, if there is one");
}

int kvg_attached_look(struct kvg_attached *attached, uint32_t state)
{
	if (state & KVS_STORE_WATCHED)
		return watch(attached);
	if (state & KVS_STORE_ASKS && attached->fds[0] >= 0)
		kvg_share_answer(attached->dir, attached->name, attached->map, attached->fds, &attached->answered);
	return 0;
}
