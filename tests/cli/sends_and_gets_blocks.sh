#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-send, between two stores of this machine over TCP: each key has its own line, and its own result; what is there
# is not sent; a request that it goes under is held for its engine; and with --from it comes the other way. What can't
# be done is told, with status 1.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

there=${store}-there
key=$tmp/key
(umask 077 && head -c 32 /dev/urandom | base64 >"$key")
made=(--size 64K --block-size 4K)

start_kvshmd --store "$there" "${made[@]}" --key-max 8 --listen tcp://127.0.0.1:0 --key-file "$key"
url=$(sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log")
start_kvshmd --store "$store" "${made[@]}" --listen tcp://127.0.0.1:0 --key-file "$key"
back=$(sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log")
start_client here "$store"
start_client engine "$there"
put()
{
	ask "$1" fill begin "$2"
	ask "$1" ok publish "$2"
}
put here one
put here two
ask here fill begin half

# said WORDS: what it printed, in any order.
said() { [ "$(sort "$tmp/out" | tr '\n' ' ')" = "$1 " ] || fail "it printed: $(cat "$tmp/out" "$tmp/err")"; }

send=(kvshm-send --store "$store" --key-file "$key")
try "${send[@]}" --to "$url" one two three half
[ "$status" -eq 2 ] || fail "keys that are missing: status $status: $(cat "$tmp/err")"
said "filling half missing three sent one sent two"
ask engine one read one
must "${send[@]}" --to "$url" one two
said "there one there two"
must "${send[@]}" --to "$url" --id request-1 --hex 6f6e65
said "there 6f6e65"
must kvshm-stat --store "$there" --requests
grep -q "request-1" "$tmp/out" || fail "no request-1: $(cat "$tmp/out")"

# A key that is too long for the other store, or this one, is refused, or missing, alone (R24).
put here a-long-key
put here six
try "${send[@]}" --to "$url" one a-long-key six
[ "$status" -eq 2 ] || fail "a long key: status $status: $(cat "$tmp/err")"
said "refused a-long-key (keys of the store there have up to 8 bytes) sent six there one"
try "${send[@]}" --to "$url" --id with-a-long-key one a-long-key six
[ "$status" -eq 2 ] || fail "a long key: status $status: $(cat "$tmp/err")"
must kvshm-stat --store "$there" --requests
grep -q 'complete.*with-a-long-key' "$tmp/out" || fail "a long key ended the request: $(cat "$tmp/out")"
ask engine six read six
put here seven
try kvshm-send --store "$there" --key-file "$key" --from "$back" seven a-long-key
[ "$status" -eq 2 ] || fail "a long key is wanted: status $status: $(cat "$tmp/err")"
said "here seven missing a-long-key"
# One that is too long for any store is so, too.
printf -v endless '%0300d' 0
put here eight
try kvshm-send --store "$there" --key-file "$key" --from "$back" "$endless" eight
[ "$status" -eq 2 ] || fail "a key that no store can have is wanted: status $status: $(cat "$tmp/err")"
said "here eight missing $endless"
try kvshm-send --store "$there" --key-file "$key" --from "$back" "$endless"
[ "$status" -eq 2 ] || fail "only a key that no store can have is wanted: status $status: $(cat "$tmp/err")"
said "missing $endless"

put engine four
try "${send[@]}" --from "$url" one four five
[ "$status" -eq 2 ] || fail "a key that nobody has: status $status: $(cat "$tmp/err")"
said "here four here one missing five"
ask here four read four
must "${send[@]}" --from "$url" four
said "here four"

refused 1 "give both the same" kvshm-send --store "$store" --to "$url" one
refused 1 "refused" "${send[@]}" --to tcp://127.0.0.1:1 one
for option in "--device mlx5_0" "--device-port 1" "--gid-index 0"; do
	# shellcheck disable=SC2086 # two words
	refused 1 "over tcp have no device: leave .*[0-9]+,? out" "${send[@]}" --to "$url" $option one
done
refused 1 "http" "${send[@]}" --to http://127.0.0.1 one
refused 1 "there is no store" kvshm-send --store "${store}-none" --to "$url" one
chmod 644 "$key"
refused 1 "everyone may read it" "${send[@]}" --to "$url" one
