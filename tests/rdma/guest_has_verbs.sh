#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A guest comes up and has what the other tests of this suite rest on: a Soft-RoCE device that moves bytes between two
# processes (ibv_rc_pingpong), and type-2 memory windows that end an access when they are invalidated.
# shellcheck source=tests/rdma/lib.sh
. "$(dirname "$0")/lib.sh"
in_guest
device rxe

ibv_devinfo -d rxe0 | grep -q PORT_ACTIVE || fail "rxe0 is not active: $(ibv_devinfo)"
ibv_rc_pingpong -d rxe0 -g "$(gid_index rxe0)" >"$tmp/server" 2>&1 &
server=$!
until ss -Hltn 'sport = 18515' | grep -q .; do
	kill -0 $server 2>/dev/null || fail "ibv_rc_pingpong: $(cat "$tmp/server")"
done
must_run ibv_rc_pingpong -d rxe0 -g "$(gid_index rxe0)" localhost
must_run wait $server
must_run "$KVSHM_BIN/../tests/rdma/windows" rxe0
