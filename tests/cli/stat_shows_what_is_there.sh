#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat: which stores there are; a page and a JSON document with the same names, all of them in a manual; the
# values are what a known sequence of calls makes them. It needs no slot: it works with all of them taken.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

manuals=${top_srcdir:-$(dirname "$0")/../..}
own_directory

refused 1 "no store in $shm" kvshm-stat
must kvshm-stat --list
refused 1 "a" kvshm-stat --store a
refused 1 "missing" kvshm-stat --list --dir "$shm/missing"

start_kvshmd --store a --size 1M --block-size 4K --clients 2 --label "model x" --key-max 32
first=$kvshmd_pid
echo foreign >"$shm/kvshm.foreign"
must kvshm-stat
grep -qE "^  name +a +label +model x$" "$tmp/out" || fail "the only store is not shown: $(cat "$tmp/out")"

start_client one a
start_client two a
ask one fill begin k1
ask one ok publish k1
ask one ok pin k1
ask two ready begin k1
ask two fill begin k2
ask one pending begin k2
ask one ENOENT read k3

for want in label:"model x" blocks:256 block_size:4096 planes:1 retain:keep key_max:32 clients_max:2 \
	owner_pid:"$first" owner_alive:true destroyed:false unlinked:false fence:false \
	state:live clients_alive:2 clients_dead:0 cleared:0 unknown:0 clears:0 \
	free:254 owned:0 filling:1 ready:1 removing:0 doomed:0 grace:0 held:2 pinned:1 evictable:0 pins:1 \
	fills:1 hits:1 dedups:1 misses:3 evictions:0 give_ups:0 recoveries:0; do
	shows "${want%%:*}" "${want#*:}" a
done

# Every name of the document is on the page and in a manual.
names=$(grep -oE '^ +"[a-z_]+": [^{[]' "$tmp/out" | grep -oE '[a-z_]{2,}' | sort -u)
[ "$(wc -w <<<"$names")" -gt 40 ] || fail "few names: $names"
must kvshm-stat --store a
for name in $names; do
	[ "$name" != below ] || continue # of a bucket: the page has quantiles
	grep -qE "(^| )$name( |\$)" "$tmp/out" || fail "the page has no $name"
done
counters=$(sed -n '/^counters:/,/^$/s/^  \([a-z_]*\) .*/\1/p' "$tmp/out")
for name in $(comm -23 <(echo "$names") <(sort <<<"$counters")); do
	grep -qE "(^|[ (])$name([ ,;:.)]|\$)" "$manuals/tools/man/kvshm-stat.1" || fail "the manual has no $name"
done
# What the library declares is what is shown.
diff <(sed -n 's/^KVS_COUNTER(\([a-z_]*\),.*/\1/p' "$manuals/shm/counters.def") - <<<"$counters" ||
	fail "the counters shown are not those declared"

# Clients with pid, name and holds.
must kvshm-stat --store a --clients
for id in one two; do
	grep -qE " ${client_pid[$id]} +yes .* client\$" "$tmp/out" || fail "no client $id: $(cat "$tmp/out")"
done
! grep -q "^usage" "$tmp/out" || fail "--clients shows more than clients"

start_kvshmd --store b --size 2M --block-size 8K
refused 1 "2 stores in $shm" kvshm-stat
grep -qx "kvshm-stat:   a" "$tmp/err" || fail "the stores are not named: $(cat "$tmp/err")"
must kvshm-stat --list
[ "$(awk 'NR > 2 { print $1 }' "$tmp/out" | tr '\n' ' ')" = "a b " ] || fail "--list: $(cat "$tmp/out")"
must kvshm-stat --list --json
[ "$(grep -c '"name": "[ab]"' "$tmp/out")" -eq 2 ] || fail "--list --json: $(cat "$tmp/out")"
must kvshm-stat --list --clients
[ "$(grep -cE '^  a .* client$' "$tmp/out")" -eq 2 ] || fail "--list --clients: $(cat "$tmp/out")"
kill "$first" # the clients go on; the store has no name any more
wait "$first"
must kvshm-stat --json
[ "$(json_value name)" = b ] || fail "the store that is left is not shown"
