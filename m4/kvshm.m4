# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# kvshm.m4: the steps of configure.ac that would hide its order if they stood there.

# KVS_ENABLE(NAME, WHAT-IT-DOES, IF-ASKED-FOR): a switch that is off unless asked for.
AC_DEFUN([KVS_ENABLE],
[AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [$2])], [], [enable_$1=no])
AS_CASE([$enable_$1],
	[yes], [$3],
	[no], [],
	[AC_MSG_ERROR([--enable-$1=$enable_$1: it is yes or no])])])

# KVS_TRY_CFLAGS(FLAGS, VARIABLE): appends to VARIABLE those of the flags that the compiler takes.
AC_DEFUN([KVS_TRY_CFLAGS],
[for kvs_flag in $1; do
	AS_VAR_PUSHDEF([kvs_cache], [kvs_cv_[]_AC_LANG_ABBREV[]_flag_$kvs_flag])
	AC_CACHE_CHECK([whether the _AC_LANG compiler takes $kvs_flag], [kvs_cache], [
		kvs_save_flags=$[]_AC_LANG_PREFIX[]FLAGS
		_AC_LANG_PREFIX[]FLAGS="$kvs_save_flags -Werror $kvs_flag"
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM()],
			[AS_VAR_SET([kvs_cache], [yes])], [AS_VAR_SET([kvs_cache], [no])])
		_AC_LANG_PREFIX[]FLAGS=$kvs_save_flags])
	AS_VAR_IF([kvs_cache], [yes], [AS_VAR_APPEND([$2], [" $kvs_flag"])])
	AS_VAR_POPDEF([kvs_cache])
done])

# KVS_WARNINGS: what finds faults in C. Every flag is tried, since gcc and clang differ.
AC_DEFUN([KVS_WARNINGS],
[KVS_TRY_CFLAGS([m4_normalize([
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
	-Wformat=2 -Wvla -Wundef -Wpointer-arith -Wcast-align=strict -Wwrite-strings
	-Wredundant-decls -Wnested-externs -Wdouble-promotion -Wimplicit-fallthrough -Walloca
	-Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wstrict-aliasing=2 -Wdate-time
	-Wthread-safety -Wcomma -Wassign-enum -Wunreachable-code-aggressive -Wshift-sign-overflow])], [KVS_CFLAGS])])

# KVS_NEED_ATOMIC64: the words in the segment are 64-bit atomics that processes share: a lock would be one for each.
AC_DEFUN([KVS_NEED_ATOMIC64],
[AC_CACHE_CHECK([whether 64-bit atomics are lock-free], [kvs_cv_atomic64],
	[AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
		#include <stdatomic.h>
		_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics need a lock");
		]])], [kvs_cv_atomic64=yes], [kvs_cv_atomic64=no])])
AS_IF([test "$kvs_cv_atomic64" = no],
	[AC_MSG_ERROR([$CC for $host has no lock-free 64-bit atomics: use a 64-bit machine, and gcc or clang])])])

# KVS_HAVE_CXX: whether there is a C++ compiler. Only the test of the header needs one.
AC_DEFUN([KVS_HAVE_CXX],
[AC_CACHE_CHECK([whether a C++ compiler works], [kvs_cv_have_cxx],
	[AC_LANG_PUSH([C++])
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cstdint>]])], [kvs_cv_have_cxx=yes], [kvs_cv_have_cxx=no])
	AC_LANG_POP([C++])])
kvs_have_cxx=$kvs_cv_have_cxx
AS_IF([test "$kvs_have_cxx" = yes],
	[AC_LANG_PUSH([C++])
	KVS_TRY_CFLAGS([-Wall -Wextra -Wold-style-cast -Wzero-as-null-pointer-constant], [KVS_CXXFLAGS])
	AC_LANG_POP([C++])])])

# KVS_SANITIZE(NAME, [MORE-FLAGS]): compiles and links everything with a sanitizer. Its runtime must be there.
AC_DEFUN([KVS_SANITIZE],
[kvs_flags="-fsanitize=$1 -fno-omit-frame-pointer[]m4_ifnblank([$2], [ $2])"
kvs_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS $kvs_flags"
AC_MSG_CHECKING([whether $CC links with -fsanitize=$1])
AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])
	AC_MSG_ERROR([$CC has no runtime for -fsanitize=$1.
    On Debian: apt-get install libgcc-12-dev (gcc), libclang-rt-14-dev (clang)])])
CFLAGS=$kvs_save_CFLAGS
AS_VAR_APPEND([KVS_CFLAGS], [" $kvs_flags"])
AS_VAR_APPEND([KVS_CXXFLAGS], [" $kvs_flags"])
AS_VAR_APPEND([KVS_LDFLAGS], [" -fsanitize=$1"])
AS_VAR_APPEND([KVS_SANITIZERS], ["${KVS_SANITIZERS:+ }$1"])])

# KVS_LIBFUZZER: compiles everything so that libFuzzer sees what an input reaches; its targets link it. Programs that
# are no targets get stubs of what it calls from AddressSanitizer.
AC_DEFUN([KVS_LIBFUZZER],
[AS_IF([test "$enable_asan" != yes], [AC_MSG_ERROR([--enable-fuzzer goes with --enable-asan])])
kvs_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS -fsanitize=fuzzer"
AC_MSG_CHECKING([whether $CC links with libFuzzer])
AC_LINK_IFELSE([AC_LANG_SOURCE([[
	int LLVMFuzzerTestOneInput(const unsigned char *data, __SIZE_TYPE__ size);
	int LLVMFuzzerTestOneInput(const unsigned char *data, __SIZE_TYPE__ size) { return size && !*data ? 0 : 0; }
	]])], [AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])
	AC_MSG_ERROR([$CC has no libFuzzer.
    On Debian: apt-get install clang libclang-rt-14-dev g++, and configure with CC=clang])])
CFLAGS=$kvs_save_CFLAGS
AS_VAR_APPEND([KVS_CFLAGS], [" -fsanitize=fuzzer-no-link"])
AS_VAR_APPEND([KVS_SANITIZERS], [" fuzzer"])])

# KVS_FIND(VARIABLE, MODULE, PACKAGE): looks for a pkg-config module. Sets VARIABLE_CFLAGS and VARIABLE_LIBS, and
# kvs_found_VARIABLE to yes or to the Debian package that is missing.
AC_DEFUN([KVS_FIND],
[PKG_CHECK_MODULES([$1], [$2],
	[kvs_found_$1=yes
	kvs_version_$1=`$PKG_CONFIG --modversion "$2" 2>/dev/null | $SED -n 1p`
	kvs_version_$1=${kvs_version_$1:-as told}],
	[kvs_found_$1=$3])])

# KVS_NEED(VARIABLE, MODULE, PACKAGE, WHO): as above; it is an error if it is missing. WHO: what it is for.
AC_DEFUN([KVS_NEED],
[KVS_FIND([$1], [$2], [$3])
AS_IF([test "$kvs_found_$1" != yes],
	[AS_VAR_APPEND([kvs_missing], [" $3"])
	AC_MSG_WARN([$2 is missing. It is for $4, and in Debian's package $3])])])

# KVS_OPTION(NAME, WHAT): --disable-NAME; with neither --enable nor --disable it is on where it can be.
AC_DEFUN([KVS_OPTION],
[AC_ARG_ENABLE([$1], [AS_HELP_STRING([--disable-$1], [leaves out: $2 [on where its parts are found]])],
	[], [enable_$1=auto])
AS_CASE([$enable_$1], [yes|no|auto], [], [AC_MSG_ERROR([--enable-$1=$enable_$1: it is yes or no])])])

# KVS_DECIDE(NAME, PARTS): sets kvs_NAME to yes or no and kvs_why_NAME to the reason, for the report. PARTS are what
# KVS_FIND has left: a part that is not there stands with its package's name.
AC_DEFUN([KVS_DECIDE],
[kvs_$1=yes kvs_lacks=
for kvs_part in $2; do
	test "$kvs_part" = yes || AS_VAR_APPEND([kvs_lacks], [" $kvs_part"])
done
AS_IF([test "$enable_$1" = no], [kvs_$1=no kvs_why_$1=" (--disable-$1)"],
	[test -n "$kvs_lacks"], [kvs_$1=no kvs_why_$1=" (missing:$kvs_lacks)"])
AS_IF([test "$enable_$1:$kvs_$1" = yes:no], [AS_VAR_APPEND([kvs_missing], ["$kvs_lacks"])])])

# KVS_HAVE_DMABUF: whether libibverbs registers dma-bufs (rdma-core 34), which reach GPU memory.
AC_DEFUN([KVS_HAVE_DMABUF],
[kvs_dmabuf=no
AS_IF([test "$kvs_rdma" = yes],
	[kvs_save_LIBS=$LIBS
	LIBS="$IBVERBS_LIBS $LIBS"
	AC_CHECK_FUNC([ibv_reg_dmabuf_mr], [kvs_dmabuf=yes])
	LIBS=$kvs_save_LIBS])
AM_CONDITIONAL([DMABUF], [test "$kvs_dmabuf" = yes])])

# KVS_FIND_CUDA: looks for cuda.h, which a test compares our declarations with. Sets kvs_found_CUDA to yes or no.
AC_DEFUN([KVS_FIND_CUDA],
[AS_CASE([$with_cuda], [yes], [with_cuda=])
kvs_cuda_dir=${with_cuda:-${CUDA_HOME:-/usr/local/cuda}}
kvs_found_CUDA=no
AC_MSG_CHECKING([for cuda.h in $kvs_cuda_dir/include])
AS_IF([test "$with_cuda" = no], [AC_MSG_RESULT([not wanted])],
	[test -f "$kvs_cuda_dir/include/cuda.h"],
	[AC_MSG_RESULT([yes]); kvs_found_CUDA=yes; CUDA_CFLAGS="-isystem $kvs_cuda_dir/include"
	kvs_why_cuda=" ($kvs_cuda_dir)"],
	[AC_MSG_RESULT([no])
	AS_IF([test -n "$with_cuda"], [AC_MSG_ERROR([--with-cuda=$with_cuda: there is no include/cuda.h.
    Name the directory of a CUDA toolkit, or use --without-cuda])])])
AC_SUBST([CUDA_CFLAGS])])

# KVS_PYTHON: looks for Python 3.8 or newer, which the module of lib/python is installed for, and its tests run with:
# $PYTHON, else of those in PATH the first that looks for modules below the prefix, else the first. Sets pythondir to
# where it looks: on Debian that is dist-packages, which automake does not know. Sets kvs_python and kvs_why_python as
# KVS_DECIDE does; and KVS_NO_PYTHON_TESTS to why its tests can't run with this build, if so.
AC_DEFUN([KVS_PYTHON],
[AC_ARG_WITH([python], [AS_HELP_STRING([--without-python], [no Python module [it is there where Python 3.8 is found]])],
	[], [with_python=auto])
AS_CASE([$with_python],
	[yes|auto], [],
	[no], [PYTHON=:],
	[AC_MSG_ERROR([--with-python=$with_python: it is yes or no; PYTHON=PROGRAM chooses one])])

# kvs_looks_below PYTHON PREFIX: prints the directory of modules below PREFIX that it looks into, if there is one.
kvs_looks_below () {
	KVS_PREFIX=$[]2 $[]1 -c '
import os, site
for place in site.getsitepackages():
    if place.startswith(os.environ.get("KVS_PREFIX") + "/lib/"):
        print(place)
        break' 2>/dev/null
}
kvs_prefix=$prefix
test "$kvs_prefix" != NONE || kvs_prefix=$ac_default_prefix
AC_CACHE_CHECK([for a Python that looks below $kvs_prefix], [ac_cv_path_PYTHON],
	[AC_PATH_PROGS_FEATURE_CHECK([PYTHON], [python3 python],
		[AM_PYTHON_CHECK_VERSION([$ac_path_PYTHON], [3.8],
			[test -n "$ac_cv_path_PYTHON" || ac_cv_path_PYTHON=$ac_path_PYTHON
			AS_IF([test -n "`kvs_looks_below "$ac_path_PYTHON" "$kvs_prefix"`"],
				[ac_cv_path_PYTHON=$ac_path_PYTHON ac_path_PYTHON_found=:])])],
		[ac_cv_path_PYTHON=:])])
PYTHON=$ac_cv_path_PYTHON
AM_PATH_PYTHON([3.8], [], [:])

kvs_python=yes kvs_why_python= KVS_NO_PYTHON_TESTS=
AS_IF([test "$with_python" = no], [kvs_python=no kvs_why_python=" (--without-python)"],
	[test "$PYTHON" = :], [kvs_python=no kvs_why_python=" (missing: python3, 3.8 or newer)"])
AS_IF([test "$with_python:$kvs_python" = yes:no], [AS_VAR_APPEND([kvs_missing], [" python3"])])
AS_IF([test "$kvs_python" = no], [KVS_NO_PYTHON_TESTS="there is no Python$kvs_why_python"],
	[test "$cross_compiling" = yes], [KVS_NO_PYTHON_TESTS="$PYTHON can not load a library for $host"],
	[test -n "$KVS_SANITIZERS"], [KVS_NO_PYTHON_TESTS="$PYTHON can not load a sanitized library"])
AS_IF([test "$kvs_python" = yes],
	[eval "kvs_prefix=\"`prefix=$kvs_prefix; eval echo "$PYTHON_PREFIX"`\""
	kvs_place=`kvs_looks_below "$PYTHON" "$kvs_prefix"`
	AS_IF([test -n "$kvs_place"],
		[pythondir="\${PYTHON_PREFIX}${kvs_place#"$kvs_prefix"}" kvs_why_python=" ($PYTHON)"],
		[kvs_why_python=" ($PYTHON does not look there: set PYTHONPATH)"])])
AC_SUBST([KVS_NO_PYTHON_TESTS])])

# KVS_MISSING_IS_AN_ERROR: ends configure when something that is needed was not found, and says what to do.
AC_DEFUN([KVS_MISSING_IS_AN_ERROR],
[AS_IF([test -n "$kvs_missing"], [AC_MSG_ERROR([what is needed is missing. On Debian:
    apt-get install$kvs_missing
Elsewhere, install the packages with these pkg-config modules, or say where they are in PKG_CONFIG_PATH.])])])
