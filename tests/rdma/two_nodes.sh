#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Two guests are a prefill and a decode node: 300 requests of the conversation trace (--long: 2,000), with blocks of
# 64 KiB, go from the one to the other over Soft-RoCE. All come, whole, and are read; what the decode node has is not
# sent again.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_pair
device rxe

requests=300
[ -z "${KVSHM_TEST_LONG:-}" ] || requests=2000
conversation $requests
if [ "$KVSHM_GUEST" = a ]; then
	receive "rdma://$address" --size 256M --block-size 64K
	decode
	tell ready
	await sent
	end_decode
	equal "requests that were decoded" "$(decoded distinct)" $requests
	settles
else
	make_key
	await ready
	must_replay "rdma://$network.1" --in-flight 8
	equal "requests that were sent" "$(sent requests)" $requests
	equal "blocks written or there" $(($(sent written) + $(sent deduplicated))) "$(sent block_refs)"
	[ "$(sent deduplicated)" -gt 0 ] || fail "nothing was deduplicated"
	tell sent
fi
