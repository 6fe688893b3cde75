#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat --peers: each connection to another node, and what went over it; in all three forms. A dead client's are
# gone when it is recovered, and kvshm-check finds nothing.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory

# rows ARGUMENT...: the rows of kvshm-stat, without titles and with single blanks.
rows()
{
	must kvshm-stat "$@"
	sed -n '3,$p' "$tmp/out" | sed '/^$/,$d' | tr -s ' ' | sed 's/^ //; s/ $//'
}

expect() { [ "$1" = "$2" ] || fail "'$1', not '$2'"; }

start_kvshmd --store a --size 64K --block-size 4K --clients 4
must kvshm-stat --peers
expect "$(tr '\n' ' ' <"$tmp/out")" "peers:   none "
coproc PEERS { exec "$(dirname "$KVSHM_BIN")/tests/cli/peers" a; }
peers=$PEERS_PID
read -r -t 10 answer <&"${PEERS[0]}" || fail "the client did not begin"
expect "$answer" ok

expect "$(rows --peers --columns peer,client,name,direction,transport,remote,requests,sent_wants,retries)" \
	"$(printf '%s\n' "0 0 peers in rdma 10.0.0.2:40000 0 13 19" "1 0 peers out tcp [::1]:7471 1000 1013 1019")"
expect "$(rows --list --peers --columns store,peer,round_trip,round_trip_mean | head -n 1)" "a 0 3.0us 2.0us"
must kvshm-stat --peers --json
expect "$(json_value round_trip)" 3e-6
grep -q '"node": "prefill?"' "$tmp/out" || fail "a control character: $(cat "$tmp/out")"
grep -q '"peer_store": "engine"' "$tmp/out" || fail "no store: $(cat "$tmp/out")"
must kvshm-stat --prometheus
grep -E '^kvshm_peer_blocks_total\{store="a",peer="1",.*direction="out".*node="decode \\"b\\"".*\} 1001$' "$tmp/out" \
	>/dev/null || fail "no such sample: $(grep peer "$tmp/out")"
grep -qE '^kvshm_peer_windows_bound_total\{.*\} 16$' "$tmp/out" || fail "not all of it: $(grep peer "$tmp/out")"
grep -qE '^kvshm_peer_round_trip_seconds\{.*\} 3e-06$' "$tmp/out" || fail "no time: $(grep peer "$tmp/out")"
must kvshm-check --store a

kill -KILL "$peers"
wait "$peers" || true
end=$((SECONDS + 20))
while must kvshm-stat --peers; grep -q rdma "$tmp/out"; do
	[ "$SECONDS" -lt "$end" ] || fail "not recovered"
done
expect "$(tr '\n' ' ' <"$tmp/out")" "peers:   none "
must kvshm-check --store a
end_kvshmd TERM
