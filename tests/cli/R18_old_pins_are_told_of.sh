#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R18: kvshmd tells the log of a living client's pins that are older than --pin-timeout, with owner, request and age,
# once each, and counts them; nothing is taken from the client. Without a timeout it tells nothing.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# told PATTERN: the next line of the log, which is a fifo here, is of that pattern.
told()
{
	local line=

	read -r line <&"$log"
	[[ $line =~ $1 ]] || fail "said: $line, not $1"
}

# begin TIMEOUT
begin()
{
	rm -f "$tmp/ready" "$tmp/log"
	mkfifo "$tmp/ready" "$tmp/log" || fail "no fifo"
	"$KVSHM_BIN/kvshmd" --store "$store" --size 1M --block-size 4K --pin-timeout "$1" 2>"$tmp/log" >"$tmp/ready" &
	kvshmd_pid=$!
	started+=("$kvshmd_pid")
	exec {log}<"$tmp/log"
	read -r _ <"$tmp/ready"
}

begin 1
start_client one "$store"
start_client two "$store"
ask one fill begin k1
ask one ok publish k1
ask one ok pin k1
ask one ok pin k1
ask two ok open a-request
ask two ok take k2
ask two ok take k3
ask two ok take k4
told "client 0 \\(process ${client_pid[one]}, client\\) has held 2 pins of block [0-9]+, of no request, for [0-9]+ s"
told "client 1 \\(process ${client_pid[two]}, client\\) has held 3 pins of request 'a-request', attempt 1, for [0-9]+ s"
shows pins_overdue 5
shows pins 5

# Of what comes later it is told too; and of nothing twice.
ask one ok open $'\x01\xff'
ask one ok take k2
told "client 0 .* has held 1 pin of request 0x01ff, attempt 1, for [0-9]+ s"
shows pins_overdue 6
shows pins 6
ask two ok end a-request
shows pins 3
end_kvshmd TERM
! grep -v "still attached" <&"$log" || fail "it says more"

begin 0
start_client three "$store"
ask three ok open a-request
ask three ok take k1
start_client victim "$store"
kill_client victim
until must kvshm-stat --store "$store" --json && [ "$(json_value recoveries)" = 1 ]; do # kvshmd has looked around
	:
done
refused 1 "a number is wanted" kvshmd --store "$store" --pin-timeout 1.5
refused 1 "the most is 31536000" kvshmd --store "$store" --pin-timeout 31536001
end_kvshmd TERM
! grep -v -e "still attached" -e "is dead" <&"$log" || fail "told, though it was to tell nothing"
