/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * messages.h: messages between nodes as tests have them: made at random, of every type; damaged; and read and written
 * again.
 */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "message.h"

/* Random numbers: each call changes the stream. */
uint64_t messages_random(uint64_t *stream);
uint32_t messages_below(uint64_t *stream, uint32_t limit);

/* A good message of that type, with every field at random, often at the edge of what it may be. */
void messages_make(uint64_t *stream, enum kvr_type type, struct kvr_out *out);

/* Damages a message: flips bits, changes numbers, cuts, repeats; often what it says of its length is put right again,
 * so that all of it is read. Its size stays within KVR_MESSAGE_MAX. */
void messages_damage(uint64_t *stream, uint8_t *bytes, size_t *size);

/* Takes all of a message that was read, looks at every byte that it points to, and writes it again. */
void messages_rewrite(struct kvr_message *message, struct kvr_out *out);

#endif
