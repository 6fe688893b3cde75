#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# SIGTERM, SIGINT and SIGHUP end kvshmd with status 0: it names the clients that are still attached, their calls return
# -ESTALE from then on, and the store's files are gone.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

start_kvshmd --store "$store" --size 1M --block-size 4K
start_client a "$store"
start_client b "$store"
ask a fill begin one
ask a ok publish one
ask a ok pin one
ask b fill begin two
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status after SIGTERM"
grep -q "still attached: pid ${client_pid[a]} (client), with 1 refs, 1 pins, 0 fills" "$tmp/kvshmd.log" ||
	fail "client a is not named: $(cat "$tmp/kvshmd.log")"
grep -q "still attached: pid ${client_pid[b]} (client), with [01] refs, 0 pins, 1 fills" "$tmp/kvshmd.log" ||
	fail "client b is not named: $(cat "$tmp/kvshmd.log")"
nothing_left
ask a ESTALE begin three
ask b ESTALE publish two
refused 1 "$store" kvshm-stat --store "$store"

# The name is free again, and the old clients do not see the new store.
for signal in INT HUP; do
	start_kvshmd --store "$store" --size 1M --block-size 4K
	ask a ESTALE read one
	end_kvshmd "$signal"
	[ "$status" -eq 0 ] || fail "status $status after SIG$signal"
	! grep "still attached" "$tmp/kvshmd.log" || fail "clients of another store are named"
	nothing_left
done

# Where it can't say `ready` it leaves nothing behind.
timeout 20 "$KVSHM_BIN/kvshmd" --store "$store" --size 1M --block-size 4K >/dev/full 2>"$tmp/err" &&
	fail "ready went nowhere"
grep -q "can't write" "$tmp/err" || fail "no message: $(cat "$tmp/err")"
nothing_left
