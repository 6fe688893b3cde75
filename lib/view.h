/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view.h: what the files of the views share: view.c (a store), view_blocks.c (its blocks), view_planes.c (its planes),
 * view_requests.c (its requests, and the pins of all clients), view_peers.c (its connections), list.c (which stores
 * there are, and their heads); and owner_pins.c, which looks at the pins of its store in the same way.
 */
#ifndef KVSHM_VIEW_H
#define KVSHM_VIEW_H

#include "internal.h"

#include "inspect.h"

struct kvshm_view {
	struct kvs_view inner;
	char name[KVSHM_NAME_MAX + 1];
};

/* Copies of all requests: one that could not be read whole, since others took its slot all the time, is of state
 * NONE. */
struct kvl_requests_view {
	struct kvs_request *all;
	_Atomic uint64_t *places;
};
int kvl_view_read_requests(const struct kvs_view *view, struct kvl_requests_view *requests);
void kvl_view_free_requests(struct kvl_requests_view *requests);

/* Pins of a living client that came together. */
struct kvl_pins {
	uint64_t since;	  /* ns */
	uint64_t number;  /* of their request, in the slot `at`; 0: of none, on the block `at` */
	int64_t attached; /* when the client was */
	uint32_t client, at, pins;
};

struct kvl_pins_view {
	struct kvl_pins *all; /* the oldest first */
	size_t count, space;
	struct kvs_slot_view *slots;
	struct kvl_requests_view requests;
};

/* Reads those that began before a time. */
int kvl_view_read_pins(const struct kvs_view *view, uint64_t before, struct kvl_pins_view *read);
void kvl_view_free_pins(struct kvl_pins_view *read);
void kvl_view_describe_pins(const struct kvl_pins_view *read, const struct kvl_pins *pins, uint64_t now,
			    struct kvshm_pin_info *to);

#endif
