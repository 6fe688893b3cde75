/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * want.h: what is wanted of the other side; see want.c.
 */
#ifndef KVR_WANT_H
#define KVR_WANT_H

#include "transfer.h"

/* want: attempt, room and id. Each key can be some store's. */
int kvr_wish_start(struct kvr_peer *peer, struct kvshm_peer *owner, const struct kvr_want *want,
		   const struct kvshm_key *keys, size_t count, void *user, struct kvshm_transfer **transfer);
void kvr_wish_abort(struct kvshm_transfer *transfer);

#endif
