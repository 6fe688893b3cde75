/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_completion.c: what the completion queue of a link tells: messages that came, requests that ended, and why the
 * link can't go on.
 *
 * Guarantees: requests end in the order in which they were posted, so one that is signalled ends all before it. The
 * queue is asked to tell of the next completion before it is emptied, so that none is missed; the loop's other work
 * gets its turn behind at most BATCHES of them.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "fault.h"
#include "message.h"
#include "verbs.h"

#define BATCH 16
#define BATCHES 16

/* ---- Errors ---- */

static int write_refused(const struct kvr_link *link)
{
	return kvs_fault(EACCES,
			 "%s: the other side's network card has refused a write: it was outside of what was "
			 "granted, or that was withdrawn before",
			 kvr_link_name(link));
}

static int no_answer(const struct kvr_link *link)
{
	return kvs_fault(ETIMEDOUT,
			 "%s: no answer, after all retransmissions: is that node up, are its address and its "
			 "cable in order? (ping, `rdma link`)",
			 kvr_link_name(link));
}

/* What was posted when the queue pair came into error was flushed: the cause is told elsewhere. Where nobody tells one,
 * and the queue pair is a responder's that has refused something, there is only one. */
static int flushed(struct kvr_link *link)
{
	kvr_device_look(link->device);
	kvr_connection_look(link);
	if (link->reason)
		return kvr_link_reason(link);
	if (link->device->is_iwarp)
		return kvs_fault(ECONNRESET, "%s was closed by the other side, or one of them wrote where it may not",
				 kvr_link_name(link));
	return kvs_fault(EACCES, "%s: the other side wrote where it may not, and was refused; or the queue pair failed",
			 kvr_link_name(link));
}

static int reason_of(struct kvr_link *link, const struct ibv_wc *wc)
{
	switch (wc->status) {
	case IBV_WC_REM_ACCESS_ERR:
		return write_refused(link);
	case IBV_WC_RETRY_EXC_ERR:
		return no_answer(link);
	case IBV_WC_RNR_RETRY_EXC_ERR:
		link->info.retries++;
		return kvs_fault(EPROTO, "%s: the other side has no buffers for messages, which it had promised",
				 kvr_link_name(link));
	case IBV_WC_LOC_LEN_ERR:
		return kvs_fault(EPROTO, "%s: a message is longer than %d bytes", kvr_link_name(link), KVR_MESSAGE_MAX);
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_ACCESS_ERR:
		return kvs_fault(EFAULT, "%s: memory went away while it was written from, or was never registered: %s",
				 kvr_link_name(link), ibv_wc_status_str(wc->status));
	case IBV_WC_WR_FLUSH_ERR:
		return flushed(link);
	default:
		return kvs_fault(EIO, "%s: its queue pair failed: %s (vendor's number %u)", kvr_link_name(link),
				 ibv_wc_status_str(wc->status), wc->vendor_err);
	}
}

/* ---- What ended ---- */

static void message_went(struct kvr_link *link, const struct kvr_op *op)
{
	link->free_slots[link->slots_free++] = op->slot;
	if (op->cookie)
		link->user->sent(link->arg, op->cookie);
}

static void ended(struct kvr_link *link, const struct kvr_op *op)
{
	switch (op->kind) {
	case KVR_OP_SEND:
		message_went(link, op);
		break;
	case KVR_OP_WRITE:
		link->writes--;
		break;
	case KVR_OP_BIND:
		link->window_ops--;
		break;
	case KVR_OP_INVALIDATE:
		link->window_ops--;
		kvr_window_was_invalidated(link, op->window);
		break;
	}
}

static void ended_up_to(struct kvr_link *link, uint64_t last)
{
	while (!link->closed && link->done <= last) {
		const struct kvr_op op = link->queue[link->done++ % link->depth];

		ended(link, &op);
	}
}

/* ---- What came ---- */

/* Its user may close the link meanwhile. */
static int received(struct kvr_link *link, const struct ibv_wc *wc)
{
	uint32_t buffer = (uint32_t)wc->wr_id;
	const uint8_t *bytes = kvr_qp_received(link, buffer);
	enum kvr_type type;
	uint32_t size;
	int rc;

	kvr_link_is_up(link); /* the other side says so; the event may be on its way yet */
	if (wc->byte_len < KVR_HEADER_SIZE)
		return kvs_fault(EPROTO, "%s: a message of %u bytes", kvr_link_name(link), wc->byte_len);
	rc = kvr_read_header(bytes, &size, &type);
	if (rc)
		return rc;
	if (size != wc->byte_len)
		return kvs_fault(EPROTO, "%s: a message of %u bytes says that it has %u", kvr_link_name(link),
				 wc->byte_len, size);
	link->credits += kvr_get16(bytes + 6);
	if (link->credits > KVR_VERBS_CREDITS)
		return kvs_fault(EPROTO, "%s: the other side gives back more buffers than it has", kvr_link_name(link));
	link->info.bytes_received += size;
	if (type != KVR_CREDIT)
		link->user->message(link->arg, bytes, size);
	if (link->closed)
		return 0;
	link->owed++;
	return kvr_qp_repost(link, buffer);
}

static int completed(struct kvr_link *link, const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS)
		return reason_of(link, wc);
	if (wc->opcode & IBV_WC_RECV)
		return received(link, wc);
	ended_up_to(link, wc->wr_id);
	return 0;
}

/* ---- What follows ---- */

static bool has_room(struct kvr_link *link)
{
	bool message = link->refused_message && kvr_qp_may_send(link, KVR_PING);
	bool write = link->refused_write && !link->waiting && link->writes <= link->writes_max / 2;

	if (message)
		link->refused_message = false;
	if (write)
		link->refused_write = false;
	return message || write;
}

static int go_on(struct kvr_link *link)
{
	int rc = kvr_qp_post_waiting(link);

	if (rc == 0)
		rc = kvr_qp_give_credits(link);
	if (rc)
		return rc;
	if (link->state == KVR_LINK_UP && has_room(link))
		link->user->room(link->arg);
	return 0;
}

static int take_batch(struct kvr_link *link, int *count)
{
	struct ibv_wc wcs[BATCH];
	int rc = 0, n = ibv_poll_cq(link->cq, BATCH, wcs);

	if (n < 0)
		return kvs_fault(EIO, "%s: its completion queue failed", kvr_link_name(link));
	*count = n;
	for (int i = 0; i < n && rc == 0 && !link->closed; i++)
		rc = completed(link, &wcs[i]);
	return rc;
}

/* Takes what is there, at most that much. *more: there is more, perhaps. */
static int take(struct kvr_link *link, unsigned batches, bool *more)
{
	int count = BATCH, rc = 0;

	while (rc == 0 && count == BATCH && batches && !link->closed && link->cq) {
		rc = take_batch(link, &count);
		if (rc == 0 && !link->closed)
			rc = go_on(link);
		batches--;
	}
	*more = count == BATCH;
	return rc;
}

static void clear_events(struct kvr_link *link)
{
	struct ibv_cq *cq;
	void *arg;
	unsigned count = 0;

	while (ibv_get_cq_event(link->completion_channel, &cq, &arg) == 0)
		count++;
	if (count)
		ibv_ack_cq_events(link->cq, count);
}

/* A link that fails on what it finds is told of that in the end, by the caller. */
int kvr_completion_take(struct kvr_link *link, bool *more)
{
	if (!link->cq || link->state == KVR_LINK_DOWN || link->closed) {
		*more = false;
		return 0;
	}
	clear_events(link);
	if (ibv_req_notify_cq(link->cq, 0))
		return kvs_fault(EIO, "%s: its completion queue failed", kvr_link_name(link));
	return take(link, BATCHES, more);
}

void kvr_completion_ready(struct kvr_watch *watch, uint32_t events)
{
	struct kvr_link *link = (struct kvr_link *)(void *)((char *)watch - offsetof(struct kvr_link, completions));
	bool more = false;
	int rc;

	(void)events;
	kvr_link_enter(link);
	rc = kvr_completion_take(link, &more);
	if (rc)
		kvr_link_failed(link, rc);
	else if (more && !link->closed)
		kvr_link_soon(link);
	kvr_link_leave(link);
}
