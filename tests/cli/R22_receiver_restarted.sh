#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The same as in tests/rdma/R22_receiver_restarted.sh, over TCP on this machine.
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/rdma/deaths.sh
. "$top_srcdir/tests/rdma/deaths.sh"
receiver_restarts tcp://127.0.0.1:0 400
