#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A decoder is stopped. Complete requests that it does not claim are closed by their owner after --claim-timeout, and
# counted. Those who wait for room that it holds are told at their deadline, and try again. Once it goes on, everything
# does, and nothing is lost.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# is_some NAME: of the last document.
is_some() { [ "$(json_value "$1")" ] && [ "$(json_value "$1")" -gt 0 ]; }

# stop_until NAME ARGUMENT...: stops the decoder of a replay's first engine until the store has counted that. Where it
# is stopped decides what comes of it: so it is let go on for a while, and stopped anew, as long as that takes.
stop_until()
{
	local counter=$1 looks

	start_kvshmd --store "$store" --size 256K --block-size 4K --retain drop
	"$KVSHM_BIN/kvshm-replay" --store "$store" --json "${@:2}" >"$tmp/result" 2>"$tmp/err" &
	replay=$!
	started+=("$replay")
	until decoder=$("$KVSHM_BIN/kvshm-stat" --store "$store" --clients --columns name,pid |
		sed -n 's/^ *replay-decoder-0 *//p') && [ "$decoder" ]; do
		kill -0 "$replay" || fail "the replay has ended: $(cat "$tmp/err")"
	done
	: >"$tmp/out"
	until is_some "$counter"; do
		kill -STOP "$decoder" || fail "the replay has ended: $(cat "$tmp/err")"
		for ((looks = 0; looks < 300; looks++)); do
			must kvshm-stat --store "$store" --json
			! is_some "$counter" || break
		done
		kill -CONT "$decoder"
	done
	kill -TERM "$replay"
	status=0
	wait "$replay" 2>/dev/null || status=$?
	cp "$tmp/result" "$tmp/out"
	cat "$tmp/err" "$tmp/out"
	[ "$status" -eq 143 ] || fail "status $status after SIGTERM"
	is_some requests || fail "no request has ended"
	[ "$(json_value leaked)" = 0 ] || fail "something has leaked"
	[ "$(json_value corrupt)" = 0 ] || fail "something is corrupt"
	end_kvshmd TERM
}

printf '{"hash_ids": [0, 1, 2, 3, 4, 5, 6, 7]}\n' >"$tmp/trace"
stop_until requests_unclaimed --in-flight 2 --claim-timeout 1 --seconds 60 "$tmp/trace"
is_some unclaimed || fail "no request was closed for want of a claim"

# Two requests do not fit at the same time.
awk 'BEGIN { printf "{\"hash_ids\": [0"; for (i = 1; i < 40; i++) printf ", %d", i; print "]}" }' >"$tmp/trace"
stop_until rooms_timed_out --procs 2 --seconds 60 "$tmp/trace"
is_some rooms_timed_out || fail "nobody was told that there was no room"
