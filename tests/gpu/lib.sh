# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# lib.sh: tests/cli/lib.sh, for tools that work with GPU memory: they find the stand-in for the driver's library.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"
: "${top_builddir:?}"

standin=$top_builddir/tests/gpu/standin/.libs
[ -e "$standin/libcuda.so.1" ] || skip "no stand-in for the driver's library: make check builds it"
export LD_LIBRARY_PATH=$standin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# The same one for all processes of the test, whatever their TMPDIR.
export KVSHM_STANDIN_DIR=$tmp/standin
mkdir "$KVSHM_STANDIN_DIR" || fail "no folder for the stand-in"
