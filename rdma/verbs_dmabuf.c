/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_dmabuf.c: a dma-buf as a memory region, with a libibverbs that can (rdma-core 34). verbs_dmabuf_none.c is for
 * the others.
 */
#include "config.h"

#include "verbs.h"

/* The other side names its bytes by their addresses, as it does those of host memory. */
struct ibv_mr *kvr_dmabuf_register(struct ibv_pd *pd, uint64_t offset, char *at, uint64_t length, int fd, int access)
{
	return ibv_reg_dmabuf_mr(pd, offset, length, (uintptr_t)at, fd, access);
}
