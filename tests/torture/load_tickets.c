/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_tickets.c: tickets that travel. Workers post them in the books, over others of any age, and take any of them: a
 * hold by ticket gives the bytes of the key and the life that it was posted for, or is refused (R26). See load.h.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "load_inner.h"

enum { POSTED_READY = 1, POSTED_SHARED = 2 };

/* What is read of a posted ticket. */
struct seen {
	uint64_t ticket[2], about, token;
	uint64_t sum;
};
_Static_assert(sizeof(((struct seen *)0)->ticket) == KVSHM_TICKET_SIZE, "a ticket in words");

static uint64_t sum_of(const struct seen *s)
{
	uint64_t sum = s->token;

	for (unsigned i = 0; i < 3; i++) {
		sum ^= i < 2 ? s->ticket[i] : s->about;
		sum = base_random(&sum);
	}
	return sum;
}

static void put(_Atomic uint64_t *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

/* Half of them among the youngest, which are soon overwritten; the others stay until their turn comes. */
static unsigned any_slot(struct load_worker *w)
{
	return base_below(&w->random, base_below(&w->random, 2) ? LOAD_RECENT : LOAD_TICKETS);
}

bool load_post(struct load_worker *w, struct load_hold *hold, bool shared, struct kvshm_ticket *ticket)
{
	unsigned slot = any_slot(w);
	struct load_posted *posted = &w->books->posted[slot];
	struct seen s = { .about = hold->key | (uint64_t)(shared ? POSTED_SHARED : POSTED_READY) << 32 };
	int rc = kvshm_get_ticket(w->store, &hold->handle, ticket);

	if (rc == -ESTALE)
		return false;
	if (rc) {
		load_wrong(w, "ticket", rc, hold->key);
		return true;
	}
	load_unpost(w, hold);
	memcpy(s.ticket, ticket->bytes, sizeof(s.ticket));
	s.token = (w->id << 32) + ++w->posted;
	put(&posted->held, 0);
	put(&posted->ticket[0], s.ticket[0]);
	put(&posted->ticket[1], s.ticket[1]);
	put(&posted->about, s.about);
	put(&posted->token, s.token);
	put(&posted->sum, sum_of(&s));
	hold->token = s.token;
	hold->slot = slot;
	put(&posted->held, s.token);
	return true;
}

void load_unpost(struct load_worker *w, struct load_hold *hold)
{
	uint64_t token = hold->token;

	if (token)
		(void)atomic_compare_exchange_strong(&w->books->posted[hold->slot].held, &token, 0);
	hold->token = 0;
}

/* Takes a ref by ticket. The poster's hold was there before, and is there now: then it can't be refused. */
static bool hold_by(struct load_worker *w, struct load_posted *posted, const struct seen *s, bool held)
{
	struct load_hold hold = { .key = (unsigned)s->about };
	struct kvshm_ticket ticket;
	enum kvshm_outcome outcome;
	int rc;

	memcpy(ticket.bytes, s->ticket, sizeof(ticket.bytes));
	rc = kvshm_hold(w->store, &ticket, &outcome, &hold.handle);
	held = held && get(&posted->held) == s->token && s->about >> 32 == POSTED_READY && !w->books->kills;
	if (rc == -ESTALE)
		return false;
	if (held && (rc || outcome != KVSHM_READY))
		load_violated(w, &w->books->lost, "the ticket of a held block was refused", &hold);
	if (held)
		load_note(w, LOAD_TICKET_HELD);
	switch (rc) {
	case 0:
		load_note(w, LOAD_BY_TICKET);
		return outcome == KVSHM_READY ? load_keep(w, &hold) : load_pending(w, &hold);
	case -ENOENT:
		load_note(w, LOAD_TICKET_STALE);
		return true;
	case -ECANCELED:
		load_note(w, LOAD_TICKET_CANCELED);
		return true;
	default:
		load_wrong(w, "hold by ticket", rc, hold.key);
		return true;
	}
}

bool load_use_ticket(struct load_worker *w)
{
	struct load_posted *posted = &w->books->posted[any_slot(w)];
	uint64_t held = get(&posted->held);
	struct seen s = {
		.ticket = { get(&posted->ticket[0]), get(&posted->ticket[1]) },
		.about = get(&posted->about), .token = get(&posted->token), .sum = get(&posted->sum),
	};
	struct kvshm_ticket ticket;
	bool shared = s.about >> 32 == POSTED_SHARED;

	if (!s.token || s.sum != sum_of(&s))
		return true;
	if (!w->books->brief && base_below(&w->random, 8) > (shared ? 2 : 6)) {
		memcpy(ticket.bytes, s.ticket, sizeof(ticket.bytes));
		return load_join(w, &ticket, (unsigned)s.about, shared, base_below(&w->random, w->books->planes));
	}
	return hold_by(w, posted, &s, held == s.token);
}
