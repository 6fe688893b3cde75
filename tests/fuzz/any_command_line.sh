#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_command_line: the tools refuse it, or take settings that their options allow.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
# What this option looks for costs much where longjmp() leaves functions, as it does here (exits.c).
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_stack_use_after_return=0
run_target options 200000 1024 -mutate_depth=2
