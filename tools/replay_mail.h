/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_mail.h: the letters between the scheduler of an engine and its workers, as real engines send messages between
 * their processes. The store knows nothing of them: a ticket travels as 16 bytes.
 *
 * Each scheduler has a pair of connected sockets with each worker (SOCK_SEQPACKET), made before any process is forked,
 * and every process has all of them. The kernel takes a letter whole or not at all, so a death at any instruction
 * leaves no half letter, and letters outlive who wrote them and who should have read them. So that nobody acts on what
 * was meant for a dead one, a letter names the lives of both processes: its reader drops one that is for, or from,
 * another life than it knows. Who begins says HELLO, the only letter that is read unseen:
 *
 *   - a worker tells its own life. What its scheduler had asked of the one before, and was not answered, it asks again.
 *   - a scheduler tells its own life to each worker. The worker drops all that it had for the one before, and says
 *     HELLO itself. Only then is it asked for anything.
 *
 * A process is started only after the one before at its place is dead, so letters of the two never mix.
 *
 * Who takes requests and its decoder have such a pair, too, and only ring by it: what there is to say stands on the
 * board (replay_handover.h).
 *
 * Nobody sleeps in a write while the other does: a scheduler never sleeps for room in a socket but for letters too, and
 * remembers what is still to be sent by what it wants, not as letters. The parent hangs up (replay_mail_hang_up) on the
 * workers of a scheduler that has ended, and on everyone when the replay fails: they find the end of the stream.
 */
#ifndef REPLAY_MAIL_H
#define REPLAY_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvshm.h"

enum letter_kind {
	LETTER_HELLO, /* both ways: nothing else but the lives; 0 for one that is not known */
	LETTER_HOLD,  /* hold these blocks, compare them once they are ready; answered with results */
	LETTER_FILL,  /* write your plane of these blocks; the same */
	LETTER_END,   /* let go of all blocks of the slot; answered when that is done */
};

enum letter_result {
	RESULT_NONE,
	RESULT_WRITTEN,	 /* the plane's part of the fill is published */
	RESULT_READ,	 /* it was ready, and compared */
	RESULT_CANCELED, /* its fill came to nothing */
	RESULT_STALE,	 /* the ticket was refused */
};

struct letter_item {
	struct kvshm_ticket ticket;
	uint64_t id;	   /* as in the trace */
	uint32_t position; /* in the slot */
	uint32_t result;   /* enum letter_result */
};

enum { LETTER_ITEMS = 64 };

/* An answer has the kind of what it answers. */
struct letter {
	uint32_t scheduler, worker; /* lives */
	uint32_t kind;
	uint32_t slot;	/* the request, by its place among those in flight */
	uint64_t round; /* of the trace */
	uint64_t count; /* of items */
	struct letter_item items[LETTER_ITEMS];
};

enum { MAIL_SCHEDULER, MAIL_WORKER };

struct replay_mail {
	int (*pairs)[2]; /* the scheduler's end, the worker's */
	size_t count;
};

/* Makes so many pairs. False, with a message: it could not. */
bool replay_mail_open(struct replay_mail *mail, size_t count);
void replay_mail_close(struct replay_mail *mail);

/* Both ends of these pairs read all that was sent, and then the end. */
void replay_mail_hang_up(const struct replay_mail *mail, size_t first, size_t count);

/* Neither sleeps.   -EAGAIN  no room, no letter     -EPIPE  the parent has hung up */
int replay_mail_send(int end, const struct letter *letter);
int replay_mail_receive(int end, struct letter *letter);

#endif /* REPLAY_MAIL_H */
