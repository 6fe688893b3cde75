#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# No room in the file system: kvshmd says so and leaves nothing behind. Shown in a private mount of 16 MB.
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
mount -t tmpfs -o size=16m tmpfs "$KVSHM_TEST_SMALL" 2>/dev/null || skip "mounting a tmpfs is not permitted here"
shm=$KVSHM_TEST_SMALL

used() { df --output=used -B1 "$shm" | tail -n 1; }

before=$(used)
for options in "--size 17M" "--size 1G" "--size 9M --planes 2" "--size 15M --block-size 512 --clients 1024"; do
	# shellcheck disable=SC2086 # several options
	refused 1 "no room in $shm" kvshmd --dir "$shm" --store "$store" --block-size 4K $options
	nothing_left
	[ "$(used)" = "$before" ] || fail "$options: $(($(used) - before)) bytes are still taken"
done

# A store that fits, and one beside it that does not: the first is not disturbed.
start_kvshmd --dir "$shm" --store "$store" --block-size 4K --size 10M
refused 1 "no room in $shm" kvshmd --dir "$shm" --store "${store}2" --block-size 4K --size 10M
must kvshm-check --dir "$shm" --store "$store"
must kvshm-stat --dir "$shm"
grep -q "$store" "$tmp/out" || fail "the store that fits is not shown"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status"
nothing_left
