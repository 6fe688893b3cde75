#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# How links over Soft-RoCE end: killed processes, ports that go down, memory that may not be locked, options that do not
# fit; and that their end is a fence.
# shellcheck source=tests/rdma/lib.sh
. "$(dirname "$0")/lib.sh"
in_guest
device rxe
KVSHM_TEST_GID=$(gid_index rxe0)
export KVSHM_TEST_GID KVSHM_TEST_INTERFACE=$interface KVSHM_TEST_DEVICE=rxe0
must_run "$KVSHM_BIN/../tests/rdma/verbs_ends" "rdma://$address:7471"
