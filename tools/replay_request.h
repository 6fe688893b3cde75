/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_request.h: a request of the store's as its owner has it, from its opening to its end: what engines with and
 * without workers have in common. Its id is the replay's name and the request's number, and its piece where it is
 * replayed in pieces; an attempt that had to give way is followed by another of the same id.
 *
 * It is in the hands of its owner and of a decoder (replay_handover.h). Some are aborted, at a point that is drawn when
 * they are opened, by either of the two. A point that does not come (nobody had to wait in line, there was nothing to
 * fill) is made up for at the next one.
 */
#ifndef REPLAY_REQUEST_H
#define REPLAY_REQUEST_H

#include "replay_client.h"

/* In the order in which a request comes by them. */
enum abort_point {
	ABORT_MATCHED,
	ABORT_IN_LINE,
	ABORT_RESERVED,
	ABORT_FILLING,	/* about half of its fills are published */
	ABORT_COMPLETE,
	ABORT_CLAIMED,	/* the decoder is at it */
	ABORT_NEVER,
};

struct stored {
	struct kvshm_request request;
	struct replay_handover *handover;
	enum abort_point point;
	bool by_decoder; /* the abort */
	bool open;	 /* this process opened it, and has not let go of it */
	bool aborted;	 /* by it */
	uint64_t queued; /* since when it is in line; 0: it is not */
};

/* How long a reservation waits in line before this attempt is given up; and how long it keeps the prefix that was
 * matched: what two hold may be the room that both wait for. */
#define REQUEST_ROOM_DEADLINE (1000 * REPLAY_MS)
#define REQUEST_HOLD_IN_LINE (50 * REPLAY_MS)

/* Opens a request of so many of its ids, in a place that is free, and tells the decoder. It has said what is wrong. */
int request_open(struct client *client, struct stored *stored, const struct dealt *dealt, size_t first, size_t count,
		 uint32_t attempt);

/* How many different ones these are. A request holds a block once. -ENOMEM, and it was said. */
int request_count_blocks(const struct client *client, const uint64_t *ids, size_t count, uint32_t *blocks);

/* Asks for room, or for a place in line (-EINPROGRESS; then request_look_for_room() looks).   -ETIMEDOUT  there is none
 * by the deadline     -ECANCELED  the request was aborted     else: it has said what is wrong */
int request_reserve(struct client *client, struct stored *stored, uint32_t blocks);
int request_look_for_room(struct client *client, struct stored *stored);

/* Leaves the line, and lets go of what is held, so that another may go before. */
int request_give_way(struct client *client, struct stored *stored, struct kvshm_handle *lent, size_t count);

/* The request is at a point: it may be the one where it is aborted. -ECANCELED: it was; or another has ended it, if
 * stored->aborted is not set. */
int request_reach(struct client *client, struct stored *stored, enum abort_point point);

/* The owner's look at it. -ECANCELED: its end was asked for; it holds nothing any more. */
int request_look(const struct client *client, const struct stored *stored);

/* Says that a request is complete.   as kvshm_request_complete(); what can't be, it has said */
int request_complete(struct client *client, struct stored *stored, uint64_t deadline);

/* The owner's end, however often. */
int request_end(struct client *client, struct stored *stored);

/* Takes a request back that was not claimed, to try again. False: the decoder has it, to abort it. */
bool request_take_back(const struct stored *stored);

/* The decoder is to let go of it, as soon as it has read it. */
void request_is_due(const struct client *client, const struct stored *stored);

/* Has the decoder, or the claim timeout, brought it to its end? *state is HANDOVER_DONE or HANDOVER_GONE then, and the
 * place is free from here on; else it is what the place is. */
int request_settle(struct client *client, struct stored *stored, enum handover_state *state);

#endif /* REPLAY_REQUEST_H */
