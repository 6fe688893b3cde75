#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# --hugepages: a clear error where there is no hugetlbfs or too few pages; else planes of huge pages, which engines use
# as any, and which go with the store however it ends. Shown in a private mount, with a few pages more than the machine
# has; their number is set back in the end.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

knob=/proc/sys/vm/nr_hugepages
if [ -z "${KVSHM_TEST_HUGE:-}" ]; then
	[ -w "$knob" ] || skip "this kernel has no huge pages, or they are not ours to give"
	unshare -m true 2>/dev/null || skip "mount namespaces are not permitted here"
	# Not in a directory of the test's own: other users are to find it.
	export KVSHM_TEST_HUGE=$shm/${KVSHM_TEST_PREFIX}huge
	mkdir -m 755 "$KVSHM_TEST_HUGE" || fail "no directory"
	before=$(cat "$knob")
	trap 'echo "$before" >"$knob"; clean_up' EXIT
	unshare -m "$0"
	status=$?
	rmdir "$KVSHM_TEST_HUGE"
	exit "$status"
fi
huge=$KVSHM_TEST_HUGE
size=$(($(sed -n 's/^Hugepagesize: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))
[ "$size" -le 2097152 ] || skip "huge pages of $size bytes: too large for a test"
while read -r _ dir type _; do
	[ "$type" != hugetlbfs ] || umount "$dir" || skip "there is a hugetlbfs that can't be unmounted"
done </proc/mounts
planes() { find "$huge" -name "kvshm.$KVSHM_TEST_PREFIX*" | wc -l; }
free_pages() { sed -n 's/^HugePages_Free: *//p' /proc/meminfo; }

options=(--store "$store" --size $((size * 5 / 2)) --block-size $((size / 4)) --planes 2 --hugepages)
refused 1 "no hugetlbfs with pages of $((size / 1024)) KiB is mounted: mount -t hugetlbfs" kvshmd "${options[@]}"
mount -t hugetlbfs none "$huge" 2>/dev/null || skip "mounting a hugetlbfs is not permitted here"
free=$(free_pages)
refused 1 "needs $((free + 1)) huge pages of .*, $free are free: echo [0-9]+ >/sys/" kvshmd "${options[@]}" \
	--size $(((free + 1) * size)) --planes 1
nothing_left
wanted=$(sed -n 's/.*echo \([0-9]*\) >.*/\1/p' "$tmp/err")
echo $((wanted + 5)) >"$knob"
[ "$(free_pages)" -ge $((free + 6)) ] || skip "the machine has no memory left for six huge pages"
free=$(free_pages)

# Whole pages in the file: three for each plane of two and a half.
no_numa=$(why_no_numa)
ways=("--populate 0" "--populate 3")
[ "$no_numa" ] || ways+=("--numa 0")
for more in "${ways[@]}"; do
	# shellcheck disable=SC2086 # an option and its argument
	start_kvshmd "${options[@]}" $more
	[ "$(planes)" -eq 2 ] || fail "no two planes in the hugetlbfs"
	[ "$(free_pages)" -eq $((free - 6)) ] || fail "$more: $(free_pages) pages are free, of $free"
	start_client a "$store"
	grep -q "huge" "/proc/${client_pid[a]}/numa_maps" || fail "the client has no huge pages mapped"
	ask a fill begin one
	ask a ok publish one
	end_kvshmd TERM
	kill_client a
	[ "$(planes)" -eq 0 ] || fail "planes are left"
	[ "$(free_pages)" -eq "$free" ] || fail "pages are left"
done

# Adopted; replaced by one without huge pages; removed, also by those who can't read it, or see no segment any more.
start_kvshmd "${options[@]}"
end_kvshmd KILL
refused 1 "numa" kvshmd --store "$store" --adopt --numa 0
start_kvshmd --store "$store" --adopt --hugepages
end_kvshmd KILL
start_kvshmd --store "$store" --size 1M --block-size 4K --replace-dead
[ "$(planes)" -eq 0 ] || fail "the replaced store's planes are left"
end_kvshmd KILL
refused 1 "--hugepages: 'on'" kvshmd --store "$store" --adopt --hugepages
for damage in "truncate -s 100" "rm"; do
	start_kvshmd "${options[@]}" --replace-dead
	end_kvshmd KILL
	$damage "$shm/kvshm.$store"
	must kvshm-rm "$store"
	[ "$(planes)" -eq 0 ] || fail "$damage: planes are left"
done

# To those who may not look into the hugetlbfs it is not there.
if command -v setpriv >/dev/null; then
	chmod 700 "$huge"
	run_by=(setpriv --reuid 65534 --clear-groups)
	refused 1 "no permission to make files in the hugetlbfs" kvshmd "${options[@]}"
	refused 1 "there is no store" kvshm-rm "$store"
	run_by=()
fi

# A store of that name in another directory has planes of its own there.
start_kvshmd "${options[@]}" --planes 1
first=$kvshmd_pid
outer=$shm
own_directory
start_kvshmd "${options[@]}" --planes 1
[ "$(planes)" -eq 2 ] || fail "the two share a plane"
end_kvshmd KILL
must kvshm-rm "$store"
must kvshm-check --dir "$outer" --store "$store"
[ "$(planes)" -eq 1 ] || fail "another directory's plane was removed"
kill -TERM "$first"
wait "$first"
[ "$(free_pages)" -eq "$free" ] || fail "pages are left"
[ -z "$no_numa" ] || skip "only --numa 0: $no_numa"
