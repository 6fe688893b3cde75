/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * windows.c: windows DEVICE: shows with libibverbs alone what the receiver's fence rests on: the peer of a queue pair
 * writes through a type-2 memory window that is bound to it, in memory that is registered for no remote access; once
 * the window is invalidated, its write is a remote access error, and the memory is as it was.
 */
#include "config.h"

#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 8192 };

/* Queue pair 0 has the memory, 1 writes into it. */
struct scene {
	struct ibv_context *context;
	struct ibv_pd *domain;
	struct ibv_cq *queue;
	struct ibv_qp *pair[2];
	struct ibv_mr *target, *source;
	struct ibv_mw *window;
	union ibv_gid gid;
	int gid_index;
};

static unsigned char target[SIZE], source[SIZE];

static void must(int good, const char *what)
{
	if (good)
		return;
	printf("windows: %s\n", what);
	exit(EXIT_FAILURE);
}

static struct ibv_context *open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = NULL;

	for (int i = 0; list && list[i] && !context; i++) {
		if (!strcmp(ibv_get_device_name(list[i]), name))
			context = ibv_open_device(list[i]);
	}
	ibv_free_device_list(list);
	must(context != NULL, "the device can't be opened");
	return context;
}

/* The last GID of a port that is there is that of its IPv4 address. */
static void choose_gid(struct scene *scene)
{
	static const union ibv_gid none;
	union ibv_gid gid;

	for (int i = 0; i < 8 && !ibv_query_gid(scene->context, 1, i, &gid); i++) {
		if (memcmp(&gid, &none, sizeof(gid))) {
			scene->gid = gid;
			scene->gid_index = i;
		}
	}
}

static struct ibv_qp *make_pair(struct scene *scene)
{
	struct ibv_qp_init_attr init = { .send_cq = scene->queue, .recv_cq = scene->queue, .qp_type = IBV_QPT_RC,
					 .cap = { .max_send_wr = 8, .max_recv_wr = 1, .max_send_sge = 1,
						  .max_recv_sge = 1 } };
	struct ibv_qp *pair = ibv_create_qp(scene->domain, &init);
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1,
				    .qp_access_flags = IBV_ACCESS_REMOTE_WRITE };

	must(pair && !ibv_modify_qp(pair, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS),
	     "no queue pair");
	return pair;
}

static void connect_pair(struct scene *scene, struct ibv_qp *pair, const struct ibv_qp *other)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024, .dest_qp_num = other->qp_num,
				    .ah_attr = { .is_global = 1, .port_num = 1,
						 .grh = { .dgid = scene->gid, .hop_limit = 1,
							  .sgid_index = (uint8_t)scene->gid_index } } };

	must(!ibv_modify_qp(pair, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			    IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER), "not ready to receive");
	attr = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 7, .rnr_retry = 7 };
	must(!ibv_modify_qp(pair, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			    IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC), "not ready to send");
}

static enum ibv_wc_status post(struct scene *scene, int which, struct ibv_send_wr *work)
{
	struct ibv_send_wr *bad;
	struct ibv_wc done;
	int found;

	work->send_flags = IBV_SEND_SIGNALED;
	must(!ibv_post_send(scene->pair[which], work, &bad), "a work request is refused");
	do {
		found = ibv_poll_cq(scene->queue, 1, &done);
	} while (!found);
	must(found == 1, "the completion queue can't be polled");
	return done.status;
}

static void make(struct scene *scene, const char *device)
{
	scene->context = open_device(device);
	scene->domain = ibv_alloc_pd(scene->context);
	scene->queue = ibv_create_cq(scene->context, 16, NULL, NULL, 0);
	must(scene->domain && scene->queue, "no protection domain, or no completion queue");
	scene->target = ibv_reg_mr(scene->domain, target, SIZE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	scene->source = ibv_reg_mr(scene->domain, source, SIZE, 0);
	scene->window = ibv_alloc_mw(scene->domain, IBV_MW_TYPE_2);
	must(scene->target && scene->source, "memory can't be registered");
	must(scene->window != NULL, "no type-2 window");
	choose_gid(scene);
	for (int i = 0; i < 2; i++)
		scene->pair[i] = make_pair(scene);
	for (int i = 0; i < 2; i++)
		connect_pair(scene, scene->pair[i], scene->pair[!i]);
}

static enum ibv_wc_status write_through(struct scene *scene, uint32_t key)
{
	struct ibv_sge piece = { (uintptr_t)source, SIZE / 2, scene->source->lkey };
	struct ibv_send_wr work = { .sg_list = &piece, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
				    .wr.rdma = { (uintptr_t)target, key } };

	return post(scene, 1, &work);
}

static void show(struct scene *scene)
{
	uint32_t key = ibv_inc_rkey(scene->window->rkey);
	struct ibv_send_wr bind = { .opcode = IBV_WR_BIND_MW,
				    .bind_mw = { scene->window, key, { scene->target, (uintptr_t)target, SIZE / 2,
								       IBV_ACCESS_REMOTE_WRITE } } };
	struct ibv_send_wr end = { .opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = key };

	must(post(scene, 0, &bind) == IBV_WC_SUCCESS, "the window can't be bound");
	memset(source, 1, SIZE);
	must(write_through(scene, key) == IBV_WC_SUCCESS, "a write through the window fails");
	must(!memcmp(source, target, SIZE / 2) && !target[SIZE / 2], "not what was written");
	must(post(scene, 0, &end) == IBV_WC_SUCCESS, "the window can't be invalidated");
	memset(source, 2, SIZE);
	must(write_through(scene, key) == IBV_WC_REM_ACCESS_ERR, "a write after that is no remote access error");
	must(target[0] == 1 && target[SIZE / 2 - 1] == 1, "the bytes did not stay");
}

int main(int argc, char **argv)
{
	struct scene scene = { 0 };

	must(argc == 2, "of which device?");
	make(&scene, argv[1]);
	show(&scene);
	return EXIT_SUCCESS;
}
