/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_fake.c: what fails when; devices, their events, memory regions and windows. See verbs_fake.h.
 */
#include "config.h"

#include "verbs_fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "verbs_fake_qp.h"

#define EVENTS 64

struct fake fake;

/* ---- Failures */

void fake_must(bool is, const char *what)
{
	if (is)
		return;
	(void)fprintf(stderr, "no device would do that: %s\n", what);
	abort();
}

bool fake_fails(const char *call)
{
	if (++fake.calls != fake.fail_at)
		return false;
	fake.failed = call;
	errno = fake.error;
	return true;
}

int fake_error(const char *call)
{
	if (!fake_fails(call))
		return 0;
	if (fake.style == FAKE_MINUS_ONE)
		return -1;
	return fake.style == FAKE_NEGATIVE ? -fake.error : fake.error;
}

void fake_calm(void)
{
	fake.fail_at = 0;
}

/* What rdma/ has of the system fails as the devices do. */
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fake_fails("calloc") ? NULL : __real_calloc(count, size);
}

/* What a device is made of does not fail. */
void *fake_make(size_t size)
{
	void *made = __real_calloc(1, size);

	fake_must(made, "memory");
	return made;
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return fake_fails("mmap") ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags)
{
	return fake_fails("timerfd_create") ? -1 : __real_timerfd_create(clock, flags);
}

int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	return op == EPOLL_CTL_ADD && fake_fails("epoll_ctl") ? -1 : __real_epoll_ctl(epoll, op, fd, event);
}

/* ---- Descriptors that are readable as long as there is something: as the kernel's are */

int fake_descriptor(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);

	fake_must(fd >= 0, "a descriptor");
	return fd;
}

void fake_signal(int fd)
{
	const uint64_t one = 1;

	fake_must(write(fd, &one, sizeof(one)) == sizeof(one), "a signal");
}

/* Whoever asks has made it one that does not block: else the test hangs, as it would. */
bool fake_take_signal(int fd)
{
	uint64_t one;

	return read(fd, &one, sizeof(one)) == sizeof(one);
}

/* ---- Devices */

struct fake_context {
	struct ibv_context ibv;
	struct ibv_async_event events[EVENTS];
	unsigned first, end, acknowledged; /* events */
	unsigned objects;		   /* that are its own */
	bool dead;			   /* the device was removed */
	struct fake_context *next;
};

static struct ibv_device devices[FAKE_DEVICES];
static struct ibv_context cm_contexts[FAKE_DEVICES];
static struct fake_context *contexts;

struct ibv_device *fake_device(unsigned number)
{
	return &devices[number];
}

struct ibv_context *fake_cm_context(unsigned device)
{
	return &cm_contexts[device];
}

unsigned fake_number(const struct ibv_context *context)
{
	return (unsigned)(context->device - devices);
}

void fake_begin(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.error = ENOMEM;
	fake.queue_max = 4096;
	fake.completions_max = 8192;
	for (unsigned i = 0; i < FAKE_DEVICES; i++) {
		(void)snprintf(devices[i].name, sizeof(devices[i].name), "fake%u", i);
		(void)snprintf(devices[i].dev_name, sizeof(devices[i].dev_name), "uverbs%u", i);
		cm_contexts[i].device = &devices[i];
	}
}

void fake_address(unsigned device, int family, struct sockaddr *address)
{
	char text[32];
	void *at = address;
	struct sockaddr_in *four = at;
	struct sockaddr_in6 *six = at;

	if (family == AF_INET) {
		*four = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a4d0001 + device)};
		return;
	}
	*six = (struct sockaddr_in6){.sin6_family = AF_INET6};
	(void)snprintf(text, sizeof(text), "fd00:77::%u", device + 1);
	(void)inet_pton(AF_INET6, text, &six->sin6_addr);
}

struct ibv_device **ibv_get_device_list(int *num_devices)
{
	struct ibv_device **list;
	int there = 0;

	if (fake_fails("ibv_get_device_list"))
		return NULL;
	list = fake_make((FAKE_DEVICES + 1) * sizeof(struct ibv_device *));
	for (unsigned i = 0; i < FAKE_DEVICES; i++)
		if (!fake.gone[i])
			list[there++] = &devices[i];
	if (num_devices)
		*num_devices = there;
	fake.objects++;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	fake.objects--;
	free(list);
}

static struct ibv_mw *alloc_window(struct ibv_pd *pd, enum ibv_mw_type type);
static int dealloc_window(struct ibv_mw *mw);

struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	struct fake_context *made;

	fake_must(!fake.gone[device - devices], "a device is opened that is in no list");
	device->transport_type = fake.iwarp ? IBV_TRANSPORT_IWARP : IBV_TRANSPORT_IB;
	if (fake_fails("ibv_open_device"))
		return NULL;
	made = fake_make(sizeof(*made));
	made->ibv = (struct ibv_context){.device = device,
					 .cmd_fd = fake_descriptor(),
					 .async_fd = fake_descriptor(),
					 .ops = {.alloc_mw = alloc_window,
						 .dealloc_mw = dealloc_window,
						 .poll_cq = fake_poll,
						 .req_notify_cq = fake_arm,
						 .post_send = fake_post,
						 .post_recv = fake_post_receive}};
	made->next = contexts;
	contexts = made;
	fake.objects++;
	return &made->ibv;
}

void fake_owns(struct ibv_context *context, int change)
{
	struct fake_context *own = (void *)context;

	fake_must(change < 0 || !own->dead, "something is made of a device that was removed");
	own->objects += (unsigned)change;
	fake.objects += (unsigned)change;
}

int ibv_close_device(struct ibv_context *context)
{
	struct fake_context *own = (void *)context, **at = &contexts;

	fake_must(!own->objects, "a device is closed before what is of it");
	fake_must(own->acknowledged == own->first, "an event of a device was not acknowledged");
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
	(void)close(context->cmd_fd);
	(void)close(context->async_fd);
	free(own);
	fake.objects--;
	return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	int error = fake_error("ibv_query_device");

	(void)context;
	if (error)
		return error;
	*attr = (struct ibv_device_attr){
		.phys_port_cnt = 1,
		.vendor_id = fake.wide_windows ? 0xffffff : 0x15b3,
		.device_cap_flags = fake.no_windows ? 0 : IBV_DEVICE_MEM_WINDOW_TYPE_2B,
		.max_mw = 1000,
		.max_qp_wr = (int)fake.queue_max,
		.max_cqe = (int)fake.completions_max,
	};
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *attr)
{
	struct ibv_port_attr *own = (void *)attr;
	int error = fake_error("ibv_query_port");

	if (error)
		return error;
	fake_must(port == 1, "a port that there is not");
	own->state = fake.down[fake_number(context)] ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
	own->max_msg_sz = 1 << 16;
	return 0;
}

/* Two of each: 0 and 1 are IPv4, as RoCE v1 and v2; 2 is IPv6; 3 is of the link only. */
static bool read_gid(unsigned device, uint32_t index, struct ibv_gid_entry *entry)
{
	struct sockaddr_in6 six;
	void *address = &six;

	if (index > 3)
		return false;
	*entry = (struct ibv_gid_entry){.gid_index = index, .port_num = 1, .gid_type = IBV_GID_TYPE_ROCE_V2};
	if (index < 2) {
		fake_address(device, AF_INET, address);
		memset(entry->gid.raw + 10, 0xff, 2);
		memcpy(entry->gid.raw + 12, &((struct sockaddr_in *)address)->sin_addr, 4);
		return true;
	}
	fake_address(device, AF_INET6, address);
	if (index == 3)
		(void)inet_pton(AF_INET6, "fe80::1", &six.sin6_addr);
	memcpy(entry->gid.raw, &six.sin6_addr, sizeof(entry->gid.raw));
	return true;
}

int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port_num, uint32_t gid_index, struct ibv_gid_entry *entry,
		      uint32_t flags, size_t entry_size)
{
	(void)port_num;
	(void)flags;
	fake_must(entry_size == sizeof(*entry), "another entry of GIDs");
	if (fake_fails("ibv_query_gid_ex"))
		return fake.error;
	return read_gid(fake_number(context), gid_index, entry) ? 0 : ENODATA;
}

ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t max_entries,
			     uint32_t flags, size_t entry_size)
{
	uint32_t i = 0;

	(void)flags;
	fake_must(entry_size == sizeof(*entries), "another entry of GIDs");
	if (fake_fails("ibv_query_gid_table"))
		return -fake.error;
	while (i < max_entries && read_gid(fake_number(context), i, &entries[i]))
		i++;
	return (ssize_t)i;
}

/* ---- Events */

void fake_async(unsigned device, enum ibv_event_type type, struct ibv_qp *qp)
{
	for (struct fake_context *at = contexts; at; at = at->next) {
		struct ibv_async_event event = {.event_type = type};

		if (at->ibv.device != &devices[device] || (qp && qp->context != &at->ibv))
			continue;
		if (qp)
			event.element.qp = qp;
		else
			event.element.port_num = 1;
		fake_must(at->end < EVENTS, "so many events");
		at->events[at->end++] = event;
		fake_signal(at->ibv.async_fd);
	}
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
	struct fake_context *own = (void *)context;

	if (fake_fails("ibv_get_async_event") || !fake_take_signal(context->async_fd))
		return -1;
	*event = own->events[own->first++];
	return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
	for (struct fake_context *at = contexts; at; at = at->next)
		if (at->acknowledged < at->first &&
		    at->events[at->acknowledged].event_type == event->event_type) {
			at->acknowledged++;
			return;
		}
	fake_must(false, "an event is acknowledged that nobody had");
}

void fake_remove(unsigned device)
{
	fake_cm_remove(device);
	if (!fake.says_no_fatal)
		fake_async(device, IBV_EVENT_DEVICE_FATAL, NULL);
	fake.gone[device] = true;
	for (struct fake_context *at = contexts; at; at = at->next)
		at->dead = at->dead || at->ibv.device == &devices[device];
	fake_qp_remove(device);
}

void fake_restore(unsigned device)
{
	fake.gone[device] = false;
}

/* ---- Memory */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct fake_pd *made;

	if (fake_fails("ibv_alloc_pd"))
		return NULL;
	made = fake_make(sizeof(*made));
	made->ibv.context = context;
	fake_owns(context, 1);
	return &made->ibv;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	struct fake_pd *own = (void *)pd;

	fake_must(!own->objects, "a protection domain goes before what is in it");
	fake_owns(pd->context, -1);
	free(own);
	return 0;
}

static uint32_t next_key = 0x100;

static struct ibv_mr *make_region(struct ibv_pd *pd, uint64_t address, size_t length, unsigned access)
{
	struct fake_mr *made = fake_make(sizeof(*made));

	made->ibv = (struct ibv_mr){.context = pd->context, .pd = pd, .length = length};
	made->ibv.addr = (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
	made->ibv.lkey = made->ibv.rkey = next_key;
	made->address = address;
	made->access = access;
	next_key += 0x100;
	fake_add_region(made);
	((struct fake_pd *)(void *)pd)->objects++;
	fake_owns(pd->context, 1);
	return &made->ibv;
}

static struct ibv_mr *register_memory(struct ibv_pd *pd, void *at, size_t length, unsigned access)
{
	if (fake_fails("ibv_reg_mr"))
		return NULL;
	if (fake.gpu && fake.gpu(at, length) && !fake.peer_memory) {
		errno = EFAULT;
		return NULL;
	}
	return make_region(pd, (uintptr_t)at, length, access);
}

/* As Linux and rdma-core have it: no windows over it, and its address is the offset. */
struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access)
{
	struct fake_mr *made;

	fake_must(fcntl(fd, F_GETFD) >= 0 && offset % 4096 == iova % 4096, "such a dma-buf");
	if (fake_fails("ibv_reg_dmabuf_mr"))
		return NULL;
	if (fake.no_dma_bufs || (access & IBV_ACCESS_MW_BIND && !fake.dma_buf_windows)) {
		errno = fake.no_dma_bufs ? EOPNOTSUPP : EINVAL;
		return NULL;
	}
	made = (void *)make_region(pd, iova, length, (unsigned)access);
	made->ibv.addr = (void *)(uintptr_t)offset; // NOLINT(performance-no-int-to-ptr)
	made->dma_buf = true;
	fake.dma_bufs++;
	return &made->ibv;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	return register_memory(pd, addr, length, (unsigned)access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, unsigned int access)
{
	fake_must(iova == (uintptr_t)addr, "an address of its own");
	return register_memory(pd, addr, length, access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct fake_mr *own = (void *)mr;

	fake_must(!own->windows, "memory goes before the windows over it");
	fake_remove_region(own);
	fake.dma_bufs -= own->dma_buf;
	((struct fake_pd *)(void *)mr->pd)->objects--;
	fake_owns(mr->context, -1);
	free(own);
	return 0;
}

static struct ibv_mw *alloc_window(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct fake_mw *made;

	fake_must(type == IBV_MW_TYPE_2 && !fake.no_windows, "windows of that type");
	if (fake_fails("ibv_alloc_mw"))
		return NULL;
	made = fake_make(sizeof(*made));
	made->ibv = (struct ibv_mw){.context = pd->context, .pd = pd, .rkey = next_key, .type = type};
	next_key += 0x100;
	fake_add_window(made);
	((struct fake_pd *)(void *)pd)->objects++;
	fake_owns(pd->context, 1);
	return &made->ibv;
}

static int dealloc_window(struct ibv_mw *mw)
{
	struct fake_mw *own = (void *)mw;

	fake_unbind(own);
	fake_remove_window(own);
	((struct fake_pd *)(void *)mw->pd)->objects--;
	fake_owns(mw->context, -1);
	free(own);
	return 0;
}
