/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker_many.c: many keys, handles, tickets at once: matches and batches. See worker.h.
 */
#include "config.h"

#include <string.h>

#include "worker.h"

#define MANY 8U /* items of a batch */

static int match(struct worker *w, enum live_call call)
{
	unsigned first = worker_below(w, LIVE_KEYS - WORKER_MATCHED), window = 1 + worker_below(w, 4);
	struct kvshm_handle refs[WORKER_MATCHED];
	struct kvshm_key keys[WORKER_MATCHED];
	enum kvshm_next next;
	size_t ready = 0;
	int rc;

	memset(refs, 0, sizeof(refs));
	if (worker_below(w, 2))
		first = 0;
	for (unsigned i = 0; i < WORKER_MATCHED; i++)
		keys[i] = worker_make_key(w, first + i, w->keys[i]);
	live_begin(w->p, call);
	rc = live_end(w->p, call,
		      call == LIVE_match ? kvshm_match(w->store, keys, WORKER_MATCHED, refs, &ready, &next)
					 : kvshm_match_window(w->store, keys, WORKER_MATCHED, window, refs, &ready,
							      &next));
	base_check(ready <= WORKER_MATCHED);
	for (size_t i = 0; rc == 0 && i < ready; i++)
		worker_keep(w, &refs[i]);
	return rc;
}

int worker_call_match(struct worker *w)
{
	return match(w, LIVE_match);
}

int worker_call_match_window(struct worker *w)
{
	return match(w, LIVE_match_window);
}

/* What any batch works on. */
struct many {
	struct kvshm_key keys[MANY];
	struct kvshm_handle handles[MANY], set[MANY];
	struct kvshm_ticket tickets[MANY];
	struct kvshm_meta metas[MANY];
	enum kvshm_outcome outcomes[MANY];
	enum kvshm_published published[MANY];
	void *addresses[MANY];
	int results[MANY];
	bool mine[MANY]; /* the handle was taken out of the list of holds */
};

static void prepare(struct worker *w, struct many *m, enum live_call call)
{
	bool ends = call == LIVE_publish_batch || call == LIVE_publish_as_batch || call == LIVE_give_up_batch ||
		    call == LIVE_release_batch || call == LIVE_unpin_batch;

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < MANY; i++) {
		m->keys[i] = worker_some_key(w, i);
		m->tickets[i] = *worker_some_ticket(w, worker_below(w, 2));
		worker_describe(w, &m->metas[i]);
		m->handles[i] = worker_some_handle(w);
		m->mine[i] = ends && w->count && worker_below(w, 2);
		if (m->mine[i]) {
			unsigned at = worker_below(w, w->count);

			m->handles[i] = w->holds[at];
			worker_forget(w, at);
		}
	}
}

static int make_batch(struct worker *w, struct many *m, enum live_call call)
{
	kvshm_store *store = w->store;
	unsigned plane = worker_below(w, w->geometry.planes);
	int *results = m->results;

	switch (call) {
	case LIVE_get_batch:
		return kvshm_get_batch(store, m->keys, MANY, m->set, results);
	case LIVE_get_or_fill_batch:
		return kvshm_get_or_fill_batch(store, m->keys, MANY, m->outcomes, m->set, results);
	case LIVE_get_or_fill_shared_batch:
		return kvshm_get_or_fill_shared_batch(store, m->keys, MANY, m->outcomes, m->set, results);
	case LIVE_remove_batch:
		return kvshm_remove_batch(store, m->keys, MANY, results);
	case LIVE_touch_batch:
		return kvshm_touch_batch(store, m->keys, MANY, results);
	case LIVE_publish_batch:
		return kvshm_publish_batch(store, m->handles, NULL, MANY, results);
	case LIVE_publish_as_batch:
		return kvshm_publish_as_batch(store, m->handles, m->keys, m->metas, MANY, m->published, results);
	case LIVE_give_up_batch:
		return kvshm_give_up_batch(store, m->handles, MANY, results);
	case LIVE_wait_batch:
		return kvshm_wait_batch(store, m->handles, MANY, worker_soon(w), results);
	case LIVE_release_batch:
		return kvshm_release_batch(store, m->handles, MANY, results);
	case LIVE_pin_batch:
		return kvshm_pin_batch(store, m->handles, MANY, m->set, results);
	case LIVE_unpin_batch:
		return kvshm_unpin_batch(store, m->handles, MANY, results);
	case LIVE_get_meta_batch:
		return kvshm_get_meta_batch(store, m->handles, MANY, m->metas, results);
	case LIVE_address_batch:
		return kvshm_address_batch(store, m->handles, plane, MANY, m->addresses, results);
	case LIVE_alloc_batch:
		return kvshm_alloc_batch(store, MANY, m->set, results);
	case LIVE_get_ticket_batch:
		return kvshm_get_ticket_batch(store, m->handles, MANY, m->tickets, results);
	case LIVE_hold_batch:
		return kvshm_hold_batch(store, m->tickets, MANY, m->outcomes, m->set, results);
	default:
		return kvshm_join_batch(store, m->tickets, plane, MANY, m->set, results);
	}
}

int worker_call_batch(struct worker *w)
{
	static const enum live_call calls[] = {
		LIVE_get_batch, LIVE_get_or_fill_batch, LIVE_get_or_fill_shared_batch, LIVE_remove_batch,
		LIVE_touch_batch, LIVE_publish_batch, LIVE_publish_as_batch, LIVE_give_up_batch, LIVE_wait_batch,
		LIVE_release_batch, LIVE_pin_batch, LIVE_unpin_batch, LIVE_get_meta_batch, LIVE_address_batch,
		LIVE_alloc_batch, LIVE_get_ticket_batch, LIVE_hold_batch, LIVE_join_batch,
	};
	enum live_call call = calls[worker_below(w, sizeof(calls) / sizeof(calls[0]))];
	struct many m;
	int rc;

	prepare(w, &m, call);
	live_begin(w->p, call);
	rc = live_end(w->p, call, make_batch(w, &m, call));
	for (unsigned i = 0; rc == 0 && i < MANY; i++) {
		live_item(w->p, call, m.results[i]);
		worker_keep(w, &m.set[i]);
		if (m.mine[i])
			worker_keep(w, &m.handles[i]); /* if it has not ended */
		if (call == LIVE_address_batch && m.results[i] == 0)
			worker_read_or_write(w, &m.handles[i], m.addresses[i]);
		base_check(call != LIVE_get_meta_batch || m.results[i] || m.metas[i].length <= w->geometry.block_size);
	}
	return rc;
}
