/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker_streams.c: what takes effect on a GPU's stream, here the default one. See worker.h. Without a driver all that
 * is refused before anything has changed; with one a process that is killed leaves what its streams had.
 */
#include "config.h"

#include <string.h>

#include "worker.h"

#define ITEMS 4U

/* Holds taken out of the list, for calls that end them; else stale ones, or none. */
static void take(struct worker *w, struct kvshm_handle handles[ITEMS], bool mine[ITEMS])
{
	for (unsigned i = 0; i < ITEMS; i++) {
		handles[i] = worker_some_handle(w);
		mine[i] = w->count && worker_below(w, 2);
		if (mine[i]) {
			unsigned at = worker_below(w, w->count);

			handles[i] = w->holds[at];
			worker_forget(w, at);
		}
	}
}

int worker_call_on_stream(struct worker *w)
{
	static const enum live_call calls[] = { LIVE_publish_on, LIVE_give_up_on, LIVE_release_on };
	enum live_call call = calls[worker_below(w, sizeof(calls) / sizeof(calls[0]))];
	struct kvshm_handle handles[ITEMS];
	struct kvshm_meta metas[ITEMS];
	int results[ITEMS];
	bool mine[ITEMS];
	int rc;

	take(w, handles, mine);
	for (unsigned i = 0; i < ITEMS; i++)
		worker_describe(w, &metas[i]);
	live_begin(w->p, call);
	if (call == LIVE_publish_on)
		rc = kvshm_publish_on(w->store, NULL, handles, worker_below(w, 2) ? metas : NULL, ITEMS, results);
	else if (call == LIVE_give_up_on)
		rc = kvshm_give_up_on(w->store, NULL, handles, ITEMS, results);
	else
		rc = kvshm_release_on(w->store, NULL, handles, ITEMS, results);
	rc = live_end(w->p, call, rc);
	for (unsigned i = 0; i < ITEMS; i++) {
		if (rc == 0)
			live_item(w->p, call, results[i]);
		if (mine[i])
			worker_keep(w, &handles[i]); /* if it has not ended */
	}
	return rc;
}

/* From and to the plane's own beginning, which a GPU reaches if it does the plane: it is registered then. */
int worker_call_copy(struct worker *w)
{
	enum live_call call = worker_below(w, 2) ? LIVE_copy_in : LIVE_copy_out;
	unsigned plane = worker_below(w, w->geometry.planes);
	struct kvshm_handle held[ITEMS];
	struct kvshm_piece pieces[ITEMS];
	struct kvshm_plane_info info;
	int rc;

	live_begin(w->p, LIVE_get_plane_info);
	rc = live_end(w->p, LIVE_get_plane_info, kvshm_get_plane_info(w->store, plane, &info));
	if (rc)
		return rc;
	for (unsigned i = 0; i < ITEMS; i++) {
		held[i] = worker_some_handle(w);
		pieces[i] = (struct kvshm_piece){ &held[i], worker_below(w, (unsigned)w->geometry.block_size),
						  info.address, worker_below(w, WORKER_BYTES) };
	}
	live_begin(w->p, call);
	if (call == LIVE_copy_in)
		return live_end(w->p, call, kvshm_copy_in(w->store, NULL, plane, pieces, ITEMS));
	return live_end(w->p, call, kvshm_copy_out(w->store, NULL, plane, pieces, ITEMS));
}
