#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A2, B1, D1: four engines share a store, and one of them is killed every few ms, wherever it is. Every byte that is
# read is the right one, and at the end nothing of the dead is left, in keep and in drop, with one plane and with four.
# (--long: ten seconds each instead of two.)
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

seconds=2
[ -z "${KVSHM_TEST_LONG:-}" ] || seconds=10

replay_killing()
{
	local name

	try kvshm-replay --procs 4 --in-flight 8 --capacity 10000 --planes "$planes" --retain "$retain" \
		--kill-every "$1" --seconds $seconds --generate 3000 --json
	echo "$retain, $planes planes, a kill every $1 ms"
	cat "$tmp/err" "$tmp/out"
	[ "$status" -eq 0 ] || fail "$retain, $planes planes: status $status"
	for name in corrupt leaked; do
		[ "$(json_value $name)" = 0 ] || fail "$retain, $planes planes: $name is $(json_value $name)"
	done
}

for retain in keep drop; do
	for planes in 1 4; do
		with_kills 5 requests hits filled killed_filling killed_holding killed:50
	done
done
