/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_turns.h: the devices that are not there (verbs_fake.h) are for one thread at a time: of a test with a listener
 * (pair.h) one thread runs while the other waits. Its programs are linked with verbs_turns_ldflags.
 */
#ifndef VERBS_TURNS_H
#define VERBS_TURNS_H

/* The test's own turn begins, and ends: around all that it does. */
void turns_go_on(void);
void turns_rest(void);

#endif
