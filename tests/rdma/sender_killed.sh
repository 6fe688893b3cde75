#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A sender is killed in the middle of its transfers, over TCP and over RDMA: its fills are given up, so that an engine
# at the receiver, which waits for the same keys, goes on and fills them; nothing is left of them; and another sender
# sends all.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_guest
device rxe
conversation 200
head -n 40 "$tmp/trace" >"$tmp/first"

killed()
{
	local url=$1

	receive "$url" --size 128M --block-size 64K
	decode
	start_replay "$url" --in-flight 8
	midway
	kill -KILL "$sender"
	"$KVSHM_BIN/kvshm-replay" --store "$store" --json "$tmp/first" >"$tmp/local" 2>&1 ||
		fail "the engine: $(cat "$tmp/local")"
	wait "$sender"
	cp "$tmp/trace" "$tmp/all"
	cp "$tmp/first" "$tmp/trace"
	must_replay "$url" --in-flight 8
	cp "$tmp/all" "$tmp/trace"
	equal "requests that were sent" "$(sent requests)" 40
	end_decode
	settles
	end_kvshmd TERM
}

killed "tcp://$address"
killed "rdma://$address"
