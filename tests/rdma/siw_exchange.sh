#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Over a device without memory windows (Soft-iWARP), requests come whole, too, and aborted ones leave nothing: there the
# fence is the end of the queue pair.
# shellcheck source=tests/rdma/replay.sh
. "$(dirname "$0")/replay.sh"
in_guest
modprobe siw 2>/dev/null || skip "this guest has no Soft-iWARP: $(cat "$KVSHM_GUESTS/no-siw")"
device siw

"$KVSHM_BIN/../tests/cli/trace" make chats 3 | head -n 40 >"$tmp/trace"
receive "rdma://$address" --size 8M --block-size 4K
decode
must_replay "rdma://$address" --in-flight 4
equal "requests that were sent" "$(sent requests)" 40
must_replay "rdma://$address" --in-flight 4 --abort 50
equal "requests that came to their end" $(($(sent requests) + $(sent aborted))) 40
end_decode
equal "requests that were decoded" "$(decoded distinct)" 40
settles
