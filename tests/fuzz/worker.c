/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker.c: what a worker has in hand, and the step. See worker.h.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "worker.h"

unsigned worker_below(struct worker *w, unsigned limit)
{
	return base_below(&w->p->random, limit);
}

/* ---- Keys, holds, tickets, bytes -------------------------------------------------------------------------- */

struct kvshm_key worker_make_key(struct worker *w, unsigned number, unsigned char bytes[KVSHM_KEY_MAX])
{
	static const unsigned lengths[] = { 32, 36, 8, 1, 256, 33, 64, 32 };
	unsigned length = lengths[number % 8] < w->geometry.key_max ? lengths[number % 8] : w->geometry.key_max;

	memset(bytes, (int)number, length);
	if (length >= sizeof(number))
		memcpy(bytes, &number, sizeof(number));
	return (struct kvshm_key){ bytes, length };
}

struct kvshm_key worker_some_key(struct worker *w, unsigned at)
{
	return worker_make_key(w, worker_below(w, 2) ? worker_below(w, 24) : worker_below(w, LIVE_KEYS), w->keys[at]);
}

void worker_read_or_write(struct worker *w, const struct kvshm_handle *held, unsigned char *bytes)
{
	volatile unsigned char sum = 0;

	if (held->kind >= KVSHM_WRITER && held->kind != KVSHM_LENT) {
		memset(bytes, (int)held->block, w->geometry.block_size);
		return;
	}
	for (uint64_t i = 0; i < w->geometry.block_size; i += 64)
		sum = (unsigned char)(sum + bytes[i]);
	(void)(unsigned char)(sum + bytes[w->geometry.block_size - 1]);
}

void worker_touch_bytes(struct worker *w, const struct kvshm_handle *held)
{
	unsigned plane = worker_below(w, w->geometry.planes);
	void *bytes;

	live_begin(w->p, LIVE_address);
	if (live_end(w->p, LIVE_address, kvshm_address(w->store, held, plane, &bytes)) == 0)
		worker_read_or_write(w, held, bytes);
}

/* Handles that were set must be of a block that there is. */
static void check_handle(struct worker *w, const struct kvshm_handle *handle)
{
	if (handle->kind != KVSHM_NONE && (handle->block >= w->geometry.blocks || handle->kind > KVSHM_LENT))
		base_fail("a handle of block %u, kind %u: there are %u blocks", handle->block, handle->kind,
			  w->geometry.blocks);
}

struct kvshm_handle worker_some_handle(struct worker *w)
{
	struct kvshm_handle handle = { .kind = KVSHM_NONE };

	switch (worker_below(w, 16)) {
	case 0:
		handle = w->stale[worker_below(w, WORKER_STALE)];
		break;
	case 1:
		handle.life = base_random(&w->p->random);
		handle.block = worker_below(w, 2) ? worker_below(w, w->geometry.blocks) : worker_below(w, UINT32_MAX);
		handle.kind = (uint8_t)worker_below(w, 8);
		handle.plane = (uint8_t)worker_below(w, 40);
		handle.request = (uint16_t)(worker_below(w, 2) ? worker_below(w, 32) : worker_below(w, 65536));
		break;
	default:
		if (w->count)
			handle = w->holds[worker_below(w, w->count)];
	}
	return handle;
}

void worker_forget(struct worker *w, unsigned at)
{
	w->stale[w->released++ % WORKER_STALE] = w->holds[at];
	w->holds[at] = w->holds[--w->count];
}

/* Ends the hold in the way that its kind has; whatever is said to that, it is forgotten. */
void worker_let_go(struct worker *w, unsigned at)
{
	struct kvshm_handle handle = w->holds[at];

	worker_forget(w, at);
	switch (handle.kind) {
	case KVSHM_REF:
		live_begin(w->p, LIVE_release);
		(void)live_end(w->p, LIVE_release, kvshm_release(w->store, &handle));
		break;
	case KVSHM_PIN:
		live_begin(w->p, LIVE_unpin);
		(void)live_end(w->p, LIVE_unpin, kvshm_unpin(w->store, &handle));
		break;
	default:
		live_begin(w->p, LIVE_give_up);
		(void)live_end(w->p, LIVE_give_up, kvshm_give_up(w->store, &handle));
	}
}

void worker_keep(struct worker *w, const struct kvshm_handle *handle)
{
	check_handle(w, handle);
	if (handle->kind == KVSHM_LENT)
		w->stale[w->released++ % WORKER_STALE] = *handle;
	if (handle->kind == KVSHM_NONE || handle->kind == KVSHM_LENT)
		return;
	if (w->count == WORKER_HOLDS)
		worker_let_go(w, worker_below(w, w->count));
	w->holds[w->count++] = *handle;
}

struct kvshm_ticket *worker_some_ticket(struct worker *w, bool shared)
{
	struct kvshm_ticket *ticket = &w->p->stage->tickets[worker_below(w, shared ? LIVE_SHARED : LIVE_TICKETS)];

	if (worker_below(w, 256) == 0)
		ticket->bytes[worker_below(w, KVSHM_TICKET_SIZE)] = (uint8_t)worker_below(w, 256);
	return ticket;
}

void worker_describe(struct worker *w, struct kvshm_meta *meta)
{
	memset(meta, (int)worker_below(w, 256), sizeof(*meta));
	meta->length = worker_below(w, (unsigned)w->geometry.block_size + 1);
}

uint64_t worker_soon(struct worker *w)
{
	return worker_below(w, 2) ? 0 : base_now() + worker_below(w, 3000000);
}

/* ---- The step --------------------------------------------------------------------------------------------- */

/* What there is to do, and how often of about 14,000. */
static const struct {
	unsigned weight;
	int (*call)(struct worker *w);
} calls[] = {
	{ 1200, worker_call_get }, { 1700, worker_call_fill }, { 400, worker_call_fill_shared },
	{ 600, worker_call_publish }, { 150, worker_call_give_up }, { 300, worker_call_wait },
	{ 1500, worker_call_release }, { 250, worker_call_pin }, { 150, worker_call_unpin },
	{ 250, worker_call_remove }, { 200, worker_call_touch }, { 1, worker_call_clear }, { 200, worker_call_match },
	{ 200, worker_call_match_window }, { 250, worker_call_get_meta }, { 200, worker_call_address },
	{ 300, worker_call_alloc }, { 400, worker_call_publish_as }, { 250, worker_call_ticket },
	{ 300, worker_call_hold }, { 300, worker_call_join }, { 50, worker_call_geometry },
	{ 50, worker_call_plane_info }, { 20, worker_call_owner_info }, { 5, worker_call_register_plane },
	{ 20, worker_call_on_stream }, { 20, worker_call_copy }, { 5, worker_call_request_end_on },
	{ 100, worker_call_read }, { 100, worker_call_write }, { 100, worker_call_let_go },
	{ 30, worker_call_recover }, { 800, worker_call_batch }, { 500, worker_call_request_open },
	{ 150, worker_call_request_find }, { 150, worker_call_request_info }, { 250, worker_call_request_reserve },
	{ 150, worker_call_request_wait_room }, { 80, worker_call_request_unreserve },
	{ 400, worker_call_request_match }, { 200, worker_call_request_pin }, { 900, worker_call_request_fill },
	{ 300, worker_call_request_fill_many }, { 200, worker_call_request_release }, { 60, worker_call_request_keep },
	{ 400, worker_call_request_complete }, { 150, worker_call_request_settle }, { 150, worker_call_request_wait },
	{ 250, worker_call_request_claim }, { 350, worker_call_request_end }, { 60, worker_call_request_tend },
	{ 60, worker_call_poll },
};

static void step(struct worker *w)
{
	unsigned at, i = 0, all = 0;
	int rc;

	for (unsigned c = 0; c < sizeof(calls) / sizeof(calls[0]); c++)
		all += calls[c].weight;
	at = worker_below(w, all);
	while (at >= calls[i].weight)
		at -= calls[i++].weight;
	rc = calls[i].call(w);
	w->refused = rc == -ESTALE ? w->refused + 1 : 0;
	if (w->count > WORKER_HOLDS / 2)
		worker_let_go(w, worker_below(w, w->count));
}

static bool attach(struct worker *w)
{
	int rc;

	live_begin(w->p, LIVE_attach);
	rc = live_end(w->p, LIVE_attach, kvshm_attach(w->p->stage->name, NULL, &w->store));
	if (rc)
		return false;
	w->count = w->refused = w->opened = 0;
	memset(&w->geometry, 0, sizeof(w->geometry));
	live_begin(w->p, LIVE_get_geometry);
	rc = live_end(w->p, LIVE_get_geometry, kvshm_get_geometry(w->store, &w->geometry));
	return rc == 0;
}

static void detach(struct worker *w)
{
	while (w->count && worker_below(w, 4))
		worker_let_go(w, worker_below(w, w->count));
	live_begin(w->p, LIVE_detach);
	(void)live_end(w->p, LIVE_detach, kvshm_detach(w->store));
	w->store = NULL;
}

/* Works on one store, attaching now and then anew. */
static void work_on(struct worker *w, uint32_t round)
{
	while (atomic_load_explicit(&w->p->stage->round, memory_order_relaxed) == round) {
		unsigned steps = 20 + worker_below(w, 4000);

		bool good = attach(w);

		if (!good)
			base_rest(200000);
		while (good && steps-- && w->refused < 50 &&
		       atomic_load_explicit(&w->p->stage->round, memory_order_relaxed) == round)
			step(w);
		if (w->store)
			detach(w);
	}
}

void live_work(void *arg)
{
	struct worker w = { .p = arg };
	uint32_t round;

	live_explain_signals(w.p);
	while (live_round(w.p, &round))
		work_on(&w, round);
}
