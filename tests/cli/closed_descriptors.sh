#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Tools that are started with standard descriptors closed do not write into the files that get their numbers.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

"$KVSHM_BIN/kvshmd" --store "$store" --size 1M --block-size 4K <&- >&- 2>&- &
kvshmd_pid=$!
started+=("$kvshmd_pid")
until status=0; "$KVSHM_BIN/kvshm-stat" --store "$store" >"$tmp/out" 2>&1; do
	kill -0 "$kvshmd_pid" || fail "kvshmd has ended"
done
for fd in 0 1 2; do
	[ "$(readlink "/proc/$kvshmd_pid/fd/$fd")" = /dev/null ] ||
		fail "descriptor $fd is $(readlink "/proc/$kvshmd_pid/fd/$fd")"
done
unlink "$shm/kvshm.$store.p0" # it has something to say on stderr now, and again at its end
for tool in "kvshm-stat --store $store" "kvshm-check --store $store" "kvshm-rm $store" "kvshm-stat --store none"; do
	# shellcheck disable=SC2086 # a tool and its arguments
	timeout 20 "$KVSHM_BIN"/$tool <&- >&- 2>&-
	[ "$?" -lt 124 ] || fail "$tool: did not end well"
done
try kvshm-check --store "$store"
[ "$status" -eq 1 ] || fail "kvshm-check: status $status: $(cat "$tmp/out" "$tmp/err")"
grep -q "^plane 0 is gone: there is no $shm/kvshm.$store.p0\$" "$tmp/out" || fail "not told: $(cat "$tmp/out")"
grep -q "^$store: not sound: 1 unsound, 0 leaked" "$tmp/out" || fail "the segment was written to: $(cat "$tmp/out")"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
nothing_left
