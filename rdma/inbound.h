/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * inbound.h: what the files of the receiver share: requests that come in, who sends them, and what was granted to whom.
 *
 * A source is a peer that sends. An incoming is one transfer of a source's: its number there, the planes that it writes
 * and the answers to its offers. An inbound is the request that it fills: one of the store's, with a position for each
 * block. Several incomings, each for planes of its own, may be of one inbound. A run is what one incoming was granted
 * by one window for each of its planes: positions behind each other whose blocks are adjacent.
 *
 *   inbound    ROOM      in the line for room; offers are kept         room -> FILLING; end -> ENDING
 *              FILLING   its keys are asked for, granted, committed    all here -> COMPLETE; fill timeout, or any
 *                                                                      other end -> ENDING
 *              COMPLETE  every key is held until it is claimed and     end, claim timeout -> gone
 *                        ended
 *              ENDING    runs are being fenced; then fills are given   no runs are left -> gone
 *                        up, and the request ends
 *
 *   incoming   ASKED     OPENED was not sent yet                       room -> OPENED; error: OPENED says so -> gone
 *              OPENED    offers are answered, commits are taken        all here: DONE -> gone
 *              DRAINING  ABORT was sent; it may still be writing       ABORTED, or time is up -> FENCING
 *              FENCING   its windows are being withdrawn               none is left -> gone
 *              ABORTING  it has sent ABORT: likewise                   its inbound is gone: ABORTED -> gone
 *
 *   position   NONE      no one has offered it
 *              OFFERED   its key is known, and not asked for: no room yet
 *              PENDING   another fills it: the request's hold waits
 *              FILL      it is ours to fill
 *              HERE      it is ready, and the request holds it
 *              FAILED    refused, given up, removed: result says why
 *
 * Guarantees (E2, E3, R23): a fill is published, or given up, only when no run that has it is left: its windows are
 * withdrawn, or its link is closed. Of a link without windows the sender's word counts (COMMIT, ABORT, ABORTED, all
 * behind its writes), and the link's end where it says nothing. What network cards have written to GPU memory is
 * flushed before (E1): once for all runs that come to that point in one turn of the loop; where the flush fails, so do
 * their fills. A death here leaves fills, holds and room of this client's, which recovery ends: behind the end of the
 * process where its link is no TCP (kvs_client_set_dma()).
 */
#ifndef KVR_INBOUND_H
#define KVR_INBOUND_H

#include "counters.h"
#include "receiver.h"

/* The bounds of one source; beyond them OPENED says -ENOBUFS: transfers, and positions of all of them
 * (KVR_POSITIONS_MAX). So much memory a peer can take here: a position takes 88 bytes, and its answer, and what is
 * offered there 64, and its key. What is complete, and whose sender is gone, counts for none; of all these together as
 * many positions are kept, for who sends it again: those that were opened first are forgotten. */
#define KVR_INCOMINGS_MAX 1024U
/* How often rooms, and ends that were asked for, are looked for at most: each costs some system calls for each request,
 * and the store's descriptor rings for every block that is published. */
#define KVR_LOOK_PERIOD UINT64_C(2000000)
/* How long a sender may go on writing after ABORT was sent to it. */
#define KVR_DRAIN_TIME UINT64_C(2000000000)

enum kvr_inbound_state { KVR_INBOUND_ROOM, KVR_INBOUND_FILLING, KVR_INBOUND_COMPLETE, KVR_INBOUND_ENDING };
enum kvr_incoming_state {
	KVR_INCOMING_ASKED,
	KVR_INCOMING_OPENED,
	KVR_INCOMING_DRAINING,
	KVR_INCOMING_FENCING,
	KVR_INCOMING_ABORTING,
};
enum kvr_position_state {
	KVR_POSITION_NONE,
	KVR_POSITION_OFFERED,
	KVR_POSITION_PENDING,
	KVR_POSITION_FILL,
	KVR_POSITION_HERE,
	KVR_POSITION_FAILED,
};
/* What an incoming was told of a position. */
enum kvr_answer_state {
	KVR_ANSWER_NONE,    /* it has not offered it */
	KVR_ANSWER_OWED,    /* no GRANT was sent */
	KVR_ANSWER_PENDING, /* a second one is owed */
	KVR_ANSWER_WRITE,   /* it may write it */
	KVR_ANSWER_LAST,    /* here, refused, committed or given up */
};

#define KVR_NO_POSITION UINT32_MAX

/* A key as it was offered, and what it is to be published with. */
struct kvr_offered {
	struct kvshm_meta meta;
	uint32_t length;
	uint8_t key[];
};

struct kvr_position {
	struct kvshm_handle handle;
	struct kvr_offered *offered;
	uint32_t written; /* planes that are whole, and fenced */
	uint32_t runs;	  /* that have it, and are not fenced */
	uint32_t next;	  /* of those that are pending */
	int result;	  /* of a failed one; of a fill: it is to be given up, for this */
	enum kvr_position_state state;
};

struct kvr_run;

struct kvr_answer {
	struct kvr_run *run;
	uint32_t committed; /* planes that are whole or given up */
	uint8_t state;	    /* enum kvr_answer_state */
	bool given_up;
};

struct kvr_run {
	struct kvr_run *next, **back;  /* of its incoming's; settled ones: of its source's */
	struct kvr_incoming *incoming; /* NULL: it is settled, and stays for its windows only */
	uint32_t first, count;	       /* positions */
	uint32_t left;		       /* of these: neither committed nor given up */
	uint32_t windows, withdrawn;
	bool ending, unflushed;
	struct kvr_run *next_unflushed; /* of its receiver's */
	struct kvr_window *window[];
};

struct kvr_incoming {
	struct kvr_incoming *next;    /* of its source's */
	struct kvr_incoming *sibling; /* of its inbound's */
	struct kvr_source *source;
	struct kvr_inbound *inbound;
	struct kvr_run *runs;
	struct kvr_answer *answers; /* by position */
	uint64_t drained;	    /* DRAINING: until when */
	uint32_t number, planes;
	uint32_t offered; /* positions */
	enum kvr_incoming_state state;
};

struct kvr_wished {
	struct kvr_wished *next; /* of its source's */
	struct kvr_source *source;
	struct kvr_inbound *inbound; /* NULL: no OPEN has come */
	struct kvr_wish wish;
	uint8_t id[KVSHM_REQUEST_ID_MAX];
	uint32_t count;
	uint64_t hashes[]; /* of its keys, sorted: of the index's hash, whose seed peers do not know */
};

struct kvr_inbound {
	struct kvr_inbound *next;
	struct kvr_receiver *receiver;
	struct kvr_incoming *incomings;
	struct kvr_wished *wished; /* NULL: none, or it was told of the end */
	struct kvshm_request request;
	struct kvr_position *positions; /* NULL: it is complete, and they were forgotten; blocks is 0 then */
	uint32_t pending; /* first of those that are */
	uint32_t blocks, attempt;
	uint32_t settled, here; /* positions */
	uint32_t fills_ended, fills_seen; /* of its own; when what is pending was looked at last */
	uint32_t planes;	/* of all its incomings */
	uint32_t claims;	/* seen last */
	uint64_t deadline;	/* of the room; of the claim */
	uint64_t went_on;	/* FILLING: when its senders last did something for it */
	int result;		/* ENDING: why */
	enum kvr_inbound_state state;
	bool put;		/* nobody can name it: it ends when it is complete */
	size_t id_length;
	uint8_t id[KVSHM_REQUEST_ID_MAX];
};

struct kvr_source {
	struct kvr_source *next;
	struct kvr_peer *peer;
	struct kvr_receiver *receiver;
	struct kvr_incoming *incomings;
	struct kvr_wished *wishes;
	struct kvr_run *settled; /* whose windows are not withdrawn yet */
	uint32_t last;		 /* number of a transfer; they go up */
	uint32_t count;		 /* of incomings */
	uint64_t positions;	 /* of all these */
	bool opened;		 /* last is one */
};

struct kvr_receiver {
	struct kvr_node *node;
	kvshm_store *store;
	struct kvshm_geometry geometry;
	uint32_t all_planes;
	struct kvr_source *sources;
	struct kvr_inbound *inbounds;
	uint64_t kept;	    /* positions of what is complete */
	uint64_t next_look; /* when to look for rooms, and for ends that were asked for, again */
	bool in_gpu;	    /* the planes are */
	struct kvr_run *unflushed; /* nothing lands by them any more, but what did is to be flushed: */
	struct kvr_call flush;
};

/* Has the receiver look again then, at the latest: receiver.c. */
void kvr_receiver_wake_at(const struct kvr_receiver *receiver, uint64_t when);

/* ---- Sources and incomings: incoming.c ---- */

/* The source of a peer, made when it is first needed: -ENOMEM; -EPROTO: there is no store here. */
int kvr_source_of(struct kvr_peer *peer, struct kvr_source **source);
/* Was a transfer of that number opened? source may be NULL. */
bool kvr_source_was_opened(const struct kvr_source *source, uint32_t number);
void kvr_source_free(struct kvr_source *source); /* it has nothing */

/* One more sender of a request; NULL: no memory. */
struct kvr_incoming *kvr_incoming_new(struct kvr_source *source, const struct kvr_open *open,
				      struct kvr_inbound *inbound);
/* Takes an incoming off its source and its inbound, and frees it; it has no runs. */
void kvr_incoming_free(struct kvr_incoming *incoming);
/* This one goes, whatever becomes of its inbound: OPENED or ABORT says so, and it is drained and fenced. */
void kvr_incoming_refuse(struct kvr_incoming *incoming, int result, const char *text);
/* Messages to one. */
void kvr_incoming_opened(struct kvr_incoming *incoming, int result, const char *text);
void kvr_incoming_end(struct kvr_incoming *incoming, enum kvr_type type, int result, uint32_t held);

/* ---- Requests: inbound.c ---- */

/* Opens a request and takes its place in the line; its first incoming is still to be added. */
int kvr_inbound_open(struct kvr_receiver *receiver, const struct kvr_open *open, struct kvr_wished *wished,
		     struct kvr_inbound **inbound);
/* A key is offered at a position: keeps it. -EINVAL: another key was offered there. -ENOMEM. */
int kvr_inbound_offer(struct kvr_inbound *inbound, const struct kvr_offer *offer);
/* Asks the store for those of these positions that it was not asked for yet, and answers all who are owed one. */
void kvr_inbound_ask(struct kvr_inbound *inbound, const uint32_t *positions, size_t count);
/* A position fails without having been asked for. */
void kvr_inbound_fail(struct kvr_inbound *inbound, uint32_t position, int result);
/* Nothing of a run lands there any more. planes: those that are whole by it; result: else it has failed, for that. */
void kvr_inbound_fenced(struct kvr_inbound *inbound, uint32_t position, uint32_t planes, int result);
/* The end of a fill of its own: published, given up, or not yet (others' planes are awaited). It is fenced. */
void kvr_inbound_end_fill(struct kvr_inbound *inbound, struct kvr_position *at);
void kvr_inbound_set_here(struct kvr_inbound *inbound, struct kvr_position *at);
void kvr_inbound_push_pending(struct kvr_inbound *inbound, uint32_t position);
void kvr_inbound_free(struct kvr_inbound *inbound);

/* ---- Their ends: inbound_end.c ---- */

/* Ends it, for that reason: all its incomings are told. What can't be given up yet is, by kvr_inbound_look(). */
void kvr_inbound_abort(struct kvr_inbound *inbound, int result, const char *text);
/* Goes on with it, as far as that is possible now; the end of all that is done with one. It may be gone afterwards,
 * with its incomings. */
void kvr_inbound_look(struct kvr_inbound *inbound);
/* Frees its positions, with what was offered there: of one that is complete, or at its end. */
void kvr_inbound_forget(struct kvr_inbound *inbound);
/* Its end, now: no run is left. */
void kvr_inbound_finish(struct kvr_inbound *inbound);

/* ---- What they wait for: inbound_work.c ---- */

/* The one that an OPEN may join; one that is over, as its engine says, is none. */
struct kvr_inbound *kvr_inbound_find(struct kvr_receiver *receiver, const struct kvr_open *open);
/* Of what is complete, and has no sender any more, the oldest are forgotten until no more positions are kept than may
 * be. Blocks do not bound them: many positions may have the same. Such a request stays, but can't be sent again. */
void kvr_inbound_keep_few(struct kvr_receiver *receiver);
/* Something has changed in the store, or time has passed: likewise. thorough: rooms and ends are looked for, too.
 * Returns when to look again. */
uint64_t kvr_inbound_work(struct kvr_inbound *inbound, uint64_t now, bool thorough);
/* It was given room, or something was offered, granted or committed. Its senders have the fill timeout from here for
 * the next such step; but for what they wait for themselves: what others fill. */
void kvr_inbound_went_on(struct kvr_inbound *inbound);
/* The node ends: what is complete stays its client's; all else is given up. Its links are closed. */
void kvr_inbound_close(struct kvr_inbound *inbound);

/* ---- What was granted: grants.c ---- */

/* Answers an incoming what it is owed of these positions. */
void kvr_grants_answer(struct kvr_incoming *incoming, const uint32_t *positions, size_t count);
/* -EPROTO: it was not granted that. */
int kvr_grants_commit(struct kvr_incoming *incoming, const struct kvr_commit *commit);
/* Withdraws all windows of an incoming's. */
void kvr_grants_withdraw(struct kvr_incoming *incoming);
/* A window of a run's is withdrawn. */
void kvr_grants_withdrawn(struct kvr_run *run);
/* The link is closed: all runs of a source's are fenced, and gone. */
void kvr_grants_lost(struct kvr_source *source);
/* The receiver's `flush`. */
void kvr_grants_flush(struct kvr_call *call);

/* ---- Wishes: wishes.c ---- */

struct kvr_wished *kvr_wish_find(struct kvr_source *source, uint32_t want);
/* Is that key one that was wished for? */
bool kvr_wish_has(const struct kvr_wished *wished, struct kvr_text key);
/* Tells who wished of its end, and frees it. */
void kvr_wish_end(struct kvr_wished *wished, int result);


#endif
