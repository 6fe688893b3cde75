/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_fake_qp.h: what the parts of the fake devices know of each other: memory, windows, and the queue pairs that use
 * them. See verbs_fake.h.
 */
#ifndef VERBS_FAKE_QP_H
#define VERBS_FAKE_QP_H

#include <infiniband/verbs.h>
#include <stdbool.h>

#define FAKE_RECEIVES 64

struct fake_pd {
	struct ibv_pd ibv;
	unsigned objects;
};

struct fake_mr {
	struct ibv_mr ibv;
	uint64_t address; /* ibv.addr, but of a dma-buf: there that is an offset */
	unsigned access, windows;
	bool dma_buf;
	struct fake_mr *next;
};

struct fake_mw {
	struct ibv_mw ibv;
	struct fake_mr *over; /* NULL: it is not bound */
	struct fake_qp *qp;
	uint64_t address, length;
	uint32_t key;
	unsigned binds;
	struct fake_mw *next;
};

struct fake_qp {
	struct ibv_qp ibv;
	uint32_t peer; /* its number */
	uint32_t room, inline_max;
	uint64_t posted, ended; /* requests to send */
	struct ibv_recv_wr receives[FAKE_RECEIVES];
	struct ibv_sge places[FAKE_RECEIVES];
	unsigned first, end;
	struct fake_qp *next;
};

int fake_poll(struct ibv_cq *cq, int count, struct ibv_wc *wcs);
int fake_arm(struct ibv_cq *cq, int solicited);
int fake_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int fake_post_receive(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);

void fake_owns(struct ibv_context *context, int change);
void fake_add_region(struct fake_mr *mr);
void fake_remove_region(struct fake_mr *mr);
void fake_add_window(struct fake_mw *mw);
void fake_remove_window(struct fake_mw *mw);
void fake_unbind(struct fake_mw *mw);
void fake_qp_remove(unsigned device); /* all of its queue pairs are of no use */

#endif
