/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wait.c: futexes on the low half of words (futex(2); shared between processes, so without FUTEX_PRIVATE_FLAG).
 * Guarantees: no wake-up is lost but by the waker's death, since the kernel compares the half word with the one that
 * the waiter saw, and every change of the word changes that half.
 */
#include "config.h"

#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

uint64_t kvs_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static bool wait_half(void *half, uint32_t seen, uint64_t until)
{
	struct timespec time = {.tv_sec = (time_t)(until / SECOND), .tv_nsec = (long)(until % SECOND)};

	/* FUTEX_WAIT_BITSET takes an absolute time. Why else it returned does not matter: the caller looks again. */
	return syscall(SYS_futex, half, FUTEX_WAIT_BITSET, seen, &time, NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||
	       errno != EFAULT;
}

static void wake_half(void *half)
{
	(void)syscall(SYS_futex, half, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool kvs_wait_word(_Atomic uint64_t *word, uint64_t seen, uint64_t until)
{
	return wait_half(word, (uint32_t)seen, until);
}

bool kvs_wait_count(_Atomic uint32_t *count, uint32_t seen, uint64_t until)
{
	return wait_half(count, seen, until);
}

void kvs_wait_wake(_Atomic uint64_t *word)
{
	wake_half(word);
}

void kvs_wait_wake_count(_Atomic uint32_t *count)
{
	wake_half(count);
}

void kvs_wait_ring(const struct kvs_map *map)
{
	/* [listen: ring] Behind the change that is told. */
	if (atomic_load_explicit(&map->head->listening, memory_order_seq_cst))
		(void)futimens(map->fd, NULL);
}

void kvs_wait_listen(const struct kvs_map *map, uint32_t slot)
{
	/* [listen: set] The client's own before the one for all: who takes that away looks at the clients' then. */
	atomic_store_explicit(&map->clients[slot].listens, 1, memory_order_seq_cst);
	atomic_store_explicit(&map->head->listening, 1, memory_order_seq_cst);
}

static bool anyone_listens(const struct kvs_map *map)
{
	for (uint32_t i = 0; i < map->g.clients; i++)
		if (atomic_load_explicit(&map->clients[i].listens, memory_order_seq_cst)) /* [listen: set] */
			return true;
	return false;
}

/* While others listen the one for all stays, so that they miss nothing, also where this one stops or dies in here. */
void kvs_wait_deafen(const struct kvs_map *map, uint32_t slot)
{
	/* Relaxed: written by this client, which is at its end. */
	if (!atomic_load_explicit(&map->clients[slot].listens, memory_order_relaxed))
		return;
	atomic_store_explicit(&map->clients[slot].listens, 0, memory_order_seq_cst);
	if (anyone_listens(map))
		return;
	atomic_store_explicit(&map->head->listening, 0, memory_order_seq_cst); /* [listen: drop] */
	if (!anyone_listens(map))
		return;
	/* It has come in between: who had something to tell meanwhile told nobody. */
	atomic_store_explicit(&map->head->listening, 1, memory_order_seq_cst);
	kvs_wait_ring(map);
}
