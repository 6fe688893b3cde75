#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# bring.sh: fills a folder with all that a machine needs to build kvshm and to run its tests on its GPU, if it has a
# compiler and a driver, and can install nothing: a release, Debian's packages of what it is built with, unpacked, and a
# script that begins there. Run here, as tests/run is; README.md says more. What is in the folder is replaced.
#
# Usage: bring.sh FOLDER
set -u
# shellcheck source=tools/setup.sh
. "$(dirname "$0")/../../tools/setup.sh"

# Those with the headers, and what a bare machine may lack beside a compiler. (RDMA is left out.)
wanted=(liburcu-dev libsodium-dev libxxhash-dev libjansson-dev check pkgconf make)
# What they depend on and every machine with a compiler has.
theirs='lib(c6|c-bin|gcc-s1|crypt1|tinfo6)|gcc-[0-9]+-base|mawk'

die()
{
	say "$*"
	exit 1
}

# The packages that are wanted, and those that these depend on.
closure()
{
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances "$@" | grep -E '^[a-z0-9][^:]*$' | grep -vxE "$theirs" | sort -u
}

# Unpacks packages below a folder; only what is built with is kept.
unpack()
{
	local packages=$1 debs

	debs=$(mktemp -d) || return
	if ! (cd "$debs" && apt-get -q download "${@:2}" && for deb in *.deb; do dpkg -x "$deb" "$packages"; done); then
		rm -rf "$debs"
		return 1
	fi
	rm -rf "$debs" "${packages:?}/usr/share"
}

[ $# -eq 1 ] || { sed -n 's/^# Usage: /Usage: /p' "$0" >&2; exit 1; }
command -v apt-get >/dev/null || die "this is not Debian: see README.md for what is needed"
install_packages "${build_packages[@]}" g++ || exit
mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit
log=$build/bring.log
mkdir -p "$build" && : >"$log"
rm -rf "$folder/packages" "$folder"/kvshm-*.tar.gz "$folder/run"

say "packages"
mapfile -t packages < <(closure "${wanted[@]}")
[ ${#packages[@]} -ge ${#wanted[@]} ] || die "apt-cache knows no packages: apt-get update"
logged "$log" unpack "$folder/packages" "${packages[@]}" || exit

say "a release"
make_configure || exit
configure_tree "$build/bring" || exit
release=$(sed -n 's/^PACKAGE_VERSION = /kvshm-/p' "$build/bring/Makefile")
rm -rf "$build/bring/$release"
make_tree "$build/bring" distdir || exit
tar -cz -C "$build/bring" -f "$folder/$release.tar.gz" "$release" || exit
rm -rf "${build:?}/bring/$release"

cat >"$folder/run" <<-'END' || exit
	#!/bin/bash
	# Unpacks the release below $KVSHM_WORK, or in a directory that it leaves in /tmp, and runs the tests on this
	# machine's GPU with what lies beside this script. Further words are those of tests/run.
	set -eu
	here=$(cd "$(dirname "$0")" && pwd)
	work=${KVSHM_WORK:-$(mktemp -d)}
	echo "working in $work"
	tar -x -z -C "$work" -f "$here"/kvshm-*.tar.gz
	KVSHM_PACKAGES=$here/packages exec bash "$work"/kvshm-*/tests/run "${@:-gpu-real}"
END
chmod +x "$folder/run"
du -sh "$folder"
