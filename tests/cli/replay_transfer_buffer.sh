#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The life of a transfer buffer from prefill to decode: in a drop store that is far smaller than what goes through it,
# each request has its room, is filled, complete, and claimed by another process, which reads the right bytes by its own
# holds, also where it has asked for the request's end before. No block is lost between the two, none is taken away for
# want of room, and none is in use in the end.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# is NAME VALUE: of the last result.
is() { [ "$(json_value "$1")" = "$2" ] || fail "$workers: $1 is '$(json_value "$1")', not '$2'"; }

# 500 requests of 40 blocks, all different, through 100.
awk 'BEGIN { for (n = 0; n < 500; n++) {
	printf "{\"hash_ids\": ["
	for (i = 0; i < 40; i++)
		printf "%s%d", i ? ", " : "", 40 * n + i
	print "]}"
} }' >"$tmp/trace"
start_kvshmd --store "$store" --size 400K --block-size 4K --planes 2 --retain drop
for workers in "" --tickets; do
	# shellcheck disable=SC2086 # one word or none
	must kvshm-replay --store "$store" --procs 3 --in-flight 4 $workers --json "$tmp/trace"
	cat "$tmp/out"
	for name in requests completed claimed; do
		is $name 500
	done
	is filled 20000
	for name in evicted given_up rooms_timed_out corrupt missed_at_decoder leaked; do
		is $name 0
	done
	[ "$(json_value rooms_waited)" -gt 0 ] || fail "nobody waited for room"
	for name in ready held filling doomed owned; do
		shows $name 0
	done
	[ $(($(json_value free) + $(json_value grace))) -eq 100 ] || fail "not all blocks are free"
done
