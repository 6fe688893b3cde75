/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * internal.h: what the files of lib/ share: the attached store, and how every call begins.
 */
#ifndef KVSHM_INTERNAL_H
#define KVSHM_INTERNAL_H

#include "kvshm.h"

#include <errno.h>

#include "fault.h"
#include "map.h"

struct kvg_attached;
struct kvg_planes;
struct kvg_share;
struct kvl_pins;
struct kvl_request;

#define KVL_ALIVE UINT64_C(0x6576696c61)

/* What a store's descriptor for event loops is made of (poll.c): -1, where there is none (yet). */
struct kvl_poll {
	pthread_mutex_t making;
	_Atomic int fd;		/* an epoll instance, of: */
	int watch, timer;	/* an inotify instance, and a timerfd */
	_Atomic int set;	/* the timer is, or has gone off, since it was last cleared */
	_Atomic uint64_t swept; /* when dead clients were last looked for */
};

/* A call says "not yet": the descriptor is readable in 10 ms at the latest, whatever happens. In poll.c. */
void kvl_poll_later(struct kvshm_store *store);
void kvl_poll_init(struct kvshm_store *store);
void kvl_poll_close(struct kvshm_store *store);

/* What calls on streams need when a stream gets there (stream.c). */
struct kvl_stream {
	pthread_mutex_t lock;	     /* of all below, and while such a call works: a leaf, but for requests' */
	struct kvs_reader *reader;   /* NULL: none was needed yet */
	struct kvs_log_lines *lines; /* for the log, to be told by another thread */
};

void kvl_stream_init(struct kvshm_store *store);

/* At detach, when nothing is on a stream any more. */
void kvl_stream_close(struct kvshm_store *store);

/* Both structures live in memory that fork() wipes in the child (MADV_WIPEONFORK): there, alive is 0. */
struct kvshm_store {
	uint64_t alive;
	uint64_t attachment;   /* differs for every attachment of this process */
	_Atomic uint64_t *row; /* this client's */
	uint32_t slot;
	struct kvshm_store *next;		 /* of this process's attachments */
	_Atomic(struct kvl_request *) *requests; /* this client's, by their slots: see request.h */
	struct kvl_poll poll;
	struct kvl_stream stream;
	struct kvg_attached *gpu;
	struct kvs_map map;
};

/* Pins that the log was told of: see owner_pins.c. */
struct kvl_overdue {
	pthread_mutex_t lock;
	struct kvl_pins *told; /* sorted */
	size_t count;
};

struct kvshm_owner {
	uint64_t alive;
	struct kvs_map map;
	struct kvg_planes *planes; /* in GPU memory; else NULL. And who hands them out, if anyone does */
	struct kvg_share *share;
	_Atomic uint64_t next_look; /* when to look for the store's names again; UINT64_MAX once they are gone */
	struct kvl_overdue overdue;
	char name[KVSHM_NAME_MAX + 1];
	char dir[];
};

/* May a call with this owner go on? In owner.c. */
int kvl_check_owner(const kvshm_owner *owner);

/* Memory of that kind. */
int kvl_memory_take(size_t size, void **memory);
void kvl_memory_give_back(void *memory, size_t size);

/* A thread's reader slot of a store, in the thread's list of them. */
struct kvl_thread {
	struct kvl_thread *next;
	struct kvs_reader *reader;
	uint64_t attachment;
};
extern _Thread_local struct kvl_thread *kvl_thread;

/* This thread's reader slot of a store that is not the first in its list, or taken anew. -EUSERS. */
int kvl_thread_find(struct kvshm_store *store, struct kvs_reader **reader);

/* From here on, until it is taken off the list, threads that end give the store's reader slots back. */
void kvl_thread_add_store(struct kvshm_store *store);
void kvl_thread_remove_store(struct kvshm_store *store);

/* What a call with a store that is not simply open begins with, out of line: its error, or 0. */
int kvl_look_closer(const struct kvshm_store *store);

/* May a call with this store go on? Relaxed: nothing else is read because of the state. */
static inline int kvl_check(const struct kvshm_store *store)
{
	if (__builtin_expect(!store || store->alive != KVL_ALIVE, 0) ||
	    __builtin_expect(atomic_load_explicit(&store->map.head->state, memory_order_relaxed) != KVS_STORE_OPEN, 0))
		return kvl_look_closer(store);
	return 0;
}

/* This thread's reader slot of a store. */
static inline int kvl_reader(struct kvshm_store *store, struct kvs_reader **reader)
{
	struct kvl_thread *thread = kvl_thread;

	if (__builtin_expect(!thread || thread->attachment != store->attachment, 0))
		return kvl_thread_find(store, reader);
	*reader = thread->reader;
	return 0;
}

/* A call without a place for its result. */
static inline int kvl_no_place(void)
{
	return kvs_routine(EINVAL, "no place for the result was given (NULL)");
}

/* A plane that the store does not have. */
static inline int kvl_no_plane(const struct kvshm_store *store, unsigned plane)
{
	return kvs_fault(EINVAL, "plane %u: this store has %u", plane, store->map.g.planes);
}

/* A look at a store without a view, a function to tell, or a place for its result. */
static inline int kvl_no_view(void)
{
	return kvs_routine(EINVAL, "no view, no function or no place for the result was given (NULL)");
}

/* How every call with a store begins. Inline: lookups are made of little else. */
static inline int kvl_begin(struct kvshm_store *store, struct kvs_actor *actor)
{
	struct kvs_reader *reader;
	int rc = kvl_check(store);

	if (rc == 0)
		rc = kvl_reader(store, &reader);
	if (rc)
		return rc;
	*actor = (struct kvs_actor){.map = &store->map, .reader = reader, .row = store->row, .self = store->slot};
	return 0;
}

/* Where a plane is mapped; one of GPU memory is mapped first, if it is not. In planes.c. */
int kvl_plane(struct kvshm_store *store, unsigned plane, char **base);

/* Every call with a handle: the block that it names, if this client holds it in that life; else -EBADF. */
int kvl_held(const struct kvs_actor *actor, const struct kvshm_handle *handle, struct kvs_block **block);

static const struct kvshm_handle kvl_no_hold = {.kind = KVSHM_NONE};

static inline struct kvshm_handle kvl_handle(uint32_t block, uint64_t life, enum kvshm_kind kind)
{
	return (struct kvshm_handle){.life = life, .block = block, .kind = (uint8_t)kind};
}

/* Gives a block without a key back, and ends its handle: -EBADF if it is none of this client's. In owned.c. */
int kvl_give_back(const struct kvs_actor *actor, struct kvshm_handle *handle);

/* The filler's end of a fill, and of one that is given up, which end its handle; and waiting's looks. In fill.c. */
int kvl_publish_fill(const struct kvs_actor *actor, struct kvshm_handle *handle, const struct kvshm_meta *meta);
int kvl_give_up_fill(const struct kvs_actor *actor, struct kvshm_handle *handle);

/* Is the handle that of a part which has not ended yet? */
bool kvl_is_part(const struct kvs_actor *actor, const struct kvshm_handle *handle);

/* Publish and give up, of whatever handle, that this client holds (kvl_held()); and how those begin that are put off:
 * is it one that may be? A fill that was canceled meanwhile counts as one. In fill.c. */
int kvl_publish(const struct kvs_actor *actor, struct kvshm_store *store, struct kvshm_handle *handle,
		const struct kvshm_meta *meta);
int kvl_give_up(const struct kvs_actor *actor, struct kvshm_store *store, struct kvshm_handle *handle);
int kvl_check_publish(const struct kvs_actor *actor, const struct kvshm_handle *handle, const struct kvshm_meta *meta);
int kvl_check_give_up(const struct kvs_actor *actor, const struct kvshm_handle *handle);

/* Is a held block this client's to write: a fill, a part (of its plane), a block without a key? In fill.c. */
bool kvl_is_written(const struct kvs_actor *actor, const struct kvshm_handle *handle);

/* Why a hold can't be released. In holds.c. */
int kvl_refuse_release(const struct kvshm_handle *handle, enum kvshm_kind kind);

/* What a held block's word says to one who waits for it: 0, -ECANCELED, or -EAGAIN: not yet. */
int kvl_judge_wait(const struct kvs_actor *actor, uint32_t block, uint64_t word);

/* What is said of a block: is it sound, and writes it. In fill.c. */
int kvl_check_meta(const struct kvs_map *map, const struct kvshm_meta *meta);
void kvl_describe(const struct kvs_map *map, uint32_t block, const struct kvshm_meta *meta);

#endif
