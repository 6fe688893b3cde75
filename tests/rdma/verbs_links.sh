#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Links over Soft-RoCE: messages in order, writes before their message, room, sent(), closing at any moment.
# shellcheck source=tests/rdma/lib.sh
. "$(dirname "$0")/lib.sh"
in_guest
device rxe
must_run "$KVSHM_BIN/../tests/rdma/verbs_links" "rdma://$address:7471"
