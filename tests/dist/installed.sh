#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# installed: what `make installcheck` runs: a program that knows nothing but kvshm.pc can be compiled and run, every
# tool runs, and the manual has a page for each. So does a Python program, where the module was installed: with nothing
# in the environment that says where it or the library is.
#
# Usage: installed.sh COMPILER PKG-CONFIG VERSION BINDIR MANDIR PKGCONFIGDIR [PYTHON PYTHONDIR]
set -eu
compiler=$1 pkg_config=$2 version=$3 bin=$4 man=$5
export PKG_CONFIG_PATH="$6${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
python=${7:-} python_dir=${8:-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP

fail()
{
	echo "installcheck: $*" >&2
	exit 1
}

[ "$("$pkg_config" --modversion kvshm)" = "$version" ] || fail "kvshm.pc is of another version"
cat >"$dir/program.c" <<-END
	#include <kvshm.h>
	#include <stdio.h>

	int main(void)
	{
	        kvshm_store *store;
	        int rc = kvshm_attach("kvshm-installcheck-no-such-store", NULL, &store);

	        printf("%s %d\n", kvshm_version(), rc);
	        return 0;
	}
END
libraries=$("$pkg_config" --variable=libdir kvshm)
# Both are words.
# shellcheck disable=SC2046,SC2086
$compiler -o "$dir/program" "$dir/program.c" $("$pkg_config" --cflags --libs kvshm)
said=$(LD_LIBRARY_PATH=$libraries "$dir/program")
[ "$said" = "$version -2" ] || fail "a program with the installed library said: $said"

for tool in kvshmd kvshm-check kvshm-replay kvshm-stat; do
	said=$("$bin/$tool" --version) || fail "$tool does not run"
	case $said in
	*"$version"*) ;;
	*) fail "$tool is of another version: $said" ;;
	esac
	[ -e "$man/man1/$tool.1" ] || [ -e "$man/man8/$tool.8" ] || fail "$tool has no man page"
done
[ -e "$man/man7/kvshm-counters.7" ] || fail "kvshm-counters(7) is missing"

# -I: nothing of the environment, of the user, or of this directory. A prefix that Python does not look below is named.
[ -z "$python" ] || env -u LD_LIBRARY_PATH "$python" -I -B - "$python_dir" "$version" "kvshm-installcheck-$$" <<-END ||
	import os
	import sys

	place, version, name = sys.argv[1:]
	if place not in sys.path:
	    sys.path.insert(0, place)
	import kvshm

	assert os.path.dirname(kvshm.__file__) == os.path.join(place, "kvshm"), kvshm.__file__
	assert kvshm.__version__ == version, kvshm.__version__
	with kvshm.create(name, size=65536, block_size=4096), kvshm.attach(name) as store:
	    with store.get_or_fill(b"key") as hold:
	        hold.buffer(0)[:5] = b"bytes"
	        hold.publish(length=5)
	    with store.get(b"key") as hold:
	        assert bytes(hold.buffer(0)[:5]) == b"bytes"
END
	fail "the Python module does not work"
