/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes.h: the planes of a store in GPU memory, as their owner has them: made, and exported.
 *
 * Guarantees: a failure leaves no memory. Of KVS_EXPORT_FD the owner makes no context (which would take hundreds of MB
 * of each GPU), and what it keeps is the descriptors: they keep the memory. Of KVS_EXPORT_IPC the memory is freed when
 * the owner's process ends.
 */
#ifndef KVG_PLANES_H
#define KVG_PLANES_H

#include "context.h"

struct kvg_planes;

/* What is to be made, the argument of the function below, a kvs_planes_fn: planes is NULL before, and what was made
 * behind it. */
struct kvg_planes_wish {
	uint8_t uuids[KVS_PLANES_MAX][KVS_UUID_SIZE];
	enum kvs_export export;
	struct kvg_planes *planes;
};
int kvg_planes_make(void *arg, const struct kvs_geometry *geometry, struct kvs_plane_files *files);

/* Of descriptors that came from elsewhere (kvg_share_ask()) and are in kvs_kept: its own from now on, also where this
 * fails. */
int kvg_planes_take(const int *fds, uint32_t count, struct kvg_planes **planes);

/* A descriptor for each plane, in order; NULL of KVS_EXPORT_IPC. They are in kvs_kept: children of fork() close them.
 */
const int *kvg_planes_fds(const struct kvg_planes *planes);

/* Gives back what the owner has of them; NULL is none. */
void kvg_planes_free(struct kvg_planes *planes);

#endif
