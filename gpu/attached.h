/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached.h: what an attachment has of GPUs: the planes' descriptors, their mappings, host planes that are registered,
 * and the contexts that all this is in.
 *
 * Guarantees: nothing of the driver is loaded or called before a call needs it. Before the first mapping or
 * registration the client is marked as one that does DMA (kvs_client_set_dma()), so that its blocks outlive its lock. A
 * plane is mapped once in a process (of KVS_EXPORT_IPC: in one context), and unmapped when the client is closed, behind
 * all that was on its streams. A failure leaves nothing mapped.
 */
#ifndef KVG_ATTACHED_H
#define KVG_ATTACHED_H

#include <pthread.h>

#include "context.h"
#include "map.h"

struct kvg_attached;
struct kvg_streams;	/* streams.h: what is on streams and has not taken effect yet */
struct kvg_copy_stream; /* attached_copy.c */

/* At attach: fetches the planes' descriptors, where there are such (share.h), with its errors. dir and name are copied.
 * The map outlives it. */
int kvg_attached_open(struct kvs_map *map, uint32_t slot, const char *dir, const char *name,
		      struct kvg_attached **attached);

/* Fence, drain, unmap: no other thread is in a call with it; waits until what is on streams has taken effect or its
 * context has failed; unmaps, unregisters, releases. NULL is none. */
void kvg_attached_close(struct kvg_attached *attached);

/* What a call does where the state's word is not KVS_STORE_OPEN alone: answers an asking owner; of planes that go with
 * the owner, looks every 50 ms whether it lives, and marks the store destroyed where it does not: -ESTALE. */
int kvg_attached_look(struct kvg_attached *attached, uint32_t state);

/* The address of a plane of GPU memory; maps it if it is not. Any thread. Errors as in kvshm_get_plane_info(). */
int kvg_attached_map(struct kvg_attached *attached, uint32_t plane, kvg_pointer *base);

/* Registers a host plane with the driver. Again is no error. */
int kvg_attached_register(struct kvg_attached *attached, uint32_t plane);
int kvg_attached_is_registered(const struct kvg_attached *attached, uint32_t plane);

/* Copies between a plane of GPU memory, at an offset in it, and this process's memory; returns when the bytes are
 * there. On a stream of its own (attached_copy.c): waits for none of the program's, and is in no capture's way. */
int kvg_attached_read(struct kvg_attached *attached, uint32_t plane, uint64_t at, void *to, uint64_t length);
int kvg_attached_write(struct kvg_attached *attached, uint32_t plane, uint64_t at, const void *from, uint64_t length);

/* For network cards: a dma-buf of a plane, whose bytes begin at its beginning; *fd is the caller's, who gives it to
 * kvs_kept_close() (kept.h). -EOPNOTSUPP: driver or GPU can't; then the plane's addresses may still be registered as
 * they are, where the kernel has peer memory.
 * Flush: what cards have written to planes of GPU memory before it is seen by whatever reads it behind (E1).
 * -EOPNOTSUPP: the GPU does not do without, and can't. */
int kvg_attached_dma_buf(struct kvg_attached *attached, uint32_t plane, int *fd);
int kvg_attached_flush(struct kvg_attached *attached);

/* The ordinal of a plane's GPU in this process. */
int kvg_attached_device(struct kvg_attached *attached, uint32_t plane, kvg_device *device);

/* ---- For the files of gpu/ --------------------------------------------------------------------------------- */

struct kvg_attached {
	struct kvs_map *map;
	uint32_t slot;
	pthread_mutex_t lock; /* of all below, and of what is made in contexts.
			       * Nothing is called under it but the driver, never what may wait for a
			       * stream, and that of kept.h for an export. What a stream calls must not
			       * take it either: the driver may wait for that where nobody expects it
			       * (loading a module) */
	struct kvg_contexts contexts;
	struct kvg_device_of {
		kvg_device device;
		int known;
	} devices[KVS_PLANES_MAX];
	_Atomic uint64_t bases[KVS_PLANES_MAX]; /* kvg_pointer; 0: not mapped. Of KVS_EXPORT_IPC: in owners[] */
	kvg_context owners[KVS_PLANES_MAX];	/* also of what is registered */
	_Atomic uint32_t registered;		/* host planes: a bit each */
	int fds[KVS_PLANES_MAX];		/* -1 where there are none; in kvs_kept */
	_Atomic uint32_t answered;		/* see kvg_share_answer() */
	_Atomic uint64_t looked;		/* when the owner was last looked at */
	struct kvg_streams *streams;		/* NULL: nothing was ever put on one */
	struct kvg_copy_stream *copy_streams;	/* one of each context that copies were made in */
	char name[KVS_NAME_MAX + 1];
	char *dir;
};

/* Enters a context of a plane's GPU (of host memory: the calling thread's, or the primary one of device 0), with the
 * lock held until kvg_attached_leave(). Of KVS_EXPORT_IPC it is the one that the GPU's planes are mapped in: -EXDEV if
 * the calling thread's is another one of that GPU. */
int kvg_attached_enter(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver **driver,
		       kvg_context *context);
void kvg_attached_leave(struct kvg_attached *attached, const struct kvg_driver *driver);

/* The same context, without entering it, and without the lock: for what waits for a stream. It lives until the
 * attachment is closed. */
int kvg_attached_context(struct kvg_attached *attached, uint32_t plane, const struct kvg_driver **driver,
			 kvg_context *context);

#endif
