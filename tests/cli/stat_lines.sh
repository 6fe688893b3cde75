#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat INTERVAL [COUNT]: so many lines under a heading that every screenful repeats; rates since the line before,
# the first since the store was made; with --json a document a line. It ends well at its last line, at SIGINT, and when
# its reader goes; and says so when the store is destroyed.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
CREATED_AT=88 # of the head: when the store was made
start_kvshmd --store "$store" --size 1M --block-size 4K --clients 2
start_client one "$store"
ask one fill begin k0
ask one ok publish k0

# Exactly COUNT lines, and a heading on each screen of 24.
must kvshm-stat --store "$store" 0.001 1
[ "$(wc -l <"$tmp/out")" -eq 2 ] || fail "not a heading and a line: $(cat "$tmp/out")"
must kvshm-stat --store "$store" 0.001 50
[ "$(grep -c '^ *[0-9]' "$tmp/out")" -eq 50 ] || fail "not 50 lines: $(cat "$tmp/out")"
[ "$(grep -n clients "$tmp/out" | cut -d: -f1 | tr '\n' ' ')" = "1 25 49 " ] || fail "headings: $(cat "$tmp/out")"
must kvshm-stat --store "$store" 0.001 2 --columns fills,free,clients
[ "$(head -n 1 "$tmp/out" | tr -s ' ')" = " fills free clients" ] || fail "columns: $(cat "$tmp/out")"
[ "$(tail -n 1 "$tmp/out" | tr -s ' ')" = " 0 255 1" ] || fail "values: $(cat "$tmp/out")"

# The first line: since the store was made, which was 1000 s ago for this test.
made=$(($(date +%s) - 1000))
bytes=
for shift in 0 8 16 24 32 40 48 56; do
	bytes+=$(printf '\\x%02x' $((made >> shift & 255)))
done
printf '%b' "$bytes" | dd of="$shm/kvshm.$store" bs=1 seek="$CREATED_AT" conv=notrunc status=none
must kvshm-stat --store "$store" 1 1 --json --columns fills
awk -F'[:}]' '{ exit !($2 > 0.0009 && $2 <= 0.001) }' "$tmp/out" || fail "not 1 fill in 1000 s: $(cat "$tmp/out")"

# lines_begin [ARGUMENT]...: starts kvshm-stat, whose lines are read from descriptor 9 as they come.
lines_begin()
{
	rm -f "$tmp/lines"
	mkfifo "$tmp/lines" || fail "no fifo"
	"$KVSHM_BIN/kvshm-stat" --store "$store" "$@" >"$tmp/lines" 2>"$tmp/err" </dev/null &
	stat_pid=$!
	started+=("$stat_pid")
	exec 9<"$tmp/lines"
}

next_line() { read -r line <&9 || fail "no line: $(cat "$tmp/err")"; }

# Rates are of what came since the line before, in each line's own document.
lines_begin 0.05 --json --columns fills,ready
next_line
next_line
[ "$line" = '{"fills":0.0,"ready":1}' ] || fail "something happens before anything was done: $line"
for key in k1 k2 k3; do
	ask one fill begin "$key"
	ask one ok publish "$key"
done
until [[ $line = *'"ready":4}' ]]; do
	next_line
	[[ $line = '{"fills":'[0-9.]*',"ready":'[1-4]'}' ]] || fail "no document: $line"
done
rate=${line#*:}
awk -v rate="${rate%%,*}" 'BEGIN { exit !(rate > 0) }' || fail "three fills, and no rate: $line"
next_line
next_line
[ "$line" = '{"fills":0.0,"ready":4}' ] || fail "the rate does not end: $line"

# SIGINT and SIGTERM end it, with whole lines and status 0; also in the middle of a long interval.
kill -INT "$stat_pid"
wait "$stat_pid" || fail "status $? after SIGINT: $(cat "$tmp/err")"
while read -r line; do
	[[ $line = '{'*'}' ]] || fail "a part of a line: $line"
done <&9
lines_begin 1000
next_line
next_line
kill -TERM "$stat_pid"
wait "$stat_pid" || fail "status $? after SIGTERM: $(cat "$tmp/err")"
[ ! -s "$tmp/err" ] || fail "on stderr: $(cat "$tmp/err")"

# A reader who has gone: nothing more is wanted.
lines_begin 0.01
next_line
exec 9<&-
wait "$stat_pid" || fail "status $? when its reader had gone: $(cat "$tmp/err")"
[ ! -s "$tmp/err" ] || fail "on stderr: $(cat "$tmp/err")"
if [ -w /dev/full ]; then
	timeout 20 "$KVSHM_BIN/kvshm-stat" --store "$store" 0.01 >/dev/full 2>"$tmp/err" &&
		fail "lines that went nowhere were a success"
	grep -q "can't write" "$tmp/err" || fail "no message about lines that went nowhere: $(cat "$tmp/err")"
fi

# The owner's death is no end; the store's destruction is.
lines_begin 0.01
next_line
kill -KILL "$kvshmd_pid"
wait "$kvshmd_pid" 2>/dev/null
next_line
next_line
start_kvshmd --store "$store" --adopt
next_line
next_line
end_kvshmd TERM
cat <&9 >/dev/null
status=0
wait "$stat_pid" || status=$?
[ "$status" -eq 1 ] || fail "status $status when the store was destroyed"
grep -qx "kvshm-stat: the store was destroyed" "$tmp/err" || fail "no message: $(cat "$tmp/err")"
