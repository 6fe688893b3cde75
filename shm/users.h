/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * users.h: who has a store, for messages. The locks say that somebody has it, whatever version made it; they do not say
 * who. /proc does, as far as this process may look.
 */
#ifndef KVS_USERS_H
#define KVS_USERS_H

#include <stddef.h>

/* Writes who has locked bytes of the open segment, such as "owner: process 12 (kvshmd); clients: process 34 (engine)",
 * or that they can't be seen from here. */
void kvs_users(int file, char *text, size_t size);

/* The byte that a line of /proc/PID/fdinfo/N says is locked, such as "lock: 1: OFDLCK ADVISORY WRITE -1 00:1b:37 1024
 * 1024"; -1: it is no such line. */
long kvs_users_locked_byte(const char *line);

#endif
