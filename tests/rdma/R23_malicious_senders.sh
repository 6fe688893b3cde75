#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Senders that go on writing after commit and abort, when they are asked to stop, outside of their grants, and with keys
# of before: over Soft-RoCE each gets a remote access error, and no bytes change (E2, E3).
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/rdma/malicious.sh
. "$top_srcdir/tests/rdma/malicious.sh"
in_guest
device rxe
malicious_senders "rdma://$address"
