#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm-rm --dead takes the planes that a maker who died has left, and no file of another kind that is named like one.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

own_directory
echo "my notes are not whole blocks" >"$shm/kvshm.notes.p3"
truncate -s 8192 "$shm/kvshm.orphan.p0"
must kvshm-rm --dead
[ -e "$shm/kvshm.notes.p3" ] || fail "a file that is no plane was removed"
[ ! -e "$shm/kvshm.orphan.p0" ] || fail "an orphaned plane stayed"
