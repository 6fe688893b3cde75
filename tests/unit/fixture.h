/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fixture.h: what the unit tests share: a small store with clients in this process, keys that are numbers, children
 * that attach and wait to be killed, and the end of every test: all clients detach, the store must be sound, and goes.
 *
 * Each test runs in a process of its own (libcheck forks), so there is one store at a time. Processes are synchronised
 * by pipes, never by time.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "internal.h"

#define UNIT_KEY 32 /* bytes of a numbered key */

/* Is the call's result the one that is wanted? If not, the library's text says more. */
#define ck_rc(call, wanted) unit_expect((call), (wanted), #call, __LINE__)
void unit_expect(int rc, int wanted, const char *call, int line);

/* Runs the tests of one program; its exit status. */
int unit_run(const char *name, const TTest *const tests[], size_t count);

/* Tests that are run for each of several cases, whose number is _i: ended by one without a test. */
struct unit_loop {
	const TTest *test;
	int cases;
};
int unit_run_loops(const char *name, const TTest *const tests[], size_t count, const struct unit_loop *loops);

/* A test that can't run here says so to tests/driver, and returns. */
void unit_skip(const char *test, const char *reason);

/* ---- The store ---- */

extern kvshm_owner *unit_owner;

/* This test's name for its store; it begins with $KVSHM_TEST_PREFIX. */
const char *unit_name(void);
/* The path of its segment (plane < 0), or of a plane. Valid until the next call. */
const char *unit_path(int plane);

/* Small blocks, eight clients, membarrier; tests change what they need. */
struct kvshm_create_options unit_options(uint32_t blocks);
/* Makes the store, and attaches a client. */
kvshm_store *unit_make(const struct kvshm_create_options *options);
/* A keep store of that many blocks. */
kvshm_store *unit_store(uint32_t blocks);
/* One of eight small blocks in so many planes. */
kvshm_store *unit_planes(uint32_t planes);
/* One more client in this process. */
kvshm_store *unit_attach(void);
void unit_detach(kvshm_store *store);
/* The test wrote nonsense into the segment: it is not looked at in the end. */
void unit_damaged(void);
/* What kvshm_view_check() says now must be: sound, nothing pending, nothing leaked. */
void unit_sound(void);

/* ---- Keys that are numbers, bytes that follow from them ---- */

void unit_key(uint64_t number, uint8_t key[UNIT_KEY]);
int unit_get(kvshm_store *store, uint64_t number, struct kvshm_handle *ref);
int unit_ask(kvshm_store *store, uint64_t number, enum kvshm_outcome *outcome, struct kvshm_handle *handle);
int unit_remove(kvshm_store *store, uint64_t number);
/* Asks for a key that must be ours to fill. */
struct kvshm_handle unit_begin(kvshm_store *store, uint64_t number);
/* The same of a shared fill. */
struct kvshm_handle unit_begin_shared(kvshm_store *store, uint64_t number);
/* Asks for a key that another is filling. */
struct kvshm_handle unit_pending(kvshm_store *store, uint64_t number);
/* Fills a key of its own: writes all planes, publishes; the ref. */
struct kvshm_handle unit_fill(kvshm_store *store, uint64_t number, uint32_t depth);
/* The same, and lets go of it. */
void unit_put(kvshm_store *store, uint64_t number);
/* Is the key there? Leaves nothing held. */
bool unit_has(kvshm_store *store, uint64_t number);
/* Takes a block without a key, and writes a key's bytes into it. */
struct kvshm_handle unit_own(kvshm_store *store, uint64_t number);
int unit_publish_as(kvshm_store *store, struct kvshm_handle *owned, uint64_t number, enum kvshm_published *published);
/* The bytes of a key in a plane. */
void unit_bytes(uint64_t number, unsigned plane, uint8_t *bytes, size_t size);
/* Writes the bytes of a held block, of all planes or one, and checks them. */
void unit_write(kvshm_store *store, const struct kvshm_handle *held, uint64_t number);
void unit_write_plane(kvshm_store *store, const struct kvshm_handle *held, uint64_t number, unsigned plane);
void unit_verify(kvshm_store *store, const struct kvshm_handle *held, uint64_t number);

/* ---- Tickets and parts ---- */

struct kvshm_ticket unit_ticket(kvshm_store *store, const struct kvshm_handle *held);
/* Takes a ref by ticket, of a block that is ready. */
struct kvshm_handle unit_hold(kvshm_store *store, const struct kvshm_ticket *ticket);
/* Takes a part of a shared fill. */
struct kvshm_handle unit_part(kvshm_store *store, const struct kvshm_ticket *ticket, unsigned plane);
/* Writes a part, and says that it is whole. */
void unit_end_part(kvshm_store *store, struct kvshm_handle *part, uint64_t number);

/* ---- What the segment says ---- */

enum kvs_state unit_state(const kvshm_store *store, uint32_t block);
/* Refs and pins of all clients on a block in a life. */
unsigned unit_refs(const kvshm_store *store, const struct kvshm_handle *handle);
unsigned unit_pins(const kvshm_store *store, const struct kvshm_handle *handle);
/* How many blocks are in a state. */
unsigned unit_count(const kvshm_store *store, enum kvs_state state);
/* A client's entry for a block. */
uint64_t unit_entry(const kvshm_store *store, uint32_t slot, uint32_t block);
uint64_t unit_counter(const kvshm_store *store, enum kvs_counter counter);
/* How many times a histogram has, and their sum in ns. */
uint64_t unit_times(const kvshm_store *store, enum kvs_histogram histogram);
uint64_t unit_time(const kvshm_store *store, enum kvs_histogram histogram);
/* A time so many milliseconds from now, for deadlines. */
uint64_t unit_in_ms(uint64_t ms);
/* What must happen soon has this long, in ms: it takes a busy machine that lets a test stand still into account. */
#define UNIT_SOON UINT64_C(10000)

/* Makes each call that a client can make with a store of one key (1, which held is a hold of) and little more, and
 * expects that each says the same: for what refuses all of them. Batches are of one item. */
void unit_all_calls(kvshm_store *store, const struct kvshm_handle *held, int wanted);

/* ---- Other processes ---- */

struct child {
	pid_t pid;
	int in, out;
};

/* Starts a process that runs fn(arg), and ends with it. It has no store until it attaches. */
void unit_child(struct child *child, void (*fn)(void *arg), void *arg);
/* In the parent: waits until the child tells, or tells it. */
void unit_await(const struct child *child);
void unit_tell(const struct child *child);
/* In the child: likewise. One whose parent is gone ends. */
void unit_await_parent(void);
void unit_tell_parent(void);
/* In the child: tells the parent, and waits to be killed. */
void unit_wait_for_death(void) __attribute__((noreturn));
void unit_kill(const struct child *child);
/* Stops a child; returns when it stands still. */
void unit_stop(const struct child *child);
/* Waits for the child's end, which must be a good one. */
void unit_join(const struct child *child);

/* Does fork() do to memory what MADV_WIPEONFORK asks for? A kernel that takes it does; qemu-user takes it and does not.
 * If not, the test is skipped. */
bool unit_fork_wipes(const char *test);

/* Memory that children share with their parent, and a barrier in it. */
void *unit_shared(size_t size);
pthread_barrier_t *unit_shared_barrier(unsigned count);

/* A segment in private memory, in fence mode, for what needs neither a store's name nor planes. One at a time; it goes
 * in the end. */
struct kvs_map *unit_memory(uint32_t blocks);
/* A client of it, or one more thread of a client, with a reader slot. */
struct kvs_actor unit_actor(struct kvs_map *map, uint32_t slot);
/* An attached store's client, as this thread. */
struct kvs_actor unit_actor_of(kvshm_store *store);

#endif
