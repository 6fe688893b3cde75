/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_client.h: what every process of a replay that attaches the store has and does, whatever its part is: it says
 * why it fails, attaches, shows on the board what it holds, lets go, writes blocks and compares them.
 */
#ifndef REPLAY_CLIENT_H
#define REPLAY_CLIENT_H

#include "replay_board.h"
#include "replay_bytes.h"

struct client {
	const struct replay_job *job;
	struct replay_place *place;
	kvshm_store *store;
	void *staging; /* where bytes are made and compared of planes in GPU memory, a block; else NULL */
	struct replay_tally tally;
	uint32_t holds, fills; /* as on the board */
	uint64_t random;
	int bell; /* of who takes requests and its decoder: the own end of the socket between them; else -1 */
};

enum {
	CLIENT_PATIENCE = 30 * 1000, /* ms for which one waits for what another process does; ... */
	CLIENT_STOP_PATIENCE = 1000, /* ... and for which when the replay is to stop */
};

static inline bool client_stopping(const struct client *client)
{
	return atomic_load_explicit(&client->job->board->stop, memory_order_relaxed);
}

/* Begins or goes on at a place of the board. */
void client_begin(struct client *client, const struct replay_job *job, uint32_t place, uint64_t seed);

/* A place of an engine's on the board. */
static inline struct replay_handover *client_handover(const struct client *client, uint32_t engine, uint32_t place)
{
	return &client->job->board->handovers[(size_t)engine * client->job->in_flight + place];
}

/* Says why the library refused, and returns error. Only the first process says so: the others fail of the same. */
int client_fail(const struct client *client, const char *what, int error);

/* Says what is waited for in vain. Returns -ETIMEDOUT. */
int client_fail_waiting(const struct client *client, const char *what);

/* Says that there is no memory. Returns -ENOMEM. */
int client_fail_memory(const struct client *client);

/* How many ns to sleep before try number `tries` (from 0): longer from try to try, and never as long as another. */
uint64_t client_pause(struct client *client, unsigned tries);
void client_sleep(uint64_t ns);

/* A request that this process is dealt: its ids, and what makes their keys differ from those of other rounds. */
struct dealt {
	const uint64_t *ids;
	size_t count;
	uint64_t number, round; /* number: among all that were dealt */
};

/* Request number so-and-so. */
struct dealt client_request(const struct replay_job *job, uint64_t number);

/* Writes the id that it has in the store, or that its piece from `first` on has. Returns its length. */
size_t client_request_id(const struct replay_job *job, uint64_t number, size_t first,
			 char id[static KVSHM_REQUEST_ID_MAX]);

/* Takes the next request of the trace. False: there is none, or the replay is to stop. */
bool client_deal(const struct client *client, struct dealt *dealt);

/* What the store said when a request first asked for a key. Being asked again (after -ENOSPC, say) changes nothing: a
 * block that the request itself has filled before must not become a hit. */
enum answer {
	ANSWER_NONE,
	ANSWER_MISS,
	ANSWER_HIT,
};

static inline void client_note_answer(uint8_t *answer, bool hit)
{
	if (*answer == ANSWER_NONE)
		*answer = hit ? ANSWER_HIT : ANSWER_MISS;
}

size_t client_hits(const uint8_t *answers, size_t ids);

/* A request has ended. */
void client_count_request(struct client *client, size_t ids, size_t hits);

/* Rings at the other end: there is something new on the board. */
void client_ring(const struct client *client);

/* Sleeps until somebody rings, `other` (unless it is -1) can be read, or so many ms have passed. -EPIPE: the parent has
 * hung up. */
int client_listen(const struct client *client, int other, int ms);

/* -EINTR: the replay is to stop. Else it has said what is wrong. */
int client_attach(struct client *client, const char *name);

/* Detaches, and returns rc, or why it could not. */
int client_detach(struct client *client, int rc);

/* Writes to the board what this process holds. */
void client_show_holds(const struct client *client);

/* Ends a hold of any kind, or all of an array, the deepest block first: a prefix without its suffix is of use to
 * others, the suffix alone is not. */
int client_let_go_of(struct client *client, struct kvshm_handle *handle);
int client_let_go(struct client *client, struct kvshm_handle *handles, size_t count);

/* Writes the bytes of a block that this process fills, in one plane: of host memory in place. */
int client_write(const struct client *client, const struct kvshm_handle *handle, unsigned plane, const uint8_t *key);

/* What a block is published with. */
struct kvshm_meta client_meta(const struct replay_job *job, const uint8_t *key, size_t position);

/* Compares what was published with a held block, and its bytes in one plane. *intact false: it was said and counted as
 * corrupt. */
int client_check_meta(const struct client *client, const struct kvshm_handle *handle, const uint8_t *key, bool *intact);
int client_check_plane(const struct client *client, const struct kvshm_handle *handle, unsigned plane,
		       const uint8_t *key, bool *intact);

/* Both, in all planes; said and counted once. */
int client_check_block(const struct client *client, const struct kvshm_handle *handle, const uint8_t *key);

#endif /* REPLAY_CLIENT_H */
