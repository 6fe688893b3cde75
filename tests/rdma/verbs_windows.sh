#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A malicious peer over Soft-RoCE (E2, E3): it writes behind the withdrawal, outside of its window, with keys of before.
# shellcheck source=tests/rdma/lib.sh
. "$(dirname "$0")/lib.sh"
in_guest
device rxe
must_run "$KVSHM_BIN/../tests/rdma/verbs_windows" "rdma://$address:7471"
