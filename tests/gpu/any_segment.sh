#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# F1: tests/fuzz/live_segment with a driver to call, the stand-in: what takes effect on streams meets damage, too.
set -eu
: "${top_builddir:?}"
standin=$top_builddir/tests/gpu/standin/.libs
for needed in "$standin/libcuda.so.1" "$top_builddir/tests/fuzz/live_segment"; do
	[ -e "$needed" ] || { echo "no $needed: make check builds it"; exit 77; }
done
LD_LIBRARY_PATH=$standin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$top_builddir/tests/fuzz/live_segment"
