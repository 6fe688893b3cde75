#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A2, B1, D1: four engines share a store, and one of them is killed every 5 ms, wherever it is. Every byte that is read
# is the right one, and at the end nothing of the dead is left, in keep and in drop, with one plane and with four.
# (--long: ten seconds each instead of two.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=2
[ -z "${KVSHM_TEST_LONG:-}" ] || seconds=10

for retain in keep drop; do
	for planes in 1 4; do
		try kvshm-replay --procs 4 --in-flight 8 --capacity 10000 --planes $planes --retain $retain \
			--kill-every 5 --seconds $seconds --generate 3000 --json
		cat "$tmp/err" "$tmp/out"
		[ "$status" -eq 0 ] || fail "$retain, $planes planes: status $status"
		for name in corrupt leaked; do
			[ "$(json_value $name)" = 0 ] || fail "$retain, $planes planes: $name is $(json_value $name)"
		done
		for name in requests hits filled killed_filling killed_holding; do
			[ "$(json_value $name)" -gt 0 ] || fail "$retain, $planes planes: $name is 0"
		done
		[ "$(json_value killed)" -ge $((50 * seconds)) ] || fail "only $(json_value killed) were killed"
	done
done
