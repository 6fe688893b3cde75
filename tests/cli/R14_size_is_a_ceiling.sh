#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# R14: a size is a ceiling, for each plane: it is rounded down to whole blocks, and the log says so; less than one
# block, and a block size of 0 or not a multiple of 512, is a clear error that leaves nothing behind.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# made SIZE BLOCK_SIZE BLOCKS BYTES ROUNDED
made()
{
	start_kvshmd --store "$store" --size "$1" --block-size "$2" --planes 2
	shows blocks "$3"
	shows block_size "$4"
	if [ "$5" = yes ]; then
		grep -q round "$tmp/kvshmd.log" || fail "--size $1 --block-size $2: rounding down was not said"
	elif [ -s "$tmp/kvshmd.log" ]; then
		fail "--size $1 --block-size $2: unexpected: $(cat "$tmp/kvshmd.log")"
	fi
	for plane in 0 1; do
		size=$(stat -c %s "$shm/kvshm.$store.p$plane")
		[ "$size" -le "$(($3 * $4))" ] || fail "plane $plane has $size bytes for $3 blocks of $4"
	done
	end_kvshmd TERM
	[ "$status" -eq 0 ] || fail "kvshmd ended with status $status"
	nothing_left
}

made 1M 4K 256 4096 no
made 1048577 4K 256 4096 yes
made 1048575 4K 255 4096 yes
made 10M 1179648 8 1179648 yes
made 512 512 1 512 no
made 1536K 512K 3 524288 no

refused 1 "block" kvshmd --store "$store" --size 4095 --block-size 4K
refused 1 "the least is 512" kvshmd --store "$store" --size 1M --block-size 0
refused 1 "the least is 512" kvshmd --store "$store" --size 1M --block-size 511
refused 1 "512" kvshmd --store "$store" --size 1M --block-size 513
refused 1 "512" kvshmd --store "$store" --size 10M --block-size 1179649
nothing_left
