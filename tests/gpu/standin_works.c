/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * standin_works: the stand-in for the CUDA driver does what the tests of this suite rest on: memory crosses processes
 * and comes back when they are killed, streams keep order and can be held, calls fail when they are told to.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "standin.h"

#define ck_cu(call) ck_assert_int_eq((call), KVG_SUCCESS)

enum { PIECE = 2 << 20 };

static const struct kvg_prop exported = {
	.type = KVG_ALLOCATION_PINNED, .handle_types = KVG_HANDLE_FD, .location = {KVG_LOCATION_DEVICE, 0}};

/* ---- What tests share ---- */

static kvg_context begin(void)
{
	kvg_context context;

	ck_cu(cu_init(0));
	ck_cu(cu_primary_retain(&context, 0));
	ck_cu(cu_context_push(context));
	return context;
}

static void end(void)
{
	ck_cu(cu_context_pop(NULL));
	ck_cu(cu_primary_release(0));
	ck_assert_str_eq(standin_leaks_text(), "nothing");
}

/* Maps a handle, which goes. */
static kvg_pointer map(kvg_handle handle)
{
	const struct kvg_access access = {{KVG_LOCATION_DEVICE, 0}, KVG_ACCESS_READ_WRITE};
	kvg_pointer at;

	ck_cu(cu_address_reserve(&at, PIECE, 0, 0, 0));
	ck_cu(cu_memory_map(at, PIECE, 0, handle, 0));
	ck_cu(cu_memory_access(at, PIECE, &access, 1));
	ck_cu(cu_memory_release(handle));
	return at;
}

/* A descriptor, as the driver takes it. */
static void *descriptor(int fd)
{
	return (void *)(intptr_t)fd; // NOLINT(performance-no-int-to-ptr)
}

static void unmap(kvg_pointer at)
{
	ck_cu(cu_memory_unmap(at, PIECE));
	ck_cu(cu_address_free(at, PIECE));
}

static kvg_pointer make(void)
{
	kvg_handle handle;

	ck_cu(cu_memory_create(&handle, PIECE, &exported, 0));
	return map(handle);
}

static void *pin(size_t size)
{
	void *at;

	ck_cu(cu_host_alloc(&at, size, KVG_HOST_PORTABLE));
	return at;
}

static void set_devices(const char *text)
{
	char dir[2048], path[4096];
	FILE *file;

	snprintf(dir, sizeof(dir), "%s/machine-XXXXXX", getenv("TMPDIR"));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	setenv("KVSHM_STANDIN_DIR", dir, 1);
	snprintf(path, sizeof(path), "%s/devices", dir);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec bytes = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	ck_assert_int_eq(sendmsg(socket, &message, 0), 1);
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec bytes = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int fd;

	ck_assert_int_eq(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
	ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

/* ---- Memory ---- */

static void makes_and_sends(void *arg)
{
	kvg_handle handle;
	kvg_pointer at;
	int fd;

	begin();
	ck_cu(cu_memory_create(&handle, PIECE, &exported, 0));
	ck_cu(cu_memory_export(&fd, handle, KVG_HANDLE_FD, 0));
	at = map(handle);
	ck_cu(cu_copy_in(at, "from another", 13));
	ck_cu(cu_context_synchronize()); /* it may have been late */
	send_fd(*(int *)arg, fd);
	unit_wait_for_death();
}

START_TEST(memory_crosses_processes_by_descriptor_and_lives_as_long_as_someone_has_it)
{
	struct child child;
	char bytes[13];
	kvg_handle handle;
	kvg_pointer at;
	int ends[2], fd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	unit_child(&child, makes_and_sends, &ends[1]);
	fd = receive_fd(ends[0]);
	unit_await(&child);
	begin();
	ck_cu(cu_memory_import(&handle, descriptor(fd), KVG_HANDLE_FD));
	close(fd);
	at = map(handle);
	unit_kill(&child);
	ck_assert_uint_eq(standin_bytes_used(0), PIECE);
	ck_cu(cu_copy_out(bytes, at, 13));
	ck_assert_str_eq(bytes, "from another");
	unmap(at);
	ck_assert_uint_eq(standin_bytes_used(0), 0);
	end();
}
END_TEST

START_TEST(no_other_descriptor_is_taken_for_memory)
{
	FILE *file = tmpfile();
	kvg_handle handle;
	kvg_pointer at;

	begin();
	at = make();
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(ftruncate(fileno(file), PIECE), 0);
	ck_assert_int_eq(cu_memory_import(&handle, descriptor(fileno(file)), KVG_HANDLE_FD), KVG_INVALID_VALUE);
	fclose(file);
	unmap(at);
	end();
}
END_TEST

static void makes_legacy(void *arg)
{
	struct kvg_ipc_handle *handle = arg;
	kvg_pointer at, again;

	begin();
	ck_cu(cu_memory_alloc(&at, 100));
	ck_cu(cu_copy_in(at, "from another", 13));
	ck_cu(cu_context_synchronize()); /* it may have been late */
	ck_cu(cu_ipc_get(handle, at));
	ck_assert_int_eq(cu_ipc_open(&again, *handle, KVG_IPC_LAZY_PEER_ACCESS), KVG_INVALID_CONTEXT);
	unit_wait_for_death();
}

START_TEST(legacy_memory_is_opened_by_one_context_and_goes_with_its_maker)
{
	struct kvg_ipc_handle *handle = unit_shared(sizeof(*handle));
	kvg_context context, other;
	struct child child;
	char bytes[13];
	kvg_pointer at, again;

	unit_child(&child, makes_legacy, handle);
	unit_await(&child);
	context = begin();
	ck_cu(cu_ipc_open(&at, *handle, KVG_IPC_LAZY_PEER_ACCESS));
	ck_cu(cu_ipc_open(&again, *handle, KVG_IPC_LAZY_PEER_ACCESS));
	ck_assert_uint_eq(at, again);
	ck_cu(cu_ipc_close(again));
	ck_cu(cu_context_create(&other, 0, 0));
	ck_assert_int_eq(cu_ipc_open(&again, *handle, KVG_IPC_LAZY_PEER_ACCESS), KVG_ALREADY_MAPPED);
	ck_cu(cu_context_destroy(other));
	ck_cu(cu_copy_out(bytes, at, 13));
	ck_assert_str_eq(bytes, "from another");
	unit_kill(&child);
	ck_assert_uint_eq(standin_bytes_used(0), 0);
	ck_assert_int_eq(cu_copy_out(bytes, at, 13), KVG_INVALID_VALUE);
	ck_cu(cu_ipc_close(at));
	ck_assert_int_eq(cu_ipc_open(&at, *handle, KVG_IPC_LAZY_PEER_ACCESS), KVG_INVALID_VALUE);
	ck_assert_ptr_eq(standin_context_at(0), context);
	end();
}
END_TEST

static void holds_memory(void *arg)
{
	(void)arg;
	begin();
	make();
	unit_wait_for_death();
}

START_TEST(what_a_killed_process_had_of_a_device_is_free_again)
{
	struct child child;
	kvg_handle handle;

	set_devices("memory=3M\n");
	unit_child(&child, holds_memory, NULL);
	unit_await(&child);
	begin();
	ck_assert_int_eq(cu_memory_create(&handle, PIECE, &exported, 0), KVG_OUT_OF_MEMORY);
	unit_kill(&child);
	unmap(make());
	end();
}
END_TEST

START_TEST(a_load_of_the_processor_from_a_devices_address_faults)
{
	kvg_pointer at;
	int ends[2];

	begin();
	at = make();
	memset(standin_look(at, 4), 0, 4);
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], standin_look(at, 4), 4), 4);
	ck_assert_int_eq(write(ends[1], (void *)(uintptr_t)at, 4), -1); // NOLINT(performance-no-int-to-ptr)
	ck_assert_int_eq(errno, EFAULT);
	close(ends[0]);
	close(ends[1]);
	unmap(at);
	end();
}
END_TEST

START_TEST(memory_is_unmapped_and_freed_as_it_was_mapped_and_reserved)
{
	kvg_handle handle;
	kvg_pointer at;

	begin();
	ck_assert_int_eq(cu_memory_create(&handle, PIECE / 2, &exported, 0), KVG_INVALID_VALUE);
	at = make();
	ck_assert_int_eq(cu_memory_unmap(at, PIECE / 2), KVG_INVALID_VALUE);
	ck_assert_int_eq(cu_address_free(at, PIECE), KVG_INVALID_VALUE);
	ck_assert_str_eq(standin_leaks_text(), "1 references to primary contexts, 1 reservations, 1 maps");
	unmap(at);
	ck_assert_int_eq(cu_copy_in(at, "", 1), KVG_INVALID_VALUE);
	end();
}
END_TEST

/* ---- Calls ---- */

START_TEST(calls_fail_when_they_are_told_to_and_what_frees_frees_all_the_same)
{
	kvg_pointer at;

	begin();
	standin_fail("cuMemAlloc_v2", 2, KVG_UNKNOWN);
	ck_cu(cu_memory_alloc(&at, 1));
	ck_cu(cu_memory_free(at));
	ck_assert_ptr_null(standin_failed());
	ck_assert_int_eq(cu_memory_alloc(&at, 1), KVG_UNKNOWN);
	ck_assert_str_eq(standin_failed(), "cuMemAlloc_v2");
	standin_fail_call(2, KVG_OUT_OF_MEMORY);
	ck_cu(cu_memory_alloc(&at, 1));
	ck_assert_int_eq(cu_memory_free(at), KVG_OUT_OF_MEMORY);
	ck_assert_int_eq(cu_memory_free(at), KVG_INVALID_VALUE);
	end();
}
END_TEST

START_TEST(the_environment_makes_calls_fail)
{
	int version;

	setenv("KVSHM_STANDIN_FAIL", "cuInit:802,cuDriverGetVersion:999:2", 1);
	ck_assert_int_eq(cu_init(0), KVG_SYSTEM_NOT_READY);
	ck_assert_int_eq(cu_init(0), KVG_SYSTEM_NOT_READY);
	ck_cu(cu_get_version(&version));
	ck_assert_int_eq(version, 13000);
	ck_assert_int_eq(cu_get_version(&version), KVG_UNKNOWN);
	ck_cu(cu_get_version(&version));
	standin_calm();
	ck_cu(cu_init(0));
}
END_TEST

START_TEST(calls_that_need_a_context_or_cuInit_say_so)
{
	kvg_handle handle;
	kvg_pointer at;

	ck_assert_int_eq(cu_memory_create(&handle, PIECE, &exported, 0), KVG_NOT_INITIALIZED);
	ck_cu(cu_init(0));
	ck_assert_int_eq(cu_memory_alloc(&at, 1), KVG_INVALID_CONTEXT);
	unmap(make());
	ck_assert_str_eq(standin_leaks_text(), "nothing");
}
END_TEST

START_TEST(a_forked_process_is_refused)
{
	int status, count;
	pid_t pid;

	begin();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(cu_init(0) == KVG_NOT_INITIALIZED && cu_device_count(&count) == KVG_NOT_INITIALIZED ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	end();
}
END_TEST

START_TEST(devices_are_seen_as_CUDA_VISIBLE_DEVICES_says)
{
	struct kvg_uuid uuid;
	char name[64];
	int count, value;

	set_devices("name=A\n"
		    "name=B 110=0\n"
		    "name=C uuid=GPU-0102030405060708090a0b0c0d0e0f10\n");
	setenv("CUDA_VISIBLE_DEVICES", "GPU-01020304,1,9,0", 1);
	ck_cu(cu_init(0));
	ck_cu(cu_device_count(&count));
	ck_assert_int_eq(count, 2);
	ck_cu(cu_device_name(name, sizeof(name), 0));
	ck_assert_str_eq(name, "C");
	ck_cu(cu_device_uuid(&uuid, 0));
	ck_assert_int_eq(uuid.bytes[15], 16);
	ck_cu(cu_device_attribute(&value, KVG_ATTRIBUTE_RDMA_WITH_VMM, 1));
	ck_assert_int_eq(value, 0);
}
END_TEST

START_TEST(without_a_visible_device_there_is_none)
{
	setenv("CUDA_VISIBLE_DEVICES", "", 1);
	ck_assert_int_eq(cu_init(0), KVG_NO_DEVICE);
}
END_TEST

/* ---- Streams ---- */

static _Atomic unsigned functions, refused;

static void function(void *arg)
{
	kvg_context context;

	if (atomic_fetch_add(&functions, 1) == *(unsigned *)arg && cu_context_current(&context) == KVG_NOT_PERMITTED)
		atomic_fetch_add(&refused, 1);
}

START_TEST(a_stream_keeps_its_order_and_stands_where_it_is_held)
{
	unsigned first = 0, second = 1;
	kvg_stream stream;
	kvg_event event;

	begin();
	ck_cu(cu_stream_create(&stream, 0));
	ck_cu(cu_event_create(&event, KVG_EVENT_DISABLE_TIMING));
	ck_cu(cu_event_query(event));
	standin_stream_hold(stream);
	ck_cu(cu_call_on(stream, function, &first));
	ck_cu(cu_event_record(event, stream));
	ck_cu(cu_call_on(stream, function, &second));
	standin_stream_await_held(stream);
	ck_assert_uint_eq(standin_stream_queued(stream), 3);
	ck_assert_uint_eq(atomic_load(&functions), 0);
	standin_stream_step(stream);
	ck_assert_uint_eq(atomic_load(&functions), 1);
	ck_assert_int_eq(cu_event_query(event), KVG_NOT_READY);
	standin_stream_step(stream);
	ck_cu(cu_event_query(event));
	ck_assert_uint_eq(atomic_load(&functions), 1);
	standin_stream_go(stream);
	ck_cu(cu_stream_synchronize(stream));
	ck_assert_uint_eq(atomic_load(&functions), 2);
	ck_assert_uint_eq(atomic_load(&refused), 2);
	ck_cu(cu_event_destroy(event));
	ck_cu(cu_stream_destroy(stream));
	end();
}
END_TEST

START_TEST(a_copy_is_held_in_its_middle)
{
	char *from, *to;
	kvg_pointer at;
	kvg_stream stream;

	begin();
	at = make();
	from = pin(8);
	ck_cu(cu_stream_create(&stream, 0));
	memcpy(from, "1234567", 8);
	to = standin_look(at, 8);
	memset(to, '.', 8);
	standin_stream_hold_inside(stream);
	ck_cu(cu_copy_on(at, (uintptr_t)from, 8, stream));
	standin_stream_await_held(stream);
	ck_assert_mem_eq(to, "1234....", 8);
	standin_stream_go(stream);
	ck_cu(cu_context_synchronize());
	ck_assert_str_eq(to, "1234567");
	ck_assert_uint_eq(standin_pageable_copies(), 0);
	ck_cu(cu_copy_on(at, (uintptr_t) "a", 1, stream));
	ck_assert_uint_eq(standin_pageable_copies(), 1);
	ck_assert_uint_eq(standin_stream_queued(stream), 1);
	ck_assert_str_eq(to, "1234567"); /* it is staged, and late */
	ck_cu(cu_stream_synchronize(stream));
	ck_assert_str_eq(to, "a234567");
	ck_cu(cu_copy_in(at, "b", 1));
	ck_assert_str_eq(to, "a234567");
	ck_cu(cu_context_synchronize());
	ck_assert_str_eq(to, "b234567");
	ck_cu(cu_stream_destroy(stream));
	ck_cu(cu_host_free(from));
	unmap(at);
	end();
}
END_TEST

START_TEST(in_a_ruined_context_host_functions_never_run)
{
	unsigned number = 0;
	kvg_context context;
	kvg_stream stream;
	kvg_pointer at;

	context = begin();
	ck_cu(cu_stream_create(&stream, 0));
	standin_stream_hold(stream);
	ck_cu(cu_call_on(stream, function, &number));
	standin_ruin(context, KVG_LAUNCH_FAILED);
	ck_assert_uint_eq(standin_stream_queued(stream), 0);
	standin_stream_go(stream);
	ck_assert_int_eq(cu_stream_synchronize(stream), KVG_LAUNCH_FAILED);
	ck_assert_int_eq(cu_context_synchronize(), KVG_LAUNCH_FAILED);
	ck_assert_int_eq(cu_memory_alloc(&at, 1), KVG_LAUNCH_FAILED);
	ck_assert_uint_eq(atomic_load(&functions), 0);
}
END_TEST

START_TEST(a_capture_is_seen_and_what_may_not_be_done_meanwhile_spoils_it)
{
	kvg_stream stream;
	kvg_event event;
	void *graph;
	int status;

	begin();
	ck_cu(cu_stream_create(&stream, 0));
	ck_cu(cu_event_create(&event, 0));
	ck_cu(cu_capture_begin(stream, STANDIN_CAPTURE_RELAXED));
	ck_cu(cu_stream_capturing(stream, &status));
	ck_assert_int_eq(status, 1);
	ck_assert_int_eq(cu_stream_capturing(NULL, &status), KVG_CAPTURE_IMPLICIT);
	ck_cu(cu_event_query(event));
	ck_cu(cu_capture_end(stream, &graph));
	ck_cu(cu_capture_begin(stream, STANDIN_CAPTURE_GLOBAL));
	ck_assert_uint_eq(standin_captures_spoiled(), 0);
	ck_assert_int_eq(cu_event_query(event), KVG_CAPTURE_UNSUPPORTED);
	ck_assert_uint_eq(standin_captures_spoiled(), 1);
	ck_assert_int_ne(cu_capture_end(stream, &graph), KVG_SUCCESS);
	ck_cu(cu_stream_capturing(stream, &status));
	ck_assert_int_eq(status, KVG_CAPTURE_NONE);
	ck_cu(cu_event_destroy(event));
	ck_cu(cu_stream_destroy(stream));
	end();
}
END_TEST

/* ---- Kernels ---- */

static const char ptx[] = "// of no compiler\n.version 6.0\n.visible .entry test_fill(.param .u64 a)\n"
			  ".entry test_check (\n.visible .entry kvshm_copy_pieces(\n.entry test_spin(";

static void launch(kvg_module module, const char *name, void **parameters)
{
	kvg_function kernel;

	ck_cu(cu_module_function(&kernel, module, name));
	ck_cu(cu_launch(kernel, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
}

START_TEST(kernels_fill_copy_and_check)
{
	uint64_t from, to, bytes = 4096, wrong, (*pieces)[3];
	uint32_t value = 7, count = 2, *words;
	kvg_function kernel;
	kvg_module module;

	begin();
	ck_assert_int_eq(cu_module_load(&module, "not PTX"), KVG_INVALID_PTX);
	ck_cu(cu_module_load(&module, ptx));
	ck_assert_int_eq(cu_module_function(&kernel, module, "test"), KVG_NOT_FOUND);
	from = make();
	to = from + PIECE / 2;
	wrong = from + PIECE - 4;
	pieces = pin(2 * sizeof(*pieces));
	launch(module, "test_fill", (void *[]){&from, &bytes, &value});
	for (unsigned i = 0; i < 2; i++) {
		pieces[i][0] = to + i * bytes / 2;
		pieces[i][1] = from + i * bytes / 2;
		pieces[i][2] = bytes / 2;
	}
	launch(module, "kvshm_copy_pieces", (void *[]){&pieces, &count});
	launch(module, "test_check", (void *[]){&to, &bytes, &value, &wrong});
	ck_cu(cu_context_synchronize());
	words = standin_look(wrong, 4);
	ck_assert_uint_eq(*words, 0);
	value++;
	launch(module, "test_check", (void *[]){&to, &bytes, &value, &wrong});
	ck_cu(cu_context_synchronize());
	ck_assert_uint_eq(*words, 1024);
	ck_cu(cu_module_unload(module));
	ck_cu(cu_host_free(pieces));
	unmap(from);
	end();
}
END_TEST

START_TEST(events_measure_how_long_a_kernel_runs)
{
	uint64_t bytes = 4, ns = 2000000;
	uint32_t value = 3;
	size_t available, total;
	kvg_pointer at;
	kvg_event from, to, untimed;
	kvg_module module;
	float ms;

	begin();
	ck_cu(cu_module_load(&module, ptx));
	at = make();
	ck_cu(cu_memory_info(&available, &total));
	ck_assert_uint_eq(available, total - standin_bytes_used(0));
	ck_cu(cu_event_create(&from, 0));
	ck_cu(cu_event_create(&to, 0));
	ck_cu(cu_event_create(&untimed, KVG_EVENT_DISABLE_TIMING));
	ck_assert_int_eq(cu_event_elapsed(&ms, from, to), KVG_INVALID_HANDLE);
	ck_cu(cu_event_record(from, NULL));
	launch(module, "test_spin", (void *[]){&at, &bytes, &value, &ns});
	ck_cu(cu_event_record(to, NULL));
	ck_cu(cu_event_record(untimed, NULL));
	ck_cu(cu_event_synchronize(to));
	ck_cu(cu_event_elapsed(&ms, from, to));
	ck_assert(ms >= 2.0F);
	ck_assert_uint_eq(*(uint32_t *)standin_look(at, 4), value);
	ck_cu(cu_event_synchronize(untimed));
	ck_assert_int_eq(cu_event_elapsed(&ms, from, untimed), KVG_INVALID_HANDLE);
	ck_cu(cu_event_destroy(from));
	ck_cu(cu_event_destroy(to));
	ck_cu(cu_event_destroy(untimed));
	unmap(at);
	ck_cu(cu_module_unload(module));
	end();
}
END_TEST

START_TEST(a_kernel_that_reaches_memory_that_is_no_devices_ruins_its_context)
{
	uint64_t bytes = 8;
	uint32_t value = 1;
	uint64_t at = (uintptr_t)&bytes;
	kvg_module module;

	begin();
	ck_cu(cu_module_load(&module, ptx));
	launch(module, "test_fill", (void *[]){&at, &bytes, &value});
	ck_assert_int_eq(cu_context_synchronize(), KVG_ILLEGAL_ADDRESS);
	ck_assert_int_eq(cu_module_unload(module), KVG_ILLEGAL_ADDRESS);
	ck_assert_uint_eq(bytes, 8);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		memory_crosses_processes_by_descriptor_and_lives_as_long_as_someone_has_it,
		no_other_descriptor_is_taken_for_memory,
		legacy_memory_is_opened_by_one_context_and_goes_with_its_maker,
		what_a_killed_process_had_of_a_device_is_free_again,
		a_load_of_the_processor_from_a_devices_address_faults,
		memory_is_unmapped_and_freed_as_it_was_mapped_and_reserved,
		calls_fail_when_they_are_told_to_and_what_frees_frees_all_the_same,
		the_environment_makes_calls_fail,
		calls_that_need_a_context_or_cuInit_say_so,
		a_forked_process_is_refused,
		devices_are_seen_as_CUDA_VISIBLE_DEVICES_says,
		without_a_visible_device_there_is_none,
		a_stream_keeps_its_order_and_stands_where_it_is_held,
		a_copy_is_held_in_its_middle,
		in_a_ruined_context_host_functions_never_run,
		a_capture_is_seen_and_what_may_not_be_done_meanwhile_spoils_it,
		kernels_fill_copy_and_check,
		events_measure_how_long_a_kernel_runs,
		a_kernel_that_reaches_memory_that_is_no_devices_ruins_its_context,
	};

	return unit_run("standin_works", tests, sizeof(tests) / sizeof(tests[0]));
}
