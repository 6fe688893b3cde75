/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_dmabuf_none.c: in place of verbs_dmabuf.c, where libibverbs has no dma-bufs.
 */
#include "config.h"

#include <errno.h>

#include "verbs.h"

struct ibv_mr *kvr_dmabuf_register(struct ibv_pd *pd, uint64_t offset, char *at, uint64_t length, int fd, int access)
{
	(void)pd;
	(void)offset;
	(void)at;
	(void)length;
	(void)fd;
	(void)access;
	errno = EOPNOTSUPP;
	return NULL;
}
