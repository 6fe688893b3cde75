#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R30 (in part), R25: a store whose owner was killed goes on; another kvshmd refuses its name and says how to go on;
# with --adopt it goes on with every block and client; with --replace-dead it makes a new store, and the clients of the
# old one get -ESTALE. A store with a living owner is neither adopted nor replaced.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

options=(--size 1M --block-size 4K --label "a label" --planes 2)
start_kvshmd --store "$store" "${options[@]}"
first=$kvshmd_pid
for flag in "" --adopt --replace-dead; do
	refused 1 "living owner" kvshmd --store "$store" "${options[@]}" $flag
done
must kvshm-stat --store "$store" --json
incarnation=$(json_value incarnation)
shows owner_pid "$first"
shows owner_alive true
start_client a "$store"
ask a fill begin kept
ask a ok publish kept

end_kvshmd KILL
shows owner_alive false
must kvshm-stat --store "$store"
grep -q "kvshmd --store $store --adopt" "$tmp/out" || fail "the page does not say how to go on"
ask a fill begin orphan # the store goes on
refused 1 "--adopt .*--replace-dead" kvshmd --store "$store" "${options[@]}"
shows incarnation "$incarnation"

# What is asked for beside --adopt must be so; a refusal names both and leaves the store as it is.
refused 1 "size.*2097152.*1048576" kvshmd --store "$store" --adopt --size 2M
refused 1 "block-size.*8192.*4096" kvshmd --store "$store" --adopt --block-size 8K
refused 1 "planes.*'1'.*'2'" kvshmd --store "$store" --adopt --planes 1
refused 1 "label.*'other'.*'a label'" kvshmd --store "$store" --adopt --label other
refused 1 "retain.*'drop'.*'keep'" kvshmd --store "$store" --adopt --retain drop
refused 1 "clients.*'7'.*'64'" kvshmd --store "$store" --adopt --clients 7
refused 1 "key-max.*'32'.*'64'" kvshmd --store "$store" --adopt --key-max 32
refused 1 "fence.*'on'.*'off'" kvshmd --store "$store" --adopt --fence
shows owner_alive false

start_kvshmd --store "$store" --adopt --size 1049000 --planes 2 # a ceiling: rounded down it is the same
shows owner_pid "$kvshmd_pid"
shows owner_alive true
shows incarnation "$incarnation"
ask a ok publish orphan
start_client b "$store"
ask b kept read kept
ask b orphan read orphan

end_kvshmd KILL
start_kvshmd --store "$store" "${options[@]}" --replace-dead
must kvshm-stat --store "$store" --json
[ "$(json_value incarnation)" != "$incarnation" ] || fail "the dead store was not replaced"
ask a ESTALE begin more
ask b ESTALE release kept
start_client c "$store"
ask c ENOENT read kept
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
nothing_left

refused 1 "$store" kvshmd --store "$store" --adopt
start_kvshmd --store "$store" "${options[@]}" --replace-dead # nothing to replace is no fault
end_kvshmd TERM
nothing_left
