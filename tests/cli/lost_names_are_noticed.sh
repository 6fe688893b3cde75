#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshmd notices when its store has lost its name, whichever file of it: it says so, once, with what does that; attached
# engines go on; it ends as ever, and takes no name that is another's by then.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

segment=$shm/kvshm.$store

# says_so: returns when kvshmd has said it. Its stderr is a fifo here.
says_so()
{
	local line=

	read -r line <&"$log"
	[[ $line = "kvshmd: store '$store' has lost its name in $shm: "*"RemoveIPC=yes"*"nobody new can attach"* ]] ||
		fail "said: $line"
}

for what in "unlink $segment" "unlink $segment.p1" "mv $segment.p0 $segment.p1"; do
	rm -f "$tmp/ready" "$tmp/log"
	mkfifo "$tmp/ready" "$tmp/log" || fail "no fifo"
	"$KVSHM_BIN/kvshmd" --store "$store" --size 1M --block-size 4K --planes 2 2>"$tmp/log" >"$tmp/ready" &
	kvshmd_pid=$!
	started+=("$kvshmd_pid")
	exec {log}<"$tmp/log"
	read -r _ <"$tmp/ready"
	start_client a "$store"
	$what
	says_so
	ask a fill begin one
	ask a ok publish one
	refused 1 "$store" kvshmd --store "$store" --adopt
	end_kvshmd TERM
	[ "$status" -eq 0 ] || fail "$what: status $status"
	# Nothing more than who is still attached.
	! grep -v "still attached" <&"$log" || fail "$what: it says more"
	kill_client a
	rm -f "$segment"*
done
nothing_left
