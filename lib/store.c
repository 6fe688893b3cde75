/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * store.c: attaching, detaching, what a store is, recovering, and the library's own texts.
 * Contracts in kvshm.h.
 */
#include "config.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attached.h"
#include "client.h"
#include "epoch.h"
#include "files.h"
#include "lock.h"
#include "recover.h"
#include "request.h"
#include "segment.h"

#define SAME(public, inner) _Static_assert((public) == (inner), "kvshm.h says what the segment can hold")
SAME(KVSHM_LOG_WARNING, KVS_LOG_WARNING);
SAME(KVSHM_LOG_NOTICE, KVS_LOG_NOTICE);
SAME(KVSHM_NAME_MAX, KVS_NAME_MAX);
SAME(KVSHM_LABEL_MAX + 1, KVS_LABEL_SIZE);
SAME(KVSHM_CLIENT_NAME_MAX + 1, KVS_CLIENT_NAME_SIZE);
SAME(KVSHM_KEY_MAX, KVS_KEY_MAX);
SAME(KVSHM_OPAQUE_SIZE, KVS_OPAQUE_SIZE);
SAME(KVSHM_CLIENTS_MAX, KVS_CLIENTS_MAX);
SAME(KVSHM_PLANES_MAX, KVS_PLANES_MAX);
SAME(KVSHM_BLOCK_UNIT, KVS_BLOCK_UNIT);
SAME(KVSHM_BLOCKS_MAX, KVS_BLOCKS_MAX);
SAME(KVSHM_REQUESTS_MAX, KVS_REQUESTS_MAX);
SAME(KVSHM_REQUEST_ID_MAX, KVS_REQUEST_ID_SIZE);

const char *kvshm_error(void)
{
	return kvs_fault_text();
}

const char *kvshm_version(void)
{
	return PACKAGE_VERSION;
}

/* The callback, as the inner library calls it. */
static kvshm_log_fn *log_fn;

static void log_line(int level, const char *text, void *arg)
{
	log_fn((enum kvshm_log_level)level, text, arg);
}

void kvshm_set_log(kvshm_log_fn *fn, void *arg)
{
	log_fn = fn;
	kvs_log_set(fn ? log_line : NULL, arg);
}

#define BUSY_TRIES 50 /* 1 ms apart: a slot that stays locked for longer has a stopped process behind it */

/* Recovers and takes a slot. What recovery meets is no reason not to attach, but for nonsense. */
static int try_slots(struct kvshm_store *s, const char *name)
{
	int rc = kvs_recover_dead(&s->map);

	return rc == -EUCLEAN ? rc : kvs_client_attach(&s->map, name, &s->slot);
}

/* Has the store been taken away meanwhile? Who removes a dead one has the locks of all slots, and marks it, if it is of
 * that one's version, and takes its name, before they fall. */
static bool is_gone(const struct kvs_map *map)
{
	struct stat st;

	return !kvs_store_is_open(atomic_load(&map->head->state)) || (fstat(map->fd, &st) == 0 && st.st_nlink == 0);
}

static int take_slot(struct kvshm_store *s, const char *name)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	int rc = kvs_epoch_register(s->map.g.fence);

	if (rc)
		return rc;
	if (!name)
		name = program_invocation_short_name;
	rc = try_slots(s, name);
	for (int i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		(void)nanosleep(&moment, NULL);
		rc = try_slots(s, name);
	}
	if (is_gone(&s->map)) {
		if (rc == 0)
			kvs_client_leave(&s->map, s->slot);
		return kvs_fault(ESTALE, "the store was destroyed or replaced: attach the new one, if there is one");
	}
	if (rc == -EBUSY)
		return kvs_fault(
			EUSERS,
			"all %u client slots of the store are taken, some by dead clients whose recovery stands "
			"still: continue or end the stopped process",
			s->map.g.clients);
	return rc;
}

int kvshm_attach(const char *name, const struct kvshm_attach_options *options, kvshm_store **store)
{
	static const struct kvshm_attach_options none;
	struct kvshm_store *s;
	void *memory;
	int rc;

	if (!store)
		return kvl_no_place();
	if (!options)
		options = &none;
	rc = kvl_memory_take(sizeof(*s), &memory);
	if (rc)
		return rc;
	s = memory;
	rc = kvs_segment_open(name, options->dir, options->label, &s->map);
	if (rc)
		goto free_memory;
	rc = kvl_requests_make(s);
	if (rc)
		goto close_map;
	rc = take_slot(s, options->name);
	if (rc)
		goto free_requests;
	s->row = kvs_row(&s->map, s->slot);
	rc = kvg_attached_open(&s->map, s->slot, kvs_files_dir(options->dir), name, &s->gpu);
	if (rc)
		goto leave_slot;
	rc = kvg_attached_look(s->gpu, atomic_load(&s->map.head->state)); /* has its memory gone with its owner? */
	if (rc)
		goto close_gpu;
	kvl_poll_init(s);
	kvl_stream_init(s);
	s->alive = KVL_ALIVE;
	kvl_thread_add_store(s);
	*store = s;
	return 0;

close_gpu:
	kvg_attached_close(s->gpu);
leave_slot:
	kvs_client_leave(&s->map, s->slot);
free_requests:
	kvl_requests_free(s);
close_map:
	kvs_map_close(&s->map);
free_memory:
	kvl_memory_give_back(memory, sizeof(*s));
	return rc;
}

/* Gives back all that the client holds, and its slot. Also in a destroyed store: others may still be attached. */
static int leave(struct kvshm_store *s)
{
	struct kvs_actor actor = {.map = &s->map, .row = s->row, .self = s->slot};
	int rc = kvl_thread_find(s, &actor.reader);

	if (rc)
		return rc;
	kvl_requests_end(&actor, s);
	kvs_recover_self(&actor);
	kvl_thread_remove_store(s);
	kvs_client_clear_readers(&s->map, s->slot);
	kvs_client_leave(&s->map, s->slot);
	return 0;
}

int kvshm_detach(kvshm_store *store)
{
	int rc;

	if (!store)
		return kvs_fault(EINVAL, "no store was given (NULL)");
	if (store->alive != KVL_ALIVE)
		return kvs_routine(ECHILD, "the store was attached before fork(): the parent detaches it");
	kvg_attached_close(store->gpu); /* first: what is on streams ends holds */
	store->gpu = NULL;
	kvl_stream_close(store);
	rc = kvs_map_whole(&store->map);
	if (rc == 0)
		rc = leave(store);
	if (rc) /* truncated, or no reader slot to give things back through: recovery does it once the lock falls */
		kvl_thread_remove_store(store);
	store->alive = 0;
	kvl_poll_close(store);
	kvl_requests_free(store);
	kvs_map_close(&store->map);
	kvl_memory_give_back(store, sizeof(*store));
	return 0;
}

int kvshm_get_geometry(kvshm_store *store, struct kvshm_geometry *geometry)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (!geometry)
		return kvl_no_place();
	*geometry = (struct kvshm_geometry){
		.block_size = store->map.g.block_size,
		.incarnation = store->map.g.incarnation,
		.blocks = store->map.g.blocks,
		.planes = store->map.g.planes,
		.key_max = store->map.g.key_max,
		.clients = store->map.g.clients,
		.requests = store->map.g.requests,
		.slot = store->slot,
		.retain = store->map.g.drop ? KVSHM_DROP : KVSHM_KEEP,
	};
	return 0;
}

int kvshm_get_owner_info(kvshm_store *store, struct kvshm_owner_info *info)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	if (!info)
		return kvl_no_place();
	rc = kvs_lock_alive(store->map.probe, KVS_LOCK_OWNER);
	if (rc < 0)
		return rc;
	*info = (struct kvshm_owner_info){
		.alive = rc,
		.pid = atomic_load_explicit(&store->map.head->owner_pid, memory_order_relaxed),
	};
	return 0;
}

int kvshm_recover(kvshm_store *store, unsigned *recovered)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvs_recover_dead(&store->map);
	if (rc < 0)
		return rc;
	if (recovered)
		*recovered = (unsigned)rc;
	return 0;
}
