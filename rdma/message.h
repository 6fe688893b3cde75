/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * message.h: the messages between two nodes, as bytes and as structures. README.md has the format and the order.
 *
 * Guarantees (F2): any bytes give either a message all of whose counts and lengths lie inside of it, or -EPROTO with
 * what is wrong. What a message says of a transfer, a block or a plane is not judged here. Numbers are sent with their
 * low byte first; nothing depends on the machine's own order, sizes or alignment. Errors are sent as the numbers that
 * Linux has for them on all but alpha, mips, parisc and sparc.
 *
 * Reading: kvr_read() checks a message whole, and gives a structure that points into its bytes. Batches are then gone
 * through by kvr_next_...(), which can't fail any more. Writing: kvr_write_...() builds one; batches are begun, and
 * take entries until one does not fit (false: send it, and begin the next).
 */
#ifndef KVR_MESSAGE_H
#define KVR_MESSAGE_H

#include "auth.h"
#include "transport.h"

#define KVR_VERSION 1
#define KVR_HEADER_SIZE 8 /* length of all: 4 bytes; type: 2; credits, the link's: 2 */

enum kvr_type {
	KVR_HELLO = 1,
	KVR_PROOF = 2,
	KVR_BYE = 3,
	KVR_OPEN = 4,
	KVR_OPENED = 5,
	KVR_OFFER = 6,
	KVR_GRANT = 7,
	KVR_COMMIT = 8,
	KVR_ABORT = 9,
	KVR_ABORTED = 10,
	KVR_DONE = 11,
	KVR_WANT = 12,
	KVR_WANTED = 13,
	KVR_PING = 14,
	KVR_PONG = 15,
	KVR_CREDIT = 16, /* the links' own: nothing but its header */
	KVR_DATA = 17,	 /* TCP's own: a write; its bytes follow behind the message */
	KVR_DENIED = 18, /* TCP's own: a write was refused, and the link ends; nothing but its header */
};

struct kvr_text { /* bytes in a message; no 0 behind */
	const uint8_t *bytes;
	uint32_t length;
};

/* Bytes of texts, at most. */
#define KVR_LABEL_MAX 255 /* of a label */
#define KVR_NAME_MAX 64	  /* of a store's and a node's name */
#define KVR_REASON_MAX 255

/* What the other side says, as it can be shown: cut to what fits, and without control characters. */
void kvr_text_show(struct kvr_text from, char *to, size_t size);

enum { KVR_HAS_STORE = 1, KVR_HAS_SECRET = 2 }; /* flags of a HELLO; others are ignored */

/* Of another version only the version is known: all else is 0. */
struct kvr_hello {
	uint16_t version, flags;
	uint8_t nonce[KVR_NONCE_SIZE];
	uint64_t incarnation, block_size; /* these four: 0 without a store */
	uint32_t blocks, planes, key_max;
	uint32_t timeout; /* ms that the sender of this bears silence */
	uint32_t pid;
	struct kvr_text label, store, node;
};

struct kvr_bye {
	int32_t result; /* 0: nothing is wrong */
	struct kvr_text text;
};

struct kvr_open {
	uint32_t transfer; /* its sender's number for it, above 0 */
	uint32_t want;	   /* the WANT that it answers; 0: none */
	uint32_t attempt, blocks;
	uint32_t planes; /* that this sender writes: a bit each; others join for the rest */
	uint32_t room;	 /* ms that it may wait for room */
	struct kvr_text id; /* none: a request without a name */
};

struct kvr_opened {
	uint32_t transfer;
	int32_t result;
	struct kvr_text text; /* with a result other than 0 */
};

struct kvr_offer { /* one entry of an OFFER */
	uint32_t position, depth;
	uint64_t length;
	const uint8_t *opaque; /* KVSHM_OPAQUE_SIZE bytes */
	struct kvr_text key;
};

enum kvr_grant_kind {
	KVR_WRITE_IT = 0, /* the planes behind */
	KVR_HERE = 1,	  /* it is ready here, and held for the request */
	KVR_PENDING = 2,  /* another fills it: one more GRANT follows */
	KVR_REFUSED = 3,  /* result says why */
};

struct kvr_grant_plane {
	uint32_t plane, rkey;
	uint64_t address;
};

struct kvr_grant { /* one entry of a GRANT */
	uint32_t position, block, count; /* count: of planes */
	int32_t result;
	uint64_t life;
	enum kvr_grant_kind kind;
	struct kvr_grant_plane planes[32];
};

enum kvr_commit_kind { KVR_WHOLE = 0, KVR_GIVEN_UP = 1 };

struct kvr_commit { /* one entry of a COMMIT */
	uint32_t position;
	uint32_t planes; /* that are whole, or given up */
	enum kvr_commit_kind kind;
};

/* ABORT, ABORTED and DONE. */
struct kvr_end {
	uint32_t transfer;
	uint32_t held;	/* DONE: how many blocks the receiver holds for it */
	int32_t result; /* DONE, ABORT */
	bool by_sender; /* ABORT, ABORTED: this message comes from the transfer's sender; transfer is its number */
};

struct kvr_want { /* a WANT: all its parts repeat what is not an entry */
	uint32_t want, total, first, attempt, room;
	struct kvr_text id;
};

struct kvr_wanted {
	uint32_t want, have;
	int32_t result;
};

struct kvr_data { /* behind it `length` bytes */
	uint64_t to, length;
	uint32_t rkey;
};

/* A message that was read. */
struct kvr_message {
	enum kvr_type type;
	uint32_t transfer; /* of OFFER, GRANT, COMMIT */
	uint32_t count;	   /* of their entries, and a WANT's */
	union {
		struct kvr_hello hello;
		struct kvr_text proof; /* KVR_PROOF_SIZE bytes */
		struct kvr_bye bye;
		struct kvr_open open;
		struct kvr_opened opened;
		struct kvr_end end;
		struct kvr_want want;
		struct kvr_wanted wanted;
		struct kvr_data data;
		uint64_t time; /* PING, PONG */
	};
	const uint8_t *next, *behind; /* of the entries that were not taken yet */
};

const char *kvr_type_name(enum kvr_type type);

/* The length that a header says, of a message of which KVR_HEADER_SIZE bytes are there: -EPROTO if it is none. */
int kvr_read_header(const uint8_t *bytes, uint32_t *size, enum kvr_type *type);
int kvr_read(const uint8_t *bytes, size_t size, struct kvr_message *message);
/* count of them, and no more, may be taken. */
void kvr_next_offer(struct kvr_message *message, struct kvr_offer *offer);
void kvr_next_grant(struct kvr_message *message, struct kvr_grant *grant);
void kvr_next_commit(struct kvr_message *message, struct kvr_commit *commit);
void kvr_next_key(struct kvr_message *message, struct kvr_text *key); /* of a WANT */

/* A message that is written. Texts that are too long are cut, in HELLO, BYE and OPENED. */
struct kvr_out {
	uint8_t bytes[KVR_MESSAGE_MAX];
	uint32_t size;
	uint32_t count; /* entries */
};

void kvr_write_hello(struct kvr_out *out, const struct kvr_hello *hello);
void kvr_write_proof(struct kvr_out *out, const uint8_t proof[KVR_PROOF_SIZE]);
void kvr_write_bye(struct kvr_out *out, int result, const char *text);
void kvr_write_open(struct kvr_out *out, const struct kvr_open *open);
void kvr_write_opened(struct kvr_out *out, uint32_t transfer, int result, const char *text);
void kvr_begin_offers(struct kvr_out *out, uint32_t transfer);
bool kvr_add_offer(struct kvr_out *out, const struct kvr_offer *offer);
void kvr_begin_grants(struct kvr_out *out, uint32_t transfer);
bool kvr_add_grant(struct kvr_out *out, const struct kvr_grant *grant);
void kvr_begin_commits(struct kvr_out *out, uint32_t transfer);
bool kvr_add_commit(struct kvr_out *out, const struct kvr_commit *commit);
void kvr_write_end(struct kvr_out *out, enum kvr_type type, const struct kvr_end *end);
void kvr_begin_want(struct kvr_out *out, const struct kvr_want *want);
bool kvr_add_key(struct kvr_out *out, struct kvr_text key);
void kvr_write_wanted(struct kvr_out *out, const struct kvr_wanted *wanted);
void kvr_write_ping(struct kvr_out *out, enum kvr_type type, uint64_t time);
void kvr_write_data(struct kvr_out *out, const struct kvr_data *data);
void kvr_write_credit(struct kvr_out *out);
void kvr_write_denied(struct kvr_out *out);

#endif
