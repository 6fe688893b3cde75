/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tickets.c: names of blocks that travel between processes, holds taken by them, and joining a shared fill as the
 * writer of a plane. Contracts in kvshm.h.
 *
 * A ticket is the block's number (4 bytes), the low half of the store's incarnation (4) and the block's life (8), with
 * their low bytes first. It names a life of a block, so it can get old without harm: it then finds another life, and is
 * refused (R26: it never finds another key).
 */
#include "config.h"

#include <string.h>

#include "hold.h"
#include "internal.h"
#include "keys.h"
#include "part.h"

struct ticket {
	uint32_t block;
	uint32_t incarnation;
	uint64_t life;
};
_Static_assert(sizeof(struct ticket) == KVSHM_TICKET_SIZE, "a ticket is its bytes (little endian: layout.c)");

static uint32_t incarnation(const kvshm_store *store)
{
	return (uint32_t)store->map.g.incarnation;
}

int kvshm_get_ticket(kvshm_store *store, const struct kvshm_handle *held, struct kvshm_ticket *ticket)
{
	struct kvs_actor actor;
	struct kvs_block *block;
	struct ticket t;
	int rc = kvl_begin(store, &actor);

	if (rc == 0 && !ticket)
		rc = kvl_no_place();
	if (rc == 0)
		rc = kvl_held(&actor, held, &block);
	if (rc)
		return rc;
	if (held->kind == KVSHM_OWNED)
		return kvs_routine(EBUSY, "the block has no key yet: publish it first");
	t = (struct ticket){.block = held->block, .incarnation = incarnation(store), .life = held->life};
	memcpy(ticket->bytes, &t, sizeof(t));
	return 0;
}

static int gone(const struct kvs_actor *actor)
{
	kvs_count(actor, KVS_COUNT_stale_tickets);
	return kvs_routine(ENOENT, "the ticket's block has gone, or the ticket is of another store: look the key up");
}

static int not_whole(void)
{
	return kvs_routine(ECANCELED, "the fill of the ticket's block was given up, or its filler or a writer died: "
				      "look the key up");
}

static void undo(const struct kvs_actor *actor, const struct kvs_found *found)
{
	(void)kvs_hold_release(actor, found->block, found->life, KVS_ENTRY_REF, KVS_ENTRY_REFS);
}

/* Takes a ref of what a ticket names: KVS_TAKEN or KVS_TAKEN_FILLING, or an error. */
static int take(kvshm_store *store, const struct kvs_actor *actor, const struct kvshm_ticket *ticket,
		struct kvs_found *found)
{
	enum kvs_taken taken;
	struct ticket t;

	memcpy(&t, ticket->bytes, sizeof(t));
	if (t.incarnation != incarnation(store) || !kvs_resolve(actor->map, t.block))
		return gone(actor);
	*found = (struct kvs_found){.block = t.block, .life = t.life};
	kvs_enter(actor);
	taken = kvs_hold_take_life(actor, t.block, t.life);
	kvs_leave(actor);
	switch (taken) {
	case KVS_TAKEN:
	case KVS_TAKEN_FILLING:
		return (int)taken;
	case KVS_TAKEN_DOOMED:
		if (kvs_part_whole(actor->map, t.block))
			return KVS_TAKEN;
		undo(actor, found);
		return not_whole();
	case KVS_TAKEN_FULL:
		return kvs_routine(EMFILE, "this client has 65,535 refs of that block: release some");
	default:
		return gone(actor);
	}
}

/* How the calls with a ticket begin. */
static int begin(kvshm_store *store, struct kvs_actor *actor, const struct kvshm_ticket *ticket, const void *result)
{
	int rc = kvl_begin(store, actor);

	if (rc == 0 && !ticket)
		rc = kvs_routine(EINVAL, "no ticket was given (NULL)");
	return rc == 0 && !result ? kvl_no_place() : rc;
}

int kvshm_hold(kvshm_store *store, const struct kvshm_ticket *ticket, enum kvshm_outcome *outcome,
	       struct kvshm_handle *ref)
{
	struct kvs_found found;
	struct kvs_actor actor;
	int rc = begin(store, &actor, ticket, outcome ? ref : NULL);

	if (rc)
		return rc;
	rc = take(store, &actor, ticket, &found);
	if (rc < 0)
		return rc;
	kvs_count(&actor, KVS_COUNT_tickets);
	*outcome = rc == KVS_TAKEN ? KVSHM_READY : KVSHM_PENDING;
	*ref = kvl_handle(found.block, found.life, KVSHM_REF);
	return 0;
}

/* Becomes the writer of a plane of a block that was seen being filled, and is held. The count comes first: who dies
 * behind the claim is seen to have been a writer. (tests/model/parts.pml) */
static int become_writer(const struct kvs_actor *actor, const struct kvs_found *found, unsigned plane)
{
	int rc = kvs_hold_add(actor, found->block, found->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITERS, true);

	if (rc == -EMFILE)
		return kvs_routine(EMFILE, "this client writes 15 parts of that block: end some");
	if (rc == 0 && !kvs_part_claim(actor->map, found->block, plane)) {
		(void)kvs_hold_sub(&actor->row[found->block], found->life, KVS_ENTRY_WRITER, KVS_ENTRY_WRITERS);
		rc = kvs_part_alone(actor->map, found->block)
			     ? kvs_routine(EOPNOTSUPP, "the fill was not begun as a shared one: hold it, and wait")
			     : kvs_routine(EBUSY, "that plane has, or had, a writer");
	}
	return rc;
}

int kvshm_join(kvshm_store *store, const struct kvshm_ticket *ticket, unsigned plane, struct kvshm_handle *part)
{
	struct kvs_found found;
	struct kvs_actor actor;
	int rc = begin(store, &actor, ticket, part);

	if (rc)
		return rc;
	if (plane >= store->map.g.planes)
		return kvl_no_plane(store, plane);
	rc = take(store, &actor, ticket, &found);
	if (rc < 0)
		return rc;
	rc = rc == KVS_TAKEN_FILLING ? become_writer(&actor, &found, plane)
				     : kvs_routine(EALREADY, "the block is ready: hold it by its ticket");
	if (rc) {
		undo(&actor, &found);
		return rc;
	}
	*part = kvl_handle(found.block, found.life, KVSHM_PART);
	part->plane = (uint8_t)plane;
	return 0;
}
