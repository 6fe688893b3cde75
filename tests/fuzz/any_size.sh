#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_size: numbers, sizes and modes are read exactly, or refused.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
# What this option looks for costs much where longjmp() leaves functions, as it does here (exits.c).
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_stack_use_after_return=0
run_target sizes 60000 40
