/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * machine.h: what the kernel says of the machine, in its text files: a number by its file, or by its file and name; a
 * list of numbers.
 */
#ifndef KVS_MACHINE_H
#define KVS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* A file's one number. False if there is none. */
bool kvs_machine_number(const char *path, uint64_t *number);

/* The number behind a word, as in "MemFree: 123 kB", "Node 0 MemFree: 123 kB" or "inactive_file 123". False if no line
 * has that word. */
bool kvs_machine_field(const char *path, const char *word, uint64_t *number);

/* Is the number in a list such as "0-1,3"? */
bool kvs_machine_in_list(const char *list, unsigned long number);

#endif
