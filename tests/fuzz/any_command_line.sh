#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_command_line: the tools refuse it, or take settings that their options allow.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target options 40000 512
