#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# exports: libkvshm.so exports each function that kvshm.h declares, and nothing else.
set -eu
library=${top_builddir:?}/lib/.libs/libkvshm.so

# A declaration begins a line with its type. A typedef of a function is none.
sed -n -e '/^typedef/d' -e 's/^[a-z].*[ *]\(kvshm_[a-z_]*\)(.*/\1/p' "${top_srcdir:?}/lib/kvshm.h" |
	sort -u >"$TMPDIR/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort -u >"$TMPDIR/exported"
echo "$(wc -l <"$TMPDIR/declared") functions declared"
[ -s "$TMPDIR/declared" ]
diff "$TMPDIR/declared" "$TMPDIR/exported" || {
	echo "exported (right) differs from what kvshm.h declares (left)"
	exit 1
}
