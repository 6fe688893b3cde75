/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * wait.h: sleeping on a block's word, and waking those who do. Deadlines are absolute CLOCK_MONOTONIC times in ns.
 */
#ifndef KVS_WAIT_H
#define KVS_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define KVS_WAIT_SLICE UINT64_C(10000000) /* ns: at least this often a waiter looks whether the filler lives */

uint64_t kvs_now(void);

/* Sleeps until the block's word differs from the one given, somebody wakes, or until the time; or less. False if there
 * is no memory behind the word any more: the segment was truncated. */
bool kvs_wait_word(struct kvs_block *block, uint64_t word, uint64_t until);

/* Wakes all who wait for the block. A publisher may die between its CAS and this call: hence the slices. */
void kvs_wait_wake(struct kvs_block *block);

#endif
