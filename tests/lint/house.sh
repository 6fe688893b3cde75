#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# house: the rules of HACKING that a machine can see.
set -eu
cd "${top_srcdir:?}"
files=$(find .ci .clang-format .clang-tidy .editorconfig doc gpu lib rdma shm tools tests m4 \
	configure.ac Makefile.am autogen.sh -type f \
	! -path 'm4/l*' ! -name '*.md' ! -name '*~' ! -name '*.orig' ! -name '*.jsonl' ! -path 'tests/fuzz/seeds/*' \
	! -path '*/__pycache__/*')
status=0

# complain WHAT: reads places where it is so.
complain()
{
	while IFS= read -r place; do
		echo "$place: $1"
		status=1
	done
}

# In a pipeline complain() would set the status of a subshell: hence the files.
for file in $files; do
	head -n 4 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' || echo "$file"
done >"$TMPDIR/places"
complain "has no SPDX line at its top" <"$TMPDIR/places"

# shellcheck disable=SC2086 # one file, one word
grep -nE '[[:blank:]]+$' $files >"$TMPDIR/places" || :
complain "blanks at the end of a line" <"$TMPDIR/places"

# This file names what it looks for.
# shellcheck disable=SC2086
grep -nwE 'TODO|FIXME|XXX' $files | grep -v '^tests/lint/house.sh:' >"$TMPDIR/places" || :
complain "finish it, or say in the ChangeLog that it is not there yet" <"$TMPDIR/places"

for file in $files; do
	expand "$file" | awk -v file="$file" 'length($0) > 120 { print file ":" NR }'
done >"$TMPDIR/places"
complain "a line of more than 120 columns" <"$TMPDIR/places"

# Python's own style: spaces only, four of them (tests/lint/python.sh).
find lib tests -name '*.py' -exec grep -n "$(printf '\t')" /dev/null {} + >"$TMPDIR/places" || :
complain "a tab in Python" <"$TMPDIR/places"

find shm lib rdma gpu tools tests -name '*.c' | while read -r file; do
	[ "$(sed -n '/^#/{p;q}' "$file")" = '#include "config.h"' ] || echo "$file"
done >"$TMPDIR/places"
complain 'config.h is not the first thing that it includes' <"$TMPDIR/places"

# A file that no list has is built by nobody, or missing in a release. Programs of one file stand without their .c.
find shm lib rdma gpu tools tests -name '*.[ch]' -o -name '*.cc' -o -name '*.pml' -o -path 'tests/*/*.sh' \
	-o -name '*.[1378]' -o -name '*.py' -o -name py.typed |
	while read -r file; do
		grep -qF -e "$file" -e "${file%.c}" -- */Makemodule.am lib/python/Makemodule.am || echo "$file"
	done >"$TMPDIR/places"
complain "is in no Makemodule.am" <"$TMPDIR/places"

# (That a model's functions are there, and name it, is seen by tests/model/check.sh.)
grep -rnoE 'tests/model(/[a-z_]+\.pml)?' shm lib rdma gpu | while IFS=: read -r file line model; do
	[ -f "$model" ] || echo "$file:$line"
done >"$TMPDIR/places"
complain "names a model that is not there" <"$TMPDIR/places"

# Includes point one way: shm sees only itself, tools the public header.
grep -nE '#include "kvshm\.h"' shm/*.[ch] >"$TMPDIR/places" || :
complain "shm uses the public header" <"$TMPDIR/places"
(cd rdma && ls -- *.h) | while read -r header; do
	[ -e "shm/$header" ] || [ -e "lib/$header" ] ||
		grep -nF "#include \"$header\"" shm/*.[ch] lib/*.[ch] || :
done >"$TMPDIR/places"
complain "uses a header of rdma" <"$TMPDIR/places"

# Death after every instruction is only shown of what is stepped. (The others say what never changes.)
sed -n 's/^int \(kvshm_[a-z_]*\)(kvshm \*store.*/\1/p' lib/kvshm.h |
	grep -vwE 'kvshm_get_geometry|kvshm_get_plane_info|kvshm_address|kvshm_address_batch' | while read -r call; do
		grep -qw "$call" tests/crash/deeds_list.c tests/crash/deeds_requests.c || echo "lib/kvshm.h: $call"
	done >"$TMPDIR/places"
complain "is no deed of tests/crash" <"$TMPDIR/places"

exit $status
