#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# standin_replay: real_replay with the stand-in for the driver.
set -eu
export LD_LIBRARY_PATH="${top_builddir:?}/tests/gpu/standin/.libs"
exec sh "${top_srcdir:?}/tests/gpu/real_replay.sh"
