# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# deaths.sh: deaths in the middle of transfers, over any transport: of the receiver, and of a sender.
# shellcheck source=tests/rdma/replay.sh
. "$top_srcdir/tests/rdma/replay.sh"

# half_sent URL N: a receiver, and a sender that stands still in the middle of N requests.
half_sent()
{
	receive "$1" --size 128M --block-size 64K
	conversation "$2"
	decode
	start_replay "$url" --in-flight 8
	midway
}

# receiver_restarts URL N: the receiving kvshmd is killed while N requests are sent, and a new one adopts its store.
# Senders connect again, and send again what was not complete; every request is decoded whole, what had arrived is not
# sent twice, and nothing is left of those that were cut off.
receiver_restarts()
{
	half_sent "$1" "$2"
	end_kvshmd KILL
	receive "$url" --adopt
	kill -CONT "$sender"
	wait "$sender" || fail "kvshm-replay: $(cat "$tmp/replay.err" "$tmp/kvshmd.log")"
	tr -d '\n' <"$tmp/sent"
	equal "requests that were sent" "$(sent requests)" "$2"
	[ "$(sent reconnected)" -ge 1 ] || fail "it did not connect again"
	end_decode
	equal "requests that were decoded" "$(decoded distinct)" "$2"
	settles
	end_kvshmd TERM
}

# sender_dies URL N: a sender is killed in the middle of N requests. Its fills are given up, so that an engine at the
# receiver, which waits for the same keys, goes on and fills them; nothing is left of them; and another sender sends
# all of the first 40 requests, which that engine had.
sender_dies()
{
	half_sent "$1" "$2"
	kill -KILL "$sender"
	head -n 40 "$tmp/trace" >"$tmp/first"
	"$KVSHM_BIN/kvshm-replay" --store "$store" --json "$tmp/first" >"$tmp/local" 2>&1 ||
		fail "the engine: $(cat "$tmp/local")"
	wait "$sender"
	mv "$tmp/first" "$tmp/trace" # the decoder has read it
	must_replay "$url" --in-flight 8
	equal "requests that were sent" "$(sent requests)" 40
	end_decode
	settles
	end_kvshmd TERM
}
