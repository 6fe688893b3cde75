/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_fake_qp.c: queue pairs of the fake devices, what they do to memory, and completion queues. A request is carried
 * out when it is posted; only its completion comes by the queue. One whose other side is there no more stays under way,
 * as a device retransmits for seconds. See verbs_fake.h.
 */
#include "config.h"

#include "verbs_fake_qp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verbs_fake.h"

#define ENTRIES 2048

struct fake_cq {
	struct ibv_cq ibv;
	struct ibv_wc entries[ENTRIES];
	unsigned first, end, taken, acknowledged; /* the latter two are events */
	bool armed;
};

/* Nobody has more than one queue on a channel. */
struct channel {
	struct ibv_comp_channel ibv;
	struct fake_cq *cq;
};

static struct fake_mr *regions;
static struct fake_mw *windows;
static struct fake_qp *pairs;

/* ---- Completion queues */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct channel *made;

	if (fake_fails("ibv_create_comp_channel"))
		return NULL;
	made = fake_make(sizeof(*made));
	*made = (struct channel){.ibv = {.context = context, .fd = fake_descriptor()}};
	fake_owns(context, 1);
	return &made->ibv;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	fake_must(!((struct channel *)(void *)channel)->cq, "a completion channel goes before its queue");
	fake_owns(channel->context, -1);
	(void)close(channel->fd);
	free(channel);
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel,
			     int comp_vector)
{
	struct fake_cq *made;

	fake_must(cqe <= ENTRIES && !comp_vector, "so long a completion queue");
	if (fake_fails("ibv_create_cq"))
		return NULL;
	made = fake_make(sizeof(*made));
	made->ibv = (struct ibv_cq){.context = context, .channel = channel, .cq_context = cq_context, .cqe = cqe};
	((struct channel *)(void *)channel)->cq = made;
	fake_owns(context, 1);
	return &made->ibv;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	struct fake_cq *own = (void *)cq;

	fake_must(own->taken == own->acknowledged, "an event of a completion queue was not acknowledged");
	for (struct fake_qp *at = pairs; at; at = at->next)
		fake_must(at->ibv.send_cq != cq, "a completion queue goes before its queue pair");
	((struct channel *)(void *)cq->channel)->cq = NULL;
	fake_owns(cq->context, -1);
	free(own);
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
	struct fake_cq *own = ((struct channel *)(void *)channel)->cq;

	if (fake_fails("ibv_get_cq_event") || !fake_take_signal(channel->fd))
		return -1;
	own->taken++;
	*cq = &own->ibv;
	*cq_context = own->ibv.cq_context;
	return 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int nevents)
{
	((struct fake_cq *)(void *)cq)->acknowledged += nevents;
}

int fake_arm(struct ibv_cq *cq, int solicited)
{
	(void)solicited;
	if (fake_fails("ibv_req_notify_cq"))
		return fake.error;
	((struct fake_cq *)(void *)cq)->armed = true;
	return 0;
}

int fake_poll(struct ibv_cq *cq, int count, struct ibv_wc *wcs)
{
	struct fake_cq *own = (void *)cq;
	int taken = 0;

	if (fake_fails("ibv_poll_cq"))
		return -1;
	while (taken < count && own->first != own->end)
		wcs[taken++] = own->entries[own->first++ % ENTRIES];
	return taken;
}

static void complete(struct ibv_cq *cq, struct ibv_wc wc)
{
	struct fake_cq *own = (void *)cq;

	fake_must(own->end - own->first < (unsigned)cq->cqe, "a completion queue overflows");
	own->entries[own->end++ % ENTRIES] = wc;
	if (!own->armed)
		return;
	own->armed = false;
	fake_signal(cq->channel->fd);
}

/* ---- Queue pairs */

struct fake_qp *fake_find_qp(uint32_t number)
{
	struct fake_qp *at = pairs;

	while (at && at->ibv.qp_num != number)
		at = at->next;
	return at;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	static uint32_t number = 17;
	struct fake_qp *made;

	if (fake_fails("ibv_create_qp"))
		return NULL;
	if (fake.no_inline && attr->cap.max_inline_data) {
		errno = EINVAL;
		return NULL;
	}
	made = fake_make(sizeof(*made));
	made->ibv = (struct ibv_qp){.context = pd->context,
				    .pd = pd,
				    .send_cq = attr->send_cq,
				    .recv_cq = attr->recv_cq,
				    .qp_num = number++,
				    .qp_type = attr->qp_type};
	made->room = attr->cap.max_send_wr;
	made->inline_max = attr->cap.max_inline_data;
	made->next = pairs;
	pairs = made;
	((struct fake_pd *)(void *)pd)->objects++;
	fake_owns(pd->context, 1);
	return &made->ibv;
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
	struct fake_qp *own = (void *)qp, **at = &pairs;

	for (struct fake_mw *mw = windows; mw; mw = mw->next)
		fake_must(mw->qp != own, "a queue pair goes before the windows that are bound to it");
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
	((struct fake_pd *)(void *)qp->pd)->objects--;
	fake_owns(qp->context, -1);
	free(own);
	return 0;
}

static void flush(struct fake_qp *qp)
{
	while (qp->first != qp->end)
		complete(qp->ibv.recv_cq, (struct ibv_wc){.wr_id = qp->receives[qp->first++ % FAKE_RECEIVES].wr_id,
							  .status = IBV_WC_WR_FLUSH_ERR,
							  .opcode = IBV_WC_RECV});
}

/* What it has to say of the error comes first, then what was flushed. */
static void fails(struct fake_qp *qp, uint64_t wr_id, enum ibv_wc_status status)
{
	if (qp->ibv.state == IBV_QPS_ERR)
		return;
	qp->ibv.state = IBV_QPS_ERR;
	if (status)
		complete(qp->ibv.send_cq,
			 (struct ibv_wc){.wr_id = wr_id, .status = status, .vendor_err = 77, .qp_num = qp->ibv.qp_num});
	flush(qp);
}

void fake_ends(struct ibv_qp *qp, enum ibv_wc_status status)
{
	fails((void *)qp, 0, status);
}

void fake_qp_remove(unsigned device)
{
	for (struct fake_qp *at = pairs; at; at = at->next)
		if (fake_number(at->ibv.context) == device)
			fails(at, 0, IBV_WC_SUCCESS);
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *own = (void *)qp;
	int error;

	fake_must(mask & IBV_QP_STATE, "a queue pair that stays as it is");
	if (attr->qp_state == IBV_QPS_ERR) { /* whose failure nobody could do anything about */
		fails(own, 0, IBV_WC_SUCCESS);
		return 0;
	}
	error = fake_error("ibv_modify_qp");
	if (error)
		return error;
	if (attr->qp_state == IBV_QPS_RTR) {
		fake_must(qp->state == IBV_QPS_INIT, "a queue pair skips INIT");
		own->peer = attr->dest_qp_num;
	}
	fake_must(attr->qp_state != IBV_QPS_RTS || qp->state == IBV_QPS_RTR, "a queue pair skips RTR");
	qp->state = attr->qp_state;
	return 0;
}

/* ---- Memory */

void fake_add_region(struct fake_mr *mr)
{
	mr->next = regions;
	regions = mr;
}

void fake_remove_region(struct fake_mr *mr)
{
	struct fake_mr **at = &regions;

	while (*at != mr)
		at = &(*at)->next;
	*at = mr->next;
}

void fake_add_window(struct fake_mw *mw)
{
	mw->next = windows;
	windows = mw;
}

void fake_remove_window(struct fake_mw *mw)
{
	struct fake_mw **at = &windows;

	while (*at != mw)
		at = &(*at)->next;
	*at = mw->next;
}

void fake_unbind(struct fake_mw *mw)
{
	if (mw->over)
		mw->over->windows--;
	mw->over = NULL;
	mw->qp = NULL;
}

static struct fake_mr *region(const struct fake_qp *qp, uint32_t key)
{
	struct fake_mr *at = regions;

	while (at && (at->ibv.lkey != key || at->ibv.pd != qp->ibv.pd))
		at = at->next;
	return at;
}

static bool lies_in(uint64_t at, uint64_t length, uint64_t from, uint64_t size)
{
	return at >= from && length <= size && at - from <= size - length;
}

static bool may_read(const struct fake_qp *qp, const struct ibv_sge *sge, bool is_inline)
{
	const struct fake_mr *mr = region(qp, sge->lkey);

	return is_inline || (mr && lies_in(sge->addr, sge->length, mr->address, mr->ibv.length));
}

/* By a window that is bound to the queue pair that is written to; or, where there are none, by a region. */
static bool may_write(const struct fake_qp *to, uint64_t at, uint64_t length, uint32_t key)
{
	const struct fake_mr *mr = region(to, key);

	for (const struct fake_mw *mw = windows; mw; mw = mw->next)
		if (mw->over && mw->qp == to && mw->key == key)
			return lies_in(at, length, mw->address, mw->length);
	return mr && mr->access & IBV_ACCESS_REMOTE_WRITE && lies_in(at, length, mr->address, mr->ibv.length);
}

/* ---- Requests */

/* Of the many that are posted before there is a connection the first and the last fail: the others are like these. */
static int receive_error(const struct fake_qp *qp)
{
	bool many = qp->ibv.state == IBV_QPS_INIT && qp->end && qp->end < FAKE_RECEIVES - 1;

	return many ? 0 : fake_error("ibv_post_recv");
}

int fake_post_receive(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fake_qp *own = (void *)qp;
	int error = receive_error(own);

	*bad = wr;
	if (error)
		return error;
	fake_must(own->end - own->first < FAKE_RECEIVES, "so many buffers");
	fake_must(may_read(own, wr->sg_list, false), "a buffer in no registered memory");
	own->receives[own->end % FAKE_RECEIVES] = *wr;
	own->places[own->end++ % FAKE_RECEIVES] = *wr->sg_list;
	if (qp->state == IBV_QPS_ERR)
		flush(own);
	return 0;
}

static void *at_address(uint64_t address)
{
	return (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

static void *reach(uint64_t address, size_t bytes)
{
	void *gpu = fake.gpu ? fake.gpu(at_address(address), bytes) : NULL;

	return gpu ? gpu : at_address(address);
}

/* What a request does; with what status it ends. */
static enum ibv_wc_status send_to(struct fake_qp *to, const struct ibv_sge *sge)
{
	const struct ibv_sge *place;

	if (to->first == to->end)
		return IBV_WC_RNR_RETRY_EXC_ERR;
	place = &to->places[to->first % FAKE_RECEIVES];
	if (place->length < sge->length)
		return IBV_WC_REM_INV_REQ_ERR;
	memcpy(at_address(place->addr), at_address(sge->addr), sge->length);
	complete(to->ibv.recv_cq, (struct ibv_wc){.wr_id = to->receives[to->first++ % FAKE_RECEIVES].wr_id,
						  .opcode = IBV_WC_RECV,
						  .byte_len = sge->length});
	return IBV_WC_SUCCESS;
}

static enum ibv_wc_status write_to(struct fake_qp *to, const struct ibv_send_wr *wr)
{
	if (!may_write(to, wr->wr.rdma.remote_addr, wr->sg_list->length, wr->wr.rdma.rkey)) {
		fake_async(fake_number(to->ibv.context), IBV_EVENT_QP_ACCESS_ERR, &to->ibv);
		fails(to, 0, IBV_WC_SUCCESS);
		return IBV_WC_REM_ACCESS_ERR;
	}
	memcpy(reach(wr->wr.rdma.remote_addr, wr->sg_list->length), reach(wr->sg_list->addr, wr->sg_list->length),
	       wr->sg_list->length);
	if (fake.wrote)
		fake.wrote();
	return IBV_WC_SUCCESS;
}

static enum ibv_wc_status bind_window(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
	struct fake_mw *mw = (void *)wr->bind_mw.mw;
	struct fake_mr *over = (void *)wr->bind_mw.bind_info.mr;

	if (mw->over || !(over->access & IBV_ACCESS_MW_BIND))
		return IBV_WC_MW_BIND_ERR;
	fake_must((wr->bind_mw.rkey ^ mw->ibv.rkey) < 0x100, "a key that is not the window's");
	fake_must(++mw->binds < 256, "a key that was used before");
	fake_must(lies_in(wr->bind_mw.bind_info.addr, wr->bind_mw.bind_info.length, over->address, over->ibv.length),
		  "a window beyond its memory");
	mw->over = over;
	mw->qp = qp;
	mw->key = wr->bind_mw.rkey;
	mw->address = wr->bind_mw.bind_info.addr;
	mw->length = wr->bind_mw.bind_info.length;
	over->windows++;
	return IBV_WC_SUCCESS;
}

static enum ibv_wc_status invalidate(const struct fake_qp *qp, uint32_t key)
{
	for (struct fake_mw *mw = windows; mw; mw = mw->next)
		if (mw->over && mw->qp == qp && mw->key == key) {
			fake_unbind(mw);
			return IBV_WC_SUCCESS;
		}
	return IBV_WC_LOC_QP_OP_ERR;
}

static enum ibv_wc_status carry_out(struct fake_qp *qp, struct fake_qp *to, const struct ibv_send_wr *wr)
{
	static const struct ibv_sge nothing;
	struct ibv_send_wr own = *wr;
	struct ibv_sge sge = wr->num_sge ? *wr->sg_list : nothing;
	bool is_inline = wr->send_flags & IBV_SEND_INLINE;

	if (wr->opcode == IBV_WR_BIND_MW)
		return bind_window(qp, wr);
	if (wr->opcode == IBV_WR_LOCAL_INV)
		return invalidate(qp, wr->invalidate_rkey);
	fake_must(!is_inline || sge.length <= qp->inline_max, "so much inline data");
	if (wr->num_sge && !may_read(qp, &sge, is_inline))
		return IBV_WC_LOC_PROT_ERR;
	own.sg_list = &sge;
	return wr->opcode == IBV_WR_SEND ? send_to(to, &sge) : write_to(to, &own);
}

static enum ibv_wc_opcode opcode_of(enum ibv_wr_opcode opcode)
{
	switch (opcode) {
	case IBV_WR_SEND:
		return IBV_WC_SEND;
	case IBV_WR_BIND_MW:
		return IBV_WC_BIND_MW;
	case IBV_WR_LOCAL_INV:
		return IBV_WC_LOCAL_INV;
	default:
		return IBV_WC_RDMA_WRITE;
	}
}

static int post_one(struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	struct fake_qp *own = (void *)qp, *to = fake_find_qp(own->peer);
	enum ibv_wc_status status;
	int error = fake_error("ibv_post_send");

	if (error)
		return error;
	own->posted++;
	fake_must(own->posted - own->ended <= own->room, "a send queue overflows");
	fake_must(qp->state == IBV_QPS_RTS || qp->state == IBV_QPS_ERR, "a queue pair sends before RTS");
	if (qp->state != IBV_QPS_ERR && (!to || to->ibv.state == IBV_QPS_ERR))
		return 0; /* nobody answers */
	status = qp->state == IBV_QPS_ERR ? IBV_WC_WR_FLUSH_ERR : carry_out(own, to, wr);
	if (status == IBV_WC_SUCCESS && !(wr->send_flags & IBV_SEND_SIGNALED))
		return 0;
	own->ended = own->posted;
	if (status && qp->state != IBV_QPS_ERR)
		fails(own, wr->wr_id, status);
	else
		complete(qp->send_cq, (struct ibv_wc){.wr_id = wr->wr_id, .status = status,
						      .opcode = opcode_of(wr->opcode)});
	return 0;
}

/* Those before one that fails are posted. */
int fake_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	int error = 0;

	fake.posts++;
	while (wr && !error) {
		*bad = wr;
		error = post_one(qp, wr);
		wr = wr->next;
	}
	return error;
}
