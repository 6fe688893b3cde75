/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * sending.c: the calls with transfers. Contracts in kvshm.h. What is refused here has changed nothing, and nothing of
 * it has gone out.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connector.h"
#include "internal.h"
#include "want.h"

/* ---- How calls begin */

/* What a transfer has ended with, in its words. */
static int ended(const struct kvshm_transfer *t)
{
	if (!t->result)
		return 0;
	return kvs_fault(-t->result, "%s", t->text[0] ? t->text : strerror(-t->result));
}

static int enter(struct kvshm_transfer *t)
{
	if (!t)
		return kvs_routine(EINVAL, "no transfer was given (NULL)");
	return kvr_connector_enter(t->owner);
}

static int leave(struct kvshm_transfer *t, int rc)
{
	return kvr_connector_leave(t->owner, rc);
}

/* Of calls that the engine's own transfers take, while they are under way. */
static int check_open(const struct kvshm_transfer *t)
{
	if (t->push || t->wish)
		return kvs_routine(EINVAL, "the transfer offers, writes and commits by itself (kvshm_send, "
				   "kvshm_want)");
	if (t->phase == KVR_ENDED && t->result)
		return ended(t);
	if (t->phase == KVR_ABORTING || t->phase == KVR_DRAINING)
		return kvs_routine(ECANCELED, "the transfer is being aborted");
	return 0;
}

/* ---- Opening */

static int check_id(const void *id, size_t length, uint32_t attempt)
{
	if (!id && !length && !attempt)
		return 0;
	if (!id || !length || length > KVSHM_REQUEST_ID_MAX)
		return kvs_fault(EINVAL, "an id of %zu bytes: 1 to %d are possible, or none at all (NULL, 0, and "
				 "attempt 0)", id ? length : 0, KVSHM_REQUEST_ID_MAX);
	return 0;
}

static const struct kvshm_transfer_options *or_defaults(const struct kvshm_transfer_options *options,
							struct kvshm_transfer_options *defaults)
{
	kvshm_transfer_defaults(defaults);
	return options ? options : defaults;
}

/* In ms, as messages have it. */
static uint32_t room_ms(const struct kvshm_transfer_options *options)
{
	uint64_t ms = options->room_timeout / 1000000;

	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* What a transfer needs of the other side; planes 0 is all of them. */
static int check_there(const struct kvr_peer *peer, uint64_t blocks, uint32_t *planes)
{
	uint32_t all;

	if (peer->state != KVR_PEER_UP)
		return kvr_peer_lost(peer);
	if (!peer->has_store)
		return kvs_routine(EOPNOTSUPP, "the other side has no store that could take blocks");
	all = UINT32_MAX >> (KVSHM_PLANES_MAX - peer->geometry.planes);
	if (*planes & ~all)
		return kvs_fault(EINVAL, "planes %#x: the store over there has %u", *planes, peer->geometry.planes);
	if (blocks > peer->geometry.blocks)
		return kvs_fault(E2BIG, "a transfer of %llu blocks, and the store over there has %u: send less, or "
				 "make it larger", (unsigned long long)blocks, peer->geometry.blocks);
	if (!*planes)
		*planes = all;
	return 0;
}

static struct kvr_open open_of(const void *id, size_t id_length, const struct kvshm_transfer_options *options)
{
	return (struct kvr_open){
		.attempt = options->attempt,
		.planes = options->planes,
		.room = room_ms(options),
		.id = { .bytes = id, .length = (uint32_t)id_length },
	};
}

static int open_transfer(struct kvshm_peer *peer, struct kvr_open *open, uint32_t blocks, void *user,
			 struct kvshm_transfer **transfer)
{
	struct kvshm_transfer *t;
	int rc = check_there(peer->peer, blocks, &open->planes);

	if (rc == 0)
		rc = kvr_transfer_make(peer->peer, peer, blocks, open->planes, &t);
	if (rc)
		return rc;
	t->user = user;
	rc = kvr_transfer_send_open(t, open);
	if (rc)
		kvr_transfer_free(t);
	else
		*transfer = t;
	return rc;
}

int kvshm_transfer_open(kvshm_peer *peer, const void *id, size_t id_length, uint32_t blocks,
			const struct kvshm_transfer_options *options, kvshm_transfer **transfer)
{
	struct kvshm_transfer_options defaults;
	struct kvr_open open;
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	options = or_defaults(options, &defaults);
	rc = transfer ? check_id(id, id_length, options->attempt) : kvl_no_place();
	if (rc == 0) {
		open = open_of(id, id_length, options);
		rc = open_transfer(peer, &open, blocks, options->user, transfer);
	}
	return kvr_connector_leave(peer, rc);
}

/* ---- Offering, writing, committing */

int kvshm_transfer_offer(kvshm_transfer *transfer, uint32_t first, const struct kvshm_offer *offers, size_t count)
{
	int rc = enter(transfer);

	if (rc)
		return rc;
	rc = check_open(transfer);
	if (rc == 0 && count && !offers)
		rc = kvs_routine(EINVAL, "no offers were given (NULL)");
	if (rc == 0 && count)
		rc = kvr_transfer_offer(transfer, first, offers, count);
	return leave(transfer, rc);
}

static int check_granted(const struct kvshm_transfer *t, uint32_t position)
{
	if (position >= t->blocks)
		return kvs_fault(EINVAL, "block %u: the transfer has %u", position, t->blocks);
	if (t->positions[position].state != KVSHM_SENDING_GRANTED)
		return kvs_fault(EINVAL, "block %u is not granted (it is in state %u)", position,
				 t->positions[position].state);
	return 0;
}

static int check_write(const struct kvshm_transfer *t, uint32_t position, unsigned plane, uint64_t offset,
		       uint64_t length)
{
	const uint64_t block_size = t->peer->geometry.block_size;
	int rc = check_granted(t, position);

	if (rc)
		return rc;
	if (plane >= KVSHM_PLANES_MAX || !(t->planes & (UINT32_C(1) << plane)))
		return kvs_fault(EINVAL, "plane %u is not one that this transfer writes", plane);
	if (offset > block_size || length > block_size - offset)
		return kvs_fault(EINVAL, "%llu bytes at %llu: a block has %llu", (unsigned long long)length,
				 (unsigned long long)offset, (unsigned long long)block_size);
	return 0;
}

int kvshm_transfer_write(kvshm_transfer *transfer, uint32_t position, unsigned plane, uint64_t offset,
			 const void *bytes, uint64_t length)
{
	int rc = enter(transfer);

	if (rc)
		return rc;
	rc = check_open(transfer);
	if (rc == 0)
		rc = check_write(transfer, position, plane, offset, length);
	if (rc == 0 && length)
		rc = kvr_transfer_write(transfer, position, plane, offset, bytes, length);
	return leave(transfer, rc);
}

/* Each is granted, and named once. */
static int check_list(struct kvshm_transfer *t, const uint32_t *positions, size_t count)
{
	int rc = check_open(t);

	if (rc == 0 && count && !positions)
		rc = kvs_routine(EINVAL, "no positions were given (NULL)");
	t->marks++;
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = check_granted(t, positions[i]);
		if (rc)
			return rc;
		if (t->positions[positions[i]].mark == t->marks)
			return kvs_fault(EINVAL, "block %u is named twice", positions[i]);
		t->positions[positions[i]].mark = t->marks;
	}
	return rc;
}

static int commit(struct kvshm_transfer *transfer, const uint32_t *positions, size_t count, enum kvr_commit_kind kind)
{
	int rc = enter(transfer);

	if (rc)
		return rc;
	rc = check_list(transfer, positions, count);
	if (rc == 0 && count)
		rc = kvr_transfer_commit(transfer, positions, count, kind);
	return leave(transfer, rc);
}

int kvshm_transfer_commit(kvshm_transfer *transfer, const uint32_t *positions, size_t count)
{
	return commit(transfer, positions, count, KVR_WHOLE);
}

int kvshm_transfer_give_up(kvshm_transfer *transfer, const uint32_t *positions, size_t count)
{
	return commit(transfer, positions, count, KVR_GIVEN_UP);
}

/* ---- Its end */

static void abort_it(struct kvshm_transfer *t)
{
	if (t->wish)
		kvr_wish_abort(t);
	else
		kvr_transfer_abort(t);
}

int kvshm_transfer_abort(kvshm_transfer *transfer)
{
	int rc = enter(transfer);

	if (rc)
		return rc;
	abort_it(transfer);
	return leave(transfer, 0);
}

static int wait_end(struct kvshm_transfer *t, uint64_t deadline)
{
	struct kvr_node *node = t->peer->node;
	int rc = 0;

	while (t->phase != KVR_ENDED && rc == 0)
		rc = kvr_node_work(node, deadline);
	if (t->phase == KVR_ENDED)
		return ended(t);
	return rc == -ETIMEDOUT ? kvs_routine(ETIMEDOUT, "the transfer is still under way") : rc;
}

int kvshm_transfer_wait(kvshm_transfer *transfer, uint64_t deadline)
{
	int rc = enter(transfer);

	return rc ? rc : leave(transfer, wait_end(transfer, deadline));
}

int kvshm_transfer_look(kvshm_transfer *transfer, struct kvshm_transfer_info *info)
{
	const struct kvshm_transfer *t = transfer;
	int rc = enter(transfer);

	if (rc)
		return rc;
	if (!info)
		return leave(transfer, kvl_no_place());
	*info = (struct kvshm_transfer_info){
		.blocks = t->blocks,
		.offered = t->count[KVSHM_SENDING_OFFERED],
		.pending = t->count[KVSHM_SENDING_PENDING],
		.granted = t->count[KVSHM_SENDING_GRANTED],
		.committed = t->count[KVSHM_SENDING_COMMITTED],
		.sent = t->count[KVSHM_SENDING_SENT],
		.there = t->count[KVSHM_SENDING_THERE],
		.refused = t->count[KVSHM_SENDING_REFUSED],
		.bytes = t->bytes,
		.ended = t->phase == KVR_ENDED,
		.result = t->phase == KVR_ENDED ? t->result : 0,
		.has_request = t->has_request,
		.request = t->request,
	};
	return leave(transfer, 0);
}

/* Nobody's any more, it goes on until nothing of it is read. */
int kvshm_transfer_close(kvshm_transfer *transfer)
{
	struct kvshm_peer *owner;
	int rc = enter(transfer);

	if (rc)
		return rc;
	owner = transfer->owner;
	kvr_transfer_hush(transfer);
	transfer->owner = NULL;
	if (transfer->phase == KVR_ENDED)
		kvr_transfer_free(transfer);
	else
		abort_it(transfer);
	return kvr_connector_leave(owner, 0);
}

/* ---- Sending what the store has, and wanting what the other side has */

static int check_push(const struct kvr_peer *peer, uint64_t count, const struct kvshm_handle *held,
		      struct kvr_open *open)
{
	if (!peer->node->store)
		return kvs_routine(EINVAL, "the peer has no store of its own to send from (kvshm_connect)");
	if (count && !held)
		return kvs_routine(EINVAL, "no handles were given (NULL)");
	return check_there(peer, count, &open->planes);
}

/* A ref of its own for each. */
static int take_refs(kvshm_store *store, const struct kvshm_handle *held, size_t count, struct kvshm_handle *refs)
{
	size_t taken = 0;
	int rc = 0;

	while (taken < count && rc == 0) {
		enum kvshm_outcome outcome;
		struct kvshm_ticket ticket;

		rc = kvshm_get_ticket(store, &held[taken], &ticket);
		if (rc == 0)
			rc = kvshm_hold(store, &ticket, &outcome, &refs[taken]);
		if (rc)
			break;
		taken++;
		if (outcome != KVSHM_READY)
			rc = kvs_fault(EAGAIN, "hold %zu of those that are to be sent is still being filled: wait for "
				       "it", taken - 1);
	}
	if (rc) {
		char text[256];

		(void)snprintf(text, sizeof(text), "%s", kvs_fault_text());
		(void)kvshm_let_go(store, refs, taken);
		return kvs_fault(-rc, "%s", text);
	}
	return 0;
}

static int send_held(struct kvshm_peer *peer, struct kvr_push_options *options, const struct kvshm_handle *held,
		     size_t count, struct kvshm_transfer **transfer)
{
	struct kvshm_handle *refs;
	int rc = check_push(peer->peer, count, held, &options->open);

	if (rc)
		return rc;
	refs = calloc(count ? count : 1, sizeof(*refs));
	if (!refs)
		return kvs_fault(ENOMEM, "no memory for a transfer of %zu blocks", count);
	rc = take_refs(peer->node.store, held, count, refs);
	if (rc == 0)
		rc = kvr_push_start(peer->peer, options, refs, count, transfer);
	free(refs);
	return rc;
}

int kvshm_send(kvshm_peer *peer, const void *id, size_t id_length, const struct kvshm_transfer_options *options,
	       const struct kvshm_handle *held, size_t count, kvshm_transfer **transfer)
{
	struct kvshm_transfer_options defaults;
	struct kvr_push_options push;
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	options = or_defaults(options, &defaults);
	rc = transfer ? check_id(id, id_length, options->attempt) : kvl_no_place();
	if (rc == 0) {
		push = (struct kvr_push_options){
			.owner = peer,
			.open = open_of(id, id_length, options),
			.user = options->user,
		};
		rc = send_held(peer, &push, held, count, transfer);
	}
	return kvr_connector_leave(peer, rc);
}

static int check_want(const struct kvr_peer *peer, const struct kvshm_key *keys, size_t count)
{
	struct kvshm_geometry here;
	int rc;

	if (peer->state != KVR_PEER_UP)
		return kvr_peer_lost(peer);
	if (!peer->node->store)
		return kvs_routine(EINVAL, "the peer has no store of its own for what is wanted (kvshm_connect)");
	if (!peer->has_store)
		return kvs_routine(EOPNOTSUPP, "the other side has no store of which anything could be wanted");
	if (count && !keys)
		return kvs_routine(EINVAL, "no keys were given (NULL)");
	rc = kvshm_get_geometry(peer->node->store, &here);
	if (rc == 0 && count > here.blocks)
		return kvs_fault(E2BIG, "%zu keys are wanted, and the store has %u blocks", count, here.blocks);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (!keys[i].bytes || !keys[i].length || keys[i].length > KVSHM_KEY_MAX)
			rc = kvs_fault(EINVAL, "key %zu has %zu bytes: keys have 1 to %d", i,
				       keys[i].bytes ? keys[i].length : 0, KVSHM_KEY_MAX);
	return rc;
}

int kvshm_want(kvshm_peer *peer, const void *id, size_t id_length, const struct kvshm_transfer_options *options,
	       const struct kvshm_key *keys, size_t count, kvshm_transfer **transfer)
{
	struct kvshm_transfer_options defaults;
	int rc = kvr_connector_enter(peer);

	if (rc)
		return rc;
	options = or_defaults(options, &defaults);
	rc = transfer ? check_id(id, id_length, options->attempt) : kvl_no_place();
	if (rc == 0)
		rc = check_want(peer->peer, keys, count);
	if (rc == 0) {
		const struct kvr_want want = {
			.attempt = options->attempt,
			.room = room_ms(options),
			.id = { .bytes = id, .length = (uint32_t)id_length },
		};

		rc = kvr_wish_start(peer->peer, peer, &want, keys, count, options->user, transfer);
	}
	return kvr_connector_leave(peer, rc);
}
