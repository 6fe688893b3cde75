#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# python: mypy finds the module's types right (--strict), for the oldest Python that it is for; pyflakes finds nothing
# in any Python file; all of them are indented by four spaces.
set -eu
for program in mypy pyflakes3; do
	command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
done
cd "${top_srcdir:?}"
files=$(find lib/python tests -name '*.py')
# shellcheck disable=SC2086 # one file, one word
pyflakes3 $files
mypy --strict --python-version 3.8 --cache-dir "$TMPDIR/mypy" lib/python/kvshm
# shellcheck disable=SC2086
python3 - $files <<-END
	import sys, tokenize

	bad = 0
	for name in sys.argv[1:]:
	    with open(name, "rb") as file:
	        for token in tokenize.tokenize(file.readline):
	            if token.type == tokenize.INDENT and token.string.replace("    ", ""):
	                print(f"{name}:{token.start[0]}: not indented by four spaces")
	                bad = 1
	sys.exit(bad)
END
