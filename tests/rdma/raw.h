/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * raw.h: senders that a test drives message by message, over any transport, against a kvshmd that listens in a process
 * of its own; and the store of that kvshmd, which the test is an engine of. All but one of its blocks, which is in the
 * middle, are the test's: so it knows which block is granted, and that all others stay as they are.
 *
 * A test runs in a process of its own (libcheck forks).
 */
#ifndef RAW_H
#define RAW_H

#include <check.h>

#include "kvshm.h"
#include "message.h"

#define RAW_PLANES 2U
#define RAW_BLOCK ((size_t)65536)
#define RAW_BLOCKS 16U
#define RAW_FREE (RAW_BLOCKS / 2) /* the one that is not the test's */
#define RAW_SOON UINT64_C(30000)  /* ms: guests are slow */

struct raw {
	struct kvr_loop loop;
	struct kvr_memory *memory;
	uint8_t *bytes;
	struct kvr_link *link;
	struct kvr_message message; /* the last one that is no PING or PONG: raw_take() */
	struct raw_message *first, **last, *taken;
	bool up, down;
	int reason;
	char text[1024]; /* of down() */
	uint64_t ponged;
	unsigned malicious; /* writes */
};

/* Does the call give what is wanted? Else the library's text says more. */
#define raw_rc(call, wanted) raw_expect((call), (wanted), #call, __LINE__)
void raw_expect(int rc, int wanted, const char *call, int line);

/* Lets all senders go on until it is so; the test fails when it does not come about. */
#define raw_until(condition)                                                                                      \
	do {                                                                                                      \
		uint64_t raw_end = raw_now() + RAW_SOON * 1000000;                                                \
		while (!(condition)) {                                                                            \
			raw_turn();                                                                               \
			ck_assert_msg(raw_now() < raw_end, "line %d: %s does not come about", __LINE__, #condition); \
		}                                                                                                 \
	} while (0)
uint64_t raw_now(void);
void raw_turn(void);

/* ---- Senders ---- */

struct raw *raw_connect(void); /* greeted */
struct kvr_message *raw_take(struct raw *raw, enum kvr_type type);
/* Opens a transfer of one block, offers a key, and takes the grant. id: a request's name, or NULL. */
struct kvr_grant raw_begin(struct raw *raw, uint32_t transfer, const char *id, const char *key);
/* What an honest one does: bytes of that value in both planes; they are there when it returns. */
void raw_write(struct raw *raw, const struct kvr_grant *grant, int value);
void raw_commit(struct raw *raw, uint32_t transfer);
void raw_abort(struct raw *raw, uint32_t transfer);
void raw_done(struct raw *raw, uint32_t transfer);
/* What a malicious one does: writes there, of bytes that no one else has and that change, as many as the link takes. */
void raw_flood(struct raw *raw, uint64_t to, uint32_t rkey, uint64_t length);
/* It has been told that it may not write there, and is not connected any more. */
void raw_refused(struct raw *raw);

/* ---- The store ---- */

extern kvshm_store *raw_store;
const uint8_t *raw_place(uint32_t block, unsigned plane);
/* Keys, and requests' ids, are this process's own, whatever their names: this is what they are to others. */
size_t raw_name(const char *key, char *text, size_t size);
int raw_get(const char *key, struct kvshm_handle *ref);
void raw_remove(const char *key);
/* One more block that is not the test's. */
void raw_free(uint32_t block);
/* Tries to fill that key: into the one block that is free. False: there is no room yet. */
bool raw_fill(const char *key, struct kvshm_handle *fill);
void raw_set(uint32_t block, int value); /* all its bytes, in all planes */
void raw_publish(struct kvshm_handle *fill);
void raw_is_all(uint32_t block, int value);
/* All blocks of the test's are as it has filled them. */
void raw_others_stay(void);

/* Arguments: URL STORE [TEST]. */
int raw_main(const char *name, const TTest *const tests[], size_t count, int argc, char **argv);

#endif
