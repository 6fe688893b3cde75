/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_handover.h: how an engine tells its decoder of the requests that it has in flight: a place on the board for
 * each, as a router tells both of a request's id. What becomes of the request, the decoder learns from the store.
 *
 * A place is the engine's while it is free, done or gone; it is the decoder's while it is taken; while it is open both
 * may take it, the engine back. Its word changes by compare-and-swap from the exact word, and each use of the place has
 * a turn of its own in it: so what one has read of a place that is another's by now comes to nothing. Either process
 * may be killed at any instruction: the one that is started in its stead goes on with the places as they are.
 */
#ifndef REPLAY_HANDOVER_H
#define REPLAY_HANDOVER_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum handover_state {
	HANDOVER_FREE,	/* no request is here */
	HANDOVER_OPEN,	/* the request is open: the decoder waits for it */
	HANDOVER_TAKEN, /* the decoder claims it, and reads it until it is due; or aborts it */
	HANDOVER_DONE,	/* the decoder has read it whole, and let go of it */
	HANDOVER_GONE,	/* it has ended in another way */
};

/* What the decoder is to do besides. */
enum handover_wish {
	WISH_NONE,
	WISH_ABORT,	     /* abort it now */
	WISH_ABORT_COMPLETE, /* abort it when it is complete, without claiming it */
	WISH_ABORT_CLAIMED,  /* abort it in the middle of the claims */
};

#define HANDOVER_TURN UINT64_C(8) /* words of one turn */

struct replay_handover {
	alignas(64) _Atomic uint64_t word;
	_Atomic uint64_t number; /* of the request, among all that were dealt */
	_Atomic uint64_t first, count; /* the piece of it */
	_Atomic uint32_t wish;
	atomic_bool due; /* the decoder is to end it, and to let go of it */
};

static inline enum handover_state handover_state(uint64_t word)
{
	return (enum handover_state)(word % HANDOVER_TURN);
}

/* [handover] acquire: whoever sees a word sees what was written before it. */
static inline uint64_t handover_look(const struct replay_handover *handover)
{
	return atomic_load_explicit(&handover->word, memory_order_acquire);
}

/* [handover] Moves a place on from exactly that word; false: it is another by now. */
static inline bool handover_move(struct replay_handover *handover, uint64_t *word, enum handover_state state)
{
	uint64_t next = *word / HANDOVER_TURN * HANDOVER_TURN + state;

	if (!atomic_compare_exchange_strong_explicit(&handover->word, word, next, memory_order_acq_rel,
						     memory_order_acquire))
		return false;
	*word = next;
	return true;
}

#endif /* REPLAY_HANDOVER_H */
