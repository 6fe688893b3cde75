/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_generate.c: makes a workload where there is no trace. Users talk to a few applications: each session begins
 * with its application's system prompt, and each turn asks again with all that was said before and some blocks more.
 * Some sessions come back at once, some after others have filled the store, some never. A session that has grown too
 * long is closed, and its user begins a new one.
 */
#include "config.h"

#include "replay_random.h"
#include "replay_trace.h"

#include <string.h>

enum {
	PROMPTS = 12,	     /* system prompts */
	PROMPT_MIN = 2,	     /* blocks of one */
	PROMPT_MAX = 16,
	SESSIONS = 512,	     /* open at the same time */
	TURN_MAX = 10,	     /* blocks that a turn adds, at most */
	SESSION_MAX = 96,    /* blocks of a session; then it is closed */
	RECENT = 16,	     /* half of the turns are of one of so many sessions */
};

struct session {
	size_t length;
	uint64_t ids[SESSION_MAX];
};

struct generator {
	uint64_t random;
	uint64_t next_id; /* ids below it are in use */
	struct session prompts[PROMPTS];
	struct session sessions[SESSIONS];
	unsigned recent[RECENT]; /* sessions of late turns, replaced in turn */
};

static void append_blocks(struct generator *generator, struct session *session, uint64_t count)
{
	while (count-- && session->length < SESSION_MAX)
		session->ids[session->length++] = generator->next_id++;
}

static void make_prompts(struct generator *generator)
{
	for (unsigned i = 0; i < PROMPTS; i++)
		append_blocks(generator, &generator->prompts[i],
			      PROMPT_MIN + replay_random_below(&generator->random, PROMPT_MAX - PROMPT_MIN + 1));
}

/* The first prompts are the popular ones: the lower of two random numbers. */
static void begin_session(struct generator *generator, struct session *session)
{
	uint64_t a = replay_random_below(&generator->random, PROMPTS);
	uint64_t b = replay_random_below(&generator->random, PROMPTS);

	*session = generator->prompts[a < b ? a : b];
}

static struct session *choose_session(struct generator *generator, uint64_t turn)
{
	uint64_t random = replay_random(&generator->random);
	unsigned number = (unsigned)(random >> 1) % SESSIONS;

	if (random & 1)
		number = generator->recent[(random >> 1) % RECENT];
	generator->recent[turn % RECENT] = number;
	return &generator->sessions[number];
}

void replay_trace_generate(struct replay_trace *trace, uint64_t requests, uint64_t seed)
{
	static struct generator generator; /* too large for a stack */

	memset(&generator, 0, sizeof(generator));
	generator.random = seed;
	make_prompts(&generator);
	for (uint64_t turn = 0; turn < requests; turn++) {
		struct session *session = choose_session(&generator, turn);

		if (!session->length || session->length == SESSION_MAX)
			begin_session(&generator, session);
		append_blocks(&generator, session, 1 + replay_random_below(&generator.random, TURN_MAX));
		for (size_t i = 0; i < session->length; i++)
			replay_trace_id(trace, session->ids[i]);
		replay_trace_end(trace);
	}
}
