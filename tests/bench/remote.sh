#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# remote: blocks that are filled and published from another process over RDMA, against perftest's ib_write_bw on the
# same device: blocks of 256 KiB, 1 MiB and 4 MiB against writes of that size, and 256 scattered blocks of 4 KiB against
# one write of as many bytes. Runs of the two take turns. Prints the medians of both in MiB/s, the median ratio and its
# spread, and the seconds of processor that the machine has spent for a GiB, of both sides together.
#
#   tests/bench/remote.sh [ROUNDS [DEVICE ADDRESS]]    of this machine; without a device, in a guest with Soft-RoCE
#
# KVSHM_BIN is where the built tools are, and KVSHM_GUESTS where guests are kept (see HACKING).
rounds=${1:-9}
name_of_device=${2:-}
address_of_device=${3:-}
: "${KVSHM_BIN:?is to be the directory of the built tools}"
export KVSHM_TEST_PREFIX=bench-$$-
top_srcdir=$(realpath "$(dirname "$0")/../..")
export top_srcdir
if [ -z "$name_of_device" ] && [ -z "${KVSHM_GUEST:-}" ]; then
	# One for each side: perftest's polls.
	export KVSHM_GUEST_PROCESSORS=2 KVSHM_GUEST_LIMIT=${KVSHM_GUEST_LIMIT:-3600}
	exec "$top_srcdir/tests/rdma/guest" run bash "$(realpath "$0")" "$rounds"
fi
# shellcheck source=tests/rdma/lib.sh
. "$top_srcdir/tests/rdma/lib.sh"
if [ -z "$name_of_device" ]; then
	device rxe
	name_of_device=rxe0
	address_of_device=$address
fi
export KVSHM_BENCH_SECRET="only for this benchmark"
(umask 077 && echo "$KVSHM_BENCH_SECRET" >"$tmp/key")
bytes=$((64 << 20)) # of a run

# The processors' time so far, in ms.
busy() { awk '/^cpu /{ print ($2 + $3 + $4 + $7 + $8) * 10 }' /proc/stat; }

# perftest SIZE: prints MiB/s.
perftest()
{
	local arguments=(-d "$name_of_device" -x "$gid" -s "$1" -n $((bytes / $1)) -F) server

	ib_write_bw "${arguments[@]}" >"$tmp/server" 2>&1 &
	server=$!
	until ss -Hltn 'sport = 18515' | grep -q .; do
		kill -0 $server 2>/dev/null || fail "ib_write_bw: $(cat "$tmp/server")"
	done
	ib_write_bw "${arguments[@]}" "$address_of_device" >"$tmp/client" 2>&1 ||
		fail "ib_write_bw: $(cat "$tmp/client")"
	wait $server
	awk '$1 ~ /^[0-9]+$/ && NF == 5 { print $4 }' "$tmp/client"
}

# put BLOCK-SIZE BLOCKS: the same of kvshm.
put()
{
	"$KVSHM_BIN/../tests/bench/remote" "rdma://$address_of_device" "$2" $((bytes / $1 / $2)) |
		awk '{ print $2 / 1048576 / $1 }'
}

# median: of the numbers on standard input; spread: the lowest and the highest.
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
spread() { sort -n | sed -n '1p;$p' | paste -s -d -; }

# timed FILE COMMAND...: the command's number, and the processor's ms, in a line of the file.
timed()
{
	local file=$1 before value

	shift
	before=$(busy)
	value=$("$@")
	[ "$value" ] || fail "$*: no result: $(cat "$tmp/kvshmd.log")"
	echo "$value $(($(busy) - before))" >>"$file"
}

# compare NAME BLOCK-SIZE BLOCKS WRITE-SIZE
compare()
{
	local i

	start_kvshmd --store "$store" --size 64M --block-size "$2" --retain drop --listen "rdma://$address_of_device" \
		--key-file "$tmp/key"
	rm -f "$tmp/perftest" "$tmp/kvshm"
	put "$2" "$3" >"$tmp/warm"
	for ((i = 0; i < rounds; i++)); do
		timed "$tmp/perftest" perftest "$4"
		timed "$tmp/kvshm" put "$2" "$3"
	done
	end_kvshmd TERM
	paste -d ' ' "$tmp/perftest" "$tmp/kvshm" >"$tmp/both"
	printf '%-22s ib_write_bw %8.1f  kvshm %8.1f MiB/s  ratio %.3f (%s)  s/GiB %.2f  %.2f\n' "$1" \
		"$(cut -d ' ' -f 1 "$tmp/both" | median)" "$(cut -d ' ' -f 3 "$tmp/both" | median)" \
		"$(awk '{ print $3 / $1 }' "$tmp/both" | median)" \
		"$(awk '{ printf "%.3f\n", $3 / $1 }' "$tmp/both" | spread)" \
		"$(awk -v b=$bytes '{ print $2 / 1000 * 1073741824 / b }' "$tmp/both" | median)" \
		"$(awk -v b=$bytes '{ print $4 / 1000 * 1073741824 / b }' "$tmp/both" | median)"
}

address=$address_of_device
gid=$(gid_index "$name_of_device")
compare "256 KiB" 262144 8 262144
compare "1 MiB" 1048576 4 1048576
compare "4 MiB" 4194304 2 4194304
compare "256 blocks of 4 KiB" 4096 256 1048576
