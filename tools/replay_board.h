/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_board.h: the memory that the parent and the engines share: what is dealt next, when to stop, what was counted.
 * It is the replay's own book-keeping; the store knows nothing of it. An engine may be killed at any instruction: each
 * word is whole by itself, and a tally is whole because it is written beside the last one and then chosen by one store.
 */
#ifndef REPLAY_BOARD_H
#define REPLAY_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>

#include "replay.h"
#include "replay_handover.h"

/* One for each process; the one that is started in the place of a killed one goes on with it. */
struct replay_place {
	alignas(64) _Atomic uint32_t fills; /* that the process has open now, parts of fills too */
	_Atomic uint32_t holds;		    /* that it has now, fills included */
	_Atomic uint32_t current;	    /* which tally counts: 0 or 1 */
	struct replay_tally tally[2];
};

struct replay_board {
	_Atomic uint64_t next;	  /* the request to deal next, counted over all rounds */
	_Atomic uint64_t corrupt; /* blocks with bytes that did not belong to their key */
	_Atomic uint64_t missed;  /* hits of a scheduler that were none at one of its workers */
	_Atomic uint64_t unclaimable; /* blocks of a complete request that its decoder could not hold */
	atomic_bool stop;	  /* no new request begins, and nobody waits any longer */
	atomic_bool failed;	  /* an engine has said why it failed */
	struct replay_handover *handovers; /* of engine e, its place n: e * in_flight + n */
	struct replay_place places[];
};

/* [tally]: release, so that whoever reads `current` afterwards sees the tally that it chooses. */
static inline void replay_tally_store(struct replay_place *place, const struct replay_tally *tally)
{
	uint32_t other = !atomic_load_explicit(&place->current, memory_order_relaxed);

	place->tally[other] = *tally;
	atomic_store_explicit(&place->current, other, memory_order_release);
}

/* [tally]: acquire. The place's process has ended, or (for the progress line) may be writing the other one. */
static inline struct replay_tally replay_tally_load(const struct replay_place *place)
{
	return place->tally[atomic_load_explicit(&place->current, memory_order_acquire) & 1];
}

#endif /* REPLAY_BOARD_H */
