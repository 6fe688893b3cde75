#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# any_segment: views, attach, calls, adoption and removal bear any bytes in a segment.
# shellcheck source=tests/fuzz/target.sh
. "$(dirname "$0")/target.sh"
run_target attach 6000 256
