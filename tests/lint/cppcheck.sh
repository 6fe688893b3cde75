#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# cppcheck: finds nothing in any C or C++ file.
set -eu
command -v cppcheck >/dev/null || { echo "cppcheck is not installed"; exit 77; }
cd "${top_srcdir:?}"
# A file's own includes only: the system's are not ours to check.
# shellcheck disable=SC2046 # one file, one word
cppcheck -j 2 -q --std=c11 --std=c++17 --error-exitcode=1 --inline-suppr \
	--enable=warning,performance,portability --suppress=missingInclude --suppress=missingIncludeSystem \
	-D_GNU_SOURCE -I gpu -I lib -I rdma -I shm -I tests/gpu -I tools \
	$(find shm lib rdma gpu tools tests -name '*.c' -o -name '*.cc')
