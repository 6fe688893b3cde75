/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * view: what can be seen of a store without being its client, and that the check finds what is planted.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "epoch.h"

static kvshm_view *look(void)
{
	kvshm_view *view;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	return view;
}

START_TEST(a_view_says_what_the_store_is)
{
	struct kvshm_create_options options = unit_options(10);
	struct kvshm_store_info info;
	struct kvs_actor actor;
	kvshm_view *view;
	kvshm_store *store;

	options.label = "a label";
	options.planes = 2;
	options.retain = KVSHM_DROP;
	store = unit_make(&options);
	unit_put(store, 1);
	view = look();
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_str_eq(info.name, unit_name());
	ck_assert_str_eq(info.label, "a label");
	ck_assert_str_eq(info.maker, kvshm_version());
	ck_assert_uint_eq(info.geometry.blocks, 10);
	ck_assert_uint_eq(info.geometry.planes, 2);
	ck_assert_int_eq(info.geometry.retain, KVSHM_DROP);
	ck_assert_uint_eq(info.segment_size, store->map.g.size);
	ck_assert_uint_eq(info.layout, KVS_LAYOUT);
	ck_assert_uint_eq(info.readers, 128);
	ck_assert_uint_eq(info.readers_used, 1);
	ck_assert_uint_eq(info.readers_stalling, 0);
	ck_assert_int_eq(info.owner_pid, getpid());
	ck_assert(info.owner_alive && !info.destroyed && !info.unlinked && !info.fence);
	actor = unit_actor_of(store);
	kvs_enter(&actor);
	(void)kvs_epoch_advance(&actor);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_uint_eq(info.readers_stalling, 1);
	kvs_leave(&actor);
	kvshm_view_close(view);
}
END_TEST

START_TEST(a_view_of_a_store_without_owner_or_name_says_so)
{
	struct kvshm_store_info info;
	kvshm_store *store = unit_store(4);
	kvshm_view *view = look();

	ck_rc(kvshm_disown(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(!info.owner_alive && !info.unlinked);
	ck_rc(kvshm_adopt(unit_name(), NULL, &unit_owner), 0);
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.owner_alive);
	unit_detach(store);
	ck_rc(kvshm_destroy(unit_owner), 0);
	unit_owner = NULL;
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.destroyed && info.unlinked);
	kvshm_view_close(view);
}
END_TEST

START_TEST(usage_counts_blocks_by_state_and_holds)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_handle ref, pin, removed;
	struct kvshm_usage usage;
	kvshm_view *view = look();

	unit_put(store, 1);
	unit_put(store, 2);
	ref = unit_fill(store, 3, 0); /* a ref of each client, and a pin */
	ck_rc(unit_get(other, 3, &ref), 0);
	ck_rc(kvshm_pin(other, &ref, &pin), 0);
	removed = unit_fill(store, 4, 0); /* doomed */
	ck_rc(unit_remove(store, 4), 0);
	unit_put(store, 5); /* in grace */
	ck_rc(unit_remove(store, 5), 0);
	(void)unit_begin(other, 6);
	ck_rc(kvshm_view_usage(view, &usage), 0);
	ck_assert_uint_eq(usage.ready, 3);
	ck_assert_uint_eq(usage.filling, 1);
	ck_assert_uint_eq(usage.doomed, 1);
	ck_assert_uint_eq(usage.grace, 1);
	ck_assert_uint_eq(usage.free, 10);
	ck_assert_uint_eq(usage.owned + usage.removing, 0);
	ck_assert_uint_eq(usage.evictable, 2);
	ck_assert_uint_eq(usage.held, 3);
	ck_assert_uint_eq(usage.pinned, 1);
	ck_assert_uint_eq(usage.refs, 4);
	ck_assert_uint_eq(usage.pins, 1);
	ck_assert_uint_eq(removed.kind, KVSHM_REF);
	kvshm_view_close(view);
}
END_TEST

static struct kvshm_client_info infos[8];
static unsigned clients;

static int keep_client(const struct kvshm_client_info *client, void *arg)
{
	(void)arg;
	infos[clients++] = *client;
	return 0;
}

static void hold_and_die(void *arg)
{
	struct kvshm_attach_options how = {.name = "the dead one"};
	struct kvshm_handle ref, pin;
	kvshm_store *store;

	(void)arg;
	ck_rc(kvshm_attach(unit_name(), &how, &store), 0);
	ref = unit_fill(store, 1, 0);
	ck_rc(kvshm_pin(store, &ref, &pin), 0);
	(void)unit_begin(store, 2);
	unit_wait_for_death();
}

START_TEST(clients_are_shown_with_their_holds_and_whether_they_live)
{
	kvshm_store *store = unit_store(16);
	struct kvshm_check_result result;
	kvshm_view *view = look();
	struct child child;

	unit_child(&child, hold_and_die, NULL);
	unit_await(&child);
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	ck_assert_uint_eq(clients, 2);
	ck_assert(infos[0].alive && infos[1].alive);
	ck_assert_int_eq(infos[0].pid, getpid());
	ck_assert_int_eq(infos[1].pid, child.pid);
	ck_assert_str_eq(infos[1].name, "the dead one");
	ck_assert_uint_eq(infos[1].refs, 2);
	ck_assert_uint_eq(infos[1].pins, 1);
	ck_assert_uint_eq(infos[1].blocks, 2);
	ck_assert_uint_eq(infos[1].fills, 1);
	unit_kill(&child);
	clients = 0;
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	ck_assert_uint_eq(clients, 2);
	ck_assert(infos[0].alive && !infos[1].alive);
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), 0);
	ck_assert_uint_gt(result.pending, 0); /* the next recovery takes it */
	ck_assert_uint_eq(result.unsound, 0);
	ck_rc(kvshm_recover(store, NULL), 0);
	clients = 0;
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	ck_assert_uint_eq(clients, 1);
	kvshm_view_close(view);
	unit_sound();
}
END_TEST

static struct kvshm_plane_view planes[KVSHM_PLANES_MAX];
static unsigned plane_count;

static int keep_plane(const struct kvshm_plane_view *plane, void *arg)
{
	(void)arg;
	planes[plane_count++] = *plane;
	return plane_count == 3 ? 7 : 0;
}

START_TEST(planes_of_host_memory_are_mapped_by_all_clients)
{
	kvshm_store *store = unit_planes(2), *other = unit_attach();
	struct kvshm_store_info info;
	kvshm_view *view = look();

	ck_rc(kvshm_view_planes(view, keep_plane, NULL), 0);
	ck_assert_uint_eq(plane_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(planes[i].plane, i);
		ck_assert_int_eq(planes[i].memory, KVSHM_MEMORY_HOST);
		ck_assert_uint_eq(planes[i].size, store->map.g.blocks * store->map.g.block_size);
		ck_assert_uint_eq(planes[i].mapped, 2);
		ck_assert_str_eq(planes[i].gpu, "");
	}
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert_int_eq(info.memory, KVSHM_MEMORY_HOST);
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	ck_assert(infos[0].planes == 0 && infos[1].planes == 0);
	ck_rc(kvshm_view_planes(view, NULL, NULL), -EINVAL);
	ck_rc(kvshm_view_planes(NULL, keep_plane, NULL), -EINVAL);
	unit_detach(other);
	kvshm_view_close(view);
}
END_TEST

/* The head and a slot as a store in GPU memory has them; no driver is needed to look. */
START_TEST(planes_of_gpu_memory_are_told_by_their_gpus_and_who_has_them_mapped)
{
	kvshm_store *store = unit_planes(3), *other = unit_attach();
	struct kvs_plane_files *files = &store->map.head->planes, before = *files;
	struct kvshm_store_info info;
	char gpu[KVSHM_GPU_SIZE];
	kvshm_view *view;

	files->memory = KVS_MEMORY_CUDA;
	files->export = KVS_EXPORT_IPC;
	for (unsigned i = 0; i < 3 * KVS_UUID_SIZE; i++)
		files->uuid[i / KVS_UUID_SIZE][i % KVS_UUID_SIZE] = (uint8_t)i;
	atomic_store(&store->map.clients[store->slot].planes, 5);
	atomic_store(&store->map.clients[other->slot].planes, 4);
	view = look();
	ck_rc(kvshm_view_store(view, &info), 0);
	ck_assert(info.memory == KVSHM_MEMORY_CUDA && info.gpu_export == KVSHM_EXPORT_IPC && info.huge_page == 0);
	ck_rc(kvshm_view_planes(view, keep_plane, NULL), 7); /* the third ends the walk */
	ck_assert_uint_eq(plane_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		kvg_uuid_text(gpu, files->uuid[i]);
		ck_assert_int_eq(planes[i].memory, KVSHM_MEMORY_CUDA);
		ck_assert_str_eq(planes[i].gpu, gpu);
	}
	ck_assert_uint_eq(planes[0].mapped, 1);
	ck_assert_uint_eq(planes[1].mapped, 0);
	ck_assert_uint_eq(planes[2].mapped, 2);
	ck_rc(kvshm_view_clients(view, keep_client, NULL), 0);
	ck_assert_uint_eq(infos[0].planes, 5);
	ck_assert_uint_eq(infos[1].planes, 4);
	kvshm_view_close(view);
	*files = before;
	atomic_store(&store->map.clients[store->slot].planes, 0);
	atomic_store(&store->map.clients[other->slot].planes, 0);
}
END_TEST

static int find_name(const char *name, void *arg)
{
	if (strcmp(name, unit_name()) == 0)
		++*(unsigned *)arg;
	return 0;
}

START_TEST(stores_are_listed_once_each)
{
	unsigned found = 0;
	char foreign[300];
	int file;

	(void)unit_store(4);
	(void)snprintf(foreign, sizeof(foreign), "%sx", unit_path(-1));
	file = open(foreign, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600); /* no segment: passed over */
	(void)close(file);
	ck_rc(kvshm_list(NULL, find_name, &found), 0);
	ck_assert_uint_eq(found, 1);
	ck_assert_int_eq(unlink(foreign), 0);
	ck_assert_int_lt(kvshm_list("/dev/shm/kvshm-no-such-directory", find_name, &found), 0);
}
END_TEST

START_TEST(a_view_of_what_is_no_store_is_refused)
{
	kvshm_view *view;
	int file;

	ck_rc(kvshm_view_open(unit_name(), NULL, &view), -ENOENT);
	file = open(unit_path(-1), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), -EPROTO);
	ck_assert_int_eq(ftruncate(file, 10000), 0);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), -EPROTO);
	(void)close(file);
	ck_assert_int_eq(unlink(unit_path(-1)), 0);
	ck_rc(kvshm_view_open("../x", NULL, &view), -EINVAL);
	kvshm_view_close(NULL);
}
END_TEST

static void keep_finding(const char *finding, void *arg)
{
	(void)snprintf(arg, 256, "%s", finding);
}

/* What the check finds is tested in check_finds.c. */
START_TEST(a_view_checks_the_store)
{
	kvshm_store *store = unit_store(16), *other = unit_attach();
	struct kvshm_check_result result;
	char finding[256], wanted[256];
	struct kvshm_handle ref;
	kvshm_view *view = look();

	ref = unit_fill(other, 1, 0);
	ck_rc(kvshm_view_check(view, keep_finding, finding, &result), 0);
	ck_assert(!result.unsound && !result.leaked && !result.pending && !result.quiescent);
	/* A block that no lookup finds. */
	(void)snprintf(wanted, sizeof(wanted), "block %u is READY, and in no chain: no lookup finds it", ref.block);
	for (uint32_t i = 0; i < store->map.g.buckets; i++)
		if (store->map.buckets[i])
			atomic_store(&store->map.buckets[i], KVS_LINK_END);
	ck_rc(kvshm_view_check(view, keep_finding, finding, &result), 0);
	ck_assert_str_eq(finding, wanted);
	ck_assert_uint_eq(result.unsound, 1);
	ck_assert_uint_eq(result.leaked, 1);
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), 0);
	ck_assert_uint_eq(result.unsound, 1);
	kvshm_view_close(view);
	unit_damaged();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_view_says_what_the_store_is,
		a_view_of_a_store_without_owner_or_name_says_so,
		usage_counts_blocks_by_state_and_holds,
		clients_are_shown_with_their_holds_and_whether_they_live,
		planes_of_host_memory_are_mapped_by_all_clients,
		planes_of_gpu_memory_are_told_by_their_gpus_and_who_has_them_mapped,
		stores_are_listed_once_each,
		a_view_of_what_is_no_store_is_refused,
		a_view_checks_the_store,
	};

	return unit_run("view", tests, sizeof(tests) / sizeof(tests[0]));
}
