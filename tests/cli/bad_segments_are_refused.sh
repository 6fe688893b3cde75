#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A missing, empty, truncated or foreign segment, and one of another layout number: each tool says what it found, and
# changes and leaves nothing; kvshm-stat shows the head as far as there is one. F1 (in part): nonsense in the head is an
# error, never a crash.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
segment=$shm/kvshm.$store
MAGIC_AT=0 LAYOUT_AT=8 MAKER_AT=24 # of the frozen head, which no version changes
size_of() { stat -c %s "$segment"; }

# no_tool_takes PATTERN [STATE]: none of the tools takes what is there now; with STATE, kvshm-stat shows its head.
no_tool_takes()
{
	local before

	before=$(cksum "$segment" 2>/dev/null)
	if [ "${2:-}" ]; then
		try kvshm-stat --store "$store" --json
		[ "$status" -eq 1 ] || fail "status $status for what can't be viewed"
		grep -qE "$1" "$tmp/err" || fail "no '$1' in: $(cat "$tmp/err")"
		[ "$(json_value state)" = "$2" ] || fail "state $(json_value state), not $2: $(cat "$tmp/out")"
		[ "$(json_value file_size)" = "$(size_of)" ] || fail "wrong file_size: $(cat "$tmp/out")"
		grep -q "no process has it: .*$segment.* can be removed" "$tmp/out" ||
			fail "no advice: $(cat "$tmp/out")"
		! grep -q '"usage"' "$tmp/out" || fail "more than the head is shown"
	else
		refused 1 "$1" kvshm-stat --store "$store"
		refused 1 "$1" kvshm-stat --store "$store" --json
	fi
	refused 1 "$1" kvshm-stat --store "$store" --clients
	refused 1 "$1" kvshm-stat --store "$store" 1 1
	refused 2 "$1" kvshm-check --store "$store"
	refused 1 "$1" kvshmd --store "$store" --adopt
	[ "$(cksum "$segment" 2>/dev/null)" = "$before" ] || fail "a refused segment was changed"
}

put() { printf '%b' "$2" | dd of="$segment" bs=1 seek="$1" conv=notrunc status=none; }

no_tool_takes "there is no store .$store"

: >"$segment"
no_tool_takes "is no kvshm segment"
echo "this is not a segment" >"$segment"
no_tool_takes "is no kvshm segment"
head -c 1M /dev/urandom >"$segment"
no_tool_takes "is no kvshm segment"
rm "$segment"
mkdir "$segment"
no_tool_takes "is no kvshm segment"
rmdir "$segment"

start_kvshmd --store "$store" --size 1M --block-size 4K
end_kvshmd KILL
must kvshm-stat --store "$store"
cp "$segment" "$tmp/good"

put "$LAYOUT_AT" '\0377\0377\0\0'
no_tool_takes "layout 65535.* layout [0-9]+" other-layout
try kvshm-stat --store "$store" --json
[ "$(json_value layout)" = 65535 ] || fail "layout $(json_value layout)"
must kvshm-stat --list --columns name,state,maker
grep -qE "^  $store +other-layout +[0-9.]+\$" "$tmp/out" || fail "--list: $(cat "$tmp/out")"
grep -qE "layout 65535.* layout [0-9]+" "$tmp/out" || fail "--list does not say why: $(cat "$tmp/out")"
put "$MAKER_AT" '\033[31m\r\0'
for form in "--list" "--store $store"; do
	# shellcheck disable=SC2086 # words
	try kvshm-stat $form
	! LC_ALL=C grep -q '[[:cntrl:]]' "$tmp/out" "$tmp/err" || fail "$form prints what the segment says as it is"
done
cp "$tmp/good" "$segment"
put "$MAGIC_AT" 'X'
no_tool_takes "is no kvshm segment"
whole=$(size_of)
for size in $((whole - 1)) $((whole / 2)) 4096 100 64; do
	cp "$tmp/good" "$segment"
	truncate -s "$size" "$segment"
	no_tool_takes "truncated" truncated
done
for size in 63 8; do
	truncate -s "$size" "$segment"
	no_tool_takes "is no kvshm segment"
done
must kvshm-stat --list
! grep -q "$store" "$tmp/out" || fail "a truncated segment is listed as a store"

# Nonsense in the rest of the head: an error or an answer, but an end, and no crash.
step=40
[ -z "${KVSHM_TEST_LONG:-}" ] || step=8
for at in $(seq 64 "$step" 640); do
	cp "$tmp/good" "$segment"
	put "$at" '\0377\0377\0377\0377\0377\0377\0377\0177'
	for tool in kvshm-stat kvshm-check; do
		try "$tool" --store "$store"
		[ "$status" -le 2 ] || fail "nonsense at byte $at: $tool ended with status $status: $(cat "$tmp/err")"
	done
done
