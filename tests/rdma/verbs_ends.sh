#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# How links over Soft-RoCE end: killed processes, ports that go down, memory that may not be locked, options that do not
# fit; and that their end is a fence. Over IPv6, and with two devices. Then a device is removed in the middle of
# transfers: it goes, kvshmd lives on and listens again as soon as the device is back, the sender sends again what was
# cut off, and nothing is left of it in the store.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_guest
device rxe
second_device rxe1 kvshm1 10.78.0.1
ends=$KVSHM_BIN/../tests/rdma/verbs_ends
export KVSHM_TEST_INTERFACE=$interface KVSHM_TEST_DEVICE=rxe0 KVSHM_TEST_OTHER_DEVICE=rxe1
KVSHM_TEST_GID=$(gid_index rxe0) must_run "$ends" "rdma://$address:7471"
must_run ip address add fd00:77::1/64 dev "$interface" nodad # here: a link that goes down loses it
must_run "$ends" "rdma://[fd00:77::1]:7471" device_port_gid_and_traffic_class_are_taken

"$KVSHM_BIN/../tests/cli/trace" make chats 2 | head -n 40 >"$tmp/trace"
receive "rdma://$address" --size 8M --block-size 4K
decode
start_replay "$url" --in-flight 4
midway
kill -CONT "$sender"
must_run rdma link delete rxe0
grep -q "^kvshmd: $url: the RDMA device .* was removed: put it back" "$tmp/kvshmd.log" ||
	fail "kvshmd does not say so: $(cat "$tmp/kvshmd.log")"
must_run rdma link add rxe0 type rxe netdev "$interface"
wait "$sender" || fail "kvshm-replay: $(cat "$tmp/replay.err" "$tmp/kvshmd.log")"
cat "$tmp/kvshmd.log"
tr -d '\n' <"$tmp/sent"
equal "requests that were sent" "$(sent requests)" 40
[ "$(sent reconnected)" -ge 1 ] || fail "it did not connect again"
equal "times that kvshmd began to listen" "$(grep -c '^kvshmd: listening at' "$tmp/kvshmd.log")" 2
end_decode
equal "requests that were decoded" "$(decoded distinct)" 40
settles
