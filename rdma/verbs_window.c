/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_window.c: what the other side of a link may write into: type-2 memory windows, bound to the link's queue pair.
 *
 * Guarantees (E2, E3): withdrawn() is called when the invalidation has completed; from then on a write by the window's
 * key is refused, and ends the link. A key is not used again: 8 bits of it are counted up by each binding, and a window
 * is given back to the device, for a new one, before they have gone round. A window goes to another link only unbound.
 * Free ones are used in turn, so that keys come back late even so. (tests/model/remote_fence.pml)
 *
 * Devices without windows, and planes of GPU memory that windows can't be over: the key is that of the part's memory
 * region. withdrawn() is called too, but says nothing: only the queue pair's end does (KVR_LINK_NO_WINDOWS).
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "verbs.h"

static void put_into(struct kvr_verbs_window **head, struct kvr_verbs_window *window)
{
	window->next = *head;
	window->at = head;
	if (window->next)
		window->next->at = &window->next;
	*head = window;
}

static void take_out(struct kvr_verbs_window *window)
{
	*window->at = window->next;
	if (window->next)
		window->next->at = window->at;
}

static struct kvr_verbs_window *take_first(struct kvr_verbs_window **head)
{
	struct kvr_verbs_window *window = *head;

	*head = window->next;
	if (window->next)
		window->next->at = head;
	return window;
}

/* ---- Free ones ---- */

static void give_back(struct kvr_device *device, struct kvr_verbs_window *window)
{
	window->next = NULL;
	*device->free_end = window;
	device->free_end = &window->next;
}

static struct kvr_verbs_window *take_free(struct kvr_device *device)
{
	struct kvr_verbs_window *window = device->free;

	if (!window)
		return NULL;
	device->free = window->next;
	if (!device->free)
		device->free_end = &device->free;
	return window;
}

static void destroy(struct kvr_verbs_window *window)
{
	if (window->mw)
		(void)ibv_dealloc_mw(window->mw);
	free(window);
}

void kvr_window_free_all(struct kvr_device *device)
{
	struct kvr_verbs_window *window;

	while ((window = take_free(device)))
		destroy(window);
}

/* One without mw says no more than the region's key. */
static int make(struct kvr_device *device, bool real, struct kvr_verbs_window **window)
{
	struct kvr_verbs_window *made = calloc(1, sizeof(*made));

	if (!made)
		return kvs_fault(ENOMEM, "no memory for a window");
	if (real) {
		made->mw = ibv_alloc_mw(device->pd, IBV_MW_TYPE_2);
		if (!made->mw) {
			free(made);
			return kvs_fault(ENOMEM, "%s has no more memory windows (%s): let less be in flight at once",
					 device->context->device->name, strerror(errno));
		}
	}
	*window = made;
	return 0;
}

/* One whose key has values left. */
static int get(struct kvr_link *link, bool real, struct kvr_verbs_window **window)
{
	struct kvr_verbs_window *old = real ? take_free(link->device) : NULL;

	if (old && old->binds < KVR_VERBS_BINDS_MAX) {
		*window = old;
		return 0;
	}
	if (old) {
		destroy(old);
		link->info.windows_retired++;
	}
	return make(link->device, real, window);
}

/* ---- Exposed ones ---- */

static int open_window(struct kvr_link *link, struct kvr_verbs_window *window)
{
	if (!window->mw) {
		window->window.rkey = window->mr->rkey;
		return 0;
	}
	window->binds++;
	window->window.rkey = ibv_inc_rkey(window->mw->rkey);
	window->bind = (struct kvr_op){.kind = KVR_OP_BIND, .window = window};
	return kvr_qp_put(link, &window->bind);
}

int kvr_window_expose(struct kvr_link *link, void *address, uint64_t length, void *user, struct kvr_window **window)
{
	const struct kvr_part *part = kvr_memory_find(link->memory, address, length);
	struct kvr_verbs_window *made;
	int rc;

	if (!part || !part->exposed)
		return kvs_fault(EFAULT, "%llu bytes at %p are in no memory that was added to be written from outside",
				 (unsigned long long)length, address);
	rc = get(link, kvr_key_find(part, link->device)->windows, &made);
	if (rc)
		return rc;
	made->mr = kvr_key_under(part, link->device, address, length);
	if (!made->mr) {
		give_back(link->device, made);
		return -ENOMEM;
	}
	made->withdrawing = false;
	made->window = (struct kvr_window){.address = (uintptr_t)address, .length = length, .user = user};
	put_into(&link->windows, made);
	rc = open_window(link, made);
	if (rc) {
		take_out(made);
		destroy(made);
		return rc;
	}
	link->info.windows_exposed++;
	*window = &made->window;
	return 0;
}

void kvr_window_withdraw(struct kvr_link *link, struct kvr_window *window)
{
	struct kvr_verbs_window *own = (struct kvr_verbs_window *)(void *)window;

	if (own->withdrawing || link->state == KVR_LINK_DOWN || link->reason)
		return; /* it is gone with the link */
	own->withdrawing = true;
	if (own->mw) {
		own->invalidate = (struct kvr_op){.kind = KVR_OP_INVALIDATE, .window = own};
		(void)kvr_qp_put(link, &own->invalidate);
		return;
	}
	take_out(own);
	put_into(&link->withdrawn, own);
	kvr_link_soon(link);
}

static void tell(struct kvr_link *link, struct kvr_verbs_window *window)
{
	link->info.windows_withdrawn++;
	if (!link->closed)
		link->user->withdrawn(link->arg, &window->window);
}

void kvr_window_was_invalidated(struct kvr_link *link, struct kvr_verbs_window *window)
{
	struct kvr_device *device = link->device;

	take_out(window);
	tell(link, window);
	give_back(device, window);
}

void kvr_window_tell(struct kvr_link *link)
{
	while (link->withdrawn && !link->closed) {
		struct kvr_verbs_window *window = take_first(&link->withdrawn);

		tell(link, window);
		free(window);
	}
}

/* Bound ones are not used again: the device takes them back, bound as they are. */
void kvr_window_drop_all(struct kvr_link *link)
{
	while (link->windows || link->withdrawn)
		destroy(take_first(link->windows ? &link->windows : &link->withdrawn));
}
