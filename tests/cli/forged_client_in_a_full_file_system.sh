#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A slot's word says that a client was there, whose row was never reserved, and the file system has no room for it any
# more: touching it would raise SIGBUS. kvshmd says what it can't do, and goes on (F1). In a private mount of 4 MB.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

if [ -z "${KVSHM_TEST_SMALL:-}" ]; then
	unshare -m true 2>/dev/null || skip "mount namespaces are not permitted here"
	KVSHM_TEST_SMALL=$(mktemp -d) || fail "no directory"
	export KVSHM_TEST_SMALL
	unshare -m "$0"
	status=$?
	rmdir "$KVSHM_TEST_SMALL"
	exit "$status"
fi
mount -t tmpfs -o size=4m tmpfs "$KVSHM_TEST_SMALL" 2>/dev/null || skip "mounting a tmpfs is not permitted here"
shm=$KVSHM_TEST_SMALL
CLIENTS_AT=4096 CLIENT_SIZE=128 # shm/layout.h
LIVE='\02'

start_kvshmd --dir "$shm" --store "$store" --block-size 4K --size 1M --clients 8
cat /dev/zero >"$shm/filler" 2>/dev/null
[ "$(df --output=avail -B1 "$shm" | tail -n 1)" -eq 0 ] || fail "the file system is not full"
printf '%b' "$LIVE" | dd of="$shm/kvshm.$store" bs=1 seek=$((CLIENTS_AT + 5 * CLIENT_SIZE)) conv=notrunc status=none
until grep -q "cannot reserve .* of client 5" "$tmp/kvshmd.log"; do
	kill -0 "$kvshmd_pid" 2>/dev/null || fail "kvshmd has ended: $(cat "$tmp/kvshmd.log")"
	must kvshm-stat --dir "$shm" --store "$store"
done
rm "$shm/filler"
until grep -q "client 5 is dead" "$tmp/kvshmd.log"; do
	kill -0 "$kvshmd_pid" 2>/dev/null || fail "kvshmd has ended: $(cat "$tmp/kvshmd.log")"
	must kvshm-stat --dir "$shm" --store "$store"
done
must kvshm-check --dir "$shm" --store "$store"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
nothing_left
