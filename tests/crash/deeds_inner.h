/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * deeds_inner.h: what a deed's preparations are made of. Each adds to the victim's holds, in order.
 */
#ifndef DEEDS_INNER_H
#define DEEDS_INNER_H

#include "deeds.h"

struct kvshm_key deeds_key(unsigned number);

/* The deed may change what the key is. Fills, and joining one, say so by themselves. */
void deeds_about(struct deeds_victim *victim, unsigned number);

void deeds_take(struct deeds_victim *victim, unsigned number);		     /* a ref */
void deeds_begin(struct deeds_victim *victim, unsigned number, bool shared); /* a fill */
void deeds_write(struct deeds_victim *victim, unsigned number);	     /* a fill whose bytes are written */
void deeds_fill(struct deeds_victim *victim, unsigned number);	     /* a ref of what it has filled */
void deeds_alloc(struct deeds_victim *victim, unsigned number);	     /* a block without a key, written for that one */
void deeds_join(struct deeds_victim *victim);				     /* the part of plane 1 of key 3 */
void deeds_remove(struct deeds_victim *victim, unsigned number);
void deeds_make_full(struct deeds_victim *victim, bool hold); /* no block is idle any more */

#endif
