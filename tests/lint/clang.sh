#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# clang: every C file compiles under clang without a warning. (The build itself may use gcc.)
set -eu
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
cd "${top_srcdir:?}"
warnings="-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wvla
	-Wundef -Wpointer-arith -Wwrite-strings -Wredundant-decls -Wnested-externs -Wdouble-promotion
	-Wimplicit-fallthrough -Wcomma -Wassign-enum -Wunreachable-code-aggressive -Wshift-sign-overflow"
# The flags are words. -fsyntax-only finds all that clang warns of: none of it needs the optimizer.
# shellcheck disable=SC2086
find shm lib tools tests -name '*.c' -print0 |
	xargs -0 -n 8 -P 2 clang -std=gnu11 -fsyntax-only -Werror $warnings $KVSHM_LINT_FLAGS
