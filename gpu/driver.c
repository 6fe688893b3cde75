/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * driver.c: finding, loading and initializing the driver's library. See driver.h.
 *
 * One thread of a process loads; what it has loaded is seen whole by all others. A child of fork() can't use what its
 * parent had initialized, and the lock may have been another thread's there: so the handler of fork() sees to it that a
 * child whose parent had begun touches neither.
 */
#include "config.h"

#include "driver.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

#define LIBRARY "libcuda.so.1"

static struct kvg_driver table;
static _Atomic(const struct kvg_driver *) loaded; /* NULL, or the table */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int under_way; /* threads that have the lock, or may get it */
static _Atomic int forked;    /* this is a child of a process that had it, or was loading it */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void after_fork_in_child(void)
{
	if (atomic_load(&loaded) || atomic_load(&under_way))
		atomic_store(&forked, 1);
}

static void watch_fork(void)
{
	once_error = pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* ---- Finding it -------------------------------------------------------------------------------------------- */

static const struct function {
	const char *name;
	size_t at; /* in struct kvg_driver */
	bool need;
} functions[] = {
#define NEED(member, name, parameters) {name, offsetof(struct kvg_driver, member), true},
#define MAY(member, name, parameters) {name, offsetof(struct kvg_driver, member), false},
	KVG_FUNCTIONS(NEED, MAY)
#undef NEED
#undef MAY
};

/* Where the library that a function is of lies, with no symbolic link on the way. */
static void find_file(const struct kvg_driver *driver, char file[PATH_MAX])
{
	void *function;
	Dl_info info;

	memcpy(&function, &driver->init, sizeof(function));
	if (!dladdr(function, &info) || !realpath(info.dli_fname, file))
		(void)stpcpy(file, LIBRARY);
}

static int is_stub(const char *file)
{
	return kvs_fault(
		ENODEV,
		"%s is no driver, but a stub of the CUDA toolkit, which programs are linked with: install NVIDIA's "
		"driver, or take the stub's directory out of LD_LIBRARY_PATH",
		file);
}

static int find_functions(void *library, struct kvg_driver *driver)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(library, functions[i].name);

		if (!function && functions[i].need)
			return kvs_fault(EOPNOTSUPP,
					 "the CUDA driver's " LIBRARY
					 " has no %s, so it is older than 470 (CUDA 11.4): "
					 "update the driver",
					 functions[i].name);
		memcpy((char *)driver + functions[i].at, &function, sizeof(function));
	}
	return 0;
}

static int no_library(void)
{
	const char *text = dlerror();

	return kvs_fault(
		ENODEV,
		"there is no CUDA driver here (%s): install NVIDIA's driver; a container gets it from NVIDIA's "
		"container toolkit, where it is started with GPUs (--gpus all)",
		text ? text : LIBRARY);
}

/* ---- Initializing it --------------------------------------------------------------------------------------- */

/* The driver says of a file of a device that it can't open that there is no device, or that the error is unknown. */
static int judge_files(void)
{
	static const char *const paths[] = {"/dev/nvidiactl", "/dev/nvidia-uvm"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDWR | O_CLOEXEC);

		if (fd >= 0)
			(void)close(fd);
		else if (errno == EACCES || errno == EPERM)
			return kvs_fault(
				EACCES,
				"CUDA can't be initialized, since this process may not open %s (%s): let its user "
				"into the group of that file, or start the container with GPUs (--gpus all)",
				paths[i], strerror(errno));
	}
	return 0;
}

static int judge_init(const struct kvg_driver *driver, kvg_result result, const char *file)
{
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	int rc;

	if (result == KVG_STUB_LIBRARY)
		return is_stub(file);
	rc = result == KVG_NO_DEVICE || result == KVG_OPERATING_SYSTEM || result == KVG_UNKNOWN ? judge_files() : 0;
	if (rc)
		return rc;
	if (result == KVG_NO_DEVICE && visible)
		return kvs_fault(
			ENODEV,
			"CUDA shows this process no GPU, and CUDA_VISIBLE_DEVICES is '%.200s': unset it, or name "
			"a GPU there that nvidia-smi -L lists",
			visible);
	return kvg_fault(driver, result, "initialize CUDA");
}

/* Of a stub nothing runs, so it can be unloaded. Any other library stays: the program may have it, too, and what a
 * driver has begun when it fails nobody knows. */
static int open_library(void)
{
	struct kvg_driver found = {.version = 0};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	char file[PATH_MAX];
	kvg_result result;
	int rc;

	if (!library)
		return no_library();
	rc = find_functions(library, &found);
	if (rc)
		goto unload;
	find_file(&found, file);
	if (strstr(file, "/stubs/")) {
		rc = is_stub(file);
		goto unload;
	}
	result = found.init(0);
	if (result == KVG_SUCCESS)
		result = found.get_version(&found.version);
	if (result != KVG_SUCCESS) {
		rc = judge_init(&found, result, file);
		if (result == KVG_STUB_LIBRARY)
			goto unload;
		return rc;
	}
	table = found;
	atomic_store(&loaded, &table);
	return 0;

unload:
	(void)dlclose(library);
	return rc;
}

/* ---- The calls --------------------------------------------------------------------------------------------- */

const struct kvg_driver *kvg_driver_loaded(void)
{
	return atomic_load(&forked) ? NULL : atomic_load(&loaded);
}

int kvg_driver(const struct kvg_driver **driver)
{
	const struct kvg_driver *there = kvg_driver_loaded();
	int rc = 0;

	if (there) {
		*driver = there;
		return 0;
	}
	(void)pthread_once(&once, watch_fork);
	if (once_error)
		return kvs_fault(once_error, "cannot register a fork handler: %s", strerror(once_error));
	if (atomic_load(&forked))
		return kvs_fault(ECHILD,
				 "CUDA was initialized before fork(), and can't be used in the child: start the "
				 "process anew (exec; in Python, multiprocessing's \"spawn\")");
	atomic_fetch_add(&under_way, 1);
	(void)pthread_mutex_lock(&loading);
	if (!atomic_load(&loaded))
		rc = open_library();
	(void)pthread_mutex_unlock(&loading);
	atomic_fetch_sub(&under_way, 1);
	if (rc == 0)
		*driver = &table;
	return rc;
}
