#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-stat says why something does not go on: the reader that stalls grace periods, with the process to continue or
# end; dead clients that nobody has looked for, or whose recoverer stands still; who has a store that it can't read.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
# The first reader slot, which the first client's thread has, begins with the epoch of its section. It stands behind the
# pages of the head and of the clients (layout.h).
READER_AT=8192

# says PATTERN, says_not PATTERN: the page has such a line, or not.
says()
{
	must kvshm-stat --store "$store"
	grep -qE -e "$1" "$tmp/out" || fail "no '$1' in: $(cat "$tmp/out")"
}

says_not()
{
	must kvshm-stat --store "$store"
	! grep -E -e "$1" "$tmp/out" || fail "it says '$1'"
}

enter() { printf '%b' "$1" | dd of="$shm/kvshm.$store" bs=1 seek="$READER_AT" conv=notrunc status=none; }

start_kvshmd --store "$store" --size 1M --block-size 4K --clients 4
start_client one "$store"
start_client two "$store"
ask one fill begin k1
says_not "slowest is|^dead clients"

enter '\001' # a section that began at epoch 1
says "^reader slots in a section since an earlier epoch: 1;"
who="client 0 \(process ${client_pid[one]}, client\)"
says "slowest is reader slot 0 of $who, since epoch 1, [0-9]+ behind: .*kill -CONT"
shows slowest_reader 0
shows slowest_client 0
shows slowest_epoch 1
enter '\0'
says_not "slowest is"
shows slowest_reader null

# Nobody looks: its owner stands still. (Attaching would recover it.)
kill -STOP "$kvshmd_pid"
kill_client two
says "^dead clients that wait for recovery: 1; nobody has looked since they died"
must kvshm-stat --store "$store" --clients --columns slot,alive,recovering
grep -qE '^ +1 +no +no$' "$tmp/out" || fail "not pending: $(cat "$tmp/out")"
# Somebody is at it, and stands still.
ask one ok guard 1
kill -CONT "$kvshmd_pid"
says "a process is at the recovery of client 1 \(process ${client_pid[two]}, client\): if it stays so, .* was stopped"
must kvshm-stat --store "$store" --clients --columns slot,alive,recovering
grep -qE '^ +1 +no +yes$' "$tmp/out" || fail "no recovery: $(cat "$tmp/out")"
shows clients_dead 1

# A store that can't be read: who has it is told by its locks.
printf '\377' | dd of="$shm/kvshm.$store" bs=1 seek=8 conv=notrunc status=none
try kvshm-stat --store "$store"
[ "$status" -eq 1 ] || fail "status $status for another layout"
grep -qE "processes that have it: its owner, and 1 clients" "$tmp/out" || fail "who has it: $(cat "$tmp/out")"
