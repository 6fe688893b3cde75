/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_remote.h: the replay to another node's store (--remote): one process, one connection, several transfers at a
 * time, each a request of the trace. What of it is in which file:
 *
 *   replay_remote.c    the connection, the loop over its events, and the end
 *   replay_sending.c   a transfer: what is offered, written, committed, aborted, and tried again
 *   replay_buffer.c    the memory that is written from
 *   replay_figures.c   the result
 */
#ifndef REPLAY_REMOTE_H
#define REPLAY_REMOTE_H

#include "net_options.h"
#include "replay.h"
#include "replay_client.h"

#define REPLAY_NO_SLOT UINT32_MAX

struct replay_remote_tally {
	uint64_t requests;   /* of the trace, that were complete over there */
	uint64_t block_refs; /* ids of these */
	uint64_t completed;  /* transfers; the trace's longest requests are several */
	uint64_t there, sent, refused; /* blocks, of all transfers that have ended */
	uint64_t bytes;
	uint64_t aborted;   /* transfers that were to be */
	uint64_t cancelled; /* that the other side has ended before they were complete */
	uint64_t again_room, again_open, again_lost; /* attempts that were followed by another: why */
	uint64_t reconnected;
};

/* Blocks' memory: slot s has its bytes of plane p at (s * planes + p) * block_size. */
struct replay_buffer {
	uint8_t *bytes;
	uint64_t size, block; /* of all, and of a block in all planes */
	uint32_t *free;	      /* slots that are free: the first free_count */
	uint32_t free_count;
};

/* False, with a message: there is no memory. */
bool replay_buffer_make(struct replay_buffer *buffer, const struct replay_job *job);
void replay_buffer_free(struct replay_buffer *buffer);

enum replay_abort_at { ABORT_NEVER, ABORT_AT_ONCE, ABORT_GRANTED, ABORT_COMMITTED };

enum replay_sending_state {
	SENDING_IDLE,  /* has nothing to do */
	SENDING_DUE,   /* to be opened, at `at` */
	SENDING_UNDER_WAY,
};

/* One of the places for transfers. */
struct replay_sending {
	enum replay_sending_state state;
	enum replay_abort_at abort_at;
	bool aborting;
	uint32_t attempt;
	uint64_t at;	   /* when it is due */
	uint64_t patience; /* when one has tried for long enough */
	kvshm_transfer *transfer;
	struct dealt dealt;
	size_t first, count; /* the piece of the request */
	uint32_t *slots;     /* of each position */
	uint32_t *granted;   /* positions that wait for a slot, in the order that they were granted in: from next on */
	uint32_t grants, next;
};

struct replay_remote {
	const struct replay_job *job;
	const char *url;
	struct kvshm_net_options options;
	kvshm_peer *peer;
	struct replay_buffer buffer;
	struct replay_sending *sendings; /* job->in_flight */
	struct kvshm_offer *offers;	 /* for the longest request */
	uint8_t (*keys)[REPLAY_KEY_SIZE];
	uint64_t number; /* of the request that is dealt next */
	uint64_t ends;	 /* when no more are dealt */
	int signals;	 /* a signalfd */
	int interrupted;
	bool lost; /* the connection */
	struct replay_remote_tally tally;
	double seconds;
};

/* Makes the places. False, with a message: no memory. */
bool replay_sendings_make(struct replay_remote *remote);
void replay_sendings_free(struct replay_remote *remote);

/* Opens what is due, and writes what is granted, as far as there is memory. *busy: how many places have something to
 * do; *next: when the next one is due. False, with a message: something is wrong. */
bool replay_sendings_work(struct replay_remote *remote, uint32_t *busy, uint64_t *next);

/* Does what follows of an event. */
bool replay_sending_event(struct replay_remote *remote, const struct kvshm_event *event);

/* Aborts all, since the replay is to end. */
bool replay_sendings_abort(struct replay_remote *remote);

/* The whole replay. settings->remote is the URL. Returns the exit status. The caller has blocked the signals that end
 * it. */
int replay_remote(struct replay_job *job, const char *url, struct net_settings *net, uint64_t block_size, bool json);

/* Prints the result. False, with a message: it did not get to where it should. */
bool replay_remote_print(const struct replay_remote *remote, bool json);

#endif /* REPLAY_REMOTE_H */
