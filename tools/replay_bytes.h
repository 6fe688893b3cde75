/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_bytes.h: the keys that kvshm-replay asks for, and the bytes that belong under them. Both follow from a hash id
 * and a round alone, so every engine can tell whether another has written what it should.
 */
#ifndef REPLAY_BYTES_H
#define REPLAY_BYTES_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_KEY_SIZE 32

void replay_key(uint64_t id, uint64_t round, uint8_t key[static REPLAY_KEY_SIZE]);

/* Writes a block's bytes in one plane, and compares them. size is a multiple of KVSHM_BLOCK_UNIT. */
void replay_write(void *bytes, uint64_t size, const uint8_t key[static REPLAY_KEY_SIZE], unsigned plane);
bool replay_intact(const void *bytes, uint64_t size, const uint8_t key[static REPLAY_KEY_SIZE], unsigned plane);

#endif /* REPLAY_BYTES_H */
