/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * messages.c: messages read and written again. See messages.h.
 */
#include "config.h"

#include "messages.h"

#include <string.h>

#include "kvshm.h"

/* A text in memory of its own: a sanitizer sees who points behind the end. */
static const char *string(struct kvr_text text, char buffer[static KVR_MESSAGE_MAX])
{
	if (text.length)
		memcpy(buffer, text.bytes, text.length);
	buffer[text.length] = '\0';
	return buffer;
}

static void rewrite_offers(struct kvr_message *message, struct kvr_out *out)
{
	struct kvr_offer offer;

	kvr_begin_offers(out, message->transfer);
	for (uint32_t i = 0; i < message->count; i++) {
		kvr_next_offer(message, &offer);
		(void)kvr_add_offer(out, &offer);
	}
}

static void rewrite_grants(struct kvr_message *message, struct kvr_out *out)
{
	struct kvr_grant grant;

	kvr_begin_grants(out, message->transfer);
	for (uint32_t i = 0; i < message->count; i++) {
		kvr_next_grant(message, &grant);
		(void)kvr_add_grant(out, &grant);
	}
}

static void rewrite_commits(struct kvr_message *message, struct kvr_out *out)
{
	struct kvr_commit commit;

	kvr_begin_commits(out, message->transfer);
	for (uint32_t i = 0; i < message->count; i++) {
		kvr_next_commit(message, &commit);
		(void)kvr_add_commit(out, &commit);
	}
}

static void rewrite_want(struct kvr_message *message, struct kvr_out *out)
{
	struct kvr_text key;

	kvr_begin_want(out, &message->want);
	for (uint32_t i = 0; i < message->count; i++) {
		kvr_next_key(message, &key);
		(void)kvr_add_key(out, key);
	}
}

static void rewrite_batch(struct kvr_message *message, struct kvr_out *out)
{
	if (message->type == KVR_OFFER)
		rewrite_offers(message, out);
	else if (message->type == KVR_GRANT)
		rewrite_grants(message, out);
	else if (message->type == KVR_COMMIT)
		rewrite_commits(message, out);
	else
		rewrite_want(message, out);
}

void messages_rewrite(struct kvr_message *message, struct kvr_out *out)
{
	char text[KVR_MESSAGE_MAX];

	switch (message->type) {
	case KVR_HELLO:
		kvr_write_hello(out, &message->hello);
		break;
	case KVR_PROOF:
		kvr_write_proof(out, message->proof.bytes);
		break;
	case KVR_BYE:
		kvr_write_bye(out, message->bye.result, string(message->bye.text, text));
		break;
	case KVR_OPEN:
		kvr_write_open(out, &message->open);
		break;
	case KVR_OPENED:
		kvr_write_opened(out, message->opened.transfer, message->opened.result,
				 string(message->opened.text, text));
		break;
	case KVR_ABORT:
	case KVR_ABORTED:
	case KVR_DONE:
		kvr_write_end(out, message->type, &message->end);
		break;
	case KVR_OFFER:
	case KVR_GRANT:
	case KVR_COMMIT:
	case KVR_WANT:
		rewrite_batch(message, out);
		break;
	case KVR_WANTED:
		kvr_write_wanted(out, &message->wanted);
		break;
	case KVR_PING:
	case KVR_PONG:
		kvr_write_ping(out, message->type, message->time);
		break;
	case KVR_CREDIT:
		kvr_write_credit(out);
		break;
	case KVR_DATA:
		kvr_write_data(out, &message->data);
		break;
	case KVR_DENIED:
		kvr_write_denied(out);
		break;
	}
}
