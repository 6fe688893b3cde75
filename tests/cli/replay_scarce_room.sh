#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Engines that together want more than the store has do not wait for each other for ever: requests wait in line for
# their room, whole or not at all, so that no fill is given up, every request ends, and none is a hit for being asked
# for again; so do requests longer than the store.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# all_end REQUESTS ARGUMENT...
all_end()
{
	must kvshm-replay --json --block-size 512 "${@:2}"
	cat "$tmp/out"
	[ "$(json_value requests)" = "$1" ] || fail "$(json_value requests) requests of $1 ended"
	[ "$(json_value leaked)" = 0 ] || fail "something has leaked"
	[ "$(json_value corrupt)" = 0 ] || fail "something is corrupt"
}

# Requests of 60 of 64 blocks, all different.
awk 'BEGIN { for (n = 0; n < 200; n++) {
	printf "{\"hash_ids\": ["
	for (i = 0; i < 60; i++)
		printf "%s%d", i ? ", " : "", 60 * n + i
	print "]}"
} }' >"$tmp/trace"
for retain in keep drop; do
	all_end 200 --procs 4 --in-flight 4 --capacity 64 --retain $retain "$tmp/trace"
	[ "$(json_value rooms_waited)" -gt 0 ] || fail "the store was large enough: nobody waited for room"
	[ "$(json_value given_up)" = 0 ] || fail "$(json_value given_up) fills were given up, for which there was room"
	[ "$(json_value hits)" = 0 ] || fail "$(json_value hits) hits, though no key comes twice"
done

# One engine that holds eight of them, and stores that are smaller than a request.
all_end 200 --in-flight 8 --capacity 64 "$tmp/trace"
for retain in keep drop; do
	for capacity in 1 7 59; do
		all_end 200 --capacity $capacity --retain $retain "$tmp/trace"
	done
	all_end 200 --procs 3 --in-flight 2 --capacity 30 --retain $retain "$tmp/trace"
done

# A request of no blocks ends, too; an id that comes twice in one request is a hit the second time.
printf '{"hash_ids": []}\n\n{"hash_ids": [1, 2, 1, 1, 18446744073709]}' >"$tmp/trace"
all_end 2 --capacity 8 "$tmp/trace"
[ "$(json_value hits)" = 2 ] || fail "$(json_value hits) hits, not 2"
