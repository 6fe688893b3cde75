/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wait.c: futexes on the low half of block words (futex(2); shared between processes, so without FUTEX_PRIVATE_FLAG).
 * Guarantees: no wake-up is lost but by the waker's death, since the kernel compares the half word with the one that
 * the waiter saw, and every change of the word changes that half.
 */
#include "config.h"

#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
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

bool kvs_wait_word(struct kvs_block *block, uint64_t word, uint64_t until)
{
	struct timespec time = {.tv_sec = (time_t)(until / SECOND), .tv_nsec = (long)(until % SECOND)};

	/* FUTEX_WAIT_BITSET takes an absolute time. Why else it returned does not matter: the caller looks again. */
	return syscall(SYS_futex, &block->word, FUTEX_WAIT_BITSET, (uint32_t)word, &time, NULL,
		       FUTEX_BITSET_MATCH_ANY) == 0 || errno != EFAULT;
}

void kvs_wait_wake(struct kvs_block *block)
{
	(void)syscall(SYS_futex, &block->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
