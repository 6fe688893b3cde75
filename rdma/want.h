/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * want.h: what is wanted of the other side; see want.c.
 */
#ifndef KVR_WANT_H
#define KVR_WANT_H

#include "transfer.h"

/* want: total, attempt, room and id. The keys are in order. */
int kvr_wish_start(struct kvr_peer *peer, struct kvshm_peer *owner, const struct kvr_want *want,
		   const struct kvshm_key *keys, void *user, struct kvshm_transfer **transfer);
void kvr_wish_abort(struct kvshm_transfer *transfer);

#endif
