/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * messages_make.c: messages at random, and damage to them. See messages.h.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "kvshm.h"
#include "messages.h"

/* splitmix64 */
uint64_t messages_random(uint64_t *stream)
{
	uint64_t z = *stream += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint32_t messages_below(uint64_t *stream, uint32_t limit)
{
	return (uint32_t)(messages_random(stream) >> 32) % limit;
}

/* A number: any, small, or at an edge. */
static uint64_t number(uint64_t *stream)
{
	static const uint64_t edges[] = { 0, 1, 7, UINT16_MAX, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX };

	switch (messages_below(stream, 3)) {
	case 0:
		return messages_random(stream);
	case 1:
		return messages_below(stream, 64);
	default:
		return edges[messages_below(stream, sizeof(edges) / sizeof(edges[0]))];
	}
}

static uint32_t number32(uint64_t *stream)
{
	return (uint32_t)number(stream);
}

static int32_t result(uint64_t *stream)
{
	return messages_below(stream, 2) ? 0 : -(int32_t)messages_below(stream, 4096);
}

/* Bytes for texts and keys; not 0, since texts are also strings. */
static uint8_t *bytes_of(uint64_t *stream, size_t size)
{
	static uint8_t bytes[1024];

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(1 + messages_below(stream, 255));
	bytes[size] = 0;
	return bytes;
}

/* At least so many bytes, up to most; the most and the least are frequent. */
static uint32_t length(uint64_t *stream, uint32_t least, uint32_t most)
{
	uint32_t kind = messages_below(stream, 4);

	return kind == 0 ? least : kind == 1 ? most : least + messages_below(stream, most - least + 1);
}

static struct kvr_text text(uint64_t *stream, uint32_t least, uint32_t most)
{
	struct kvr_text made = { .length = length(stream, least, most) };

	made.bytes = bytes_of(stream, made.length);
	return made;
}

static void make_hello(uint64_t *stream, struct kvr_out *out)
{
	static uint8_t names[3][256];
	struct kvr_hello hello = { .version = KVR_VERSION, .flags = (uint16_t)messages_random(stream),
				   .incarnation = number(stream), .block_size = number(stream),
				   .blocks = number32(stream), .planes = number32(stream),
				   .key_max = number32(stream), .timeout = number32(stream), .pid = number32(stream) };
	struct kvr_text *texts[] = { &hello.label, &hello.store, &hello.node };

	memcpy(hello.nonce, bytes_of(stream, KVR_NONCE_SIZE), KVR_NONCE_SIZE);
	for (unsigned i = 0; i < 3; i++) {
		*texts[i] = text(stream, 0, i ? KVR_NAME_MAX : KVR_LABEL_MAX);
		memcpy(names[i], texts[i]->bytes, texts[i]->length);
		texts[i]->bytes = names[i];
	}
	kvr_write_hello(out, &hello);
}

static void make_open(uint64_t *stream, struct kvr_out *out)
{
	struct kvr_open open = { .transfer = number32(stream), .want = number32(stream), .attempt = number32(stream),
				 .blocks = number32(stream), .planes = number32(stream), .room = number32(stream) };

	open.id = text(stream, 0, KVSHM_REQUEST_ID_MAX);
	kvr_write_open(out, &open);
}

/* How many entries a batch gets: none, some, or as many as fit. */
static uint32_t entries(uint64_t *stream)
{
	return messages_below(stream, 2) ? messages_below(stream, 4) : length(stream, 0, 800);
}

static void make_offers(uint64_t *stream, struct kvr_out *out)
{
	uint8_t opaque[KVSHM_OPAQUE_SIZE];
	struct kvr_offer offer = { .opaque = opaque };

	kvr_begin_offers(out, number32(stream));
	for (uint32_t i = entries(stream); i > 0; i--) {
		offer.position = number32(stream);
		offer.depth = number32(stream);
		offer.length = number(stream);
		memcpy(opaque, bytes_of(stream, sizeof(opaque)), sizeof(opaque));
		offer.key = text(stream, 1, KVSHM_KEY_MAX);
		if (!kvr_add_offer(out, &offer))
			return;
	}
}

static void make_grants(uint64_t *stream, struct kvr_out *out)
{
	struct kvr_grant grant;

	kvr_begin_grants(out, number32(stream));
	for (uint32_t i = entries(stream); i > 0; i--) {
		grant = (struct kvr_grant){ .position = number32(stream), .block = number32(stream),
					    .result = result(stream), .life = number(stream),
					    .count = length(stream, 0, KVSHM_PLANES_MAX) };
		grant.kind = (enum kvr_grant_kind)messages_below(stream, KVR_REFUSED + 1);
		for (uint32_t j = 0; j < grant.count; j++)
			grant.planes[j] = (struct kvr_grant_plane){ number32(stream), number32(stream),
								    number(stream) };
		if (!kvr_add_grant(out, &grant))
			return;
	}
}

static void make_commits(uint64_t *stream, struct kvr_out *out)
{
	struct kvr_commit commit;

	kvr_begin_commits(out, number32(stream));
	for (uint32_t i = entries(stream); i > 0; i--) {
		commit.position = number32(stream);
		commit.planes = number32(stream);
		commit.kind = messages_below(stream, 2) ? KVR_WHOLE : KVR_GIVEN_UP;
		if (!kvr_add_commit(out, &commit))
			return;
	}
}

static void make_want(uint64_t *stream, struct kvr_out *out)
{
	struct kvr_want want = { .want = number32(stream), .total = number32(stream), .first = number32(stream),
				 .attempt = number32(stream), .room = number32(stream) };

	want.id = text(stream, 0, KVSHM_REQUEST_ID_MAX);
	kvr_begin_want(out, &want);
	for (uint32_t i = entries(stream); i > 0; i--)
		if (!kvr_add_key(out, text(stream, 1, KVSHM_KEY_MAX)))
			return;
}

static void make_reason(uint64_t *stream, enum kvr_type type, struct kvr_out *out)
{
	const char *reason = (const char *)text(stream, 0, KVR_REASON_MAX).bytes;

	if (type == KVR_BYE)
		kvr_write_bye(out, result(stream), reason);
	else
		kvr_write_opened(out, number32(stream), result(stream), reason);
}

/* Those that are nothing but numbers. */
static void make_small(uint64_t *stream, enum kvr_type type, struct kvr_out *out)
{
	struct kvr_end end = { .transfer = number32(stream), .held = number32(stream), .result = result(stream),
			       .by_sender = messages_below(stream, 2) };
	struct kvr_wanted wanted = { .want = number32(stream), .have = number32(stream), .result = result(stream) };
	struct kvr_data data = { .to = number(stream), .length = number(stream), .rkey = number32(stream) };

	if (type == KVR_WANTED)
		kvr_write_wanted(out, &wanted);
	else if (type == KVR_PING || type == KVR_PONG)
		kvr_write_ping(out, type, number(stream));
	else if (type == KVR_CREDIT)
		kvr_write_credit(out);
	else if (type == KVR_DENIED)
		kvr_write_denied(out);
	else if (type == KVR_DATA)
		kvr_write_data(out, &data);
	else
		kvr_write_end(out, type, &end);
}

void messages_make(uint64_t *stream, enum kvr_type type, struct kvr_out *out)
{
	if (type == KVR_HELLO)
		make_hello(stream, out);
	else if (type == KVR_PROOF)
		kvr_write_proof(out, bytes_of(stream, KVR_PROOF_SIZE));
	else if (type == KVR_BYE || type == KVR_OPENED)
		make_reason(stream, type, out);
	else if (type == KVR_OPEN)
		make_open(stream, out);
	else if (type == KVR_OFFER)
		make_offers(stream, out);
	else if (type == KVR_GRANT)
		make_grants(stream, out);
	else if (type == KVR_COMMIT)
		make_commits(stream, out);
	else if (type == KVR_WANT)
		make_want(stream, out);
	else
		make_small(stream, type, out);
}

/* ---- Damage */

/* Most of what can be wrong is at the beginning: so that is damaged most. */
static size_t place(uint64_t *stream, size_t size)
{
	size_t most = messages_below(stream, 2) && size > 64 ? 64 : size;

	return messages_below(stream, (uint32_t)most);
}

static void change(uint64_t *stream, uint8_t *bytes, size_t size)
{
	size_t at = place(stream, size), width = (size_t)1 << messages_below(stream, 4);
	uint8_t value[8];

	if (messages_below(stream, 2)) {
		bytes[at] ^= (uint8_t)(1U << messages_below(stream, 8));
		return;
	}
	kvr_put64(value, number(stream));
	memcpy(bytes + at, value, width < size - at ? width : size - at);
}

void messages_damage(uint64_t *stream, uint8_t *bytes, size_t *size)
{
	for (uint32_t i = messages_below(stream, 4); i > 0; i--)
		change(stream, bytes, *size);
	switch (messages_below(stream, 6)) {
	case 0: /* cut */
		*size = messages_below(stream, (uint32_t)*size + 1);
		break;
	case 1: /* longer */
		while (*size < KVR_MESSAGE_MAX && messages_below(stream, 16))
			bytes[(*size)++] = (uint8_t)messages_random(stream);
		break;
	default:
		break;
	}
	if (*size >= KVR_HEADER_SIZE && messages_below(stream, 4))
		kvr_put32(bytes, (uint32_t)*size);
}
