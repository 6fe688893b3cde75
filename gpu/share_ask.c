/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share_ask.c: how a new owner gets the planes' descriptors back from clients, and how these answer. See share.h.
 *
 * The order, on the one side: listen; one more in `asks`; the bit. On the other: the bit; `asks`; connect. So who sees
 * the bit that this asking has set sees its number, and who sees its number finds somebody who listens. A client that
 * is through with a number (it has sent what it has, or found nobody there) leaves that alone: nobody will ask by it
 * again, since the next one takes another. So an adopter that dies, and leaves its bit behind, costs each client one
 * attempt, and not one for each call; and one that comes after it, also while a client is between its look and its
 * connection, has a number that no client is through with. A client that connects by an old number, to the new one's
 * socket, has answered that, and will once more. (tests/model/asks.pml)
 */
#include "config.h"

#include "share.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "fault.h"
#include "kept.h"
#include "lock.h"
#include "share_parts.h"
#include "wait.h"

#define ASK_TIME UINT64_C(10000000000)
#define LOOK_MS 50     /* from one look whether clients live to the next */
#define CALLERS_MAX 16 /* who has connected and sent nothing yet: of more, the oldest is sent away */

/* ---- The new owner ---------------------------------------------------------------------------------------- */

struct asking {
	const struct kvs_map *map;
	struct kvg_listener listener;
	int callers[CALLERS_MAX]; /* the oldest first */
	unsigned count;
};

static void drop(struct asking *asking, unsigned i)
{
	kvs_kept_close(asking->callers[i]);
	asking->count--;
	memmove(&asking->callers[i], &asking->callers[i + 1], (asking->count - i) * sizeof(asking->callers[0]));
}

/* Lets in who waits; not without end, if there is one who comes again and again. */
static int let_in(struct asking *asking)
{
	int fd, rc = 0;

	for (int i = 0; i < CALLERS_MAX && (rc = kvg_accept(&asking->listener, &fd)) == 0; i++) {
		if (asking->count == CALLERS_MAX)
			drop(asking, 0);
		asking->callers[asking->count++] = fd;
	}
	return rc == 0 || rc == -EAGAIN
		       ? 0
		       : kvs_fault(-rc, "a client of the store can't be let in to bring its planes: %s%s",
				   strerror(-rc), rc == -EMFILE ? " (ulimit -n)" : "");
}

/* Looks what they bring. 0: the descriptors; -EAGAIN: nothing yet. Who brings something else is sent away. */
static int look(struct asking *asking, int fds[KVS_PLANES_MAX])
{
	int rc = let_in(asking);

	if (rc)
		return rc;
	for (unsigned i = 0; i < asking->count;) {
		rc = kvg_receive(asking->callers[i], asking->map, fds);
		if (rc == 0 || rc == -EMFILE || rc == -ENOMEM)
			return rc;
		if (rc == -EAGAIN)
			i++;
		else
			drop(asking, i);
	}
	return -EAGAIN;
}

static void await(const struct asking *asking, uint64_t until)
{
	struct pollfd ready[CALLERS_MAX + 1] = {{.fd = asking->listener.fd, .events = POLLIN}};
	uint64_t now = kvs_now(), left = now < until ? (until - now) / 1000000 + 1 : 0;

	for (unsigned i = 0; i < asking->count; i++)
		ready[i + 1] = (struct pollfd){.fd = asking->callers[i], .events = POLLIN};
	(void)poll(ready, asking->count + 1, left < LOOK_MS ? (int)left : LOOK_MS);
}

static int await_answer(struct asking *asking, int fds[KVS_PLANES_MAX], uint64_t until)
{
	for (;;) {
		/* First: what one who is dead now has sent before is still found. */
		int living = kvs_lock_any_client(asking->map->probe);
		int rc = look(asking, fds);

		if (rc != -EAGAIN)
			return rc;
		if (living < 0)
			return living;
		if (!living)
			return kvs_fault(
				ESTALE, "the GPU memory of the store has gone with its owner and its last client: make "
					"a new store (kvshmd --replace-dead)");
		if (kvs_now() >= until)
			return kvs_fault(ETIMEDOUT,
					 "the owner that is dead has left the planes' memory to the clients, and none "
					 "of those that are attached has brought it: they do so in their next "
					 "call, so let one make a call (any), and adopt the store again");
		await(asking, until);
	}
}

/* Sequentially consistent, by which the number comes before the bit. One whose adopter has died goes first. */
static void set_bit(const struct kvs_map *map)
{
	(void)atomic_fetch_and(&map->head->state, ~KVS_STORE_ASKS);
	(void)atomic_fetch_add(&map->head->asks, 1);
	(void)atomic_fetch_or(&map->head->state, KVS_STORE_ASKS);
}

int kvg_share_ask_for(const char *dir, const char *name, const struct kvs_map *map,
		      const struct kvs_files_access *access, int fds[KVS_PLANES_MAX], uint64_t time)
{
	struct asking asking = {.map = map};
	uint64_t until = kvs_now() + time;
	int rc = kvg_listen(&asking.listener, dir, name, KVS_SOCKET_ASKS, map, access);

	if (rc)
		return rc;
	set_bit(map);
	rc = await_answer(&asking, fds, until);
	(void)atomic_fetch_and(&map->head->state, ~KVS_STORE_ASKS);
	while (asking.count)
		drop(&asking, 0);
	kvg_listen_end(&asking.listener);
	return rc;
}

int kvg_share_ask(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		  int fds[KVS_PLANES_MAX])
{
	return kvg_share_ask_for(dir, name, map, access, fds, ASK_TIME);
}

/* ---- A client --------------------------------------------------------------------------------------------- */

/* Is the number done with? Nobody who listens: that one has gone. Whatever else went wrong may be better next time. */
static bool answer(const char *dir, const char *name, const struct kvs_map *map, const int *fds)
{
	struct kvg_place place;
	int rc, fd;

	if (kvg_place_open(&place, dir, name, KVS_SOCKET_ASKS))
		return false;
	rc = kvg_connect(&place, map, &fd);
	if (rc == 0) {
		rc = kvg_send(fd, map, fds);
		kvs_kept_close(fd);
	} else if (rc == -ENOENT || rc == -ECONNREFUSED) {
		rc = 0;
	}
	kvg_place_close(&place);
	return rc == 0;
}

/* *answered is relaxed: two threads that answer at once do no harm, and one that is late has its number answered once
 * more. */
void kvg_share_answer(const char *dir, const char *name, const struct kvs_map *map, const int *fds,
		      _Atomic uint32_t *answered)
{
	uint32_t asks;

	/* The bit was read relaxed, before: as if that had been an acquire. */
	atomic_thread_fence(memory_order_acquire);
	asks = atomic_load(&map->head->asks);
	if (asks != atomic_load_explicit(answered, memory_order_relaxed) && answer(dir, name, map, fds))
		atomic_store_explicit(answered, asks, memory_order_relaxed);
}
