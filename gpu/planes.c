/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes.c: planes as their owner has them. See planes.h.
 */
#include "config.h"

#include "planes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "kept.h"

#define PAGE_MIN (UINT64_C(2) << 20) /* what drivers allocate a GPU's memory in at least */

struct kvg_planes {
	uint32_t count; /* of those that are made */
	enum kvs_export export;
	int fds[KVS_PLANES_MAX];
	kvg_pointer memory[KVS_PLANES_MAX]; /* of KVS_EXPORT_IPC, as the next two */
	kvg_context contexts[KVS_PLANES_MAX];
	struct kvg_contexts retained;
};

/* Making one of them. */
struct making {
	const struct kvg_driver *driver;
	struct kvg_planes *planes;
	kvg_device device;
	uint64_t size; /* of each */
	char gpu[KVG_NAME_SIZE];
};

static int describe(const struct kvg_driver *driver, kvg_device device, struct kvg_prop *prop)
{
	int reached, rc = kvg_device_ask(driver, device, KVG_ATTRIBUTE_RDMA_WITH_VMM, &reached);

	if (rc)
		return rc;
	*prop = (struct kvg_prop){
		.type = KVG_ALLOCATION_PINNED,
		.handle_types = KVG_HANDLE_FD,
		.location = {.type = KVG_LOCATION_DEVICE, .id = device},
		.rdma_capable = reached != 0,
	};
	return 0;
}

/* ---- As descriptors ---------------------------------------------------------------------------------------- */

/* Takes over a descriptor of the driver's, as this process keeps those that children must not have. The driver's may
 * be a standard one's number, where that was closed, and stay open across exec(). */
static int keep(int theirs, int *fd)
{
	*fd = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	if (*fd < 0)
		(void)kvs_fault(errno, "cannot keep a plane's descriptor: %s", strerror(errno));
	else
		kvs_kept_add(*fd);
	return *fd < 0 ? -errno : 0;
}

static int export_memory(struct making *m, kvg_handle handle, int *fd)
{
	kvg_result result;
	int theirs = -1;
	int rc = kvs_kept_begin(1);

	if (rc)
		return rc;
	result = m->driver->memory_export(&theirs, handle, KVG_HANDLE_FD, 0);
	if (result == KVG_SUCCESS) {
		rc = keep(theirs, fd);
		(void)close(theirs);
	}
	kvs_kept_end();
	if (result != KVG_SUCCESS)
		return kvg_fault(m->driver, result,
				 "export memory of %s as a file descriptor (where that can't be done: --export ipc)",
				 m->gpu);
	return rc;
}

static int no_room(const struct making *m, kvg_result result)
{
	size_t all;

	if (m->driver->device_memory(&all, m->device) != KVG_SUCCESS)
		return kvg_fault(m->driver, result, "allocate %llu bytes on %s", (unsigned long long)m->size, m->gpu);
	return kvg_fault(m->driver, result, "allocate %llu bytes on %s, which has %llu in all",
			 (unsigned long long)m->size, m->gpu, (unsigned long long)all);
}

/* The handle goes, the descriptor keeps the memory. */
static int make_fd(struct making *m)
{
	struct kvg_prop prop;
	kvg_handle handle;
	kvg_result result;
	int rc = describe(m->driver, m->device, &prop);

	if (rc)
		return rc;
	result = m->driver->memory_create(&handle, m->size, &prop, 0);
	if (result != KVG_SUCCESS)
		return no_room(m, result);
	rc = export_memory(m, handle, &m->planes->fds[m->planes->count]);
	result = m->driver->memory_release(handle);
	m->planes->count += rc == 0;
	if (rc == 0 && result != KVG_SUCCESS)
		rc = kvg_fault(m->driver, result, "let go of memory of %s", m->gpu);
	return rc;
}

/* ---- As IPC handles ---------------------------------------------------------------------------------------- */

static int make_in_context(struct making *m, kvg_context context, uint8_t to[KVS_IPC_HANDLE_SIZE])
{
	struct kvg_planes *planes = m->planes;
	struct kvg_ipc_handle handle;
	kvg_pointer memory;
	kvg_result result = m->driver->memory_alloc(&memory, m->size);

	if (result != KVG_SUCCESS)
		return no_room(m, result);
	planes->memory[planes->count] = memory;
	planes->contexts[planes->count++] = context;
	result = m->driver->ipc_get(&handle, memory);
	if (result != KVG_SUCCESS)
		return kvg_fault(m->driver, result, "get a legacy IPC handle of memory of %s", m->gpu);
	_Static_assert(sizeof(handle) == KVS_IPC_HANDLE_SIZE, "the segment has the driver's handles");
	memcpy(to, handle.bytes, sizeof(handle));
	return 0;
}

/* In the primary context, which nobody can take away from it. */
static int make_ipc(struct making *m, uint8_t to[KVS_IPC_HANDLE_SIZE])
{
	kvg_context context;
	int rc = kvg_context_primary(m->driver, &m->planes->retained, m->device, &context);

	if (rc == 0)
		rc = kvg_context_push(m->driver, context);
	if (rc)
		return rc;
	rc = make_in_context(m, context, to);
	kvg_context_leave(m->driver);
	return rc;
}

static void free_memory(const struct kvg_driver *driver, struct kvg_planes *planes)
{
	for (uint32_t i = 0; i < planes->count; i++)
		if (kvg_context_push_again(driver, planes->contexts[i]) == KVG_SUCCESS) {
			(void)driver->memory_free(planes->memory[i]);
			kvg_context_leave(driver);
		}
	kvg_contexts_close(driver, &planes->retained);
}

/* ---- All of them ------------------------------------------------------------------------------------------- */

/* Can a device do what descriptors take? */
static int judge_device(const struct kvg_driver *driver, kvg_device device, const char *gpu)
{
	int vmm, fds, rc = kvg_device_ask(driver, device, KVG_ATTRIBUTE_VMM, &vmm);

	if (rc == 0)
		rc = kvg_device_ask(driver, device, KVG_ATTRIBUTE_FD_EXPORT, &fds);
	if (rc || (vmm && fds))
		return rc;
	return kvs_fault(EOPNOTSUPP,
			 "%s can't export memory as file descriptors (virtual memory management: %s, export: %s): make "
			 "the store with --export ipc",
			 gpu, vmm ? "yes" : "no", fds ? "yes" : "no");
}

/* What a device's memory is allocated in, where it is to be exported as descriptors. */
static int find_page(const struct kvg_driver *driver, kvg_device device, uint64_t *page)
{
	struct kvg_prop prop;
	size_t granularity;
	kvg_result result;
	int rc = describe(driver, device, &prop);

	if (rc)
		return rc;
	result = driver->memory_granularity(&granularity, &prop, KVG_GRANULARITY_RECOMMENDED);
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "ask what memory of GPU %d is allocated in", device);
	if (granularity == 0 || granularity & (granularity - 1) || granularity > UINT64_C(1) << 40)
		return kvs_fault(EOPNOTSUPP,
				 "GPU %d allocates memory in %zu bytes, which is no power of two: update the driver",
				 device, granularity);
	if (granularity > *page)
		*page = granularity;
	return 0;
}

/* Finds all devices, and the page that all planes have: they are of one size. */
static int find_devices(const struct kvg_driver *driver, const struct kvg_planes_wish *wish, uint32_t count,
			kvg_device devices[KVS_PLANES_MAX], uint64_t *page)
{
	int rc = 0;

	*page = PAGE_MIN;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		char gpu[KVG_NAME_SIZE];

		kvg_uuid_text(gpu, wish->uuids[i]);
		rc = kvg_device_find(driver, wish->uuids[i], &devices[i]);
		if (rc || wish->export == KVS_EXPORT_IPC)
			continue;
		rc = judge_device(driver, devices[i], gpu);
		if (rc == 0)
			rc = find_page(driver, devices[i], page);
	}
	return rc;
}

static int make_all(struct making *m, const struct kvg_planes_wish *wish, const struct kvs_geometry *geometry,
		    struct kvs_plane_files *files)
{
	kvg_device devices[KVS_PLANES_MAX];
	uint64_t page;
	int rc = find_devices(m->driver, wish, geometry->planes, devices, &page);

	if (rc)
		return rc;
	*files = (struct kvs_plane_files){.memory = KVS_MEMORY_CUDA, .export = wish->export, .page = page};
	m->size = kvs_layout_plane(geometry, page);
	for (uint32_t i = 0; rc == 0 && i < geometry->planes; i++) {
		m->device = devices[i];
		memcpy(files->uuid[i], wish->uuids[i], KVS_UUID_SIZE);
		kvg_uuid_text(m->gpu, wish->uuids[i]);
		rc = wish->export == KVS_EXPORT_IPC ? make_ipc(m, files->handle[i]) : make_fd(m);
	}
	return rc;
}

int kvg_planes_make(void *arg, const struct kvs_geometry *geometry, struct kvs_plane_files *files)
{
	struct kvg_planes_wish *wish = arg;
	struct making m = {.driver = NULL};
	kvg_result result;
	int rc = kvg_driver(&m.driver);

	if (rc)
		return rc;
	m.planes = calloc(1, sizeof(*m.planes));
	if (!m.planes)
		return kvs_fault(ENOMEM, "no memory");
	m.planes->export = wish->export;
	result = kvg_capture_bear(m.driver);
	if (result == KVG_SUCCESS) {
		rc = make_all(&m, wish, geometry, files);
		kvg_capture_mind(m.driver);
	} else {
		rc = kvg_fault(m.driver, result, "make planes while a stream may be captured");
	}
	if (rc)
		kvg_planes_free(m.planes);
	else
		wish->planes = m.planes;
	return rc;
}

int kvg_planes_take(const int *fds, uint32_t count, struct kvg_planes **planes)
{
	struct kvg_planes *taken = calloc(1, sizeof(*taken));

	if (!taken) {
		for (uint32_t i = 0; i < count; i++)
			kvs_kept_close(fds[i]);
		return kvs_fault(ENOMEM, "no memory");
	}
	taken->count = count;
	taken->export = KVS_EXPORT_FD;
	memcpy(taken->fds, fds, count * sizeof(*fds));
	*planes = taken;
	return 0;
}

const int *kvg_planes_fds(const struct kvg_planes *planes)
{
	return planes->export == KVS_EXPORT_FD ? planes->fds : NULL;
}

void kvg_planes_free(struct kvg_planes *planes)
{
	const struct kvg_driver *driver = kvg_driver_loaded();

	if (!planes)
		return;
	if (planes->export == KVS_EXPORT_IPC && driver)
		free_memory(driver, planes);
	else if (planes->export == KVS_EXPORT_FD)
		for (uint32_t i = 0; i < planes->count; i++)
			kvs_kept_close(planes->fds[i]);
	free(planes);
}
