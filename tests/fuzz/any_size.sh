#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_size: numbers, sizes and modes are read exactly, or refused.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target sizes 40000 40
