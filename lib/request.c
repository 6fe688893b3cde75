/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request.c: opening, finding and ending requests, and their owners' records. Contracts in kvshm.h.
 *
 * The order of an end is: the request's word says that it is over, then its holds end, then it is closed. So who claims
 * its keys, and finds behind its own holds that the request is not over, took them before the owner let go of any.
 * (tests/model/request_end.pml)
 */
#include "config.h"

#include "request.h"

#include <stdlib.h>

#include "client.h"
#include "recover.h"

/* ---- Records ------------------------------------------------------------------------------------------------- */

int kvl_requests_make(kvshm_store *store)
{
	store->requests = calloc(store->map.g.requests, sizeof(*store->requests));
	return store->requests ? 0 : kvs_fault(ENOMEM, "no memory");
}

static struct kvl_request *new_record(struct kvshm_store *store, uint32_t slot)
{
	struct kvl_request *own = calloc(1, sizeof(*own)), *first = NULL;

	if (!own)
		return NULL;
	own->store = store;
	own->slot = slot;
	own->room.slot = slot;
	(void)pthread_mutex_init(&own->lock, NULL);
	/* [record: make] Two threads may open, one after the other, what is in the same slot. */
	if (atomic_compare_exchange_strong_explicit(&store->requests[slot], &first, own, memory_order_acq_rel,
						    memory_order_acquire))
		return own;
	(void)pthread_mutex_destroy(&own->lock);
	free(own);
	return first;
}

/* ---- How calls begin ----------------------------------------------------------------------------------------- */

int kvl_request_ended(uint64_t word)
{
	bool complete = word & KVS_REQUEST_COMPLETED;

	switch (kvs_request_state(word)) {
	case KVS_REQUEST_ENDING:
		return kvs_routine(ECANCELED, "the end of the request was asked for by another process");
	case KVS_REQUEST_ABORTED:
	case KVS_REQUEST_CLOSED:
		return kvs_routine(ECANCELED, complete ? "the request has ended, after it was complete"
						       : "the request was aborted before it was complete, or its "
							 "owner died");
	default:
		return kvs_routine(ECANCELED, "the request has ended, and is not remembered any more");
	}
}

/* Can the segment's word be that of a request which this process has open? It is closed by this one only. */
static bool is_own(const struct kvl_request *own, uint64_t word)
{
	return kvs_request_number(word) == own->number && kvs_word_owner(word) == own->store->slot &&
	       kvs_request_may_hold(&own->store->map, word);
}

int kvl_request_judge(const struct kvs_actor *actor, const struct kvl_request *own)
{
	uint64_t word = kvs_request_word(actor->map, own->slot);

	if (!is_own(own, word))
		return kvs_request_nonsense(actor, own->slot);
	return kvs_request_over(word) ? kvl_request_ended(word) : 0;
}

static int no_request(void)
{
	return kvs_routine(EBADF,
			   "that is no request of this store: it is another's, perhaps of one that had this name "
			   "before");
}

static int check_request(const kvshm_store *store, const struct kvshm_request *request)
{
	if (!request)
		return kvs_routine(EINVAL, "no request was given (NULL)");
	if (request->slot >= store->map.g.requests || request->store != (uint32_t)store->map.g.incarnation)
		return no_request();
	return 0;
}

/* What the segment has of a request, this client's or not. */
static int look_up(const struct kvs_actor *actor, const struct kvshm_request *request, uint64_t *word)
{
	*word = kvs_request_word(actor->map, request->slot);
	if (!kvs_request_sound(actor->map, *word))
		return kvs_request_nonsense(actor, request->slot);
	if (kvs_request_number(*word) > request->number && request->number)
		return kvl_request_ended(0);
	if (kvs_request_number(*word) != request->number || kvs_request_state(*word) < KVS_REQUEST_OPEN)
		return no_request();
	return 0;
}

int kvl_request_look(kvshm_store *store, const struct kvshm_request *request, struct kvs_actor *actor, uint64_t *word)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0)
		rc = check_request(store, request);
	return rc ? rc : look_up(actor, request, word);
}

void kvl_request_enter(struct kvl_request *own)
{
	(void)pthread_mutex_lock(&own->lock);
	kvs_log_put_off();
}

void kvl_request_leave(struct kvl_request *own)
{
	(void)pthread_mutex_unlock(&own->lock);
	kvs_log_go_on();
}

/* Finds the record of a request of this client's, and locks it; NULL: nothing of it is left. */
static struct kvl_request *lock(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvl_request *own = kvl_request_record(store, request->slot);

	if (!own)
		return NULL;
	kvl_request_enter(own);
	if (own->open && own->number == request->number)
		return own;
	kvl_request_leave(own);
	return NULL;
}

/* What is said of a request that this process has not open. */
static int refuse(const kvshm_store *store, const struct kvs_actor *actor, const struct kvshm_request *request)
{
	uint64_t word;
	int rc = look_up(actor, request, &word);

	if (rc)
		return rc;
	if (kvs_word_owner(word) != store->slot)
		return kvs_fault(EPERM, "the request is client %u's: only its owner can do that", kvs_word_owner(word));
	return kvl_request_ended(word);
}

int kvl_request_begin(kvshm_store *store, const struct kvshm_request *request, struct kvs_actor *actor,
		      struct kvl_request **own)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0)
		rc = check_request(store, request);
	if (rc)
		return rc;
	*own = lock(store, request);
	if (!*own)
		return refuse(store, actor, request);
	rc = kvl_request_judge(actor, *own);
	if (rc) {
		kvl_request_let_go(actor, *own, false);
		kvl_request_leave(*own);
	}
	return rc;
}

/* ---- Opening and finding ------------------------------------------------------------------------------------- */

/* A request without a name. */
static int check_nameless(uint32_t attempt, const void *result, struct kvs_request_id *id)
{
	if (!result)
		return kvl_no_place();
	if (attempt)
		return kvs_fault(EINVAL, "attempt %u of a request without a name, which has attempt 0 only", attempt);
	*id = (struct kvs_request_id){.hash = KVS_REQUEST_NAMELESS};
	return 0;
}

static int check_id(const kvshm_store *store, const void *bytes, size_t length, const void *result,
		    struct kvs_request_id *id)
{
	if (!result)
		return kvl_no_place();
	if (!bytes)
		return kvs_routine(EINVAL, "no id was given (NULL)");
	if (length == 0 || length > KVSHM_REQUEST_ID_MAX)
		return kvs_fault(EINVAL, "an id of %zu bytes: a request's has 1 to %d", length, KVSHM_REQUEST_ID_MAX);
	*id = (struct kvs_request_id){.bytes = bytes, .length = (uint32_t)length};
	id->hash = kvs_request_hash(&store->map, id->bytes, id->length);
	return 0;
}

/* Whose it is. An owner that goes meanwhile is told of by its slot alone, which may have the next client by now. */
static int refuse_rival(const struct kvs_map *map, uint32_t rival)
{
	uint64_t word = kvs_request_word(map, rival);
	uint32_t owner = kvs_word_owner(word);
	char name[KVS_CLIENT_NAME_SIZE];
	int32_t pid;

	if (kvs_client_read(map, owner, &pid, name) && kvs_request_still(map, rival, word))
		return kvs_fault(EEXIST, "a request of that id is open: it is client %u's (process %d, %s)", owner,
				 (int)pid, name);
	return kvs_fault(EEXIST, "a request of that id is open: it is client %u's", owner);
}

static int refuse_open(const struct kvs_map *map, int rc, uint32_t rival)
{
	switch (rc) {
	case -EEXIST:
		return refuse_rival(map, rival);
	case -EALREADY:
		return kvs_routine(EALREADY, "that attempt of the request, or a later one, has been closed: a new one "
					     "needs a higher number");
	case -ENFILE:
		return kvs_fault(ENFILE,
				 "all %u requests of the store are open: end one, or make the store for more "
				 "(kvshmd --requests)",
				 map->g.requests);
	default:
		return rc;
	}
}

/* The request is this client's, and has a record here. */
static int keep(const struct kvs_actor *actor, kvshm_store *store, uint32_t slot, uint64_t word)
{
	struct kvl_request *own = kvl_request_record(store, slot);

	if (!own)
		own = new_record(store, slot);
	if (!own) {
		if (!kvs_request_move(&store->map, slot, &word, KVS_REQUEST_ABORTED))
			(void)kvs_request_move(&store->map, slot, &word, KVS_REQUEST_ABORTED); /* it was asked for */
		(void)kvs_request_move(&store->map, slot, &word, KVS_REQUEST_CLOSED);
		return kvs_fault(ENOMEM, "no memory");
	}
	kvl_request_enter(own);
	if (own->open) { /* the slot was taken from it, by no owner's doing */
		(void)kvs_request_nonsense(actor, slot);
		kvl_request_let_go(actor, own, true);
	}
	own->number = kvs_request_number(word);
	own->open = true;
	own->held = own->fills = own->unready = 0;
	kvl_request_leave(own);
	kvs_count(actor, KVS_COUNT_requests);
	return 0;
}

/* Who is dead is recovered, and in the way no more: a rival, or those who have all slots. */
static bool may_open_again(kvshm_store *store, int rc, uint32_t rival)
{
	switch (rc) {
	case -EAGAIN:
		return true;
	case -EEXIST: /* another may have recovered it meanwhile */
		return !kvs_request_live(kvs_request_word(&store->map, rival)) ||
		       (kvs_request_owner(&store->map, rival) != store->slot &&
			kvs_recover_slot(&store->map, kvs_request_owner(&store->map, rival)) > 0);
	case -ENFILE:
		return kvs_recover_dead(&store->map) > 0;
	default:
		return false;
	}
}

int kvshm_request_open(kvshm_store *store, const void *id, size_t id_length, uint32_t attempt, uint32_t blocks,
		       struct kvshm_request *request)
{
	struct kvs_request_id name;
	struct kvs_actor actor;
	uint32_t slot = 0;
	uint64_t word = 0;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = id || id_length ? check_id(store, id, id_length, request, &name)
				     : check_nameless(attempt, request, &name);
	if (rc)
		return rc;
	do
		rc = kvs_request_open(&actor, &name, attempt, blocks, &slot, &word);
	while (rc && may_open_again(store, rc, slot));
	if (rc)
		return refuse_open(&store->map, rc, slot);
	rc = keep(&actor, store, slot, word);
	if (rc == 0)
		*request = kvl_request_value(store->map.g.incarnation, slot, word);
	return rc;
}

int kvshm_request_find(kvshm_store *store, const void *id, size_t id_length, struct kvshm_request *request)
{
	struct kvs_request_id name;
	struct kvs_actor actor;
	uint32_t slot;
	uint64_t word;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = check_id(store, id, id_length, request, &name);
	if (rc)
		return rc;
	if (!kvs_request_find(&actor, &name, &slot, &word))
		return kvs_routine(ENOENT, "no request of that id is open, or remembered");
	*request = kvl_request_value(store->map.g.incarnation, slot, word);
	return 0;
}

/* ---- Ending -------------------------------------------------------------------------------------------------- */

/* Nothing of it is left. */
static void close_it(const struct kvs_actor *actor, struct kvl_request *own)
{
	const struct kvs_map *map = actor->map;
	uint64_t word = kvs_request_word(map, own->slot);
	/* Relaxed: for people. */
	uint64_t opened = atomic_load_explicit(&map->requests[own->slot].opened, memory_order_relaxed);

	own->open = false;
	free(own->holds);
	own->holds = NULL;
	own->size = own->used = 0;
	if (!(word & KVS_REQUEST_COMPLETED))
		kvs_count(actor, KVS_COUNT_requests_aborted);
	kvs_time(actor->reader, KVS_TIME_request, kvs_now() - opened);
	while (is_own(own, word) && !kvs_request_move(map, own->slot, &word, KVS_REQUEST_CLOSED))
		;
}

static void give_up_fill(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold)
{
	kvs_enter(actor);
	(void)kvs_table_give_up(actor, hold->block); /* a removal of the key may have been first */
	kvs_leave(actor);
	kvl_request_drop_hold(actor, own, hold);
}

void kvl_request_let_go(const struct kvs_actor *actor, struct kvl_request *own, bool fills)
{
	kvl_request_give_room_back(actor, own);
	for (uint32_t i = 0; i < own->size; i++) {
		struct kvl_hold *hold = &own->holds[i];

		if (kvl_hold_is_held(hold))
			kvl_request_drop_hold(actor, own, hold);
		else if (hold->kind == KVL_FILL && fills)
			give_up_fill(actor, own, hold);
	}
	kvl_request_tell(own);
	if (own->fills == 0)
		close_it(actor, own);
}

/* The owner's end: it says first that the request is over. -EALREADY: it was already. */
static int end_own(const struct kvs_actor *actor, struct kvl_request *own)
{
	const struct kvs_map *map = actor->map;
	uint64_t word = kvs_request_word(map, own->slot);
	int rc = is_own(own, word) ? -EALREADY : kvs_request_nonsense(actor, own->slot);

	while (is_own(own, word) && !kvs_request_over(word))
		if (kvs_request_move(map, own->slot, &word,
				     word & KVS_REQUEST_COMPLETED ? KVS_REQUEST_ENDING : KVS_REQUEST_ABORTED))
			rc = 0;
	kvl_request_let_go(actor, own, true);
	return rc;
}

static int ended_before(void)
{
	return kvs_routine(EALREADY, "the request has ended, or its end was asked for, before");
}

/* The end of a request that this process has not open. */
static int end_other(kvshm_store *store, const struct kvs_actor *actor, const struct kvshm_request *request)
{
	uint64_t word;
	int rc = look_up(actor, request, &word);

	if (rc == 0) {
		rc = kvs_request_ask(&store->map, request->slot, request->number);
		if (rc == 0)
			kvs_count(actor, KVS_COUNT_ends_asked);
	}
	return rc == -EALREADY || rc == -ECANCELED ? ended_before() : rc;
}

int kvl_request_end(const struct kvs_actor *actor, kvshm_store *store, const struct kvshm_request *request)
{
	struct kvl_request *own;
	int rc = check_request(store, request);

	if (rc)
		return rc;
	own = lock(store, request);
	if (!own)
		return end_other(store, actor, request);
	rc = end_own(actor, own);
	kvl_request_leave(own);
	return rc == -EALREADY ? ended_before() : rc;
}

int kvl_request_check_end(const struct kvs_actor *actor, kvshm_store *store, const struct kvshm_request *request)
{
	uint64_t word;
	int rc = check_request(store, request);

	if (rc == 0)
		rc = look_up(actor, request, &word);
	return rc == -ECANCELED ? ended_before() : rc;
}

int kvshm_request_end(kvshm_store *store, const struct kvshm_request *request)
{
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	return rc ? rc : kvl_request_end(&actor, store, request);
}

/* Has nobody claimed it in time, since it was complete, or again, since the last claim? (Who has claimed it has holds
 * of its own, and may have died before it asked for the end.) Relaxed: a claim that comes just now is none in time. */
static bool is_unclaimed(const struct kvl_request *own, uint64_t timeout)
{
	const struct kvs_request *told = &own->store->map.requests[own->slot];
	uint64_t since = atomic_load_explicit(&told->completed, memory_order_relaxed);
	uint64_t claimed = atomic_load_explicit(&told->claimed, memory_order_relaxed), now = kvs_now();

	since = claimed > since ? claimed : since;
	return timeout && kvs_request_state(kvs_request_word(&own->store->map, own->slot)) == KVS_REQUEST_COMPLETE &&
	       now > since && now - since >= timeout;
}

/* True if it was ended by this. */
static bool tend(const struct kvs_actor *actor, struct kvl_request *own, uint64_t timeout)
{
	bool over = kvl_request_judge(actor, own) != 0;

	if (!over && is_unclaimed(own, timeout)) {
		kvs_count(actor, KVS_COUNT_requests_unclaimed);
		(void)end_own(actor, own);
		return true;
	}
	if (over)
		kvl_request_let_go(actor, own, false);
	return !own->open; /* one that has a fill under way ends with that */
}

int kvshm_request_tend(kvshm_store *store, uint64_t claim_timeout, unsigned *ended)
{
	struct kvs_actor actor;
	unsigned count = 0;
	int rc = kvl_begin(store, &actor);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < store->map.g.requests; i++) {
		struct kvl_request *own = kvl_request_record(store, i);

		if (!own)
			continue;
		kvl_request_enter(own);
		if (own->open)
			count += tend(&actor, own, claim_timeout);
		kvl_request_leave(own);
	}
	if (ended)
		*ended = count;
	return 0;
}

void kvl_requests_end(const struct kvs_actor *actor, kvshm_store *store)
{
	for (uint32_t i = 0; i < store->map.g.requests; i++) {
		struct kvl_request *own = kvl_request_record(store, i);

		if (own && own->open)
			(void)end_own(actor, own);
	}
}

void kvl_requests_free(kvshm_store *store)
{
	for (uint32_t i = 0; store->requests && i < store->map.g.requests; i++) {
		struct kvl_request *own = kvl_request_record(store, i);

		if (!own)
			continue;
		free(own->holds);
		free(own->room.blocks);
		(void)pthread_mutex_destroy(&own->lock);
		free(own);
	}
	free(store->requests);
}
