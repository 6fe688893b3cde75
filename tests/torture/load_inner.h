/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * load_inner.h: what the files of the load share. Calls that return bool return false if the store was destroyed.
 */
#ifndef LOAD_INNER_H
#define LOAD_INNER_H

#include "load.h"

#define LOAD_PREFIX 4U /* keys of a match or a batch */

/* ---- Books: load_holds.c ---- */

void load_note(struct load_worker *w, enum load_event event);
void load_violated(const struct load_worker *w, _Atomic uint64_t *counter, const char *what,
		   const struct load_hold *hold);
void load_wrong(const struct load_worker *w, const char *what, int rc, unsigned key);

/* How many clears have returned: before a lookup; and after it, what the hold that it gave has of that. */
uint64_t load_before(const struct load_worker *w);
void load_after(const struct load_worker *w, uint64_t before, struct load_hold *hold);

/* May a clear have taken its step since the hold was taken? Must one have? */
bool load_cleared_since(const struct load_worker *w, const struct load_hold *hold);
bool load_surely_cleared_since(const struct load_worker *w, const struct load_hold *hold);

/* A fill of a key begins (is anyone else at it, or has it ready?). It ends, if it has not, before the call that ends
 * it; a shared one's when what came of it is known, and before its filler lets go of it. */
void load_fill_begins(struct load_worker *w, struct load_hold *hold);
void load_fill_ends(struct load_worker *w, struct load_hold *hold);

/* Counts one more, or less, who holds a key ready. */
void load_count_holder(struct load_worker *w, const struct load_hold *hold, int n);

/* A lookup found nothing: does this worker hold the key, ready, and so that no clear explains it? */
void load_missed(struct load_worker *w, uint64_t before, unsigned key);

/* ---- Holds: load_holds.c ---- */

/* Releases a hold that is in no list. */
bool load_let_go(struct load_worker *w, struct load_hold *hold);

/* Puts a hold of a block that is ready into the list; load_step() has made room in it. */
void load_take(struct load_worker *w, struct load_hold *hold);

/* The same, looks at its bytes, and keeps it for a while, or not. */
bool load_keep(struct load_worker *w, struct load_hold *hold);

/* Lets go of one of the list, after another look at its bytes. */
bool load_drop(struct load_worker *w, unsigned at);
bool load_drop_some(struct load_worker *w);

bool load_pin(struct load_worker *w);
bool load_try_stale(struct load_worker *w);

/* ---- Fills: load_fills.c ---- */

/* Waits for a block that another fills. */
bool load_pending(struct load_worker *w, struct load_hold *hold);

/* Fills a block of the worker's at once. */
bool load_fill(struct load_worker *w, struct load_hold *hold);

/* Begins a fill whose planes others may write; the fill was given by a shared get-or-fill. */
bool load_fill_shared(struct load_worker *w, struct load_hold *hold);

/* Takes a block without a key, which is to get that one. */
bool load_alloc(struct load_worker *w, unsigned key);

/* Joins a fill as the writer of a plane; one whose block was ready (not shared) can't be joined. */
bool load_join(struct load_worker *w, const struct kvshm_ticket *ticket, unsigned key, bool shared, unsigned plane);

/* Goes on with something that is open, if there is anything; ends all of it. */
bool load_go_on(struct load_worker *w);
bool load_close(struct load_worker *w);

/* ---- Tickets: load_tickets.c ---- */

/* Posts the ticket of a hold; as long as that is held, nobody may be refused. */
bool load_post(struct load_worker *w, struct load_hold *hold, bool shared, struct kvshm_ticket *ticket);
void load_unpost(struct load_worker *w, struct load_hold *hold);

/* Takes any ticket, and holds its block, or joins its fill. */
bool load_use_ticket(struct load_worker *w);

/* ---- Matches and batches: load_batch.c ---- */

bool load_match(struct load_worker *w, unsigned first);
bool load_match_window(struct load_worker *w, unsigned first);
bool load_batch(struct load_worker *w, unsigned first);
bool load_batch_of_owned(struct load_worker *w, unsigned first);
bool load_batch_of_keys(struct load_worker *w, unsigned first); /* the first may be removed */

/* ---- Requests: load_requests.c ---- */

/* Goes on with the worker's request, or opens one; uses another's; ends the worker's. */
bool load_request(struct load_worker *w, unsigned key);
bool load_use_request(struct load_worker *w, unsigned key);
bool load_end_request(struct load_worker *w);

#endif
