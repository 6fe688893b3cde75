/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * message_write.c: messages that are sent. Guarantees: what is written here kvr_read() reads; a batch is a whole
 * message behind every entry.
 */
#include "config.h"

#include "message.h"

#include <string.h>

#include "bytes.h"
#include "kvshm.h"

static void put(struct kvr_out *out, const void *bytes, uint32_t size)
{
	if (size)
		memcpy(out->bytes + out->size, bytes, size);
	out->size += size;
	kvr_put32(out->bytes, out->size);
}

static void put16(struct kvr_out *out, uint32_t number)
{
	uint8_t bytes[2];

	kvr_put16(bytes, number);
	put(out, bytes, sizeof(bytes));
}

static void put32(struct kvr_out *out, uint32_t number)
{
	uint8_t bytes[4];

	kvr_put32(bytes, number);
	put(out, bytes, sizeof(bytes));
}

static void put64(struct kvr_out *out, uint64_t number)
{
	uint8_t bytes[8];

	kvr_put64(bytes, number);
	put(out, bytes, sizeof(bytes));
}

/* Credits are the link's to write. */
static void begin(struct kvr_out *out, enum kvr_type type)
{
	memset(out->bytes, 0, KVR_HEADER_SIZE);
	out->size = 0;
	out->count = 0;
	put32(out, KVR_HEADER_SIZE);
	put16(out, type);
	put16(out, 0);
}

static struct kvr_text cut(struct kvr_text text, uint32_t most)
{
	text.length = text.length < most ? text.length : most;
	return text;
}

static struct kvr_text cut_string(const char *text, uint32_t most)
{
	return (struct kvr_text){ .bytes = (const uint8_t *)text, .length = text ? (uint32_t)strnlen(text, most) : 0 };
}

static void put_text(struct kvr_out *out, struct kvr_text text)
{
	put16(out, text.length);
	put(out, text.bytes, text.length);
}

void kvr_write_hello(struct kvr_out *out, const struct kvr_hello *hello)
{
	struct kvr_text label = cut(hello->label, KVR_LABEL_MAX), store = cut(hello->store, KVR_NAME_MAX),
			node = cut(hello->node, KVR_NAME_MAX);

	begin(out, KVR_HELLO);
	put16(out, hello->version);
	put16(out, hello->flags);
	put32(out, hello->pid);
	put(out, hello->nonce, KVR_NONCE_SIZE);
	put64(out, hello->incarnation);
	put64(out, hello->block_size);
	put32(out, hello->blocks);
	put32(out, hello->planes);
	put32(out, hello->key_max);
	put32(out, hello->timeout);
	put16(out, label.length);
	put16(out, store.length);
	put16(out, node.length);
	put(out, label.bytes, label.length);
	put(out, store.bytes, store.length);
	put(out, node.bytes, node.length);
}

void kvr_write_proof(struct kvr_out *out, const uint8_t proof[KVR_PROOF_SIZE])
{
	begin(out, KVR_PROOF);
	put(out, proof, KVR_PROOF_SIZE);
}

void kvr_write_bye(struct kvr_out *out, int result, const char *text)
{
	begin(out, KVR_BYE);
	put32(out, (uint32_t)result);
	put_text(out, cut_string(text, KVR_REASON_MAX));
}

void kvr_write_open(struct kvr_out *out, const struct kvr_open *open)
{
	begin(out, KVR_OPEN);
	put32(out, open->transfer);
	put32(out, open->want);
	put32(out, open->attempt);
	put32(out, open->blocks);
	put32(out, open->planes);
	put32(out, open->room);
	put_text(out, open->id);
}

void kvr_write_opened(struct kvr_out *out, uint32_t transfer, int result, const char *text)
{
	begin(out, KVR_OPENED);
	put32(out, transfer);
	put32(out, (uint32_t)result);
	put_text(out, cut_string(text, KVR_REASON_MAX));
}

void kvr_write_end(struct kvr_out *out, enum kvr_type type, const struct kvr_end *end)
{
	begin(out, type);
	put32(out, end->transfer);
	put32(out, end->held);
	put32(out, (uint32_t)end->result);
	put32(out, end->by_sender);
}

void kvr_write_wanted(struct kvr_out *out, const struct kvr_wanted *wanted)
{
	begin(out, KVR_WANTED);
	put32(out, wanted->want);
	put32(out, wanted->have);
	put32(out, (uint32_t)wanted->result);
}

void kvr_write_ping(struct kvr_out *out, enum kvr_type type, uint64_t time)
{
	begin(out, type);
	put64(out, time);
}

void kvr_write_data(struct kvr_out *out, const struct kvr_data *data)
{
	begin(out, KVR_DATA);
	put64(out, data->to);
	put64(out, data->length);
	put32(out, data->rkey);
}

void kvr_write_credit(struct kvr_out *out)
{
	begin(out, KVR_CREDIT);
}

void kvr_write_denied(struct kvr_out *out)
{
	begin(out, KVR_DENIED);
}

/* ---- Batches ---- */

#define WANT_ID (KVR_HEADER_SIZE + 20) /* where a WANT has its id, behind five numbers */

/* Where the count of a batch's entries stands: in front of the first. */
static uint32_t count_at(const struct kvr_out *out)
{
	if (kvr_get16(out->bytes + 4) != KVR_WANT)
		return KVR_HEADER_SIZE + 4;
	return WANT_ID + 2 + kvr_get16(out->bytes + WANT_ID);
}

/* Has it room for an entry of that size? Then it is counted. */
static bool add(struct kvr_out *out, uint32_t size)
{
	if (out->size + size > KVR_MESSAGE_MAX)
		return false;
	kvr_put32(out->bytes + count_at(out), ++out->count);
	return true;
}

static void begin_batch(struct kvr_out *out, enum kvr_type type, uint32_t transfer)
{
	begin(out, type);
	put32(out, transfer);
	put32(out, 0);
}

void kvr_begin_offers(struct kvr_out *out, uint32_t transfer)
{
	begin_batch(out, KVR_OFFER, transfer);
}

bool kvr_add_offer(struct kvr_out *out, const struct kvr_offer *offer)
{
	if (!add(out, 4 + 4 + 8 + KVSHM_OPAQUE_SIZE + 2 + offer->key.length))
		return false;
	put32(out, offer->position);
	put32(out, offer->depth);
	put64(out, offer->length);
	put(out, offer->opaque, KVSHM_OPAQUE_SIZE);
	put_text(out, offer->key);
	return true;
}

void kvr_begin_grants(struct kvr_out *out, uint32_t transfer)
{
	begin_batch(out, KVR_GRANT, transfer);
}

bool kvr_add_grant(struct kvr_out *out, const struct kvr_grant *grant)
{
	if (!add(out, 4 + 4 + 8 + 4 + 2 + 2 + grant->count * (4 + 4 + 8)))
		return false;
	put32(out, grant->position);
	put32(out, grant->block);
	put64(out, grant->life);
	put32(out, (uint32_t)grant->result);
	put16(out, grant->kind);
	put16(out, grant->count);
	for (uint32_t i = 0; i < grant->count; i++) {
		put32(out, grant->planes[i].plane);
		put32(out, grant->planes[i].rkey);
		put64(out, grant->planes[i].address);
	}
	return true;
}

void kvr_begin_commits(struct kvr_out *out, uint32_t transfer)
{
	begin_batch(out, KVR_COMMIT, transfer);
}

bool kvr_add_commit(struct kvr_out *out, const struct kvr_commit *commit)
{
	if (!add(out, 4 + 4 + 4))
		return false;
	put32(out, commit->position);
	put32(out, commit->planes);
	put32(out, commit->kind);
	return true;
}

void kvr_begin_want(struct kvr_out *out, const struct kvr_want *want)
{
	begin(out, KVR_WANT);
	put32(out, want->want);
	put32(out, want->total);
	put32(out, want->first);
	put32(out, want->attempt);
	put32(out, want->room);
	put_text(out, want->id);
	put32(out, 0);
}

bool kvr_add_key(struct kvr_out *out, struct kvr_text key)
{
	if (!add(out, 2 + key.length))
		return false;
	put_text(out, key);
	return true;
}
