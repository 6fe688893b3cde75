/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * share.h: the planes' descriptors on their way between processes, over Unix sockets that have names beside the segment
 * (files.h): so across pid, net and user namespaces, wherever the segment itself can be reached; who may connect is who
 * may open the segment.
 *
 *   owner    listens at kvshmd.NAME, and sends them to whoever connects, at once, and closes. It never reads.
 *   client   connects at attach, reads one message, and keeps them: they keep the memory, also when the owner is dead.
 *   adopter  an owner's death leaves the memory with the clients. Who becomes the owner (under its lock) listens at
 *            kvshmd-asks.NAME, adds one to the head's `asks`, and sets KVS_STORE_ASKS in its state, which every call
 *            reads: whoever makes a call next sends them there. Then the bit is cleared again.
 *
 * Guarantees: nobody waits for a client, but an adopter, until its deadline; a client waits for an owner until its
 * deadline only; whoever dies on the way leaves at most a name, and that bit, which the next owner takes away. A
 * message names the store's incarnation, so that one of another store is refused.
 */
#ifndef KVG_SHARE_H
#define KVG_SHARE_H

#include "files.h"
#include "map.h"

struct kvg_share;

/* Owner, with its lock held: listens, under a name that is its own from now on. The descriptors stay the caller's and
 * outlive it. */
int kvg_share_open(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		   const int *fds, struct kvg_share **share);
int kvg_share_fd(const struct kvg_share *share); /* readable: somebody waits */
void kvg_share_work(struct kvg_share *share);	 /* gives to all who wait; never blocks */
void kvg_share_close(struct kvg_share *share);	 /* and takes its name away, if it still leads to it; NULL is none */

/* Client, at attach: one descriptor for each plane, which are the caller's, and in kvs_kept from the moment that they
 * arrive: kvs_kept_close() ends them. None is below 3. Waits up to 5 s for the owner.
 *   -EOWNERDEAD  it is dead     -ETIMEDOUT  it does not answer     -ESTALE  that is another store's by now
 *   -EMFILE */
int kvg_share_fetch(const char *dir, const char *name, const struct kvs_map *map, int fds[KVS_PLANES_MAX]);

/* Adopter, with the owner's lock held: asks the clients for them, up to 10 s. They are in kvs_kept, too.
 *   -ESTALE  no client has them any more      -ETIMEDOUT  clients live, but none made a call */
int kvg_share_ask(const char *dir, const char *name, const struct kvs_map *map, const struct kvs_files_access *access,
		  int fds[KVS_PLANES_MAX]);

/* Client, in a call that has seen KVS_STORE_ASKS: sends them to who asks, if it has not done so for this asking
 * (*answered is what `asks` was at the last answer). Never blocks, never fails: who can't is not the only one. */
void kvg_share_answer(const char *dir, const char *name, const struct kvs_map *map, const int *fds,
		      _Atomic uint32_t *answered);

#endif
