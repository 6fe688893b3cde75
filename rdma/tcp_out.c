/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp_out.c: what a link over TCP has to send, in order, and what was not acknowledged yet.
 *
 * Guarantees: a message's bytes are copied when it is posted, a write's never: they go from where they are into the
 * socket; but from GPU memory by way of the stage, which one write has at a time. What is posted is bounded, and so is
 * what one call sends. Nothing here calls a user or raises SIGPIPE.
 */
#include "config.h"

#include "tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "attached.h"
#include "bytes.h"
#include "fault.h"

#define PIECES 64		 /* that one call of the kernel takes */
#define SHARE (UINT64_C(4) << 20) /* bytes that one flush sends */
#define CREDITS_AT 6
#define CREDITS_MAX UINT16_MAX

/* The slots' pages come as they are used. */
int kvr_tcp_out_open(struct kvr_tcp_out *out)
{
	*out = (struct kvr_tcp_out){ .error = 0 };
	out->entries = calloc(KVR_TCP_ENTRIES, sizeof(*out->entries));
	out->slots = malloc(KVR_TCP_MESSAGES * sizeof(*out->slots));
	return out->entries && out->slots ? 0 : kvs_routine(ENOMEM, "no memory for what a connection has to send");
}

void kvr_tcp_out_close(struct kvr_tcp_out *out)
{
	free(out->entries);
	free(out->slots);
	free(out->stage);
	out->entries = NULL;
	out->slots = NULL;
	out->stage = NULL;
}

static struct kvr_tcp_entry *entry(const struct kvr_tcp_out *out, uint64_t number)
{
	return &out->entries[number % KVR_TCP_ENTRIES];
}

static int refuse(struct kvr_tcp_out *out)
{
	out->starved = true;
	return kvs_routine(EAGAIN, "the connection has no room for more until some of it has arrived");
}

int kvr_tcp_out_message(struct kvr_tcp_out *out, const uint8_t *bytes, size_t size, uint64_t cookie)
{
	struct kvr_tcp_entry *at = entry(out, out->end);

	if (out->messages == KVR_TCP_MESSAGES)
		return refuse(out);
	at->bytes = out->slots[out->posted % KVR_TCP_MESSAGES];
	at->size = (uint32_t)size;
	at->from = NULL;
	at->length = 0;
	at->cookie = cookie;
	at->stamped = false;
	memcpy(at->bytes, bytes, size);
	out->posted++;
	out->messages++;
	out->end++;
	return 0;
}

int kvr_tcp_out_write(struct kvr_tcp_out *out, const struct kvr_write *write, const struct kvr_part *part)
{
	struct kvr_tcp_entry *at = entry(out, out->end);
	uint8_t *data = at->data;

	if (out->writes == KVR_TCP_WRITES)
		return refuse(out);
	kvr_put32(data, KVR_DATA_SIZE);
	kvr_put16(data + 4, KVR_DATA);
	kvr_put64(data + 8, write->to);
	kvr_put64(data + 16, write->length);
	kvr_put32(data + 24, write->rkey);
	at->bytes = data;
	at->size = KVR_DATA_SIZE;
	at->from = write->from;
	at->gpu = part->gpu ? part : NULL;
	at->length = write->length;
	at->cookie = 0;
	at->stamped = false;
	out->writes++;
	out->end++;
	return 0;
}

int kvr_tcp_out_ack(struct kvr_tcp_out *out, uint64_t *cookie)
{
	const struct kvr_tcp_entry *at = entry(out, out->acked);

	if (out->acked == out->next)
		return kvs_fault(EPROTO, "the other side acknowledges more messages than were sent");
	if (at->bytes == at->data)
		out->writes--;
	else
		out->messages--;
	out->acked++;
	*cookie = at->cookie;
	return 0;
}

bool kvr_tcp_out_pending(const struct kvr_tcp_out *out)
{
	return !out->error && (out->next != out->end || out->credit_left || out->owed);
}

static uint32_t take_credits(struct kvr_tcp_out *out)
{
	uint32_t credits = out->owed < CREDITS_MAX ? out->owed : CREDITS_MAX;

	out->owed -= credits;
	return credits;
}

/* ---- From GPU memory */

static bool fail(struct kvr_tcp_out *out, int rc)
{
	(void)snprintf(out->why, sizeof(out->why), "%s", kvs_fault_text());
	out->error = -rc;
	return false;
}

/* What the stage has of a write of GPU memory, from that place on; where it has nothing, it takes as much as it can. */
static bool stage(struct kvr_tcp_out *out, uint64_t number, uint64_t done, struct iovec *piece)
{
	const struct kvr_tcp_entry *at = entry(out, number);
	uint64_t left = at->length - done;
	int rc;

	if (!out->stage)
		out->stage = malloc(KVR_TCP_STAGE);
	if (!out->stage)
		return fail(out, kvs_routine(ENOMEM, "no memory to send what is in GPU memory"));
	if (out->staged_of != number || done < out->staged_at || done - out->staged_at >= out->staged) {
		out->staged_of = number;
		out->staged_at = done;
		out->staged = left < KVR_TCP_STAGE ? left : KVR_TCP_STAGE;
		rc = kvg_attached_read(at->gpu->gpu, at->gpu->plane,
				       (uint64_t)((const char *)at->from - at->gpu->base) + done, out->stage,
				       out->staged);
		if (rc)
			return fail(out, rc);
	}
	*piece = (struct iovec){ out->stage + (done - out->staged_at), out->staged - (done - out->staged_at) };
	return true;
}

/* ---- Sending */

/* What goes next. A CREDIT is sent where nothing else can take the credits along. */
static size_t gather(struct kvr_tcp_out *out, struct iovec pieces[PIECES])
{
	uint64_t skip = out->done;
	size_t count = 0;

	if (!out->credit_left && out->next == out->end && out->owed) {
		kvr_put32(out->credit, KVR_HEADER_SIZE);
		kvr_put16(out->credit + 4, KVR_CREDIT);
		kvr_put16(out->credit + CREDITS_AT, take_credits(out));
		out->credit_left = KVR_HEADER_SIZE;
	}
	if (out->credit_left)
		pieces[count++] = (struct iovec){ out->credit + KVR_HEADER_SIZE - out->credit_left, out->credit_left };
	for (uint64_t i = out->next; i != out->end && count + 2 <= PIECES; i++) {
		struct kvr_tcp_entry *at = entry(out, i);

		if (!at->stamped)
			kvr_put16(at->bytes + CREDITS_AT, take_credits(out));
		at->stamped = true;
		if (skip < at->size) {
			pieces[count++] = (struct iovec){ at->bytes + skip, at->size - skip };
			skip = at->size;
		}
		if (skip - at->size < at->length && at->gpu)
			return count + stage(out, i, skip - at->size, &pieces[count]); /* the next one needs it, too */
		if (skip - at->size < at->length)
			pieces[count++] = (struct iovec){ (void *)(at->from + (skip - at->size)),
							  at->length - (skip - at->size) };
		skip = 0;
	}
	return count;
}

static void advance(struct kvr_tcp_out *out, uint64_t sent)
{
	uint64_t credit = sent < out->credit_left ? sent : out->credit_left;

	out->credit_left -= (uint32_t)credit;
	out->done += sent - credit;
	while (out->next != out->end && out->done >= entry(out, out->next)->size + entry(out, out->next)->length) {
		out->done -= entry(out, out->next)->size + entry(out, out->next)->length;
		out->next++;
	}
}

void kvr_tcp_out_flush(struct kvr_tcp_out *out, int fd, uint64_t *bytes)
{
	struct iovec pieces[PIECES];
	uint64_t share = SHARE;

	while (kvr_tcp_out_pending(out)) {
		struct msghdr message = { .msg_iov = pieces };
		ssize_t sent;

		message.msg_iovlen = gather(out, pieces);
		if (out->error)
			return;
		sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			out->error = errno == EAGAIN ? 0 : errno;
			return;
		}
		advance(out, (uint64_t)sent);
		*bytes += (uint64_t)sent;
		if ((uint64_t)sent >= share)
			return;
		share -= (uint64_t)sent;
	}
}

void kvr_tcp_out_deny(struct kvr_tcp_out *out, int fd)
{
	uint8_t denied[KVR_HEADER_SIZE] = { 0 };

	kvr_put32(denied, KVR_HEADER_SIZE);
	kvr_put16(denied + 4, KVR_DENIED);
	if (!out->error && !out->done && !out->credit_left)
		(void)!send(fd, denied, sizeof(denied), MSG_DONTWAIT | MSG_NOSIGNAL);
}
