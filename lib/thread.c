/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * thread.c: each thread's reader slots, and how a call begins. Guarantees: a thread that ends gives its slots back; one
 * that uses a single store finds its slot by one comparison.
 *
 * In a child of fork() the list of attachments ends at its first entry, which is wiped: so a thread that ends there
 * touches no mapping that it does not have.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "attached.h"
#include "hold.h"
#include "internal.h"

_Thread_local struct kvl_thread *kvl_thread;

static struct kvshm_store *stores; /* those of this process */
static pthread_mutex_t stores_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;
static int once_error;

static struct kvshm_store *attached(uint64_t attachment)
{
	for (struct kvshm_store *store = stores; store && store->alive == KVL_ALIVE; store = store->next)
		if (store->attachment == attachment)
			return store;
	return NULL;
}

/* Drops the entries of stores that are detached; of all stores if the thread ends. */
static void prune(bool all)
{
	struct kvl_thread **at = &kvl_thread;

	(void)pthread_mutex_lock(&stores_lock);
	while (*at) {
		struct kvl_thread *entry = *at;
		struct kvshm_store *store = attached(entry->attachment);

		if (store && !all) {
			at = &entry->next;
			continue;
		}
		if (store && kvs_map_whole(&store->map) == 0) /* a truncated one is not touched */
			kvs_reader_give_back(entry->reader);
		*at = entry->next;
		free(entry);
	}
	(void)pthread_mutex_unlock(&stores_lock);
}

static void thread_ends(void *unused)
{
	(void)unused;
	prune(true);
}

static void before_fork(void)
{
	(void)pthread_mutex_lock(&stores_lock);
}

static void after_fork(void)
{
	(void)pthread_mutex_unlock(&stores_lock);
}

static void set_up(void)
{
	once_error = pthread_key_create(&at_exit, thread_ends);
	if (once_error == 0)
		once_error = pthread_atfork(before_fork, after_fork, after_fork);
}

static int new_reader(struct kvshm_store *store, struct kvs_reader **reader)
{
	struct kvl_thread *entry;
	int rc;

	(void)pthread_once(&once, set_up);
	if (once_error)
		return kvs_fault(once_error, "cannot watch for the end of threads: %s", strerror(once_error));
	prune(false);
	entry = malloc(sizeof(*entry));
	if (!entry)
		return kvs_fault(ENOMEM, "no memory");
	rc = pthread_setspecific(at_exit, entry); /* any value but NULL */
	if (rc)
		rc = kvs_fault(rc, "cannot watch for the end of this thread: %s", strerror(rc));
	else
		rc = kvs_reader_take(&store->map, store->slot + 1, &entry->reader);
	if (rc) {
		free(entry);
		return rc;
	}
	entry->attachment = store->attachment;
	entry->next = kvl_thread;
	kvl_thread = entry;
	*reader = entry->reader;
	return 0;
}

int kvl_thread_find(struct kvshm_store *store, struct kvs_reader **reader)
{
	for (struct kvl_thread *entry = kvl_thread; entry; entry = entry->next)
		if (entry->attachment == store->attachment) {
			*reader = entry->reader;
			return 0;
		}
	return new_reader(store, reader);
}

void kvl_thread_add_store(struct kvshm_store *store)
{
	static uint64_t attachments;

	(void)pthread_mutex_lock(&stores_lock);
	store->attachment = ++attachments;
	store->next = stores;
	stores = store;
	(void)pthread_mutex_unlock(&stores_lock);
}

void kvl_thread_remove_store(struct kvshm_store *store)
{
	(void)pthread_mutex_lock(&stores_lock);
	for (struct kvshm_store **at = &stores; *at; at = &(*at)->next)
		if (*at == store) {
			*at = store->next;
			break;
		}
	(void)pthread_mutex_unlock(&stores_lock);
}

int kvl_memory_take(size_t size, void **memory)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return kvs_fault(ENOMEM, "no memory");
	if (madvise(at, size, MADV_WIPEONFORK)) {
		int error = errno;

		(void)munmap(at, size);
		return kvs_fault(error, "this kernel has no MADV_WIPEONFORK: Linux 4.14 is needed");
	}
	*memory = at;
	return 0;
}

void kvl_memory_give_back(void *memory, size_t size)
{
	(void)munmap(memory, size);
}

/* Relaxed, as in kvl_check(): who looks because of a bit of the state's orders that by itself (gpu/share_ask.c). */
int kvl_look_closer(const struct kvshm_store *store)
{
	uint32_t state;

	if (!store)
		return kvs_routine(EINVAL, "no store was given (NULL)");
	if (store->alive != KVL_ALIVE)
		return kvs_routine(ECHILD, "the store was attached before fork(): the child must attach it for itself");
	state = atomic_load_explicit(&store->map.head->state, memory_order_relaxed);
	if (!kvs_store_is_open(state))
		return kvs_routine(ESTALE, "the store was destroyed or replaced: detach, and attach the new one");
	return kvg_attached_look(store->gpu, state);
}

int kvl_held(const struct kvs_actor *actor, const struct kvshm_handle *handle, struct kvs_block **block)
{
	if (!handle)
		return kvs_routine(EINVAL, "no handle was given (NULL)");
	*block = kvs_resolve(actor->map, handle->block);
	if (handle->kind == KVSHM_NONE || handle->kind > KVSHM_LENT || !*block ||
	    !kvs_hold_counts(actor, handle->block, handle->life))
		return kvs_routine(EBADF,
				   "this client does not hold that block in that life: the handle was released, its "
				   "request has ended, or it was never given out");
	return 0;
}
