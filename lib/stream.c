/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * stream.c: calls that take effect when a GPU's stream gets there. Contracts in kvshm.h.
 *
 * A call is put on the stream first, and then takes over what it was given: so a call that can't be put there has
 * changed nothing, and nothing has to be undone. The stream may get there before all of it is taken over; then who
 * takes over does the work, at once, before its call returns. Nothing that the program has put behind it on the stream
 * can be ahead of that.
 *
 * What is taken over is held in this client's row, as all its holds are, so that its death gives it back (B2). The work
 * is done by a thread of the driver's. It calls nothing of the driver, nor of the program: what it has for the log is
 * told by the next call of the program's, since a callback may wait for a thread that waits for the stream. Its reader
 * slot is the client's, taken when the first call is put on a stream: so it can't be without one.
 */
#include "config.h"

#include <stdlib.h>

#include "attached.h"
#include "keys.h"
#include "request.h"
#include "streams.h"

enum work { PUBLISH, GIVE_UP, RELEASE };

/* What one call does to one block. */
struct item {
	struct kvshm_handle handle;
	struct kvshm_meta meta;
	bool has_meta;
	enum work work;
};

/* Who has been there: a call is worked on by the second of them, and by it alone. Sequentially consistent, by which the
 * second sees all that the first wrote: the items, where that is the one who took them over. */
enum { TAKEN_OVER = 1, ARRIVED = 2 };

struct pending {
	kvshm_store *store;
	_Atomic unsigned seen;
	struct kvshm_request request; /* to be ended, where it has a number */
	size_t count;
	struct item items[];
};

/* ---- When the stream gets there ------------------------------------------------------------------------------ */

static int release(const struct kvs_actor *actor, const struct kvshm_handle *ref)
{
	int rc = kvs_hold_release(actor, ref->block, ref->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);

	if (rc)
		return kvs_routine(-rc, "the hold was released meanwhile: two handles were copies of one");
	if (ref->since)
		kvs_time(actor->reader, KVS_TIME_hold, kvs_now() - ref->since);
	return 0;
}

/* The ref that publishing leaves has ended too: the program has one of its own, or the request has. */
static int publish(const struct kvs_actor *actor, kvshm_store *store, struct item *item)
{
	int rc = kvl_publish(actor, store, &item->handle, item->has_meta ? &item->meta : NULL);

	return rc ? rc : release(actor, &item->handle);
}

static int do_item(const struct kvs_actor *actor, kvshm_store *store, struct item *item)
{
	switch (item->work) {
	case PUBLISH:
		return publish(actor, store, item);
	case GIVE_UP:
		return kvl_give_up(actor, store, &item->handle);
	default:
		return release(actor, &item->handle);
	}
}

/* -ECANCELED and -EALREADY are told to those who wait, or come to the same. */
static void tell(const char *what, int rc)
{
	if (rc && rc != -ECANCELED && rc != -EALREADY)
		kvs_log(KVS_LOG_WARNING, "%s on a stream came to nothing: %s", what, kvs_fault_text());
}

/* In a store that was destroyed meanwhile nobody waits, and all ends with the client. */
static void work(const struct kvs_actor *actor, struct pending *p)
{
	static const char *const names[] = {
		[PUBLISH] = "a publish", [GIVE_UP] = "a fill's end", [RELEASE] = "a release"};

	/* Relaxed: as in kvl_check(). */
	if (!kvs_store_is_open(atomic_load_explicit(&actor->map->head->state, memory_order_relaxed)))
		return;
	for (size_t i = 0; i < p->count; i++) {
		if (i % KVL_GROUP == 0)
			for (size_t next = i; next < p->count && next < i + KVL_GROUP; next++)
				kvs_fetch_block(actor, p->items[next].handle.block);
		tell(names[p->items[i].work], do_item(actor, p->store, &p->items[i]));
	}
	if (p->request.number)
		tell("a request's end", kvl_request_end(actor, p->store, &p->request));
}

/* By a thread of the driver's. */
static void arrive(void *arg)
{
	struct pending *p = arg;
	kvshm_store *store = p->store;

	if (!(atomic_fetch_or(&p->seen, ARRIVED) & TAKEN_OVER))
		return;
	(void)pthread_mutex_lock(&store->stream.lock);
	kvs_log_put_off();
	work(
		&(struct kvs_actor){
			.map = &store->map, .reader = store->stream.reader, .row = store->row, .self = store->slot},
		p);
	kvs_log_hand_over(&store->stream.lines);
	(void)pthread_mutex_unlock(&store->stream.lock);
	free(p);
}

/* It never does: what was taken over ends with the client. */
static void lose(void *arg)
{
	free(arg);
}

/* By the caller, who is in the store. */
static void taken_over(const struct kvs_actor *actor, struct pending *p)
{
	if (!(atomic_fetch_or(&p->seen, TAKEN_OVER) & ARRIVED))
		return;
	work(actor, p);
	free(p);
}

/* ---- How a call begins --------------------------------------------------------------------------------------- */

void kvl_stream_init(struct kvshm_store *store)
{
	(void)pthread_mutex_init(&store->stream.lock, NULL);
}

static void tell_lines(struct kvshm_store *store)
{
	struct kvs_log_lines *lines;

	(void)pthread_mutex_lock(&store->stream.lock);
	lines = store->stream.lines;
	store->stream.lines = NULL;
	(void)pthread_mutex_unlock(&store->stream.lock);
	kvs_log_tell(lines);
}

void kvl_stream_close(struct kvshm_store *store)
{
	tell_lines(store);
	(void)pthread_mutex_destroy(&store->stream.lock);
}

static int take_reader(struct kvshm_store *store)
{
	int rc = 0;

	(void)pthread_mutex_lock(&store->stream.lock);
	if (!store->stream.reader)
		rc = kvs_reader_take(&store->map, store->slot + 1, &store->stream.reader);
	(void)pthread_mutex_unlock(&store->stream.lock);
	return rc;
}

/* The call is on the stream, and has taken over nothing yet. */
static int put(kvshm_store *store, void *stream, uint32_t plane, size_t count, struct pending **p)
{
	struct kvg_call call = {.done = arrive, .lost = lose};
	struct pending *made;
	int rc = take_reader(store);

	if (rc)
		return rc;
	tell_lines(store);
	made = count < SIZE_MAX / 2 / sizeof(struct item) ? malloc(sizeof(*made) + count * sizeof(struct item)) : NULL;
	if (!made)
		return kvs_fault(ENOMEM, "no memory for what %zu blocks are to come to on a stream", count);
	*made = (struct pending){.store = store};
	call.arg = made;
	rc = kvg_streams_call(store->gpu, plane, stream, &call);
	if (rc)
		free(made);
	else
		*p = made;
	return rc;
}

/* ---- Taking over --------------------------------------------------------------------------------------------- */

/* One more ref: the caller's, where the hold that it had goes over; its handle becomes that. */
static int leave_ref(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	int rc = kvs_hold_add(actor, handle->block, handle->life, KVS_ENTRY_REF, KVS_ENTRY_REFS, true);

	if (rc == -EMFILE)
		return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
	if (rc)
		return kvs_routine(EBADF, "the hold was released by another thread");
	*handle = kvl_handle(handle->block, handle->life, KVSHM_REF);
	return 0;
}

/* Of a request's: *item is left with a hold or without. */
static int take_of_request(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
			   struct item *item)
{
	int rc = kvl_request_hand_over(actor, store, handle, item->work == PUBLISH, &item->handle);

	if (rc)
		item->work = GIVE_UP;
	return rc;
}

static int take_publish(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
			struct item *item)
{
	struct kvshm_handle mine = *handle;
	int rc = kvl_check_publish(actor, handle, item->has_meta ? &item->meta : NULL);

	if (rc == 0 && handle->request)
		return take_of_request(actor, store, handle, item);
	if (rc == 0)
		rc = leave_ref(actor, handle);
	if (rc == 0)
		item->handle = mine;
	return rc;
}

static int take_give_up(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
			struct item *item)
{
	int rc = kvl_check_give_up(actor, handle);

	if (rc)
		return rc;
	if (handle->request)
		return take_of_request(actor, store, handle, item);
	item->handle = *handle;
	*handle = kvl_no_hold;
	return 0;
}

static int take_release(const struct kvs_actor *actor, struct kvshm_handle *handle, struct item *item)
{
	if (handle->kind != KVSHM_REF || handle->block >= actor->map->g.blocks ||
	    !(kvs_hold_counts(actor, handle->block, handle->life) & KVS_ENTRY_REFS))
		return kvl_refuse_release(handle, KVSHM_REF);
	item->handle = *handle;
	*handle = kvl_no_hold;
	return 0;
}

static int take(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle, struct item *item)
{
	struct kvs_block *block;
	int rc = item->work == RELEASE ? 0 : kvl_held(actor, handle, &block);

	if (rc)
		return rc;
	switch (item->work) {
	case PUBLISH:
		return take_publish(actor, store, handle, item);
	case GIVE_UP:
		return take_give_up(actor, store, handle, item);
	default:
		return take_release(actor, handle, item);
	}
}

/* ---- The calls ----------------------------------------------------------------------------------------------- */

/* The GPU that the first of them is of, where it is one plane's. */
static uint32_t plane_of(const kvshm_store *store, const struct kvshm_handle *handles)
{
	return handles[0].kind == KVSHM_PART && handles[0].plane < store->map.g.planes ? handles[0].plane : 0;
}

static int put_batch(kvshm_store *store, void *stream, enum work work, struct kvshm_handle *handles,
		     const struct kvshm_meta *metas, size_t count, int *results)
{
	struct kvs_actor actor;
	struct pending *p;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (count && (!handles || !results))
		return kvs_routine(EINVAL, "an array of a batch is missing (NULL)");
	if (count == 0)
		return 0;
	rc = put(store, stream, plane_of(store, handles), count, &p);
	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++) {
		struct item *item = &p->items[p->count];

		if (i % KVL_GROUP == 0)
			for (size_t next = i; next < count && next < i + KVL_GROUP; next++)
				kvs_fetch_block(&actor, handles[next].block);
		*item = (struct item){.work = work, .has_meta = metas};
		if (metas)
			item->meta = metas[i];
		results[i] = take(&actor, store, &handles[i], item);
		p->count += item->handle.kind != KVSHM_NONE;
	}
	taken_over(&actor, p);
	return 0;
}

int kvshm_publish_on(kvshm_store *store, void *stream, struct kvshm_handle *handles, const struct kvshm_meta *metas,
		     size_t count, int *results)
{
	return put_batch(store, stream, PUBLISH, handles, metas, count, results);
}

int kvshm_give_up_on(kvshm_store *store, void *stream, struct kvshm_handle *handles, size_t count, int *results)
{
	return put_batch(store, stream, GIVE_UP, handles, NULL, count, results);
}

int kvshm_release_on(kvshm_store *store, void *stream, struct kvshm_handle *refs, size_t count, int *results)
{
	return put_batch(store, stream, RELEASE, refs, NULL, count, results);
}

int kvshm_request_end_on(kvshm_store *store, void *stream, const struct kvshm_request *request)
{
	struct kvs_actor actor;
	struct pending *p;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvl_request_check_end(&actor, store, request);
	if (rc == 0)
		rc = put(store, stream, 0, 0, &p);
	if (rc)
		return rc;
	p->request = *request;
	taken_over(&actor, p);
	return 0;
}
