/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * worker_calls.c: the single calls. See worker.h.
 */
#include "config.h"

#include <string.h>

#include "worker.h"

int worker_call_get(struct worker *w)
{
	struct kvshm_key key = worker_some_key(w, 0);
	struct kvshm_handle ref;
	int rc;

	live_begin(w->p, LIVE_get);
	rc = live_end(w->p, LIVE_get, kvshm_get(w->store, key.bytes, key.length, &ref));
	if (rc == 0) {
		worker_keep(w, &ref);
		worker_touch_bytes(w, &ref);
	}
	return rc;
}

int worker_call_fill(struct worker *w)
{
	struct kvshm_key key = worker_some_key(w, 0);
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int rc;

	live_begin(w->p, LIVE_get_or_fill);
	rc = live_end(w->p, LIVE_get_or_fill, kvshm_get_or_fill(w->store, key.bytes, key.length, &outcome, &handle));
	if (rc)
		return rc;
	if (outcome == KVSHM_FILL && worker_below(w, 4)) {
		struct kvshm_meta meta;

		worker_touch_bytes(w, &handle);
		worker_describe(w, &meta);
		live_begin(w->p, LIVE_publish);
		(void)live_end(w->p, LIVE_publish, kvshm_publish(w->store, &handle, worker_below(w, 2) ? &meta : NULL));
	}
	worker_keep(w, &handle);
	if (outcome == KVSHM_PENDING && worker_below(w, 2)) {
		live_begin(w->p, LIVE_wait);
		(void)live_end(w->p, LIVE_wait, kvshm_wait(w->store, &handle, worker_soon(w)));
	}
	return 0;
}

int worker_call_fill_shared(struct worker *w)
{
	struct kvshm_key key = worker_some_key(w, 0);
	struct kvshm_handle handle;
	enum kvshm_outcome outcome;
	int rc;

	live_begin(w->p, LIVE_get_or_fill_shared);
	rc = live_end(w->p, LIVE_get_or_fill_shared,
		      kvshm_get_or_fill_shared(w->store, key.bytes, key.length, &outcome, &handle));
	if (rc)
		return rc;
	live_begin(w->p, LIVE_get_ticket);
	(void)live_end(w->p, LIVE_get_ticket, kvshm_get_ticket(w->store, &handle, worker_some_ticket(w, true)));
	worker_keep(w, &handle);
	return 0;
}

/* Ends a fill or a part of the holds well, if there is one. */
int worker_call_publish(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);
	struct kvshm_meta meta;
	unsigned at = 0;
	int rc;

	while (at < w->count && w->holds[at].kind != KVSHM_WRITER && w->holds[at].kind != KVSHM_PART)
		at++;
	if (at < w->count) {
		handle = w->holds[at];
		worker_forget(w, at);
	}
	worker_describe(w, &meta);
	live_begin(w->p, LIVE_publish);
	rc = live_end(w->p, LIVE_publish,
		      kvshm_publish(w->store, &handle, handle.kind == KVSHM_PART || worker_below(w, 2) ? NULL : &meta));
	if (rc == 0)
		worker_keep(w, &handle);
	return rc;
}

int worker_call_give_up(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);

	live_begin(w->p, LIVE_give_up);
	return live_end(w->p, LIVE_give_up, kvshm_give_up(w->store, &handle));
}

int worker_call_wait(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);

	live_begin(w->p, LIVE_wait);
	return live_end(w->p, LIVE_wait, kvshm_wait(w->store, &handle, worker_soon(w)));
}

/* Of a hold that stays in the list, sometimes: it is stale then. */
int worker_call_release(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);

	if (w->count && worker_below(w, 4)) {
		worker_let_go(w, worker_below(w, w->count));
		return 0;
	}
	live_begin(w->p, LIVE_release);
	return live_end(w->p, LIVE_release, kvshm_release(w->store, &handle));
}

int worker_call_pin(struct worker *w)
{
	struct kvshm_handle held = worker_some_handle(w), pin;
	int rc;

	live_begin(w->p, LIVE_pin);
	rc = live_end(w->p, LIVE_pin, kvshm_pin(w->store, &held, &pin));
	if (rc == 0)
		worker_keep(w, &pin);
	return rc;
}

int worker_call_unpin(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);

	live_begin(w->p, LIVE_unpin);
	return live_end(w->p, LIVE_unpin, kvshm_unpin(w->store, &handle));
}

/* Of holds that stay in the list. */
int worker_call_let_go(struct worker *w)
{
	struct kvshm_handle handles[4];

	for (unsigned i = 0; i < 4; i++)
		handles[i] = worker_some_handle(w);
	live_begin(w->p, LIVE_let_go);
	return live_end(w->p, LIVE_let_go, kvshm_let_go(w->store, handles, 4));
}

int worker_call_remove(struct worker *w)
{
	struct kvshm_key key = worker_some_key(w, 0);

	live_begin(w->p, LIVE_remove);
	return live_end(w->p, LIVE_remove, kvshm_remove(w->store, key.bytes, key.length));
}

int worker_call_touch(struct worker *w)
{
	struct kvshm_key key = worker_some_key(w, 0);

	live_begin(w->p, LIVE_touch);
	return live_end(w->p, LIVE_touch, kvshm_touch(w->store, key.bytes, key.length));
}

int worker_call_clear(struct worker *w)
{
	live_begin(w->p, LIVE_clear);
	return live_end(w->p, LIVE_clear, kvshm_clear(w->store));
}

int worker_call_get_meta(struct worker *w)
{
	struct kvshm_handle held = worker_some_handle(w);
	struct kvshm_meta meta;
	int rc;

	live_begin(w->p, LIVE_get_meta);
	rc = live_end(w->p, LIVE_get_meta, kvshm_get_meta(w->store, &held, &meta));
	base_check(rc || meta.length <= w->geometry.block_size);
	return rc;
}

int worker_call_address(struct worker *w)
{
	struct kvshm_handle held = worker_some_handle(w);

	worker_touch_bytes(w, &held);
	return 0;
}

/* Some bytes, up to a block's end, and now and then beyond. */
static void some_bytes(struct worker *w, uint64_t *offset, uint64_t *length)
{
	*offset = worker_below(w, (unsigned)w->geometry.block_size);
	*length = worker_below(w, WORKER_BYTES);
	if (worker_below(w, 16) && *length > w->geometry.block_size - *offset)
		*length = w->geometry.block_size - *offset;
}

int worker_call_read(struct worker *w)
{
	struct kvshm_handle held = worker_some_handle(w);
	unsigned plane = worker_below(w, w->geometry.planes);
	unsigned char bytes[WORKER_BYTES];
	uint64_t offset, length;

	some_bytes(w, &offset, &length);
	live_begin(w->p, LIVE_read);
	return live_end(w->p, LIVE_read, kvshm_read(w->store, &held, plane, offset, bytes, length));
}

int worker_call_write(struct worker *w)
{
	static const unsigned char bytes[WORKER_BYTES];
	struct kvshm_handle held = worker_some_handle(w);
	unsigned plane = worker_below(w, w->geometry.planes);
	uint64_t offset, length;

	some_bytes(w, &offset, &length);
	live_begin(w->p, LIVE_write);
	return live_end(w->p, LIVE_write, kvshm_write(w->store, &held, plane, offset, bytes, length));
}

int worker_call_alloc(struct worker *w)
{
	struct kvshm_handle owned;
	int rc;

	live_begin(w->p, LIVE_alloc);
	rc = live_end(w->p, LIVE_alloc, kvshm_alloc(w->store, &owned));
	if (rc == 0) {
		worker_touch_bytes(w, &owned);
		worker_keep(w, &owned);
	}
	return rc;
}

int worker_call_publish_as(struct worker *w)
{
	struct kvshm_handle handle = worker_some_handle(w);
	struct kvshm_key key = worker_some_key(w, 0);
	enum kvshm_published published;
	struct kvshm_meta meta;
	unsigned at = 0;
	int rc;

	while (at < w->count && w->holds[at].kind != KVSHM_OWNED)
		at++;
	if (at < w->count) {
		handle = w->holds[at];
		worker_forget(w, at);
	}
	worker_describe(w, &meta);
	live_begin(w->p, LIVE_publish_as);
	rc = live_end(w->p, LIVE_publish_as,
		      kvshm_publish_as(w->store, &handle, key.bytes, key.length, &meta, &published));
	if (rc == 0)
		worker_keep(w, &handle);
	return rc;
}

int worker_call_ticket(struct worker *w)
{
	struct kvshm_handle held = worker_some_handle(w);

	live_begin(w->p, LIVE_get_ticket);
	return live_end(w->p, LIVE_get_ticket, kvshm_get_ticket(w->store, &held, worker_some_ticket(w, false)));
}

int worker_call_hold(struct worker *w)
{
	struct kvshm_ticket ticket = *worker_some_ticket(w, worker_below(w, 2));
	enum kvshm_outcome outcome;
	struct kvshm_handle ref;
	int rc;

	live_begin(w->p, LIVE_hold);
	rc = live_end(w->p, LIVE_hold, kvshm_hold(w->store, &ticket, &outcome, &ref));
	if (rc == 0)
		worker_keep(w, &ref);
	return rc;
}

int worker_call_join(struct worker *w)
{
	struct kvshm_ticket ticket = *worker_some_ticket(w, worker_below(w, 4));
	struct kvshm_handle part;
	int rc;

	live_begin(w->p, LIVE_join);
	rc = live_end(w->p, LIVE_join, kvshm_join(w->store, &ticket, worker_below(w, w->geometry.planes), &part));
	if (rc == 0)
		worker_keep(w, &part);
	return rc;
}

int worker_call_geometry(struct worker *w)
{
	struct kvshm_geometry geometry;
	int rc;

	memset(&geometry, 0, sizeof(geometry));
	live_begin(w->p, LIVE_get_geometry);
	rc = live_end(w->p, LIVE_get_geometry, kvshm_get_geometry(w->store, &geometry));
	base_check(rc || (geometry.blocks == w->geometry.blocks && geometry.planes == w->geometry.planes &&
			  geometry.clients == w->geometry.clients && geometry.requests == w->geometry.requests &&
			  geometry.block_size == w->geometry.block_size && geometry.slot == w->geometry.slot &&
			  geometry.incarnation == w->geometry.incarnation &&
			  geometry.key_max == w->geometry.key_max && geometry.retain == w->geometry.retain));
	return rc;
}

int worker_call_plane_info(struct worker *w)
{
	struct kvshm_plane_info info;
	int rc;

	live_begin(w->p, LIVE_get_plane_info);
	rc = live_end(w->p, LIVE_get_plane_info,
		      kvshm_get_plane_info(w->store, worker_below(w, w->geometry.planes), &info));
	if (rc == 0) {
		const volatile unsigned char *bytes = info.address;

		base_check(info.size == w->geometry.blocks * w->geometry.block_size);
		(void)(unsigned char)(bytes[0] + bytes[info.size - 1]);
	}
	return rc;
}

int worker_call_owner_info(struct worker *w)
{
	struct kvshm_owner_info info;

	live_begin(w->p, LIVE_get_owner_info);
	return live_end(w->p, LIVE_get_owner_info, kvshm_get_owner_info(w->store, &info));
}

int worker_call_register_plane(struct worker *w)
{
	live_begin(w->p, LIVE_register_plane);
	return live_end(w->p, LIVE_register_plane,
			kvshm_register_plane(w->store, worker_below(w, w->geometry.planes)));
}

int worker_call_recover(struct worker *w)
{
	live_begin(w->p, LIVE_recover);
	return live_end(w->p, LIVE_recover, kvshm_recover(w->store, NULL));
}
