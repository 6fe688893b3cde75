#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A segment that was cut to nothing under its kvshmd: SIGTERM ends the kvshmd as ever, and its files go.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

start_kvshmd --store "$store" --size 1M --block-size 4K --planes 2
truncate -s 0 "$shm/kvshm.$store"
end_kvshmd TERM
[ "$status" -eq 0 ] || fail "status $status: $(cat "$tmp/kvshmd.log")"
nothing_left
