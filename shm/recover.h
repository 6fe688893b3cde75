/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * recover.h: giving back what a dead client held.
 *
 * Guarantees: D1 to D3. It may run in several processes at once, be stopped or die at any instruction, and run again:
 * the result is the same. No later client of the slot is touched: a recoverer keeps a read lock on the dead one's
 * byte from before its first look until after its last write, and no client moves in while there is one.
 *
 * A client that does DMA is recovered in two steps (E2). Once its lock has fallen all goes that its devices can't
 * reach: its fills are doomed, so that nobody waits for them; its places in the line end; its requests are aborted; its
 * reader slots are cleared. Its row, its blocks without a key and its slot stay until its process has ended: till then
 * a device may write or read its blocks, so they are nobody else's. Nobody waits for that: who passes later goes on,
 * and where the process can't be seen (another pid namespace), one who sees it does.
 */
#ifndef KVS_RECOVER_H
#define KVS_RECOVER_H

#include "map.h"

/* Recovers every dead client that it finds; returns how many of them it finished, or a negative errno. Outside of a
 * section. If another thread of this process is at it, it returns 0 at once. */
int kvs_recover_dead(struct kvs_map *map);

/* Recovers one client if it is dead: 1 if this call finished it; 0 if it lives, or another has it, or its DMA may go
 * on; or -errno. */
int kvs_recover_slot(struct kvs_map *map, uint32_t slot);

/* Lets go of everything that the actor's client holds: the last thing but one that a client does. */
void kvs_recover_self(const struct kvs_actor *actor);

#endif
