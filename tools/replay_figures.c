/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * replay_figures.c: the result of a remote replay.
 */
#include "config.h"

#include "replay_remote.h"

bool replay_remote_print(const struct replay_remote *remote, bool json)
{
	const struct replay_remote_tally *tally = &remote->tally;
	uint64_t offered = tally->there + tally->sent + tally->refused;
	double share = offered ? (double)tally->there / (double)offered : 0.0;
	double rate = remote->seconds > 0.0 ? (double)tally->bytes / remote->seconds / 1e6 : 0.0;
	const struct replay_value values[] = {
		{ "requests", "that were complete over there", tally->requests, 0, 0 },
		{ "block_refs", "blocks of these requests", tally->block_refs, 0, 0 },
		{ "completed", "transfers that were complete", tally->completed, 0, 0 },
		{ "deduplicated", "blocks that were there, or came from another", tally->there, 0, 0 },
		{ "deduplicated_rate", "of those that came to an end", 0, share, 6 },
		{ "written", "blocks that were sent", tally->sent, 0, 0 },
		{ "refused", "blocks that the other side would not take", tally->refused, 0, 0 },
		{ "bytes", "written", tally->bytes, 0, 0 },
		{ "aborted", "transfers aborted by the replay", tally->aborted, 0, 0 },
		{ "cancelled", "transfers that the other side ended before they were complete", tally->cancelled, 0,
		  0 },
		{ "again_no_room", "attempts that found no room", tally->again_room, 0, 0 },
		{ "again_open", "attempts that found an earlier one open, or all requests", tally->again_open, 0, 0 },
		{ "again_lost", "attempts whose connection was lost", tally->again_lost, 0, 0 },
		{ "reconnected", "connections that were made again", tally->reconnected, 0, 0 },
		{ "seconds", "from the first transfer to the end of the last one", 0, remote->seconds, 3 },
		{ "megabytes_per_s", "10^6 bytes written in a second", 0, rate, 3 },
	};

	return replay_print_values(values, sizeof(values) / sizeof(*values), json);
}
