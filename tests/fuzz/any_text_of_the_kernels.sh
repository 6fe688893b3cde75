#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_text_of_the_kernels: what /proc and /sys say, and names of files, may be anything.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target texts 20000 512
