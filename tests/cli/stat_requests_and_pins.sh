#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat --requests and --pins: what each request has and waits for, and whose pins are how old, the oldest first;
# in all three forms; and what the page counts of them.
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
must kvshm-stat --requests
expect "$(tr '\n' ' ' <"$tmp/out")" "requests:   none "
start_client one a
start_client two a
start_client three a
ask one ok open first
ask one ok take k1
ask one ok take k2
ask one ok queue 13 # 16 blocks in all
ask two ok open $'sec\x02nd'
ask two EINPROGRESS queue 3
ask three ok open 0x6f # would be taken for digits
ask three ok take k1
ask three ok end 0x6f
ask three ok open third
ask three EINPROGRESS queue 2
columns=state,owner,owner_alive,completed,expected,held,fills,room,wanted,ahead,claims,attempt,id
expect "$(rows --requests --columns $columns)" "$(printf '%s\n' "open 0 yes no 1 2 0 13 0 0 0 1 first" \
	"open 1 yes no 1 0 0 0 3 0 0 1 0x736563026e64" "open 2 yes no 1 0 0 0 2 1 0 1 third")"
expect "$(rows --requests | awk '{ print $NF }' | tr '\n' ' ')" "first 0x736563026e64 third "
expect "$(rows --list --requests --columns store,id | head -n 1)" "a first"
must kvshm-stat --requests --json
for name in age held_age; do
	grep -qE "\"$name\": [0-9.e-]+" "$tmp/out" || fail "no $name: $(cat "$tmp/out")"
done
expect "$(json_value id)" first

must kvshm-stat --json
# The first of the line has the last block already.
for value in open:3 closed:1 complete:0 waiting:2 room:14 ready:2; do
	expect "$(json_value "${value%:*}")" "${value#*:}"
done
grep -q "requests that wait in line for room: 2" "$tmp/out" || fail "no remark: $(cat "$tmp/out")"
for name in oldest_request oldest_pin; do
	grep -qE "\"$name\": [0-9.e-]*[1-9]" "$tmp/out" || fail "no $name: $(cat "$tmp/out")"
done
must kvshm-stat --prometheus
for sample in 'requests{store="a",state="open"} 3' 'requests{store="a",state="closed"} 1' \
	'requests_waiting{store="a"} 2' 'blocks{store="a",state="room"} 14'; do
	grep -qxF "kvshm_$sample" "$tmp/out" || fail "no '$sample' in: $(cat "$tmp/out")"
done
grep -qE '^kvshm_oldest_pin_seconds\{store="a"\} [0-9.e-]*[1-9]' "$tmp/out" || fail "no age: $(cat "$tmp/out")"

ask three ready begin k1
ask three ok pin k1
ask three ok pin k1
expect "$(rows --pins --columns pins,client,pid,attempt,id,name)" "$(printf '%s\n' \
	"2 0 ${client_pid[one]} 1 first client" "2 2 ${client_pid[three]} - - client")"
block=$(rows --blocks --columns block,key | sed -n 's/ 6b31$//p')
expect "$(rows --pins --columns block | tr '\n' ' ')" "- $block "
expect "$(rows --list --pins --columns store,client | tr '\n' ' ')" "a 0 a 2 "
must kvshm-stat --pins --json
grep -qE '"age": [0-9.e-]*[1-9]' "$tmp/out" || fail "no age: $(cat "$tmp/out")"
expect "$(json_value block)" null
kill_client one # its pins are none, whether it was recovered or not
expect "$(rows --pins --columns client | tr '\n' ' ')" "2 "
ask two ok open -
ask two ok take k1
expect "$(rows --requests --columns owner,held,attempt,id | tail -n 1)" "1 1 0 -"
expect "$(rows --pins --columns client,pins,attempt,id | tail -n 1)" "1 1 0 -"
for section in requests pins; do
	must kvshm-stat --$section --json
	grep -q '"id": null' "$tmp/out" || fail "a name of one without: $(cat "$tmp/out")"
	! grep -q '"id": ""' "$tmp/out" || fail "an empty name: $(cat "$tmp/out")"
done
ask two ok open +- # by the name that is a dash
ask two ok take k1
expect "$(rows --requests --columns owner,held,attempt,id | tail -n 1)" "1 1 1 0x2d"
expect "$(rows --pins --columns client,pins,attempt,id | tail -n 1)" "1 1 1 0x2d"
must kvshm-stat --requests --json
grep -q '"id": "0x2d"' "$tmp/out" || fail "no such name: $(cat "$tmp/out")"
end_kvshmd TERM
