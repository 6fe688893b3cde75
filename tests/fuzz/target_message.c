/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * target_message: any bytes as a message from another node: it is refused with a reason, and nothing is set; or all of
 * it is read, and written again it is the same bytes (but for the credits, which are the link's, and for texts with a 0
 * in them, which end there).
 *
 * Input: the message.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "messages.h"
#include "target.h"

#define UNTOUCHED 0x5a

static bool is_untouched(const void *memory, size_t size)
{
	const uint8_t *bytes = memory;

	while (size && bytes[size - 1] == UNTOUCHED)
		size--;
	return size == 0;
}

/* What was read of another version's HELLO is its version only. */
static bool is_foreign(const struct kvr_message *message)
{
	return message->type == KVR_HELLO && message->hello.version != KVR_VERSION;
}

static bool has_zero(struct kvr_text text)
{
	return text.length && memchr(text.bytes, 0, text.length);
}

static bool is_cut(const struct kvr_message *message)
{
	return (message->type == KVR_BYE && has_zero(message->bye.text)) ||
	       (message->type == KVR_OPENED && has_zero(message->opened.text));
}

static void must_come_back(const uint8_t *data, size_t size, struct kvr_message *message)
{
	bool same = !is_foreign(message) && !is_cut(message);
	static struct kvr_out out;
	uint32_t length;
	enum kvr_type type;

	messages_rewrite(message, &out);
	target_must(kvr_read_header(out.bytes, &length, &type) == 0 && length == out.size && type == message->type);
	if (!same)
		return;
	target_must(out.size == size && memcmp(out.bytes, data, 6) == 0);
	target_must(memcmp(out.bytes + KVR_HEADER_SIZE, data + KVR_HEADER_SIZE, size - KVR_HEADER_SIZE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kvr_message message;
	int rc;

	memset(&message, UNTOUCHED, sizeof(message));
	(void)kvs_routine(EIO, "");
	rc = kvr_read(data, size, &message);
	target_must(rc == 0 || rc == -EPROTO);
	if (rc) {
		target_must(*kvs_fault_text() && is_untouched(&message, sizeof(message)));
		return 0;
	}
	must_come_back(data, size, &message);
	return 0;
}
