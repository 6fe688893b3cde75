#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-check's status is its answer: 0 sound (at work, with dead clients' work pending, without an owner), 1 unsound,
# with the findings, 2 could not be checked.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

segment=$shm/kvshm.$store
key=a-needle-in-the-segment

# checked STATUS SUMMARY
checked()
{
	try kvshm-check --store "$store"
	[ "$status" -eq "$1" ] || fail "status $status, not $1: $(cat "$tmp/out" "$tmp/err")"
	tail -n 1 "$tmp/out" | grep -qE -e "^$store: $2" || fail "summary: $(tail -n 1 "$tmp/out")"
}

# Puts one byte at an offset of the segment.
put() { printf '%b' "$2" | dd of="$segment" bs=1 seek="$1" conv=notrunc status=none; }

refused 2 "$store" kvshm-check --store "$store"

start_kvshmd --store "$store" --size 1M --block-size 4K
checked 0 "sound: 0 unsound, 0 leaked, 0 pending.*everything"
start_client a "$store"
ask a fill begin "$key"
ask a ok publish "$key"
ask a fill begin other
checked 0 "sound: 0 unsound, 0 leaked, 0 pending.*at work"

# Nobody is left to recover the client: what it held is pending, which is sound.
end_kvshmd KILL
kill_client a
checked 0 "sound: 0 unsound, 0 leaked, [1-9][0-9]* pending.*everything"
start_kvshmd --store "$store" --adopt
must kvshm-stat --store "$store" --json
while [ "$(json_value recoveries)" != 1 ]; do
	must kvshm-stat --store "$store" --json
done
checked 0 "sound: 0 unsound, 0 leaked, 0 pending.*everything"

# A key that is not the one that its hash was made of.
at=$(grep -abo "$key" "$segment" | head -n 1)
at=${at%%:*}
[ "$at" ] || fail "the key is not in the segment"
put "$at" X
checked 1 "not sound: [1-9]"
[ "$(wc -l <"$tmp/out")" -ge 2 ] || fail "no findings: $(cat "$tmp/out")"
put "$at" "${key:0:1}"
checked 0 "sound"

"$KVSHM_BIN/kvshm-check" --store "$store" >/dev/full 2>"$tmp/err"
status=$?
[ "$status" -eq 2 ] || fail "a result that went nowhere gave status $status"
refused 1 "no option" kvshm-check --store "$store" --repair
