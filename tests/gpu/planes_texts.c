/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes_texts: each reason for which GPU memory can't be had has its own error, and a text that says what to do. This
 * program is not linked with the stand-in: a test loads it when it is to be there, and the library finds it by its
 * soname, as it finds the one of a program that uses CUDA.
 */
#include "config.h"

#include "fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attached.h"

static void *library;

static const char *path_of_library(void)
{
	static char path[4096];

	ck_assert_ptr_nonnull(getenv("top_builddir"));
	(void)snprintf(path, sizeof(path), "%s/tests/gpu/standin/.libs/libcuda.so.1", getenv("top_builddir"));
	return path;
}

/* The environment is read when it is loaded. */
static void load(void)
{
	library = dlopen(path_of_library(), RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(library != NULL, "%s", dlerror());
}

static void load_with(const char *variable, const char *value)
{
	ck_assert_int_eq(setenv(variable, value, 1), 0);
	load();
}

static int create(const char *pool, enum kvshm_export export)
{
	struct kvshm_create_options options = unit_options(8);
	int rc;

	options.pool = pool;
	options.gpu_export = export;
	rc = kvshm_create(unit_name(), &options, &unit_owner);
	if (rc) {
		unit_owner = NULL;
		ck_assert_int_ne(access(unit_path(-1), F_OK), 0);
	}
	return rc;
}

static const char *const ends = NULL; /* a pointer, as va_arg() reads it */

/* The text has all of these words; the list ends with ends. */
static void says(const char *word, ...)
{
	const char *text = kvshm_error();
	va_list words;

	va_start(words, word);
	for (; word; word = va_arg(words, const char *))
		ck_assert_msg(strstr(text, word) != NULL, "'%s' is not in: %s", word, text);
	va_end(words);
	printf("# %s\n", text);
	(void)fflush(stdout);
}

/* ---- The library ------------------------------------------------------------------------------------------- */

static bool has_a_driver(const char *test)
{
	void *real = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	if (real)
		unit_skip(test, "this machine has a CUDA driver");
	return real != NULL;
}

/* A store in host memory is none the worse; and a service may start before the driver is there. */
START_TEST(no_driver_but_later)
{
	kvshm_store *store;

	if (has_a_driver("no_driver_but_later"))
		return;
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -ENODEV);
	says("there is no CUDA driver here", "install NVIDIA's driver", "--gpus", ends);
	store = unit_store(8);
	ck_rc(kvshm_register_plane(store, 0), -ENODEV);
	says("there is no CUDA driver here", ends);
	load();
	ck_rc(kvshm_register_plane(store, 0), 0);
}
END_TEST

START_TEST(a_stub_by_its_directory)
{
	char directory[4096], command[3 * 4096];

	(void)snprintf(directory, sizeof(directory), "%s/stubs", getenv("TMPDIR"));
	ck_assert_int_eq(mkdir(directory, 0700), 0);
	(void)snprintf(command, sizeof(command), "cp '%s' '%s/'", path_of_library(), directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c): a test's own path
	(void)strncat(directory, "/libcuda.so.1", sizeof(directory) - strlen(directory) - 1);
	ck_assert_ptr_nonnull(dlopen(directory, RTLD_NOW | RTLD_LOCAL));
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -ENODEV);
	says(directory, "stub", "LD_LIBRARY_PATH", ends);
}
END_TEST

START_TEST(a_stub_by_what_it_says)
{
	load_with("KVSHM_STANDIN_FAIL", "cuInit:34");
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -ENODEV);
	says("libcuda.so.1", "stub", "LD_LIBRARY_PATH", ends);
}
END_TEST

static const struct {
	const char *name;
	bool need;
} functions[] = {
#define NEED(member, name, parameters) {name, true},
#define MAY(member, name, parameters) {name, false},
	KVG_FUNCTIONS(NEED, MAY)
#undef NEED
#undef MAY
};
enum { FUNCTIONS = sizeof(functions) / sizeof(functions[0]) };

START_TEST(an_old_driver)
{
	load_with("KVSHM_STANDIN_WITHOUT", functions[_i].name);
	if (functions[_i].need) {
		ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -EOPNOTSUPP);
		says(functions[_i].name, "older than 470", "update the driver", ends);
	} else {
		ck_rc(create("cuda:0", KVSHM_EXPORT_FD), 0);
	}
}
END_TEST

/* ---- Initializing ------------------------------------------------------------------------------------------ */

static const struct {
	const char *fails;
	int error;
	const char *says;
} inits[] = {
	{"cuInit:2", ENOMEM, "nvidia-smi"},
	{"cuInit:3", ECHILD, "before fork()"},
	{"cuInit:35", EOPNOTSUPP, "update the driver"},
	{"cuInit:36", EOPNOTSUPP, "update the driver"},
	{"cuInit:46", EBUSY, "exclusive"},
	{"cuInit:100", ENODEV, "--gpus"},
	{"cuInit:101", ENODEV, "--gpus"},
	{"cuInit:802", EBUSY, "fabric manager"},
	{"cuInit:803", EOPNOTSUPP, "different versions"},
	{"cuInit:804", EOPNOTSUPP, "forward compatibility"},
	{"cuInit:805", EBUSY, "nvidia-cuda-mps-control"},
	{"cuInit:807", EBUSY, "nvidia-cuda-mps-control"},
	{"cuInit:808", EBUSY, "as many clients as it can take"},
	{"cuInit:999", EIO, "nvidia-modprobe"},
	{"cuDriverGetVersion:999", EIO, "initialize CUDA"},
};
enum { INITS = sizeof(inits) / sizeof(inits[0]) };

START_TEST(what_init_says)
{
	load_with("KVSHM_STANDIN_FAIL", inits[_i].fails);
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -inits[_i].error);
	says(inits[_i].says, ends);
}
END_TEST

/* A failure is not kept. */
START_TEST(init_succeeds_later)
{
	load_with("KVSHM_STANDIN_FAIL", "cuInit:802:1");
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -EBUSY);
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), 0);
}
END_TEST

/* A mount of a /dev of this process's own, in which a device may not be opened. */
static bool forbid_the_device(void)
{
	int fd;

	if ((unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("dev", "/mnt", "tmpfs", 0, NULL))
		return false;
	fd = open("/mnt/nvidiactl", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) || mount("/dev/null", "/mnt/nvidiactl", NULL, MS_BIND, NULL) ||
	    mount(NULL, "/mnt/nvidiactl", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL))
		return false;
	return mount("/mnt", "/dev", NULL, MS_BIND | MS_REC, NULL) == 0;
}

START_TEST(a_device_that_may_not_be_opened)
{
	load_with("KVSHM_STANDIN_FAIL", "cuInit:100");
	if (!forbid_the_device()) {
		unit_skip("a_device_that_may_not_be_opened", "no mount namespace can be had here");
		return;
	}
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -EACCES);
	says("/dev/nvidiactl", "Permission denied", "group", "--gpus", ends);
}
END_TEST

/* ---- Devices ----------------------------------------------------------------------------------------------- */

/* As machine.c has them. */
#define GPU_0 "GPU-7374616e-642d-496e-8000-000000000000"
#define GPU_1 "GPU-7374616e-642d-496e-8000-000000000001"

START_TEST(no_device_is_visible)
{
	load_with("CUDA_VISIBLE_DEVICES", "-1");
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -ENODEV);
	says("no GPU", "CUDA_VISIBLE_DEVICES is '-1'", "nvidia-smi -L", ends);
}
END_TEST

START_TEST(the_device_is_not_visible)
{
	load_with("CUDA_VISIBLE_DEVICES", GPU_1);
	ck_rc(create(GPU_0, KVSHM_EXPORT_FD), -ENODEV);
	says("can't see " GPU_0, "it 1 (" GPU_1 ")", "CUDA_VISIBLE_DEVICES is '" GPU_1 "'", "by its UUID", ends);
	ck_rc(create("cuda:1", KVSHM_EXPORT_FD), -ENODEV);
	says("can't see cuda:1", "it 1 (" GPU_1 ")", ends);
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), 0);
}
END_TEST

START_TEST(there_is_no_such_device)
{
	load();
	ck_rc(create("GPU-00000000-0000-0000-0000-000000000000", KVSHM_EXPORT_FD), -ENODEV);
	says("can't see GPU-00000000-0000-0000-0000-000000000000", "it 2 (" GPU_0 ", " GPU_1 ")",
	     "no CUDA_VISIBLE_DEVICES", "--gpus", "MIG", ends);
	ck_rc(create("cuda:2", KVSHM_EXPORT_FD), -ENODEV);
	ck_rc(create("cuda:99999999999999999999", KVSHM_EXPORT_FD), -ENODEV);
}
END_TEST

START_TEST(what_names_no_device)
{
	const char *const bad[] = {"",
				   "cuda",
				   "cuda:",
				   "cuda:x",
				   "cuda:-1",
				   "cuda:+1",
				   "cuda: 1",
				   "0",
				   "cuda:0,",
				   ",cuda:0",
				   "cuda:0x1",
				   "GPU-",
				   "GPU-7374616e-642d-496e-8000-0000000000000",
				   "gpu-7374616e-642d-496e-8000-000000000000",
				   "GPU-7374616e642d496e8000000000000000",
				   "GPU-7374616e-642d-496e-8000-00000000000g",
				   "host,cuda:0"};
	char many[33 * 7 + 1] = "cuda:0";

	load();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_rc(create(bad[i], KVSHM_EXPORT_FD), -EINVAL);
		says("names no GPU", "cuda:N", "nvidia-smi -L", "host", ends);
	}
	for (int i = 1; i < 33; i++)
		(void)stpcpy(many + strlen(many), ",cuda:0");
	ck_rc(create(many, KVSHM_EXPORT_FD), -EINVAL);
	says("more than 32 planes", ends);
	many[32 * 7 - 1] = '\0';
	ck_rc(create(many, KVSHM_EXPORT_FD), 0);
}
END_TEST

/* A client that can't see what the owner sees: the store is there, its planes can't be mapped. */
static void cannot_see(void *arg)
{
	struct kvshm_plane_info info;
	kvshm_store *store;

	(void)arg;
	ck_assert_int_eq(setenv("CUDA_VISIBLE_DEVICES", "1", 1), 0);
	unit_await_parent();
	load();
	store = unit_attach();
	ck_rc(kvshm_get_plane_info(store, 0, &info), -ENODEV);
	says("can't see " GPU_0, "CUDA_VISIBLE_DEVICES is '1'", ends);
	unit_detach(store);
}

START_TEST(a_client_that_cannot_see_the_device)
{
	struct child client;

	unit_child(&client, cannot_see, NULL);
	load();
	ck_rc(create("cuda:0", KVSHM_EXPORT_IPC), 0);
	unit_tell(&client);
	unit_join(&client);
}
END_TEST

/* ---- Memory ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *fails;
	enum kvshm_export export;
	int error;
	const char *says, *too;
} makings[] = {
	{"cuMemCreate:2", KVSHM_EXPORT_FD, ENOMEM, "2097152 bytes on " GPU_0 ", which has 1073741824",
	 "make the pool smaller"},
	{"cuMemAlloc_v2:2", KVSHM_EXPORT_IPC, ENOMEM, "2097152 bytes on " GPU_0, "make the pool smaller"},
	{"cuMemExportToShareableHandle:800", KVSHM_EXPORT_FD, EPERM, "export memory of " GPU_0, "container"},
	{"cuMemExportToShareableHandle:304", KVSHM_EXPORT_FD, EPERM, "export memory of " GPU_0, "container"},
	{"cuMemExportToShareableHandle:801", KVSHM_EXPORT_FD, EOPNOTSUPP, "export memory of " GPU_0, "can't do that"},
	{"cuIpcGetMemHandle:800", KVSHM_EXPORT_IPC, EPERM, "legacy IPC handle", "container"},
	{"cuIpcGetMemHandle:801", KVSHM_EXPORT_IPC, EOPNOTSUPP, "legacy IPC handle", "can't do that"},
	{"cuDevicePrimaryCtxRetain:46", KVSHM_EXPORT_IPC, EBUSY, "primary context of GPU 0", "exclusive"},
	{"cuDevicePrimaryCtxRetain:805", KVSHM_EXPORT_IPC, EBUSY, "primary context of GPU 0", "MPS"},
	{"cuDevicePrimaryCtxRetain:808", KVSHM_EXPORT_IPC, EBUSY, "primary context of GPU 0", "as many clients"},
	{"cuDevicePrimaryCtxRetain:2", KVSHM_EXPORT_IPC, ENOMEM, "primary context of GPU 0", "nvidia-smi"},
	{"cuDeviceGetUuid_v2:102", KVSHM_EXPORT_FD, EPERM, "look at GPU 0", "license"},
};
enum { MAKINGS = sizeof(makings) / sizeof(makings[0]) };

START_TEST(what_making_says)
{
	load_with("KVSHM_STANDIN_FAIL", makings[_i].fails);
	ck_rc(create("cuda:0", makings[_i].export), -makings[_i].error);
	says(makings[_i].says, makings[_i].too, "CUDA_ERROR_", ends);
}
END_TEST

/* Devices that can't do it: the file says so. */
START_TEST(a_device_that_exports_no_descriptors)
{
	char path[4096];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/old%d", getenv("TMPDIR"), _i);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(setenv("KVSHM_STANDIN_DIR", path, 1), 0);
	(void)strncat(path, "/devices", sizeof(path) - strlen(path) - 1);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	(void)fprintf(file, "name=Old uuid=GPU-0102030405060708090a0b0c0d0e0f10 memory=64M %d=0\n",
		      _i ? KVG_ATTRIBUTE_FD_EXPORT : KVG_ATTRIBUTE_VMM);
	ck_assert_int_eq(fclose(file), 0);
	load();
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -EOPNOTSUPP);
	says("GPU-01020304-0506-0708-090a-0b0c0d0e0f10", "file descriptors", "--export ipc", ends);
	ck_rc(create("cuda:0", KVSHM_EXPORT_IPC), 0);
}
END_TEST

static const struct {
	const char *fails;
	int error;
	const char *says, *too;
} mappings[] = {
	{"cuMemImportFromShareableHandle:800", EPERM, "import plane 0", "container"},
	{"cuMemImportFromShareableHandle:801", EOPNOTSUPP, "import plane 0", "can't do that"},
	{"cuMemAddressReserve:2", ENOMEM, "reserve addresses for 2097152 bytes", "nvidia-smi"},
	{"cuMemMap:2", ENOMEM, "map 2097152 bytes", "nvidia-smi"},
	{"cuMemSetAccess:801", EOPNOTSUPP, "get access to 2097152 bytes", "can't do that"},
	{"cuDevicePrimaryCtxRetain:46", EBUSY, "primary context of GPU 0", "exclusive"},
	{"cuDevicePrimaryCtxRetain:805", EBUSY, "primary context of GPU 0", "MPS"},
	{"cuCtxGetCurrent:709", EIO, "calling thread's context", "make one current that lives"},
	{"cuStreamCreate:2", ENOMEM, "make a stream for copies", "nvidia-smi"},
	{"cuMemcpyAsync:700", EIO, "copy 16 bytes of plane 0", "end the process"},
	{"cuMemcpyAsync:719", EIO, "copy 16 bytes of plane 0", "end the process"},
	{"cuMemcpyAsync:906", EBUSY, "copy 16 bytes of plane 0", "end the capture"},
	{"cuStreamSynchronize:700", EIO, "copy 16 bytes of plane 0", "end the process"},
};
enum { MAPPINGS = sizeof(mappings) / sizeof(mappings[0]) };

START_TEST(what_mapping_says)
{
	struct kvshm_handle owned;
	kvshm_store *store;
	char bytes[16];

	load_with("KVSHM_STANDIN_FAIL", mappings[_i].fails);
	ck_rc(create("cuda:0", KVSHM_EXPORT_FD), 0);
	store = unit_attach();
	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(kvshm_read(store, &owned, 0, 0, bytes, sizeof(bytes)), -mappings[_i].error);
	says(mappings[_i].says, mappings[_i].too, "CUDA_ERROR_", ends);
}
END_TEST

/* ---- All results ------------------------------------------------------------------------------------------- */

/* A program of an engine's own has initialized CUDA, and forks. */
START_TEST(a_child_of_a_program_that_uses_CUDA)
{
	kvg_result (*init)(unsigned flags);
	void *function;
	int status;
	pid_t pid;

	load();
	function = dlsym(library, "cuInit");
	memcpy(&init, &function, sizeof(init));
	ck_assert_int_eq(init(0), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		ck_rc(create("cuda:0", KVSHM_EXPORT_FD), -ECHILD);
		says("before fork()", "spawn", ends);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* Whatever the driver says: an errno that is one, and a text that has the name, the number, and what to do. */
START_TEST(every_result_has_a_text)
{
	const struct kvg_driver *driver;
	const char *name;
	char number[16];

	load();
	ck_rc(kvg_driver(&driver), 0);
	for (int result = 1; result <= 1000; result++) {
		int rc = kvg_fault(driver, result, "do %s", "it");

		ck_assert_int_lt(rc, 0);
		(void)snprintf(number, sizeof(number), ", %d): ", result);
		ck_assert_msg(strncmp(kvshm_error(), "cannot do it: ", 14) == 0, "%s", kvshm_error());
		ck_assert_msg(strstr(kvshm_error(), number) != NULL, "%s", kvshm_error());
		if (driver->error_name(result, &name) == KVG_SUCCESS)
			ck_assert_msg(strstr(kvshm_error(), name) != NULL, "%s", kvshm_error());
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		no_driver_but_later,
		a_stub_by_its_directory,
		a_stub_by_what_it_says,
		init_succeeds_later,
		a_device_that_may_not_be_opened,
		no_device_is_visible,
		the_device_is_not_visible,
		there_is_no_such_device,
		what_names_no_device,
		a_client_that_cannot_see_the_device,
		a_child_of_a_program_that_uses_CUDA,
		every_result_has_a_text,
	};
	const struct unit_loop loops[] = {
		{an_old_driver, FUNCTIONS},    {what_init_says, INITS},
		{what_making_says, MAKINGS},   {a_device_that_exports_no_descriptors, 2},
		{what_mapping_says, MAPPINGS}, {NULL, 0},
	};

	return unit_run_loops("planes_texts", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
