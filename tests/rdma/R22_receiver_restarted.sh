#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The receiving kvshmd is killed in the middle of transfers, and a new one adopts its store: senders connect again and
# send again what was not complete; every request is decoded whole, what had arrived is not sent twice, and nothing is
# left of those that were cut off. Over TCP and over RDMA.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_guest
device rxe
conversation 60

restarted()
{
	local url=$1

	receive "$url" --size 128M --block-size 64K
	decode
	start_replay "$url" --in-flight 8
	midway
	end_kvshmd KILL
	receive "$url" --adopt
	kill -CONT "$sender"
	wait "$sender" || fail "kvshm-replay: $(cat "$tmp/replay.err" "$tmp/kvshmd.log")"
	tr -d '\n' <"$tmp/sent"
	equal "requests that were sent" "$(sent requests)" 60
	[ "$(sent reconnected)" -ge 1 ] || fail "it did not connect again"
	end_decode
	equal "requests that were decoded" "$(decoded distinct)" 60
	settles
	end_kvshmd TERM
}

restarted "tcp://$address"
restarted "rdma://$address"
