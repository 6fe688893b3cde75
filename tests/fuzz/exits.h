/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * exits.h: calls code that may end the program, and comes back all the same. Who uses it is linked with --wrap=exit.
 */
#ifndef EXITS_H
#define EXITS_H

#include <stdbool.h>

/* Calls fn(arg). True: it returned. False: it called exit(*status): what it had allocated until then is lost, so it
 * should have nothing. */
bool exits_catch(void (*fn)(void *arg), void *arg, int *status);

#endif
