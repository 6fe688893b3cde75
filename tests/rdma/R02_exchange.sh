#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The whole exchange, over TCP and over RDMA (Soft-RoCE): requests of several planes come whole, in the order of no
# one, with the right bytes; what is there already is not sent (R02); requests are aborted at any point and leave
# nothing (R10); more is in flight than the store has room for (R11); a request of no blocks completes (R16).
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_guest
device rxe

"$KVSHM_BIN/../tests/cli/trace" make chats 2 | head -n 119 >"$tmp/trace"
echo '{"hash_ids": []}' >>"$tmp/trace"

exchange()
{
	local url=$1 refs

	receive "$url" --size 2M --block-size 4K --planes 2 --retain keep
	decode
	must_replay "$url" --in-flight 16
	refs=$(sent block_refs)
	equal "requests that were sent" "$(sent requests)" 120
	equal "blocks written or there" $(($(sent written) + $(sent deduplicated))) "$refs"
	equal "bytes" "$(sent bytes)" $(($(sent written) * 8192))
	[ "$(sent deduplicated)" -gt 0 ] || fail "nothing was deduplicated"

	must_replay "$url" --in-flight 16 --abort 40
	[ "$(sent aborted)" -gt 0 ] || fail "nothing was aborted"
	equal "requests that came to their end" $(($(sent requests) + $(sent aborted))) 120
	end_decode
	equal "requests that were decoded" "$(decoded distinct)" 120
	settles
	end_kvshmd TERM
	equal "kvshmd's status" "$status" 0
}

exchange "tcp://$address"
exchange "rdma://$address"
