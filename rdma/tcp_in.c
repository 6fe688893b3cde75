/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp_in.c: what a link over TCP receives.
 *
 * Guarantees: nothing is read from the socket but into the message's own buffer, or, once a write was checked, by the
 * kernel straight into its window: so memory that is gone (a plane's file that was cut) is an error, not a signal. Of a
 * window in GPU memory it is read into the stage, and goes on when that is full, or the write whole: before the write
 * counts as taken in. What is in the stage when the window is withdrawn is dropped. A
 * write that began before its window was withdrawn is read to its end, and dropped: it was allowed when it was sent,
 * and the link can go on; one that begins behind ends the link (E2). The other side's silence, in the middle of a
 * header too, keeps nobody.
 */
#include "config.h"

#include "tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "attached.h"
#include "bytes.h"
#include "fault.h"

#define SHARE (UINT64_C(4) << 20) /* bytes that one call reads */
#define READS 64		  /* and how often it does */

/* False: the link is down or closed, or has nothing more to read for now. */
static bool receive(struct kvr_link *link, void *to, size_t size, size_t *got)
{
	ssize_t read;

	do
		read = recv(link->watch.fd, to, size, MSG_DONTWAIT);
	while (read < 0 && errno == EINTR);
	if (read > 0) {
		link->info.bytes_received += (uint64_t)read;
		*got = (size_t)read;
		return true;
	}
	if (read < 0 && errno == EAGAIN)
		return false;
	if (read == 0)
		kvr_tcp_down(link, kvs_fault(ECONNRESET, "the other side closed the connection"));
	else if (errno == EFAULT)
		kvr_tcp_down(link, kvs_fault(EFAULT, "the memory of a window can't be written any more"));
	else
		kvr_tcp_down(link, kvs_fault(errno, "it was cut: %s", strerror(errno)));
	return false;
}

/* One more was taken in. A peer that has more under way than it may does not wait for acknowledgements at all. */
static void owe(struct kvr_link *link)
{
	if (++link->out.owed > KVR_TCP_ENTRIES)
		kvr_tcp_down(link, kvs_fault(EPROTO, "the other side sends more messages than were acknowledged"));
}

/* The other side has taken in so many: tells the user of those that had a cookie, and of the room. */
static void acknowledge(struct kvr_link *link, uint32_t credits)
{
	uint64_t cookie;
	bool room = credits > 0;

	while (credits-- && link->state == KVR_TCP_UP) {
		int rc = kvr_tcp_out_ack(&link->out, &cookie);

		if (rc)
			kvr_tcp_down(link, rc);
		else if (cookie)
			link->user->sent(link->arg, cookie);
	}
	if (!room || !link->out.starved || link->state != KVR_TCP_UP)
		return;
	link->out.starved = false;
	link->user->room(link->arg);
}

/* ---- Writes */

static int need_stage(struct kvr_tcp_in *in)
{
	in->staged = 0;
	if (!in->stage)
		in->stage = malloc(KVR_TCP_STAGE);
	return in->stage ? 0 : kvs_routine(ENOMEM, "no memory to receive what goes to GPU memory");
}

static void begin_data(struct kvr_link *link)
{
	struct kvr_tcp_in *in = &link->in;
	struct kvr_tcp_window *window;
	struct kvr_message message;
	int rc = kvr_read(in->bytes, in->size, &message);

	if (rc == 0)
		rc = kvr_tcp_windows_find(&link->windows, &message.data, &window);
	if (rc == -EACCES)
		kvr_tcp_out_deny(&link->out, link->watch.fd);
	if (rc == 0 && window->gpu)
		rc = need_stage(in);
	if (rc) {
		kvr_tcp_down(link, rc);
	} else if (message.data.length == 0) {
		owe(link);
	} else {
		in->data = true;
		in->left = message.data.length;
		in->window = window;
		in->at = window->memory + (message.data.to - window->window.address);
	}
}

/* Where more of a write goes, and how much at most. Bytes of windows that are gone are read into the message's buffer,
 * which is free. */
static char *place(struct kvr_tcp_in *in, uint64_t *most)
{
	if (!in->window) {
		*most = sizeof(in->bytes);
		return (char *)in->bytes;
	}
	if (!in->window->gpu)
		return in->at;
	if (*most > KVR_TCP_STAGE - in->staged)
		*most = KVR_TCP_STAGE - in->staged;
	return in->stage + in->staged;
}

/* So much has come. */
static int put(struct kvr_tcp_in *in, uint64_t got)
{
	const struct kvr_part *gpu = in->window ? in->window->gpu : NULL;
	uint64_t staged;

	in->left -= got;
	in->at = in->window ? in->at + got : NULL;
	if (!gpu)
		return 0;
	staged = in->staged += got;
	if (in->left && staged < KVR_TCP_STAGE)
		return 0;
	in->staged = 0;
	return kvg_attached_write(gpu->gpu, gpu->plane, (uint64_t)(in->at - gpu->base) - staged, in->stage, staged);
}

/* ---- Messages */

/* A whole message is there. */
static void take_in(struct kvr_link *link)
{
	struct kvr_tcp_in *in = &link->in;
	enum kvr_type type = in->type;
	uint32_t size = in->size;
	int rc;

	acknowledge(link, kvr_get16(in->bytes + 6));
	if (link->state != KVR_TCP_UP)
		return;
	if (type == KVR_DATA) {
		begin_data(link);
	} else if (type == KVR_CREDIT || type == KVR_DENIED) {
		struct kvr_message message;

		rc = kvr_read(in->bytes, size, &message);
		if (rc == 0 && type == KVR_DENIED)
			rc = kvs_fault(EACCES, "the other side refused a write: it was outside of the windows granted");
		if (rc)
			kvr_tcp_down(link, rc);
	} else {
		owe(link);
		if (link->state == KVR_TCP_UP)
			link->user->message(link->arg, in->bytes, size);
	}
	in->have = 0;
	in->size = 0;
}

/* More of a header or a message. False: that is all for now. */
static bool read_message(struct kvr_link *link)
{
	struct kvr_tcp_in *in = &link->in;
	uint32_t wanted = in->size ? in->size : KVR_HEADER_SIZE;
	size_t got;
	int rc;

	if (!receive(link, in->bytes + in->have, wanted - in->have, &got))
		return false;
	in->have += (uint32_t)got;
	if (in->have < wanted)
		return true;
	if (!in->size) {
		rc = kvr_read_header(in->bytes, &in->size, &in->type);
		if (rc) {
			kvr_tcp_down(link, rc);
			return false;
		}
	}
	if (in->have == in->size)
		take_in(link);
	return link->state == KVR_TCP_UP;
}

/* More of what follows a DATA. */
static bool read_data(struct kvr_link *link, uint64_t *share)
{
	struct kvr_tcp_in *in = &link->in;
	uint64_t most = *share;
	char *to = place(in, &most);
	size_t got;
	int rc;

	if (!receive(link, to, in->left < most ? in->left : most, &got))
		return false;
	rc = put(in, got);
	if (rc) {
		kvr_tcp_down(link, rc);
		return false;
	}
	if (link->user->heard)
		link->user->heard(link->arg);
	*share -= got < *share ? got : *share;
	if (in->left)
		return true;
	in->data = false;
	in->window = NULL;
	owe(link);
	return link->state == KVR_TCP_UP;
}

void kvr_tcp_receive(struct kvr_link *link)
{
	uint64_t share = SHARE;

	for (int i = 0; i < READS && share; i++)
		if (!(link->in.data ? read_data(link, &share) : read_message(link)))
			return;
}
