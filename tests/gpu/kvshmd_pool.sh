#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshmd --pool: a store in GPU memory is made, and goes with its kvshmd; one whose kvshmd was killed goes on by
# --adopt, as long as a client has the memory, or else by --replace-dead; its names go by kvshm-rm, and no other's do.
# What can't be is said.
# shellcheck source=tests/gpu/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
options=(--size 4M --block-size 64K)

# sockets: those that there are, of any store.
sockets() { (cd "$shm" && find . -name 'kvshmd*' -type s | sort | tr '\n' ' '); }

# attach WANTED: what one who attaches is told.
attach()
{
	local answer

	answer=$("$test_client" "$store" </dev/null)
	[ "$answer" = "$1" ] || fail "who attaches is told '$answer', not '$1'"
}

# adopt ID [ARGUMENT]...: kvshmd --adopt, while that client makes call after call, as engines do. It serves then, or has
# ended: $status.
adopt()
{
	local id=$1

	shift
	"$KVSHM_BIN/kvshmd" --store "$store" --adopt "$@" >"$tmp/adopted" 2>"$tmp/err" </dev/null &
	kvshmd_pid=$!
	started+=("$kvshmd_pid")
	while [ ! -s "$tmp/adopted" ] && kill -0 "$kvshmd_pid" 2>/dev/null; do
		ask "$id" "*" end nothing
	done
	status=0
	[ -s "$tmp/adopted" ] || wait "$kvshmd_pid" || status=$?
}

# Made, used by several, gone.
start_kvshmd --store "$store" --pool cuda:0,cuda:1 "${options[@]}"
start_client a "$store"
start_client b "$store"
ask a fill begin key
ask a ok publish key
ask b key read key
[ "$(sockets)" = "./kvshmd.$store " ] || fail "sockets: $(sockets)"
must kvshm-stat --list
[ "$(grep -c "$KVSHM_TEST_PREFIX" "$tmp/out")" = 1 ] || fail "kvshm-stat --list: $(cat "$tmp/out")"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
ask b ESTALE read key
nothing_left

# Killed: who is attached goes on, and who comes is told.
start_kvshmd --store "$store" --pool cuda:1 "${options[@]}"
must kvshm-stat --store "$store" --json
gpu=$(grep -o '"GPU-[^"]*"' "$tmp/out" | head -n 1 | tr -d '"')
[ "$gpu" ] || fail "kvshm-stat names no GPU"
start_client c "$store"
ask c fill begin key
ask c ok publish key
end_kvshmd KILL
ask c key read key
attach EOWNERDEAD
refused 1 "--adopt .*--replace-dead" kvshmd --store "$store" --pool cuda:1 "${options[@]}"

# What is asked for beside --adopt must be so.
for words in "--pool host" "--export ipc" "--pool cuda:1,cuda:0" "--pool GPU-00000000-0000-0000-0000-000000000000"; do
	read -r -a more <<<"$words"
	adopt c "${more[@]}"
	[ "$status" -eq 1 ] || fail "kvshmd --adopt $words: status $status"
	grep -q "^kvshmd: ${words%% *}: '${words#* }' is asked for, the store has '" "$tmp/err" ||
		fail "kvshmd --adopt $words: $(cat "$tmp/err")"
	attach EOWNERDEAD
done

adopt c --pool "${gpu,,}" --export fd
[ "$status" -eq 0 ] || fail "kvshmd --adopt: $(cat "$tmp/err")"
[ "$(sockets)" = "./kvshmd.$store " ] || fail "sockets: $(sockets)"
start_client d "$store"
ask d key read key
end_kvshmd KILL
adopt d --pool cuda:0
[ "$status" -eq 0 ] || fail "kvshmd --adopt: $(cat "$tmp/err")"
end_kvshmd KILL

# Nobody has the memory any more.
kill_client c
kill_client d
refused 1 "gone with its owner and its last client.*--replace-dead" kvshmd --store "$store" --adopt
start_kvshmd --store "$store" --pool cuda:0 "${options[@]}" --replace-dead
attach ok
end_kvshmd KILL

# The names go with the store, and no other's.
[ "$(sockets)" = "./kvshmd.$store " ] || fail "sockets: $(sockets)"
dead=$store
store=${store}2
start_kvshmd --store "$store" --pool cuda:0 "${options[@]}"
must kvshm-rm "$dead"
[ "$(sockets)" = "./kvshmd.$store " ] || fail "sockets: $(sockets)"
attach ok
must kvshm-rm --dead
attach ok
end_kvshmd KILL
must kvshm-rm --dead
nothing_left

# Memory that goes with kvshmd.
start_kvshmd --store "$store" --pool cuda:0 --export ipc "${options[@]}"
[ -z "$(sockets)" ] || fail "sockets: $(sockets)"
start_client e "$store"
ask e fill begin key
ask e ok publish key
end_kvshmd KILL
attach ESTALE
refused 1 "--replace-dead" kvshmd --store "$store" --adopt
ask e ESTALE read key
refused 1 "--replace-dead" kvshmd --store "$store" --pool cuda:0 "${options[@]}"
start_kvshmd --store "$store" --pool cuda:0 --export ipc "${options[@]}" --replace-dead
end_kvshmd KILL
refused 1 "gone with its owner.*--replace-dead" kvshmd --store "$store" --adopt
must kvshm-rm "$store"
nothing_left
