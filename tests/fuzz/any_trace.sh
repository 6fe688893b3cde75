#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_trace: kvshm-replay reads a trace exactly, or refuses it.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target trace 40000 4096
