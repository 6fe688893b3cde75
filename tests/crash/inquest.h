/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inquest.h: what must be true of a store after a death (D1, D2), looked at by one who comes then. The dead are
 * recovered by its attach, or before that by one who takes no slot. Then nothing of them is left; what the living hold
 * is as it was; every block is someone's, or to be had; each key is whole or absent, and only those that the operation
 * was about have changed; the checker finds nothing; and the store takes work at once.
 */
#ifndef INQUEST_H
#define INQUEST_H

#include "../torture/load.h"
#include "image.h"

#define INQUEST_KEYS 24U
#define INQUEST_FRESH 200U /* a key that nobody else asks for */

struct inquest {
	uint64_t living;     /* slots */
	uint64_t found;	     /* keys that must be found, */
	uint64_t pending;    /* and that must be seen being filled, but that */
	uint64_t may_change; /* these may be found, or filled, or absent. All others are absent */
	bool one_step;	     /* those that may change are all as they should be without that, or all absent */
	bool outside;	     /* one without a slot recovers them, as an owner does; else the attach */
	bool crowded;	     /* some of the living stand in the middle of calls */
};

/* Holds it. False, with why, if anything is not as it must be. */
bool inquest(const struct inquest *asked, struct image_store *store, const struct image *at_death, char why[256]);

/* What is found and pending in a store, when the dead of an image have been recovered. */
void inquest_keys(struct image_store *store, uint64_t *found, uint64_t *pending);

#endif
