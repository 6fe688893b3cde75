/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * message_read.c: messages that were received. Guarantees: see message.h. All checks are made by kvr_read(); behind it
 * the entries of a batch are taken with the same functions, whose checks can't fail any more.
 */
#include "config.h"

#include "message.h"

#include <string.h>

#include "bytes.h"
#include "fault.h"
#include "kvshm.h"

/* What is left of a message. A field that lies behind its end is 0, and the message bad. */
struct in {
	const uint8_t *at, *end;
	const char *bad; /* what is wrong with it */
};

static const uint8_t *take(struct in *in, size_t size)
{
	const uint8_t *at = in->at;

	if ((size_t)(in->end - at) < size) {
		in->at = in->end;
		in->bad = in->bad ? in->bad : "it ends within a field";
		return NULL;
	}
	in->at += size;
	return at;
}

static uint16_t take16(struct in *in)
{
	const uint8_t *at = take(in, 2);

	return at ? kvr_get16(at) : 0;
}

static uint32_t take32(struct in *in)
{
	const uint8_t *at = take(in, 4);

	return at ? kvr_get32(at) : 0;
}

static uint64_t take64(struct in *in)
{
	const uint8_t *at = take(in, 8);

	return at ? kvr_get64(at) : 0;
}

static struct kvr_text take_text(struct in *in, uint32_t length)
{
	const uint8_t *at = take(in, length);

	return (struct kvr_text){ .bytes = at, .length = at ? length : 0 };
}

static void must(struct in *in, bool condition, const char *bad)
{
	if (!condition && !in->bad)
		in->bad = bad;
}

/* 0, or a negative errno. */
static int32_t take_result(struct in *in)
{
	int32_t result = (int32_t)take32(in);

	must(in, result <= 0 && result > -4096, "its result is neither 0 nor a negative error");
	return result;
}

/* One of another version has the version where ours has it, and that is all that is known of it. */
static void read_hello(struct in *in, struct kvr_hello *hello)
{
	uint32_t label, store, node;
	const uint8_t *nonce;

	hello->version = take16(in);
	if (hello->version != KVR_VERSION) {
		in->at = in->end;
		return;
	}
	hello->flags = take16(in);
	hello->pid = take32(in);
	nonce = take(in, KVR_NONCE_SIZE);
	if (nonce)
		memcpy(hello->nonce, nonce, KVR_NONCE_SIZE);
	hello->incarnation = take64(in);
	hello->block_size = take64(in);
	hello->blocks = take32(in);
	hello->planes = take32(in);
	hello->key_max = take32(in);
	hello->timeout = take32(in);
	label = take16(in);
	store = take16(in);
	node = take16(in);
	must(in, label <= KVR_LABEL_MAX && store <= KVR_NAME_MAX && node <= KVR_NAME_MAX, "a name is too long");
	hello->label = take_text(in, label);
	hello->store = take_text(in, store);
	hello->node = take_text(in, node);
}

static struct kvr_text take_reason(struct in *in)
{
	uint32_t length = take16(in);

	must(in, length <= KVR_REASON_MAX, "its text is too long");
	return take_text(in, length);
}

static void read_bye(struct in *in, struct kvr_bye *bye)
{
	bye->result = take_result(in);
	bye->text = take_reason(in);
}

static struct kvr_text take_id(struct in *in)
{
	uint32_t length = take16(in);

	must(in, length <= KVSHM_REQUEST_ID_MAX, "the request's id is too long");
	return take_text(in, length);
}

static void read_open(struct in *in, struct kvr_open *open)
{
	open->transfer = take32(in);
	open->want = take32(in);
	open->attempt = take32(in);
	open->blocks = take32(in);
	open->planes = take32(in);
	open->room = take32(in);
	open->id = take_id(in);
}

static void read_opened(struct in *in, struct kvr_opened *opened)
{
	opened->transfer = take32(in);
	opened->result = take_result(in);
	opened->text = take_reason(in);
}

static void read_end(struct in *in, struct kvr_end *end)
{
	uint32_t by_sender;

	end->transfer = take32(in);
	end->held = take32(in);
	end->result = take_result(in);
	by_sender = take32(in);
	must(in, by_sender <= 1, "it comes from neither sender nor receiver");
	end->by_sender = by_sender == 1;
}

static void read_wanted(struct in *in, struct kvr_wanted *wanted)
{
	wanted->want = take32(in);
	wanted->have = take32(in);
	wanted->result = take_result(in);
}

static void read_data(struct in *in, struct kvr_data *data)
{
	data->to = take64(in);
	data->length = take64(in);
	data->rkey = take32(in);
}

/* ---- Entries ---- */

static struct kvr_text take_key(struct in *in)
{
	uint32_t length = take16(in);

	must(in, length > 0 && length <= KVSHM_KEY_MAX, "a key is empty or too long");
	return take_text(in, length);
}

static void take_offer(struct in *in, struct kvr_offer *offer)
{
	offer->position = take32(in);
	offer->depth = take32(in);
	offer->length = take64(in);
	offer->opaque = take(in, KVSHM_OPAQUE_SIZE);
	offer->key = take_key(in);
}

static void take_grant(struct in *in, struct kvr_grant *grant)
{
	uint32_t kind;

	grant->position = take32(in);
	grant->block = take32(in);
	grant->life = take64(in);
	grant->result = take_result(in);
	kind = take16(in);
	must(in, kind <= KVR_REFUSED, "a grant is of no kind that there is");
	grant->kind = kind <= KVR_REFUSED ? (enum kvr_grant_kind)kind : KVR_REFUSED;
	grant->count = take16(in);
	must(in, grant->count <= KVSHM_PLANES_MAX, "a grant has too many planes");
	for (uint32_t i = 0; i < grant->count && !in->bad; i++) {
		grant->planes[i].plane = take32(in);
		grant->planes[i].rkey = take32(in);
		grant->planes[i].address = take64(in);
	}
}

static void take_commit(struct in *in, struct kvr_commit *commit)
{
	uint32_t kind;

	commit->position = take32(in);
	commit->planes = take32(in);
	kind = take32(in);
	must(in, kind <= KVR_GIVEN_UP, "a commit is of no kind that there is");
	commit->kind = kind == KVR_WHOLE ? KVR_WHOLE : KVR_GIVEN_UP;
}

/* What a batch begins with; leaves it at its first entry. */
static void begin(struct in *in, struct kvr_message *message)
{
	if (message->type == KVR_WANT) {
		message->want.want = take32(in);
		message->want.total = take32(in);
		message->want.first = take32(in);
		message->want.attempt = take32(in);
		message->want.room = take32(in);
		message->want.id = take_id(in);
	} else {
		message->transfer = take32(in);
	}
	message->count = take32(in);
	message->next = in->at;
	message->behind = in->end;
}

static void skip_entry(struct in *in, enum kvr_type type)
{
	union {
		struct kvr_offer offer;
		struct kvr_grant grant;
		struct kvr_commit commit;
	} entry;

	if (type == KVR_OFFER)
		take_offer(in, &entry.offer);
	else if (type == KVR_GRANT)
		take_grant(in, &entry.grant);
	else if (type == KVR_COMMIT)
		take_commit(in, &entry.commit);
	else
		(void)take_key(in);
}

/* Each entry has bytes: so a count that is too large ends with the message. */
static void read_batch(struct in *in, struct kvr_message *message)
{
	begin(in, message);
	for (uint32_t i = 0; i < message->count && !in->bad; i++)
		skip_entry(in, message->type);
}

/* ---- Messages ---- */

static const char *const names[] = {
	[KVR_HELLO] = "HELLO",	 [KVR_PROOF] = "PROOF",	    [KVR_BYE] = "BYE",	     [KVR_OPEN] = "OPEN",
	[KVR_OPENED] = "OPENED", [KVR_OFFER] = "OFFER",	    [KVR_GRANT] = "GRANT",   [KVR_COMMIT] = "COMMIT",
	[KVR_ABORT] = "ABORT",	 [KVR_ABORTED] = "ABORTED", [KVR_DONE] = "DONE",     [KVR_WANT] = "WANT",
	[KVR_WANTED] = "WANTED", [KVR_PING] = "PING",	    [KVR_PONG] = "PONG",     [KVR_CREDIT] = "CREDIT",
	[KVR_DATA] = "DATA",	 [KVR_DENIED] = "DENIED",
};

const char *kvr_type_name(enum kvr_type type)
{
	return (size_t)type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "unknown";
}

int kvr_read_header(const uint8_t *bytes, uint32_t *size, enum kvr_type *type)
{
	uint32_t length = kvr_get32(bytes), kind = kvr_get16(bytes + 4);

	if (kind < KVR_HELLO || kind > KVR_DENIED)
		return kvs_fault(EPROTO, "the other side sent a message of type %u: this version of kvshm knows none",
				 kind);
	if (length < KVR_HEADER_SIZE || length > KVR_MESSAGE_MAX)
		return kvs_fault(EPROTO, "the other side sent a %s of %u bytes: messages have %d to %d", names[kind],
				 length, KVR_HEADER_SIZE, KVR_MESSAGE_MAX);
	*size = length;
	*type = (enum kvr_type)kind;
	return 0;
}

static void read_body(struct in *in, struct kvr_message *message)
{
	switch (message->type) {
	case KVR_HELLO:
		read_hello(in, &message->hello);
		break;
	case KVR_PROOF:
		message->proof = take_text(in, KVR_PROOF_SIZE);
		break;
	case KVR_BYE:
		read_bye(in, &message->bye);
		break;
	case KVR_OPEN:
		read_open(in, &message->open);
		break;
	case KVR_OPENED:
		read_opened(in, &message->opened);
		break;
	case KVR_ABORT:
	case KVR_ABORTED:
	case KVR_DONE:
		read_end(in, &message->end);
		break;
	case KVR_OFFER:
	case KVR_GRANT:
	case KVR_COMMIT:
	case KVR_WANT:
		read_batch(in, message);
		break;
	case KVR_WANTED:
		read_wanted(in, &message->wanted);
		break;
	case KVR_PING:
	case KVR_PONG:
		message->time = take64(in);
		break;
	case KVR_DATA:
		read_data(in, &message->data);
		break;
	case KVR_CREDIT:
	case KVR_DENIED:
		break;
	}
}

int kvr_read(const uint8_t *bytes, size_t size, struct kvr_message *message)
{
	struct in in = { .bad = NULL };
	struct kvr_message read;
	uint32_t length;
	int rc;

	if (size < KVR_HEADER_SIZE)
		return kvs_fault(EPROTO, "the other side sent a message of %zu bytes, less than its header", size);
	memset(&read, 0, sizeof(read));
	rc = kvr_read_header(bytes, &length, &read.type);
	if (rc)
		return rc;
	if (length != size)
		return kvs_fault(EPROTO, "the other side sent a %s of %zu bytes that says it has %u", names[read.type],
				 size, length);
	in.at = bytes + KVR_HEADER_SIZE;
	in.end = bytes + size;
	read_body(&in, &read);
	must(&in, in.at == in.end, "it goes on behind its last field");
	if (in.bad)
		return kvs_fault(EPROTO, "the other side sent a bad %s: %s", names[read.type], in.bad);
	*message = read;
	return 0;
}

/* Where a batch goes on. */
static struct in resume(const struct kvr_message *message)
{
	return (struct in){ .at = message->next, .end = message->behind };
}

void kvr_next_offer(struct kvr_message *message, struct kvr_offer *offer)
{
	struct in in = resume(message);

	take_offer(&in, offer);
	message->next = in.at;
}

void kvr_next_grant(struct kvr_message *message, struct kvr_grant *grant)
{
	struct in in = resume(message);

	take_grant(&in, grant);
	message->next = in.at;
}

void kvr_next_commit(struct kvr_message *message, struct kvr_commit *commit)
{
	struct in in = resume(message);

	take_commit(&in, commit);
	message->next = in.at;
}

void kvr_next_key(struct kvr_message *message, struct kvr_text *key)
{
	struct in in = resume(message);

	*key = take_key(&in);
	message->next = in.at;
}

void kvr_text_show(struct kvr_text from, char *to, size_t size)
{
	size_t length = from.length < size - 1 ? from.length : size - 1;

	for (size_t i = 0; i < length; i++)
		to[i] = (char)(from.bytes[i] < ' ' || from.bytes[i] == 0x7f ? '?' : from.bytes[i]);
	to[length] = 0;
}
