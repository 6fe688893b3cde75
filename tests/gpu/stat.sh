#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat of a store in GPU memory: which memory, on which GPUs, mapped by whom, in all three forms, without a
# driver; and what the owner's death means for it.
# shellcheck source=tests/gpu/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory

expect() { [ "$1" = "$2" ] || fail "'$1', not '$2'"; }

# stat [ARGUMENT]...: what it prints, with single blanks; it finds no driver.
stat()
{
	LD_LIBRARY_PATH=${LD_LIBRARY_PATH#"$standin"} must kvshm-stat --store "$store" "$@"
	tr -s ' ' <"$tmp/out" | sed 's/^ //; s/ $//'
}

# says PATTERN, says_not PATTERN: the page has such a line, or not.
says() { stat | grep -qE -e "$1" || fail "no '$1' in: $(cat "$tmp/out")"; }
says_not() { ! stat | grep -E -e "$1" || fail "it says '$1'"; }

GPU0=GPU-7374616e-642d-496e-8000-000000000000
GPU1=GPU-7374616e-642d-496e-8000-000000000001

# Nobody has mapped anything; then one client has mapped the first plane.
start_kvshmd --store "$store" --pool cuda:0,cuda:1 --size 4M --block-size 64K
start_client one "$store"
start_client two "$store"
says '^memory cuda export fd$'
expect "$(stat | sed -n '/^planes:/,/^$/p')" "$(printf '%s\n' planes: 'plane size mapped memory gpu' \
	"0 4 MiB 0 cuda $GPU0" "1 4 MiB 0 cuda $GPU1")"
expect "$(stat --clients --columns slot,planes | tail -n +3)" "$(printf '0 -\n1 -')"
ask one fill begin key
ask one ok publish key
expect "$(stat --clients --columns slot,planes | tail -n +3)" "$(printf '0 0\n1 -')"
expect "$(stat | sed -n '/^planes:/,/^$/p' | sed -n 3p)" "0 4 MiB 1 cuda $GPU0"
stat --json >/dev/null
expect "$(json_value memory)" cuda
expect "$(json_value export)" fd
expect "$(json_value gpu)" "$GPU0"
expect "$(json_value mapped)" 1
grep -q '"planes": "0"' "$tmp/out" || fail "no client has mapped plane 0: $(cat "$tmp/out")"
grep -q '"planes": null' "$tmp/out" || fail "all clients have: $(cat "$tmp/out")"
stat --prometheus >/dev/null
one="slot=\"0\",pid=\"${client_pid[one]}\",name=\"client\""
for sample in "kvshm_plane_mapped{store=\"$store\",plane=\"0\",memory=\"cuda\",gpu=\"$GPU0\"} 1" \
	"kvshm_plane_mapped{store=\"$store\",plane=\"1\",memory=\"cuda\",gpu=\"$GPU1\"} 0" \
	"kvshm_plane_size_bytes{store=\"$store\",plane=\"1\",memory=\"cuda\",gpu=\"$GPU1\"} 4194304" \
	"kvshm_client_maps_plane{store=\"$store\",$one,plane=\"0\"} 1"; do
	grep -qxF "$sample" "$tmp/out" || fail "no '$sample' in: $(cat "$tmp/out")"
done
expect "$(grep -c '^kvshm_client_maps_plane' "$tmp/out")" 1
grep -q '^kvshm_store_info{.*memory="cuda",export="fd"' "$tmp/out" || fail "$(grep _info "$tmp/out")"
if command -v promtool >/dev/null; then
	promtool check metrics <"$tmp/out" >"$tmp/lint" 2>&1 || fail "promtool: $(cat "$tmp/lint")"
	[ ! -s "$tmp/lint" ] || fail "promtool: $(cat "$tmp/lint")"
fi
says_not "no living process"

# Its owner is killed: who has the memory goes on. Then they are, too.
end_kvshmd KILL
says "no living process owns the store: its clients, .* go on; .* until 'kvshmd --store $store --adopt'"
kill_client one
kill_client two
says "its GPU memory has gone with its last client: 'kvshmd --store $store --replace-dead'"

# Of the legacy handles it goes with the owner.
start_kvshmd --store "$store" --pool cuda:1 --export ipc --size 4M --block-size 64K --replace-dead
says '^memory cuda export ipc$'
start_client three "$store"
end_kvshmd KILL
says "GPU memory has gone with its owner \(--export ipc\): .*'kvshmd --store $store --replace-dead'"

# Of an engine in a pid namespace of its own that has died nobody sees the end: what is said is how it is prevented, and
# what is left to do, and not to kill the process here that has its number.
unshare --pid --fork --kill-child=KILL true 2>/dev/null || skip "pid namespaces can't be made here"
apart=$tmp/apart
printf '#!/bin/sh\nexec unshare --pid --fork --kill-child=KILL --mount-proc %s "$@"\n' "$test_client" >"$apart"
chmod +x "$apart"
start_kvshmd --store "$store" --pool cuda:0 --size 4M --block-size 64K --replace-dead
test_client=$apart start_client four "$store"
ask four fill begin key
ask four ok publish key
kill_client four
until [ "$(stat --clients --columns waiting | tail -n +3)" = yes ]; do :; done
says 'of other pid namespaces: 1, such as client 0 \(client, process [0-9]+ there\): .*store is replaced; .*hostPID'
says_not 'kill -KILL'
grep -q 'the end of process [0-9]* of another pid namespace, .*store is replaced; .*hostPID' "$tmp/kvshmd.log" ||
	fail "$(cat "$tmp/kvshmd.log")"
