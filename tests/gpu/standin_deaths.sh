#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# standin_deaths: real_deaths with the stand-in for the driver, in a small form.
set -eu
export LD_LIBRARY_PATH="${top_builddir:?}/tests/gpu/standin/.libs"
exec "$top_builddir/tests/gpu/real_deaths"
