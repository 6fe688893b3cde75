#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# clang-tidy: finds nothing in any C or C++ file (.clang-tidy says what it looks for, and why not for the rest). Its
# analyzer follows the library's paths as far as it can; those of tools and tests, which take as long, through short
# functions only, but in the long form. tests/gpu/abi.cc needs CUDA's header, and is for the compiler alone.
set -eu
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed"; exit 77; }
cd "${top_srcdir:?}"

# tidy MODE DIR...: one file at a time: with more the analyzer forgets va_start().
tidy()
{
	mode=$1
	shift
	export mode
	# shellcheck disable=SC2016 # sh -c expands it
	find "$@" \( -name '*.c' -o -name '*.cc' \) ! -path tests/gpu/abi.cc -print0 |
		xargs -0 -n 1 -P 2 sh -c 'case $1 in *.c) standard=gnu11 ;; *) standard=gnu++17 ;; esac
			clang-tidy --quiet "$1" -- "-std=$standard" $KVSHM_LINT_FLAGS \
				-Xclang -analyzer-config -Xclang "mode=$mode" 2>>"$TMPDIR/stderr"' sh
}

others=shallow
[ -z "${KVSHM_TEST_LONG:-}" ] || others=deep
clean=true
tidy deep shm lib rdma gpu || clean=false
tidy $others tools tests || clean=false
if ! $clean; then
	grep -v 'warnings\{0,1\} generated' "$TMPDIR/stderr"
	exit 1
fi
