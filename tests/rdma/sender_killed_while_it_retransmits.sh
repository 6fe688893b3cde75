#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A sender is killed while its device retransmits what it writes from its own store's blocks: the cable loses packets,
# and then all that the receiver answers. At the receiver nothing is published that is not whole, and nothing is left of
# the rest. The sender's own store is sound, its blocks have the bytes that they had, and each can be filled anew (E2).
# Then nobody answers a sender in the middle of what it sends: it says so when its device has given up.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_pair
device rxe
must_run modprobe sch_netem
keys=()
for ((i = 0; i < 60; i++)); do keys+=("key-$i"); done

counter() { cat "/sys/class/infiniband/rxe0/ports/1/hw_counters/$1"; }

# answers ID CALL: of the client, one for each key, on one line.
answers()
{
	local key answer

	for key in "${keys[@]}"; do
		echo "$2 $key" >&"${client_in[$1]}"
		read -r answer <&"${client_out[$1]}"
		echo "$key=$answer"
	done
}

# fill ID PREFIX: all blocks of the store, with keys of that beginning, by a client that is killed then.
fill()
{
	local key

	start_client "$1" "$store"
	for key in "${keys[@]}"; do
		ask "$1" fill begin "$2$key"
		ask "$1" ok publish "$2$key"
	done
	kill_client "$1"
}

if [ "$KVSHM_GUEST" = a ]; then
	receive "rdma://$address" --size 64M --block-size 512K
	tell ready
	await begun
	base=$(counter rcvd_pkts)
	# Of more than 6,600 packets: some have come, perhaps more than once, and not all.
	until [ "$(counter rcvd_pkts)" -gt $((base + 3000)) ]; do :; done
	before=$(counter duplicate_request)
	must_run tc qdisc add dev "$interface" root netem loss 100%
	until [ "$(counter duplicate_request)" -gt "$before" ]; do :; done
	tell deaf
	await killed
	must_run tc qdisc del dev "$interface" root
	settles
	start_client engine "$store"
	answers engine read >"$tmp/read"
	# Its text is its key's, or it is not there.
	whole=$(grep -cE '^(.*)=\1$' "$tmp/read")
	missing=$(grep -c '=ENOENT$' "$tmp/read")
	echo "whole: $whole, missing: $missing"
	equal "keys that are whole, or not there" $((whole + missing)) 60
	[ "$whole" -ge 8 ] || fail "what was sent before is not there: $(cat "$tmp/read")"
	[ "$missing" -gt 0 ] || fail "it was not killed in the middle: $(cat "$tmp/read")"
	kill_client engine
	tell ready
	await cut
	settles
else
	make_key
	start_kvshmd --store "$store" --size 30M --block-size 512K
	fill first ''
	must_run tc qdisc add dev "$interface" root netem loss 1%
	await ready
	send=("$KVSHM_BIN/kvshm-send" --store "$store" --key-file "$key" --to "rdma://$network.1")
	must_run "${send[@]}" "${keys[@]:0:8}"
	tell begun
	"${send[@]}" "${keys[@]}" >"$tmp/out" 2>&1 &
	sender=$!
	started+=("$sender")
	await deaf
	kill -KILL "$sender" || fail "it had ended: $(cat "$tmp/out")"
	wait "$sender"
	tell killed
	settles
	start_client engine "$store"
	answers engine read >"$tmp/read"
	equal "keys that are as they were" "$(grep -cE '^(.*)=\1$' "$tmp/read")" 60
	kill_client engine
	fill second new-
	settles
	await ready
	base=$(counter sent_pkts)
	# Of that the device takes 7.5 s to send again, and gives up: before the sender takes the silence for an end.
	"${send[@]}" --timeout 10000 "${keys[@]/#/new-}" >"$tmp/out" 2>&1 &
	sender=$!
	started+=("$sender")
	until [ "$(counter sent_pkts)" -gt $((base + 1000)) ]; do
		kill -0 "$sender" || fail "it ended: $(cat "$tmp/out")"
	done
	must_run tc qdisc change dev "$interface" root netem loss 100%
	! wait "$sender" || fail "nobody answered, and it is content: $(cat "$tmp/out")"
	grep 'no answer, after all retransmissions: is that node up' "$tmp/out" || fail "it says: $(cat "$tmp/out")"
	must_run tc qdisc del dev "$interface" root
	tell cut
	settles
fi
