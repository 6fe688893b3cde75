#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# As two_nodes.sh, with 100 requests, and a cable that loses one packet of a hundred in each direction. The connection
# stands that.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_pair
device rxe
must_run modprobe sch_netem
must_run tc qdisc add dev "$interface" root netem loss 1%

conversation 100
if [ "$KVSHM_GUEST" = a ]; then
	receive "rdma://$address" --size 128M --block-size 64K
	decode
	tell ready
	await sent
	end_decode
	equal "requests that were decoded" "$(decoded distinct)" 100
	settles
else
	make_key
	await ready
	# What is lost while they connect librdmacm says once more after five seconds.
	must_replay "rdma://$network.1" --in-flight 8 --timeout 30000
	equal "requests that were sent" "$(sent requests)" 100
	equal "connections that were lost: $(cat "$tmp/replay.err")" "$(sent reconnected)" 0
	tell sent
fi
tc -s qdisc show dev "$interface" | grep -qE 'dropped [1-9]' || fail "nothing was lost on the way"
