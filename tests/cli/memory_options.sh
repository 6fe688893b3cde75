#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshmd's --group, --numa and --populate; a signal while the store is being made; and the limit of a control group,
# which is compared before anything is reserved.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

options=(--store "$store" --size 1M --block-size 4K)
segment=$shm/kvshm.$store

# A pending signal calls the making off, and nothing is left.
call_off "${options[@]}"
[ "$status" -eq 0 ] || fail "status $status: $(cat "$tmp/err")"
[ ! -s "$tmp/out" ] || fail "printed: $(cat "$tmp/out")"
grep -q "a signal came while the store was being made" "$tmp/err" || fail "no message: $(cat "$tmp/err")"
nothing_left

# Group and mode: 0660 with a group, unless told.
group=$(id -G | tr ' ' '\n' | tail -n 1)
for mode in "" "--mode 0600"; do
	# shellcheck disable=SC2086 # an option and its argument
	start_kvshmd "${options[@]}" --group "$group" $mode
	for file in "$segment" "$segment.p0"; do
		[ "$(stat -c '%g %a' "$file")" = "$group $([ "$mode" ] && echo 600 || echo 660)" ] ||
			fail "$mode: $file has group and mode $(stat -c '%g %a' "$file")"
	done
	end_kvshmd KILL
	refused 1 "--group: '$((group + 1))' is asked for" kvshmd --store "$store" --adopt --group $((group + 1))
	refused 1 "--mode: '0640' is asked for, the store has '06[06]0'" kvshmd --store "$store" --adopt --mode 0640
	# shellcheck disable=SC2086
	start_kvshmd --store "$store" --adopt --group "$group" ${mode:---mode 0660}
	end_kvshmd TERM
done
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	run_by=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	refused 1 "cannot give the files group 0: .*one of its members" kvshmd "${options[@]}" --group 0
	run_by=()
	nothing_left
fi

# NUMA: every process that maps the store has its policy.
no_numa=$(why_no_numa)
nothing_left
if [ -e /sys/devices/system/node/node0 ]; then
	refused 1 "no NUMA node 1000 with memory: there are [0-9]" kvshmd "${options[@]}" --numa 1000
fi
if [ -z "$no_numa" ]; then
	start_kvshmd "${options[@]}" --numa 0
	start_client a "$store"
	[ "$(grep -c "bind:0 file=$segment" "/proc/${client_pid[a]}/numa_maps")" -eq 2 ] ||
		fail "segment and plane are not bound: $(grep kvshm "/proc/${client_pid[a]}/numa_maps")"
	kill_client a
	end_kvshmd KILL
	refused 1 "--numa: '1' is asked for, the store has '0'" kvshmd --store "$store" --adopt --numa 1
	start_kvshmd --store "$store" --adopt --numa 0
	end_kvshmd TERM
fi

# Large stores say how far they are.
available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
if [ -n "${KVSHM_TEST_LONG:-}" ] && [ "$available" -gt $((8 << 20)) ]; then
	start_kvshmd --store "$store" --size 4G --block-size 1M --populate 1
	grep -qE "(populating|reserving) memory: [0-9.]+ of 4.0 GiB" "$tmp/kvshmd.log" ||
		fail "it does not say how far it is: $(cat "$tmp/kvshmd.log")"
	end_kvshmd TERM
fi
nothing_left

# A real control group, where one can be made: v2 or v1.
group=
for parent in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/memory; do
	if grep -qsw memory "$parent/cgroup.subtree_control" || [ -e "$parent/memory.limit_in_bytes" ]; then
		mkdir "$parent/kvshm-$KVSHM_TEST_PREFIX" 2>/dev/null && group=$parent/kvshm-$KVSHM_TEST_PREFIX && break
	fi
done
[ "$group" ] || skip "all but control groups, in which none can be made here"
trap 'clean_up; rmdir "$group"' EXIT
limit=$group/memory.max
[ -e "$limit" ] || limit=$group/memory.limit_in_bytes
echo 67108864 >"$limit" || skip "all but control groups, whose limits can't be set here"
# shellcheck disable=SC2016 # the inner shell's
run_by=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group")
refused 1 "needs [0-9]+ bytes of memory, but this cgroup may have 67108864 .$limit., of which [0-9]+ are in use" \
	kvshmd --store "$store" --size 80M --block-size 4K
nothing_left
kvshmd=$KVSHM_BIN/kvshmd
mkdir "$tmp/bin"
printf '#!/bin/sh\necho $$ >"%s/cgroup.procs" && exec "%s" "$@"\n' "$group" "$kvshmd" >"$tmp/bin/kvshmd"
chmod +x "$tmp/bin/kvshmd"
KVSHM_BIN=$tmp/bin start_kvshmd --store "$store" --size 30M --block-size 4K
run_by=()
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
nothing_left
[ -z "$no_numa" ] || skip "only --numa 0: $no_numa"
