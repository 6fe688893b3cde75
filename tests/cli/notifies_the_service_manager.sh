#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshmd tells a service manager, by the protocol of sd_notify(3), that it is ready and that it stops: at a path, and in
# the abstract namespace. Where it can't tell it says so, once, and serves all the same.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

listener=$KVSHM_BIN/../tests/cli/notified
[ -x "$listener" ] || skip "no $listener: make check builds it"

# hears PATTERN: the next message.
hears()
{
	local message=

	read -r message <&"$heard"
	# shellcheck disable=SC2053 # a pattern
	[[ $message = $1 ]] || fail "the service manager heard '$message', not '$1'"
}

for address in "$tmp/socket" "@kvshm-$KVSHM_TEST_PREFIX"; do
	rm -f "$tmp/heard"
	mkfifo "$tmp/heard" || fail "no fifo"
	"$listener" "$address" >"$tmp/heard" &
	started+=("$!")
	exec {heard}<"$tmp/heard"
	hears listening
	export NOTIFY_SOCKET=$address
	start_kvshmd --store "$store" --size 1M --block-size 4K
	hears "READY=1 STATUS=*$store*"
	must kvshm-stat --store "$store"
	unlink "$shm/kvshm.$store.p0"
	hears "STATUS=store '$store' has lost its name*"
	end_kvshmd TERM
	[ "$status" -eq 0 ] || fail "status $status"
	hears "STOPPING=1 STATUS=*"
	! grep -v "has lost its name" "$tmp/kvshmd.log" || fail "more was said"
done

long=/$(printf 'x%.0s' {1..200})
for address in "$tmp/nobody" "$long" relative vsock:2:1 / @; do
	export NOTIFY_SOCKET=$address
	start_kvshmd --store "$store" --size 1M --block-size 4K
	end_kvshmd TERM
	[ "$status" -eq 0 ] || fail "$address: status $status"
	[ "$(grep -c "can't notify.*$address" "$tmp/kvshmd.log")" -eq 1 ] ||
		fail "$address: not one message: $(cat "$tmp/kvshmd.log")"
done
export NOTIFY_SOCKET=
start_kvshmd --store "$store" --size 1M --block-size 4K
end_kvshmd TERM
[ ! -s "$tmp/kvshmd.log" ] || fail "an empty NOTIFY_SOCKET: $(cat "$tmp/kvshmd.log")"
nothing_left
