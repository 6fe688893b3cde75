/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_keys.c: a request's holds: match, pin, get-or-fill, and the ends of its fills. Contracts in kvshm.h.
 *
 * Guarantees: a block is held once by a request, however often it is asked for (R01). A match takes its pin at once, as
 * a lookup takes a ref, and none of a block that the request has. Where the key may be filled the hold is a ref first,
 * and turned into the request's pin by one CAS, so that there is no moment without either. What a death leaves is
 * counts of this client's. (tests/model/request_end.pml)
 */
#include "config.h"

#include "part.h"
#include "request.h"

static struct kvshm_handle lend(const struct kvl_request *own, uint32_t block, uint64_t life)
{
	struct kvshm_handle handle = kvl_handle(block, life, KVSHM_LENT);

	handle.request = (uint16_t)(own->slot + 1);
	return handle;
}

static void release_ref(const struct kvs_actor *actor, const struct kvs_found *found)
{
	(void)kvs_hold_release(actor, found->block, found->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
}

/* A ref was taken: it becomes the request's hold, unless it has that block already. There is place in the list. A key
 * that was ready needs no room; one that another is filling may, if that one dies (R07). used: a block of the room was
 * taken for it already, and has gone. */
static void keep(const struct kvs_actor *actor, struct kvl_request *own, const struct kvs_found *found, bool ready,
		 bool used, struct kvshm_handle *handle)
{
	struct kvl_hold *hold = kvl_request_find_hold(own, found->block);

	if (hold) {
		release_ref(actor, found);
	} else {
		hold = kvl_request_add_hold(own, found->block, found->life,
					    kvl_request_turn(actor, found->block, found->life));
		hold->filled = used;
	}
	if (ready)
		kvl_request_see_ready(actor, own, hold);
	*handle = lend(own, found->block, found->life);
}

/* ---- Match --------------------------------------------------------------------------------------------------- */

static int check_keys(const kvshm_store *store, const struct kvshm_key *keys, size_t count, const void *results,
		      bool gaps)
{
	int rc = 0;

	if (count && (!keys || !results))
		return kvs_fault(EINVAL, "no keys, or no place for the results, were given (NULL)");
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (!gaps || !kvl_no_key(&keys[i]))
			rc = kvl_check_key(&store->map, keys[i].bytes, keys[i].length, results);
	return rc;
}

/* Is a block that the walk came to one that the request has already, and ready? Then it needs no other hold: the life
 * can't end under the one that it has, and whoever removes the key, or clears the store, is seen here as by who takes
 * one. [clear: look] [publish: read] */
KVS_HOT bool has_ready(const struct kvs_actor *actor, const struct kvl_hold *hold)
{
	const struct kvs_block *block = kvs_block(actor->map, hold->block);

	return kvl_hold_is_held(hold) && !kvs_cleared(actor->map, hold->life) &&
	       kvs_word_state(atomic_load_explicit(&block->word, memory_order_acquire)) == KVS_READY &&
	       atomic_load_explicit(&block->life, memory_order_acquire) == hold->life;
}

/* In a section: the request's hold of one block, that it has or takes: a pin, or a ref where this client has too many
 * pins. (Who has it, but in another state, takes one more, which judges that, and lets go of it.) */
KVS_HOT enum kvs_taken take_block(const struct kvs_actor *actor, struct kvl_request *own, uint32_t block,
				  struct kvl_hold **hold)
{
	uint64_t unit = KVS_ENTRY_PIN, field = KVS_ENTRY_PINS, life;
	enum kvs_taken taken;

	*hold = kvl_request_find_hold(own, block);
	if (*hold && has_ready(actor, *hold))
		return KVS_TAKEN;
	taken = kvs_hold_take(actor, block, false, unit, field, &life);
	if (__builtin_expect(taken == KVS_TAKEN_FULL, 0)) {
		unit = KVS_ENTRY_REF;
		field = KVS_ENTRY_REFS;
		taken = kvs_hold_take(actor, block, false, unit, field, &life);
	}
	if (taken != KVS_TAKEN)
		return taken;
	if (*hold)
		(void)kvs_hold_release_inside(actor, block, life, unit, field);
	else
		*hold = kvl_request_add_hold(own, block, life, unit == KVS_ENTRY_PIN ? KVL_PIN : KVL_REF);
	return KVS_TAKEN;
}

/* The first block of a key that can be held: as kvs_table_get(). */
KVS_HOT int take_key(const struct kvs_actor *actor, struct kvl_request *own, const void *key, size_t length,
		     uint64_t hash, struct kvl_hold **hold)
{
	struct kvs_walk walk = {.key = key, .hash = hash, .length = (uint32_t)length};
	int taken = KVS_GONE;

	kvs_enter(actor);
	kvs_index_start(actor->map, &walk);
	while (taken == KVS_GONE) {
		uint32_t block = kvs_index_next(actor, &walk);

		if (block == KVS_NONE)
			break;
		taken = block == KVS_WALK_NONSENSE ? kvs_table_nonsense(actor->reader)
						   : (int)take_block(actor, own, block, hold);
	}
	kvs_leave(actor);
	return taken;
}

/* One key of a match: 0, -ENOENT, -EAGAIN, or an error: then lent is as it was, perhaps a fill of the caller's. */
static int match_one(const struct kvs_actor *actor, struct kvl_request *own, const struct kvshm_key *key, uint64_t hash,
		     struct kvshm_handle *lent)
{
	struct kvl_hold *hold = NULL;
	int taken;

	if (kvl_no_key(key)) {
		*lent = kvl_no_hold;
		return 0;
	}
	taken = key->length == 32 ? take_key(actor, own, key->bytes, 32, hash, &hold)
				  : take_key(actor, own, key->bytes, key->length, hash, &hold);
	if (__builtin_expect(taken != KVS_TAKEN || !hold, 0)) /* taken: there is one */
		return kvl_judge_miss(actor->reader, taken);
	kvs_count(actor, KVS_COUNT_hits);
	kvl_request_see_ready(actor, own, hold);
	*lent = lend(own, hold->block, hold->life);
	return 0;
}

static int match(const struct kvs_actor *actor, struct kvl_request *own, const struct kvshm_key *keys, size_t count,
		 struct kvshm_handle *lent, size_t *done)
{
	uint64_t hashes[KVL_GROUP];
	size_t fetched = 0, first = 0;
	int rc = 0;

	for (*done = 0; *done < count; ++*done) {
		if (*done == fetched) {
			first = *done;
			fetched += kvl_fetch_keys(actor, keys + *done, count - *done, hashes);
			rc = kvl_request_make_place(own, fetched - first);
		}
		if (rc == 0)
			rc = match_one(actor, own, &keys[*done], hashes[*done - first], &lent[*done]);
		if (rc)
			return rc;
	}
	return 0;
}

/* A match that failed leaves what the request had, and what it has newly: both end with it. So nothing is undone. */
int kvshm_request_match(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *keys,
			size_t count, struct kvshm_handle *lent, size_t *ready, enum kvshm_next *next)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	size_t done;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = check_keys(store, keys, count, lent, true);
	if (rc == 0 && (!ready || !next))
		rc = kvl_no_place();
	if (rc == 0)
		rc = kvl_request_begin(store, request, &actor, &own);
	if (rc)
		return rc;
	rc = match(&actor, own, keys, count, lent, &done);
	kvl_request_tell(own);
	kvl_request_leave(own);
	if (rc && rc != -ENOENT && rc != -EAGAIN)
		return rc;
	*ready = done;
	*next = rc == 0 ? KVSHM_NEXT_NONE : rc == -ENOENT ? KVSHM_NEXT_MISSING : KVSHM_NEXT_FILLING;
	return 0;
}

/* ---- Pin ----------------------------------------------------------------------------------------------------- */

/* The request holds a block that this client holds. Ready is what has all its parts, also where its key has gone: who
 * holds it has its bytes. There is place in the list. */
static int pin(const struct kvs_actor *actor, struct kvl_request *own, const struct kvshm_handle *held,
	       struct kvshm_handle *lent)
{
	const struct kvs_found found = {.block = held->block, .life = held->life};
	struct kvs_block *block;
	int rc;

	if (held->kind == KVSHM_NONE) {
		*lent = kvl_no_hold;
		return 0;
	}
	rc = kvl_held(actor, held, &block);
	if (rc)
		return rc;
	if (held->kind == KVSHM_OWNED)
		return kvs_routine(EBUSY, "the block has no key yet: publish it first");
	rc = kvs_hold_add(actor, found.block, found.life, KVS_ENTRY_REF, KVS_ENTRY_REFS, true);
	if (rc == -EMFILE)
		return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
	if (rc)
		return kvs_routine(EBADF, "the hold was released by another thread");
	keep(actor, own, &found, kvs_part_whole(actor->map, found.block), false, lent);
	return 0;
}

int kvshm_request_pin(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_handle *held,
		      size_t count, struct kvshm_handle *lent, int *results)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	if (count && !held)
		rc = kvs_routine(EINVAL, "no handles were given (NULL)");
	else if (count && (!lent || !results))
		rc = kvl_no_place();
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (i % KVL_GROUP == 0)
			for (size_t next = i; next < count && next < i + KVL_GROUP; next++)
				kvs_fetch_block(&actor, held[next].block);
		results[i] = kvl_request_make_place(own, 1);
		if (results[i] == 0)
			results[i] = pin(&actor, own, &held[i], &lent[i]);
		if (results[i])
			lent[i] = kvl_no_hold;
	}
	kvl_request_tell(own);
	kvl_request_leave(own);
	return rc;
}

/* ---- Get or fill --------------------------------------------------------------------------------------------- */

/* Begins a fill, in room of the request's if it has any: *used. Returns as kvs_table_fill(). */
static int begin_fill(const struct kvs_actor *actor, struct kvl_request *own, const struct kvshm_key *key,
		      uint64_t hash, bool shared, struct kvs_found *found, bool *used)
{
	struct kvs_found mine = {.block = KVS_NONE};

	*used = kvs_room_draw(actor, &own->room, &mine.block);
	if (!*used)
		return kvl_begin_fill(actor, key, hash, shared, found);
	kvs_count(actor, KVS_COUNT_misses);
	kvs_table_begin(actor, shared, &mine);
	return kvs_table_link(actor, key->bytes, key->length, hash, &mine, found);
}

static int begin_own_fill(const struct kvl_request *own, const struct kvs_found *found, enum kvshm_outcome *outcome,
			  struct kvshm_handle *handle)
{
	*outcome = KVSHM_FILL;
	*handle = kvl_handle(found->block, found->life, KVSHM_WRITER);
	handle->request = (uint16_t)(own->slot + 1);
	return 0;
}

static int get_or_fill(const struct kvs_actor *actor, struct kvl_request *own, const struct kvshm_key *key,
		       uint64_t hash, bool shared, enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	struct kvs_found found = {.block = KVS_NONE};
	struct kvshm_handle ref = kvl_no_hold;
	bool used = false;
	int rc = kvl_request_make_place(own, 1);

	if (rc)
		return rc;
	rc = kvs_table_get(actor, key->bytes, key->length, hash, true, &found);
	if (rc == KVS_GONE) {
		rc = begin_fill(actor, own, key, hash, shared, &found, &used);
		if (rc == KVS_GONE) {
			(void)kvl_request_add_hold(own, found.block, found.life, KVL_FILL);
			return begin_own_fill(own, &found, outcome, handle);
		}
	}
	rc = kvl_judge_taken(actor, rc, &found, outcome, &ref);
	if (rc == 0)
		keep(actor, own, &found, *outcome == KVSHM_READY, used, handle);
	return rc;
}

static int fill_one(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *key, bool shared,
		    enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvl_check_key(&store->map, key->bytes, key->length, outcome ? handle : NULL);
	if (rc == 0)
		rc = kvl_request_begin(store, request, &actor, &own);
	if (rc)
		return rc;
	rc = get_or_fill(&actor, own, key, kvs_index_hash(&store->map, key->bytes, key->length), shared, outcome,
			 handle);
	kvl_request_tell(own);
	kvl_request_leave(own);
	return rc;
}

int kvshm_request_get_or_fill(kvshm_store *store, const struct kvshm_request *request, const void *key,
			      size_t key_length, enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	return fill_one(store, request, &(struct kvshm_key){key, key_length}, false, outcome, handle);
}

int kvshm_request_get_or_fill_shared(kvshm_store *store, const struct kvshm_request *request, const void *key,
				     size_t key_length, enum kvshm_outcome *outcome, struct kvshm_handle *handle)
{
	return fill_one(store, request, &(struct kvshm_key){key, key_length}, true, outcome, handle);
}

static int fill_many(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_key *keys,
		     size_t count, bool shared, enum kvshm_outcome *outcomes, struct kvshm_handle *handles,
		     int *results)
{
	uint64_t hashes[KVL_GROUP];
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	if (count && (!keys || !outcomes || !handles || !results)) {
		kvl_request_leave(own);
		return kvl_no_place();
	}
	for (size_t done = 0, fetched = 0, first = 0; done < count; done++) {
		if (done == fetched) {
			first = done;
			fetched += kvl_fetch_keys(&actor, keys + done, count - done, hashes);
		}
		handles[done] = kvl_no_hold;
		results[done] = kvl_check_key(&store->map, keys[done].bytes, keys[done].length, results);
		if (results[done] == 0)
			results[done] = get_or_fill(&actor, own, &keys[done], hashes[done - first], shared,
						    &outcomes[done], &handles[done]);
	}
	kvl_request_tell(own);
	kvl_request_leave(own);
	return 0;
}

int kvshm_request_get_or_fill_batch(kvshm_store *store, const struct kvshm_request *request,
				    const struct kvshm_key *keys, size_t count, enum kvshm_outcome *outcomes,
				    struct kvshm_handle *handles, int *results)
{
	return fill_many(store, request, keys, count, false, outcomes, handles, results);
}

int kvshm_request_get_or_fill_shared_batch(kvshm_store *store, const struct kvshm_request *request,
					   const struct kvshm_key *keys, size_t count, enum kvshm_outcome *outcomes,
					   struct kvshm_handle *handles, int *results)
{
	return fill_many(store, request, keys, count, true, outcomes, handles, results);
}

/* ---- Waiting for one, and the end of a fill ------------------------------------------------------------------- */

/* What a handle is on, of its request's: a fill (of a KVSHM_WRITER), or a hold; locked with that. NULL, unlocked: it
 * has ended, or is none. */
static struct kvl_hold *lock_hold(kvshm_store *store, const struct kvshm_handle *handle, struct kvl_request **own)
{
	bool fill = handle->kind == KVSHM_WRITER;
	struct kvl_hold *hold;

	if (handle->request == 0 || handle->request > store->map.g.requests)
		return NULL;
	*own = kvl_request_record(store, handle->request - 1);
	if (!*own)
		return NULL;
	kvl_request_enter(*own);
	hold = (*own)->open ? kvl_request_find_hold(*own, handle->block) : NULL;
	if (hold && (fill ? hold->kind == KVL_FILL : kvl_hold_is_held(hold)) && hold->life == handle->life)
		return hold;
	kvl_request_leave(*own);
	return NULL;
}

bool kvl_request_has(kvshm_store *store, const struct kvshm_handle *lent)
{
	struct kvl_request *own;
	bool has = lock_hold(store, lent, &own);

	if (has)
		kvl_request_leave(own);
	return has;
}

void kvl_request_failed(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *lent)
{
	struct kvl_request *own;
	struct kvl_hold *hold = lock_hold(store, lent, &own);

	*lent = kvl_no_hold;
	if (!hold)
		return;
	kvl_request_drop_hold(actor, own, hold);
	kvl_request_tell(own);
	kvl_request_leave(own);
}

static int no_fill_of_request(void)
{
	return kvs_routine(EBADF, "the handle is no fill of a request's: it was published already, or has ended with "
				  "its request");
}

/* The fill is none any more: its entry goes, and the request with it, if it is over and this was the last. */
static void forget(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold)
{
	hold->kind = KVL_LEFT;
	own->fills--;
	if (kvl_request_judge(actor, own))
		kvl_request_let_go(actor, own, false);
	else
		kvl_request_tell(own);
}

/* Published: the ref that is left is the request's. */
static void adopt(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold,
		  struct kvshm_handle *handle)
{
	hold->kind = (uint8_t)kvl_request_turn(actor, hold->block, hold->life);
	hold->filled = hold->own = true;
	own->fills--;
	own->held++;
	own->unready++;
	if (kvs_part_whole(actor->map, hold->block)) /* not yet, perhaps, if it is shared */
		kvl_request_see_ready(actor, own, hold);
	*handle = lend(own, hold->block, hold->life);
	kvl_request_tell(own);
}

int kvl_request_publish(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle,
			const struct kvshm_meta *meta)
{
	struct kvl_request *own;
	struct kvl_hold *hold = lock_hold(store, handle, &own);
	int rc;

	if (!hold)
		return no_fill_of_request();
	rc = kvl_request_judge(actor, own);
	if (rc) {
		(void)kvl_give_up_fill(actor, handle);
		forget(actor, own, hold);
	} else {
		rc = kvl_publish_fill(actor, handle, meta);
		if (rc == 0)
			adopt(actor, own, hold, handle);
		else if (handle->kind == KVSHM_NONE)
			forget(actor, own, hold);
	}
	kvl_request_leave(own);
	return rc;
}

int kvl_request_give_up(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle)
{
	struct kvl_request *own;
	struct kvl_hold *hold = lock_hold(store, handle, &own);
	int rc;

	if (!hold)
		return no_fill_of_request();
	rc = kvl_give_up_fill(actor, handle);
	if (rc == 0)
		forget(actor, own, hold);
	kvl_request_leave(own);
	return rc;
}

/* The ref for the request; the fill's own stays with it. */
static int add_ref(const struct kvs_actor *actor, const struct kvshm_handle *handle)
{
	int rc = kvs_hold_add(actor, handle->block, handle->life, KVS_ENTRY_REF, KVS_ENTRY_REFS, true);

	if (rc == -EMFILE)
		return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
	return rc ? no_fill_of_request() : 0;
}

int kvl_request_hand_over(const struct kvs_actor *actor, kvshm_store *store, struct kvshm_handle *handle, bool publish,
			  struct kvshm_handle *kept)
{
	struct kvl_request *own;
	struct kvl_hold *hold = lock_hold(store, handle, &own);
	int over, rc = 0;

	*kept = kvl_no_hold;
	if (!hold)
		return no_fill_of_request();
	over = publish ? kvl_request_judge(actor, own) : 0;
	if (publish && !over)
		rc = add_ref(actor, handle);
	if (rc == 0) {
		*kept = *handle;
		kept->request = 0;
		*handle = kvl_no_hold;
		if (publish && !over)
			adopt(actor, own, hold, handle);
		else
			forget(actor, own, hold);
	}
	kvl_request_leave(own);
	return rc ? rc : over;
}
