#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat --list, --clients and --blocks: rows; of them --columns shows those that it names, in its order, of one or
# of all stores. --list marks what is not alive.
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

start_kvshmd --store a --size 1M --block-size 4K --clients 3 --planes 2
start_client one a
ask one fill begin k1
ask one ok publish k1
ask one ok pin k1
ask one fill begin long-key
expect "$(rows --blocks --columns key,state,owner,refs,pins,length,claimed,written)" \
	"$(printf '6b31 ready - 1 1 4096 3 3\n6c6f6e672d6b6579 filling 0 1 0 0 3 3')"
expect "$(rows --blocks | awk '{ print $NF }' | tr '\n' ' ')" "6b31 6c6f6e672d6b6579 "
must kvshm-stat --blocks --json --columns block,age,owner,cleared
grep -qE '"age": [0-9.e-]+' "$tmp/out" || fail "no age: $(cat "$tmp/out")"
expect "$(json_value owner)" null
expect "$(json_value cleared)" false

expect "$(rows --clients --columns pid,slot,alive,recovering,fills,parts,owned,refs)" \
	"${client_pid[one]} 0 yes no 1 0 0 2"
must kvshm-stat --clients --json
grep -qE '"age": [0-9.]+' "$tmp/out" || fail "a client has no age: $(cat "$tmp/out")"

# Of all stores; a row says of which.
first=$kvshmd_pid
start_kvshmd --store b --size 1M --block-size 8K
expect "$(rows --list --columns name,state,planes,ready,filling)" "$(printf 'a live 2 1 1\nb live 1 0 0')"
expect "$(rows --list --blocks --columns store,state)" "$(printf 'a ready\na filling')"
expect "$(rows --list --clients --columns store,slot)" "a 0"
expect "$(rows --list --clients | cut -d ' ' -f 1,2)" "a 0"

# What is not alive is marked, and the reason given.
kill -KILL "$first"
wait "$first" 2>/dev/null
end_kvshmd KILL
cp "$shm/kvshm.b" "$shm/kvshm.c"
truncate -s 100000 "$shm/kvshm.c"
cp "$shm/kvshm.b" "$shm/kvshm.d"
printf '\377' | dd of="$shm/kvshm.d" bs=1 seek=64 conv=notrunc status=none # of another build
expect "$(rows --list --columns name,state,clients_alive,owner_pid)" \
	"$(printf 'a dead 1 %s\nb dead 0 %s\nc truncated 0 -\nd unreadable 0 -' "$first" "$kvshmd_pid")"
grep -q "kvshm.c is truncated: it has 100000 of its" "$tmp/out" || fail "no reason: $(cat "$tmp/out")"
grep -q "kvshm.d was made by another build" "$tmp/out" || fail "no reason: $(cat "$tmp/out")"
must kvshm-stat --list --json
expect "$(grep -c '"owner_pid": null' "$tmp/out")" 2
expect "$(grep -c '"state": "dead"' "$tmp/out")" 2
try kvshm-stat --list --clients # the rest is shown
[ "$status" -eq 1 ] || fail "status $status, though two stores could not be viewed"
grep -q "kvshm.c is truncated" "$tmp/err" || fail "no message: $(cat "$tmp/err")"
grep -qE "^  a +0 +${client_pid[one]} " "$tmp/out" || fail "the others are not shown: $(cat "$tmp/out")"

# Every column that the help names can be chosen.
ask one ok open a-request
coproc PEERS { exec "$(dirname "$KVSHM_BIN")/tests/cli/peers" a; } # which has connections
read -r -t 10 answer <&"${PEERS[0]}" || fail "that client did not begin"
expect "$answer" ok
must kvshm-stat --help
cp "$tmp/out" "$tmp/help"
rm "$shm/kvshm.c" "$shm/kvshm.d"
for what in INTERVAL --list --clients --blocks --requests --pins --peers; do
	columns=$(sed -n "/^Columns of $what/,/^\$/s/^  [* ] \([a-z0-9_]*\) .*/\1/p" "$tmp/help" | paste -s -d ,)
	[ "${#columns}" -gt 40 ] || fail "the help has no columns of $what"
	case $what in
	INTERVAL) what="0.001 2 --store a" ;;
	--list) ;;
	*) what="$what --store a" ;;
	esac
	# shellcheck disable=SC2086 # words
	must kvshm-stat $what --columns "$columns" --json
	for name in ${columns//,/ }; do
		grep -q "\"$name\":" "$tmp/out" || fail "$what --columns has no $name"
	done
done
