/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target.h: what the targets share. A target is a program for libFuzzer: it takes any bytes, and must come back,
 * without a fault that a sanitizer sees or a target_must() that does not hold, and without leaving anything. Built
 * without libFuzzer it takes the bytes of files (replay_main.c).
 */
#ifndef TARGET_H
#define TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Once, before the first input. A target may be without it. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* One input; always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must be true, whatever the input is. */
#define target_must(condition) ((condition) ? (void)0 : target_fault(#condition, __FILE__, __LINE__))
void target_fault(const char *what, const char *file, int line) __attribute__((noreturn));

/* Makes a file in memory, and writes into path how it is opened. Ends the program if that fails. */
#define TARGET_PATH 32
int target_file(char path[static TARGET_PATH]);

/* Sets a file's bytes. */
void target_fill(int file, const void *data, size_t size);

/* A copy of some bytes as a string, which ends at the first 0 of them or behind the last; free() it. */
char *target_text(const uint8_t *data, size_t size);

#endif
