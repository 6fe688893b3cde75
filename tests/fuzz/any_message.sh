#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_message: any bytes as a message from another node are refused, or read as what they say.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target message 200000 1024
