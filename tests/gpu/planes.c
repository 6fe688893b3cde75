/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * planes: planes in GPU memory are mapped by every process that uses them, which exchange bytes through them; whoever
 * goes, and however, leaves no memory.
 */
#include "config.h"

#include "gpu_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attached.h"
#include "planes.h"
#include "wait.h"

#define CLIENTS 4
#define THREADS 100

static const struct gpu_wish wishes[] = {
	{"cuda:0", KVSHM_EXPORT_FD},	     {"cuda:0,cuda:0", KVSHM_EXPORT_FD},  {"cuda:0,cuda:1", KVSHM_EXPORT_FD},
	{"cuda:0", KVSHM_EXPORT_IPC},	     {"cuda:0,cuda:0", KVSHM_EXPORT_IPC}, {"cuda:0,cuda:1", KVSHM_EXPORT_IPC},
	{"cuda:1,cuda:0", KVSHM_EXPORT_IPC},
};
enum { WISHES = sizeof(wishes) / sizeof(wishes[0]) };

static const struct gpu_wish by_fd = {"cuda:0", KVSHM_EXPORT_FD}, by_handle = {"cuda:0", KVSHM_EXPORT_IPC},
			     two_by_handle = {"cuda:0,cuda:0", KVSHM_EXPORT_IPC};

/* ---- Many processes ---------------------------------------------------------------------------------------- */

static pthread_barrier_t *barrier;

static void exchange(void *arg)
{
	unsigned number = *(unsigned *)arg;
	kvshm_store *store;

	unit_await_parent();
	store = unit_attach();
	gpu_put(store, number);
	(void)pthread_barrier_wait(barrier);
	for (unsigned i = 0; i < CLIENTS; i++)
		gpu_check(store, i);
	(void)pthread_barrier_wait(barrier);
	unit_detach(store);
	gpu_nothing_left();
}

START_TEST(processes_exchange_bytes)
{
	struct child owner, clients[CLIENTS];

	barrier = unit_shared_barrier(CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++)
		unit_child(&clients[i], exchange, &i);
	gpu_owner(&owner, &wishes[_i]);
	ck_assert_uint_eq(standin_bytes_used(0) + standin_bytes_used(1),
			  GPU_PLANE * (strchr(wishes[_i].pool, ',') ? 2 : 1));
	for (unsigned i = 0; i < CLIENTS; i++)
		unit_tell(&clients[i]);
	for (unsigned i = 0; i < CLIENTS; i++)
		unit_join(&clients[i]);
	gpu_owner_end(&owner);
	gpu_all_is_free();
}
END_TEST

/* ---- What a plane is --------------------------------------------------------------------------------------- */

START_TEST(a_plane_says_where_it_is)
{
	kvshm_store *store = gpu_make("cuda:1,cuda:0");
	struct kvshm_plane_info info;
	struct kvshm_handle owned;
	struct kvg_uuid uuid;
	char text[KVG_NAME_SIZE];
	void *address;

	for (unsigned plane = 0; plane < 2; plane++) {
		ck_rc(kvshm_get_plane_info(store, plane, &info), 0);
		ck_assert_int_eq(info.memory, KVSHM_MEMORY_CUDA);
		ck_assert_int_eq(info.device, 1 - (int)plane);
		ck_assert_uint_eq(info.size, GPU_BLOCKS * UINT64_C(4096));
		ck_assert_uint_eq(info.page_size, GPU_PLANE);
		ck_assert_uint_eq((uintptr_t)info.address % GPU_PLANE, 0);
		ck_assert_int_eq(cu_device_uuid(&uuid, info.device), 0);
		kvg_uuid_text(text, uuid.bytes);
		ck_assert_str_eq(info.gpu, text);
		ck_rc(kvshm_alloc(store, &owned), 0);
		ck_rc(kvshm_address(store, &owned, plane, &address), 0);
		ck_assert_ptr_eq(address, (char *)info.address + owned.block * UINT64_C(4096));
	}
	ck_rc(kvshm_get_plane_info(store, 2, &info), -EINVAL);
}
END_TEST

/* The mark is there before the driver is asked for anything. */
START_TEST(a_client_that_maps_does_dma)
{
	kvshm_store *store = gpu_make("cuda:0,cuda:0");
	struct kvs_client *client = &store->map.clients[store->slot];
	struct kvshm_plane_info info;

	ck_assert_uint_eq(atomic_load(&client->dma), KVS_DMA_NONE);
	ck_assert_uint_eq(atomic_load(&client->planes), 0);
	standin_fail("cuMemImportFromShareableHandle", 1, KVG_UNKNOWN);
	ck_rc(kvshm_get_plane_info(store, 1, &info), -EIO);
	ck_assert_uint_eq(atomic_load(&client->dma), KVS_DMA_DOES);
	ck_assert_uint_eq(atomic_load(&client->planes), 0);
	ck_rc(kvshm_get_plane_info(store, 1, &info), 0);
	ck_assert_uint_eq(atomic_load(&client->planes), 2);
}
END_TEST

/* ---- Contexts ---------------------------------------------------------------------------------------------- */

/* Who calls: without a context, with the primary one, with another of the plane's GPU, with one of another GPU; and
 * each on top of one more. */
enum { CALLERS = 8 };

static unsigned push_contexts(int caller)
{
	kvg_context context;

	ck_assert_int_eq(cu_init(0), 0);
	if (caller >= CALLERS / 2)
		ck_assert_int_eq(cu_context_create(&context, 0, 1), 0);
	switch (caller % (CALLERS / 2)) {
	case 1:
		ck_assert_int_eq(cu_primary_retain(&context, 0), 0);
		ck_assert_int_eq(cu_context_push(context), 0);
		break;
	case 2:
		ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
		break;
	case 3:
		ck_assert_int_eq(cu_context_create(&context, 0, 1), 0);
		break;
	default:
		break;
	}
	return standin_context_depth();
}

static void use_plane(kvshm_store *store, bool fails)
{
	struct kvshm_plane_info info;
	struct kvshm_handle handle;

	ck_rc(kvshm_get_plane_info(store, 0, &info), fails ? -EIO : 0);
	if (fails)
		return;
	handle = unit_begin(store, 1);
	gpu_write(store, &handle, 1);
	gpu_verify(store, &handle, 1);
	ck_rc(kvshm_give_up(store, &handle), 0);
}

/* A client in a process of its own, whose contexts are not touched. */
static void keep_contexts(void *arg)
{
	kvg_context before[4];
	unsigned depth, references;
	int caller = *(int *)arg;
	kvshm_store *store;

	unit_await_parent();
	depth = push_contexts(caller);
	ck_assert_uint_le(depth, 4);
	for (unsigned i = 0; i < depth; i++)
		before[i] = standin_context_at(i);
	references = standin_context_references(0);
	store = unit_attach();
	for (int fails = 1; fails >= 0; fails--) {
		if (fails) {
			standin_fail("cuMemImportFromShareableHandle", 1, KVG_UNKNOWN);
			standin_fail("cuIpcOpenMemHandle_v2", 1, KVG_UNKNOWN);
		}
		use_plane(store, fails);
		ck_assert_uint_eq(standin_context_depth(), depth);
		for (unsigned i = 0; i < depth; i++)
			ck_assert_ptr_eq(standin_context_at(i), before[i]);
		/* Who has a context of the device needs no other. */
		if (caller % (CALLERS / 2) == 1 || caller % (CALLERS / 2) == 2)
			ck_assert_uint_eq(standin_context_references(0), references);
		else
			ck_assert_uint_eq(standin_context_references(0), references + 1);
	}
	unit_detach(store);
	ck_assert_uint_eq(standin_context_depth(), depth);
	ck_assert_uint_eq(standin_context_references(0), references);
}

START_TEST(the_callers_contexts_are_as_they_were)
{
	struct child owner, client;
	int caller = _i / 2;

	unit_child(&client, keep_contexts, &caller);
	gpu_owner(&owner, _i % 2 ? &by_handle : &by_fd);
	unit_tell(&client);
	unit_join(&client);
	gpu_owner_end(&owner);
	gpu_all_is_free();
}
END_TEST

START_TEST(an_address_is_good_in_all_contexts)
{
	kvshm_store *store = gpu_make("cuda:0"), *other = unit_attach();
	struct kvshm_handle handle = unit_begin(store, 1);
	kvg_context contexts[2];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(cu_context_create(&contexts[i], 0, 0), 0);
	gpu_write(store, &handle, 1);
	ck_assert_int_eq(cu_context_destroy(contexts[1]), 0); /* that it was mapped in */
	gpu_verify(store, &handle, 1);
	ck_assert_int_eq(cu_context_destroy(contexts[0]), 0);
	gpu_verify(store, &handle, 1);
	ck_rc(kvshm_publish(store, &handle, NULL), 0);
	gpu_check(other, 1);
}
END_TEST

/* Of the planes of one GPU, in one process. */
static void open_in_two_contexts(void *arg)
{
	struct kvshm_plane_info info, again;
	kvg_context context;
	kvshm_store *store, *other;

	unit_await_parent();
	store = unit_attach();
	other = unit_attach();
	ck_rc(kvshm_get_plane_info(store, 0, &info), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	for (unsigned plane = 0; plane < 2; plane++)
		ck_rc(kvshm_get_plane_info(store, plane, &again), -EXDEV);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "without --export ipc"));
	ck_rc(kvshm_get_plane_info(other, 0, &again), -EXDEV);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "without --export ipc"));
	ck_assert_int_eq(cu_context_pop(NULL), 0);
	/* Whoever has none is taken to the one that it is mapped in. */
	ck_rc(kvshm_get_plane_info(other, 0, &again), 0);
	ck_assert_ptr_eq(again.address, info.address);
	unit_detach(store);
	gpu_put(other, 1);
	gpu_check(other, 1);
	unit_detach(other);
	ck_assert_int_eq(cu_context_destroy(context), 0);
	gpu_nothing_left();
	(void)arg;
}

START_TEST(handles_are_opened_in_one_context)
{
	struct child owner, client;

	unit_child(&client, open_in_two_contexts, NULL);
	gpu_owner(&owner, &two_by_handle);
	unit_tell(&client);
	unit_join(&client);
	gpu_owner_end(&owner);
	gpu_all_is_free();
}
END_TEST

START_TEST(an_owners_process_opens_no_handles)
{
	const struct kvshm_create_options options = gpu_options("cuda:0", KVSHM_EXPORT_IPC);
	kvshm_store *store = unit_make(&options);
	struct kvshm_plane_info info;

	ck_rc(kvshm_get_plane_info(store, 0, &info), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "without --export ipc"));
}
END_TEST

/* The owner's context is not the caller's, who may destroy that. */
START_TEST(an_owners_memory_is_in_the_primary_context)
{
	struct kvshm_create_options options = gpu_options("cuda:0", KVSHM_EXPORT_IPC);
	kvg_context context;

	ck_assert_int_eq(cu_init(0), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	ck_assert_uint_eq(standin_context_references(0), 1);
	ck_assert_ptr_eq(standin_context_at(0), context);
	ck_assert_int_eq(cu_context_destroy(context), 0);
	ck_assert_uint_eq(standin_bytes_used(0), GPU_PLANE);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	gpu_nothing_left();
	gpu_all_is_free();
}
END_TEST

/* A context takes hundreds of MB of each GPU. */
START_TEST(an_owner_of_descriptors_has_no_context)
{
	struct kvshm_create_options options = gpu_options("cuda:0,cuda:1", KVSHM_EXPORT_FD);
	struct standin_leaks left;

	ck_rc(kvshm_create(unit_name(), &options, &unit_owner), 0);
	ck_assert_uint_eq(standin_leaks(&left), 0);
	ck_assert_uint_eq(standin_calls_of("cuDevicePrimaryCtxRetain"), 0);
	ck_assert_uint_eq(standin_bytes_used(0), GPU_PLANE);
	ck_assert_uint_eq(standin_bytes_used(1), GPU_PLANE);
}
END_TEST

/* ---- Threads ----------------------------------------------------------------------------------------------- */

static kvshm_store *mapped;
static pthread_barrier_t gate;

static void *map_it(void *arg)
{
	struct kvshm_plane_info info;

	(void)arg;
	(void)pthread_barrier_wait(&gate);
	ck_rc(kvshm_get_plane_info(mapped, 0, &info), 0);
	return info.address;
}

static void map_at_once(const char *call)
{
	pthread_t threads[THREADS];
	void *address, *first = NULL;

	mapped = unit_attach();
	ck_assert_int_eq(pthread_barrier_init(&gate, NULL, THREADS), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, map_it, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &address), 0);
		ck_assert(!first || first == address);
		first = address;
	}
	ck_assert_ptr_nonnull(first);
	ck_assert_uint_eq(standin_calls_of(call), 1);
	ck_assert_uint_eq(standin_calls_of("cuInit"), 1);
	unit_detach(mapped);
	gpu_nothing_left();
}

static void map_by_fd(void *arg)
{
	(void)arg;
	unit_await_parent();
	map_at_once("cuMemImportFromShareableHandle");
}

static void map_by_handle(void *arg)
{
	(void)arg;
	unit_await_parent();
	map_at_once("cuIpcOpenMemHandle_v2");
}

START_TEST(a_hundred_threads_map_once)
{
	struct child owner, client;

	unit_child(&client, _i ? map_by_handle : map_by_fd, NULL);
	gpu_owner(&owner, _i ? &by_handle : &by_fd);
	unit_tell(&client);
	unit_join(&client);
	gpu_owner_end(&owner);
}
END_TEST

/* ---- Captures ---------------------------------------------------------------------------------------------- */

/* Of an engine whose streams are blocking or not. */
START_TEST(captures_are_not_spoiled)
{
	const int modes[] = {STANDIN_CAPTURE_GLOBAL, STANDIN_CAPTURE_OF_THREAD, STANDIN_CAPTURE_RELAXED};
	int mode = modes[_i / 2], asked = STANDIN_CAPTURE_RELAXED;
	kvshm_store *store;
	kvg_context context;
	kvg_stream stream;
	void *graph;

	ck_assert_int_eq(cu_init(0), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	ck_assert_int_eq(cu_stream_create(&stream, _i % 2 ? KVG_STREAM_NON_BLOCKING : 0), 0);
	ck_assert_int_eq(cu_capture_begin(stream, mode), 0);
	store = gpu_make("cuda:0");
	gpu_put(store, 1);
	gpu_check(store, 1);
	unit_detach(store);
	ck_assert_int_eq(cu_capture_mode(&asked), 0);
	ck_assert_int_eq(asked, STANDIN_CAPTURE_GLOBAL); /* the thread's, as it was */
	ck_assert_int_eq(cu_capture_mode(&asked), 0);
	ck_assert_uint_eq(standin_captures_spoiled(), 0);
	ck_assert_int_eq(cu_capture_end(stream, &graph), 0);
	ck_assert_int_eq(cu_stream_destroy(stream), 0);
}
END_TEST

/* ---- Copies ------------------------------------------------------------------------------------------------ */

/* The driver's call may return before, where the memory is not pinned. */
START_TEST(a_write_returns_when_the_GPU_has_the_bytes)
{
	kvshm_store *store = gpu_make("cuda:0");
	struct kvshm_plane_info info;
	struct kvshm_handle owned;
	void *address;

	ck_rc(kvshm_get_plane_info(store, 0, &info), 0);
	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(kvshm_address(store, &owned, 0, &address), 0);
	ck_rc(kvshm_write(store, &owned, 0, 0, "bytes", 6), 0);
	ck_assert_str_eq(standin_look((uintptr_t)address, 6), "bytes");
	ck_rc(kvshm_give_up(store, &owned), 0);
}
END_TEST

/* The engine's are held, with work before them, the default one too: who waits for them waits for ever. */
START_TEST(copies_wait_for_no_stream)
{
	kvshm_store *store = gpu_make("cuda:0");
	kvg_stream streams[2] = {NULL};
	kvg_context context;
	kvg_pointer memory;

	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	ck_assert_int_eq(cu_memory_alloc(&memory, 16), 0);
	ck_assert_int_eq(cu_stream_create(&streams[1], 0), 0);
	for (int i = 0; i < 2; i++) {
		standin_stream_hold(streams[i]);
		ck_assert_int_eq(cu_copy_on(memory, memory + 8, 8, streams[i]), 0);
		standin_stream_await_held(streams[i]);
	}
	gpu_put(store, 1);
	gpu_check(store, 1);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(standin_stream_queued(streams[i]), 1);
		standin_stream_go(streams[i]);
	}
	ck_assert_int_eq(cu_context_synchronize(), 0);
	unit_detach(store);
	ck_assert_int_eq(cu_stream_destroy(streams[1]), 0);
	ck_assert_int_eq(cu_memory_free(memory), 0);
	ck_assert_int_eq(cu_context_destroy(context), 0);
	gpu_nothing_left();
}
END_TEST

/* One for each context that copies are made in, whatever is copied. */
START_TEST(a_stream_of_copies_goes_with_its_context)
{
	kvshm_store *store = gpu_make("cuda:0,cuda:0");
	kvg_context context;
	struct standin_leaks left;

	gpu_put(store, 1);
	gpu_check(store, 1);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	gpu_put(store, 2);
	(void)standin_leaks(&left);
	ck_assert_uint_eq(left.streams, 2);
	ck_assert_int_eq(cu_context_destroy(context), 0);
	gpu_check(store, 2);
	unit_detach(store);
	(void)standin_leaks(&left);
	ck_assert_uint_eq(left.streams, 0);
}
END_TEST

/* ---- Ends -------------------------------------------------------------------------------------------------- */

START_TEST(detach_unmaps)
{
	kvshm_store *store = gpu_make("cuda:0,cuda:1"), *other = unit_attach();
	struct kvshm_plane_info info;
	struct standin_leaks left;

	for (unsigned plane = 0; plane < 2; plane++)
		ck_rc(kvshm_get_plane_info(store, plane, &info), 0);
	ck_rc(kvshm_get_plane_info(other, 0, &info), 0);
	ck_assert_uint_eq(standin_leaks(&left), 3 + 3 + 3); /* maps, reservations, references */
	ck_assert_uint_eq(left.maps, 3);
	ck_assert_uint_eq(left.reservations, 3);
	ck_assert_uint_eq(left.references, 3);
	unit_detach(store);
	ck_assert_ptr_nonnull(standin_look((uintptr_t)info.address, GPU_PLANE));
	unit_detach(other);
	ck_assert_ptr_null(standin_look((uintptr_t)info.address, GPU_PLANE));
	gpu_nothing_left();
	ck_assert_uint_eq(standin_bytes_used(0), GPU_PLANE); /* the owner's */
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	gpu_all_is_free();
}
END_TEST

static void map_and_die(void *arg)
{
	unsigned number = *(unsigned *)arg;
	kvshm_store *store;

	unit_await_parent();
	store = unit_attach();
	gpu_put(store, number);
	unit_wait_for_death();
}

/* The planes' memory lives as long as someone has it that may use it. */
START_TEST(deaths_give_the_memory_back)
{
	struct child owner, clients[2];
	bool owner_first = _i & 1, handles = _i & 2;

	for (unsigned i = 0; i < 2; i++)
		unit_child(&clients[i], map_and_die, &i);
	gpu_owner(&owner, handles ? &by_handle : &by_fd);
	for (int i = 0; i < 2; i++) {
		unit_tell(&clients[i]);
		unit_await(&clients[i]);
	}
	ck_assert_uint_eq(standin_bytes_used(0), GPU_PLANE);
	unit_kill(owner_first ? &owner : &clients[0]);
	ck_assert_uint_eq(standin_bytes_used(0), handles && owner_first ? 0 : GPU_PLANE);
	unit_kill(&clients[1]);
	ck_assert_uint_eq(standin_bytes_used(0), handles && owner_first ? 0 : GPU_PLANE);
	unit_kill(owner_first ? &clients[0] : &owner);
	gpu_all_is_free();
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
}
END_TEST

/* A copy that finds the memory gone would ruin the context: the owner is looked at before. */
static void outlive_the_owner(void *arg)
{
	struct kvshm_handle owned;
	char bytes[16] = "";
	kvg_context context;
	kvshm_store *store;

	(void)arg;
	unit_await_parent();
	ck_assert_int_eq(cu_init(0), 0);
	ck_assert_int_eq(cu_context_create(&context, 0, 0), 0);
	store = unit_attach();
	ck_rc(kvshm_alloc(store, &owned), 0);
	ck_rc(kvshm_write(store, &owned, 0, 0, bytes, sizeof(bytes)), 0);
	unit_tell_parent();
	unit_await_parent();
	ck_rc(kvshm_write(store, &owned, 0, 0, bytes, sizeof(bytes)), -ESTALE);
	ck_rc(kvshm_read(store, &owned, 0, 0, bytes, sizeof(bytes)), -ESTALE);
	unit_detach(store);
	ck_assert_int_eq(cu_context_synchronize(), 0);
	ck_assert_int_eq(cu_context_destroy(context), 0);
	gpu_nothing_left();
}

static void map_too_late(void *arg)
{
	struct kvshm_plane_info info;
	kvshm_store *store;

	(void)arg;
	unit_await_parent();
	store = unit_attach();
	unit_tell_parent();
	unit_await_parent();
	ck_rc(kvshm_get_plane_info(store, 0, &info), -ESTALE);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "owner"));
	unit_detach(store);
	gpu_nothing_left();
}

START_TEST(memory_that_went_with_its_owner_is_ESTALE)
{
	struct child owner, client;

	unit_child(&client, _i ? map_too_late : outlive_the_owner, NULL);
	gpu_owner(&owner, &by_handle);
	unit_tell(&client);
	unit_await(&client);
	unit_kill(&owner);
	unit_tell(&client);
	unit_join(&client);
	gpu_all_is_free();
	ck_rc(kvshm_unlink(unit_name(), NULL), 0);
}
END_TEST

/* ---- fork(), and descriptors ------------------------------------------------------------------------------- */

/* Of each plane one, as this process keeps them. */
static void look_at_descriptors(const int *fds, uint32_t planes)
{
	for (uint32_t i = 0; i < planes; i++) {
		ck_assert_int_gt(fds[i], 2);
		ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
	}
}

START_TEST(descriptors_are_no_standard_streams)
{
	struct kvshm_create_options options = gpu_options("cuda:0,cuda:1", KVSHM_EXPORT_FD);
	kvshm_store *store;
	int streams[3];

	for (int i = 0; i < 3; i++) {
		streams[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
		ck_assert_int_eq(close(i), 0);
	}
	store = unit_make(&options);
	look_at_descriptors(kvg_planes_fds(unit_owner->planes), 2);
	look_at_descriptors(store->gpu->fds, 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(dup2(streams[i], i), i);
}
END_TEST

/* A child of fork() has neither the descriptors nor the driver; its parent goes on. */
START_TEST(a_child_of_fork_has_nothing_of_it)
{
	struct kvshm_create_options options = gpu_options("cuda:0", KVSHM_EXPORT_FD);
	kvshm_store *store;
	kvshm_owner *owner;
	int status, owned, held;
	pid_t pid;

	if (!unit_fork_wipes("a_child_of_fork_has_nothing_of_it"))
		return;
	store = unit_make(&options);
	gpu_put(store, 1);
	owned = kvg_planes_fds(unit_owner->planes)[0];
	held = store->gpu->fds[0];
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct kvshm_plane_info info;

		ck_assert_int_eq(fcntl(owned, F_GETFD), -1);
		ck_assert_int_eq(fcntl(held, F_GETFD), -1);
		ck_rc(kvshm_get_plane_info(store, 0, &info), -ECHILD);
		ck_rc(kvshm_detach(store), -ECHILD);
		ck_assert_ptr_null(kvg_driver_loaded()); /* not even its lock is touched */
		ck_rc(kvshm_create("other", &options, &owner), -ECHILD);
		ck_assert_ptr_nonnull(strstr(kvshm_error(), "before fork()"));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	gpu_check(store, 1);
}
END_TEST

/* The client hears of it by a call, and has time to end what it has there. */
START_TEST(memory_by_IPC_handles_stays_until_clients_have_detached)
{
	struct child owner;
	kvshm_store *store;
	uint64_t told;

	gpu_owner(&owner, &(struct gpu_wish){"cuda:0", KVSHM_EXPORT_IPC});
	store = unit_attach();
	gpu_put(store, 1);
	unit_tell(&owner);
	while (kvshm_get_geometry(store, &(struct kvshm_geometry){.blocks = 0}) == 0)
		(void)sched_yield();
	for (told = kvs_now(); kvs_now() - told < UINT64_C(100000000); (void)sched_yield())
		ck_assert_uint_gt(standin_bytes_used(0), 0);
	unit_detach(store);
	unit_join(&owner);
	gpu_all_is_free();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		memory_by_IPC_handles_stays_until_clients_have_detached,
		a_plane_says_where_it_is,
		a_client_that_maps_does_dma,
		an_address_is_good_in_all_contexts,
		handles_are_opened_in_one_context,
		an_owners_process_opens_no_handles,
		an_owners_memory_is_in_the_primary_context,
		an_owner_of_descriptors_has_no_context,
		detach_unmaps,
		a_write_returns_when_the_GPU_has_the_bytes,
		copies_wait_for_no_stream,
		a_stream_of_copies_goes_with_its_context,
		descriptors_are_no_standard_streams,
		a_child_of_fork_has_nothing_of_it,
	};
	const struct unit_loop loops[] = {
		{processes_exchange_bytes, WISHES},
		{the_callers_contexts_are_as_they_were, 2 * CALLERS},
		{a_hundred_threads_map_once, 2},
		{captures_are_not_spoiled, 6},
		{deaths_give_the_memory_back, 4},
		{memory_that_went_with_its_owner_is_ESTALE, 2},
		{NULL, 0},
	};

	return unit_run_loops("planes", tests, sizeof(tests) / sizeof(tests[0]), loops);
}
