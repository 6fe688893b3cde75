#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# A sender is killed in the middle of its transfers over RDMA: engines at the receiver go on, and so does the next
# sender (deaths.sh).
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/rdma/deaths.sh
. "$top_srcdir/tests/rdma/deaths.sh"
in_guest
device rxe
sender_dies "rdma://$address" 200
