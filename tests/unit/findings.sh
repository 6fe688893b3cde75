#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# findings: kvshm-check(1) lists each finding that shm/findings.def declares, in its words and order, and no other. And
# this finds what it is for: in a copy of the page with a line too few, and in one with a line too many.
set -eu
cd "${top_srcdir:?}"
page=tools/man/kvshm-check.1

sed -n 's/^KVS_FINDING(.*, "\(.*\)")$/\1/p' shm/findings.def >"$TMPDIR/declared"
[ "$(wc -l <"$TMPDIR/declared")" -eq "$(grep -c '^KVS_FINDING(' shm/findings.def)" ]
[ -s "$TMPDIR/declared" ]

# listed PAGE: are they listed there?
listed()
{
	sed -n '/^\.Sh DIAGNOSTICS/,/^\.Sh SEE ALSO/s/^\.It //p' "$1" | diff "$TMPDIR/declared" -
}

# refuses SED: a page that SED has changed is seen not to list them.
refuses()
{
	sed "$1" "$page" >"$TMPDIR/page"
	if listed "$TMPDIR/page" >"$TMPDIR/said"; then
		echo "'$1' was not noticed"
		exit 1
	fi
}

listed "$page"
refuses '/^\.It bucket N is marked$/d'
refuses 's/^\.It bucket N is marked$/&\n.It bucket N is green/'
