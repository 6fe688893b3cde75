/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * gpu_scene.h: what tests of stores in GPU memory share: an owner in a process of its own, bytes that are copied to and
 * from the planes (nobody can touch these), and what must be left of a device.
 *
 * The driver can't be used in a child of a process that has initialized it: children are started before the first call
 * of a test that needs it.
 */
#ifndef GPU_SCENE_H
#define GPU_SCENE_H

#include "fixture.h"
#include "standin.h"

#define GPU_BLOCKS 8U
#define GPU_PLANE (UINT64_C(2) << 20) /* bytes of a plane: of all blocks, in whole pages of the stand-in's */

/* What a store is to be. */
struct gpu_wish {
	const char *pool;
	enum kvshm_export export;
};

/* Eight small blocks in each plane. */
struct kvshm_create_options gpu_options(const char *pool, enum kvshm_export export);
/* Makes the store in this process, and attaches a client. */
kvshm_store *gpu_make(const char *pool);

/* Starts a process that makes the store, and hands out what it is reached by until it is told to destroy it; returns
 * when the store is there. */
void gpu_owner(struct child *owner, const struct gpu_wish *wish);
/* Tells it, and waits for its end. */
void gpu_owner_end(const struct child *owner);

/* The bytes of a key, written into and read from all planes of a block, or one. */
void gpu_write(kvshm_store *store, const struct kvshm_handle *held, uint64_t number);
void gpu_write_plane(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane);
void gpu_verify(kvshm_store *store, const struct kvshm_handle *held, uint64_t number);
/* Fills a key of its own. */
void gpu_put(kvshm_store *store, uint64_t number);
/* Gets a key, and checks its bytes. */
void gpu_check(kvshm_store *store, uint64_t number);

/* This process has nothing of the driver's any more. */
void gpu_nothing_left(void);
/* No device has any memory in use. */
void gpu_all_is_free(void);

#endif
