#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# tags: each pair of accesses that order each other has its tag at both ends, and in the table of shm/README.md; what is
# relaxed has a reason (tags.awk; HACKING, Rules). And the check finds what it is for: in copies with a fault each.
set -eu
here=$(cd "${top_srcdir:?}/tests/unit" && pwd)

# check DIR: reads the sources that stand there.
check()
{
	(
		cd "$1"
		set -- shm/README.md shm/layout.h
		for file in shm/*.[ch] lib/*.[ch]; do
			[ "$file" = shm/layout.h ] || set -- "$@" "$file"
		done
		awk -f "$here/tags.awk" "$@"
	)
}

check "$top_srcdir" || exit 1

# finds WHAT FILE SED COMPLAINT: the check complains so of a copy that SED has changed.
finds()
{
	rm -rf "$TMPDIR/copy"
	mkdir "$TMPDIR/copy" "$TMPDIR/copy/shm" "$TMPDIR/copy/lib"
	cp "$top_srcdir"/shm/*.[ch] "$top_srcdir/shm/README.md" "$TMPDIR/copy/shm"
	cp "$top_srcdir"/lib/*.[ch] "$TMPDIR/copy/lib"
	rm -f "$TMPDIR/copy/$2" # a release's may be read-only
	sed "$3" "$top_srcdir/$2" >"$TMPDIR/copy/$2"
	if cmp -s "$top_srcdir/$2" "$TMPDIR/copy/$2"; then
		echo "$1: '$3' changes nothing in $2 any more: plant another fault"
		exit 1
	fi
	if check "$TMPDIR/copy" >"$TMPDIR/said" || ! grep -qF "$4" "$TMPDIR/said"; then
		echo "$1: not found. The check said:"
		cat "$TMPDIR/said"
		exit 1
	fi
	echo "finds $1: $(grep -F "$4" "$TMPDIR/said" | head -n 1)"
}

finds "a tag with one end" shm/clear.c 's/\[clear: raise\]//' '[clear: raise] is at no place in the code'
finds "an end without the other" shm/README.md '/^| \[claim\]/s/\*\*next\*\*/next/' '[claim] has no two ends'
finds "a tag that is in no table" shm/hold.c 's/\[holders: look\]/[bearers: look]/' '[bearers: look] is no end'
finds "an end that is none" shm/hold.c 's/\[holders: look\]/[holders: see]/' '[holders: see] is no end'
finds "a tag without its end" shm/hold.c 's/\[holders: look\]/[holders]/' 'which end of [holders] is this?'
finds "a tag in two halves" shm/clear.c 's/\[clear: raise\] /[clear:\n * raise] /' 'a tag must be on one line'
finds "a row without code" shm/README.md 's/^| \[clear\].*/&\n| [moon] | **wax** | light | **wane** |/' \
	'[moon: wax] is at no place in the code'
finds "a row that is there twice" shm/README.md 's/^| \[clear\].*/&\n&/' '[clear] is in the table twice'
finds "a tag far from any access" shm/word.h 's/^#define KVS_GRACE 3/\/* [grace: claim] *\/\n&/' \
	'[grace: claim] stands before no access'
finds "an acquire where the table asks for more" shm/index.c \
	'/link = atomic_load_explicit(before/s/memory_order_seq_cst/memory_order_acquire/' \
	'too weak for [doom-vs-link: doom]: acquire'
finds "a release that was weakened" shm/epoch.h '/epoch, 0, memory_order_release/s/release/relaxed/' \
	'too weak for [section: leave]: relaxed'
finds "a compare-and-swap that does not release" shm/clear.c \
	"s/ONE, memory_order_seq_cst/ONE, memory_order_acquire/" \
	'too weak for [clear: raise]: acquire'
finds "a fence that is none" shm/epoch.h '/signal_fence/s/seq_cst/relaxed/' 'a fence that is weaker than seq_cst'
finds "an ordered access without a tag" shm/part.h 's/\[death: step\]//' 'ordered, and no tag says with what'
finds "a fence without a tag" shm/wait.c \
	's/^uint64_t kvs_now(void)$/void f(void)\n{\n\tatomic_thread_fence(memory_order_seq_cst);\n}\n\n&/' \
	'ordered, and no tag says with what'
finds "a relaxed access without a reason" lib/holds.c 's/Relaxed: who holds/Who holds/' \
	'relaxed, and nothing says why that is enough'
finds "a relaxed member without a reason" shm/layout.h 's/Relaxed: a hint/A hint/' \
	'relaxed, and nothing says why that is enough'
finds "a relaxed store in a file whose loads have a reason" shm/evict.c \
	's/^static bool held(.*/static void f(void)\n{\n\tatomic_store_explicit(x, 1, memory_order_relaxed);\n}\n\n&/' \
	'relaxed, and nothing says why that is enough'
