/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kept.h: descriptors of this process that a child of fork() must not keep. What they stand for lives as long as anyone
 * has them open: locks that say that this process lives, queue pairs that the network card serves, and connections.
 *
 * Guarantees: a descriptor that is opened and named between kvs_kept_begin() and kvs_kept_end() is closed in every
 * child of fork(), however threads interleave. (Not in those of vfork(), posix_spawn() and a raw clone(), which do not
 * run handlers: all of these descriptors are close-on-exec.)
 */
#ifndef KVS_KEPT_H
#define KVS_KEPT_H

/* Between these two no thread of this process forks. They do not nest. -ENOMEM, -EMFILE: then kvs_kept_end() is not to
 * be called. count: how many may be added between them. */
int kvs_kept_begin(unsigned count);
void kvs_kept_add(int fd);
/* Closes it, too. */
void kvs_kept_close(int fd);
/* It is not closed: somebody else does that, behind this. */
void kvs_kept_forget(int fd);
void kvs_kept_end(void);

#endif
