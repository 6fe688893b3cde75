#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# complete: a release has every file of the checkout, but for what only git reads; and of what is made only what a
# release is for (configure and its parts).
set -eu
cd "${top_srcdir:?}"
command -v git >/dev/null || { echo "git is not installed"; exit 77; }
[ -e .git ] || { echo "this is no git checkout"; exit 77; }
# A make of its own, not a part of the one that runs this.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
make --no-print-directory -C "${top_builddir:?}" distdir distdir="$TMPDIR/release"

git -c safe.directory="$PWD" ls-files | grep -vx '.*\.gitignore' | sort >"$TMPDIR/checkout"
(cd "$TMPDIR/release" && find . ! -type d | sed 's,^\./,,' | sort) >"$TMPDIR/files"
[ -s "$TMPDIR/checkout" ]
echo "missing in the release:"
comm -23 "$TMPDIR/checkout" "$TMPDIR/files" | tee "$TMPDIR/missing"
echo "there, but neither in the checkout nor made by autogen.sh:"
comm -13 "$TMPDIR/checkout" "$TMPDIR/files" |
	grep -vxE '(build-aux/.*|m4/l[^/]*\.m4|aclocal\.m4|config\.h\.in|configure|Makefile\.in)' |
	tee "$TMPDIR/strange" || :
[ ! -s "$TMPDIR/missing" ] && [ ! -s "$TMPDIR/strange" ]
