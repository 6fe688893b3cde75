/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_owner.h: the owner of a replay's own store in GPU memory: a process of its own, since one that has made GPU
 * memory can't fork processes that use it. It gives the memory to engines that attach, and ends when the replay asks
 * for that, or has ended.
 */
#ifndef REPLAY_OWNER_H
#define REPLAY_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

#include "kvshm.h"

struct replay_owner {
	pid_t pid;
	int end; /* closed: it is to end */
};

/* Returns when the store is there. False, with a message: it could not be made. */
bool replay_owner_start(const char *name, const struct kvshm_create_options *options, struct replay_owner *owner);

/* Has the store destroyed. False, with a message: its owner did not end well. */
bool replay_owner_end(const struct replay_owner *owner);

#endif /* REPLAY_OWNER_H */
