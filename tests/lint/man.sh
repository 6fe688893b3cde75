#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# man: every man page is sound, and every tool and public function has one.
set -eu
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
cd "${top_srcdir:?}"
pages=$(ls lib/man/*.[1378] tools/man/*.[1378] "${top_builddir:?}"/lib/man/*.7)
# shellcheck disable=SC2086 # one page, one word
mandoc -T lint -W warning $pages

status=0
sed -n -e '/^typedef/d' -e 's/^[a-z].*[ *]\(kvshm_[a-z_]*\)(.*/\1/p' lib/kvshm.h >"$TMPDIR/functions"
while read -r name; do
	[ -e "lib/man/$name.3" ] || { echo "$name has no lib/man/$name.3"; status=1; }
done <"$TMPDIR/functions"
for name in "${KVSHM_BIN:?}"/kvshm*; do
	name=${name##*/}
	case $name in
	*.*) continue ;;
	kvshmd) section=8 ;;
	*) section=1 ;;
	esac
	[ ! -x "$KVSHM_BIN/$name" ] || [ -e "tools/man/$name.$section" ] || {
		echo "$name has no tools/man/$name.$section"
		status=1
	}
done
exit $status
