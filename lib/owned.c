/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owned.c: blocks that are taken before their key is known, and published under it later. Contracts in kvshm.h.
 *
 * Such a block is OWNED, and held by its owner, whose death gives it back. Nobody else can reach it: it has no link, no
 * ticket and no pin.
 */
#include "config.h"

#include "clear.h"
#include "keys.h"
#include "part.h"

int kvshm_alloc(kvshm_store *store, struct kvshm_handle *owned)
{
	struct kvs_found found = {.block = KVS_NONE};
	struct kvs_actor actor;
	int rc = kvl_begin(store, &actor);

	if (rc == 0 && !owned)
		rc = kvl_no_place();
	if (rc == 0)
		rc = kvs_table_alloc(&actor, false, &found);
	if (rc == 0)
		*owned = kvl_handle(found.block, found.life, KVSHM_OWNED);
	return rc;
}

static int not_owned(void)
{
	return kvs_routine(EBADF, "the handle is no block without a key of this client's: it was published already, or "
				  "given back");
}

int kvl_give_back(const struct kvs_actor *actor, struct kvshm_handle *handle)
{
	const struct kvs_found owned = {.block = handle->block, .life = handle->life};

	if (!kvs_table_claim(actor, &owned))
		return not_owned();
	kvs_table_give_back(actor, &owned);
	*handle = kvl_no_hold;
	return 0;
}

static int cleared(const struct kvs_actor *actor, struct kvshm_handle *handle, const struct kvs_found *mine)
{
	kvs_table_give_back(actor, mine);
	*handle = kvl_no_hold;
	return kvs_routine(ECANCELED, "the store was cleared since the block was taken: it has gone back");
}

/* The block has its key, and is linked. It is ready now, unless the key was removed at once. */
static int finish(const struct kvs_actor *actor, struct kvshm_handle *handle, enum kvshm_published *published)
{
	int rc;

	kvs_enter(actor);
	rc = kvs_table_end_part(actor, handle->block, KVS_PART_FILLER);
	kvs_leave(actor);
	if (rc == 0) {
		handle->kind = KVSHM_REF;
		*published = KVSHM_PUBLISHED;
		return 0;
	}
	(void)kvs_hold_release(actor, handle->block, handle->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
	*handle = kvl_no_hold;
	return kvs_routine(ECANCELED, "the key was removed, or the store cleared, while it was published");
}

static int publish_as(const struct kvs_actor *actor, struct kvshm_handle *handle, const struct kvshm_key *key,
		      uint64_t hash, const struct kvshm_meta *meta, enum kvshm_published *published)
{
	const struct kvs_found mine = {.block = handle->block, .life = handle->life};
	struct kvs_found found = {.block = KVS_NONE};
	enum kvshm_outcome outcome;
	int rc;

	if (handle->kind != KVSHM_OWNED || !kvs_table_claim(actor, &mine))
		return not_owned();
	if (kvs_cleared(actor->map, handle->life))
		return cleared(actor, handle, &mine);
	kvl_describe(actor->map, handle->block, meta);
	rc = kvs_table_link(actor, key->bytes, key->length, hash, &mine, &found);
	if (rc == KVS_GONE)
		return finish(actor, handle, published);
	*handle = kvl_no_hold; /* it has gone back */
	rc = kvl_judge_taken(actor, rc, &found, &outcome, handle);
	if (rc == 0)
		*published = outcome == KVSHM_READY ? KVSHM_DUPLICATE : KVSHM_DUPLICATE_PENDING;
	return rc;
}

int kvshm_publish_as(kvshm_store *store, struct kvshm_handle *handle, const void *key, size_t key_length,
		     const struct kvshm_meta *meta, enum kvshm_published *published)
{
	const struct kvshm_key name = {key, key_length};
	struct kvs_actor actor;
	struct kvs_block *block;
	int rc = kvl_begin(store, &actor);

	if (rc == 0)
		rc = kvl_check_key(&store->map, key, key_length, published);
	if (rc == 0)
		rc = kvl_check_meta(&store->map, meta);
	if (rc == 0)
		rc = kvl_held(&actor, handle, &block);
	if (rc)
		return rc;
	return publish_as(&actor, handle, &name, kvs_index_hash(&store->map, key, key_length), meta, published);
}
