/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * memory.h: how a transport hears of the parts of kvr_memory: what has to be registered with a device is, once, when
 * the part is added or the device comes into use, whichever is later. transport.h has what others see of it.
 */
#ifndef KVR_MEMORY_H
#define KVR_MEMORY_H

#include "transport.h"

/* A device that all parts are registered with; embedded in what it belongs to. */
struct kvr_registrar {
	int (*add)(struct kvr_registrar *registrar, struct kvr_part *part);
	void (*remove)(struct kvr_registrar *registrar, struct kvr_part *part);
	void (*close)(struct kvr_registrar *registrar); /* the memory is closed; all parts are removed before */
	struct kvr_registrar *next;
};

/* Is any part of it GPU memory? */
bool kvr_memory_in_gpu(const struct kvr_memory *memory);

/* One that is there already, of those whose close is this function, for which is() says so; NULL: none. */
struct kvr_registrar *kvr_memory_registrar(const struct kvr_memory *memory,
					   void (*close)(struct kvr_registrar *registrar),
					   bool (*is)(const struct kvr_registrar *registrar, const void *arg),
					   const void *arg);

/* Of one that is gone itself: all parts are removed from it, and it is closed. */
void kvr_memory_unregister(struct kvr_memory *memory, struct kvr_registrar *registrar);

/* It is told of all parts from now on, first of those that are there. It is the memory's then, but for an error. */
int kvr_memory_register(struct kvr_memory *memory, struct kvr_registrar *registrar);

#endif
