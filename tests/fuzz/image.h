/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * image.h: the store that the attach target works on: a small one with something in every section, which is made once.
 * Each input damages it, and afterwards it is put back as it was. It lies in a directory of its own in /dev/shm, whose
 * name begins as those of other tests' stores do.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>

#include "kvshm.h"

#define IMAGE_NAME "image"

enum {
	IMAGE_BLOCKS = 16,
	IMAGE_BLOCK_SIZE = 512,
	IMAGE_PLANES = 2,
	IMAGE_CLIENTS = 3,
	IMAGE_REQUESTS = 4,
	IMAGE_KEYS = 9, /* keys 0 to 8 mean something to it: see image.c */
};

/* What is left of an input. Where nothing is left, 0 is taken. */
struct image_input {
	const uint8_t *next;
	size_t left;
};

uint8_t image_take(struct image_input *input);
uint16_t image_take_two(struct image_input *input);

/* Makes it. It goes when the program exits. */
void image_make(void);
const char *image_dir(void);

/* A key of 4 or (odd numbers) of 60 bytes; its length. */
size_t image_key(unsigned number, uint8_t key[KVSHM_KEY_MAX]);

/* What an input may do to it:
 *   patch    writes here and there: bytes, small numbers, what is elsewhere in the section, states and owners of words,
 *            single bits. All of input
 *   head     writes bytes over the head, from its beginning on. All of input
 *   reshape  a head that makes sense, of a store of another shape, on the bytes of this one
 *   cut      the file ends earlier. Nothing else may be done to it then */
void image_patch(struct image_input *input);
void image_head(struct image_input *input);
void image_reshape(uint16_t bits);
void image_cut(uint16_t bits);

/* Puts all back, the names too. */
void image_restore(void);

#endif
