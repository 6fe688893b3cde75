#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R19, D1: kvshmd gives back what a killed client held (refs, pins, fills, its slot) within a second of its end, while
# no other client does anything. The time is measured, not waited for: when the last look began that still saw the
# client. A busy machine may let kvshmd stand still: so one of five may be late.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

start_kvshmd --store "$store" --size 1M --block-size 4K --clients 2
start_client watcher "$store"
slowest=0
late=0
for round in 1 2 3 4 5; do
	start_client victim "$store"
	ask victim fill begin "ready-$round"
	ask victim ok publish "ready-$round"
	ask victim ok pin "ready-$round"
	ask victim fill begin "unready-$round"
	shows filling 1
	shows held 2
	shows pinned 1
	kill_client victim
	end=$(date +%s%N)
	took=0
	while look=$(date +%s%N); must kvshm-stat --store "$store" --json
		grep -q "\"pid\": ${client_pid[victim]}," "$tmp/out"; do
		took=$(((look - end) / 1000000))
		[ "$took" -lt 20000 ] || fail "not recovered"
	done
	[ "$took" -le "$slowest" ] || slowest=$took
	[ "$took" -lt 1000 ] || late=$((late + 1))
	shows recoveries "$round"
	shows filling 0
	shows held 0
	shows pinned 0
	shows refs 0
	ask watcher "ready-$round" read "ready-$round"
	ask watcher ok release "ready-$round"
	ask watcher ENOENT read "unready-$round"
	must kvshm-check --store "$store"
done
echo "slowest recovery: more than $slowest ms after the end of the process"
[ "$late" -le 1 ] || fail "$late of $round were not recovered a second after their ends"
end_kvshmd TERM
[ "$(grep -c "client .* is dead" "$tmp/kvshmd.log")" -eq "$round" ] || fail "the log: $(cat "$tmp/kvshmd.log")"
nothing_left
