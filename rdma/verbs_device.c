/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_device.c: devices that links use: opened once for each loop and memory, what they can do, and what they tell of
 * themselves (asynchronous events).
 *
 * Guarantees: a link whose queue pair, port or device is lost hears of it, with what to do. A child of fork() has none
 * of a device's descriptors, and none of its mappings: else a queue pair would outlive the process that owns it, and
 * the network card would go on writing where nobody fences it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "fault.h"
#include "kept.h"
#include "verbs.h"

/* Its windows are as wide as the memory region that they are over: it compares an access with that one's bounds (Linux
 * 6.1, check_rkey() in drivers/infiniband/sw/rxe/rxe_resp.c). And a binding that it does once more fails, since the
 * window is bound, and its send queue stands still, without a word (req_retry() and rxe_requester() in rxe_req.c). */
#define SOFT_ROCE 0xffffff

/* ---- What it tells ---- */

static void fail_all(struct kvr_device *device, uint32_t port, int reason)
{
	struct kvr_link *next;

	for (struct kvr_link *link = device->links; link; link = next) {
		next = link->next;
		if (port && link->port != port)
			continue;
		(void)kvr_link_fail_later(link, reason);
	}
}

static struct kvr_link *of(const struct kvr_device *device, const struct ibv_qp *qp)
{
	for (struct kvr_link *link = device->links; link; link = link->next)
		if (link->qp == qp)
			return link;
	return NULL;
}

static void queue_pair_failed(const struct kvr_device *device, const struct ibv_async_event *event)
{
	struct kvr_link *link = of(device, event->element.qp);
	const char *name = device->context->device->name;

	if (!link)
		return;
	if (event->event_type == IBV_EVENT_QP_ACCESS_ERR)
		(void)kvr_link_fail_later(link,
					  kvs_fault(EACCES, "%s: the other side wrote where it may not (%s says so)",
						    kvr_link_name(link), name));
	else
		(void)kvr_link_fail_later(link,
					  kvs_fault(EIO,
						    "%s: %s gave its queue pair up (%s): connect again; if it "
						    "goes on, look at the kernel's log for this device",
						    kvr_link_name(link), name, ibv_event_type_str(event->event_type)));
}

static void port_failed(struct kvr_device *device, uint32_t port)
{
	const char *name = device->context->device->name;

	fail_all(device, port,
		 kvs_fault(ENETDOWN,
			   "port %u of %s went down: look at its cable and its switch, and "
			   "`rdma link show %s/%u`; `ip link set ... up` for its network device",
			   port, name, name, port));
}

static void tell(struct kvr_device *device, const struct ibv_async_event *event)
{
	switch (event->event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		queue_pair_failed(device, event);
		break;
	case IBV_EVENT_PORT_ERR:
		port_failed(device, (uint32_t)event->element.port_num);
		break;
	case IBV_EVENT_CQ_ERR:
	case IBV_EVENT_DEVICE_FATAL:
		if (event->event_type == IBV_EVENT_DEVICE_FATAL)
			kvr_device_is_lost(device);
		fail_all(device, 0,
			 kvs_fault(ENODEV,
				   "%s is lost (%s): look at the kernel's log; it may have to be reset, "
				   "or its driver loaded anew",
				   device->context->device->name, ibv_event_type_str(event->event_type)));
		break;
	default: /* what came up, addresses that changed: librdmacm tells links of what matters */
		break;
	}
}

void kvr_device_look(struct kvr_device *device)
{
	struct ibv_async_event event;

	while (ibv_get_async_event(device->context, &event) == 0) {
		tell(device, &event);
		ibv_ack_async_event(&event);
	}
}

static void ready(struct kvr_watch *watch, uint32_t events)
{
	(void)events;
	kvr_device_look((struct kvr_device *)(void *)((char *)watch - offsetof(struct kvr_device, watch)));
}

void kvr_device_link(struct kvr_device *device, struct kvr_link *link)
{
	link->device = device;
	link->next = device->links;
	link->at = &device->links;
	if (link->next)
		link->next->at = &link->next;
	device->links = link;
}

void kvr_device_unlink(struct kvr_link *link)
{
	struct kvr_device *device = link->device;

	if (!device)
		return;
	*link->at = link->next;
	if (link->next)
		link->next->at = link->at;
	link->device = NULL;
	if (device->lost && !device->links)
		kvr_loop_call(device->loop, &device->closing);
}

/* ---- Loss ---- */

/* Not by who finds it lost, or ends its last link: both may be looking at it. */
static void close_lost(struct kvr_call *call)
{
	struct kvr_device *device = (struct kvr_device *)(void *)((char *)call - offsetof(struct kvr_device, closing));

	kvr_memory_unregister(device->memory, &device->registrar);
}

/* librdmacm may have a device that is lost, in this process. It is of all its nodes, each of which has a lock of its
 * own; it orders nothing, but is cleared before the look, so that what is lost during one is looked for again. */
static atomic_bool held;

void kvr_device_is_lost(struct kvr_device *device)
{
	device->lost = true;
	atomic_store(&held, true);
	if (!device->links)
		kvr_loop_call(device->loop, &device->closing);
}

/* It looks at which devices there are, and closes those that are no more; where none is left it does not look. It opens
 * all others, too: but nothing else makes it look, and what it has open holds up the removal that goes on. */
void kvr_device_let_go(void)
{
	struct ibv_context **all;

	atomic_store(&held, false);
	all = rdma_get_devices(NULL);
	if (all)
		rdma_free_devices(all);
	else
		atomic_store(&held, true);
}

/* ---- Children ---- */

/* Keeps one mapping, a line of /proc/self/maps, from children. */
static void hide_mapping(const char *line, const char *path)
{
	const char *name = strchr(line, '/');
	uintptr_t begin, end;
	char *rest;

	if (!name || strncmp(name, path, strlen(path)) != 0 || (name[strlen(path)] != '\n' && name[strlen(path)]))
		return;
	begin = strtoul(line, &rest, 16);
	end = *rest == '-' ? strtoul(rest + 1, NULL, 16) : begin;
	(void)madvise((void *)begin, end - begin, MADV_DONTFORK); // NOLINT(performance-no-int-to-ptr)
}

/* Providers map queues and doorbells, and each mapping keeps the context open as its descriptor does. They tell nobody
 * where they are but the kernel. */
void kvr_device_hide(const struct ibv_context *context)
{
	char line[512], path[128];
	FILE *maps = fopen("/proc/self/maps", "re");

	(void)snprintf(path, sizeof(path), "/dev/infiniband/%s", context->device->dev_name);
	while (maps && fgets(line, sizeof(line), maps))
		hide_mapping(line, path);
	if (maps)
		(void)fclose(maps);
}

/* ---- Opening ---- */

struct wanted {
	const struct kvr_loop *loop;
	const char *name;
};

static struct kvr_device *device_of(struct kvr_registrar *registrar)
{
	return (struct kvr_device *)(void *)((char *)registrar - offsetof(struct kvr_device, registrar));
}

static bool is_it(const struct kvr_registrar *registrar, const void *arg)
{
	const struct kvr_device *device =
		(const struct kvr_device *)(const void *)((const char *)registrar -
							  offsetof(struct kvr_device, registrar));
	const struct wanted *wanted = arg;

	return device->loop == wanted->loop && !device->lost &&
	       strcmp(device->context->device->name, wanted->name) == 0;
}

static void close_context(struct ibv_context *context)
{
	kvs_kept_forget(context->cmd_fd);
	kvs_kept_forget(context->async_fd);
	(void)ibv_close_device(context);
}

static void close_device(struct kvr_registrar *registrar)
{
	struct kvr_device *device = device_of(registrar);

	kvr_loop_uncall(device->loop, &device->closing);
	kvr_loop_remove(device->loop, &device->watch);
	kvr_window_free_all(device);
	(void)ibv_dealloc_pd(device->pd);
	close_context(device->context);
	free(device);
}

static int open_context(struct ibv_device *ib, struct ibv_context **context)
{
	int rc = kvs_kept_begin(2);

	if (rc)
		return rc;
	*context = ibv_open_device(ib);
	if (*context) {
		kvs_kept_add((*context)->cmd_fd);
		kvs_kept_add((*context)->async_fd);
		(void)fcntl((*context)->async_fd, F_SETFL, O_NONBLOCK);
		kvr_device_hide(*context);
	} else {
		rc = kvs_fault(errno, "cannot open %s: %s (may this process open /dev/infiniband/%s?)", ib->name,
			       strerror(errno), ib->dev_name);
	}
	kvs_kept_end();
	return rc;
}

static int read_abilities(struct kvr_device *device)
{
	struct ibv_device_attr attr;
	int error = kvr_verbs_error(ibv_query_device(device->context, &attr));

	if (error)
		return kvs_fault(error, "%s does not say what it can do: %s", device->context->device->name,
				 strerror(error));
	device->is_iwarp = device->context->device->transport_type == IBV_TRANSPORT_IWARP;
	device->has_windows = attr.device_cap_flags & (IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B) &&
			      attr.max_mw > 0;
	device->wide_windows = device->has_windows && attr.vendor_id == SOFT_ROCE;
	device->binds_again = device->wide_windows;
	device->queue_max = (uint32_t)attr.max_qp_wr;
	device->completions_max = (uint32_t)attr.max_cqe;
	return 0;
}

static int make(struct kvr_loop *loop, struct kvr_memory *memory, struct ibv_device *ib, struct kvr_device **device)
{
	struct kvr_device *made = calloc(1, sizeof(*made));
	int rc = made ? open_context(ib, &made->context) : kvs_fault(ENOMEM, "no memory for %s", ib->name);

	if (rc) {
		free(made);
		return rc;
	}
	made->loop = loop;
	made->memory = memory;
	made->closing.fn = close_lost;
	made->watch = (struct kvr_watch){.ready = ready, .fd = made->context->async_fd};
	made->free_end = &made->free;
	made->registrar = (struct kvr_registrar){.add = kvr_key_add, .remove = kvr_key_remove, .close = close_device};
	rc = read_abilities(made);
	if (rc)
		goto close;
	made->pd = ibv_alloc_pd(made->context);
	if (!made->pd) {
		rc = kvs_fault(errno, "%s has no protection domain for us: %s", ib->name, strerror(errno));
		goto close;
	}
	rc = kvr_loop_add(loop, &made->watch, EPOLLIN);
	if (rc)
		goto dealloc;
	rc = kvr_memory_register(memory, &made->registrar);
	if (rc == 0) {
		*device = made;
		return 0;
	}
	kvr_loop_remove(loop, &made->watch);
dealloc:
	(void)ibv_dealloc_pd(made->pd);
close:
	close_context(made->context);
	free(made);
	return rc;
}

int kvr_device_get(struct kvr_loop *loop, struct kvr_memory *memory, const struct rdma_cm_id *id,
		   struct kvr_device **device)
{
	const struct wanted wanted = {.loop = loop, .name = id->verbs->device->name};
	struct kvr_registrar *there = kvr_memory_registrar(memory, close_device, is_it, &wanted);
	int count, rc, i = 0;
	struct ibv_device **all;

	if (there) {
		*device = device_of(there);
		return 0;
	}
	if (atomic_load(&held)) /* a device's own event came before it was in no list any more, or none was left */
		kvr_device_let_go();
	all = ibv_get_device_list(&count);
	if (!all)
		return kvs_fault(errno, "cannot list RDMA devices: %s", strerror(errno));
	while (i < count && strcmp(all[i]->name, wanted.name) != 0)
		i++;
	rc = i < count ? make(loop, memory, all[i], device)
		       : kvs_fault(ENODEV, "%s is there no more: put it back, or name another one", wanted.name);
	ibv_free_device_list(all);
	return rc;
}
