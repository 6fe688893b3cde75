#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# SIGTERM, SIGINT and SIGHUP end a replay early: the result so far is printed, the status says the signal, engines and
# store are gone. An engine that somebody else kills is one killed. Engines do not outlive a replay that is killed. The
# same holds for engines of several processes (--tickets).
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

dir=$shm/kvshm.${KVSHM_TEST_PREFIX}dir
mkdir "$dir" || fail "no directory"

# start_replay [ARGUMENT]...: returns when its engines are at work. $replay is its process.
start_replay()
{
	# A background job of a script would ignore SIGINT: env sets it right.
	env --default-signal=INT "$KVSHM_BIN/kvshm-replay" --dir "$dir" --procs 2 --in-flight 2 --capacity 1000 \
		"$@" --seconds 60 --generate 100 --json >"$tmp/result" 2>"$tmp/err" &
	replay=$!
	started+=("$replay")
	: >"$tmp/out"
	until [ "$(json_value fills)" ] && [ "$(json_value fills)" -gt 0 ]; do
		try kvshm-stat --dir "$dir" --json
		kill -0 "$replay" || fail "the replay has ended: $(cat "$tmp/err")"
	done
}

engines() { cat "/proc/$replay/task/$replay/children"; }

# gone PID...: returns when these have ended.
gone()
{
	for pid; do
		while grep -q '^State:[[:space:]][^ZX]' "/proc/$pid/status" 2>/dev/null; do :; done
	done
}

# ends_early [ARGUMENT]...
ends_early()
{
	local signal pid pids first left

	for signal in TERM INT HUP; do
		start_replay "$@"
		pids=$(engines)
		kill "-$signal" "$replay"
		status=0
		wait "$replay" 2>/dev/null || status=$?
		[ "$status" -eq $((128 + $(kill -l $signal))) ] ||
			fail "status $status after SIG$signal: $(cat "$tmp/err")"
		cp "$tmp/result" "$tmp/out"
		[ "$(json_value requests)" -gt 0 ] || fail "no result after SIG$signal"
		[ "$(json_value leaked)" = 0 ] || fail "something has leaked after SIG$signal"
		left=$(ls -A "$dir")
		[ -z "$left" ] || fail "left behind after SIG$signal: $left"
		for pid in $pids; do
			[ ! -e "/proc/$pid" ] || fail "engine $pid is still there after SIG$signal"
		done
	done

	start_replay "$@"
	read -r first _ < <(engines)
	kill -KILL "$first"
	gone "$first"
	kill -TERM "$replay"
	wait "$replay" 2>/dev/null
	cp "$tmp/result" "$tmp/out"
	[ "$(json_value killed)" = 1 ] || fail "killed is $(json_value killed), not 1: $(cat "$tmp/err")"
	[ "$(json_value leaked)" = 0 ] || fail "something has leaked"

	start_replay "$@"
	pids=$(engines)
	kill -KILL "$replay"
	wait "$replay" 2>/dev/null
	# shellcheck disable=SC2086 # pids are words
	gone $pids
	rm -f "$dir"/kvshm.replay-* # its store stays
}

ends_early
ends_early --tickets --planes 2
