/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_qp.c: a link's queue pair: what is posted to it, and how much.
 *
 * Guarantees: neither the send queue nor the completion queue overflows; messages have room in it that writes do not
 * take, and windows theirs. What can't be posted yet waits, in order: nothing that comes behind passes it. Short writes
 * are posted together, by what comes behind them or by kvr_qp_flush(). Of any KVR_VERBS_SIGNAL_EVERY requests in a row
 * one tells of its end, so that room always comes back.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "bytes.h"
#include "fault.h"
#include "kept.h"
#include "verbs.h"

#define BUFFERS (KVR_VERBS_CREDITS + KVR_VERBS_SLOTS)
#define SLAB_SIZE ((size_t)BUFFERS * KVR_MESSAGE_MAX)

static uint8_t *receive_buffer(const struct kvr_link *link, uint32_t buffer)
{
	return link->slab + (size_t)buffer * KVR_MESSAGE_MAX;
}

uint8_t *kvr_qp_received(const struct kvr_link *link, uint32_t buffer)
{
	return receive_buffer(link, buffer);
}

uint8_t *kvr_qp_slot(const struct kvr_link *link, uint32_t slot)
{
	return receive_buffer(link, KVR_VERBS_CREDITS + slot);
}

/* ---- Making it ---- */

/* Children have no use for it, and would make copies of it. */
static int make_slab(struct kvr_link *link)
{
	void *slab = mmap(NULL, SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return kvs_fault(ENOMEM, "no memory for messages");
	link->slab = slab;
	(void)madvise(slab, SLAB_SIZE, MADV_DONTFORK);
	link->slab_mr = ibv_reg_mr(link->device->pd, slab, SLAB_SIZE, IBV_ACCESS_LOCAL_WRITE);
	if (!link->slab_mr)
		return kvr_key_fault(errno, link->device->context, "register buffers for messages, %zu bytes,",
				     SLAB_SIZE);
	return 0;
}

static int make_completion_queue(struct kvr_link *link)
{
	struct ibv_context *context = link->device->context;
	uint32_t entries = link->depth + KVR_VERBS_CREDITS;

	if (entries > link->device->completions_max)
		return kvs_fault(EOPNOTSUPP, "%s has completion queues of %u entries, and %u are needed",
				 context->device->name, link->device->completions_max, entries);
	link->completion_channel = ibv_create_comp_channel(context);
	if (!link->completion_channel)
		return kvs_fault(errno, "no completion channel of %s: %s", context->device->name, strerror(errno));
	kvs_kept_add(link->completion_channel->fd);
	link->cq = ibv_create_cq(context, (int)entries, link, link->completion_channel, 0);
	if (!link->cq)
		return kvr_key_fault(errno, context, "make a completion queue of %u entries", entries);
	return 0;
}

static int make_queue_pair(struct kvr_link *link)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = link->cq,
		.recv_cq = link->cq,
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = link->depth,
			.max_recv_wr = KVR_VERBS_CREDITS,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = KVR_VERBS_INLINE},
	};

	link->qp = ibv_create_qp(link->device->pd, &attr);
	if (!link->qp && errno == EINVAL) { /* there are devices that know no inline data */
		attr.cap.max_inline_data = 0;
		link->qp = ibv_create_qp(link->device->pd, &attr);
	}
	if (!link->qp)
		return kvr_key_fault(errno, link->device->context, "make a queue pair for %u requests", link->depth);
	link->inline_max = attr.cap.max_inline_data;
	return 0;
}

static int read_port(struct kvr_link *link)
{
	struct ibv_port_attr attr;
	int error = kvr_verbs_error(ibv_query_port(link->device->context, (uint8_t)link->port, &attr));

	if (error)
		return kvs_fault(error, "port %u of %s does not say what it is: %s", link->port,
				 link->device->context->device->name, strerror(error));
	link->write_max = attr.max_msg_sz ? attr.max_msg_sz : UINT64_C(1) << 30;
	return 0;
}

static int size_queue(struct kvr_link *link)
{
	uint32_t others = KVR_VERBS_SLOTS + KVR_VERBS_WINDOW_OPS, most = link->device->queue_max;

	if (most < others + 2 * KVR_VERBS_SIGNAL_EVERY) /* half of the writes are then more than are never told of */
		return kvs_fault(EOPNOTSUPP, "%s has send queues of %u requests, and %u are needed",
				 link->device->context->device->name, most, others + 2 * KVR_VERBS_SIGNAL_EVERY);
	link->writes_max = most - others < KVR_VERBS_WRITES ? most - others : KVR_VERBS_WRITES;
	link->depth = link->writes_max + others;
	link->queue = calloc(link->depth, sizeof(*link->queue));
	if (!link->queue)
		return kvs_fault(ENOMEM, "no memory for a link");
	for (uint32_t i = 0; i < KVR_VERBS_SLOTS; i++)
		link->free_slots[i] = i;
	link->slots_free = KVR_VERBS_SLOTS;
	link->waiting_end = &link->waiting;
	link->credits = KVR_VERBS_CREDITS;
	return 0;
}

static int make(struct kvr_link *link)
{
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	rc = make_completion_queue(link);
	if (rc == 0)
		rc = make_queue_pair(link);
	kvr_device_hide(link->device->context);
	kvs_kept_end();
	return rc;
}

int kvr_qp_open(struct kvr_link *link)
{
	int rc = read_port(link);

	if (rc == 0)
		rc = size_queue(link);
	if (rc == 0)
		rc = make_slab(link);
	if (rc == 0)
		rc = make(link);
	if (rc)
		return rc;
	if (ibv_req_notify_cq(link->cq, 0))
		return kvs_fault(EIO, "%s does not tell of completions", link->device->context->device->name);
	link->completions = (struct kvr_watch){.ready = kvr_completion_ready, .fd = link->completion_channel->fd};
	(void)fcntl(link->completions.fd, F_SETFL, O_NONBLOCK);
	return kvr_loop_add(link->loop, &link->completions, EPOLLIN);
}

/* The queue pair first: behind that nothing lands, and nothing is read. Windows before: there are devices on which the
 * one waits for the other; and an invalid window lets nothing land as well. */
void kvr_qp_fence(struct kvr_link *link)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	if (!link->qp)
		return;
	(void)ibv_modify_qp(link->qp, &attr, IBV_QP_STATE);
	kvr_window_drop_all(link);
	(void)ibv_destroy_qp(link->qp);
	link->qp = NULL;
}

void kvr_qp_close(struct kvr_link *link)
{
	kvr_qp_fence(link);
	if (link->completions.ready)
		kvr_loop_remove(link->loop, &link->completions);
	link->completions.ready = NULL;
	if (link->cq)
		(void)ibv_destroy_cq(link->cq);
	link->cq = NULL;
	if (link->completion_channel) {
		kvs_kept_forget(link->completion_channel->fd);
		(void)ibv_destroy_comp_channel(link->completion_channel);
	}
	link->completion_channel = NULL;
	if (link->slab_mr)
		(void)ibv_dereg_mr(link->slab_mr);
	link->slab_mr = NULL;
	if (link->slab)
		(void)munmap(link->slab, SLAB_SIZE);
	link->slab = NULL;
	free(link->queue);
	link->queue = NULL;
}

/* ---- Receiving ---- */

int kvr_qp_repost(struct kvr_link *link, uint32_t buffer)
{
	struct ibv_sge sge = {.addr = (uintptr_t)receive_buffer(link, buffer),
			      .length = KVR_MESSAGE_MAX,
			      .lkey = link->slab_mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = buffer, .sg_list = &sge, .num_sge = 1}, *bad;
	int error = kvr_verbs_error(ibv_post_recv(link->qp, &wr, &bad));

	if (error)
		return kvs_fault(error, "%s: no buffer can be posted: %s", kvr_link_name(link), strerror(error));
	return 0;
}

int kvr_qp_receive(struct kvr_link *link)
{
	int rc = 0;

	for (uint32_t i = 0; i < KVR_VERBS_CREDITS && rc == 0; i++)
		rc = kvr_qp_repost(link, i);
	return rc;
}

/* ---- Sending ---- */

int kvr_qp_flush(struct kvr_link *link)
{
	struct ibv_send_wr *bad;
	int error;

	if (!link->chained)
		return 0;
	link->chain[link->chained - 1].next = NULL;
	link->chained = 0;
	error = kvr_verbs_error(ibv_post_send(link->qp, link->chain, &bad));
	if (error)
		return kvs_fault(error, "%s: its queue pair takes no more requests: %s", kvr_link_name(link),
				 strerror(error));
	return 0;
}

/* A device is told of what is new in its queue by a write to one of its registers, or, where it is software, by a call
 * of the kernel: once for what is posted together. So short writes wait for what comes behind them. */
static int post(struct kvr_link *link, const struct kvr_op *op, const struct ibv_send_wr *wr, bool signalled)
{
	struct ibv_send_wr *mine = &link->chain[link->chained];
	struct ibv_sge *bytes = &link->chain_sges[link->chained++];

	*mine = *wr;
	mine->next = mine + 1;
	mine->wr_id = link->posted;
	if (wr->num_sge) {
		*bytes = *wr->sg_list;
		mine->sg_list = bytes;
	}
	link->unsignalled = signalled || link->unsignalled + 1 == KVR_VERBS_SIGNAL_EVERY ? 0 : link->unsignalled + 1;
	if (!link->unsignalled)
		mine->send_flags |= IBV_SEND_SIGNALED;
	link->queue[link->posted++ % link->depth] = *op;
	if (op->kind == KVR_OP_WRITE && wr->num_sge && wr->sg_list->length < KVR_VERBS_LONG &&
	    link->chained < KVR_VERBS_CHAIN)
		return 0;
	return kvr_qp_flush(link);
}

static int post_message(struct kvr_link *link, const struct kvr_op *op)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)kvr_qp_slot(link, op->slot), .length = op->size, .lkey = link->slab_mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = op->size <= link->inline_max ? IBV_SEND_INLINE : 0};
	int rc = post(link, op, &wr, op->cookie != 0 || link->device->binds_again);

	link->told = link->posted;
	return rc;
}

static int post_bind(struct kvr_link *link, const struct kvr_op *op)
{
	const struct kvr_verbs_window *window = op->window;
	struct ibv_send_wr wr = {.opcode = IBV_WR_BIND_MW,
				 .bind_mw = {.mw = window->mw,
					     .rkey = window->window.rkey,
					     .bind_info = {.mr = window->mr,
							   .addr = window->window.address,
							   .length = window->window.length,
							   .mw_access_flags = IBV_ACCESS_REMOTE_WRITE}}};

	int rc = post(link, op, &wr, false);

	link->window_ops++;
	if (rc == 0)
		window->mw->rkey = window->window.rkey; /* the one before was to be there until now */
	return rc;
}

static int post_invalidate(struct kvr_link *link, const struct kvr_op *op)
{
	struct ibv_send_wr wr = {.opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = op->window->window.rkey};

	link->window_ops++;
	return post(link, op, &wr, true);
}

/* Messages have a slot, which is room enough. A binding that would be done once more with the message before it waits
 * until that one has arrived. (It does not wait for writes that are behind that message: only a side that writes itself
 * has such.) */
static bool has_room(const struct kvr_link *link, const struct kvr_op *op)
{
	if (link->state != KVR_LINK_UP)
		return false;
	if (op->kind == KVR_OP_BIND && link->device->binds_again && link->done < link->told)
		return false;
	return op->kind == KVR_OP_SEND || link->window_ops < KVR_VERBS_WINDOW_OPS;
}

static int post_op(struct kvr_link *link, const struct kvr_op *op)
{
	switch (op->kind) {
	case KVR_OP_BIND:
		return post_bind(link, op);
	case KVR_OP_INVALIDATE:
		return post_invalidate(link, op);
	default:
		return post_message(link, op);
	}
}

int kvr_qp_put(struct kvr_link *link, struct kvr_op *op)
{
	int rc;

	if (link->waiting || !has_room(link, op)) {
		op->next = NULL;
		*link->waiting_end = op;
		link->waiting_end = &op->next;
		return 0;
	}
	rc = post_op(link, op);
	return rc ? kvr_link_fail_later(link, rc) : 0;
}

int kvr_qp_post_waiting(struct kvr_link *link)
{
	while (link->waiting && has_room(link, link->waiting)) {
		int rc = post_op(link, link->waiting);

		if (rc)
			return rc;
		link->waiting = link->waiting->next;
	}
	if (!link->waiting)
		link->waiting_end = &link->waiting;
	return 0;
}

/* What ends something may go where nothing else may; and what gives credits back may even where that may not. */
bool kvr_qp_may_send(const struct kvr_link *link, enum kvr_type type)
{
	uint32_t kept = KVR_VERBS_KEPT_FOR_CREDIT + KVR_VERBS_KEPT_FOR_ENDS;

	if (type == KVR_CREDIT)
		kept = 0;
	else if (type == KVR_ABORT || type == KVR_ABORTED || type == KVR_BYE)
		kept = KVR_VERBS_KEPT_FOR_CREDIT;
	return link->credits > kept && link->slots_free > kept;
}

int kvr_qp_send(struct kvr_link *link, uint8_t *bytes, size_t size, uint64_t cookie)
{
	uint32_t slot = link->free_slots[--link->slots_free];
	struct kvr_op *op = &link->slots[slot];

	kvr_put16(bytes + 6, link->owed);
	link->owed = 0;
	link->credits--;
	memcpy(kvr_qp_slot(link, slot), bytes, size);
	*op = (struct kvr_op){.kind = KVR_OP_SEND, .slot = slot, .size = (uint32_t)size, .cookie = cookie};
	link->info.bytes_sent += size;
	return kvr_qp_put(link, op);
}

/* Others carry them, too: one of its own is sent only where these don't come. That one takes a buffer over there
 * itself: so it waits until it gives back many. */
int kvr_qp_give_credits(struct kvr_link *link)
{
	uint8_t bytes[KVR_HEADER_SIZE] = {0};

	if (link->state != KVR_LINK_UP || link->owed < KVR_VERBS_CREDITS / 2 || !kvr_qp_may_send(link, KVR_CREDIT))
		return 0;
	kvr_put32(bytes, sizeof(bytes));
	kvr_put16(bytes + 4, KVR_CREDIT);
	return kvr_qp_send(link, bytes, sizeof(bytes), 0);
}

static int post_write(struct kvr_link *link, const struct kvr_write *write, uint32_t key)
{
	const struct kvr_op op = {.kind = KVR_OP_WRITE};
	uint64_t done = 0;
	int rc = 0;

	do {
		uint64_t bytes = write->length - done < link->write_max ? write->length - done : link->write_max;
		struct ibv_sge sge = {.addr = (uintptr_t)write->from + done, .length = (uint32_t)bytes, .lkey = key};
		struct ibv_send_wr wr = {.sg_list = &sge,
					 .num_sge = bytes ? 1 : 0,
					 .opcode = IBV_WR_RDMA_WRITE,
					 .wr.rdma = {.remote_addr = write->to + done, .rkey = write->rkey}};

		rc = post(link, &op, &wr, false);
		if (rc)
			return kvr_link_fail_later(link, rc);
		link->writes++;
		done += bytes;
	} while (done < write->length);
	link->info.bytes_sent += write->length;
	return 0;
}

/* A write that needs more requests than ever fit goes when nothing else is there; not even then: it is too long. */
int kvr_qp_write(struct kvr_link *link, const struct kvr_write *write, uint32_t key)
{
	uint64_t requests = write->length ? (write->length + link->write_max - 1) / link->write_max : 1;

	if (requests > link->writes_max)
		return kvs_fault(EINVAL, "a write of %llu bytes is too long for %s", (unsigned long long)write->length,
				 link->device->context->device->name);
	if (link->waiting || link->state != KVR_LINK_UP || link->writes + requests > link->writes_max) {
		int rc = link->state == KVR_LINK_UP ? kvr_qp_flush(link) : 0; /* room comes of what was posted */

		if (rc)
			return kvr_link_fail_later(link, rc);
		link->refused_write = true;
		return kvs_routine(EAGAIN, "the send queue is full: wait for room");
	}
	return post_write(link, write, key);
}
