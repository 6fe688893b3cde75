/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * hand.h: another node that a test drives by hand, over TCP on this machine: it greets whoever connects, and from then
 * on a thread only keeps what comes; the test takes it, message by message, and says what it likes. So what the sender
 * does with any answer can be tried, also with those that no receiver gives.
 */
#ifndef HAND_H
#define HAND_H

#include "fixture.h"

#include "message.h"

#define HAND_BLOCK UINT64_C(4096)
#define HAND_BLOCKS 64U
#define HAND_PLANES 2U

/* Begins to listen, as a store of HAND_BLOCKS blocks; and this process's connection to it. */
void hand_listen(void);
kvshm_peer *hand_connect(kvshm_store *store);
void hand_end(void);

/* The next message of the sender's, which must be of that type; PINGs are answered and passed over. Meanwhile the
 * peer's calls go on. Valid until the next call. */
struct kvr_message *hand_take(enum kvr_type type);
/* Nothing has come that was not taken. */
void hand_silent(void);
/* Sends a message. */
void hand_say(const struct kvr_out *out);
/* The peer sees that its connection is ended, and says BYE with this reason. */
void hand_gone(int reason);
/* Closes the connection without a word. */
void hand_cut(void);
/* Nothing is read any more, until it goes on. */
void hand_hold(void);
void hand_go_on(void);

/* Memory that the sender may write into: blocks of all planes. */
struct kvr_grant_plane hand_plane(uint32_t block, uint32_t plane);
const uint8_t *hand_bytes(uint32_t block, uint32_t plane);
/* Writes that the sender's link was given since the last call (the linker puts it in front of kvr_peer_write). */
unsigned hand_writes(void);

/* ---- What receivers say ---- */

void hand_opened(uint32_t transfer, int result, const char *text);
struct kvr_grant hand_write_it(uint32_t position, uint32_t block); /* all planes */
struct kvr_grant hand_answer(uint32_t position, enum kvr_grant_kind kind, int result);
void hand_grant(uint32_t transfer, const struct kvr_grant *grants, size_t count);
void hand_close(enum kvr_type type, uint32_t transfer, int result); /* DONE, ABORT, ABORTED */

/* ---- The sender's side ---- */

extern kvshm_peer *hand_peer;
/* Works until that many events have come, and no more; the last of them. */
struct kvshm_event hand_events(size_t count);
/* Works until nothing is left to do. */
void hand_work(void);
/* A transfer that was opened; with OPENED said, its number. */
uint32_t hand_open(kvshm_transfer **transfer, uint32_t blocks);
/* Offers numbered keys for positions first to first + count - 1: key and depth are the position. */
void hand_offer(kvshm_transfer *transfer, uint32_t first, uint32_t count);
struct kvshm_transfer_info hand_look(kvshm_transfer *transfer);

#endif
