/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached_map.h: what attached.c and attached_map.c need of each other.
 */
#ifndef KVG_ATTACHED_MAP_H
#define KVG_ATTACHED_MAP_H

#include "attached.h"

/* Unmaps, or unregisters, a plane, if it is mapped or registered. Nobody uses it any more. */
void kvg_attached_unmap(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane);

/* -EXDEV, of what is opened by IPC handles. */
int kvg_attached_other_context(void);

#endif
