#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The receiving kvshmd is killed in the middle of transfers over RDMA, and a new one adopts its store: all that was cut
# off is sent again (deaths.sh).
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/rdma/deaths.sh
. "$top_srcdir/tests/rdma/deaths.sh"
in_guest
device rxe
receiver_restarts "rdma://$address" 60
