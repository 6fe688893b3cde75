/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * context.h: devices, and the context that a call of the driver's is made in.
 *
 * Guarantees: the caller's current context, and the stack that it is on, are as they were when the call returns, also
 * after errors. Where the calling thread has no context of the device, its primary context is used, retained until
 * kvg_contexts_close(): so it outlives what was made in it.
 */
#ifndef KVG_CONTEXT_H
#define KVG_CONTEXT_H

#include "driver.h"
#include "layout.h"

#define KVG_NAME_SIZE 48 /* "GPU-" or "MIG-", and a UUID as text */

/* The UUID as text, as nvidia-smi -L has it (of an instance of MIG, too, it begins with "GPU-" where CUDA does not say
 * that it is one). */
void kvg_uuid_text(char text[KVG_NAME_SIZE], const uint8_t uuid[KVS_UUID_SIZE]);

/* The device of that UUID in this process. -ENODEV: it can't see it, and the text says what it sees, and why that may
 * be (CUDA_VISIBLE_DEVICES). */
int kvg_device_find(const struct kvg_driver *driver, const uint8_t uuid[KVS_UUID_SIZE], kvg_device *device);

/* What the device has of an attribute; 0 of one that the driver does not know. */
int kvg_device_ask(const struct kvg_driver *driver, kvg_device device, int attribute, int *value);

/* What a pool's text asks for: "cuda:0,GPU-...". -EINVAL: what is wrong with the text; -ENODEV: no such GPU. */
int kvg_devices_parse(const char *pool, uint8_t uuids[KVS_PLANES_MAX][KVS_UUID_SIZE], uint32_t *count);

/* Is it one that asks for GPU memory? (NULL and "host" do not.) */
int kvg_devices_asked(const char *pool);

/* The primary contexts that have been retained. Zeroed is none. Any thread. */
struct kvg_contexts {
	kvg_device devices[KVS_PLANES_MAX];
	kvg_context contexts[KVS_PLANES_MAX];
	uint32_t count;
};

/* The calling thread's context, if it is one of that device; else *context is NULL. */
int kvg_context_current(const struct kvg_driver *driver, kvg_device device, kvg_context *context);

/* The device's primary context. One thread at a time uses contexts, which the caller sees to. */
int kvg_context_primary(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
			kvg_context *context);

/* The first of these, or else the second. */
int kvg_context_find(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
		     kvg_context *context);

/* Between these two the driver bears calls that it would otherwise refuse while a stream is captured, by this thread or
 * by another, and that would spoil the capture (cuThreadExchangeStreamCaptureMode()). They nest. The second is to
 * follow each success. Without a text. */
kvg_result kvg_capture_bear(const struct kvg_driver *driver);
void kvg_capture_mind(const struct kvg_driver *driver);

/* Makes a context current, and bears captures. Each success is to be followed by kvg_context_leave(), on the same
 * thread. */
int kvg_context_push(const struct kvg_driver *driver, kvg_context context);
/* The same, without a text: for the way back from a failure that has one. */
kvg_result kvg_context_push_again(const struct kvg_driver *driver, kvg_context context);

/* Finds, and pushes. *context: which. */
int kvg_context_enter(const struct kvg_driver *driver, struct kvg_contexts *contexts, kvg_device device,
		      kvg_context *context);
void kvg_context_leave(const struct kvg_driver *driver);
void kvg_contexts_close(const struct kvg_driver *driver, struct kvg_contexts *contexts);

#endif
