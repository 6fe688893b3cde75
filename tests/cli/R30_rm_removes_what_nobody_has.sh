#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R30: after a job's end, however its processes died, kvshm-rm removes what it left; it never takes a store that a
# living owner or client has, and says who that is. Its exit status tells these apart.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
options=(--size 1M --block-size 4K --planes 2)
segment=$shm/kvshm.$store
files() { find "$shm" -mindepth 1 | wc -l; }

must kvshm-rm --dead # nothing there is no fault
[ ! -s "$tmp/out" ] || fail "removed: $(cat "$tmp/out")"
refused 1 "there is no store '$store'" kvshm-rm "$store"

# Alive: with an owner, and with only a client.
start_kvshmd --store "$store" "${options[@]}"
refused 2 "in use .owner: process $kvshmd_pid .$(name_of "$kvshmd_pid")." kvshm-rm "$store"
start_client a "$store"
client="process ${client_pid[a]} .$(name_of "${client_pid[a]}")."
refused 2 "owner: process $kvshmd_pid .*clients: $client" kvshm-rm "$store"
must kvshm-rm --dead
end_kvshmd KILL
refused 2 "in use .clients: $client" kvshm-rm "$store"
must kvshm-rm --dead
[ ! -s "$tmp/out" ] || fail "removed a store that has a client: $(cat "$tmp/out")"
ask a fill begin one
ask a ok publish one
kill_client a
must kvshm-rm "$store"
[ "$(cat "$tmp/out")" = "removed $store" ] || fail "said: $(cat "$tmp/out")"
[ "$(files)" -eq 0 ] || fail "left: $(ls "$shm")"

# A whole job is killed at once; beside it one lives on.
start_kvshmd --store "${store}live" "${options[@]}"
live=$kvshmd_pid
for n in 1 2 3 5; do
	start_kvshmd --store "$store$n" "${options[@]}"
	start_client "$n" "$store$n"
	victims+=("$kvshmd_pid" "${client_pid[$n]}")
done
kill -KILL "${victims[@]}"
wait "${victims[@]}" 2>/dev/null
printf '\377' | dd of="${segment}1" bs=1 seek=8 conv=notrunc status=none # another layout
truncate -s 4096 "${segment}2"
truncate -s 10 "${segment}5" # too little to be listed
: >"$shm/kvshm.foreign"
truncate -s 1M "${segment}4.p0" # a maker who died left it
must kvshm-rm --dead
sort "$tmp/out" >"$tmp/sorted"
diff "$tmp/sorted" - <<-END || fail "that was printed"
	removed ${store}1
	removed ${store}2
	removed ${store}3
	removed ${store}4
	removed ${store}5
END
[ "$(files)" -eq 4 ] || fail "left: $(ls "$shm")" # the living one's three, and the foreign file
must kvshm-check --store "${store}live"

# Several names: each is judged, and the worst is told.
start_kvshmd --store "$store" "${options[@]}"
end_kvshmd KILL
try kvshm-rm "${store}live" "$store"
[ "$status" -eq 2 ] || fail "status $status"
[ "$(cat "$tmp/out")" = "removed $store" ] || fail "said: $(cat "$tmp/out")"
try kvshm-rm "${store}none" "${store}live"
[ "$status" -eq 1 ] || fail "status $status"
echo "a letter, longer than the first 64 bytes of a segment, which has the name of a store" >"$segment"
refused 1 "is no kvshm segment" kvshm-rm "$store"
must kvshm-rm --dead
[ -e "$segment" ] || fail "a foreign file was removed"
rm "$segment" "$shm/kvshm.foreign"
kill -TERM "$live"
wait "$live"
refused 1 "No such file or directory" kvshm-rm --dead --dir "$tmp/none"
nothing_left

# One who may read the store, but not remove it.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 1777 "$shm"
	start_kvshmd --store "$store" "${options[@]}" --mode 0666
	end_kvshmd KILL
	run_by=(setpriv --reuid 65534 --clear-groups)
	refused 1 "cannot remove .*not permitted" kvshm-rm "$store"
	run_by=()
	must kvshm-stat --store "$store" --json
	[ "$(json_value destroyed)" = false ] || fail "it was marked destroyed"
	start_kvshmd --store "$store" --adopt
	end_kvshmd TERM
fi
nothing_left
