/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * greeting.c: how two nodes come to know each other. Contract in greeting.h.
 *
 * Guarantees: who does not have this node's secret gets no further than a HELLO, which says nothing that is secret.
 * Each side judges for itself what it was told: versions, secrets, and, where both have stores, labels and sizes; and
 * says why not, so that both logs have it.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "greeting.h"
#include "internal.h"

#define SILENCE_MIN 100U /* ms, however little the other side says that it bears: it is not sent PINGs without end */

/* ---- This side's ----------------------------------------------------------------------------------------------- */

static struct kvr_text text_of(const char *text)
{
	return (struct kvr_text){.bytes = (const uint8_t *)text, .length = (uint32_t)strlen(text)};
}

static void describe_store(kvshm_store *store, struct kvr_hello *hello)
{
	const struct kvs_geometry *g = &store->map.g;

	hello->flags |= KVR_HAS_STORE;
	hello->incarnation = g->incarnation;
	hello->block_size = g->block_size;
	hello->blocks = g->blocks;
	hello->planes = g->planes;
	hello->key_max = g->key_max;
	hello->label = (struct kvr_text){.bytes = (const uint8_t *)store->map.head->label,
					 .length = (uint32_t)strnlen(store->map.head->label, KVSHM_LABEL_MAX)};
}

/* Keeps a HELLO for the proof. */
static int keep(struct kvr_peer *peer, enum kvr_role role, const uint8_t *bytes, size_t size)
{
	peer->hello[role] = malloc(size);
	if (!peer->hello[role])
		return kvs_fault(ENOMEM, "no memory");
	memcpy(peer->hello[role], bytes, size);
	peer->hello_size[role] = (uint32_t)size;
	return 0;
}

int kvr_greeting_begin(struct kvr_peer *peer)
{
	const struct kvr_node *node = peer->node;
	struct kvr_hello hello = {.version = KVR_VERSION,
				  .flags = node->secret.there ? KVR_HAS_SECRET : 0,
				  .timeout = (uint32_t)(node->timeout / 1000000),
				  .pid = (uint32_t)getpid()};
	char name[KVR_TEXT] = "";
	struct kvr_out out;
	int rc = kvr_nonce(hello.nonce);

	if (rc)
		return rc;
	if (node->store)
		describe_store(node->store, &hello);
	if (gethostname(name, sizeof(name) - 1))
		name[0] = 0;
	hello.node = text_of(name);
	hello.store = text_of(node->store_name);
	kvr_write_hello(&out, &hello);
	rc = keep(peer, peer->role, out.bytes, out.size);
	if (rc)
		return rc;
	peer->state = KVR_PEER_GREETING;
	return kvr_peer_send(peer, &out, 0);
}

/* ---- The other side's ------------------------------------------------------------------------------------------ */

static int judge_secrets(const struct kvr_peer *peer, unsigned flags)
{
	bool here = peer->node->secret.there, there = flags & KVR_HAS_SECRET;

	if (here && !there)
		return kvs_fault(EACCES, "%s has no secret, and this side has one: give both the same (--key-file)",
				 peer->remote);
	if (!here && there)
		return kvs_fault(EACCES, "%s has a secret, and this side has none: give both the same (--key-file)",
				 peer->remote);
	return 0;
}

/* Do the stores of both sides go together? */
static int judge_stores(const struct kvr_peer *peer)
{
	const struct kvs_geometry *own = &peer->node->store->map.g;
	const struct kvshm_geometry *other = &peer->geometry;
	const char *label = peer->node->store->map.head->label;

	if (strcmp(label, peer->label) != 0)
		return kvs_fault(EMEDIUMTYPE, "the store of %s has the label '%s', and this side's has '%s'",
				 peer->remote, peer->label, label);
	if (other->block_size != own->block_size)
		return kvs_fault(EPROTO, "the store of %s has blocks of %" PRIu64 " bytes, and this side's of %" PRIu64,
				 peer->remote, other->block_size, own->block_size);
	if (other->planes != own->planes)
		return kvs_fault(EPROTO, "the store of %s has %u planes, and this side's has %u", peer->remote,
				 other->planes, own->planes);
	return 0;
}

static int judge_geometry(const struct kvr_peer *peer)
{
	const struct kvshm_geometry *g = &peer->geometry;

	if (!g->block_size || g->block_size % KVSHM_BLOCK_UNIT || !g->blocks || g->blocks > KVSHM_BLOCKS_MAX ||
	    !g->planes || g->planes > KVSHM_PLANES_MAX || !g->key_max || g->key_max > KVSHM_KEY_MAX)
		return kvs_fault(EPROTO, "%s says that its store has %u blocks of %" PRIu64 " bytes in %u planes: "
					 "there is no such store", peer->remote, g->blocks, g->block_size, g->planes);
	return 0;
}

static void take(struct kvr_peer *peer, const struct kvr_hello *hello)
{
	kvr_text_show(hello->label, peer->label, sizeof(peer->label));
	kvr_text_show(hello->store, peer->store, sizeof(peer->store));
	kvr_text_show(hello->node, peer->name, sizeof(peer->name));
	peer->pid = hello->pid;
	peer->timeout = (hello->timeout < SILENCE_MIN ? SILENCE_MIN : hello->timeout) * UINT64_C(1000000);
	peer->has_store = hello->flags & KVR_HAS_STORE;
	if (peer->has_store)
		peer->geometry = (struct kvshm_geometry){.block_size = hello->block_size,
							 .incarnation = hello->incarnation,
							 .blocks = hello->blocks,
							 .planes = hello->planes,
							 .key_max = hello->key_max};
}

static int prove(struct kvr_peer *peer)
{
	uint8_t proof[KVR_PROOF_SIZE] = {0};
	struct kvr_out out;

	if (peer->node->secret.there)
		kvr_prove(&peer->node->secret, peer->role,
			  (struct kvr_hello_bytes){peer->hello[KVR_CONNECTOR], peer->hello_size[KVR_CONNECTOR]},
			  (struct kvr_hello_bytes){peer->hello[KVR_ACCEPTOR], peer->hello_size[KVR_ACCEPTOR]}, proof);
	kvr_write_proof(&out, proof);
	peer->state = KVR_PEER_PROVING;
	return kvr_peer_send(peer, &out, 0);
}

int kvr_greeting_on_hello(struct kvr_peer *peer, const struct kvr_hello *hello, const uint8_t *bytes, size_t size)
{
	const enum kvr_role other = peer->role == KVR_CONNECTOR ? KVR_ACCEPTOR : KVR_CONNECTOR;
	int rc = 0;

	if (hello->version != KVR_VERSION)
		return kvs_fault(EPROTO, "%s speaks version %u of the messages between nodes, and this side version %d",
				 peer->remote, hello->version, KVR_VERSION);
	take(peer, hello);
	if (peer->role == KVR_ACCEPTOR) /* so that both are told why not, whoever sees it */
		rc = kvr_greeting_begin(peer);
	if (rc == 0)
		rc = keep(peer, other, bytes, size);
	if (rc == 0)
		rc = judge_secrets(peer, hello->flags);
	if (rc == 0 && peer->has_store)
		rc = judge_geometry(peer);
	if (rc == 0 && peer->has_store && peer->node->store)
		rc = judge_stores(peer);
	return rc ? rc : prove(peer);
}

int kvr_greeting_on_proof(struct kvr_peer *peer, struct kvr_text proof)
{
	const enum kvr_role other = peer->role == KVR_CONNECTOR ? KVR_ACCEPTOR : KVR_CONNECTOR;
	uint8_t expected[KVR_PROOF_SIZE] = {0};

	if (peer->node->secret.there)
		kvr_prove(&peer->node->secret, other,
			  (struct kvr_hello_bytes){peer->hello[KVR_CONNECTOR], peer->hello_size[KVR_CONNECTOR]},
			  (struct kvr_hello_bytes){peer->hello[KVR_ACCEPTOR], peer->hello_size[KVR_ACCEPTOR]},
			  expected);
	if (!kvr_proof_is_right(proof.bytes, expected))
		return kvs_fault(EACCES, "%s has another secret than this side: give both the same (--key-file)",
				 peer->remote);
	kvr_greeting_end(peer);
	peer->state = KVR_PEER_UP;
	return 0;
}

void kvr_greeting_end(struct kvr_peer *peer)
{
	for (int role = 0; role < 2; role++) {
		free(peer->hello[role]);
		peer->hello[role] = NULL;
	}
}
