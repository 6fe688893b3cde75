#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Requests are aborted at any point of their life, by their owner and by another process. Each ends once: it was
# decoded, or aborted, and by one of the two. Nothing is left of it, no byte is wrong, and those who wait for a block
# that it was filling, or behind it for room, go on. In keep and drop, with room and without, with workers and without;
# and while processes are killed, wherever they are. (--long: ten seconds of kills each instead of one.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

requests=3000
seconds=1
[ -z "${KVSHM_TEST_LONG:-}" ] || seconds=10

# replay ARGUMENT...: with nothing wrong in the end. It says its seeds.
replay()
{
	local name

	echo "$*"
	try kvshm-replay --json --block-size 512 --planes 2 --procs 3 --in-flight 4 "$@"
	cat "$tmp/err" "$tmp/out"
	[ "$status" -eq 0 ] || fail "status $status"
	grep -q 'aborting .* of 100 requests with seed' "$tmp/err" || fail "no seed was told"
	for name in corrupt leaked missed_at_decoder; do
		[ "$(json_value $name)" = 0 ] || fail "$name is $(json_value $name)"
	done
}

# all_end: each request once.
all_end()
{
	aborted=$(($(json_value aborted_by_owner) + $(json_value aborted_by_other)))
	[ $(($(json_value requests) + aborted)) -eq $requests ] ||
		fail "$(json_value requests) decoded and $aborted aborted are not $requests"
}

replay_killing()
{
	replay --abort 20 "${case[@]}" --kill-every "$1" --seconds $seconds
}

for retain in keep drop; do
	for workers in "" --tickets; do
		for capacity in 100 2000; do
			# shellcheck disable=SC2206 # one word or none
			case=(--generate $requests --retain "$retain" --capacity "$capacity" $workers)
			replay --abort 20 "${case[@]}"
			all_end
			[ $aborted -ge $((requests * 15 / 100)) ] || fail "only $aborted were aborted"
			[ $aborted -le $((requests * 25 / 100)) ] || fail "$aborted were aborted"
			for name in aborted_by_owner aborted_by_other; do
				[ "$(json_value $name)" -gt 0 ] || fail "$name is 0"
			done
			[ $capacity -ne 100 ] || [ "$(json_value rooms_waited)" -gt 0 ] || fail "nobody waited for room"
		done
		with_kills 5 requests aborted_by_owner aborted_by_other claimed killed_decoder killed_holding killed:20
	done
	replay --abort 100 --generate $requests --retain $retain --capacity 1000
	all_end
	[ "$aborted" -gt $((requests / 2)) ] || fail "only $aborted were aborted"
done
