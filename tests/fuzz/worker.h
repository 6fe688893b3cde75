/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker.h: a process that makes every call on a damaged store, with handles and tickets that get stale, and some that
 * never were any. What a call answers is only counted, as long as it is an answer; but what it gives must be within the
 * store: handles of blocks that there are, bytes that can be written and read, lengths of a block at most. worker.c has
 * what it has in hand, and the step; worker_calls.c the single calls, worker_streams.c those on streams, worker_many.c
 * matches and batches, worker_requests.c requests, and waiting by a descriptor.
 */
#ifndef WORKER_H
#define WORKER_H

#include "live.h"

#define WORKER_HOLDS 16U
#define WORKER_STALE 16U
#define WORKER_REQUESTS 4U
#define WORKER_BYTES 600U  /* that are read and written, at most */
#define WORKER_MATCHED 24U /* keys of a match, and at least as many as of a batch */

struct worker {
	struct live_process *p;
	kvshm_store *store;
	unsigned count;
	struct kvshm_handle holds[WORKER_HOLDS];
	struct kvshm_handle stale[WORKER_STALE];
	unsigned released;
	struct kvshm_request requests[WORKER_REQUESTS]; /* that it has opened, perhaps ended */
	unsigned opened;
	struct kvshm_geometry geometry; /* as it was at attach, perhaps another one than the store was made with */
	unsigned refused; /* calls in a row that said -ESTALE */
	unsigned char keys[WORKER_MATCHED][KVSHM_KEY_MAX];
};

/* ---- What it has in hand: worker.c ---- */

unsigned worker_below(struct worker *w, unsigned limit);
struct kvshm_key worker_make_key(struct worker *w, unsigned number, unsigned char bytes[KVSHM_KEY_MAX]);

/* Few are asked for often, and many now and then. */
struct kvshm_key worker_some_key(struct worker *w, unsigned at);

/* Writes a held block's bytes in one plane, if that is its hold's right, or reads them. */
void worker_read_or_write(struct worker *w, const struct kvshm_handle *held, unsigned char *bytes);
void worker_touch_bytes(struct worker *w, const struct kvshm_handle *held);

/* One that is perhaps no hold any more; now and then one that never was. */
struct kvshm_handle worker_some_handle(struct worker *w);

/* Puts a hold that a call gave into the list (one that was lent: among the stale ones, since nobody gives it back);
 * takes one out, to be used stale; ends it in the way that its kind has. */
void worker_keep(struct worker *w, const struct kvshm_handle *handle);
void worker_forget(struct worker *w, unsigned at);
void worker_let_go(struct worker *w, unsigned at);

/* shared: most likely of a shared fill. */
struct kvshm_ticket *worker_some_ticket(struct worker *w, bool shared);

void worker_describe(struct worker *w, struct kvshm_meta *meta);

/* A deadline. */
uint64_t worker_soon(struct worker *w);

/* ---- Calls, each with what it needs; their results ---- */

int worker_call_get(struct worker *w);
int worker_call_fill(struct worker *w);
int worker_call_fill_shared(struct worker *w);
int worker_call_publish(struct worker *w);
int worker_call_give_up(struct worker *w);
int worker_call_wait(struct worker *w);
int worker_call_release(struct worker *w);
int worker_call_pin(struct worker *w);
int worker_call_unpin(struct worker *w);
int worker_call_let_go(struct worker *w);
int worker_call_remove(struct worker *w);
int worker_call_touch(struct worker *w);
int worker_call_clear(struct worker *w);
int worker_call_get_meta(struct worker *w);
int worker_call_address(struct worker *w);
int worker_call_read(struct worker *w);
int worker_call_write(struct worker *w);
int worker_call_alloc(struct worker *w);
int worker_call_publish_as(struct worker *w);
int worker_call_ticket(struct worker *w);
int worker_call_hold(struct worker *w);
int worker_call_join(struct worker *w);
int worker_call_geometry(struct worker *w);
int worker_call_plane_info(struct worker *w);
int worker_call_owner_info(struct worker *w);
int worker_call_register_plane(struct worker *w);
int worker_call_recover(struct worker *w);
int worker_call_on_stream(struct worker *w);
int worker_call_copy(struct worker *w);
int worker_call_match(struct worker *w);
int worker_call_match_window(struct worker *w);
int worker_call_batch(struct worker *w);
int worker_call_request_open(struct worker *w);
int worker_call_request_find(struct worker *w);
int worker_call_request_reserve(struct worker *w);
int worker_call_request_wait_room(struct worker *w);
int worker_call_request_unreserve(struct worker *w);
int worker_call_request_match(struct worker *w);
int worker_call_request_pin(struct worker *w);
int worker_call_request_fill(struct worker *w);
int worker_call_request_fill_many(struct worker *w);
int worker_call_request_release(struct worker *w);
int worker_call_request_keep(struct worker *w);
int worker_call_request_complete(struct worker *w);
int worker_call_request_settle(struct worker *w);
int worker_call_request_wait(struct worker *w);
int worker_call_request_claim(struct worker *w);
int worker_call_request_end(struct worker *w);
int worker_call_request_end_on(struct worker *w);
int worker_call_request_tend(struct worker *w);
int worker_call_request_info(struct worker *w);
int worker_call_poll(struct worker *w);

#endif
