/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view.h: what the files of the views share: view.c (a store), view_blocks.c (its blocks), list.c (which stores there
 * are, and their heads).
 */
#ifndef KVSHM_VIEW_H
#define KVSHM_VIEW_H

#include "internal.h"

#include "inspect.h"

struct kvshm_view {
	struct kvs_view inner;
	char name[KVSHM_NAME_MAX + 1];
};

#endif
