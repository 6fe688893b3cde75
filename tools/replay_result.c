/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_result.c: the result for people and for programs.
 */
#include "config.h"

#include "replay.h"
#include "tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { VALUES = 31, TICKET_VALUES = 6 };

static double ms_of(uint64_t ns)
{
	return (double)ns / (double)REPLAY_MS;
}

/* Lists what there is to say, first what there always is. Returns how many these are. */
static unsigned list_values(const struct replay_job *job, const struct replay_result *result,
			    struct replay_value values[static VALUES])
{
	const struct replay_tally *tally = &result->tally;
	double rate = tally->block_refs ? (double)tally->hits / (double)tally->block_refs : 0.0;
	double wait = tally->rooms_waited ? ms_of(tally->room_wait) / (double)tally->rooms_waited : 0.0;
	const struct replay_value list[VALUES] = {
		{ "requests", "that were decoded, and have ended", tally->requests, 0, 0 },
		{ "block_refs", "blocks of these requests", tally->block_refs, 0, 0 },
		{ "hits", "blocks that were there or being filled", tally->hits, 0, 0 },
		{ "hit_rate", "hits / block_refs", 0, rate, 6 },
		{ "filled", "blocks written and published", tally->filled, 0, 0 },
		{ "evicted", "blocks taken back for their room", result->evicted, 0, 0 },
		{ "waited", "waits for another engine's fill", tally->waited, 0, 0 },
		{ "given_up", "fills given up for want of room", tally->given_up, 0, 0 },
		{ "completed", "requests with all blocks ready and held", tally->completed, 0, 0 },
		{ "claimed", "of these, claimed by a decoder", tally->claimed, 0, 0 },
		{ "unclaimed", "of these, closed since nobody claimed them in time", result->unclaimed, 0, 0 },
		{ "aborted_by_owner", "requests aborted by their engine", tally->aborted_by_owner, 0, 0 },
		{ "aborted_by_other", "requests aborted by a decoder", tally->aborted_by_other, 0, 0 },
		{ "rooms_waited", "reservations that waited in line", tally->rooms_waited, 0, 0 },
		{ "rooms_timed_out", "reservations that had no room by their deadline", tally->rooms_timed_out, 0, 0 },
		{ "room_wait_mean", "ms in line, of those that waited", 0, wait, 3 },
		{ "room_wait_max", "ms in line, of the one that waited longest", 0, ms_of(tally->room_wait_max), 3 },
		{ "killed", "processes killed", result->killed, 0, 0 },
		{ "killed_filling", "of these, in the middle of a fill", result->killed_filling, 0, 0 },
		{ "killed_holding", "of these, with blocks held", result->killed_holding, 0, 0 },
		{ "killed_decoder", "of these, decoders", result->killed_decoder, 0, 0 },
		{ "corrupt", "blocks with bytes that are not their key's", result->corrupt, 0, 0 },
		{ "missed_at_decoder", "blocks of complete requests that couldn't be claimed",
		  result->missed_at_decoder, 0, 0 },
		{ "leaked", "blocks, holds, room and requests that nobody has, at the end", result->leaked, 0, 0 },
		{ "seconds", "from the first engine's start to the last one's end", 0, result->seconds, 3 },
		{ "killed_scheduler", "of the killed ones, schedulers", result->killed_scheduler, 0, 0 },
		{ "killed_worker", "of the killed ones, workers", result->killed_worker, 0, 0 },
		{ "held_by_ticket", "holds that workers took by ticket", tally->held, 0, 0 },
		{ "joined", "planes of fills that workers wrote", tally->joined, 0, 0 },
		{ "asked_again", "fills that came to nothing, and were asked for again", tally->asked_again, 0, 0 },
		{ "missed_at_worker", "hits of a scheduler that a worker could not hold", result->missed_at_worker, 0,
		  0 },
	};

	memcpy(values, list, sizeof(list));
	return job->tickets ? VALUES : VALUES - TICKET_VALUES;
}

static void print_text(const struct replay_value *values, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (values[i].decimals)
			printf("%-17s %12.*f", values[i].name, values[i].decimals, values[i].fraction);
		else
			printf("%-17s %12" PRIu64, values[i].name, values[i].count);
		printf("  %s\n", values[i].remark);
	}
}

static bool print_json(const struct replay_value *values, unsigned count)
{
	json_t *object = json_object();
	bool good = object;

	for (unsigned i = 0; good && i < count; i++)
		good = !json_object_set_new(object, values[i].name,
					    values[i].decimals ? json_real(values[i].fraction) :
								 json_integer((json_int_t)values[i].count));
	if (!good)
		tool_say("no memory for the result");
	else if (json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) || putchar('\n') == EOF)
		good = false; /* tool_flush() says why */
	json_decref(object);
	return good;
}

bool replay_print_values(const struct replay_value *values, unsigned count, bool json)
{
	bool good = true;

	if (json)
		good = print_json(values, count);
	else
		print_text(values, count);
	return tool_flush() && good;
}

bool replay_print(const struct replay_job *job, const struct replay_result *result, bool json)
{
	struct replay_value values[VALUES] = {0};

	return replay_print_values(values, list_values(job, result, values), json);
}
