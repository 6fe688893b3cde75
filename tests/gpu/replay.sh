#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-replay --pool: a trace through blocks in GPU memory, with processes killed all the time: every byte is the right
# one, nothing is left, in a store of either export, and with workers of a plane each. What can't be is refused.
# (--long: ten seconds each instead of two.)
# shellcheck source=tests/gpu/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=2
[ -z "${KVSHM_TEST_LONG:-}" ] || seconds=10
own_directory

replay_killing()
{
	local name

	try kvshm-replay --pool cuda:0,cuda:1 --procs 2 --in-flight 4 --capacity 2000 --kill-every "$1" \
		--seconds $seconds --generate 3000 --json "${more[@]}"
	echo "${more[*]}: a kill every $1 ms"
	cat "$tmp/err" "$tmp/out"
	[ "$status" -eq 0 ] || fail "${more[*]}: status $status"
	for name in corrupt leaked missed_at_decoder; do
		[ "$(json_value $name)" = 0 ] || fail "${more[*]}: $name is $(json_value $name)"
	done
	[ -z "$(ls "$shm")" ] || fail "it has left $(ls "$shm")"
}

for words in "--export fd" "--export ipc" "--tickets" "--retain drop"; do
	read -r -a more <<<"$words"
	with_kills 20 requests hits filled killed_holding killed:20
done

# The same hits as in host memory.
hits_of()
{
	try kvshm-replay --capacity 3000 --generate 200 --json "$@"
	[ "$status" -eq 0 ] || fail "$*: status $status: $(cat "$tmp/err")"
	json_value hits
}
host=$(hits_of)
gpu=$(hits_of --pool cuda:1)
[ "$host" = "$gpu" ] || fail "$gpu hits, $host in host memory"

refused 1 "can't see cuda:9: CUDA shows it 2" kvshm-replay --pool cuda:9 --capacity 10 --generate 3
