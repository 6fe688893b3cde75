/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * others.h: who works on the keys of a deed while its victim is stepped. Processes of their own, which can be frozen in
 * the middle of a call; and one client of this process's, which does a call when it is told to. They verify what they
 * read, let go of all that they take, and note how long their slowest call took.
 */
#ifndef OTHERS_H
#define OTHERS_H

#include "deeds.h"

#define OTHERS 2U /* processes */

struct others_note {
	_Alignas(64) _Atomic uint64_t calls;
	_Atomic uint64_t slowest; /* ns */
	_Atomic uint32_t slot;
};

struct others {
	struct load_books books;
	struct others_note notes[OTHERS + 1]; /* the last is the client of this process */
	struct kvshm_ticket tickets[TICKETS];
	const char *name;
	uint64_t random;
	pid_t pids[OTHERS];
	struct load_worker own;
	_Atomic bool stop;
};

/* Shared memory for them. */
struct others *others_new(void);

/* Starts them, and returns when all are at work. stage has the tickets that they use. */
void others_start(struct others *others, const char *name, const struct deeds_stage *stage, uint64_t random);

/* Their slots, a bit each. */
uint64_t others_slots(const struct others *others);

/* This process's client does one call. */
void others_call(struct others *others);

/* The processes stand wherever they are; and go on. */
void others_freeze(struct others *others);
void others_thaw(struct others *others);

/* They detach, and end. */
void others_end(struct others *others);

#endif
