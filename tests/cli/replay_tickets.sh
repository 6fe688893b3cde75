#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R26, R27: engines of a scheduler and a worker for each plane share a store, and one of their processes is killed every
# few ms. A hit at a scheduler is a hit at each of its workers, a block is whole in every plane or absent, and nothing
# of the dead is left: in keep and drop, with room and without. Without kills one engine hits exactly what an engine
# without workers hits. Nobody waits for ever for room, nor for another engine. (--long: ten seconds each instead of
# two.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=2
[ -z "${KVSHM_TEST_LONG:-}" ] || seconds=10

# is NAME VALUE: of the last result.
is() { [ "$(json_value "$1")" = "$2" ] || fail "$what: $1 is '$(json_value "$1")', not '$2'"; }

# replay WHAT ARGUMENT...: with nothing wrong in the end.
replay()
{
	what=$1
	try kvshm-replay --json "${@:2}"
	echo "$what"
	cat "$tmp/err" "$tmp/out"
	[ "$status" -eq 0 ] || fail "$what: status $status"
	is corrupt 0
	is leaked 0
}

# What both kinds of engine find.
common() { grep -E '"(requests|block_refs|hits|filled|evicted|waited|given_up)"' "$tmp/out"; }

# between_kills: how many ms kvshm-replay is to leave between kills: 5; or where it is slow, as under an emulator, the
# time of twenty requests, as the last result had it without kills. With less, whoever begins one is killed before its
# end.
between_kills()
{
	awk -v seconds="$(json_value seconds)" -v requests="$(json_value requests)" \
		'BEGIN { ms = int(20000 * seconds / requests); print (ms > 5 ? ms : 5) }'
}

replay_killing()
{
	replay "$retain, $capacity blocks, a kill every $1 ms" --generate 3000 --retain "$retain" \
		--capacity "$capacity" --planes 4 --tickets --procs 2 --in-flight 8 --kill-every "$1" --seconds $seconds
	is missed_at_worker 0
}

for retain in keep drop; do
	for capacity in 100 2000; do
		case=(--generate 3000 --retain "$retain" --capacity "$capacity" --planes 4)
		replay "$retain, $capacity blocks, without workers" "${case[@]}"
		common >"$tmp/plain"
		replay "$retain, $capacity blocks" "${case[@]}" --tickets
		common >"$tmp/tickets"
		difference=$(diff "$tmp/plain" "$tmp/tickets") || fail "$what: not as without workers: $difference"
		is missed_at_worker 0
		is asked_again 0
		is killed 0
		is joined $((4 * $(json_value filled)))
	done
	every=$(between_kills)
	for capacity in 100 10000; do
		with_kills "$every" requests filled joined held_by_ticket killed_scheduler killed_worker \
			killed_holding killed:10
	done
done

# Requests of 60 of 64 blocks, all different: engines that together want more than there is. Each ends.
awk 'BEGIN { for (n = 0; n < 100; n++) {
	printf "{\"hash_ids\": ["
	for (i = 0; i < 60; i++)
		printf "%s%d", i ? ", " : "", 60 * n + i
	print "]}"
} }' >"$tmp/trace"
for capacity in 7 64; do
	replay "scarce, $capacity blocks" --tickets --procs 3 --in-flight 4 --planes 2 --capacity $capacity \
		--block-size 512 "$tmp/trace"
	is requests 100
	is hits 0
	is missed_at_worker 0
done

# A request of no blocks ends, too; an id that comes twice in one request is a hit the second time, and waits for none
# but its own engine.
printf '{"hash_ids": []}\n{"hash_ids": [1, 2, 1, 1, 18446744073709]}' >"$tmp/trace"
for tickets in --tickets ""; do
	# shellcheck disable=SC2086 # one word or none
	replay "an id twice" $tickets --capacity 8 "$tmp/trace"
	is requests 2
	is hits 2
	is waited 0
done
