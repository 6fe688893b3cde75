#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# Every script passes shellcheck.
set -eu
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
cd "${top_srcdir:?}"
{
	echo autogen.sh
	grep -rlE '^(#!.*sh$|# shellcheck shell=)' .ci lib shm tools tests
} | xargs shellcheck -x
