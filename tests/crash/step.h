/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * step.h: a child that runs one instruction at a time (ptrace), so that it can die, or stand still, after any of them.
 * Both run on one processor, where a step costs a third of what it does across two.
 */
#ifndef STEP_H
#define STEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Shared with the child, which says where it is. */
enum step_place { STEP_BEFORE, STEP_INSIDE, STEP_AFTER };

struct step {
	_Atomic int place;
	pid_t pid;
	uint64_t count; /* instructions done inside */
};

/* Is stepping possible here? Emulators have no ptrace. */
bool step_possible(void);

/* What the child does around the operation: it stands still at step_enter() until it is stepped. */
void step_enter(struct step *step);
void step_leave(struct step *step);

/* Starts the child, and returns when it is about to enter. */
void step_start(struct step *step, void (*body)(void *), void *arg);

/* One instruction. False: the operation is over, and the child has stopped behind it. */
bool step_one(struct step *step);

/* So many instructions at most; false as above. */
bool step_many(struct step *step, uint64_t count);

/* Where the child is: an address of the program, as addr2line(1) takes it, or of a library. */
void step_where(const struct step *step, char text[128]);

/* Kills it where it is, and reaps it. */
void step_kill(struct step *step);

/* Lets it finish the operation by itself. It stops behind it. */
void step_finish(struct step *step);

#endif
