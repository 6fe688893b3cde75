# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# malicious.sh: senders that write where they may not (malicious.c), against a kvshmd that listens; over any transport.
# shellcheck source=tests/rdma/replay.sh
. "$top_srcdir/tests/rdma/replay.sh"
malicious=$KVSHM_BIN/../tests/rdma/malicious

# malicious_senders URL: each of them; behind each, the store is sound, and nothing is held.
malicious_senders()
{
	local url

	start_kvshmd --store "$store" --listen "$1" --insecure-listen --size 1M --block-size 64K --planes 2 \
		--retain keep
	url=$(sed -n 's/^kvshmd: listening at //p' "$tmp/kvshmd.log")
	"$malicious" "$url" "$store" || fail "$url: $(cat "$tmp/kvshmd.log")"
	settles
	end_kvshmd TERM
	equal "kvshmd's status" "$status" 0
}
