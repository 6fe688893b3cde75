#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# The same senders as in tests/rdma/R23_malicious_senders.sh, over TCP on this machine.
top_srcdir=${top_srcdir:-$(dirname "$0")/../..}
# shellcheck source=tests/rdma/malicious.sh
. "$top_srcdir/tests/rdma/malicious.sh"
malicious_senders tcp://127.0.0.1:0
