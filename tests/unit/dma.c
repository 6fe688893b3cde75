/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * dma: what the devices of a dead client may reach is nobody else's until its process has ended (E2, R23); all else of
 * it is recovered at once (D1, D3). A client here loses its lock by dropping it, as in the moment between the fall of
 * the lock and the end of the process, and its process stays.
 */
#include "config.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "epoch.h"
#include "lock.h"
#include "process.h"
#include "recover.h"

#define BLOCKS 16U
#define READER 1U /* the dead client's slot */

/* What the child had, for the parent. */
struct left {
	struct kvshm_handle ref, fill, owned, part;
};
static struct left *left;

static void lose_the_lock(const kvshm_store *store)
{
	ck_rc(kvs_lock_drop(store->map.fd, store->slot), 0);
}

/* A ref of key 1, a fill of 4, a block without a key, a request, a section. */
static kvshm_store *hold_all_kinds(void)
{
	kvshm_store *store = unit_attach();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_request request;

	ck_rc(kvs_client_set_dma(&store->map, store->slot), 0);
	ck_rc(unit_get(store, 1, &left->ref), 0);
	left->fill = unit_begin(store, 4);
	left->owned = unit_own(store, 5);
	ck_rc(kvshm_request_open(store, "r", 1, 0, 1, &request), 0);
	kvs_enter(&actor);
	return store;
}

static void lose_the_lock_and_stay(void *arg)
{
	(void)arg;
	lose_the_lock(hold_all_kinds());
	unit_wait_for_death();
}

static void stay_alive(void *arg)
{
	(void)arg;
	(void)hold_all_kinds();
	unit_wait_for_death();
}

static kvshm_store *store_with_keys(void)
{
	kvshm_store *store = unit_store(BLOCKS);

	left = unit_shared(sizeof(*left));
	for (uint64_t i = 1; i <= 3; i++)
		unit_put(store, i);
	return store;
}

static void begin(struct child *child, void (*fn)(void *))
{
	unit_child(child, fn, NULL);
	unit_await(child);
}

static void recovers(kvshm_store *store, unsigned wanted)
{
	unsigned recovered = 99;

	ck_rc(kvshm_recover(store, &recovered), 0);
	ck_assert_uint_eq(recovered, wanted);
}

static uint32_t mark(const kvshm_store *store)
{
	return atomic_load(&store->map.clients[READER].dma);
}

/* All that the devices may reach is as it was; nobody can be given any of it. */
static void stays_unreachable(kvshm_store *store)
{
	ck_assert_int_eq(unit_state(store, left->ref.block), KVS_READY);
	ck_assert_int_eq(unit_state(store, left->fill.block), KVS_DOOMED);
	ck_assert_int_eq(unit_state(store, left->owned.block), KVS_OWNED);
	ck_assert_uint_ne(unit_entry(store, READER, left->ref.block) & KVS_ENTRY_COUNTS, 0);
	ck_assert_uint_ne(unit_entry(store, READER, left->fill.block) & KVS_ENTRY_COUNTS, 0);
	for (uint64_t i = 0; i < UINT64_C(4) * BLOCKS; i++) {
		struct kvshm_handle fill = unit_begin(store, 100 + i);

		ck_assert_uint_ne(fill.block, left->ref.block);
		ck_assert_uint_ne(fill.block, left->fill.block);
		ck_assert_uint_ne(fill.block, left->owned.block);
		ck_rc(kvshm_publish(store, &fill, NULL), 0);
		ck_rc(kvshm_release(store, &fill), 0);
	}
}

static void nothing_is_left(const kvshm_store *store)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		enum kvs_state state = unit_state(store, i);

		ck_assert(state == KVS_FREE || state == KVS_LIMBO || state == KVS_READY);
	}
	ck_assert(!kvs_client_has_row(&store->map, READER));
}

START_TEST(E2_what_devices_may_reach_waits_for_the_end_of_the_process)
{
	kvshm_store *store = store_with_keys();
	struct kvshm_check_result result;
	struct child child;
	kvshm_view *view;

	begin(&child, lose_the_lock_and_stay);
	recovers(store, 0);
	ck_assert_uint_eq(mark(store), KVS_DMA_WAITS);
	stays_unreachable(store);
	recovers(store, 0);
	stays_unreachable(store);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_check(view, NULL, NULL, &result), 0);
	ck_assert(result.unsound == 0 && result.pending > 0 && result.leaked == 0);
	kvshm_view_close(view);
	unit_kill(&child);
	recovers(store, 1);
	nothing_is_left(store);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recoveries), 1);
	ck_assert_uint_eq(unit_counter(store, KVS_COUNT_recovered_fills), 1);
}
END_TEST

START_TEST(E2_a_process_that_has_ended_is_recovered_at_once)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	begin(&child, stay_alive);
	recovers(store, 0);
	ck_assert_uint_eq(mark(store), KVS_DMA_DOES);
	unit_kill(&child);
	recovers(store, 1);
	nothing_is_left(store);
}
END_TEST

START_TEST(D3_who_waits_for_a_fill_goes_on_at_once)
{
	kvshm_store *store = store_with_keys();
	struct kvshm_handle ref;
	struct child child;

	begin(&child, lose_the_lock_and_stay);
	ref = unit_pending(store, 4);
	ck_rc(kvshm_wait(store, &ref, unit_in_ms(UNIT_SOON)), -ECANCELED);
	unit_put(store, 4); /* into another block */
	ck_assert(unit_has(store, 4));
	ck_assert_int_eq(unit_state(store, left->fill.block), KVS_DOOMED);
	unit_kill(&child);
	recovers(store, 1);
	ck_assert(unit_has(store, 4));
}
END_TEST

static void write_a_plane(void *arg)
{
	kvshm_store *store = unit_attach();

	ck_rc(kvs_client_set_dma(&store->map, store->slot), 0);
	left->part = unit_part(store, arg, 1);
	lose_the_lock(store);
	unit_wait_for_death();
}

START_TEST(D3_a_writer_of_a_plane_dooms_the_fill_and_keeps_its_hold)
{
	kvshm_store *store = unit_planes(2);
	struct kvshm_ticket *ticket = unit_shared(sizeof(*ticket));
	struct kvshm_handle fill = unit_begin_shared(store, 1);
	struct child child;

	left = unit_shared(sizeof(*left));
	*ticket = unit_ticket(store, &fill);
	unit_child(&child, write_a_plane, ticket);
	unit_await(&child);
	ck_rc(kvshm_publish(store, &fill, NULL), 0);
	ck_rc(kvshm_wait(store, &fill, unit_in_ms(UNIT_SOON)), -ECANCELED);
	recovers(store, 0);
	ck_assert_int_eq(unit_state(store, left->part.block), KVS_DOOMED);
	unit_kill(&child);
	recovers(store, 1);
	ck_assert_int_eq(unit_state(store, left->part.block), KVS_LIMBO);
}
END_TEST

START_TEST(D1_requests_and_sections_do_not_wait)
{
	kvshm_store *store = store_with_keys();
	struct kvs_actor actor = unit_actor_of(store);
	struct kvshm_request request;
	struct child child;

	begin(&child, lose_the_lock_and_stay);
	ck_rc(kvshm_request_find(store, "r", 1, &request), 0);
	ck_rc(kvshm_request_wait(store, &request, unit_in_ms(UNIT_SOON)), -ECANCELED);
	ck_assert(kvs_epoch_advance(&actor) && kvs_epoch_advance(&actor));
	unit_kill(&child);
	recovers(store, 1);
}
END_TEST

/* ---- Has it ended? ---- */

static pthread_t leader;

static void *outlive_the_leader(void *arg)
{
	(void)pthread_join(leader, NULL);
	lose_the_lock(arg);
	unit_wait_for_death();
}

static void let_the_leader_exit(void *arg)
{
	pthread_t other;

	(void)arg;
	leader = pthread_self();
	ck_assert_int_eq(pthread_create(&other, NULL, outlive_the_leader, hold_all_kinds()), 0);
	pthread_exit(NULL);
}

START_TEST(E2_a_leader_that_exited_alone_is_not_the_end)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	begin(&child, let_the_leader_exit);
	recovers(store, 0);
	stays_unreachable(store);
	unit_kill(&child);
	recovers(store, 1);
	nothing_is_left(store);
}
END_TEST

START_TEST(E2_in_another_pid_namespace_nothing_is_known)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	begin(&child, stay_alive);
	atomic_fetch_xor(&store->map.clients[READER].home, 1);
	unit_kill(&child);
	recovers(store, 0);
	stays_unreachable(store);
	atomic_fetch_xor(&store->map.clients[READER].home, 1);
	recovers(store, 1);
	nothing_is_left(store);
}
END_TEST

START_TEST(D2_what_one_has_seen_another_goes_on_from)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	begin(&child, stay_alive);
	unit_kill(&child);
	/* One who saw it end died on the way; this one can't see. */
	atomic_store(&store->map.clients[READER].dma, KVS_DMA_ENDED);
	atomic_fetch_xor(&store->map.clients[READER].home, 1);
	recovers(store, 1);
	nothing_is_left(store);
}
END_TEST

START_TEST(a_later_process_of_the_same_number_is_another)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	begin(&child, lose_the_lock_and_stay);
	atomic_fetch_sub(&store->map.clients[READER].started, 1); /* the one that died began before the child did */
	recovers(store, 1);
	nothing_is_left(store);
	unit_kill(&child);
}
END_TEST

static void forbid_pidfds(void *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	kvshm_store *store = unit_attach();

	(void)arg;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		unit_skip("E2_who_could_not_be_seen_to_end_does_no_dma", "no seccomp filters here");
		return;
	}
	if (syscall(SYS_pidfd_open, getpid(), 0) >= 0) {
		unit_skip("E2_who_could_not_be_seen_to_end_does_no_dma", "seccomp filters do nothing here");
		return;
	}
	ck_rc(kvs_client_set_dma(&store->map, store->slot), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "seccomp"));
	ck_assert_uint_eq(atomic_load(&store->map.clients[store->slot].dma), KVS_DMA_NONE);
}

START_TEST(E2_who_could_not_be_seen_to_end_does_no_dma)
{
	kvshm_store *store = store_with_keys();
	struct child child;

	unit_child(&child, forbid_pidfds, NULL);
	unit_join(&child);
	recovers(store, 1);
}
END_TEST

START_TEST(a_process_is_told_from_others)
{
	kvshm_store *store = store_with_keys();
	struct kvs_process self, other;
	struct child child;

	ck_rc(kvs_process_self(&self), 0);
	ck_assert_int_eq(self.pid, getpid());
	ck_assert_int_eq(kvs_process_look(&self), KVS_PROCESS_GOES_ON);
	begin(&child, stay_alive);
	other = self;
	other.pid = child.pid;
	unit_kill(&child);
	ck_assert_int_eq(kvs_process_look(&other), KVS_PROCESS_ENDED);
	other = self;
	other.home++;
	ck_assert_int_eq(kvs_process_look(&other), KVS_PROCESS_UNKNOWN);
	other = self;
	other.started--;
	ck_assert_int_eq(kvs_process_look(&other), KVS_PROCESS_ENDED);
	recovers(store, 1);
}
END_TEST

/* ---- Slots ---- */

START_TEST(D4_attach_passes_over_a_slot_that_waits)
{
	struct kvshm_create_options options = unit_options(BLOCKS);
	kvshm_store *store, *more;
	struct child child;

	options.clients = 2;
	store = unit_make(&options);
	left = unit_shared(sizeof(*left));
	unit_put(store, 1);
	begin(&child, lose_the_lock_and_stay);
	ck_rc(kvshm_attach(unit_name(), NULL, &more), -EUSERS);
	ck_assert_ptr_nonnull(strstr(kvshm_error(), "1 of them"));
	unit_kill(&child);
	more = unit_attach();
	ck_assert_uint_eq(more->slot, READER);
}
END_TEST

static void attach_without_dma(void *arg)
{
	(void)arg;
	(void)unit_fill(unit_attach(), 7, 0);
	unit_wait_for_death();
}

START_TEST(D2_the_next_client_of_the_slot_does_no_dma)
{
	kvshm_store *store = store_with_keys(), *other = unit_attach();
	struct child child;

	ck_assert_uint_eq(other->slot, READER);
	ck_rc(kvs_client_set_dma(&other->map, other->slot), 0);
	ck_rc(kvs_client_set_dma(&other->map, other->slot), 0);
	unit_detach(other);
	atomic_fetch_xor(&store->map.clients[READER].home, 1); /* of another pid namespace */
	begin(&child, attach_without_dma);
	unit_kill(&child);
	recovers(store, 1);
	nothing_is_left(store);
}
END_TEST

START_TEST(D2_a_recoverer_that_stands_still_is_in_nobodys_way)
{
	kvshm_store *store = store_with_keys();
	int file = open(unit_path(-1), O_RDWR | O_CLOEXEC);
	struct child child;

	begin(&child, lose_the_lock_and_stay);
	ck_rc(kvs_lock_read(file, READER), 0);
	recovers(store, 0);
	ck_assert_uint_eq(mark(store), KVS_DMA_DOES); /* only who is alone can say that all is done */
	stays_unreachable(store);
	unit_kill(&child);
	recovers(store, 0);
	ck_assert_int_ne(unit_state(store, left->owned.block), KVS_OWNED); /* given back all the same */
	ck_assert_uint_eq(unit_entry(store, READER, left->fill.block) & KVS_ENTRY_COUNTS, 0);
	(void)close(file);
	recovers(store, 1);
}
END_TEST

static int find_waiting(const struct kvshm_client_info *client, void *arg)
{
	*(int *)arg += client->waiting && client->dma && !client->alive && client->slot == READER;
	return 0;
}

START_TEST(a_view_tells_who_waits)
{
	kvshm_store *store = store_with_keys();
	struct child child;
	kvshm_view *view;
	int found = 0;

	begin(&child, lose_the_lock_and_stay);
	ck_rc(kvshm_view_open(unit_name(), NULL, &view), 0);
	ck_rc(kvshm_view_clients(view, find_waiting, &found), 0);
	ck_assert_int_eq(found, 0);
	recovers(store, 0);
	ck_rc(kvshm_view_clients(view, find_waiting, &found), 0);
	ck_assert_int_eq(found, 1);
	kvshm_view_close(view);
	unit_kill(&child);
	recovers(store, 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		E2_what_devices_may_reach_waits_for_the_end_of_the_process,
		E2_a_process_that_has_ended_is_recovered_at_once,
		E2_a_leader_that_exited_alone_is_not_the_end,
		E2_in_another_pid_namespace_nothing_is_known,
		D1_requests_and_sections_do_not_wait,
		D2_what_one_has_seen_another_goes_on_from,
		D2_the_next_client_of_the_slot_does_no_dma,
		D2_a_recoverer_that_stands_still_is_in_nobodys_way,
		D3_who_waits_for_a_fill_goes_on_at_once,
		D3_a_writer_of_a_plane_dooms_the_fill_and_keeps_its_hold,
		D4_attach_passes_over_a_slot_that_waits,
		a_later_process_of_the_same_number_is_another,
		E2_who_could_not_be_seen_to_end_does_no_dma,
		a_process_is_told_from_others,
		a_view_tells_who_waits,
	};

	return unit_run("dma", tests, sizeof(tests) / sizeof(tests[0]));
}
