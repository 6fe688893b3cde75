#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshmd --listen: it is a client of its own store, tells where it listens, and is gone from there after SIGTERM.
# Without a key it listens where other machines can't connect only, and says why; a key that everyone may read is none.
# What can't be listened at leaves no store behind.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

made=(--store "$store" --size 1M --block-size 4K)
local=tcp://127.0.0.1:0
key=$tmp/key

# url: where the kvshmd that was started last listens.
url() { sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log"; }

# no_store: what was refused has left nothing.
no_store() { [ ! -e "$shm/kvshm.$store" ] || fail "$*: a store was left"; }

not_listening()
{
	local pattern=$1

	shift
	refused 1 "$pattern" kvshmd "${made[@]}" "$@"
	no_store "$@"
}

# Whom it lets in.
not_listening "no secret is set, and other machines can reach that address" --listen tcp://0.0.0.0:0
not_listening "no secret is set" --listen 'tcp://[::]:0'
not_listening "it is to be tcp://ADDRESS" --listen "ftp://127.0.0.1"
not_listening "none of this machine's" --listen tcp://192.0.2.1 --insecure-listen
not_listening "No such file" --listen $local --key-file "$tmp/none"
head -c 32 /dev/urandom | base64 >"$key"
chmod 0644 "$key"
not_listening "everyone may read it: chmod o-r" --listen tcp://0.0.0.0:0 --key-file "$key"
chmod 0600 "$key"
echo "too short" >"$tmp/short"
chmod 0600 "$tmp/short"
not_listening "16 to 4096 bytes" --listen $local --key-file "$tmp/short"
for option in "--key-file $key" "--device mlx5_0" "--device-port 1" "--gid-index 1" "--traffic-class 1" \
	      "--timeout 10000" "--claim-timeout 60" "--fill-timeout 0" --insecure-listen; do
	# shellcheck disable=SC2086 # two words
	not_listening "${option%% *} is of a store that other nodes fill: add --listen URL, or leave it out" $option
done
not_listening "over tcp have no device: leave mlx5_0 out" --listen $local --device mlx5_0
not_listening "over tcp have no device: leave its port, 1, out" --listen $local --device-port 1
not_listening "over tcp have no device: leave the index in its table of addresses, 0, out" --listen $local --gid-index 0
not_listening "^kvshmd: --listen tcp://::1:0: an IPv6 address stands in brackets" --listen tcp://::1:0

start_kvshmd "${made[@]}" --listen tcp://0.0.0.0:0 --key-file "$key"
[[ $(url) =~ ^tcp://0.0.0.0:[0-9]+$ ]] || fail "no URL: $(cat "$tmp/kvshmd.log")"
! grep -q "anyone" "$tmp/kvshmd.log" || fail "it warns of who has the key: $(cat "$tmp/kvshmd.log")"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "SIGTERM: status $status"
no_store "SIGTERM"
start_kvshmd "${made[@]}" --listen tcp://0.0.0.0:0 --insecure-listen
grep -q "anyone who can connect to tcp://0.0.0.0:[0-9]* can write into the store" "$tmp/kvshmd.log" ||
	fail "it does not say who can write: $(cat "$tmp/kvshmd.log")"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "SIGTERM: status $status"

# It is a client like others, and no one who is still attached in the end.
start_kvshmd "${made[@]}" --listen $local --claim-timeout 5
must kvshm-stat --store "$store" --clients --columns pid,name
grep -qE "^ *$kvshmd_pid +kvshmd$" "$tmp/out" || fail "it is no client of its store: $(cat "$tmp/out")"
where=$(url)
refused 1 "Address already in use|listens there" kvshmd --store "${store}2" --size 1M --block-size 4K --listen "$where"
[ ! -e "$shm/kvshm.${store}2" ] || fail "a store was left"

# One that was killed is gone on with, there.
end_kvshmd KILL
start_kvshmd --store "$store" --adopt --listen "$where"
[ "$(url)" = "$where" ] || fail "it listens at $(url), not at $where"
end_kvshmd KILL
refused 1 "behind the address comes nothing" kvshmd --store "$store" --adopt --listen "nowhere:"
[ -e "$shm/kvshm.$store" ] || fail "the adopted store is gone"
start_kvshmd --store "$store" --adopt --listen "$where"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "SIGTERM: status $status"
! grep "still attached" "$tmp/kvshmd.log" || fail "it is its own client to the end"
no_store "SIGTERM"

# The only slot is its own.
start_kvshmd "${made[@]}" --clients 1 --listen $local
must kvshm-stat --store "$store" --clients --columns name
grep -q kvshmd "$tmp/out" || fail "it has no slot"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "SIGTERM: status $status"
