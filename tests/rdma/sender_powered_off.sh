#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The sender's node loses its power in the middle of its transfers, and says nothing: after its silence was too long its
# fills are given up, an engine at the receiver fills the same keys, and nothing is left of the transfers.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_pair
device rxe
conversation 200
head -n 40 "$tmp/trace" >"$tmp/first"

if [ "$KVSHM_GUEST" = a ]; then
	receive "rdma://$address" --size 256M --block-size 64K --timeout 2000
	decode
	tell ready
	watch
	until next_look && under_way; do
		if [ "$whole" ] && [ "$filling" = 0 ] && [ "$completed" = 0 ]; then
			must kvshm-stat --store "$store" --json
			[ "$(json_value requests_completed)" -lt 200 ] || fail "all have come: nothing is in the middle"
		fi
	done
	tell off
	end_watch
	"$KVSHM_BIN/kvshm-replay" --store "$store" --json "$tmp/first" >"$tmp/local" 2>&1 ||
		fail "the engine: $(cat "$tmp/local")"
	end_decode
	settles
else
	make_key
	await ready
	start_replay "rdma://$network.1" --in-flight 8
	await off
	echo 0 >/out/.status.b
	busybox poweroff -f
fi
