/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * attached_map.h: what attached.c, attached_map.c and attached_copy.c need of each other.
 */
#ifndef KVG_ATTACHED_MAP_H
#define KVG_ATTACHED_MAP_H

#include <stdbool.h>

#include "attached.h"

/* Unmaps, or unregisters, a plane, if it is mapped or registered. Nobody uses it any more. */
void kvg_attached_unmap(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane);

/* Are its planes opened by IPC handles, and gone with their owner? */
bool kvg_attached_is_opened(const struct kvg_attached *attached);

/* -ESTALE: they are gone. */
int kvg_attached_ownerless(void);

/* The streams of copies end. Nobody copies any more. */
void kvg_attached_copies_close(struct kvg_attached *attached, const struct kvg_driver *driver);

/* -EXDEV, of what is opened by IPC handles. */
int kvg_attached_other_context(void);

#endif
