/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * exits.c: the exit() of a target. See exits.h.
 */
#include "config.h"

#include "exits.h"

#include <setjmp.h>

static jmp_buf back;
static bool caught;
static int exit_status;

void __real_exit(int status) __attribute__((noreturn));
void __wrap_exit(int status) __attribute__((noreturn));

void __wrap_exit(int status)
{
	if (!caught)
		__real_exit(status);
	exit_status = status;
	longjmp(back, 1);
}

bool exits_catch(void (*fn)(void *arg), void *arg, int *status)
{
	volatile bool returned = false;

	caught = true;
	if (setjmp(back) == 0) {
		fn(arg);
		returned = true;
	}
	caught = false;
	if (!returned)
		*status = exit_status;
	return returned;
}
