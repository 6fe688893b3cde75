#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# clang-tidy: finds nothing in any C or C++ file (.clang-tidy says what it looks for, and why not for the rest).
set -eu
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed"; exit 77; }
cd "${top_srcdir:?}"
# One file at a time: with more its analyzer forgets va_start().
# shellcheck disable=SC2016 # sh -c expands it
find shm lib rdma tools tests \( -name '*.c' -o -name '*.cc' \) -print0 |
	xargs -0 -n 1 -P 2 sh -c 'case $1 in *.c) standard=gnu11 ;; *) standard=gnu++17 ;; esac
		clang-tidy --quiet "$1" -- "-std=$standard" $KVSHM_LINT_FLAGS 2>>"$TMPDIR/stderr"' sh || {
	grep -v 'warnings\{0,1\} generated' "$TMPDIR/stderr"
	exit 1
}
