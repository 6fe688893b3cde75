#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-replay through a store of kvshmd's: the blocks stay and are hits the next time; a byte that is wrong in any
# plane is found (status 2); what the command line says of the store must be so; a store that ends under the replay ends
# it.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# is NAME VALUE: of the last result.
is()
{
	[ "$(json_value "$1")" = "$2" ] || fail "$1 is '$(json_value "$1")', not '$2': $(cat "$tmp/out" "$tmp/err")"
}

printf '{"hash_ids": [0, 1, 2, 3, 4, 5, 6, 7]}\n{"hash_ids": [0, 1, 2, 3, 8, 9, 10, 11]}\n' >"$tmp/trace"
start_kvshmd --store "$store" --size 48K --block-size 4K --planes 2
must kvshm-replay --store "$store" --json "$tmp/trace"
is filled 12
is hits 4
shows ready 12
must kvshm-replay --store "$store" --capacity 12 --block-size 4K --planes 2 --retain keep --procs 2 --json "$tmp/trace"
is filled 0
is hits 16
is hit_rate 1.0
is corrupt 0

refused 1 "--capacity 13: store '$store' has 12" kvshm-replay --store "$store" --capacity 13 "$tmp/trace"
refused 1 "--block-size 8192: store '$store' has 4096" kvshm-replay --store "$store" --block-size 8K "$tmp/trace"
refused 1 "--planes 1: store '$store' has 2" kvshm-replay --store "$store" --planes 1 "$tmp/trace"
refused 1 "--retain drop: store '$store' has keep" kvshm-replay --store "$store" --retain drop "$tmp/trace"

# Somebody else's bytes in the last 8 of each block of the second plane.
for ((block = 0; block < 12; block++)); do
	printf 'nonsense' | dd of="$shm/kvshm.$store.p1" bs=8 seek=$((512 * block + 511)) conv=notrunc status=none
done
# The engine finds each, and so does its decoder.
try kvshm-replay --store "$store" --json "$tmp/trace"
[ "$status" -eq 2 ] || fail "status $status, not 2, for corrupt blocks"
is corrupt 32
is leaked 0
grep -q "its bytes are not those of its key" "$tmp/err" || fail "no message: $(cat "$tmp/err")"

# The same by tickets: each worker compares its plane, and finds those of the second.
try kvshm-replay --store "$store" --tickets --json "$tmp/trace"
[ "$status" -eq 2 ] || fail "status $status, not 2, for blocks that are corrupt in one plane (R27)"
is corrupt 32
is missed_at_worker 0
end_kvshmd TERM

start_kvshmd --store "$store" --size 48K --block-size 4K --planes 2 --clients 5
must kvshm-replay --store "$store" --tickets --json "$tmp/trace"
refused 1 "are 8 processes: the store takes 5 clients" kvshm-replay --store "$store" --tickets --procs 2 "$tmp/trace"
refused 1 "are 6 processes: the store takes 5 clients" kvshm-replay --store "$store" --procs 3 "$tmp/trace"
refused 1 "are 2046 requests: the store takes 1024; use a smaller --in-flight" \
	kvshm-replay --store "$store" --procs 2 --in-flight 1023 "$tmp/trace"
end_kvshmd TERM

start_kvshmd --store "$store" --size 1M --block-size 512 --key-max 31
refused 1 "keys of up to 31 bytes" kvshm-replay --store "$store" "$tmp/trace"
end_kvshmd TERM

start_kvshmd --store "$store" --size 1M --block-size 512
"$KVSHM_BIN/kvshm-replay" --store "$store" --procs 2 --seconds 60 "$tmp/trace" >"$tmp/out" 2>"$tmp/err" &
replay=$!
started+=("$replay")
until [ "$(json_value fills)" ] && [ "$(json_value fills)" -gt 0 ]; do
	must kvshm-stat --store "$store" --json
done
: >"$tmp/out"
end_kvshmd TERM
wait "$replay"
status=$?
[ "$status" -eq 1 ] || fail "status $status, not 1, when the store was destroyed"
[ -s "$tmp/err" ] || fail "no message when the store was destroyed"
[ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "several messages: $(cat "$tmp/err")"
nothing_left
