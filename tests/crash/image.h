/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * image.h: a store as it is at one moment, and a second store that is made like it. Locks are no part of an image: so
 * in the copy every client is dead, as if its process had been killed at that moment, but for those whose bytes the
 * test locks in their place. What a recoverer makes of the copy is what it would have made of the store.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <kvshm.h>

#include "layout.h"
#include "map.h"

/* A store, mapped by the test to look at it. */
struct image_store {
	const char *name;
	struct kvs_map map; /* takes no slot */
	int locks;	    /* an open description of the segment, for image_let_live() */
};

void image_open(const char *name, struct image_store *store);
void image_close(struct image_store *store);

/* What is copied of it: everything but the rows' ends, which are padding. */
struct image {
	uint64_t size;
	char *bytes;
};

void image_new(const struct image_store *store, struct image *image);
void image_free(struct image *image);

/* Takes the store as it is now; returns whether it differs from what the image was. */
bool image_take(const struct image_store *store, struct image *image);

/* It is of no store any more: the next that is taken differs. */
void image_forget(struct image *image);

/* Makes another store, of the same geometry, as the image says; its planes as the first store's are now. */
void image_put(const struct image *image, const struct image_store *from, struct image_store *to);

/* The clients whose bits are set are alive, in their own name; the others' locks fall. */
void image_let_live(struct image_store *store, uint64_t slots);

/* A client's slot in an image, to be changed. */
struct kvs_client *image_client(struct image *image, const struct kvs_geometry *g, uint32_t slot);

/* Words of an image. */
uint64_t image_word(const struct image *image, const struct kvs_geometry *g, uint32_t block);
uint64_t image_life(const struct image *image, const struct kvs_geometry *g, uint32_t block);
uint64_t image_request(const struct image *image, const struct kvs_geometry *g, uint32_t slot);
uint64_t image_place(const struct image *image, const struct kvs_geometry *g, uint32_t slot);
uint64_t image_entry(const struct image *image, const struct kvs_geometry *g, uint32_t slot, uint32_t block);

#endif
